//! The running daemon: what is joined to what.

mod answers;
pub mod clock;
mod fanout;
pub mod hint;
pub mod hub;
pub mod ingest;
mod opening;
mod server;
mod snapshot;
pub mod status;
mod tail;
mod writer;

pub use server::{Failure, run};
