//! CRC32C (Castagnoli), the checksum of the log: by tables, for machines without an instruction.
//!
//! Drivers that have a faster one hand it in as a [`Crc32c`].

/// Goes on with a checksum: `crc(crc(0, a), b)` is the checksum of `a` followed by `b`.
pub type Crc32c = fn(u32, &[u8]) -> u32;

const POLYNOMIAL: u32 = 0x82F6_3B78;
/// Bytes that are taken at once, each with a table of its own.
const SLICE_BYTES: usize = 8;

/// `TABLES[n][byte]`: what `byte` does to the checksum when `n` bytes follow it.
const TABLES: [[u32; 256]; SLICE_BYTES] = {
    let mut tables = [[0; 256]; SLICE_BYTES];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut step = 0;
        while step < SLICE_BYTES {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            tables[step][byte as usize] = crc;
            step += 1;
        }
        byte += 1;
    }
    tables
};

/// CRC32C, eight bytes at a time ("slicing-by-8").
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let (slices, rest) = bytes.as_chunks::<SLICE_BYTES>();
    let mut crc = !seed;
    for slice in slices {
        let eight = u64::from_le_bytes(*slice) ^ u64::from(crc);
        crc = eight
            .to_le_bytes()
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    for &byte in rest {
        crc = TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn agrees_with_rfc_3720() {
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(0, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283);
    }
}
