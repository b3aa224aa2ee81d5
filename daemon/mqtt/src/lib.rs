//! MQTT 3.1.1 and 5 as values: packets, one connection's protocol, and who subscribed to what.
//!
//! Bytes, events and time go in; bytes, effects and the next deadline come out. There is no socket,
//! clock, thread or random source here, so the daemon, the simulator and a microcontroller run the
//! same code. MQTT 3.1 ("`MQIsdp`") is served as 3.1.1, but for what it does not know.
//!
//! - [`codec`]: packets in both directions and roles, borrowed from the bytes they came in.
//! - [`session`]: a connection as the server sees it. No PUBACK leaves before its event is durable.
//! - [`subscriptions`]: the tree of topic filters.
#![no_std]

extern crate alloc;

pub mod codec;
pub mod limits;
pub mod session;
pub mod subscriptions;

pub use codec::Version;
pub use codec::malformed::Malformed;
pub use codec::reason::Reason;
pub use session::{Effect, Session, Settings, Step};
pub use subscriptions::Subscriptions;
