//! The cluster as clients see it.

mod support;

mod consumers;
mod corners;
mod failures;
mod hostile;
mod served;
mod topics;
mod versions;
