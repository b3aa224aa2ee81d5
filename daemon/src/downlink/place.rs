//! How far Kafka topics were read.
//!
//! Every event that was a record names topic, partition and offset of it in its user properties, so
//! event and position are durable together or not at all. A control record, repeated at the start of
//! each segment, tells the position at its own offset; what follows it in the log moves it on
//! ([`Places::follow`]). Records that did not become events move it only when a control record says so:
//! until then they would be read, and passed over, again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_bridge::{Edge, Start};
use tributary_core::Offset;
use tributary_core::properties::Property;
use tributary_core::record::{Event, Origin};

/// The user properties that name a record.
pub const TOPIC: &str = "kafka.topic";
/// See there.
pub const PARTITION: &str = "kafka.partition";
/// See there.
pub const OFFSET: &str = "kafka.offset";

/// Topics whose places are kept: more than can be configured, so that one that is taken out of the
/// configuration for a while is not forgotten.
pub const TOPICS_MAX: usize = 16;

/// A place behind a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record.
    pub next: u64,
}

impl Place {
    /// The place behind the record that an event was.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Option<Self> {
        if event.origin != Origin::Downlink {
            return None;
        }
        // Ours stand first: the record's own cannot pass for them.
        let user = |wanted: &str| {
            event.properties.iter().find_map(|property| match property {
                Property::User(name, value) if name == wanted => Some(value),
                _ => None,
            })
        };
        Some(Self {
            topic: user(TOPIC)?.to_owned(),
            partition: user(PARTITION)?.parse().ok()?,
            next: user(OFFSET)?.parse::<u64>().ok()?.checked_add(1)?,
        })
    }
}

/// How far one topic was read: the body of a control record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPlaces {
    /// The topic.
    pub topic: String,
    /// Its id in the cluster, if that is known.
    pub id: Option<u128>,
    /// By partition the offset of the next record.
    pub next: BTreeMap<i32, u64>,
    /// Events of the log below this offset are taken into account.
    pub at: u64,
    /// It is forgotten.
    pub forgotten: bool,
}

impl TopicPlaces {
    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_else(|_| unreachable!("it encodes"))
    }

    /// Reads the body of a control record; `None` if it is none of ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// How far all topics were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    topics: BTreeMap<String, TopicPlaces>,
    /// The bodies of their control records, as of when they were noted or settled last.
    bodies: Vec<Vec<u8>>,
}

impl Places {
    /// A control record says so.
    pub fn note(&mut self, places: TopicPlaces) {
        if places.forgotten {
            self.topics.remove(&places.topic);
        } else {
            self.topics.insert(places.topic.clone(), places);
        }
        self.encode();
    }

    /// An event moves them on. One of a topic that no control record has named is none of ours.
    pub fn follow(&mut self, place: &Place) {
        if let Some(places) = self.topics.get_mut(&place.topic) {
            let next = places.next.entry(place.partition).or_default();
            *next = place.next.max(*next);
        }
    }

    /// All events below `at` are taken into account.
    pub fn settle(&mut self, at: Offset) {
        for places in self.topics.values_mut() {
            places.at = at.0;
        }
        self.encode();
    }

    fn encode(&mut self) {
        self.bodies = self.topics.values().map(TopicPlaces::encode).collect();
    }

    /// From where on events of the log are not taken into account; `None`: no topic was read.
    #[must_use]
    pub fn settled(&self) -> Option<Offset> {
        self.topics.values().map(|places| Offset(places.at)).min()
    }

    /// How far a topic was read.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&TopicPlaces> {
        self.topics.get(topic)
    }

    /// Where reading of a topic begins. One that was read before has new partitions from their beginning on.
    #[must_use]
    pub fn start_of(&self, topic: &str) -> Start {
        let (id, next, others) = match self.get(topic) {
            None => (None, BTreeMap::new(), Edge::End),
            Some(places) => (places.id, places.next.clone(), Edge::Beginning),
        };
        Start { id, next, others }
    }

    /// The bodies of their control records.
    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.bodies.iter().map(Vec::as_slice)
    }

    /// Another topic that has to go before this one can be kept: of those that `is_wanted` does not name
    /// the one that was not read for longest.
    #[must_use]
    pub fn superseded_by(
        &self,
        topic: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<&TopicPlaces> {
        if self.topics.len() < TOPICS_MAX || self.topics.contains_key(topic) {
            return None;
        }
        let others = self.topics.values().filter(|places| !is_wanted(&places.topic));
        others.min_by_key(|places| places.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_core::properties::Properties;
    use tributary_core::record::Qos;
    use tributary_core::time::Timestamp;

    fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in pairs {
            bytes.push(0x26);
            for text in [name, value] {
                bytes.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
        bytes
    }

    fn place(origin: Origin, pairs: &[(&str, &str)]) -> Option<Place> {
        let properties = properties(pairs);
        Place::of(&Event {
            topic: "cmd/1",
            payload: b"",
            client: "c",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin,
            packet_id: None,
            properties: Properties(&properties),
        })
    }

    #[test]
    fn an_event_names_its_record_and_no_device_can() {
        let pairs =
            [(TOPIC, "commands"), (PARTITION, "2"), (OFFSET, "41"), (OFFSET, "7000"), (TOPIC, "x")];
        let found = place(Origin::Downlink, &pairs);
        assert_eq!(found, Some(Place { topic: "commands".to_owned(), partition: 2, next: 42 }));
        assert_eq!(place(Origin::Device, &pairs), None);
        assert_eq!(place(Origin::Downlink, &pairs[1..3]), None);
    }

    #[test]
    fn places_move_on_and_survive_the_log() {
        let mut places = Places::default();
        let of = |partition, next| Place { topic: "commands".to_owned(), partition, next };
        places.follow(&of(0, 9));
        assert_eq!(places, Places::default(), "nobody reads it");
        let record = TopicPlaces {
            topic: "commands".to_owned(),
            id: Some(u128::MAX),
            next: BTreeMap::from([(0, 5)]),
            at: 3,
            forgotten: false,
        };
        assert_eq!(TopicPlaces::decode(&record.encode()), Some(record.clone()));
        places.note(record.clone());
        for (partition, next) in [(0, 9), (0, 8), (1, 1)] {
            places.follow(&of(partition, next));
        }
        assert_eq!(places.settled(), Some(Offset(3)));
        places.settle(Offset(20));
        let kept = places.get("commands").expect("it is read");
        assert_eq!((kept.next.clone(), kept.at), (BTreeMap::from([(0, 9), (1, 1)]), 20));
        places.note(TopicPlaces { forgotten: true, ..record });
        assert_eq!(places, Places::default());
    }

    #[test]
    fn the_topic_that_was_not_read_for_longest_makes_room() {
        let mut places = Places::default();
        for number in 0..TOPICS_MAX as u64 {
            let topic = format!("t{number}");
            places.note(TopicPlaces { topic, at: 100 - number, ..TopicPlaces::default() });
        }
        let last = format!("t{}", TOPICS_MAX - 1);
        assert_eq!(places.superseded_by(&last, |_| false), None);
        let gone = places.superseded_by("new", |topic| topic == last);
        assert_eq!(gone.map(|it| it.at), Some(100 - (TOPICS_MAX as u64 - 2)));
    }
}
