//! The openings of a log, each a generation with a random number.

use super::frame::{u32_at, u64_at};
use crate::Offset;

/// Openings that are remembered; the oldest are forgotten first.
pub const GENERATIONS_MAX: usize = 1024;
/// Bytes of one in a control record.
pub(super) const GENERATION_BYTES: usize = 12;

/// One opening of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its random number.
    pub number: u32,
    /// The first offset that it could give out.
    pub first: Offset,
}

impl Generation {
    pub(super) fn encode(self) -> [u8; GENERATION_BYTES] {
        let mut bytes = [0; GENERATION_BYTES];
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..].copy_from_slice(&self.first.0.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { number: u32_at(bytes, 0), first: Offset(u64_at(bytes, 4)) }
    }
}

/// Openings, oldest first.
pub(super) type Generations = heapless::Vec<Generation, GENERATIONS_MAX>;

/// Takes note of an opening, unless it is known.
pub(super) fn remember(generations: &mut Generations, generation: Generation) {
    if generations.contains(&generation) {
        return;
    }
    if generations.is_full() {
        generations.remove(0);
    }
    generations.push(generation).expect("there is room now");
}

/// Takes note of the openings in the body of an `Opened` record.
pub(super) fn remember_all(generations: &mut Generations, body: &[u8]) {
    for entry in body.chunks_exact(GENERATION_BYTES) {
        remember(generations, Generation::decode(entry));
    }
}
