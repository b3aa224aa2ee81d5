//! What MQTT sessions must not forget, in the log.
//!
//! Every step that a session may have to remember is a [`Change`]: it begins, subscribes, releases
//! an identifier. Changes of one commit stand in one control record behind its events; each names
//! the offset at which it holds, so their order among the events is known. [`State`] is the fold
//! over changes and events: what a daemon that starts knows. Invariant: what a client is told
//! leaves after the change behind it is durable.

mod batch;
mod change;
mod replay;
mod searches;
mod state;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use change::{Change, Noted, StoredWill, read_batch};
pub use replay::{Lost, replay, resume};
pub use searches::{Search, Searches};
pub use state::{Applied, ClientState, Filter, InFlightState, RetainedState, State, Touched};
