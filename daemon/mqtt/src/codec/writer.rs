//! Writes the data types of MQTT (MQTT 5.0, 1.5).

use alloc::vec::Vec;
use core::num::NonZeroU16;

/// Appends a packet whose body is written by `body`. For packets that are small or rare: the body
/// moves when its length is known.
pub(crate) fn packet(out: &mut Vec<u8>, first_byte: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first_byte);
    with_length(out, body);
}

/// Appends what `body` writes, with its length as a variable byte integer in front.
pub(crate) fn with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let length = out.len() - start;
    insert(out, start, |out| variable(out, length));
}

/// Writes what `head` appends in front of everything from `start` on.
pub(crate) fn insert(out: &mut Vec<u8>, start: usize, head: impl FnOnce(&mut Vec<u8>)) {
    let end = out.len();
    head(out);
    let head_bytes = out.len() - end;
    if let Some(moved) = out.get_mut(start..) {
        moved.rotate_right(head_bytes);
    }
}

/// Appends a packet identifier.
pub(crate) fn packet_id(out: &mut Vec<u8>, packet_id: NonZeroU16) {
    out.extend_from_slice(&packet_id.get().to_be_bytes());
}

/// Appends a variable byte integer.
///
/// # Panics
/// Above 268,435,455, which four digits in base 128 cannot spell.
pub(crate) fn variable(out: &mut Vec<u8>, mut value: usize) {
    assert!(value < 1 << 28, "a variable byte integer has at most four bytes");
    while value >= 0x80 {
        out.push(low_digit(value) | 0x80);
        value >>= 7;
    }
    out.push(low_digit(value));
}

/// Bytes that a variable byte integer takes.
pub(crate) const fn variable_bytes(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends a two-byte length and `bytes`.
///
/// # Panics
/// Above 65,535 bytes, which the length cannot spell.
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let Ok(length) = u16::try_from(bytes.len()) else {
        panic!("a string or binary field has at most 65,535 bytes");
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The last digit in base 128.
const fn low_digit(value: usize) -> u8 {
    value.to_le_bytes()[0] & 0x7F
}
