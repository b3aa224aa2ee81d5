//! Reading the log on other threads while it is written.

use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::log::{End, Geometry, ReadMedia};

use super::SegmentError;
use super::shared::Shared;

/// Reads what is durable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    shared: Arc<Shared>,
}

impl SegmentReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The durable end.
    #[must_use]
    pub fn end(&self) -> End {
        self.shared.end()
    }

    /// The durable end, the oldest offset that is kept, and the bytes of the last page up to the
    /// end, all of one moment.
    #[must_use]
    pub fn durable(&self) -> (End, Offset, Vec<u8>) {
        self.shared.durable()
    }

    /// Why the log stays smaller than it may be.
    #[must_use]
    pub fn smaller(&self) -> Option<String> {
        self.shared.smaller()
    }

    /// Why the log is larger than it was to be.
    #[must_use]
    pub fn larger(&self) -> Option<String> {
        self.shared.larger()
    }

    /// How many reads have failed so far, on any thread.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.shared.failures()
    }

    /// Bytes that the log may take.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.shared.bytes_max()
    }

    /// The oldest offset that is kept.
    #[must_use]
    pub fn oldest(&self) -> Offset {
        self.shared.oldest()
    }
}

impl ReadMedia for SegmentReader {
    type Error = SegmentError;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        // The last page first: should the log go on meanwhile, the file has all that it held.
        match self.shared.copy_tail(segment, at, into) {
            0 => Ok(()),
            in_file => self.shared.read_file(segment, at, &mut into[..in_file]),
        }
    }
}
