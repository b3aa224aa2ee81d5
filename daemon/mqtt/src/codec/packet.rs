//! All packets, and the fixed header that they share (MQTT 5.0, 2.1).

use alloc::vec::Vec;

use super::Version;
use super::ack::{Ack, Kind};
use super::connack::ConnAck;
use super::connect::Connect;
use super::disconnect::{Auth, Disconnect};
use super::malformed::Malformed;
use super::publish::Publish;
use super::reader::variable;
use super::reason::Reason;
use super::subscribe::{SubAck, Subscribe};
use super::unsubscribe::{UnsubAck, Unsubscribe};

/// Any packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client introduces itself.
    Connect(Connect<'a>),
    /// The answer to that.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A QoS 1 message has arrived.
    PubAck(Ack<'a>),
    /// A QoS 2 message has arrived.
    PubRec(Ack<'a>),
    /// The sender of a QoS 2 message knows that.
    PubRel(Ack<'a>),
    /// The receiver of a QoS 2 message knows that too.
    PubComp(Ack<'a>),
    /// A client asks for messages.
    Subscribe(Subscribe<'a>),
    /// The answer to that.
    SubAck(SubAck<'a>),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to that.
    UnsubAck(UnsubAck<'a>),
    /// A client is still there.
    PingReq,
    /// So is the server.
    PingResp,
    /// One side takes its leave.
    Disconnect(Disconnect<'a>),
    /// Enhanced authentication; not in 3.1.1.
    Auth(Auth<'a>),
}

/// What the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The packet is not all there.
    Incomplete,
    /// A packet, and the bytes that it took.
    Packet(Packet<'a>, usize),
}

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;

/// Reads the packet that `bytes` begin with. Without a `version` it must be a CONNECT.
///
/// # Errors
/// If it breaks a rule, or has more than `packet_bytes_max` bytes; as soon as that can be seen.
pub fn decode(
    bytes: &[u8],
    version: Option<Version>,
    packet_bytes_max: u32,
) -> Result<Decoded<'_>, Malformed> {
    let Some((&first, after)) = bytes.split_first() else { return Ok(Decoded::Incomplete) };
    check_first_byte(first, version)?;
    let Some((length, digits)) = variable(after)? else { return Ok(Decoded::Incomplete) };
    // At most 268,435,460.
    let length = length as usize;
    let total = 1 + digits + length;
    if total > packet_bytes_max as usize {
        return Err(Malformed::new(Reason::PacketTooLarge, "MQTT-3.2.2-15"));
    }
    let Some(body) = bytes.get(1 + digits..total) else { return Ok(Decoded::Incomplete) };
    let packet = match version {
        Some(version) => decode_body(first, body, version)?,
        None => Packet::Connect(Connect::decode(body)?),
    };
    Ok(Decoded::Packet(packet, total))
}

/// Packet type and flags (MQTT 5.0, tables 2-1 and 2-2).
fn check_first_byte(first: u8, version: Option<Version>) -> Result<(), Malformed> {
    let kind = first >> 4;
    if version.is_none() && kind != CONNECT {
        return Err(Malformed::protocol("MQTT-3.1.0-1"));
    }
    let (flags, statement) = match kind {
        PUBLISH => return Ok(()),
        0 => return Err(Malformed::packet("2.1.2")),
        15 if version != Some(Version::V5) => return Err(Malformed::packet("2.1.2")),
        6 => (0b0010, "MQTT-3.6.1-1"),
        8 => (0b0010, "MQTT-3.8.1-1"),
        10 => (0b0010, "MQTT-3.10.1-1"),
        14 => (0, "MQTT-3.14.1-1"),
        15 => (0, "MQTT-3.15.1-1"),
        _ => (0, "MQTT-2.1.3-1"),
    };
    // MQTT 3.1 has DUP in what waits for an answer, and RETAIN there means nothing (3.1, 2.1).
    let fixed = if version == Some(Version::V31) && flags != 0 { 0b0110 } else { 0b1111 };
    if first & fixed == flags { Ok(()) } else { Err(Malformed::packet(statement)) }
}

fn decode_body(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    Ok(match first >> 4 {
        CONNECT => Packet::Connect(Connect::decode(body)?),
        2 => Packet::ConnAck(ConnAck::decode(body, version)?),
        PUBLISH => Packet::Publish(Publish::decode(first & 0b1111, body, version)?),
        4 => Packet::PubAck(Ack::decode(Kind::Acknowledged, body, version)?),
        5 => Packet::PubRec(Ack::decode(Kind::Received, body, version)?),
        6 => Packet::PubRel(Ack::decode(Kind::Release, body, version)?),
        7 => Packet::PubComp(Ack::decode(Kind::Complete, body, version)?),
        8 => Packet::Subscribe(Subscribe::decode(body, version)?),
        9 => Packet::SubAck(SubAck::decode(body, version)?),
        10 => Packet::Unsubscribe(Unsubscribe::decode(body, version)?),
        11 => Packet::UnsubAck(UnsubAck::decode(body, version)?),
        12 if body.is_empty() => Packet::PingReq,
        13 if body.is_empty() => Packet::PingResp,
        12 | 13 => return Err(Malformed::packet("2.1.4")),
        14 => Packet::Disconnect(Disconnect::decode(body, version)?),
        _ => Packet::Auth(Auth::decode(body)?),
    })
}

impl Packet<'_> {
    /// Appends the packet. (A CONNECT says its version itself.)
    ///
    /// # Panics
    /// If a string has more than 65,535 bytes, or the packet more than MQTT can spell.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::ConnAck(connack) => connack.encode(version, out),
            Self::Publish(publish) => publish.encode(version, out),
            Self::PubAck(ack) => ack.encode(Kind::Acknowledged, version, out),
            Self::PubRec(ack) => ack.encode(Kind::Received, version, out),
            Self::PubRel(ack) => ack.encode(Kind::Release, version, out),
            Self::PubComp(ack) => ack.encode(Kind::Complete, version, out),
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::SubAck(suback) => suback.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::UnsubAck(unsuback) => unsuback.encode(version, out),
            Self::PingReq => out.extend_from_slice(&[0xC0, 0]),
            Self::PingResp => out.extend_from_slice(&[0xD0, 0]),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(out),
        }
    }
}
