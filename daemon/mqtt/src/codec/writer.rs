//! Writes the data types of MQTT (MQTT 5.0, 1.5).

use alloc::vec::Vec;

/// Appends a variable byte integer.
///
/// # Panics
/// Above 268,435,455, which four digits in base 128 cannot spell.
pub(super) fn variable(out: &mut Vec<u8>, mut value: usize) {
    assert!(value < 1 << 28, "a variable byte integer has at most four bytes");
    while value >= 0x80 {
        out.push(low_digit(value) | 0x80);
        value >>= 7;
    }
    out.push(low_digit(value));
}

/// Bytes that a variable byte integer takes.
pub(super) const fn variable_bytes(value: usize) -> usize {
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
pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
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
