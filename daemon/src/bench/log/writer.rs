//! A log of our own on the disk that is measured, written as the daemon writes it.

use std::path::Path;

use tributary_core::log::{AppendError, Clock, CommitError, End, Frame, Log, LogId};
use tributary_core::time::Timestamp;

use crate::io::clock::moment;
use crate::io::files::entropy;
use crate::io::segments::SegmentFiles;
use crate::runtime::clock::Clocks;
use crate::runtime::opening::{Recovered, recover};
use crate::runtime::snapshot::Snapshot;

/// Bytes of the ring: larger than what a card may hold back in its own memory.
const LOG_BYTES: u64 = 64 << 20;

/// A log that is written.
pub(super) struct LogWriter {
    log: Box<Log<SegmentFiles, Box<[u8]>>>,
    snapshot: Snapshot,
    clocks: Clocks,
}

impl LogWriter {
    /// Opens or makes the log in a directory.
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let files = SegmentFiles::open(dir, LOG_BYTES, true).map_err(|error| error.to_string())?;
        let entropy = entropy().map_err(|error| error.to_string())?;
        let recovered = recover(files, entropy, moment()).map_err(|error| error.to_string())?;
        let Recovered { log, snapshot, clocks, .. } = recovered;
        Ok(Self { log, snapshot, clocks })
    }

    pub(super) fn id(&self) -> LogId {
        self.log.id()
    }

    pub(super) fn next(&self) -> u64 {
        self.log.next_offset().0
    }

    pub(super) fn clock(&self) -> Clock {
        self.clocks.now(moment())
    }

    /// Wall time for the records of the next frame.
    pub(super) fn wall(&self) -> Timestamp {
        self.clock().wall
    }

    /// Appends one frame and makes it durable.
    pub(super) fn commit(&mut self, count: u32, clock: Clock, body: &[u8]) -> Result<End, String> {
        let failed = |error: &dyn core::fmt::Display| format!("the log cannot be written: {error}");
        let frame = Frame { count, clock, body };
        match self.log.append(&frame) {
            Err(AppendError::SegmentFull) => {
                self.roll(clock).map_err(|error| failed(&error))?;
                self.log.append(&frame).map_err(|error| failed(&error))?;
            }
            other => other.map_err(|error| failed(&error))?,
        }
        self.log.commit().map_err(|error| failed(&error))
    }

    fn roll(&mut self, clock: Clock) -> Result<(), CommitError> {
        self.log.roll(&self.snapshot.records(), clock).map(drop)
    }

    /// Has all segments made now, so that no figure contains it.
    pub(super) fn prepare_all(&mut self) -> Result<(), String> {
        use tributary_core::log::{Media, ReadMedia};
        let segments = self.log.media().geometry().segments;
        let mut all = 0..segments;
        all.try_for_each(|index| self.log.media_mut().prepare(index))
            .map_err(|error| error.to_string())
    }
}
