//! The running daemon: what is joined to what.

pub mod clock;
mod answers;
mod opening;
mod fanout;
pub mod hint;
pub mod hub;
pub mod ingest;
mod server;
mod snapshot;
pub mod status;
mod tail;
mod writer;

pub use server::{Failure, run};
