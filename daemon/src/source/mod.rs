//! Other brokers as input, the part that never waits: what is taken of what they send, when it may be
//! acknowledged, and when a connection that was lost is tried again.

mod intake;
mod pauses;

pub use intake::{Figures, Intake, Message, UNACKED_MAX};
pub use pauses::Pauses;
