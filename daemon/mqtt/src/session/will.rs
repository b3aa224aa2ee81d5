//! The message that a client leaves behind.

use alloc::boxed::Box;

use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;

/// What to publish when a connection has ended without DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The client that left it.
    pub client: Box<str>,
    /// Seconds to wait (MQTT-3.1.3-9); never longer than the session lasts.
    pub delay_s: u32,
    topic: Box<str>,
    payload: Box<[u8]>,
    properties: Box<[u8]>,
    qos: Qos,
    retain: bool,
}

impl Will {
    /// The event to append.
    #[must_use]
    pub fn event(&self, time: Timestamp) -> Event<'_> {
        Event {
            topic: &self.topic,
            payload: &self.payload,
            client: &self.client,
            time,
            qos: self.qos,
            retain: self.retain,
            origin: Origin::Device,
            properties: Properties(&self.properties),
        }
    }
}
