//! CRC32C by the processor's own instruction, where it has one.

/// CRC32C of `bytes`, going on from `seed`.
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}
