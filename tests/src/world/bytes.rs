//! MQTT as the clients of the world write and read it: bytes of their own making, so that no codec
//! of the project stands between what is promised and what is checked.

/// A string with its length.
pub(super) fn push_text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("it is short").to_be_bytes());
    into.extend(text.as_bytes());
}

/// A packet with this first byte.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let length = body.len();
    assert!(length < 16_384, "two bytes of length at most");
    if length >= 128 {
        packet.push(u8::try_from(length % 128).expect("below") | 0x80);
        packet.push(u8::try_from(length / 128).expect("below"));
    } else {
        packet.push(u8::try_from(length).expect("below"));
    }
    packet.extend_from_slice(body);
    packet
}

/// An answer that names an identifier and nothing else.
pub(super) fn answer(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// Whether a CONNACK says that the gateway serves nobody at the moment: its log has failed.
pub(super) fn is_unavailable(body: &[u8]) -> bool {
    matches!(body[1], 3 | 0x88)
}

/// The number at the begin of `bytes`, seven bits to a byte, and the bytes that it takes.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let low = usize::from(*bytes.first()?);
    if low < 128 {
        return Some((low, 1));
    }
    let high = usize::from(*bytes.get(1)?);
    assert!(high < 128, "two bytes of length at most");
    Some(((low & 127) + high * 128, 2))
}

/// Takes the first whole packet from `input`: its first byte, and what follows the length.
pub(super) fn take_packet(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (length, bytes) = length(input.get(1..)?)?;
    let body = input.get(1 + bytes..1 + bytes + length)?.to_vec();
    let first = input[0];
    input.drain(..1 + bytes + length);
    Some((first, body))
}

/// A PUBLISH.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) qos: u8,
    pub(super) again: bool,
    /// 0 at QoS 0.
    pub(super) id: u16,
    pub(super) payload: &'a str,
}

impl<'a> Message<'a> {
    /// Reads what came. `None`: it cannot be read.
    pub(super) fn read(first: u8, body: &'a [u8], speaks_5: bool) -> Option<Self> {
        let qos = first >> 1 & 3;
        let topic = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let mut rest = body.get(2 + topic..)?;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            rest = &rest[2..];
        }
        if speaks_5 {
            let (properties, bytes) = length(rest)?;
            rest = rest.get(bytes + properties..)?;
        }
        let payload = core::str::from_utf8(rest).ok()?;
        Some(Self { qos, again: first & 8 != 0, id, payload })
    }
}
