//! The running daemon: what is joined to what.

mod answers;
pub mod checkup;
pub mod clock;
pub mod commands;
pub mod committer;
pub mod cursors;
pub mod dead_letters;
mod decisions;
mod delivering;
pub mod dialogue;
mod doors;
mod downlinks;
pub mod fanout;
mod folding;
mod gathering;
pub mod hint;
pub mod hub;
pub mod ingest;
pub mod keeper;
mod lanes;
pub mod opening;
mod replaying;
pub mod retention;
pub mod routing;
pub mod scrub;
mod search;
mod server;
pub mod sessions;
pub mod snapshot;
mod sources;
pub mod status;
pub mod stream;
mod system;
mod tail;
pub mod writer;

pub use server::{Failure, run};
