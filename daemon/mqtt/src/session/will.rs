//! The message that a client leaves behind.

use alloc::boxed::Box;
use alloc::vec::Vec;

use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;

use crate::codec::connect::LastWill;
use crate::codec::property::Property;

/// What to publish when a connection has ended without DISCONNECT (MQTT-3.1.2-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    client: Box<str>,
    delay_s: u32,
    topic: Box<str>,
    payload: Box<[u8]>,
    properties: Box<[u8]>,
    qos: Qos,
    retain: bool,
}

impl Will {
    /// Keeps the will of a CONNECT.
    pub(super) fn new(will: &LastWill<'_>) -> Self {
        let mut delay_s = 0;
        let mut properties = Vec::new();
        for property in will.properties.iter() {
            match property {
                Property::WillDelay(seconds) => delay_s = seconds,
                other => other.encode(&mut properties),
            }
        }
        Self {
            client: Box::default(),
            delay_s,
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: properties.into(),
            qos: will.qos,
            retain: will.retain,
        }
    }

    /// The will of the client with this identifier.
    pub(super) fn of(mut self, client: &str) -> Self {
        self.client = client.into();
        self
    }

    /// Seconds that the client wants it held back (MQTT-3.1.3-9). They end with the session at the
    /// latest.
    #[must_use]
    pub const fn delay_s(&self) -> u32 {
        self.delay_s
    }

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
            packet_id: None,
            properties: Properties(&self.properties),
        }
    }
}
