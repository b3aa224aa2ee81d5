//! Kafka's variable-length integers: zig-zag, seven bits to a byte, least significant first.

/// Appends a signed integer.
pub(super) fn put(buffer: &mut Vec<u8>, value: i64) {
    let mut rest = zig_zag(value);
    while rest >= 0x80 {
        buffer.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push((rest & 0x7f) as u8);
}

/// Appends a length; lengths of records fit by the limit on a batch.
pub(super) fn put_len(buffer: &mut Vec<u8>, length: usize) {
    put(buffer, signed(length));
}

/// Bytes that [`put`] appends.
pub(super) fn len(value: i64) -> usize {
    let bits = (64 - zig_zag(value).leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// Bytes of a length and of what follows it.
pub(super) fn len_with(length: usize) -> usize {
    len_of(length) + length
}

/// Bytes of a length.
pub(super) fn len_of(length: usize) -> usize {
    len(signed(length))
}

/// Reads what [`put`] wrote at a place, and tells the place behind it.
pub(super) fn take(bytes: &[u8], mut at: usize) -> (i64, usize) {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return ((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), at);
        }
        shift += 7;
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn zig_zag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predicted_length_is_the_written_one() {
        let mut buffer = Vec::new();
        for shift in 0..64 {
            for value in
                [1_i64 << shift, (1_i64 << shift).wrapping_neg(), (1_i64 << shift).wrapping_sub(1)]
            {
                buffer.clear();
                put(&mut buffer, value);
                assert_eq!(buffer.len(), len(value), "{value}");
                assert_eq!(take(&buffer, 0), (value, buffer.len()));
            }
        }
        buffer.clear();
        put(&mut buffer, -65);
        assert_eq!(buffer, [0x81, 0x01], "zig-zag 129");
    }
}
