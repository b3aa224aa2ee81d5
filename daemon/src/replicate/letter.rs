//! A dead letter: an event that Kafka will never take from a route, with the reason.
//!
//! It is a record like any other, the event as it came, but for user properties in front of the
//! publisher's own: from where it could not be delivered, and why. Event and route name it: a route
//! selects an event once, so a letter that is written again after a crash is recognised.
//!
//! A letter that is put back into the input is an event with the same properties, and one in front
//! that tells which event it first was. No publisher can forge any of them: they stand before his.

use core::num::NonZeroU16;

use tributary_bridge::Undeliverable;
use tributary_core::Offset;
use tributary_core::log::BODY_BYTES_MAX;
use tributary_core::properties::{Properties, Property};
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;

use crate::properties::user;

/// The properties in front, in this order.
const NAMES: [&str; 6] = [
    "tributary.log",
    "tributary.offset",
    "tributary.route",
    "tributary.topic",
    "tributary.partition",
    "tributary.error",
];
/// In front of them in an event that was put back.
const FIRST: &str = "tributary.first";
/// Behind the offset there: the clock was not set when the event came in.
const UNTRUSTED: char = '~';
/// The longest text of an error that is kept.
const ERROR_BYTES_MAX: usize = 1_000;

const _: () = assert!(tributary_core::limits::RECORD_BYTES_MAX + 4_096 <= BODY_BYTES_MAX);

/// What names a letter: the event's offset in the input, and the route.
pub type LetterKey = (Offset, String);

/// A letter to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What names it.
    pub key: LetterKey,
    /// The log whose event it is.
    pub log_id: u64,
    /// When the event arrived.
    pub time: Timestamp,
    /// Whether the clock could be trusted then.
    pub trusted: bool,
    /// The record, relative to `time`.
    pub record: Vec<u8>,
}

/// What a letter, or an event that was put back, says of its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate<'a> {
    /// Which event it first was; `None`: it never was put back.
    pub first: Option<First<'a>>,
    /// The log whose event it is.
    pub log_id: u64,
    /// The event's offset in the input.
    pub offset: Offset,
    /// The route that selected it.
    pub route: &'a str,
    /// Where it should have gone to.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Kafka's error, and the broker's words.
    pub error: &'a str,
    /// The event's own properties.
    pub own: Properties<'a>,
}

/// Which event one that was put back first was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First<'a>(&'a str);

impl First<'_> {
    /// Its offset in this log, if it was this log's.
    #[must_use]
    pub fn offset(self) -> Option<Offset> {
        self.0.trim_end_matches(UNTRUSTED).parse().ok().map(Offset)
    }

    /// Whether the clock was set when it came in.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        !self.0.ends_with(UNTRUSTED)
    }
}

impl Letter {
    /// The letter of an event that `route` selected.
    ///
    /// # Panics
    /// If the route's or the topic's name is longer than any name is.
    #[must_use]
    pub fn new(
        log_id: u64,
        (event, trusted): (&Event<'_>, bool),
        (route, why): (&str, &Undeliverable),
    ) -> Self {
        let log = format!("{log_id:016x}");
        let mut error = why.error.as_str();
        while error.len() > ERROR_BYTES_MAX {
            error = &error[..error.floor_char_boundary(error.len() - 1)];
        }
        let before = Fate::of_put_back(event);
        let first = before.and_then(|fate| fate.first);
        let trusted = first.map_or(trusted, First::is_trusted);
        let (offset, partition) = (why.offset.to_string(), why.partition.to_string());
        let values = [log.as_str(), &offset, route, &why.topic, &partition, error];
        let own = before.map_or(event.properties, |fate| fate.own);
        let properties = properties(first.map(|first| first.0), values, own);
        let packet_id: Option<NonZeroU16> = None;
        let qos = event.qos.min(Qos::AtLeastOnce);
        let kept = Event { properties: Properties(&properties), packet_id, qos, ..*event };
        let mut record = vec![0; record::encoded_len(&kept, event.time)];
        record::encode(&kept, event.time, &mut record);
        Self { key: (why.offset, route.to_owned()), log_id, time: event.time, trusted, record }
    }
}

/// The properties of a letter, or of an event that is put back: ours, and the publisher's own.
fn properties(first: Option<&str>, values: [&str; NAMES.len()], own: Properties<'_>) -> Vec<u8> {
    let mut properties = Vec::new();
    let first = first.map(|first| (FIRST, first));
    for (name, value) in first.into_iter().chain(NAMES.into_iter().zip(values)) {
        user(&mut properties, name, value);
    }
    properties.extend_from_slice(own.0);
    properties
}

impl<'a> Fate<'a> {
    /// What the properties of a letter say; `None`: it is none.
    #[must_use]
    pub fn read(properties: Properties<'a>) -> Option<Self> {
        let mut values = [""; NAMES.len()];
        let mut all = properties.iter().peekable();
        let first = match all.peek() {
            Some(Property::User(FIRST, first)) => Some(First(first)),
            _ => None,
        };
        all.next_if(|_| first.is_some());
        for (name, value) in NAMES.into_iter().zip(&mut values) {
            let Some(Property::User(found, text)) = all.next() else { return None };
            *value = Some(text).filter(|_| found == name)?;
        }
        let [log, offset, route, topic, partition, error] = values;
        let log_id = u64::from_str_radix(log, 16).ok()?;
        let front = values.iter().zip(NAMES).map(|(value, name)| 5 + name.len() + value.len());
        let front = front.sum::<usize>() + first.map_or(0, |it| 5 + FIRST.len() + it.0.len());
        let own = Properties(&properties.0[front..]);
        let (offset, partition) = (Offset(offset.parse().ok()?), partition.parse().ok()?);
        Some(Self { first, log_id, offset, route, topic, partition, error, own })
    }

    /// What an event that was put back says; `None`: it never was.
    #[must_use]
    pub fn of_put_back(event: &Event<'a>) -> Option<Self> {
        Self::read(event.properties).filter(|_| event.origin == Origin::Replay)
    }

    /// The properties with which the event of this letter is put back into the log `log_id`.
    #[must_use]
    pub fn put_back(&self, log_id: u64, trusted: bool) -> Vec<u8> {
        let first = self.first.map_or_else(
            || {
                let offset = (self.log_id == log_id).then(|| self.offset.to_string());
                let mark = if trusted { "" } else { "~" };
                offset.unwrap_or_default() + mark
            },
            |first| first.0.to_owned(),
        );
        let (log, offset) = (format!("{:016x}", self.log_id), self.offset.to_string());
        let partition = self.partition.to_string();
        let values = [log.as_str(), &offset, self.route, self.topic, &partition, ""];
        properties(Some(&first), values, self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_tells_what_became_of_an_event_and_no_device_can_forge_it() {
        let mut properties = vec![0x26, 0, 15];
        properties.extend(b"tributary.error");
        properties.extend([0, 1, b'7']);
        let event = Event {
            topic: "plant/7",
            payload: b"x",
            client: "c",
            time: Timestamp(1_500),
            qos: Qos::ExactlyOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: NonZeroU16::new(7),
            properties: Properties(&properties),
        };
        assert_eq!(Fate::read(event.properties), None);
        let error = format!("INVALID_RECORD (87): {}", "ä".repeat(1_000));
        let why = Undeliverable {
            offset: Offset(12),
            route: 3,
            topic: "hot".into(),
            partition: 2,
            error: error.clone(),
        };
        let letter = Letter::new(0xAB, (&event, true), ("alarms", &why));
        assert_eq!(letter.key, (Offset(12), "alarms".to_owned()));
        let read = record::decode(&mut letter.record.as_slice(), letter.time).expect("a record");
        let expected = (event.topic, event.payload, event.client, event.time);
        assert_eq!((read.topic, read.payload, read.client, read.time), expected);
        let fate = Fate::read(read.properties).expect("a letter");
        assert_eq!((fate.offset, fate.route, fate.topic), (Offset(12), "alarms", "hot"));
        assert!(error.starts_with(fate.error) && fate.error.len() > 900, "{}", fate.error.len());
        assert_eq!((fate.partition, fate.own, fate.log_id), (2, event.properties, 0xAB));
    }
    #[test]
    fn what_is_put_back_and_refused_again_still_tells_which_event_it_was() {
        let forged = b"\x26\0\x0ftributary.first\0\x017";
        let event = Event {
            topic: "t",
            payload: b"x",
            client: "c",
            time: Timestamp(5),
            qos: Qos::AtMostOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties(forged),
        };
        let why = |offset| Undeliverable {
            offset,
            route: 3,
            topic: "hot".into(),
            partition: 0,
            error: "E".into(),
        };
        let letter = Letter::new(0xAB, (&event, false), ("r", &why(Offset(12))));
        let read = record::decode(&mut letter.record.as_slice(), letter.time).expect("a record");
        let fate = Fate::read(read.properties).expect("a letter");
        assert_eq!((fate.first, fate.own.0), (None, forged.as_slice()), "a publisher forges it");
        for (log_id, first) in [(0xAB, Some(Offset(12))), (0xCD, None)] {
            let properties = fate.put_back(log_id, letter.trusted);
            let back =
                Event { origin: Origin::Replay, properties: Properties(&properties), ..event };
            assert_eq!(Fate::of_put_back(&Event { origin: Origin::Device, ..back }), None);
            let again = Letter::new(log_id, (&back, true), ("r", &why(Offset(90))));
            let read = record::decode(&mut again.record.as_slice(), again.time).expect("a record");
            let fate = Fate::read(read.properties).expect("a letter");
            assert_eq!((fate.offset, fate.own.0), (Offset(90), forged.as_slice()));
            let told = fate.first.expect("it was put back");
            assert_eq!((told.offset(), told.is_trusted(), again.trusted), (first, false, false));
        }
    }
}
