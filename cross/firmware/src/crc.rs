//! CRC32C with a table of 64 bytes: half a byte at a time.

const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut nibble: u32 = 0;
    while nibble < 16 {
        let mut crc = nibble;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[nibble as usize] = crc;
        nibble += 1;
    }
    table
};

/// Goes on with a checksum, as `tributary_core::crc` has it.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!seed, |crc, &byte| {
        let crc = crc ^ u32::from(byte);
        let crc = TABLE[(crc & 0xF) as usize] ^ (crc >> 4);
        TABLE[(crc & 0xF) as usize] ^ (crc >> 4)
    })
}
