//! What a Kafka record carries of an event: headers and timestamp.

use core::fmt::Write;
use core::time::Duration;
use std::time::UNIX_EPOCH;

use tributary_bridge::Header;
use tributary_core::Offset;
use tributary_core::log::Clock;
use tributary_core::properties::Property;
use tributary_core::record::Event;
use tributary_core::time::Timestamp;

use crate::runtime::clock::Anchor;

/// Kafka deletes by record timestamp: an event older than this is stamped with the send time, so
/// that no topic that keeps its records for longer than a day deletes it on arrival.
const EVENT_TIME_AGE_MAX_MS: i64 = 24 * 3_600_000;
/// Kafka refuses a timestamp more than an hour ahead; half of that leaves room for drift.
const EVENT_TIME_AHEAD_MAX_MS: i64 = 1_800_000;

/// More than the names of our headers, the route's name and all lengths take in a record.
const RECORD_OVERHEAD_BYTES: usize = 1_024;

/// When an event happened, as well as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime {
    /// Wall time.
    pub time: Timestamp,
    /// Whether the clock could be trusted, then or later.
    pub trusted: bool,
}

impl EventTime {
    /// The time of an event whose frame carries `frame`; a trusted anchor corrects a clock that
    /// was not set yet.
    #[must_use]
    pub(super) fn of(event: &Event<'_>, frame: Clock, anchor: Anchor) -> Self {
        if frame.trusted || !anchor.trusted {
            return Self { time: event.time, trusted: frame.trusted };
        }
        let since_frame = event.time.0 - frame.wall.0;
        let time = Timestamp(anchor.wall_at(frame.age).0 + since_frame);
        Self { time, trusted: true }
    }

    /// The record's timestamp when it is sent at `now`, a trusted clock.
    #[must_use]
    pub(super) fn stamp(self, now: Timestamp) -> Timestamp {
        let age_ms = now.0 - self.time.0;
        let sane = (-EVENT_TIME_AHEAD_MAX_MS..=EVENT_TIME_AGE_MAX_MS).contains(&age_ms);
        if self.trusted && sane { self.time } else { now }
    }
}

/// The texts of one event's headers; reused from event to event.
#[derive(Default)]
pub(super) struct Texts {
    offset: String,
    time: String,
}

impl Texts {
    /// Prepares the texts of an event.
    pub(super) fn set(&mut self, offset: Offset, time: EventTime) {
        self.offset.clear();
        self.time.clear();
        let since = Duration::from_millis(u64::try_from(time.time.0).unwrap_or(0));
        let stamp = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
        let mark = if time.trusted { "" } else { "~" };
        let written =
            write!(self.offset, "{offset}").and_then(|()| write!(self.time, "{stamp}{mark}"));
        debug_assert!(written.is_ok(), "strings grow");
    }

    /// More than the bytes of a record that a route makes of the event, its key aside.
    #[must_use]
    pub(super) fn record_bytes_max(&self, gateway: &str, event: &Event<'_>) -> usize {
        let texts = gateway.len() + self.offset.len() + self.time.len() + event.topic.len();
        RECORD_OVERHEAD_BYTES + texts + event.payload.len() + 2 * event.properties.0.len()
    }

    /// The headers of the record that `route` makes of the event: ours first, then the
    /// publisher's own under `mqtt.user.`, so that none can pass for ours.
    pub(super) fn headers<'h>(
        &'h self,
        gateway: &'h str,
        route: &'h str,
        event: &Event<'h>,
        headers: &mut Vec<Header<'h>>,
    ) {
        headers.clear();
        headers.push(Header::new("tributary.gateway", gateway.as_bytes()));
        headers.push(Header::new("tributary.offset", self.offset.as_bytes()));
        headers.push(Header::new("tributary.route", route.as_bytes()));
        headers.push(Header::new("mqtt.topic", event.topic.as_bytes()));
        headers.push(Header::new("time", self.time.as_bytes()));
        for property in event.properties {
            match property {
                Property::ContentType(kind) => {
                    headers.push(Header::new("content-type", kind.as_bytes()));
                }
                Property::User(name, value) => {
                    headers.push(Header::prefixed("mqtt.user.", name, value.as_bytes()));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Origin, Qos};
    use tributary_core::time::Age;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn event(time: i64, properties: &[u8]) -> Event<'_> {
        Event {
            topic: "t",
            payload: b"",
            client: "c",
            time: Timestamp(time),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties(properties),
        }
    }

    #[test]
    fn an_untrusted_time_is_corrected_by_an_anchor() {
        let frame = Clock { wall: Timestamp(1_000), age: Age(50_000), trusted: false };
        let anchor = Anchor { age: 60_000, wall: NOW.0, trusted: true, ..Anchor::default() };
        let time = EventTime::of(&event(1_500, &[]), frame, anchor);
        assert_eq!(time, EventTime { time: Timestamp(NOW.0 - 9_500), trusted: true });
        let none = EventTime::of(&event(1_500, &[]), frame, Anchor { trusted: false, ..anchor });
        assert_eq!(none, EventTime { time: Timestamp(1_500), trusted: false });
    }

    #[test]
    fn a_timestamp_that_kafka_would_refuse_or_delete_is_not_sent() {
        let stamp = |time| EventTime { time: Timestamp(time), trusted: true }.stamp(NOW);
        assert_eq!(stamp(NOW.0 - 1_000), Timestamp(NOW.0 - 1_000));
        assert_eq!(stamp(NOW.0 + 3_600_001), NOW);
        assert_eq!(stamp(0), NOW);
        assert_eq!(EventTime { time: Timestamp(NOW.0 - 1), trusted: false }.stamp(NOW), NOW);
    }

    #[test]
    fn a_user_property_cannot_pass_for_our_header() {
        let mut properties = vec![0x26, 0, 16];
        properties.extend(b"tributary.offset");
        properties.extend([0, 1, b'7']);
        let mut texts = Texts::default();
        texts.set(Offset(3), EventTime { time: Timestamp(1_500), trusted: false });
        let mut headers = Vec::new();
        let event = event(1_500, &properties);
        texts.headers("g", "r", &event, &mut headers);
        let named: Vec<(String, &[u8])> =
            headers.iter().map(|h| (format!("{}{}", h.prefix, h.name), h.value)).collect();
        assert_eq!(named[1], ("tributary.offset".to_owned(), b"3".as_slice()));
        assert_eq!(named[4].1, b"1970-01-01T00:00:01.500Z~");
        assert_eq!(named[5], ("mqtt.user.tributary.offset".to_owned(), b"7".as_slice()));
    }
}
