//! What a client has published and waits to see acknowledged, the identifiers of QoS 2 that it has
//! not released, and the topics behind its aliases.
//!
//! Invariants: the acknowledgements leave in the order in which the publishes came
//! (MQTT-4.6.0-2, MQTT-4.6.0-3), each after its event is durable; what is undecided is younger than
//! what is decided; between a PUBLISH at QoS 2 and its PUBREL no second one with its identifier
//! becomes an event (MQTT-4.3.3-10); what is no event is not remembered beyond its connection.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::Offset;

use crate::codec::malformed::Malformed;
use crate::codec::reason::Reason;
use crate::limits;

/// Publishes above QoS 0 whose PUBACK or PUBREC has not left, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    queue: VecDeque<Entry>,
    /// So many at the back still wait for the log's answer.
    undecided: usize,
    /// So many are of QoS 1.
    at_least_once: usize,
    /// One more than may be is left unread until one of QoS 1 is acknowledged.
    is_held_back: bool,
    /// QoS 2: identifiers that the client has not released, or that it waits to see free again.
    received: BTreeMap<NonZeroU16, Received>,
}

/// How far a message at QoS 2 has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// The PUBLISH has come, and is no event: it waits to become one, or is refused.
    Handed,
    /// It is the event at this offset.
    Appended(Offset),
    /// The PUBREL has come: the PUBCOMP waits.
    Released,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    packet_id: NonZeroU16,
    exactly_once: bool,
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Undecided,
    Appended(Offset),
    Refused(Reason),
}

const _: () = assert!(size_of::<Entry>() <= 24, "1024 of them wait for a slow disk in 24 KiB");

/// An acknowledgement that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub(super) packet_id: NonZeroU16,
    /// PUBREC, else PUBACK.
    pub(super) exactly_once: bool,
    pub(super) reason: Reason,
}

/// What a PUBLISH at QoS 2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A message.
    New,
    /// The same message once more.
    Again,
    /// Its identifier is not free yet: the client did not wait for the PUBCOMP.
    InUse,
}

impl Unacked {
    /// Acknowledgements that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Publishes under way as the client counts them (MQTT 5.0, 4.9).
    pub(super) fn under_way(&self) -> usize {
        self.at_least_once + self.received.len()
    }

    /// One more than may be has come. Whether it can be left unread: those of QoS 1 before it only wait for the log.
    pub(super) const fn hold_back(&mut self) -> bool {
        self.is_held_back = self.at_least_once > 0;
        self.is_held_back
    }

    /// Whether one is left unread for now.
    pub(super) const fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// A publish at QoS 1 was handed to the driver.
    pub(super) fn handle_published(&mut self, packet_id: NonZeroU16) {
        self.at_least_once += 1;
        self.push(packet_id, false, Answer::Undecided);
        self.undecided += 1;
    }

    /// What a publish at QoS 2 is.
    pub(super) fn arrival(&self, packet_id: NonZeroU16) -> Arrival {
        match self.received.get(&packet_id) {
            None => Arrival::New,
            Some(Received::Handed | Received::Appended(_)) => Arrival::Again,
            Some(Received::Released) => Arrival::InUse,
        }
    }

    /// A new one was handed to the driver.
    pub(super) fn handle_received(&mut self, packet_id: NonZeroU16) {
        self.received.insert(packet_id, Received::Handed);
        self.push(packet_id, true, Answer::Undecided);
        self.undecided += 1;
    }

    /// One has come again: its PUBREC leaves again, unless the first still waits. On an earlier connection it
    /// may not have left: it waits for the event all the same.
    pub(super) fn handle_received_again(&mut self, packet_id: NonZeroU16) {
        let waits = |entry: &Entry| entry.exactly_once && entry.packet_id == packet_id;
        let Some(Received::Appended(offset)) = self.received.get(&packet_id).copied() else {
            return;
        };
        if !self.queue.iter().any(waits) {
            let decided = self.queue.len() - self.undecided;
            let answer = Answer::Appended(offset);
            self.queue.insert(decided, Entry { packet_id, exactly_once: true, answer });
        }
    }

    /// The client releases an identifier: whether it was there and is not released yet.
    pub(super) fn handle_release(&mut self, packet_id: NonZeroU16) -> Option<bool> {
        let received = self.received.get_mut(&packet_id)?;
        let first = *received != Received::Released;
        *received = Received::Released;
        Some(first)
    }

    /// The identifier is free again.
    pub(super) fn handle_completed(&mut self, packet_id: NonZeroU16) {
        self.received.remove(&packet_id);
    }

    /// The identifiers that are not released, with the events behind them: what the session remembers. Of a
    /// message that is no event nothing is remembered: its client sends it again, as a new one.
    pub(super) fn unreleased(&self) -> Vec<(NonZeroU16, Offset)> {
        let kept = self.received.iter().filter_map(|(packet_id, received)| match received {
            Received::Appended(offset) => Some((*packet_id, *offset)),
            Received::Handed | Received::Released => None,
        });
        kept.collect()
    }

    /// Goes on with what the session remembers.
    pub(super) fn resume(&mut self, unreleased: &[(NonZeroU16, Offset)]) {
        let received = |&(packet_id, offset)| (packet_id, Received::Appended(offset));
        self.received = unreleased.iter().map(received).collect();
    }

    /// The oldest undecided publish is in the log.
    pub(super) fn handle_appended(&mut self, packet_id: NonZeroU16, offset: Offset) {
        if self.decide(packet_id, Answer::Appended(offset))
            && let Some(received @ Received::Handed) = self.received.get_mut(&packet_id)
        {
            *received = Received::Appended(offset);
        }
    }

    /// The oldest undecided publish is not taken.
    pub(super) fn handle_refused(&mut self, packet_id: NonZeroU16, reason: Reason) {
        self.decide(packet_id, Answer::Refused(reason));
    }

    fn push(&mut self, packet_id: NonZeroU16, exactly_once: bool, answer: Answer) {
        self.queue.push_back(Entry { packet_id, exactly_once, answer });
    }

    /// Whether it was at QoS 2.
    fn decide(&mut self, packet_id: NonZeroU16, decision: Answer) -> bool {
        let oldest = self.queue.len() - self.undecided;
        let entry = self.queue.get_mut(oldest).expect("a publish is answered once");
        assert!(
            matches!(entry.answer, Answer::Undecided) && entry.packet_id == packet_id,
            "publishes are answered in their order"
        );
        entry.answer = decision;
        self.undecided -= 1;
        entry.exactly_once
    }

    /// Takes the oldest acknowledgement that may leave now that everything below `end` is durable.
    pub(super) fn poll_acknowledgement(&mut self, end: Offset) -> Option<Acknowledgement> {
        let Entry { packet_id, exactly_once, answer } = *self.queue.front()?;
        let reason = match answer {
            Answer::Appended(offset) if offset < end => Reason::Success,
            Answer::Refused(reason) => reason,
            Answer::Undecided | Answer::Appended(_) => return None,
        };
        self.queue.pop_front();
        if !exactly_once {
            self.at_least_once -= 1;
            self.is_held_back = false;
        } else if reason.is_failure() {
            // A refused message is over (MQTT-4.3.3-9).
            self.received.remove(&packet_id);
        }
        Some(Acknowledgement { packet_id, exactly_once, reason })
    }

    /// Gives back what a burst has left.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

/// The topics that a client has given numbers to (MQTT 5.0, 3.3.2.3.4).
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// Alias 1 first. Not set: empty.
    topics: Vec<Box<str>>,
    bytes: usize,
}

impl Aliases {
    /// `topic` has a number, [checked](check), from now on.
    pub(super) fn set(&mut self, alias: NonZeroU16, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, Box::default);
        }
        let Some(known) = self.topics.get_mut(index).filter(|known| ***known != *topic) else {
            return;
        };
        self.bytes = self.bytes - known.len() + topic.len();
        *known = topic.into();
    }

    /// What the topics take beyond what is everybody's.
    pub(super) const fn bytes_beyond(&self) -> usize {
        self.bytes.saturating_sub(limits::TOPIC_ALIAS_BYTES_FREE)
    }

    /// The topic that has the number `alias`.
    pub(super) fn resolve(&self, alias: NonZeroU16) -> Option<&str> {
        let topic = self.topics.get(usize::from(alias.get()) - 1)?;
        (!topic.is_empty()).then_some(topic)
    }
}

/// A number that was announced as allowed.
pub(super) fn check(alias: NonZeroU16, alias_max: u16) -> Result<(), Malformed> {
    if alias.get() <= alias_max {
        Ok(())
    } else {
        Err(Malformed::new(Reason::TopicAliasInvalid, "MQTT-3.3.2-9"))
    }
}
