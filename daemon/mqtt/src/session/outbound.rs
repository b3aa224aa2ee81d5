//! From the server to the client.
//!
//! Invariant: no more messages above QoS 0 are under way than the client and the settings allow
//! (MQTT-3.3.4-9), each with an identifier of its own (MQTT-2.2.1-4). At QoS 2 none is sent anew
//! with another identifier, and none as PUBLISH behind its PUBREL (MQTT-4.3.3-6).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::Offset;
use tributary_core::record::{Event, Qos};

use super::forward::{AliasesOut, Head, Remaining, remaining_s};
use crate::codec::Version;
use crate::codec::publish::Delivery;
use crate::limits;
use crate::subscriptions::Grant;

/// A message for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What was published.
    pub event: Event<'a>,
    /// Where it stands in the log.
    pub offset: Offset,
    /// It is sent because it was kept for new subscriptions (MQTT-3.3.1-8 (3.1.1)).
    pub retained: bool,
    /// Seconds since it came in: they count against its expiry (MQTT-3.3.2-6).
    pub waited_s: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Encoded for the client.
    Sent,
    /// It has an identifier, which has to be durable before it is sent by
    /// [`super::Session::deliver_reserved`]: only at QoS 2 in a session that lasts.
    Reserved(NonZeroU16),
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

/// A message above QoS 0 that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What the client knows it by.
    pub packet_id: NonZeroU16,
    /// Where it stands in the log.
    pub offset: Offset,
    /// QoS 2, else QoS 1.
    pub exactly_once: bool,
    /// It was a retained message.
    pub retained: bool,
    /// How far it has come.
    pub phase: Phase,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has an identifier and was not sent.
    Reserved,
    /// It was sent on this connection.
    Sent,
    /// It was sent on an earlier connection, and perhaps received.
    SentBefore,
    /// QoS 2: the client has it.
    Received,
}

/// What is under way to a client, and what it takes.
#[derive(Debug)]
pub(super) struct Outbound {
    in_flight: VecDeque<InFlight>,
    in_flight_max: NonZeroU16,
    last_id: u16,
    /// In bytes with the fixed header.
    pub(super) packet_bytes_max: u32,
    /// Identifiers of QoS 2 have to be durable before they are used.
    pub(super) lasting: bool,
    pub(super) aliases: AliasesOut,
}

impl Outbound {
    pub(super) const fn new(in_flight_max: NonZeroU16) -> Self {
        Self {
            in_flight: VecDeque::new(),
            in_flight_max,
            last_id: 0,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            lasting: false,
            aliases: AliasesOut::NONE,
        }
    }

    /// The client wants no more than `receive_maximum` under way.
    pub(super) fn limit(&mut self, receive_maximum: NonZeroU16) {
        self.in_flight_max = self.in_flight_max.min(receive_maximum);
    }

    /// Goes on with what was under way on an earlier connection.
    pub(super) fn resume(&mut self, in_flight: Vec<InFlight>) {
        self.last_id = in_flight.last().map_or(0, |last| last.packet_id.get());
        self.in_flight = in_flight.into();
        for entry in &mut self.in_flight {
            if entry.phase == Phase::Sent {
                entry.phase = Phase::SentBefore;
            }
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.len() >= usize::from(self.in_flight_max.get())
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.iter()
    }

    fn find(&mut self, packet_id: NonZeroU16, exactly_once: bool) -> Option<usize> {
        let same =
            |entry: &InFlight| entry.packet_id == packet_id && entry.exactly_once == exactly_once;
        self.in_flight.iter().position(same)
    }

    /// The client has acknowledged a message at QoS 1. If it was not under way that is no error
    /// (it may belong to an earlier connection).
    pub(super) fn handle_puback(&mut self, packet_id: NonZeroU16) -> Option<InFlight> {
        let index = self.find(packet_id, false)?;
        self.in_flight.remove(index)
    }

    /// The client has a message at QoS 2: whether it was under way, and says so for the first time.
    pub(super) fn handle_pubrec(&mut self, packet_id: NonZeroU16) -> Option<bool> {
        let index = self.find(packet_id, true)?;
        let entry = self.in_flight.get_mut(index)?;
        let first = entry.phase != Phase::Received;
        entry.phase = Phase::Received;
        Some(first)
    }

    /// A message at QoS 2 is over.
    pub(super) fn handle_over(&mut self, packet_id: NonZeroU16) -> Option<InFlight> {
        let index = self.find(packet_id, true)?;
        self.in_flight.remove(index)
    }

    /// Gives up a message that cannot be sent any more. Whether the client may hold its identifier:
    /// then it counts as received.
    pub(super) fn withdraw(&mut self, packet_id: NonZeroU16) -> bool {
        let same = |entry: &InFlight| entry.packet_id == packet_id;
        let Some(index) = self.in_flight.iter().position(same) else { return false };
        match self.in_flight.get_mut(index) {
            Some(entry) if entry.exactly_once && entry.phase != Phase::Reserved => {
                entry.phase = Phase::Received;
                true
            }
            _ => {
                self.in_flight.remove(index);
                false
            }
        }
    }

    /// Encodes a message, unless there is a reason against it.
    pub(super) fn deliver(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Delivered {
        if matches!(remaining_s(message), Remaining::Over) {
            return Delivered::Expired;
        }
        let qos = message.event.qos.min(grant.qos);
        if qos == Qos::AtMostOnce {
            return self.encode(message, grant, (Delivery::AtMostOnce, version), out);
        }
        if self.is_busy() {
            return Delivered::Busy;
        }
        let (packet_id, exactly_once) = (self.free_id(), qos == Qos::ExactlyOnce);
        let mut entry = InFlight {
            packet_id,
            offset: message.offset,
            exactly_once,
            retained: message.retained,
            phase: Phase::Reserved,
        };
        let delivered = if exactly_once && self.lasting {
            Delivered::Reserved(packet_id)
        } else {
            entry.phase = Phase::Sent;
            self.encode(message, grant, (entry.delivery(false), version), out)
        };
        if matches!(delivered, Delivered::Sent | Delivered::Reserved(_)) {
            self.last_id = packet_id.get();
            self.in_flight.push_back(entry);
        }
        delivered
    }

    /// Encodes a message that has its identifier already. `TooLarge`, too, if there is no such
    /// message, or the client has it.
    pub(super) fn deliver_reserved(
        &mut self,
        packet_id: NonZeroU16,
        (message, grant): (&Message<'_>, Grant<'_>),
        version: Version,
        out: &mut Vec<u8>,
    ) -> Delivered {
        let same = |entry: &&mut InFlight| entry.packet_id == packet_id;
        // It may be less than it was on the connection before (MQTT-3.3.4-9).
        let under_way = |entry: &&InFlight| matches!(entry.phase, Phase::Sent | Phase::Received);
        let sent = self.in_flight.iter().filter(under_way).count();
        let has_room = sent < usize::from(self.in_flight_max.get());
        let Some(entry) = self.in_flight.iter_mut().find(same) else { return Delivered::TooLarge };
        let again = match entry.phase {
            Phase::Reserved => false,
            Phase::SentBefore => true,
            Phase::Sent | Phase::Received => return Delivered::TooLarge,
        };
        if again && !has_room {
            return Delivered::Busy;
        }
        if !again && matches!(remaining_s(message), Remaining::Over) {
            return Delivered::Expired;
        }
        let delivery = entry.delivery(again);
        let delivered = self.encode(message, grant, (delivery, version), out);
        if delivered == Delivered::Sent
            && let Some(entry) = self.in_flight.iter_mut().find(same)
        {
            entry.phase = Phase::Sent;
        }
        delivered
    }

    fn encode(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        (delivery, version): (Delivery, Version),
        out: &mut Vec<u8>,
    ) -> Delivered {
        let expiry_s = match remaining_s(message) {
            Remaining::Never => None,
            Remaining::Seconds(seconds) => Some(seconds),
            Remaining::Over => Some(0),
        };
        let start = out.len();
        let retain = message.retained || grant.retain_as_published && message.event.retain;
        let alias = self.aliases.of(message.event.topic);
        let identifiers = grant.identifiers;
        let head = Head { delivery, retain, expiry_s, identifiers, version, alias };
        if !head.encode(&message.event, self.packet_bytes_max, out) {
            out.truncate(start);
            return Delivered::TooLarge;
        }
        self.aliases.sent(alias, message.event.topic);
        Delivered::Sent
    }

    /// The next identifier that is not under way.
    fn free_id(&self) -> NonZeroU16 {
        let mut id = NonZeroU16::MIN.saturating_add(self.last_id % u16::MAX);
        while self.in_flight.iter().any(|entry| entry.packet_id == id) {
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

impl InFlight {
    const fn delivery(&self, dup: bool) -> Delivery {
        let packet_id = self.packet_id;
        if self.exactly_once {
            Delivery::ExactlyOnce { packet_id, dup }
        } else {
            Delivery::AtLeastOnce { packet_id, dup }
        }
    }
}
