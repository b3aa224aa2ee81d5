//! Where a log lies: segments of equal size, and what a power cut may leave of them.

use super::{End, Tail};
use crate::Offset;

/// The shape of a ring of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many segments there may be. A later opening may find more than an earlier one.
    pub segments: u32,
    /// Bytes of each; a multiple of the page.
    pub segment_bytes: u32,
    /// The unit of protection: the larger of what the device, the file system and the kernel write
    /// as a whole. A write may damage what else lies in its pages, and nothing beyond.
    pub page_bytes: u32,
}

impl Geometry {
    /// Pages in front of a segment's frames: header, slot A, slot B.
    pub const PAGES_IN_FRONT: u32 = 3;
    /// Less leaves no room for a frame beside what an opening notes.
    const SEGMENT_BYTES_MIN: u32 = 9 << 10;

    /// Where the frames of a segment begin.
    #[must_use]
    pub const fn data_at(self) -> u32 {
        self.page_bytes * Self::PAGES_IN_FRONT
    }

    /// The start of the page that holds byte `at`.
    #[must_use]
    pub const fn page_at(self, at: u32) -> u32 {
        at - at % self.page_bytes
    }

    /// The shape of what frames may use: the last page of a segment is the header's.
    #[must_use]
    pub(super) const fn of_frames(self) -> Self {
        Self { segment_bytes: self.segment_bytes.saturating_sub(self.page_bytes), ..self }
    }

    /// Whether a log can live in it.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.segments >= 2
            && self.page_bytes.is_power_of_two()
            && self.page_bytes >= 1 << 10
            && self.page_bytes <= 1 << 16
            && self.segment_bytes >= Self::SEGMENT_BYTES_MIN
            && self.segment_bytes <= 1 << 30
            && self.segment_bytes.is_multiple_of(self.page_bytes)
            && self.segment_bytes / self.page_bytes >= Self::PAGES_IN_FRONT + 5
    }
}

/// What is known of a log's end from outside its segments, should the newest of them be lost or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The log that it is about; of any other it says nothing.
    pub log_id: u64,
    /// How many segments were begun before the newest one.
    pub sequence: u64,
    /// All below was durable.
    pub end: Offset,
    /// Nothing at or above was ever acknowledged, unless a segment with a higher sequence holds it.
    pub bound: Offset,
}

/// The reading side. Shared: others may read while the log writes.
pub trait ReadMedia {
    /// Why something failed.
    type Error: core::error::Error;

    /// The shape.
    fn geometry(&self) -> Geometry;

    /// Fills `into` from byte `at` of a segment. What was never written reads as anything; a
    /// segment that was never prepared reads as zeros.
    ///
    /// # Errors
    /// If the device fails. The log takes what it cannot read for damaged, and goes on.
    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), Self::Error>;

    /// What was noted of the log's end, if anything was. It may be older than what the segments hold.
    fn noted(&self) -> Option<Noted> {
        None
    }
}

/// The writing side. There is one writer.
///
/// What a power cut may leave behind: of all that was written to a segment since the last
/// [`Media::barrier`] on it that returned, each sector on its own may be there, be as before, or be
/// garbage, and so may everything else in the pages that were written to. All that was written
/// before such a barrier is there. What was written and not yet made durable can be read back
/// meanwhile, also by the next process.
pub trait Media: ReadMedia {
    /// Makes sure that a segment can be written without growing: called before its first write.
    ///
    /// # Errors
    /// If there is no room for it.
    fn prepare(&mut self, segment: u32) -> Result<(), Self::Error>;

    /// Writes bytes to a segment.
    ///
    /// # Errors
    /// If the device fails: what the bytes are now is not known.
    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Returns when everything that was ever written to the segment survives a power cut, also
    /// what an earlier process wrote.
    ///
    /// # Errors
    /// If the device fails: what was written since the last one may be lost, and asking again
    /// would prove nothing.
    fn barrier(&mut self, segment: u32) -> Result<(), Self::Error>;

    /// A barrier after which reads show what the device holds: after a failed barrier the kernel may
    /// show what was never written. Called before the newest segment is read.
    ///
    /// # Errors
    /// As [`Media::barrier`].
    fn settle(&mut self, segment: u32) -> Result<(), Self::Error>;

    /// The log is durable up to `end` and keeps what is not below `oldest`. `tail` is the last page,
    /// which readers need: its own place may hold something else. Media with readers on other
    /// threads pass it on to them, and its header: see [`HeaderCopy`](super::HeaderCopy).
    fn publish(&mut self, end: End, oldest: Offset, tail: Tail<'_>);
}
