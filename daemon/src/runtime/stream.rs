//! Streams beside the input: logs of their own in the same directory, made when they are first needed.
//!
//! What they hold was an event of the input, and its place there is named in front of its own
//! properties. So every tool of the log reads them.

use std::path::Path;

use tributary_core::Offset;
use tributary_core::log::{
    AppendError, Clock, CommitError, ControlKind, Frame, Item, Log, Media, ReadMedia, Reader,
};

use super::clock::{Clocks, Moment};
use super::opening::{Recovered, recover};
use super::snapshot::Snapshot;
use crate::io::crc::crc32c;
use crate::io::files::entropy;
use crate::io::segments::{COMMANDS, DEAD_LETTER, SEGMENT_BYTES, SegmentFiles, SegmentReader};

/// The part of the log's `size` that each of them may take.
const PART: u64 = 16;
/// The least that one takes, and from which size on the input leaves them room: a smaller log is
/// exceeded by them, should they ever be needed.
const BYTES_MIN: u64 = 2 * SEGMENT_BYTES as u64;
const SHARED_FROM: u64 = BYTES_MIN * PART;
/// All of them.
const STREAMS: [&str; 2] = [DEAD_LETTER, COMMANDS];
/// Bytes that are read at once; the largest frame fits.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that the input may take of a log of so many.
#[must_use]
pub fn input_bytes(size: u64) -> u64 {
    if size < SHARED_FROM { size } else { size - STREAMS.len() as u64 * stream_bytes(size) }
}

/// Bytes that all streams may take of a log of `size`: each that was opened what it has, the others what
/// the input has left them.
#[must_use]
pub fn bytes_max(size: u64, input: &SegmentReader, others: &[Option<SegmentReader>]) -> u64 {
    let segments =
        if size < SHARED_FROM { 0 } else { stream_bytes(size) / u64::from(SEGMENT_BYTES) };
    let other = |opened: &Option<SegmentReader>| {
        opened.as_ref().map_or(segments * u64::from(SEGMENT_BYTES), SegmentReader::bytes_max)
    };
    input.bytes_max() + others.iter().map(other).sum::<u64>()
}

fn stream_bytes(size: u64) -> u64 {
    (size / PART).max(BYTES_MIN)
}

/// How a stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The oldest event that is kept.
    pub oldest: Offset,
    /// The offset of the next one: so many there were in all.
    pub next: Offset,
}

/// A stream that was opened.
pub struct Stream<M: Media, R> {
    name: &'static str,
    log: Box<Log<M, Box<[u8]>>>,
    reader: R,
    clocks: Clocks,
    snapshot: Snapshot,
}

/// A stream in files.
pub type FileStream = Stream<SegmentFiles, SegmentReader>;
/// Opens a stream in files.
pub type Opener = Box<dyn FnMut(Moment) -> Result<FileStream, String> + Send>;

/// What opens a stream beside the input of a log that may take `size` bytes, and whether it was ever used.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn of_files(
    dir: &Path,
    stream: &'static str,
    size: u64,
) -> Result<(Opener, bool), String> {
    let place = dir.to_owned();
    let opener: Opener = Box::new(move |moment| {
        let files = SegmentFiles::open_another(&place, stream, stream_bytes(size))
            .map_err(|error| error.to_string())?;
        files.follow_size();
        let reader = files.reader();
        let entropy = entropy().map_err(|error| error.to_string())?;
        let recovered = recover(files, entropy, moment).map_err(|error| error.to_string())?;
        Ok(Stream::new(stream, recovered, reader))
    });
    let is_there = SegmentFiles::is_there(dir, stream).map_err(|error| error.to_string())?;
    Ok((opener, is_there))
}

impl<M: Media, R: ReadMedia> Stream<M, R> {
    /// A stream whose log was recovered.
    #[must_use]
    pub fn new(name: &'static str, recovered: Recovered<M>, reader: R) -> Self {
        let Recovered { log, clocks, snapshot, .. } = recovered;
        Self { name, log, reader, clocks, snapshot }
    }

    /// For reading its files.
    pub(super) const fn reader(&self) -> &R {
        &self.reader
    }

    /// Both clocks now, for what is written.
    pub(super) fn now(&self, moment: Moment) -> Clock {
        self.clocks.now(moment)
    }

    /// The control records in force.
    pub(super) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How it stands.
    pub(super) fn extent(&self) -> Extent {
        Extent { oldest: self.log.oldest(), next: self.log.end().offset }
    }

    /// Hands every thing of the stream to `each` from an offset on, until that has enough.
    pub(super) fn read(&self, from: Offset, each: &mut dyn FnMut(Item<'_>) -> bool) {
        let mut reader = Reader::with_controls(from.max(self.log.oldest()), crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(Some(chunk)) = reader.read(&self.reader, self.log.end(), &mut buffer) {
            for item in chunk {
                if !each(item) {
                    return;
                }
            }
        }
    }

    /// Appends events.
    pub(super) fn append(&mut self, frame: &Frame<'_>) -> Result<(), CommitError> {
        self.put(frame.clock, |log| log.append(frame))
    }

    /// Appends a control record, which is in force from then on.
    pub(super) fn append_control(
        &mut self,
        kind: ControlKind,
        body: &[u8],
        clock: Clock,
    ) -> Result<(), CommitError> {
        self.put(clock, |log| log.append_control(kind, body, clock))?;
        self.snapshot.note(kind, body);
        Ok(())
    }

    /// Makes all that was appended durable.
    pub(super) fn commit(&mut self, clock: Clock) -> Result<(), CommitError> {
        let mut committed = self.log.commit();
        if committed == Err(CommitError::SegmentFailed) {
            self.roll(clock)?;
            committed = self.log.commit();
        }
        committed.map(drop)
    }

    /// Appends; starts the next segment when this one is full.
    fn put(
        &mut self,
        clock: Clock,
        mut append: impl FnMut(&mut Log<M, Box<[u8]>>) -> Result<(), AppendError>,
    ) -> Result<(), CommitError> {
        loop {
            match append(&mut self.log) {
                Ok(()) => return Ok(()),
                Err(AppendError::SegmentFull) => self.roll(clock)?,
                Err(AppendError::ReadOnly) => return Err(CommitError::ReadOnly),
                Err(error @ AppendError::TooLarge { .. }) => {
                    unreachable!("what was an event is smaller than an empty segment: {error}")
                }
            }
        }
    }

    fn roll(&mut self, clock: Clock) -> Result<(), CommitError> {
        let in_force = self.snapshot.records();
        let mut rolled = self.log.roll(&in_force, clock);
        while rolled == Err(CommitError::SegmentFailed) {
            rolled = self.log.roll(&in_force, clock);
        }
        if let Some(evicted) = rolled? {
            let (first, count) = (evicted.start.0, evicted.end.0 - evicted.start.0);
            let stream = self.name;
            tracing::warn!(stream, first, count, "the oldest events made room for new ones");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_have_the_size_or_what_they_had_before() {
        let dir = tempfile::tempdir().unwrap();
        let files = |size| SegmentFiles::open(dir.path(), input_bytes(size), true).unwrap();
        let of_size = |size, others: &[_]| bytes_max(size, &files(size).reader(), others);
        assert_eq!(of_size(128 << 20, &[None, None]), 128 << 20);
        assert_eq!(of_size(64 << 20, &[None, None]), 64 << 20, "they are not in it, if ever made");
        let letters = SegmentFiles::open_another(dir.path(), DEAD_LETTER, 16 << 20).unwrap();
        assert_eq!(of_size(128 << 20, &[Some(letters.reader()), None]), 136 << 20);
    }
}
