//! PUBLISH (MQTT 5.0, 3.3): the packet that everything is about.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::record::Qos;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::{Version, writer};

/// A message on its way, to or from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// How it is delivered.
    pub delivery: Delivery,
    /// RETAIN.
    pub retain: bool,
    /// Without wildcards. Empty only in MQTT 5 and with a topic alias in the properties.
    pub topic: &'a str,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// What is said.
    pub payload: &'a [u8],
}

/// Quality of service, with what only exists above QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// What the PUBACK will name.
        packet_id: NonZeroU16,
        /// It may have been sent before.
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// What the PUBREC will name.
        packet_id: NonZeroU16,
        /// It may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// The quality of service alone.
    #[must_use]
    pub const fn qos(self) -> Qos {
        match self {
            Self::AtMostOnce => Qos::AtMostOnce,
            Self::AtLeastOnce { .. } => Qos::AtLeastOnce,
            Self::ExactlyOnce { .. } => Qos::ExactlyOnce,
        }
    }

    /// Present above QoS 0.
    #[must_use]
    pub const fn packet_id(self) -> Option<NonZeroU16> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { packet_id, .. } | Self::ExactlyOnce { packet_id, .. } => {
                Some(packet_id)
            }
        }
    }

    /// The first byte of the packet.
    pub(crate) const fn first_byte(self, retain: bool) -> u8 {
        let (qos, dup) = match self {
            Self::AtMostOnce => (0, false),
            Self::AtLeastOnce { dup, .. } => (1, dup),
            Self::ExactlyOnce { dup, .. } => (2, dup),
        };
        0x30 | (dup as u8) << 3 | qos << 1 | retain as u8
    }
}

impl<'a> Publish<'a> {
    /// Reads what follows the fixed header with `flags`.
    pub(super) fn decode(flags: u8, body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let topic = reader.topic()?;
        let dup = flags & 0b1000 != 0;
        let delivery = match (flags >> 1) & 0b11 {
            0 if dup => return Err(Malformed::packet("MQTT-3.3.1-2")),
            0 => Delivery::AtMostOnce,
            1 => Delivery::AtLeastOnce { packet_id: reader.packet_id()?, dup },
            2 => Delivery::ExactlyOnce { packet_id: reader.packet_id()?, dup },
            _ => return Err(Malformed::packet("MQTT-3.3.1-4")),
        };
        let properties = Properties::decode(Carrier::Publish, version, &mut reader)?;
        if topic.is_empty() && properties.topic_alias().is_none() {
            return Err(Malformed::protocol("3.3.2.1"));
        }
        Ok(Self { delivery, retain: flags & 1 != 0, topic, properties, payload: reader.rest() })
    }

    /// Appends the packet.
    ///
    /// # Panics
    /// If the topic has more than 65,535 bytes or the packet more than MQTT can spell.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let packet_id = self.delivery.packet_id();
        let length = 2
            + self.topic.len()
            + packet_id.map_or(0, |_| 2)
            + self.properties.encoded_bytes(version)
            + self.payload.len();
        out.reserve(5 + length);
        out.push(self.delivery.first_byte(self.retain));
        writer::variable(out, length);
        writer::binary(out, self.topic.as_bytes());
        if let Some(packet_id) = packet_id {
            writer::packet_id(out, packet_id);
        }
        self.properties.encode(version, out);
        out.extend_from_slice(self.payload);
    }
}
