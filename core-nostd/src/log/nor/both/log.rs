//! The log as a value: where it is, and what is due.

use super::super::super::frame::Seal;
use super::super::{NorGeometry, State};
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::Age;

/// A log on NOR flash that is written. `buffer` takes one frame and holds nothing between calls.
#[derive(Debug)]
pub struct NorLog<F, B> {
    pub(super) flash: F,
    pub(super) buffer: B,
    pub(super) crc: Crc32c,
    pub(super) geometry: NorGeometry,
    /// The segment that is written: its place in the ring, and what its header says.
    pub(super) index: u32,
    pub(super) log_id: u64,
    pub(super) sequence: u64,
    pub(super) salt: u64,
    pub(super) base: Offset,
    /// The generation that began it.
    pub(super) begun_by: u32,
    /// Where the next frame goes, in bytes from the start of the segment.
    pub(super) at: u32,
    pub(super) next: Offset,
    pub(super) oldest: Offset,
    pub(super) age: Age,
    pub(super) generation: u32,
    /// The first offset of this generation.
    pub(super) first: Offset,
    pub(super) entropy: u64,
    pub(super) state: State,
}

impl<F, B> NorLog<F, B> {
    pub(super) fn seal(&self) -> Seal {
        Seal::new(self.log_id, self.salt, self.crc)
    }

    /// The offset of the next event.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The oldest offset that is kept.
    #[must_use]
    pub const fn oldest(&self) -> Offset {
        self.oldest
    }

    /// The flash, for what does not concern the log.
    pub const fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Ends it, and gives back what it was made of.
    pub fn into_parts(self) -> (F, B) {
        (self.flash, self.buffer)
    }
}
