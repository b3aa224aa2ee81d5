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

/// For a flash that is waited for: the same source without `async`.
#[path = "both"]
mod blocking {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    use tributary_both_ways::blocking as each_way;

    mod log;
    mod mount;
    mod places;
    mod reader;
    mod sector;
    mod writer;

    pub use log::NorLog;
    pub use mount::NorFound;
}

/// The same for a flash that lets others work meanwhile, behind `embedded-storage-async`. What is given
/// up in the middle was not appended; the next call says that the segment is full, and the next segment
/// takes over.
#[path = "both"]
#[expect(clippy::duplicate_mod, reason = "one source, compiled both ways")]
pub mod asynchronous {
    use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
    use tributary_both_ways::asynchronous as each_way;

    mod log;
    mod mount;
    mod places;
    mod reader;
    mod sector;
    mod writer;

    pub use log::NorLog;
    pub use mount::NorFound;
}

use core::fmt;

use embedded_storage::nor_flash::NorFlash;

use super::frame::FRAME_HEADER_BYTES;
use super::ring::Placed;
use super::segment::SEGMENT_HEADER_BYTES;
use super::walk::Walk;
use super::{Clock, LogId};
use crate::Offset;
pub use blocking::{NorFound, NorLog};

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
        Self::of(flash.capacity(), F::ERASE_SIZE)
    }

    /// The same by numbers: bytes of the flash, and of its erase sectors.
    #[must_use]
    pub fn of(bytes: usize, sector_bytes: usize) -> Self {
        let of = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (sector, all) = (of(sector_bytes), of(bytes));
        Self { start: 0, segment_bytes: sector, segments: all / sector }
    }

    fn is_sound(self, device: &Device, frame_bytes: usize) -> bool {
        let Self { start, segment_bytes, segments } = self;
        let erase = u32::try_from(device.sector_bytes).unwrap_or(u32::MAX);
        let end = u64::from(start) + u64::from(segment_bytes) * u64::from(segments);
        segments >= 2
            && start.is_multiple_of(erase)
            && segment_bytes.is_multiple_of(erase)
            && end <= device.bytes as u64
            && device.word_bytes.is_power_of_two()
            && device.word_bytes <= SEGMENT_HEADER_BYTES
            && device.word_bytes.is_multiple_of(device.read_bytes)
            && frame_bytes.is_multiple_of(device.word_bytes)
            && frame_bytes > FRAME_HEADER_BYTES + device.word_bytes
            && frame_bytes >= SEGMENT_HEADER_BYTES
            // The records in force, a repeated frame and some events must fit.
            && segment_bytes as usize >= SEGMENT_HEADER_BYTES + 4 * frame_bytes
    }
}

/// What a flash says of itself.
struct Device {
    bytes: usize,
    sector_bytes: usize,
    word_bytes: usize,
    read_bytes: usize,
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
    /// Not yet: what it begins with is written.
    Begun,
    Failed,
    ReadOnly,
}

/// What was found on a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NorReport {
    /// The identity; `None`: there was no log yet.
    pub id: Option<LogId>,
    /// The oldest offset that is there.
    pub oldest: Offset,
    /// The offset of the next event.
    pub next: Offset,
    /// Offsets of the newest segment, or claimed behind it, that are lost.
    pub lost: u64,
    /// The clocks of the newest frame.
    pub last_clock: Option<Clock>,
    /// Reads of the flash.
    pub reads: u32,
}

/// A place in the log.
#[derive(Debug)]
pub struct NorReader {
    next: Offset,
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    placed: Placed,
    walk: Walk,
    /// The next segment, if there is one: where it begins, this one ends, whatever it holds.
    after: Option<Placed>,
}

impl NorReader {
    /// A reader whose first event is `from`, or the first after it.
    #[must_use]
    pub const fn new(from: Offset) -> Self {
        Self { next: from, place: None }
    }

    /// The first offset that was not handed out yet.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }
}
