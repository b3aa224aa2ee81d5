//! From the server to the client.
//!
//! Invariant: no more messages above QoS 0 are under way than the client and the settings allow
//! (MQTT-3.3.4-9), each with an identifier of its own (MQTT-2.2.1-4).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::limits::TOPIC_BYTES_MAX;
use tributary_core::properties;
use tributary_core::record::{Event, Qos};

use crate::codec::property::Property;
use crate::codec::publish::Delivery;
use crate::codec::{Version, writer};
use crate::limits;
use crate::subscriptions::Grant;

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
    /// As many are under way as the client takes: keep it, and try again after
    /// [`super::Effect::Acknowledged`].
    Busy,
    /// Larger than the client takes: counts as delivered (MQTT-3.1.2-25).
    TooLarge,
    /// Of no use any more (MQTT-3.3.2-5): counts as delivered.
    Expired,
    /// The connection has ended, or is not accepted yet.
    NotConnected,
}

/// What is under way to a client, and what it takes.
#[derive(Debug)]
pub(super) struct Outbound {
    in_flight: VecDeque<NonZeroU16>,
    in_flight_max: NonZeroU16,
    last_id: u16,
    /// In bytes with the fixed header.
    pub(super) packet_bytes_max: u32,
}

impl Outbound {
    pub(super) const fn new(in_flight_max: NonZeroU16) -> Self {
        Self {
            in_flight: VecDeque::new(),
            in_flight_max,
            last_id: 0,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
        }
    }

    /// The client wants no more than `receive_maximum` under way.
    pub(super) fn limit(&mut self, receive_maximum: NonZeroU16) {
        self.in_flight_max = self.in_flight_max.min(receive_maximum);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.len() >= usize::from(self.in_flight_max.get())
    }

    /// The client has acknowledged a message. Whether it was under way: if not, that is no error
    /// (it may belong to an earlier connection).
    pub(super) fn handle_puback(&mut self, packet_id: NonZeroU16) -> bool {
        let found = self.in_flight.iter().position(|&id| id == packet_id);
        found.and_then(|index| self.in_flight.remove(index)).is_some()
    }

    /// Encodes a message, unless there is a reason against it.
    pub(super) fn deliver(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Delivered {
        let expiry_s = match remaining_s(message) {
            Remaining::Never => None,
            Remaining::Seconds(seconds) => Some(seconds),
            Remaining::Over => return Delivered::Expired,
        };
        let delivery = match message.event.qos.min(grant.qos) {
            Qos::AtMostOnce => Delivery::AtMostOnce,
            Qos::AtLeastOnce | Qos::ExactlyOnce if self.is_busy() => return Delivered::Busy,
            Qos::AtLeastOnce | Qos::ExactlyOnce => {
                Delivery::AtLeastOnce { packet_id: self.free_id(), dup: false }
            }
        };
        let start = out.len();
        let retain = grant.retain_as_published && message.event.retain;
        let head = Head { delivery, retain, expiry_s, identifiers: grant.identifiers, version };
        if !head.encode(&message.event, self.packet_bytes_max, out) {
            out.truncate(start);
            return Delivered::TooLarge;
        }
        if let Some(packet_id) = delivery.packet_id() {
            self.last_id = packet_id.get();
            self.in_flight.push_back(packet_id);
        }
        Delivered::Sent
    }

    /// The next identifier that is not under way.
    fn free_id(&self) -> NonZeroU16 {
        let mut id = NonZeroU16::MIN.saturating_add(self.last_id % u16::MAX);
        while self.in_flight.contains(&id) {
            id = NonZeroU16::MIN.saturating_add(id.get() % u16::MAX);
        }
        id
    }

    /// Gives back what a burst has left.
    pub(super) fn shrink(&mut self) {
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
    }
}

/// What a forwarded PUBLISH has in front of its payload, apart from what the event says.
struct Head<'a> {
    delivery: Delivery,
    retain: bool,
    expiry_s: Option<u32>,
    identifiers: &'a [NonZeroU32],
    version: Version,
}

impl Head<'_> {
    /// Appends the packet. `false` if it is too large; then a part of it may be there.
    fn encode(&self, event: &Event<'_>, packet_bytes_max: u32, out: &mut Vec<u8>) -> bool {
        if event.topic.len() > TOPIC_BYTES_MAX {
            return false;
        }
        let start = out.len();
        writer::binary(out, event.topic.as_bytes());
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
        for &identifier in self.identifiers {
            Property::SubscriptionIdentifier(identifier).encode(out);
        }
    }
}

/// For how long a message is of use.
enum Remaining {
    Never,
    Seconds(u32),
    Over,
}

fn remaining_s(message: &Message<'_>) -> Remaining {
    let expiry = message.event.properties.iter().find_map(|property| match property {
        properties::Property::MessageExpiry(seconds) => Some(seconds),
        _ => None,
    });
    match (expiry, message.waited_s) {
        (None, _) => Remaining::Never,
        (Some(expiry), 0) => Remaining::Seconds(expiry),
        (Some(expiry), waited) if waited >= expiry => Remaining::Over,
        (Some(expiry), waited) => Remaining::Seconds(expiry - waited),
    }
}
