//! All packets.

use alloc::vec::Vec;

use super::Version;
use super::connect::Connect;
use super::malformed::Malformed;
use super::publish::Publish;
use super::subscribe::Subscribe;
use super::unsubscribe::Unsubscribe;

/// Any packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client introduces itself.
    Connect(Connect<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A client asks for messages.
    Subscribe(Subscribe<'a>),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
}

/// What the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The packet is not all there.
    Incomplete,
    /// A packet, and the bytes that it took.
    Packet(Packet<'a>, usize),
}

/// Reads the packet that `bytes` begin with. Without a `version` it must be a CONNECT.
///
/// # Errors
/// If it breaks a rule, or has more than `packet_bytes_max` bytes.
pub fn decode(
    bytes: &[u8],
    version: Option<Version>,
    packet_bytes_max: u32,
) -> Result<Decoded<'_>, Malformed> {
    todo!()
}

impl Packet<'_> {
    /// Appends the packet. (A CONNECT says its version itself.)
    ///
    /// # Panics
    /// If a field is longer than MQTT can spell.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        todo!()
    }
}
