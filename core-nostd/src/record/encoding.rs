//! An event as a record of the log.
//!
//! ```text
//! varint   length of what follows
//! u8       flags: QoS (bits 0-1), RETAIN (bit 2), origin (bits 3-4), packet id (bit 5), replay (bit 6:
//!          bits 3-4 are 0), 0 (bit 7)
//! zigzag   arrival time in ms, relative to the frame's wall time
//! u16      packet identifier of a publish at QoS 2, little endian; only with bit 5
//! varint   length of the client id,  its bytes (UTF-8)
//! varint   length of the topic,      its bytes (UTF-8)
//! varint   length of the properties, their bytes (MQTT 5.0, 2.2.2, without the length in front)
//! …        the payload: all that is left
//! ```

use core::num::NonZeroU16;

use super::{Event, Origin, Qos};
use crate::properties::Properties;
use crate::time::Timestamp;
use crate::varint;

const RETAIN: u8 = 0b0000_0100;
const PACKET_ID: u8 = 0b0010_0000;

/// Bytes of the event as a record of a frame whose wall time is `base`.
#[must_use]
pub fn encoded_len(event: &Event<'_>, base: Timestamp) -> usize {
    let content = content_len(event, base);
    varint::len(content as u64) + content
}

fn content_len(event: &Event<'_>, base: Timestamp) -> usize {
    let with_length = |bytes: &[u8]| varint::len(bytes.len() as u64) + bytes.len();
    1 + varint::len(delta(event, base))
        + if event.packet_id.is_some() { 2 } else { 0 }
        + with_length(event.client.as_bytes())
        + with_length(event.topic.as_bytes())
        + with_length(event.properties.0)
        + event.payload.len()
}

const fn delta(event: &Event<'_>, base: Timestamp) -> u64 {
    varint::zigzag(event.time.0.saturating_sub(base.0))
}

/// Writes the event as a record of a frame whose wall time is `base`.
///
/// # Panics
/// If `out` is not [`encoded_len`] long.
pub fn encode(event: &Event<'_>, base: Timestamp, out: &mut [u8]) {
    let mut at = varint::put(content_len(event, base) as u64, out);
    out[at] = event.qos as u8 | if event.retain { RETAIN } else { 0 } | (event.origin as u8) << 3;
    out[at] |= if event.packet_id.is_some() { PACKET_ID } else { 0 };
    at += 1;
    at += varint::put(delta(event, base), &mut out[at..]);
    if let Some(packet_id) = event.packet_id {
        out[at..at + 2].copy_from_slice(&packet_id.get().to_le_bytes());
        at += 2;
    }
    for bytes in [event.client.as_bytes(), event.topic.as_bytes(), event.properties.0] {
        at += varint::put(bytes.len() as u64, &mut out[at..]);
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    }
    out[at..].copy_from_slice(event.payload);
}

/// Reads the record at the start of `bytes`, and moves them on. `None` if it is none.
#[must_use]
#[inline]
pub fn decode<'a>(bytes: &mut &'a [u8], base: Timestamp) -> Option<Event<'a>> {
    let length = usize::try_from(varint::take(bytes)?).ok()?;
    let (mut content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let (&flags, after) = content.split_first()?;
    content = after;
    let delta = varint::unzigzag(varint::take(&mut content)?);
    let packet_id = if flags & PACKET_ID == 0 { None } else { Some(packet_id(&mut content)?) };
    let (client, topic) = names(&mut content)?;
    Some(Event {
        client,
        topic,
        properties: Properties(piece(&mut content)?),
        payload: content,
        time: Timestamp(base.0.saturating_add(delta)),
        qos: match flags & 0b11 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return None,
        },
        retain: flags & RETAIN != 0,
        packet_id,
        origin: match (flags & !PACKET_ID) >> 3 {
            0 => Origin::Device,
            1 => Origin::Source,
            2 => Origin::Downlink,
            3 => Origin::Rule,
            8 => Origin::Replay,
            _ => return None,
        },
    })
}

fn packet_id(content: &mut &[u8]) -> Option<NonZeroU16> {
    let (bytes, rest) = content.split_first_chunk()?;
    *content = rest;
    NonZeroU16::new(u16::from_le_bytes(*bytes))
}

#[inline]
fn piece<'a>(content: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::take(content)?).ok()?;
    let (piece, rest) = content.split_at_checked(length)?;
    *content = rest;
    Some(piece)
}

/// The client id and the topic. Most topics are shorter than 128 bytes: then what lies between the two is an ASCII
/// character, and both are looked at as one text.
#[inline]
fn names<'a>(content: &mut &'a [u8]) -> Option<(&'a str, &'a str)> {
    let client = usize::try_from(varint::take(content)?).ok()?;
    let Some(&between @ ..0x80) = content.get(client) else {
        let client = content.split_off(..client)?;
        return Some((core::str::from_utf8(client).ok()?, text(content)?));
    };
    let both = content.split_off(..client + 1 + usize::from(between))?;
    let both = core::str::from_utf8(both).ok()?;
    Some((both.get(..client)?, both.get(client + 1..)?))
}

#[inline]
fn text<'a>(content: &mut &'a [u8]) -> Option<&'a str> {
    core::str::from_utf8(piece(content)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event<'_> = Event {
        topic: "plant/press-3/telemetry",
        payload: b"{\"temperature\":71}",
        client: "press-3",
        time: Timestamp(1_800_000_000_123),
        qos: Qos::AtLeastOnce,
        retain: true,
        origin: Origin::Source,
        packet_id: None,
        properties: Properties(&[0x01, 1]),
    };

    #[test]
    fn an_event_survives() {
        let exactly_once =
            Event { qos: Qos::ExactlyOnce, packet_id: NonZeroU16::new(0xABCD), ..EVENT };
        for (base, event) in [
            (Timestamp(0), Event { origin: Origin::Replay, ..EVENT }),
            (Timestamp(1_800_000_000_200), EVENT),
            (Timestamp(0), EVENT),
            (Timestamp(i64::MAX), EVENT),
            (Timestamp(0), exactly_once),
        ] {
            let mut bytes = [0; 128];
            let length = encoded_len(&event, base);
            encode(&event, base, &mut bytes[..length]);
            let mut rest = &bytes[..length];
            assert_eq!(decode(&mut rest, base), Some(event));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn names_of_any_length_survive_and_must_be_text() {
        let long = "ü".repeat(100);
        let at = |bytes| core::str::from_utf8(&long.as_bytes()[..bytes]).expect("whole characters");
        for (client, topic) in
            [("", "a"), ("ü", "ß/ü"), ("c", at(126)), ("c", at(128)), (at(200), at(200))]
        {
            let event = Event { topic, client, ..EVENT };
            let mut bytes = [0; 512];
            let length = encoded_len(&event, EVENT.time);
            encode(&event, EVENT.time, &mut bytes[..length]);
            assert_eq!(decode(&mut &bytes[..length], EVENT.time), Some(event));
            let behind = length - event.payload.len() - event.properties.0.len() - 1;
            for name in [behind - topic.len(), behind - 1] {
                let mut broken = bytes;
                broken[name] = 0xFF;
                assert_eq!(decode(&mut &broken[..length], EVENT.time), None, "byte {name}");
            }
        }
    }

    #[test]
    fn a_character_that_ends_in_the_next_name_is_none() {
        let event = Event { client: "cc", topic: "tt", ..EVENT };
        let mut bytes = [0; 128];
        let length = encoded_len(&event, EVENT.time);
        encode(&event, EVENT.time, &mut bytes[..length]);
        let client = bytes.iter().position(|&byte| byte == b'c').expect("it is in there");
        bytes[client + 1] = 0xC3;
        assert_eq!(decode(&mut &bytes[..length], EVENT.time), None);
        bytes[client + 1] = b'c';
        bytes[client + 3] = 0xBC;
        assert_eq!(decode(&mut &bytes[..length], EVENT.time), None);
    }

    #[test]
    fn bytes_that_are_no_record_are_none() {
        let mut bytes = [0; 128];
        let length = encoded_len(&EVENT, EVENT.time);
        encode(&EVENT, EVENT.time, &mut bytes[..length]);
        for cut in 0..length {
            assert_eq!(decode(&mut &bytes[..cut], EVENT.time), None, "cut at {cut}");
        }
        for flags in [0b11, 0b100_1000, 0b1000_0000] {
            bytes[1] = flags;
            assert_eq!(decode(&mut &bytes[..length], EVENT.time), None, "{flags:b}");
        }
    }
}
