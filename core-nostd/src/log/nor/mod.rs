//! The log on NOR flash: of the same segments, frames and rules, with a writer of its own.
//!
//! ```text
//! segment (whole erase sectors):  header | frame | frame | …   each from a whole word on
//! ```
//!
//! What differs from files, and why it is not one [`Media`](super::Media): a word is programmed once
//! between two erases, so there are no slots and no page is written again; a program that has
//! returned is durable, so a frame is one program, and there is no commit and nothing to gather; RAM
//! is bytes, so no list of generations is kept.
//!
//! A cut leaves the words of the program under way undefined: written, blank, or something that reads
//! otherwise every time. So an opening trusts none of them: it begins the next segment, which takes
//! over at its offset whatever the one before may show later, and repeats there the last frame that it
//! found. A segment gets its header last: if it has one, it has all that it begins with.
//!
//! Only the [`NorFlash`] contract of `embedded-storage` is used; never a word twice.

mod mount;
mod places;
mod reader;
mod sector;
mod writer;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;

use super::frame::{FRAME_HEADER_BYTES, Seal};
use super::segment::SEGMENT_HEADER_BYTES;
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::Age;
pub use mount::{NorFound, NorReport};
pub use reader::NorReader;

/// Where a log lies on a flash, and how it is cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NorGeometry {
    /// Its first byte on the flash; whole erase sectors.
    pub start: u32,
    /// Bytes of a segment; whole erase sectors. One sector is best: it is the least that an eviction
    /// takes away.
    pub segment_bytes: u32,
    /// How many there are, two or more.
    pub segments: u32,
}

impl NorGeometry {
    /// A log on a whole flash, one erase sector to a segment.
    #[must_use]
    pub fn whole<F: NorFlash>(flash: &F) -> Self {
        let of = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (sector, all) = (of(F::ERASE_SIZE), of(flash.capacity()));
        Self { start: 0, segment_bytes: sector, segments: all / sector }
    }

    fn is_sound<F: NorFlash>(self, flash: &F, frame_bytes: usize) -> bool {
        let Self { start, segment_bytes, segments } = self;
        let erase = u32::try_from(F::ERASE_SIZE).unwrap_or(u32::MAX);
        let end = u64::from(start) + u64::from(segment_bytes) * u64::from(segments);
        segments >= 2
            && start.is_multiple_of(erase)
            && segment_bytes.is_multiple_of(erase)
            && end <= flash.capacity() as u64
            && F::WRITE_SIZE.is_power_of_two()
            && F::WRITE_SIZE <= SEGMENT_HEADER_BYTES
            && F::WRITE_SIZE.is_multiple_of(F::READ_SIZE)
            && frame_bytes.is_multiple_of(F::WRITE_SIZE)
            && frame_bytes > FRAME_HEADER_BYTES + F::WRITE_SIZE
            && frame_bytes >= SEGMENT_HEADER_BYTES
            // The records in force, a repeated frame and some events must fit.
            && segment_bytes as usize >= SEGMENT_HEADER_BYTES + 4 * frame_bytes
    }
}

/// Why a log on flash does not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NorError<E> {
    /// The flash fails. What was to be appended is not acknowledged; [`NorLog::roll`], then again.
    Flash(E),
    /// It does not fit in this segment, or this segment has failed: [`NorLog::roll`], then again.
    SegmentFull,
    /// It never fits: the buffer takes frames of so many bytes of body.
    TooLarge(usize),
    /// Two segments in a row could not be written: the log can only be read.
    ReadOnly,
    /// It was written by a version with a newer format.
    Newer,
}

impl<E: fmt::Debug> fmt::Display for NorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the flash fails: {error:?}"),
            Self::SegmentFull => f.write_str("the segment is full"),
            Self::TooLarge(bytes) => write!(f, "a body is larger than {bytes} bytes"),
            Self::ReadOnly => f.write_str("the flash cannot be written any more"),
            Self::Newer => f.write_str("the log was written by a newer version"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for NorError<E> {}

/// Whether the segment can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sound,
    Failed,
    ReadOnly,
}

/// A log on NOR flash that is written. `buffer` takes one frame and holds nothing between calls.
#[derive(Debug)]
pub struct NorLog<F, B> {
    flash: F,
    buffer: B,
    crc: Crc32c,
    geometry: NorGeometry,
    /// The segment that is written: its place in the ring, and what its header says.
    index: u32,
    log_id: u64,
    sequence: u64,
    salt: u64,
    base: Offset,
    /// The generation that began it.
    begun_by: u32,
    /// Where the next frame goes, in bytes from the start of the segment.
    at: u32,
    next: Offset,
    oldest: Offset,
    age: Age,
    generation: u32,
    /// The first offset of this generation.
    first: Offset,
    entropy: u64,
    state: State,
}

impl<F, B> NorLog<F, B> {
    fn seal(&self) -> Seal {
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
