//! The stream of dead letters: a log of its own beside the input, made when there is a first one.
//!
//! Invariants: a letter is there once. What a crash has left behind is recognised by what names it, so
//! a transaction that is made again, and refused again, writes nothing twice. And a letter is put back
//! into the input once (`replay.rs`).

mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tributary_core::Offset;
use tributary_core::log::{
    AppendError, Clock, CommitError, ControlKind, Frame, Item, Log, Media, ReadMedia, Reader,
};

pub use replay::{Back, Figures, Input, Replay, Wanted};

use super::clock::{Clocks, Moment};
use super::opening::{Recovered, recover};
use crate::config::Lane;
use crate::io::crc::crc32c;
use crate::io::files::entropy;
use crate::io::segments::{DEAD_LETTER, SEGMENT_BYTES, SegmentFiles, SegmentReader};
use crate::replicate::lane::Burial;
use crate::replicate::letter::{Fate, Letter, LetterKey};
use replay::Mark;

/// The stream's part of the log's `size`.
const PART: u64 = 16;
/// The least that it takes, and from which size on the input leaves it room: a smaller log is
/// exceeded by it, should there ever be dead letters.
const BYTES_MIN: u64 = 2 * SEGMENT_BYTES as u64;
const SHARED_FROM: u64 = BYTES_MIN * PART;
/// Bytes that are read at once; the largest frame fits.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that the input may take of a log of so many.
#[must_use]
pub fn input_bytes(size: u64) -> u64 {
    if size < SHARED_FROM { size } else { size - letters_bytes(size) }
}

fn letters_bytes(size: u64) -> u64 {
    (size / PART).max(BYTES_MIN)
}

/// How the stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The oldest letter that is kept.
    pub oldest: Offset,
    /// The offset of the next one: so many there were in all.
    pub next: Offset,
}

/// The stream. `O` opens its log.
pub struct DeadLetters<M: Media, R, O> {
    open: O,
    stream: Option<Stream<M, R>>,
    /// Whether there is one at all.
    was_open: bool,
    known: BTreeMap<Lane, Known>,
}

/// A stream that was opened.
pub struct Stream<M: Media, R> {
    log: Box<Log<M, Box<[u8]>>>,
    reader: R,
    clocks: Clocks,
    /// The last that was noted of letters that are put back.
    mark: Mark,
}

/// The stream in files.
pub type FileLetters = DeadLetters<SegmentFiles, SegmentReader, Opener>;
/// Opens the stream in files.
pub type Opener =
    Box<dyn FnMut(Moment) -> Result<Stream<SegmentFiles, SegmentReader>, String> + Send>;

/// The letters from an offset of the input on.
struct Known {
    since: Offset,
    keys: BTreeSet<LetterKey>,
}

impl FileLetters {
    /// The stream beside the input of a log that may take so many bytes; opened at once if it was
    /// ever used.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub fn of_files(dir: &Path, size: u64, moment: Moment) -> Result<Self, String> {
        let place = dir.to_owned();
        let opener: Opener = Box::new(move |moment| {
            let files = SegmentFiles::open_another(&place, DEAD_LETTER, letters_bytes(size))
                .map_err(|error| error.to_string())?;
            let reader = files.reader();
            let entropy = entropy().map_err(|error| error.to_string())?;
            let recovered = recover(files, entropy, moment).map_err(|error| error.to_string())?;
            Ok(Stream::new(recovered, reader))
        });
        let mut letters = Self::new(opener);
        if SegmentFiles::is_there(dir, DEAD_LETTER).map_err(|error| error.to_string())? {
            letters.opened(moment)?;
        }
        Ok(letters)
    }

    /// For reading it, if it was ever used.
    #[must_use]
    pub fn reader(&self) -> Option<SegmentReader> {
        self.stream.as_ref().map(|stream| stream.reader.clone())
    }
}

impl<M: Media, R: ReadMedia> Stream<M, R> {
    /// A stream whose log was recovered.
    #[must_use]
    pub fn new(recovered: Recovered<M>, reader: R) -> Self {
        let Recovered { log, clocks, snapshot, .. } = recovered;
        let mark = snapshot.replayed().and_then(Mark::decode).unwrap_or_default();
        Self { log, reader, clocks, mark }
    }

    /// What names the letters of a log's events from `since` on.
    fn keys(&self, log_id: u64, since: Offset) -> BTreeSet<LetterKey> {
        let mut keys = BTreeSet::new();
        let mut reader = Reader::new(self.log.oldest(), crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(Some(chunk)) = reader.read(&self.reader, self.log.end(), &mut buffer) {
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                let fates = frame.into_iter().filter_map(|(_, letter)| {
                    let fate = Fate::read(letter.properties).filter(|f| f.log_id == log_id)?;
                    Some((fate.offset, fate.route.to_owned()))
                });
                keys.extend(fates.filter(|(offset, _)| *offset >= since));
            }
        }
        keys
    }

    fn append(&mut self, frame: &Frame<'_>) -> Result<(), CommitError> {
        self.put(frame.clock, |log| log.append(frame))
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
                    unreachable!("a letter is smaller than an empty segment: {error}")
                }
            }
        }
    }

    fn commit(&mut self, clock: Clock) -> Result<(), CommitError> {
        let mut committed = self.log.commit();
        if committed == Err(CommitError::SegmentFailed) {
            self.roll(clock)?;
            committed = self.log.commit();
        }
        committed.map(drop)
    }

    fn roll(&mut self, clock: Clock) -> Result<(), CommitError> {
        let mark = self.mark.encode();
        let in_force = [(ControlKind::Replayed, mark.as_slice())];
        let mut rolled = self.log.roll(&in_force, clock);
        while rolled == Err(CommitError::SegmentFailed) {
            rolled = self.log.roll(&in_force, clock);
        }
        if let Some(evicted) = rolled? {
            let (first, count) = (evicted.start.0, evicted.end.0 - evicted.start.0);
            tracing::warn!(first, count, "the oldest dead letters made room for new ones");
        }
        Ok(())
    }
}

impl<M, R, O> DeadLetters<M, R, O>
where
    M: Media,
    R: ReadMedia,
    O: FnMut(Moment) -> Result<Stream<M, R>, String>,
{
    /// A stream that `open` opens when it is needed, and again after it has failed.
    #[must_use]
    pub fn new(open: O) -> Self {
        Self { open, stream: None, was_open: false, known: BTreeMap::new() }
    }

    /// Makes letters of a lane durable, those that are not there yet.
    ///
    /// # Errors
    /// Why they cannot be, for people; some of them may be there all the same.
    pub fn bury(&mut self, moment: Moment, lane: Lane, burial: &Burial) -> Result<(), String> {
        let first = burial.letters.iter().min_by_key(|letter| letter.key.0);
        let Some(first) = first else { return Ok(()) };
        let done = self.bury_from(moment, (lane, first), burial);
        if done.is_err() {
            // What is in memory of it may not be what is on the disk.
            self.stream = None;
            self.known.clear();
        }
        done.map_err(|why| format!("dead letters cannot be kept: {why}"))
    }

    /// How the stream stands; `None`: there never was a letter.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        let log = &self.stream.as_ref()?.log;
        Some(Extent { oldest: log.oldest(), next: log.end().offset })
    }

    /// Opens the stream, unless it is open.
    fn opened(&mut self, moment: Moment) -> Result<&mut Stream<M, R>, String> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => (self.open)(moment)?,
        };
        self.was_open = true;
        Ok(self.stream.insert(stream))
    }

    /// The event of `first` lies before those of all others.
    fn bury_from(
        &mut self,
        moment: Moment,
        (lane, first): (Lane, &Letter),
        burial: &Burial,
    ) -> Result<(), String> {
        let since = first.key.0;
        let known = self.known.remove(&lane);
        let stream = self.opened(moment)?;
        let mut known = match known {
            // What lies below is settled.
            Some(mut known) if known.since <= since => {
                known.keys = known.keys.split_off(&(since, String::new()));
                known
            }
            _ => Known { since, keys: stream.keys(first.log_id, since) },
        };
        known.since = since;
        let now = stream.clocks.now(moment);
        let told = |error: CommitError| error.to_string();
        for letter in &burial.letters {
            if known.keys.insert(letter.key.clone()) {
                let clock = Clock { wall: letter.time, trusted: letter.trusted, ..now };
                let frame = Frame { count: 1, clock, body: &letter.record };
                stream.append(&frame).map_err(told)?;
            }
        }
        stream.commit(now).map_err(told)?;
        self.known.insert(lane, known);
        Ok(())
    }
}
