//! QoS 2 in both directions, and what a session remembers from one connection to the next.
//!
//! Inbound, method B of the specification (MQTT 5.0, figure 4.3): the event is handed on with the
//! PUBLISH, and its identifier remembered until the PUBREL.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::Offset;

use super::inbound::Arrival;
use super::{Effect, InFlight, Phase, Session};
use crate::codec::ack::Ack;
use crate::codec::malformed::Malformed;
use crate::codec::property::Properties;
use crate::codec::publish::Publish;
use crate::codec::reason::Reason;
use crate::codec::{Packet, Version};

/// What a session remembers of the messages under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// QoS 2, from the client: identifiers that it has not released, and the events that came with them. One
    /// may not be durable yet.
    pub unreleased: Vec<(NonZeroU16, Offset)>,
    /// To the client, in the order in which they were sent first.
    pub in_flight: Vec<InFlight>,
}

/// What became of a message that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Its identifier is free again.
    Free,
    /// It counts as received. Once that is on its way to the log, [`Session::hold_pubrel`].
    Received,
    /// The PUBREL is encoded.
    Released,
}

/// Bytes that wait until the change with this number is durable.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) change: u64,
    pub(super) answer: HeldAnswer,
}

#[derive(Debug)]
pub(super) enum HeldAnswer {
    Pubcomp(NonZeroU16),
    Pubrel(NonZeroU16),
    Encoded(Box<[u8]>),
}

impl Session {
    /// Whether it was accepted.
    #[must_use]
    pub const fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// What is to be remembered when the connection ends; `None` if it was never accepted.
    #[must_use]
    pub fn keep(&self) -> Option<Kept> {
        self.welcomed.then(|| Kept {
            unreleased: self.unacked.unreleased(),
            in_flight: self.outbound.in_flight().copied().collect(),
        })
    }

    /// Messages with an identifier that wait for [`Session::deliver_reserved`], in order: those of
    /// an earlier connection (MQTT-4.4.0-1), and those that are reserved.
    pub fn unsent(&self) -> impl Iterator<Item = &InFlight> {
        self.outbound
            .in_flight()
            .filter(|entry| matches!(entry.phase, Phase::Reserved | Phase::SentBefore))
    }

    /// What is under way to the client.
    pub fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        self.outbound.in_flight()
    }

    /// The oldest place in the log of a message that is under way.
    #[must_use]
    pub fn oldest_in_flight(&self) -> Option<Offset> {
        self.outbound.in_flight().map(|entry| entry.offset).min()
    }

    /// A message that has an identifier cannot be sent any more: it is too large, left the log, or may
    /// not be read. Was it sent on an earlier connection, at QoS 2, the client may hold the
    /// identifier and would take the next message under it for this one: only a PUBREL frees it at
    /// both ends.
    pub fn withdraw(&mut self, packet_id: NonZeroU16, out: &mut Vec<u8>) -> Withdrawn {
        if !self.outbound.withdraw(packet_id) {
            return Withdrawn::Free;
        }
        if self.outbound.lasting {
            return Withdrawn::Received;
        }
        Packet::PubRel(Ack::success(packet_id)).encode(self.version, out);
        Withdrawn::Released
    }

    /// The PUBCOMP of [`Effect::Released`] leaves when the change with this number is durable.
    pub fn hold_pubcomp(&mut self, packet_id: NonZeroU16, change: u64) {
        self.held.push_back(Held { change, answer: HeldAnswer::Pubcomp(packet_id) });
    }

    /// The PUBREL of [`Effect::Received`] leaves when the change with this number is durable.
    pub fn hold_pubrel(&mut self, packet_id: NonZeroU16, change: u64) {
        self.held.push_back(Held { change, answer: HeldAnswer::Pubrel(packet_id) });
    }

    /// Encoded packets leave when the change with this number is durable.
    pub fn hold_answer(&mut self, encoded: &[u8], change: u64) {
        let answer = HeldAnswer::Encoded(Box::from(encoded));
        self.held.push_back(Held { change, answer });
    }

    /// Whether an answer waits that messages are not to overtake: clients expect the SUBACK before
    /// what the subscription brings, though the specification lets it come later (MQTT 5.0, 3.8.4).
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        self.held.iter().any(|held| matches!(held.answer, HeldAnswer::Encoded(_)))
    }

    /// Goes on with what an earlier connection has left. The client waits for the PUBRELs.
    pub(super) fn resume(&mut self, kept: Kept, out: &mut Vec<u8>) {
        self.unacked.resume(&kept.unreleased);
        for entry in kept.in_flight.iter().filter(|entry| entry.phase == Phase::Received) {
            Packet::PubRel(Ack::success(entry.packet_id)).encode(self.version, out);
        }
        self.outbound.resume(kept.in_flight);
    }

    /// Encodes what waited for changes up to `durable`.
    pub(super) fn release_held(&mut self, durable: u64, out: &mut Vec<u8>) {
        while let Some(held) = self.held.pop_front_if(|held| held.change <= durable) {
            match held.answer {
                HeldAnswer::Pubcomp(packet_id) => {
                    self.unacked.handle_completed(packet_id);
                    Packet::PubComp(Ack::success(packet_id)).encode(self.version, out);
                }
                HeldAnswer::Pubrel(packet_id) => {
                    Packet::PubRel(Ack::success(packet_id)).encode(self.version, out);
                }
                HeldAnswer::Encoded(bytes) => out.extend_from_slice(&bytes),
            }
        }
    }

    /// A message at QoS 2: handed on once.
    pub(super) fn handle_exactly_once<'a>(
        &mut self,
        packet_id: NonZeroU16,
        publish: Publish<'a>,
    ) -> Result<Effect<'a>, Malformed> {
        match self.unacked.arrival(packet_id) {
            Arrival::New => {
                self.unacked.handle_received(packet_id);
                Ok(Effect::Publish(publish))
            }
            Arrival::Again => {
                self.unacked.handle_received_again(packet_id);
                Ok(Effect::None)
            }
            Arrival::InUse => Err(Malformed::protocol("MQTT-2.2.1-3")),
        }
    }

    /// The client releases the identifier of a message that it sent.
    pub(super) fn handle_pubrel(
        &mut self,
        packet_id: NonZeroU16,
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        match self.unacked.handle_release(packet_id) {
            Some(true) if self.outbound.lasting => return Effect::Released(packet_id),
            // The answer is on its way.
            Some(false) => return Effect::None,
            Some(true) => {
                self.unacked.handle_completed(packet_id);
                Packet::PubComp(Ack::success(packet_id)).encode(self.version, out);
            }
            None => Packet::PubComp(self.unknown(packet_id)).encode(self.version, out),
        }
        Effect::None
    }

    /// The client has a message that it was sent, or refuses it.
    pub(super) fn handle_pubrec(&mut self, ack: Ack<'_>, out: &mut Vec<u8>) -> Effect<'static> {
        let packet_id = ack.packet_id;
        if ack.reason.is_failure() {
            return match self.outbound.handle_over(packet_id) {
                Some(over) => Effect::Acknowledged(over),
                None => Effect::None,
            };
        }
        match self.outbound.handle_pubrec(packet_id) {
            Some(true) if self.outbound.lasting => return Effect::Received(packet_id),
            Some(false) if self.holds_pubrel(packet_id) => {}
            Some(_) => Packet::PubRel(Ack::success(packet_id)).encode(self.version, out),
            None => Packet::PubRel(self.unknown(packet_id)).encode(self.version, out),
        }
        Effect::None
    }

    /// A message to the client is over.
    pub(super) fn handle_pubcomp(&mut self, packet_id: NonZeroU16) -> Effect<'static> {
        match self.outbound.handle_over(packet_id) {
            Some(over) => Effect::Acknowledged(over),
            None => Effect::None,
        }
    }

    fn holds_pubrel(&self, packet_id: NonZeroU16) -> bool {
        let same = |held: &Held| matches!(held.answer, HeldAnswer::Pubrel(id) if id == packet_id);
        self.held.iter().any(same)
    }

    /// How an identifier that is not known is answered: 3.1.1 cannot tell.
    fn unknown(&self, packet_id: NonZeroU16) -> Ack<'static> {
        let reason = match self.version {
            Version::V5 => Reason::PacketIdNotFound,
            Version::V31 | Version::V311 => Reason::Success,
        };
        Ack { packet_id, reason, properties: Properties::NONE }
    }
}
