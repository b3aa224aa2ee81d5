//! The JSON object around an event, for who reads records without their headers.
//!
//! ```json
//! {"gateway":"press-line-3","offset":7,"topic":"plant/1/telemetry","time":"2026-06-01T00:00:00.000Z",
//!  "content_type":"application/json","user":[{"name":"unit","value":"°C"}],"payload":{"temperature":71.5}}
//! ```
//!
//! A payload that is JSON stands in it as it came; other text as a string; anything else, and text
//! that would grow more than that, as `payload_base64`.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;
use tributary_core::properties::Property;
use tributary_core::record::Event;

/// What stands before the payload; `None` is left out.
#[derive(Serialize)]
struct Envelope<'a> {
    gateway: &'a str,
    offset: u64,
    topic: &'a str,
    time: &'a str,
    /// The gateway's clock was not set.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    time_untrusted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user: Vec<User<'a>>,
}

/// A user property: names may come twice.
#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    value: &'a str,
}

/// Where and when the event came in.
pub(super) struct Stamp<'a> {
    pub(super) gateway: &'a str,
    pub(super) offset: u64,
    /// RFC 3339.
    pub(super) time: &'a str,
    pub(super) trusted: bool,
}

/// Puts the object into `into`, in place of what is there.
pub(super) fn write(stamp: &Stamp<'_>, event: &Event<'_>, into: &mut Vec<u8>) {
    let mut envelope = Envelope {
        gateway: stamp.gateway,
        offset: stamp.offset,
        topic: event.topic,
        time: stamp.time,
        time_untrusted: !stamp.trusted,
        content_type: None,
        user: Vec::new(),
    };
    for property in event.properties {
        match property {
            Property::ContentType(kind) => envelope.content_type = Some(kind),
            Property::User(name, value) => envelope.user.push(User { name, value }),
            _ => {}
        }
    }
    into.clear();
    push_json(into, &envelope);
    let end = into.pop();
    let (name, payload): (_, Cow<'_, [u8]>) = payload(event.payload);
    into.extend(name);
    into.extend(&*payload);
    into.extend(end);
}

/// The member of the object that holds the payload: its name, and its value.
fn payload(bytes: &[u8]) -> (&'static [u8], Cow<'_, [u8]>) {
    let text = core::str::from_utf8(bytes).ok();
    if text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok()) {
        return (br#","payload":"#, bytes.into());
    }
    let mut value = Vec::new();
    if let Some(text) = text {
        push_json(&mut value, text);
        if value.len() <= bytes.len() / 3 * 4 + 8 {
            return (br#","payload":"#, value.into());
        }
    }
    (br#","payload_base64":"#, format!("\"{}\"", BASE64_STANDARD.encode(bytes)).into_bytes().into())
}

fn push_json(into: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let written = serde_json::to_writer(into, value);
    debug_assert!(written.is_ok(), "a vector grows, and all keys are text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Origin, Qos};
    use tributary_core::time::Timestamp;

    fn envelope(payload: &[u8], properties: &[u8]) -> String {
        let event = Event {
            topic: "a/\"b\"",
            payload,
            client: "c",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties(properties),
        };
        let time = "2026-06-01T00:00:00.000Z";
        let stamp = Stamp { gateway: "g", offset: 7, time, trusted: true };
        let mut out = b"before".to_vec();
        write(&stamp, &event, &mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn json_stays_json_text_is_text_and_bytes_are_base64() {
        let begin =
            r#"{"gateway":"g","offset":7,"topic":"a/\"b\"","time":"2026-06-01T00:00:00.000Z","#;
        let cases: [(&[u8], &str); 6] = [
            (b" {\"t\": 1.50, \"t\": 2} ", r#""payload": {"t": 1.50, "t": 2} }"#),
            (b"17", r#""payload":17}"#),
            (b"on \"now\"", r#""payload":"on \"now\""}"#),
            (b"", r#""payload":""}"#),
            (&[0xFF, 0], r#""payload_base64":"/wA="}"#),
            (&[1; 30], r#""payload_base64":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"}"#),
        ];
        for (payload, end) in cases {
            assert_eq!(envelope(payload, &[]), format!("{begin}{end}"));
        }
    }

    #[test]
    fn what_the_publisher_said_goes_along() {
        let mut properties = vec![0x03, 0, 10];
        properties.extend(b"text/plain");
        for value in [b'1', b'2'] {
            properties.extend([0x26, 0, 1, b'k', 0, 1, value]);
        }
        let said = r#""content_type":"text/plain","user":[{"name":"k","value":"1"},{"name":"k","value":"2"}],"#;
        let text = envelope(b"x", &properties);
        assert!(text.contains(said), "{text}");
    }
}
