//! Bytes from anybody: no panic, no allocation, and what is accepted is understood.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::round_trip::parts;
use crate::codec::{Decoded, Version, decode};

/// Decodes without allocating; what is accepted is encoded and decoded to the same again.
fn check(bytes: &[u8], version: Option<Version>) {
    let mut found = None;
    let allocations = allocation_counter::measure(|| found = Some(decode(bytes, version, 1000)));
    assert_eq!(allocations.count_total, 0);
    if let Some(Ok(Decoded::Packet(packet, used))) = found {
        assert!(used <= bytes.len());
        let mut again = Vec::new();
        packet.encode(version.unwrap_or(Version::V5), &mut again);
        // Shorter where the sender spelt out what may be left out.
        assert!(again.len() <= used);
        assert_eq!(decode(&again, version, 1000), Ok(Decoded::Packet(packet, again.len())));
    }
}

fn check_all(bytes: &[u8]) {
    check(bytes, None);
    check(bytes, Some(Version::V311));
    check(bytes, Some(Version::V5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_all(&bytes);
    }

    /// Most of what is wrong in the field was right once.
    #[test]
    fn packets_with_some_bytes_changed_are_survived(
        parts in parts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        parts.with_packet(|version, packet| {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            for (index, byte) in &changes {
                let index = index.index(bytes.len());
                bytes[index] = *byte;
            }
            check_all(&bytes);
        });
    }
}
