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

use super::envelope::{self, Stamp};
use super::table::Rule;
use crate::config::{Format, Header as Wanted, Shape};
use crate::runtime::clock::Anchor;

/// Kafka deletes by record timestamp: an event older than this is stamped with the send time, so
/// that no topic that keeps its records for longer than a day deletes it on arrival.
const EVENT_TIME_AGE_MAX_MS: i64 = 24 * 3_600_000;
/// Kafka refuses a timestamp more than an hour ahead; half of that leaves room for drift.
const EVENT_TIME_AHEAD_MAX_MS: i64 = 1_800_000;

/// What `CloudEvents` calls the kind of event that this is.
const CLOUD_EVENT_TYPE: &str = "mqtt.publish";
/// More than the names of our headers, the route's name, offset and time and all lengths take in a record.
const RECORD_OVERHEAD_BYTES: usize = 1_100;
/// A user property as a header has its name behind `mqtt.user.`: the smallest, of five bytes, takes twelve.
const HEADER_GROWTH: usize = 3;

/// When an event happened, as well as it can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    pub(super) fn of(event: &Event<'_>, frame: Clock, anchor: &Anchor) -> Self {
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

/// Where events come from, as records tell it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) gateway: String,
    /// The log, as `CloudEvents` names a source.
    source: String,
    /// The log.
    pub(super) log_id: u64,
    /// The topic that is told of gaps.
    pub(super) gaps: Option<String>,
}

impl Origin {
    /// A gateway and its log: offsets are unique in a log alone.
    #[must_use]
    pub(super) fn new(gateway: &str, log_id: u64, gaps: Option<String>) -> Self {
        let source = format!("urn:tributary:{gateway}:{log_id:016x}");
        Self { gateway: gateway.to_owned(), source, log_id, gaps }
    }
}

/// The texts of one event's records; reused from event to event.
#[derive(Default)]
pub(super) struct Texts {
    offset: String,
    time: String,
    /// The same with a mark where the clock was not set.
    marked: String,
    /// The time that these two tell.
    told: Option<EventTime>,
    stamp: (Offset, EventTime),
    envelope: Vec<u8>,
}

/// Whether records of this shape tell offset or time.
pub(super) fn tells(shape: Shape) -> bool {
    let Shape { format, headers } = shape;
    format != Format::Raw || headers.has(Wanted::Offset) || headers.has(Wanted::Time)
}

impl Texts {
    /// Takes note of an event; [`Texts::write`] makes its texts.
    pub(super) fn set(&mut self, offset: Offset, time: EventTime) {
        self.envelope.clear();
        self.stamp = (offset, time);
    }

    /// Makes the texts of the event: before all else, where a record [`tells`] them.
    pub(super) fn write(&mut self) {
        let (offset, time) = self.stamp;
        self.offset.clear();
        let mut written = write!(self.offset, "{offset}");
        // Events come by the hundred in a millisecond.
        if self.told != Some(time) {
            self.told = Some(time);
            self.time.clear();
            self.marked.clear();
            let since = Duration::from_millis(u64::try_from(time.time.0).unwrap_or(0));
            let stamp = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
            let mark = if time.trusted { "" } else { "~" };
            written = written.and_then(|()| write!(self.time, "{stamp}"));
            self.marked.extend([self.time.as_str(), mark]);
        }
        debug_assert!(written.is_ok(), "strings grow");
    }

    /// Prepares the event's JSON object.
    pub(super) fn envelop(&mut self, origin: &Origin, event: &Event<'_>) {
        let (offset, EventTime { trusted, .. }) = self.stamp;
        let (gateway, time) = (origin.gateway.as_str(), self.time.as_str());
        let stamp = Stamp { gateway, offset: offset.0, time, trusted };
        envelope::write(&stamp, event, &mut self.envelope);
    }

    /// More than the bytes of a record that a route makes of the event, its key aside.
    #[must_use]
    pub(super) fn record_bytes_max(&self, origin: &Origin, event: &Event<'_>) -> usize {
        let value = event.payload.len().max(self.envelope.len());
        // The topic is told by two headers.
        let texts = origin.gateway.len() + origin.source.len() + 2 * event.topic.len();
        RECORD_OVERHEAD_BYTES + texts + value + HEADER_GROWTH * event.properties.0.len()
    }

    /// The value of the record that a route makes of the event.
    pub(super) fn value<'v>(&'v self, rule: &Rule, event: &Event<'v>) -> &'v [u8] {
        match rule.shape.format {
            Format::Raw | Format::CloudEvents => event.payload,
            Format::Json => &self.envelope,
        }
    }

    /// The headers of the record that a route makes of the event: ours first, then the
    /// publisher's own under `mqtt.user.`, so that none can pass for ours.
    pub(super) fn headers<'h>(
        &'h self,
        origin: &'h Origin,
        rule: &'h Rule,
        event: &Event<'h>,
        headers: &mut Vec<Header<'h>>,
    ) {
        headers.clear();
        let mut put = |name, value: &'h str| headers.push(Header::new(name, value.as_bytes()));
        match rule.shape.format {
            Format::Raw => {}
            Format::CloudEvents => {
                put("ce_specversion", "1.0");
                put("ce_id", &self.offset);
                put("ce_source", &origin.source);
                put("ce_type", CLOUD_EVENT_TYPE);
                put("ce_subject", event.topic);
                put("ce_time", &self.time);
            }
            Format::Json => put("content-type", "application/json"),
        }
        let wanted = rule.shape.headers;
        for (which, name, value) in [
            (Wanted::Gateway, "tributary.gateway", &*origin.gateway),
            (Wanted::Offset, "tributary.offset", &*self.offset),
            (Wanted::Route, "tributary.route", &*rule.name),
            (Wanted::Topic, "mqtt.topic", event.topic),
            (Wanted::Time, "time", &*self.marked),
        ] {
            if wanted.has(which) {
                put(name, value);
            }
        }
        let keeps_type = rule.shape.format == Format::CloudEvents
            || rule.shape.format == Format::Raw && wanted.has(Wanted::ContentType);
        for property in event.properties {
            match property {
                Property::ContentType(kind) if keeps_type => {
                    headers.push(Header::new("content-type", kind.as_bytes()));
                }
                Property::User(name, value) if wanted.has(Wanted::User) => {
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
    use crate::config::{Headers, Lane};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Origin as Whence, Qos};
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
            origin: Whence::Device,
            packet_id: None,
            properties: Properties(properties),
        }
    }

    #[test]
    fn an_untrusted_time_is_corrected_by_an_anchor() {
        let frame = Clock { wall: Timestamp(1_000), age: Age(50_000), trusted: false };
        let at = Clock { age: Age(60_000), wall: NOW, trusted: true };
        let anchor = Anchor::new(at);
        let time = EventTime::of(&event(1_500, &[]), frame, &anchor);
        assert_eq!(time, EventTime { time: Timestamp(NOW.0 - 9_500), trusted: true });
        let none =
            EventTime::of(&event(1_500, &[]), frame, &Anchor::new(Clock { trusted: false, ..at }));
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
        texts.write();
        let mut headers = Vec::new();
        let event = event(1_500, &properties);
        let (origin, rule) = (Origin::new("g", 0xA, None), rule(Shape::default()));
        texts.headers(&origin, &rule, &event, &mut headers);
        let named: Vec<(String, &[u8])> =
            headers.iter().map(|h| (format!("{}{}", h.prefix, h.name), h.value)).collect();
        assert_eq!(named[1], ("tributary.offset".to_owned(), b"3".as_slice()));
        assert_eq!(named[4].1, b"1970-01-01T00:00:01.500Z~");
        assert_eq!(named[5], ("mqtt.user.tributary.offset".to_owned(), b"7".as_slice()));
    }

    #[test]
    fn each_event_has_its_own_texts() {
        let mut texts = Texts::default();
        let mut told = |offset, time, trusted| {
            texts.set(Offset(offset), EventTime { time: Timestamp(time), trusted });
            texts.write();
            (texts.offset.clone(), texts.marked.clone())
        };
        let at = |text: &str| format!("1970-01-01T00:00:{text}");
        assert_eq!(told(0, 0, true), ("0".to_owned(), at("00.000Z")));
        assert_eq!(told(1, 0, true), ("1".to_owned(), at("00.000Z")));
        assert_eq!(told(2, 0, false), ("2".to_owned(), at("00.000Z~")));
        assert_eq!(told(3, 1_500, false), ("3".to_owned(), at("01.500Z~")));
    }

    fn rule(shape: Shape) -> Rule {
        Rule {
            name: "r".to_owned(),
            from: None,
            events: crate::config::Events::default(),
            condition: None,
            topic: "t".to_owned(),
            key: None,
            partition_by_key: false,
            lane: Lane::Normal,
            shape,
            topics_max: 0,
        }
    }

    /// A record's headers, as `name=value`, and its value.
    fn record(shape: Shape) -> (Vec<String>, Vec<u8>) {
        let (origin, rule) = (Origin::new("g", 0xA, None), rule(shape));
        let properties = [0x03, 0, 1, b'x', 0x26, 0, 1, b'k', 0, 1, b'v'];
        let event = Event { payload: b"1", ..event(0, &properties) };
        let mut texts = Texts::default();
        texts.set(Offset(3), EventTime { time: Timestamp(1_500), trusted: false });
        texts.write();
        texts.envelop(&origin, &event);
        let mut headers = Vec::new();
        texts.headers(&origin, &rule, &event, &mut headers);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let named = headers.iter().map(|h| format!("{}{}={}", h.prefix, h.name, text(h.value)));
        (named.collect(), texts.value(&rule, &event).to_vec())
    }

    #[test]
    fn a_cloud_event_has_its_attributes_as_headers() {
        let shape = Shape { format: Format::CloudEvents, headers: Headers::of(&[]) };
        let (headers, value) = record(shape);
        let expected = [
            "ce_specversion=1.0",
            "ce_id=3",
            "ce_source=urn:tributary:g:000000000000000a",
            "ce_type=mqtt.publish",
            "ce_subject=t",
            "ce_time=1970-01-01T00:00:01.500Z",
            "content-type=x",
        ];
        assert_eq!((headers, value), (expected.map(str::to_owned).to_vec(), b"1".to_vec()));
    }

    #[test]
    fn a_record_has_the_headers_that_are_asked_for() {
        let shape = |format, headers: &[Wanted]| Shape { format, headers: Headers::of(headers) };
        let (headers, value) = record(shape(Format::Raw, &[Wanted::Offset, Wanted::User]));
        assert_eq!(
            (headers, value),
            (vec!["tributary.offset=3".into(), "mqtt.user.k=v".into()], b"1".to_vec())
        );
        let (headers, value) = record(shape(Format::Json, &[Wanted::Time]));
        assert_eq!(headers, ["content-type=application/json", "time=1970-01-01T00:00:01.500Z~"]);
        let value = String::from_utf8(value).expect("JSON is text");
        assert!(
            value.contains(r#""time_untrusted":true"#) && value.ends_with(r#""payload":1}"#),
            "{value}"
        );
        assert_eq!(record(shape(Format::Raw, &[])).0, Vec::<String>::new());
    }
}
