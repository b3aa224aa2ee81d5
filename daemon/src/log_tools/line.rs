//! One thing of the log as a line: of JSON, or a row of a table.

use core::time::Duration;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use tributary_core::Offset;
use tributary_core::log::{Control, ControlKind, Gap};
use tributary_core::properties::Property;
use tributary_core::record::{Event, Origin};
use tributary_core::time::Timestamp;

use super::end::hex;

/// One event, with all that the log has of it.
#[derive(Debug, Serialize)]
pub(crate) struct EventLine<'a> {
    offset: u64,
    /// RFC 3339.
    time: String,
    /// Whether the gateway's clock was set.
    #[serde(skip_serializing_if = "core::clone::Clone::clone")]
    trusted: bool,
    topic: &'a str,
    client: &'a str,
    qos: u8,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    retain: bool,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_text: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(&'a str, &'a str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Where the payload is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

/// The columns of a table of events.
pub(super) const COLUMNS: [&str; 12] = [
    "offset",
    "time",
    "trusted",
    "topic",
    "client",
    "qos",
    "retain",
    "origin",
    "content_type",
    "user_properties",
    "payload",
    "payload_hex",
];

impl<'a> EventLine<'a> {
    pub(crate) fn new(offset: Offset, event: &Event<'a>, trusted: bool) -> Self {
        let payload = core::str::from_utf8(event.payload).ok();
        let mut line = Self {
            offset: offset.0,
            time: show_time(event.time),
            trusted,
            topic: event.topic,
            client: event.client,
            qos: event.qos as u8,
            retain: event.retain,
            origin: origin(event.origin),
            content_type: None,
            expiry_s: None,
            response_topic: None,
            correlation_hex: None,
            is_text: None,
            user_properties: Vec::new(),
            payload,
            payload_hex: payload.is_none().then(|| hex(event.payload)),
        };
        for property in event.properties {
            match property {
                Property::PayloadFormatText(is_text) => line.is_text = Some(is_text),
                Property::MessageExpiry(seconds) => line.expiry_s = Some(seconds),
                Property::ContentType(text) => line.content_type = Some(text),
                Property::ResponseTopic(text) => line.response_topic = Some(text),
                Property::CorrelationData(bytes) => line.correlation_hex = Some(hex(bytes)),
                Property::User(name, value) => line.user_properties.push((name, value)),
            }
        }
        line
    }

    /// The fields of a row, as in [`COLUMNS`].
    pub(super) fn row(&self) -> [String; COLUMNS.len()] {
        let user = (!self.user_properties.is_empty())
            .then(|| serde_json::to_string(&self.user_properties).unwrap_or_default());
        [
            self.offset.to_string(),
            self.time.clone(),
            self.trusted.to_string(),
            self.topic.to_owned(),
            self.client.to_owned(),
            self.qos.to_string(),
            self.retain.to_string(),
            self.origin.to_owned(),
            self.content_type.unwrap_or_default().to_owned(),
            user.unwrap_or_default(),
            self.payload.unwrap_or_default().to_owned(),
            self.payload_hex.clone().unwrap_or_default(),
        ]
    }
}

/// Offsets that are not there.
#[derive(Debug, Serialize)]
pub(crate) struct GapLine {
    gap: &'static str,
    first: u64,
    end: u64,
}

impl GapLine {
    pub(crate) const fn new(range: &Gap, why: &'static str) -> Self {
        Self { gap: why, first: range.start.0, end: range.end.0 }
    }
}

/// A control record.
#[derive(Debug, Serialize)]
pub(super) struct ControlLine {
    control: &'static str,
    at: u64,
    body_hex: String,
}

impl ControlLine {
    pub(super) fn new(control: &Control<'_>) -> Self {
        let name = match control.kind {
            ControlKind::Opened => "opened",
            ControlKind::Routes => "routes",
            ControlKind::Anchor => "anchor",
            ControlKind::Hint => "hint",
            ControlKind::Cursor => "cursor",
            ControlKind::Gap => "gap",
            ControlKind::Sessions => "sessions",
            ControlKind::Trimmed => "trimmed",
            ControlKind::Replayed => "replayed",
            ControlKind::Downlink => "downlink",
        };
        Self { control: name, at: control.at.0, body_hex: hex(control.body) }
    }
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Device => "device",
        Origin::Source => "source",
        Origin::Downlink => "downlink",
        Origin::Rule => "rule",
        Origin::Replay => "replay",
    }
}

/// RFC 3339, UTC, milliseconds. What lies before 1970 or after 9999 is shown as the nearest end.
pub(super) fn show_time(time: Timestamp) -> String {
    const MS_MAX: i64 = 253_402_300_799_999;
    let ms = u64::try_from(time.0.clamp(0, MS_MAX)).unwrap_or(0);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// Reads a time: RFC 3339, or shorter as people write it, in UTC: `2026-03-01`, `2026-03-01 12:00`.
///
/// # Errors
/// What would be understood.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let whole = match text.len() {
        10 => format!("{text} 00:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let time = humantime::parse_rfc3339_weak(&whole);
    let time =
        time.map_err(|_| "write it in UTC as 2026-03-01T12:00:00Z or 2026-03-01".to_owned())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970".to_owned())?;
    Ok(Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = Ok(Timestamp(1_772_366_400_000));
        for text in ["2026-03-01T12:00:00Z", "2026-03-01 12:00", "2026-03-01 12:00:00"] {
            assert_eq!(parse_time(text), noon, "{text}");
        }
        assert_eq!(parse_time("2026-03-01"), Ok(Timestamp(1_772_323_200_000)));
        assert!(parse_time("yesterday").is_err());
        assert_eq!(show_time(Timestamp(-5)), "1970-01-01T00:00:00.000Z");
        assert_eq!(show_time(Timestamp(i64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
