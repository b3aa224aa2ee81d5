//! How an event is spelled as a PUBLISH to a client.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::limits::TOPIC_BYTES_MAX;
use tributary_core::properties;
use tributary_core::record::Event;

use super::Message;
use crate::codec::property::Property;
use crate::codec::publish::Delivery;
use crate::codec::{Version, writer};
use crate::limits::{TOPIC_ALIAS_BYTES_FREE, TOPIC_ALIASES_OUT_MAX};

/// What a forwarded PUBLISH has in front of its payload, apart from what the event says.
pub(super) struct Head<'a> {
    pub(super) delivery: Delivery,
    pub(super) retain: bool,
    pub(super) expiry_s: Option<u32>,
    pub(super) identifiers: &'a [NonZeroU32],
    pub(super) version: Version,
    pub(super) alias: Alias,
}

impl Head<'_> {
    /// Appends the packet. `false` if it is too large; then a part of it may be there.
    pub(super) fn encode(
        &self,
        event: &Event<'_>,
        packet_bytes_max: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        if event.topic.len() > TOPIC_BYTES_MAX {
            return false;
        }
        let start = out.len();
        let topic = if matches!(self.alias, Alias::Known(_)) { "" } else { event.topic };
        writer::binary(out, topic.as_bytes());
        if let Some(packet_id) = self.delivery.packet_id() {
            writer::packet_id(out, packet_id);
        }
        if self.version == Version::V5 {
            writer::with_length(out, |out| self.encode_properties(event.properties, out));
        }
        let length = out.len() - start + event.payload.len();
        if 1 + writer::variable_bytes(length) + length > packet_bytes_max as usize {
            return false;
        }
        writer::insert(out, start, |out| {
            out.push(self.delivery.first_byte(self.retain));
            writer::variable(out, length);
        });
        out.extend_from_slice(event.payload);
        true
    }

    /// Passes on what the publisher sent, in its order (MQTT-3.3.2-17, MQTT-3.3.2-18).
    fn encode_properties(&self, properties: properties::Properties<'_>, out: &mut Vec<u8>) {
        for property in properties {
            let forwarded = match property {
                properties::Property::PayloadFormatText(text) => Property::PayloadFormatText(text),
                properties::Property::MessageExpiry(_) => continue,
                properties::Property::ContentType(name) => Property::ContentType(name),
                properties::Property::ResponseTopic(topic) => Property::ResponseTopic(topic),
                properties::Property::CorrelationData(data) => Property::CorrelationData(data),
                properties::Property::User(name, value) => Property::User(name, value),
            };
            forwarded.encode(out);
        }
        if let Some(seconds) = self.expiry_s {
            Property::MessageExpiry(seconds).encode(out);
        }
        if let Alias::New(alias) | Alias::Known(alias) = self.alias {
            Property::TopicAlias(alias).encode(out);
        }
        for &identifier in self.identifiers {
            Property::SubscriptionIdentifier(identifier).encode(out);
        }
    }
}

/// A number in a topic's place (MQTT 5.0, 3.3.2.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// The topic has none.
    None,
    /// It gets this one.
    New(NonZeroU16),
    /// It has this one.
    Known(NonZeroU16),
}

/// The numbers that topics have towards one client: its first topics get them, and keep them.
#[derive(Debug)]
pub(super) struct AliasesOut {
    max: usize,
    topics: Vec<Box<str>>,
    bytes: usize,
}

impl AliasesOut {
    pub(super) const NONE: Self = Self { max: 0, topics: Vec::new(), bytes: 0 };

    /// The client takes numbers up to `max` (MQTT-3.1.2-26).
    pub(super) fn up_to(max: u16) -> Self {
        Self { max: usize::from(max).min(TOPIC_ALIASES_OUT_MAX), ..Self::NONE }
    }

    /// What stands for `topic`.
    pub(super) fn of(&self, topic: &str) -> Alias {
        // A short topic is not made shorter by a property of three bytes.
        if self.max == 0 || topic.len() <= 4 {
            return Alias::None;
        }
        let number = |index: usize| NonZeroU16::new(u16::try_from(index + 1).unwrap_or(0));
        let known = self.topics.iter().position(|other| **other == *topic);
        if let Some(alias) = known.and_then(number) {
            return Alias::Known(alias);
        }
        let fits =
            self.topics.len() < self.max && self.bytes + topic.len() <= TOPIC_ALIAS_BYTES_FREE;
        match number(self.topics.len()) {
            Some(alias) if fits => Alias::New(alias),
            _ => Alias::None,
        }
    }

    /// The packet that told so was encoded.
    pub(super) fn sent(&mut self, alias: Alias, topic: &str) {
        if let Alias::New(_) = alias {
            self.bytes += topic.len();
            self.topics.push(topic.into());
        }
    }
}

/// For how long a message is of use.
pub(super) enum Remaining {
    Never,
    Seconds(u32),
    Over,
}

pub(super) fn remaining_s(message: &Message<'_>) -> Remaining {
    match (message.event.properties.expiry_s(), message.waited_s) {
        (None, _) => Remaining::Never,
        (Some(expiry), 0) => Remaining::Seconds(expiry),
        (Some(expiry), waited) if waited >= expiry => Remaining::Over,
        (Some(expiry), waited) => Remaining::Seconds(expiry - waited),
    }
}
