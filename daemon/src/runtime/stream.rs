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

/// A stream that is opened when it is needed, and again after it has failed. `O` opens its log.
pub(super) struct OnDemand<M: Media, R, O> {
    name: &'static str,
    open: O,
    stream: Option<Stream<M, R>>,
    was_used: bool,
    /// Why it could not be opened the last time.
    unusable: Option<String>,
}

impl OnDemand<SegmentFiles, SegmentReader, Opener> {
    /// The stream in files beside the input of a log that may take `size` bytes. Not open yet.
    pub(super) fn of_files(dir: &Path, name: &'static str, size: u64) -> Self {
        let place = dir.to_owned();
        let open: Opener = Box::new(move |moment| {
            let files = SegmentFiles::open_another(&place, name, stream_bytes(size))
                .map_err(|error| error.to_string())?;
            files.follow_size();
            let reader = files.reader();
            let entropy = entropy().map_err(|error| error.to_string())?;
            let recovered = recover(files, entropy, moment).map_err(|error| error.to_string())?;
            Ok(Stream::new(name, recovered, reader))
        });
        // A directory that cannot be read may have one.
        let was_used = SegmentFiles::is_there(dir, name).unwrap_or(true);
        Self { was_used, ..Self::new(name, open) }
    }
}

impl<M: Media, R, O> OnDemand<M, R, O> {
    /// A stream that was never used.
    pub(super) const fn new(name: &'static str, open: O) -> Self {
        Self { name, open, stream: None, was_used: false, unusable: None }
    }

    /// It, if it is open.
    pub(super) const fn get(&self) -> Option<&Stream<M, R>> {
        self.stream.as_ref()
    }

    /// It, if it is open.
    pub(super) const fn get_mut(&mut self) -> Option<&mut Stream<M, R>> {
        self.stream.as_mut()
    }

    /// Whether there is one at all.
    pub(super) const fn was_used(&self) -> bool {
        self.was_used
    }

    /// Why it cannot be used, if that is so.
    pub(super) fn unusable(&self) -> Option<String> {
        self.unusable.clone()
    }

    /// What is in memory of it may not be what is on the disk: it is opened again.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }
}

impl<M, R, O> OnDemand<M, R, O>
where
    M: Media,
    O: FnMut(Moment) -> Result<Stream<M, R>, String>,
{
    /// Opens it, unless it is open. That it cannot be used is told once.
    ///
    /// # Errors
    /// Why it cannot be, for people.
    pub(super) fn opened(&mut self, moment: Moment) -> Result<&mut Stream<M, R>, String> {
        let opened = match self.stream.take() {
            Some(stream) => Ok(stream),
            None => (self.open)(moment),
        };
        match opened {
            Ok(stream) => {
                (self.was_used, self.unusable) = (true, None);
                Ok(self.stream.insert(stream))
            }
            Err(why) => {
                if self.unusable.is_none() {
                    tracing::error!(stream = self.name, why, "a stream beside the log is unusable");
                }
                self.unusable = Some(why.clone());
                Err(why)
            }
        }
    }
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
    use crate::io::clock::moment;

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

    #[test]
    fn what_cannot_be_opened_is_told_and_opened_once_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let obstacle = dir.path().join(format!("{DEAD_LETTER}-00000.seg"));
        std::fs::create_dir(&obstacle).unwrap();
        let mut stream = OnDemand::of_files(dir.path(), DEAD_LETTER, SHARED_FROM);
        assert!(stream.was_used() && stream.opened(moment()).is_err());
        assert!(stream.unusable().is_some() && stream.get().is_none());
        std::fs::remove_dir(&obstacle).unwrap();
        assert!(stream.opened(moment()).is_ok());
        assert!(stream.unusable().is_none() && stream.get().is_some());
    }
}
