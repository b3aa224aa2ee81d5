//! The last message of each topic that was published to be kept (MQTT 5.0, 3.3.1.3).
//!
//! Invariants: nobody is shown a message that is not durable; what is not yet waits in order. What ends has a place
//! among those that end, not behind its end.

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core::ops::Bound;

use tributary_core::Offset;
use tributary_core::time::Age;

use super::mailbox::Message;
use crate::runtime::clock::Anchor;

/// All retained messages together, in bytes; more are refused.
pub const RETAINED_BYTES_MAX: usize = 16 << 20;
/// What each takes beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    topics: BTreeMap<Box<str>, Kept>,
    /// Those that end, by when that is looked at.
    ending: BTreeMap<(Age, Offset), Arc<Message>>,
    bytes: usize,
    pending: VecDeque<Arc<Message>>,
    pending_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    message: Arc<Message>,
    /// Its place among those that end.
    ends: Option<Age>,
}

impl Retained {
    /// Whether a message to `topic` of so many bytes may be kept, in the place of the one that is kept there.
    pub(super) fn has_room(&self, topic: &str, bytes: usize) -> bool {
        let replaced = self.topics.get(topic).map_or(0, |before| cost(&before.message));
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
        self.remove(event.topic);
        if !event.payload.is_empty() {
            self.bytes += cost(message);
            // It may be corrected when that has come.
            let ends = message.ends(&Anchor::default());
            self.place(message, ends);
        }
    }

    fn place(&mut self, message: &Arc<Message>, ends: Option<Age>) {
        self.ending.extend(ends.map(|ends| ((ends, message.offset), Arc::clone(message))));
        let kept = Kept { message: Arc::clone(message), ends };
        self.topics.insert(message.event().topic.into(), kept);
    }

    fn remove(&mut self, topic: &str) {
        let Some(Kept { message, ends }) = self.topics.remove(topic) else { return };
        self.bytes -= cost(&message);
        ends.map(|ends| self.ending.remove(&(ends, message.offset)));
    }

    /// Gives up what is of no use any more (MQTT-3.3.2-5): it would take its room for ever.
    pub(super) fn forget_over(&mut self, now: Age, anchor: &Anchor) {
        while let Some((_, message)) = self
            .ending
            .first_entry()
            .filter(|first| first.key().0 <= now)
            .map(OccupiedEntry::remove_entry)
        {
            let ends = message.ends(anchor).filter(|ends| *ends > now);
            match ends {
                Some(_) => self.place(&message, ends),
                None => self.remove(message.event().topic),
            }
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
            .map(|(_, kept)| &kept.message)
    }

    pub(super) fn find(&self, offset: Offset) -> Option<&Arc<Message>> {
        self.topics.values().map(|kept| &kept.message).find(|message| message.offset == offset)
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
        message_that_ends((topic, payload), offset, (&[], Age(0)))
    }

    fn message_that_ends(
        (topic, payload): (&str, &[u8]),
        offset: u64,
        (properties, age): (&[u8], Age),
    ) -> Arc<Message> {
        let event = Event {
            topic,
            payload,
            client: "c",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties(properties),
        };
        Arc::new(Message::of(&event, Offset(offset), age))
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

    /// One second, and two.
    const ENDS: [&[u8]; 2] = [&[2, 0, 0, 0, 1], &[2, 0, 0, 0, 2]];

    #[test]
    fn what_is_over_gives_up_its_room() {
        let mut retained = Retained::default();
        let age = Age(500);
        retained.keep(&message("stays", b"x", 0));
        retained.keep(&message_that_ends(("a", b"x"), 1, (ENDS[0], age)));
        retained.keep(&message_that_ends(("b", b"x"), 2, (ENDS[1], age)));
        // Another value has taken its place, and ends later; or never.
        for (topic, offset) in [("later", 3), ("never", 4)] {
            retained.keep(&message_that_ends((topic, b"x"), offset, (ENDS[0], age)));
        }
        retained.keep(&message_that_ends(("later", b"x"), 5, (ENDS[1], Age(900))));
        retained.keep(&message("never", b"x", 6));
        for (now, left) in [
            (1_499, &[1, 2, 5, 6, 0][..]),
            (1_500, &[2, 5, 6, 0]),
            (2_500, &[5, 6, 0]),
            (2_900, &[6, 0]),
        ] {
            retained.forget_over(Age(now), &Anchor::default());
            assert_eq!(selected(&retained, "#", None), left, "at {now}");
        }
        let rest = cost(&message("stays", b"x", 0)) + cost(&message("never", b"x", 0));
        assert_eq!((retained.bytes, retained.ending.len()), (rest, 0));
    }

    /// An hour off was found out: what came in behind it is no older.
    #[test]
    fn what_came_in_behind_time_off_ends_no_sooner() {
        const HOUR: u64 = 3_600_000;
        let outage = (0_u64, 1_000_u64, HOUR);
        let rest = (vec![outage], None::<(u64, i64)>);
        let body = postcard::to_allocvec(&(HOUR, 0_i64, true, rest)).expect("plain values");
        let anchor = Anchor::decode(&body).expect("it is one");
        let mut retained = Retained::default();
        retained.keep(&message_that_ends(("a", b"x"), 1, (ENDS[0], Age(500))));
        for (now, left) in [(HOUR + 500, 1), (HOUR + 1_499, 1), (HOUR + 1_500, 0)] {
            retained.forget_over(Age(now), &anchor);
            assert_eq!((retained.len(), retained.ending.len()), (left, left), "at {now}");
        }
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
