//! MQTT packets.

use tributary_mqtt::Version;
use tributary_mqtt::codec::{Decoded, decode};

use super::Target;

pub(super) const PACKETS: Target = Target { name: "packets", feed, good };

const PACKET_BYTES_MAX: u32 = 1 << 16;

fn good() -> Vec<Vec<u8>> {
    let connect = b"\x10\x2c\0\x04MQTT\x05\xce\0\x3c\x05\x11\0\0\0\x0a\0\x01c\0\0\x04will\0\x04gone\0\x04user\0\x06secret";
    vec![
        connect.to_vec(),
        b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c".to_vec(),
        b"\x33\x19\0\x05a/b/c\0\x01\x0b\x26\0\x01k\0\x01v\x23\0\x07{\"v\":1}".to_vec(),
        b"\x32\x0d\0\x05a/b/c\0\x01data".to_vec(),
        b"\x82\x0c\0\x02\0\0\x06plant#\x01".to_vec(),
        b"\xa2\x09\0\x03\0\x05a/b/c".to_vec(),
        b"\x40\x02\0\x01".to_vec(),
        b"\xe0\x02\x04\0".to_vec(),
        b"\xc0\0".to_vec(),
    ]
}

fn feed(bytes: &[u8]) {
    for version in [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)] {
        let mut rest = bytes;
        while let Ok(Decoded::Packet(_, length)) = decode(rest, version, PACKET_BYTES_MAX) {
            assert!(length > 0 && length <= rest.len());
            rest = &rest[length..];
        }
    }
}
