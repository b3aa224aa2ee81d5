//! From the server to the client.

use tributary_core::record::Event;

/// A message for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What was published.
    pub event: Event<'a>,
    /// Seconds since it came in: they count against its expiry (MQTT-3.3.2-6).
    pub waited_s: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Encoded for the client.
    Sent,
    /// As many are under way as the client takes (MQTT-3.3.4-9): keep it, try again after
    /// [`super::Effect::Acknowledged`].
    Busy,
    /// Larger than the client takes: counts as delivered (MQTT-3.1.2-25).
    TooLarge,
    /// Of no use any more (MQTT-3.3.2-5): counts as delivered.
    Expired,
}
