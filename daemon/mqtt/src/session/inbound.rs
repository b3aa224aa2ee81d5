//! What a client has published and waits to see acknowledged, and the topics behind its aliases.
//!
//! Invariants: the acknowledgements leave in the order in which the publishes came
//! (MQTT-4.6.0-2), each after its event is durable; what is undecided is younger than what is
//! decided.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::Offset;

use crate::codec::malformed::Malformed;
use crate::codec::reason::Reason;
use crate::limits;

/// Publishes above QoS 0 whose PUBACK has not left, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    queue: VecDeque<Entry>,
    /// So many at the back still wait for the log's answer.
    undecided: usize,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Undecided { packet_id: NonZeroU16 },
    Appended { packet_id: NonZeroU16, offset: Offset },
    Refused { packet_id: NonZeroU16, reason: Reason },
}

const _: () = assert!(size_of::<Entry>() <= 16, "1024 of them wait for a slow disk in 16 KiB");

impl Unacked {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// A publish was handed to the driver.
    pub(super) fn handle_published(&mut self, packet_id: NonZeroU16) {
        self.queue.push_back(Entry::Undecided { packet_id });
        self.undecided += 1;
    }

    /// The oldest undecided publish is in the log.
    pub(super) fn handle_appended(&mut self, packet_id: NonZeroU16, offset: Offset) {
        self.decide(packet_id, Entry::Appended { packet_id, offset });
    }

    /// The oldest undecided publish is not taken.
    pub(super) fn handle_refused(&mut self, packet_id: NonZeroU16, reason: Reason) {
        self.decide(packet_id, Entry::Refused { packet_id, reason });
    }

    fn decide(&mut self, packet_id: NonZeroU16, decision: Entry) {
        let oldest = self.queue.len() - self.undecided;
        let entry = self.queue.get_mut(oldest).expect("a publish is answered once");
        assert!(
            matches!(*entry, Entry::Undecided { packet_id: asked } if asked == packet_id),
            "publishes are answered in their order"
        );
        *entry = decision;
        self.undecided -= 1;
    }

    /// Takes the oldest acknowledgement that may leave now that everything below `end` is durable.
    pub(super) fn poll_acknowledgement(&mut self, end: Offset) -> Option<(NonZeroU16, Reason)> {
        let acknowledgement = match *self.queue.front()? {
            Entry::Appended { packet_id, offset } if offset < end => (packet_id, Reason::Success),
            Entry::Refused { packet_id, reason } => (packet_id, reason),
            Entry::Undecided { .. } | Entry::Appended { .. } => return None,
        };
        self.queue.pop_front();
        Some(acknowledgement)
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
    pub(super) fn set(&mut self, alias: NonZeroU16, topic: &str) -> Result<(), Malformed> {
        let index = usize::from(alias.get()) - 1;
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, Box::default);
        }
        let Some(known) = self.topics.get_mut(index) else { return Ok(()) };
        if **known == *topic {
            return Ok(());
        }
        let bytes = self.bytes - known.len() + topic.len();
        if bytes > limits::TOPIC_ALIAS_BYTES_MAX {
            return Err(Malformed::new(Reason::QuotaExceeded, "4.13.1"));
        }
        self.bytes = bytes;
        *known = topic.into();
        Ok(())
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
