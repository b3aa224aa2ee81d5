//! Readings of which some topics refuse some: too large, or without a key.

use anyhow::Result;

use crate::scratch;

/// Every so many readings are larger than a topic takes that takes [`BYTES_MAX`].
const LARGE_EVERY: usize = 23;
const LARGE_BYTES: usize = 6_000;
/// And every so many have no key.
const KEYLESS_EVERY: usize = 31;
/// Between an ordinary batch of them and a large one.
pub const BYTES_MAX: usize = 4_000;

/// Whether the reading of this number is too large.
#[must_use]
pub const fn is_large(seq: usize) -> bool {
    seq % LARGE_EVERY == 7
}

/// Whether the reading of this number has no `serial`.
#[must_use]
pub const fn is_keyless(seq: usize) -> bool {
    seq % KEYLESS_EVERY == 11
}

/// So many readings, as JSON. Nothing makes what fills the large ones small.
///
/// # Errors
/// The seed in the environment is none.
pub fn readings(count: usize) -> Result<Vec<String>> {
    let mut random = scratch::random("fillings")?;
    let mut reading = |seq| {
        let bytes = if is_large(seq) { LARGE_BYTES } else { 20 };
        let filling: String = (0..bytes).map(|_| random.alphanumeric()).collect();
        let key = if is_keyless(seq) { String::new() } else { format!(r#","serial":"{seq}""#) };
        format!(r#"{{"seq":{seq},"x":"{filling}"{key}}}"#)
    };
    Ok((0..count).map(&mut reading).collect())
}
