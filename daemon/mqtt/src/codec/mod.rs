//! The packets of MQTT 3.1.1 and 5, in both roles.
//!
//! Decoding borrows: a [`Packet`] is a view of the bytes that it was read from, checked as a whole
//! before it is handed out, so that later steps cannot fail. Nothing is allocated, and a packet
//! above the given size is refused by its fixed header alone. Encoding appends to a `Vec`.
//!
//! What is checked here is what a packet may say in itself. What a peer may say at this moment
//! (roles, order, quotas) is the session's business.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod ack;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod malformed;
pub mod property;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod unsubscribe;

mod packet;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod writer;

pub use packet::{Decoded, Packet, decode};

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1 ("`MQIsdp`", protocol level 3): 3.1.1 with bits that mean nothing, and DUP where something is sent again.
    V31,
    /// MQTT 3.1.1 (protocol level 4).
    V311,
    /// MQTT 5.0 (protocol version 5).
    V5,
}
