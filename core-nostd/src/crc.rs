//! CRC32C (Castagnoli), the checksum of the log: a table for machines without an instruction.
//!
//! Drivers that have a faster one hand it in as a [`Crc32c`].

/// Goes on with a checksum: `crc(crc(0, a), b)` is the checksum of `a` followed by `b`.
pub type Crc32c = fn(u32, &[u8]) -> u32;

const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// CRC32C by a table of 256 entries.
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        let [lowest, ..] = crc.to_le_bytes();
        TABLE[usize::from(lowest ^ byte)] ^ (crc >> 8)
    };
    !bytes.iter().fold(!seed, step)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn agrees_with_rfc_3720() {
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283);
    }
}
