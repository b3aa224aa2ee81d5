//! Where a log lies: segments of equal size, and what a power cut may leave of them.

/// The shape of a ring of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many segments there are.
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

    /// The first page boundary at or after `at`.
    #[must_use]
    pub const fn next_page(self, at: u32) -> u32 {
        at.next_multiple_of(self.page_bytes)
    }

    /// Whether a log can live in it.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.segments >= 2
            && self.page_bytes >= 512
            && self.segment_bytes.is_multiple_of(self.page_bytes)
            && self.segment_bytes / self.page_bytes >= 2 * Self::PAGES_IN_FRONT
    }
}

/// The reading side. Shared: others may read while the log writes.
pub trait ReadMedia {
    /// Why something failed.
    type Error: core::error::Error;

    /// The shape.
    fn geometry(&self) -> Geometry;

    /// Fills `into` from byte `at` of a segment. What was never written reads as anything.
    ///
    /// # Errors
    /// If the device fails. A segment that is missing reads as zeros.
    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), Self::Error>;
}

/// The writing side. There is one writer.
///
/// What a power cut may leave behind: of all that was written since the last [`Media::barrier`]
/// that returned, each sector on its own may be there, be as before, or be garbage, and so may
/// everything else in the pages that were written to; all that was written before it is there.
pub trait Media: ReadMedia {
    /// Writes bytes to a segment.
    ///
    /// # Errors
    /// If the device fails: what the bytes are now is not known.
    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Returns when everything that was written survives a power cut.
    ///
    /// # Errors
    /// If the device fails: what was written since the last one may be lost, and asking again
    /// would prove nothing.
    fn barrier(&mut self) -> Result<(), Self::Error>;

    /// A segment is about to be written from its start: whatever it holds is of no use any more.
    ///
    /// # Errors
    /// If there is no room for it.
    fn recycle(&mut self, segment: u32) -> Result<(), Self::Error>;
}
