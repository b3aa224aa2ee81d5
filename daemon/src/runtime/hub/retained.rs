//! The last message of each topic that was published to be kept (MQTT 5.0, 3.3.1.3).
//!
//! Invariant: nobody is shown a message that is not durable. What is not yet waits in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core::ops::Bound;

use tributary_core::Offset;

use super::mailbox::Message;

/// All retained messages together, in bytes; more are refused.
pub const RETAINED_BYTES_MAX: usize = 16 << 20;
/// What each takes beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    topics: BTreeMap<Box<str>, Arc<Message>>,
    bytes: usize,
    pending: VecDeque<Arc<Message>>,
    pending_bytes: usize,
}

impl Retained {
    /// Whether a message to `topic` of so many bytes may be kept, in the place of the one that is kept there.
    pub(super) fn has_room(&self, topic: &str, bytes: usize) -> bool {
        let replaced = self.topics.get(topic).map_or(0, |before| cost(before));
        self.bytes + self.pending_bytes + bytes + ENTRY_BYTES <= RETAINED_BYTES_MAX + replaced
    }

    /// A message to be kept was left for the log; all below `durable` is durable.
    pub(super) fn note(&mut self, message: Arc<Message>, durable: Offset) {
        self.settle(durable);
        self.pending_bytes += cost(&message);
        let behind = self.pending.partition_point(|other| other.offset < message.offset);
        self.pending.insert(behind, message);
    }

    /// Shows what is durable by now.
    pub(super) fn settle(&mut self, durable: Offset) {
        while let Some(message) = self.pending.pop_front_if(|message| message.offset < durable) {
            self.pending_bytes -= cost(&message);
            self.keep(&message);
        }
    }

    /// Keeps a message in the place of the one before; one without a payload removes it
    /// (MQTT-3.3.1-6).
    pub(super) fn keep(&mut self, message: &Arc<Message>) {
        let event = message.event();
        if let Some(before) = self.topics.remove(event.topic) {
            self.bytes -= cost(&before);
        }
        if !event.payload.is_empty() {
            self.bytes += cost(message);
            self.topics.insert(event.topic.into(), Arc::clone(message));
        }
    }

    /// Those among which are all that `filter` selects, behind the topic `after`, in order.
    pub(super) fn around<'a>(
        &'a self,
        filter: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Message>> {
        let (prefix, is_wild) = match filter.find(['+', '#']) {
            // `a/#` selects `a`, too.
            Some(wild) => (filter[..wild].trim_end_matches('/'), true),
            None => (filter, false),
        };
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        self.topics
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(
                move |(name, _)| {
                    if is_wild { name.starts_with(prefix) } else { ***name == *prefix }
                },
            )
            .map(|(_, message)| message)
    }

    pub(super) fn find(&self, offset: Offset) -> Option<&Arc<Message>> {
        self.topics.values().find(|message| message.offset == offset)
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }
}

fn cost(message: &Message) -> usize {
    message.bytes() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::{Age, Timestamp};
    use tributary_core::topic;

    fn message(topic: &str, payload: &[u8], offset: u64) -> Arc<Message> {
        let event = Event {
            topic,
            payload,
            client: "c",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        Arc::new(Message::of(&event, Offset(offset), Age(0)))
    }

    fn selected(retained: &Retained, filter: &str, after: Option<&str>) -> Vec<u64> {
        let around = retained.around(filter, after);
        let selects = |message: &&Arc<Message>| topic::matches(filter, message.event().topic);
        around.filter(selects).map(|message| message.offset.0).collect()
    }

    #[test]
    fn the_last_durable_message_of_a_topic_is_kept() {
        let mut retained = Retained::default();
        retained.note(message("a", b"2", 2), Offset(0));
        retained.note(message("a", b"1", 1), Offset(0));
        let one = cost(&message("a", b"1", 1));
        assert_eq!(retained.pending_bytes, 2 * one);
        assert_eq!(selected(&retained, "#", None), [0; 0]);
        retained.settle(Offset(2));
        assert_eq!(selected(&retained, "#", None), [1]);
        retained.note(message("a", b"", 3), Offset(3));
        assert_eq!(selected(&retained, "a", None), [2]);
        retained.settle(Offset(4));
        assert_eq!((retained.len(), retained.bytes, retained.pending_bytes), (0, 0, 0));
    }

    #[test]
    fn filters_select_as_they_do_for_messages_that_come() {
        let mut retained = Retained::default();
        for (offset, name) in ["a", "a/b", "a/b/c", "ab", "b/a", "$SYS/a"].iter().enumerate() {
            retained.keep(&message(name, b"x", offset as u64));
        }
        for (filter, expected) in [
            ("a/#", &[0, 1, 2][..]),
            ("a", &[0]),
            ("+", &[0, 3]),
            ("#", &[0, 1, 2, 3, 4]),
            ("+/a", &[4]),
            ("a/+/c", &[2]),
            ("$SYS/#", &[5]),
        ] {
            assert_eq!(selected(&retained, filter, None), expected, "{filter}");
        }
        assert_eq!(selected(&retained, "a/#", Some("a")), [1, 2]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut retained = Retained::default();
        let payload = vec![0; 256 << 10];
        let kept = (0..100_u64)
            .take_while(|offset| {
                let topic = format!("t/{offset}");
                let room = retained.has_room(&topic, payload.len());
                if room {
                    retained.keep(&message(&topic, &payload, *offset));
                }
                room
            })
            .count();
        assert_eq!(kept, 63);
        // The last value of a topic never stands in the way of the next one.
        let whole = message("t/5", &payload, 0).bytes();
        let left = RETAINED_BYTES_MAX - retained.bytes;
        assert!(retained.has_room("t/5", whole + left));
        assert!(!retained.has_room("t/5", whole + left + 1));
    }
}
