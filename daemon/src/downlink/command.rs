//! What a record of a Kafka topic becomes: an event for devices, or nothing.

use core::time::Duration;

use tributary_bridge::{Bytes, ReadRecord};
use tributary_core::limits::{PAYLOAD_BYTES_MAX, PROPERTIES_BYTES_MAX};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin};
use tributary_core::time::Timestamp;
use tributary_core::topic::check_name;

use super::place;
use crate::config::{Downlink, Only};

/// The header that names the gateway which a record is for.
const GATEWAY: &str = "tributary.gateway";
/// In its place: all gateways.
const EVERYBODY: &[u8] = b"*";
/// After how many seconds from its timestamp on a record is of no use any more.
const EXPIRY: &str = "mqtt.expiry";
const CONTENT_TYPE: &str = "content-type";
const RESPONSE_TOPIC: &str = "mqtt.response-topic";
const CORRELATION_DATA: &str = "mqtt.correlation-data";
/// What devices get as user properties.
const USER: &str = "mqtt.user.";

/// An event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    topic: String,
    client: String,
    payload: Bytes,
    properties: Vec<u8>,
}

/// Why a record becomes no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is for other gateways.
    Others,
    /// It is too old.
    Expired,
    /// It can be no event; why, for people.
    Refused(String),
}

impl Command {
    /// What `rule` makes of a record for `gateway`, `now`.
    ///
    /// # Errors
    /// It becomes no event.
    pub fn of(
        record: &ReadRecord,
        partition: i32,
        (rule, gateway): (&Downlink, &str),
        now: Timestamp,
    ) -> Result<Self, Passed> {
        let key = addressed(record, rule.only, gateway)?;
        let left_s = left_s(record, rule.max_age, now)?;
        let key = key.map(str::from_utf8).transpose();
        let key = key.map_err(|_| Passed::Refused("its key is no text".to_owned()))?;
        let topic = rule.to.render(key, gateway).map_err(Passed::Refused)?;
        check_name(&topic).map_err(|error| Passed::Refused(format!("`{topic}`: {error}")))?;
        if topic.starts_with('$') {
            return Err(Passed::Refused(format!("`{topic}` is the broker's own")));
        }
        let payload = match &record.value {
            Some(value) => value.clone(),
            // A tombstone removes what is kept.
            None if rule.retain => Bytes::new(),
            None => return Err(Passed::Refused("it has no value".to_owned())),
        };
        if payload.len() > PAYLOAD_BYTES_MAX {
            let bytes = payload.len();
            let words = format!("it has {bytes} bytes, an event has at most {PAYLOAD_BYTES_MAX}");
            return Err(Passed::Refused(words));
        }
        let properties = properties(record, (&rule.from, partition), left_s)?;
        Ok(Self { topic, client: format!("kafka/{}", rule.from), payload, properties })
    }

    /// The event, as it comes in at `time`.
    #[must_use]
    pub fn event(&self, rule: &Downlink, time: Timestamp) -> Event<'_> {
        Event {
            topic: &self.topic,
            payload: &self.payload,
            client: &self.client,
            time,
            qos: rule.qos,
            retain: rule.retain,
            origin: Origin::Downlink,
            packet_id: None,
            properties: Properties(&self.properties),
        }
    }
}

/// The key of a record that is for us, without what addresses it.
fn addressed<'a>(
    record: &'a ReadRecord,
    only: Only,
    gateway: &str,
) -> Result<Option<&'a [u8]>, Passed> {
    let key = record.key.as_deref();
    match only {
        Only::All => Ok(key),
        Only::Header => match record.header(GATEWAY) {
            Some(named) if named == gateway.as_bytes() || named == EVERYBODY => Ok(key),
            _ => Err(Passed::Others),
        },
        Only::Key => {
            let rest = key.and_then(|key| key.strip_prefix(gateway.as_bytes()));
            match rest {
                Some([]) => Ok(None),
                Some([b'/', rest @ ..]) => Ok(Some(rest)),
                _ => Err(Passed::Others),
            }
        }
    }
}

/// For how many seconds a record is still of use; `None`: for ever.
fn left_s(
    record: &ReadRecord,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<Option<u32>, Passed> {
    let own = match record.header(EXPIRY) {
        None => None,
        Some(text) => {
            let seconds =
                str::from_utf8(text).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let words = || Passed::Refused(format!("its header {EXPIRY} is no number of seconds"));
            Some(seconds.ok_or_else(words)?)
        }
    };
    let lives_ms = match (own, max_age) {
        (None, None) => return Ok(None),
        (own, max_age) => {
            let own_ms = own.map_or(i64::MAX, |seconds| i64::from(seconds) * 1_000);
            let max_ms = max_age.and_then(|age| i64::try_from(age.as_millis()).ok());
            own_ms.min(max_ms.unwrap_or(i64::MAX))
        }
    };
    // One from the future is new.
    let age_ms = now.0.saturating_sub(record.timestamp.0).max(0);
    let left_ms = lives_ms.saturating_sub(age_ms);
    if left_ms <= 0 {
        return Err(Passed::Expired);
    }
    Ok(Some(u32::try_from(left_ms.div_euclid(1_000) + 1).unwrap_or(u32::MAX)))
}

/// MQTT's properties: where the record stood, and what its headers say.
fn properties(
    record: &ReadRecord,
    (topic, partition): (&str, i32),
    left_s: Option<u32>,
) -> Result<Vec<u8>, Passed> {
    let mut out = Vec::new();
    user(&mut out, place::TOPIC, topic.as_bytes())?;
    user(&mut out, place::PARTITION, partition.to_string().as_bytes())?;
    user(&mut out, place::OFFSET, record.offset.to_string().as_bytes())?;
    if let Some(left_s) = left_s {
        out.push(0x02);
        out.extend(left_s.to_be_bytes());
    }
    if let Some(kind) = record.header(CONTENT_TYPE) {
        out.push(0x03);
        text(&mut out, CONTENT_TYPE, kind)?;
    }
    if let Some(response) = record.header(RESPONSE_TOPIC) {
        let is_name = str::from_utf8(response).is_ok_and(|topic| check_name(topic).is_ok());
        if !is_name {
            return Err(Passed::Refused(format!("its header {RESPONSE_TOPIC} is no topic")));
        }
        out.push(0x08);
        text(&mut out, RESPONSE_TOPIC, response)?;
    }
    if let Some(data) = record.header(CORRELATION_DATA) {
        out.push(0x09);
        counted(&mut out, CORRELATION_DATA, data)?;
    }
    for (name, value) in &record.headers {
        if let Some(name) = name.strip_prefix(USER) {
            user(&mut out, name, value.as_deref().unwrap_or_default())?;
        }
    }
    if out.len() > PROPERTIES_BYTES_MAX {
        return Err(Passed::Refused(format!("its headers have {} bytes", out.len())));
    }
    Ok(out)
}

fn user(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Passed> {
    out.push(0x26);
    text(out, name, name.as_bytes())?;
    text(out, name, value)
}

/// Text as MQTT allows it (MQTT 5.0, 1.5.4).
fn text(out: &mut Vec<u8>, what: &str, bytes: &[u8]) -> Result<(), Passed> {
    if str::from_utf8(bytes).is_err() || bytes.contains(&0) {
        return Err(Passed::Refused(format!("its header {what} is no text")));
    }
    counted(out, what, bytes)
}

fn counted(out: &mut Vec<u8>, what: &str, bytes: &[u8]) -> Result<(), Passed> {
    let length = u16::try_from(bytes.len());
    let length = length.map_err(|_| Passed::Refused(format!("its header {what} is too long")))?;
    out.extend(length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}
