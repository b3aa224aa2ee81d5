//! Packets that break a rule, with the reason code and the statement that are expected.

use alloc::vec::Vec;

use crate::codec::Version::{V5, V31, V311};
use crate::codec::malformed::Malformed;
use crate::codec::reason::Reason::{
    self, MalformedPacket, PacketTooLarge, ProtocolError, TopicAliasInvalid, TopicFilterInvalid,
    TopicNameInvalid, UnsupportedProtocolVersion,
};
use crate::codec::{Decoded, Version, decode, writer};

/// Version, first byte, what follows the remaining length, reason, statement.
type Row = (Version, u8, &'static [u8], Reason, &'static str);

#[rustfmt::skip]
const PACKETS: &[Row] = &[
    // Fixed header.
    (V311, 0x00, b"", MalformedPacket, "2.1.2"),
    (V5, 0x00, b"", MalformedPacket, "2.1.2"),
    (V311, 0xF0, b"", MalformedPacket, "2.1.2"),
    (V5, 0xF1, b"", MalformedPacket, "MQTT-3.15.1-1"),
    (V311, 0x11, b"", MalformedPacket, "MQTT-2.1.3-1"),
    (V311, 0x21, b"\0\0", MalformedPacket, "MQTT-2.1.3-1"),
    (V5, 0x48, b"\0\x01", MalformedPacket, "MQTT-2.1.3-1"),
    (V311, 0x60, b"\0\x01", MalformedPacket, "MQTT-3.6.1-1"),
    (V311, 0x80, b"\0\x01\0\x01a\0", MalformedPacket, "MQTT-3.8.1-1"),
    (V5, 0xA0, b"\0\x01\0\0\x01a", MalformedPacket, "MQTT-3.10.1-1"),
    (V311, 0xC1, b"", MalformedPacket, "MQTT-2.1.3-1"),
    (V311, 0xC0, b"\0", MalformedPacket, "2.1.4"),
    (V5, 0xD0, b"\0", MalformedPacket, "2.1.4"),
    (V5, 0xE1, b"", MalformedPacket, "MQTT-3.14.1-1"),
    // PUBLISH.
    (V311, 0x30, b"", MalformedPacket, "2.1.4"),
    (V311, 0x30, b"\0\x02a", MalformedPacket, "2.1.4"),
    (V311, 0x36, b"\0\x01a\0\x01", MalformedPacket, "MQTT-3.3.1-4"),
    (V5, 0x37, b"\0\x01a\0\x01\0", MalformedPacket, "MQTT-3.3.1-4"),
    (V311, 0x38, b"\0\x01a", MalformedPacket, "MQTT-3.3.1-2"),
    (V311, 0x32, b"\0\x01a", MalformedPacket, "2.1.4"),
    (V311, 0x32, b"\0\x01a\0\0x", ProtocolError, "MQTT-2.2.1-3"),
    (V5, 0x34, b"\0\x01a\0\0\0x", ProtocolError, "MQTT-2.2.1-3"),
    (V311, 0x30, b"\0\0x", ProtocolError, "3.3.2.1"),
    (V5, 0x30, b"\0\0\0x", ProtocolError, "3.3.2.1"),
    (V311, 0x30, b"\0\x03a/+", TopicNameInvalid, "MQTT-3.3.2-2"),
    (V5, 0x30, b"\0\x01#\0", TopicNameInvalid, "MQTT-3.3.2-2"),
    (V311, 0x30, b"\0\x03a\0b", MalformedPacket, "MQTT-1.5.4-2"),
    (V311, 0x30, b"\0\x02\xC3/", MalformedPacket, "MQTT-1.5.4-1"),
    (V5, 0x30, b"\0\x03\xED\xA0\x80\0", MalformedPacket, "MQTT-1.5.4-1"),
    (V5, 0x30, b"\0\x01a", MalformedPacket, "2.1.4"),
    (V5, 0x30, b"\0\x01a\x02\x01", MalformedPacket, "2.1.4"),
    (V5, 0x30, b"\0\x01a\x80\0", MalformedPacket, "MQTT-1.5.5-1"),
    // Properties of a PUBLISH.
    (V5, 0x30, b"\0\x01a\x02\x01\x02", ProtocolError, "3.3.2.3.2"),
    (V5, 0x30, b"\0\x01a\x04\x01\x01\x01\x01", ProtocolError, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x0A\x02\0\0\0\x01\x02\0\0\0\x01", ProtocolError, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x02\x02\0", MalformedPacket, "2.1.4"),
    (V5, 0x30, b"\0\x01a\x03\x23\0\0", TopicAliasInvalid, "MQTT-3.3.2-8"),
    (V5, 0x30, b"\0\x01a\x06\x23\0\x01\x23\0\x01", ProtocolError, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x02\x0B\0", ProtocolError, "3.8.2.1.2"),
    (V5, 0x30, b"\0\x01a\x05\x0B\x80\x80\x80\x80", MalformedPacket, "1.5.5"),
    (V5, 0x30, b"\0\x01a\x03\x0B\x80\0", MalformedPacket, "MQTT-1.5.5-1"),
    (V5, 0x30, b"\0\x01a\x04\x08\0\x01#", ProtocolError, "MQTT-3.3.2-14"),
    (V5, 0x30, b"\0\x01a\x03\x08\0\0", ProtocolError, "MQTT-4.7.3-1"),
    (V5, 0x30, b"\0\x01a\x04\x03\0\x01\0", MalformedPacket, "MQTT-1.5.4-2"),
    (V5, 0x30, b"\0\x01a\x06\x26\0\x01a\0\x01", MalformedPacket, "2.1.4"),
    (V5, 0x30, b"\0\x01a\x07\x26\0\x01a\0\x01\xFF", MalformedPacket, "MQTT-1.5.4-1"),
    (V5, 0x30, b"\0\x01a\x05\x11\0\0\0\x01", MalformedPacket, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x05\x18\0\0\0\x01", MalformedPacket, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x01\x7F", MalformedPacket, "2.2.2.2"),
    (V5, 0x30, b"\0\x01a\x02\xA6\0", MalformedPacket, "2.2.2.2"),
    // Acknowledgements.
    (V311, 0x40, b"\0\0", ProtocolError, "MQTT-2.2.1-3"),
    (V311, 0x40, b"\0", MalformedPacket, "2.1.4"),
    (V311, 0x40, b"\0\x01\0", MalformedPacket, "2.1.4"),
    (V5, 0x40, b"\0\x01\x01", MalformedPacket, "MQTT-3.4.2-1"),
    (V5, 0x50, b"\0\x01\x92", MalformedPacket, "MQTT-3.5.2-1"),
    (V5, 0x62, b"\0\x01\x10", MalformedPacket, "MQTT-3.6.2-1"),
    (V5, 0x70, b"\0\x01\x80", MalformedPacket, "MQTT-3.7.2-1"),
    (V5, 0x40, b"\0\x01\0\x02\x1F\0", MalformedPacket, "2.1.4"),
    (V5, 0x40, b"\0\x01\0\0\0", MalformedPacket, "2.1.4"),
    (V5, 0x40, b"\0\x01\0\x02\x01\x01", MalformedPacket, "2.2.2.2"),
    (V5, 0x40, b"\0\x01\0\x06\x1F\0\0\x1F\0\0", ProtocolError, "2.2.2.2"),
    // SUBSCRIBE and SUBACK.
    (V311, 0x82, b"\0\0\0\x01a\0", ProtocolError, "MQTT-2.2.1-3"),
    (V311, 0x82, b"\0\x01", ProtocolError, "MQTT-3.8.3-2"),
    (V5, 0x82, b"\0\x01\0", ProtocolError, "MQTT-3.8.3-2"),
    (V311, 0x82, b"\0\x01\0\x01a", MalformedPacket, "2.1.4"),
    (V311, 0x82, b"\0\x01\0\x01a\x03", ProtocolError, "3.8.3.1"),
    (V311, 0x82, b"\0\x01\0\x01a\x04", MalformedPacket, "MQTT-3.8.3-4 (3.1.1)"),
    (V5, 0x82, b"\0\x01\0\0\x01a\x03", ProtocolError, "3.8.3.1"),
    (V5, 0x82, b"\0\x01\0\0\x01a\x40", MalformedPacket, "MQTT-3.8.3-5"),
    (V5, 0x82, b"\0\x01\0\0\x01a\x80", MalformedPacket, "MQTT-3.8.3-5"),
    (V5, 0x82, b"\0\x01\0\0\x01a\x30", ProtocolError, "3.8.3.1"),
    (V311, 0x82, b"\0\x01\0\0\0", TopicFilterInvalid, "MQTT-4.7.3-1"),
    (V311, 0x82, b"\0\x01\0\x02a#\0", TopicFilterInvalid, "MQTT-4.7.1-1"),
    (V311, 0x82, b"\0\x01\0\x03#/a\0", TopicFilterInvalid, "MQTT-4.7.1-1"),
    (V5, 0x82, b"\0\x01\0\0\x02a+\0", TopicFilterInvalid, "MQTT-4.7.1-2"),
    (V311, 0x82, b"\0\x01\0\x01a\0\0\x01\xFF\0", MalformedPacket, "MQTT-1.5.4-1"),
    (V5, 0x82, b"\0\x01\0\0\x0A$share/g/a\x04", ProtocolError, "MQTT-3.8.3-4"),
    (V5, 0x82, b"\0\x01\0\0\x08$share/g\0", TopicFilterInvalid, "MQTT-4.8.2-2"),
    (V5, 0x82, b"\0\x01\0\0\x09$share/g/\0", TopicFilterInvalid, "MQTT-4.8.2-2"),
    (V5, 0x82, b"\0\x01\0\0\x09$share//a\0", TopicFilterInvalid, "MQTT-4.8.2-2"),
    (V5, 0x82, b"\0\x01\0\0\x0A$share/+/a\0", TopicFilterInvalid, "MQTT-4.8.2-2"),
    (V5, 0x82, b"\0\x01\x02\x0B\0\0\x01a\0", ProtocolError, "3.8.2.1.2"),
    (V5, 0x82, b"\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0", ProtocolError, "2.2.2.2"),
    (V311, 0x90, b"\0\x01\x03", MalformedPacket, "MQTT-3.9.3-2"),
    (V311, 0x90, b"\0\x01\x87", MalformedPacket, "MQTT-3.9.3-2"),
    (V311, 0x90, b"\0\x01", MalformedPacket, "MQTT-3.9.3-2"),
    (V5, 0x90, b"\0\x01\0", MalformedPacket, "MQTT-3.9.3-2"),
    (V5, 0x90, b"\0\x01\0\x11", MalformedPacket, "MQTT-3.9.3-2"),
    // UNSUBSCRIBE and UNSUBACK.
    (V311, 0xA2, b"\0\x01", ProtocolError, "MQTT-3.10.3-2"),
    (V311, 0xA2, b"\0\0\0\x01a", ProtocolError, "MQTT-2.2.1-3"),
    (V5, 0xA2, b"\0\x01\0\0\x03#/#", TopicFilterInvalid, "MQTT-4.7.1-1"),
    (V5, 0xA2, b"\0\x01\x02\x0B\x01\0\x01a", MalformedPacket, "2.2.2.2"),
    (V311, 0xB0, b"\0\x01\0", MalformedPacket, "2.1.4"),
    (V5, 0xB0, b"\0\x01\0\x01", MalformedPacket, "MQTT-3.11.3-2"),
    (V5, 0xB0, b"\0\x01\0", MalformedPacket, "MQTT-3.11.3-2"),
    // CONNACK.
    (V311, 0x20, b"\x02\0", MalformedPacket, "MQTT-3.2.2-1"),
    (V311, 0x20, b"\0\x06", MalformedPacket, "MQTT-3.2.2-8"),
    (V311, 0x20, b"\x01\x05", ProtocolError, "MQTT-3.2.2-6"),
    (V311, 0x20, b"\0\0\0", MalformedPacket, "2.1.4"),
    (V5, 0x20, b"\0\x01\0", MalformedPacket, "MQTT-3.2.2-8"),
    (V5, 0x20, b"\0\0\x02\x24\x02", ProtocolError, "3.2.2.3.4"),
    (V5, 0x20, b"\0\0\x02\x25\x02", ProtocolError, "3.2.2.3.5"),
    (V5, 0x20, b"\0\0\x02\x28\x02", ProtocolError, "3.2.2.3.11"),
    (V5, 0x20, b"\0\0\x02\x29\x02", ProtocolError, "3.2.2.3.12"),
    (V5, 0x20, b"\0\0\x02\x2A\x02", ProtocolError, "3.2.2.3.13"),
    // DISCONNECT and AUTH.
    (V311, 0xE0, b"\0", MalformedPacket, "2.1.4"),
    (V5, 0xE0, b"\x01", MalformedPacket, "MQTT-3.14.2-1"),
    (V5, 0xE0, b"\0\x03\x21\0\x01", MalformedPacket, "2.2.2.2"),
    (V5, 0xE0, b"\0\0\0", MalformedPacket, "2.1.4"),
    (V5, 0xF0, b"\x04", MalformedPacket, "MQTT-3.15.2-1"),
    (V5, 0xF0, b"\x18", MalformedPacket, "2.1.4"),
    (V5, 0xF0, b"\0\x03\x16\0\0", ProtocolError, "3.1.2.11.10"),
    (V5, 0xF0, b"\x18\0", ProtocolError, "3.15.2.2.2"),
];

#[rustfmt::skip]
const CONNECTS: &[(&[u8], Reason, &str)] = &[
    (b"\0\x04MQTX\x04\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-1"),
    (b"\0\x04mqtt\x04\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-1"),
    (b"\0\x04MQTT\x03\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-2"),
    (b"\0\x04MQTT\x06\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-2"),
    (b"\0\x04MQTT\x84\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-2"),
    (b"\0\x06MQIsdp\x04\x02\0\0\0\x01a", UnsupportedProtocolVersion, "MQTT-3.1.2-2"),
    (b"\0\x04MQTT\x04\x03\0\0\0\x01a", MalformedPacket, "MQTT-3.1.2-3"),
    (b"\0\x04MQTT\x05\x03\0\0\0\0\x01a", MalformedPacket, "MQTT-3.1.2-3"),
    (b"\0\x04MQTT\x04\x0A\0\0\0\x01a", MalformedPacket, "MQTT-3.1.2-11"),
    (b"\0\x04MQTT\x04\x22\0\0\0\x01a", MalformedPacket, "MQTT-3.1.2-13"),
    (b"\0\x04MQTT\x04\x1E\0\0\0\x01a\0\x01w\0\0", MalformedPacket, "MQTT-3.1.2-12"),
    (b"\0\x04MQTT\x04\x42\0\0\0\x01a\0\x01p", MalformedPacket, "MQTT-3.1.2-22 (3.1.1)"),
    (b"\0\x04MQTT\x04\x02\0\0", MalformedPacket, "2.1.4"),
    (b"\0\x04MQTT\x04\x02\0\0\0\x01a\0", MalformedPacket, "2.1.4"),
    (b"\0\x04MQTT\x04\x82\0\0\0\x01a", MalformedPacket, "2.1.4"),
    (b"\0\x04MQTT\x04\xC2\0\0\0\x01a\0\x01u", MalformedPacket, "2.1.4"),
    (b"\0\x04MQTT\x04\x02\0\0\0\x01\xFF", MalformedPacket, "MQTT-1.5.4-1"),
    (b"\0\x04MQTT\x04\x02\0\0\0\x01\0", MalformedPacket, "MQTT-1.5.4-2"),
    (b"\0\x04MQTT\x04\x82\0\0\0\x01a\0\x01\xFF", MalformedPacket, "MQTT-1.5.4-1"),
    (b"\0\x04MQTT\x04\x06\0\0\0\x01a\0\x01+\0\0", TopicNameInvalid, "MQTT-4.7.0-1"),
    (b"\0\x04MQTT\x04\x06\0\0\0\x01a\0\0\0\0", TopicNameInvalid, "MQTT-4.7.3-1"),
    (b"\0\x04MQTT\x04\x06\0\0\0\x01a\0\x01w", MalformedPacket, "2.1.4"),
    (b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01a", ProtocolError, "3.1.2.11.3"),
    (b"\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\0\0\x01a", ProtocolError, "3.1.2.11.4"),
    (b"\0\x04MQTT\x05\x02\0\0\x02\x17\x02\0\x01a", ProtocolError, "3.1.2.11.7"),
    (b"\0\x04MQTT\x05\x02\0\0\x02\x19\x02\0\x01a", ProtocolError, "3.1.2.11.6"),
    (b"\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\x01a", ProtocolError, "3.1.2.11.10"),
    (b"\0\x04MQTT\x05\x02\0\0\x0A\x11\0\0\0\0\x11\0\0\0\0\0\x01a", ProtocolError, "2.2.2.2"),
    (b"\0\x04MQTT\x05\x02\0\0\x02\x01\x01\0\x01a", MalformedPacket, "2.2.2.2"),
    (b"\0\x04MQTT\x05\x06\0\0\0\0\x01a\x03\x23\0\x01\0\x01w\0\0", MalformedPacket, "2.2.2.2"),
];

fn encoded(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    writer::packet(&mut bytes, first, |out| out.extend_from_slice(body));
    bytes
}

#[test]
fn a_packet_that_breaks_a_rule_is_refused_by_its_name() {
    for &(version, first, body, reason, statement) in PACKETS {
        let bytes = encoded(first, body);
        let expected = Err(Malformed { reason, statement });
        let found = decode(&bytes, Some(version), 1000);
        assert_eq!(found, expected, "{version:?} {bytes:02X?}");
    }
}

#[test]
fn a_connect_that_breaks_a_rule_is_refused_by_its_name() {
    for &(body, reason, statement) in CONNECTS {
        let bytes = encoded(0x10, body);
        let expected = Err(Malformed { reason, statement });
        assert_eq!(decode(&bytes, None, 1000), expected, "{bytes:02X?}");
    }
}

/// Old devices set it when they send something again.
#[test]
fn dup_in_what_waits_for_an_answer_is_of_3_1_alone() {
    for (first, body) in
        [(0x6A, &b"\0\x01"[..]), (0x8A, b"\0\x01\0\x01a\0"), (0xAA, b"\0\x01\0\x01a")]
    {
        let bytes = encoded(first, body);
        assert!(matches!(decode(&bytes, Some(V31), 1000), Ok(Decoded::Packet(..))), "{first:X}");
        assert!(decode(&bytes, Some(V311), 1000).is_err(), "{first:X}");
        // At another quality of service than 1 it is nothing that 3.1 knows.
        let bytes = encoded(first & 0b1111_1001, body);
        assert!(decode(&bytes, Some(V31), 1000).is_err(), "{first:X}");
    }
}

#[test]
fn a_connection_begins_with_connect() {
    for first in (0..=0xFF).filter(|first| first >> 4 != 1) {
        let expected = Err(Malformed { reason: ProtocolError, statement: "MQTT-3.1.0-1" });
        assert_eq!(decode(&[first], None, 1000), expected, "{first:02X}");
    }
}

#[test]
fn a_packet_above_the_limit_is_refused_by_its_header_alone() {
    let expected = Err(Malformed { reason: PacketTooLarge, statement: "MQTT-3.2.2-15" });
    assert_eq!(decode(&[0x30, 0x7F], Some(V5), 128), expected);
    assert_eq!(decode(&[0x30, 0x7F], Some(V5), 129), Ok(Decoded::Incomplete));
    assert_eq!(decode(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], None, 268_435_459), expected);
    let allowed = decode(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], None, 268_435_460);
    assert_eq!(allowed, Ok(Decoded::Incomplete));
    let five_digits = decode(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], Some(V5), u32::MAX);
    assert_eq!(five_digits, Err(Malformed { reason: MalformedPacket, statement: "1.5.5" }));
}
