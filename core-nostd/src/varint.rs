//! Unsigned integers in as few bytes as they need (LEB128), and signed ones by zigzag.

/// Bytes of `value`.
#[must_use]
pub const fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes `value` at the start of `out`; the bytes taken.
///
/// # Panics
/// If `out` is shorter than [`len`].
pub fn put(mut value: u64, out: &mut [u8]) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = lowest(value) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = lowest(value);
    at + 1
}

const fn lowest(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Reads a value from the start of `bytes`, and moves them on.
#[must_use]
#[expect(clippy::inline_always, reason = "a call for each of five lengths took a tenth of a scan")]
#[inline(always)]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    // Most are lengths below 128: those at once.
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    if first < 0x80 { Some(u64::from(first)) } else { take_more(first, bytes) }
}

/// The same behind a first byte that more follow.
fn take_more(first: u8, bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (u64::from(first & 0x7F), 7);
    while shift < 64 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
    None
}

/// Small numbers of either sign become small numbers.
#[must_use]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
#[must_use]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = [0; 10];
            let used = put(value, &mut out);
            assert_eq!(used, len(value));
            let mut bytes = &out[..used];
            assert_eq!((take(&mut bytes), bytes.len()), (Some(value), 0));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!((zigzag(-1), zigzag(1)), (1, 2));
    }
}
