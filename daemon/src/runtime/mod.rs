//! The running daemon: what is joined to what.

mod answers;
pub mod clock;
pub mod committer;
pub mod dialogue;
mod fanout;
pub mod hint;
pub mod hub;
pub mod ingest;
mod lanes;
pub mod opening;
pub mod retention;
pub mod routing;
pub mod scrub;
mod server;
pub mod snapshot;
pub mod status;
mod tail;
pub mod writer;

pub use server::{Failure, run};
