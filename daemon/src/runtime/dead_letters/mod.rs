//! The stream of dead letters: a log of its own beside the input, made when there is a first one.
//!
//! Invariants: a letter is there once. What a crash has left behind is recognised by what names it, so
//! a transaction that is made again, and refused again, writes nothing twice. And a letter is put back
//! into the input once (`replay.rs`).

mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tributary_core::Offset;
use tributary_core::log::{Clock, CommitError, Frame, Item, Media, ReadMedia};

pub use replay::{Back, Figures, Input, Replay, Wanted};

use super::clock::Moment;
use super::stream::{Extent, OnDemand, Opener, Stream};
use crate::config::Lane;
use crate::io::segments::{DEAD_LETTER, SegmentFiles, SegmentReader};
use crate::replicate::lane::Burial;
use crate::replicate::letter::{Fate, Letter, LetterKey};

/// The stream. `O` opens its log.
pub struct DeadLetters<M: Media, R, O> {
    stream: OnDemand<M, R, O>,
    known: BTreeMap<Lane, Known>,
}

/// The stream in files.
pub type FileLetters = DeadLetters<SegmentFiles, SegmentReader, Opener>;

/// More letters than one lane leaves of others before it has some of its own again.
const KEYS_MAX: usize = 16_384;

/// The letters from an offset of the input on.
struct Known {
    since: Offset,
    keys: BTreeSet<LetterKey>,
}

impl Known {
    /// Takes note of letters of another lane, whose routes may be this one's by the time that they are written again.
    /// Whether that is still worth the memory: what is not known is read.
    fn note(&mut self, keys: &[LetterKey]) -> bool {
        self.keys.extend(keys.iter().filter(|key| key.0 >= self.since).cloned());
        self.keys.len() <= KEYS_MAX
    }
}

impl FileLetters {
    /// The stream beside the input of a log that may take so many bytes; opened at once if it was
    /// ever used and can be.
    #[must_use]
    pub fn of_files(dir: &Path, size: u64, moment: Moment) -> Self {
        let mut stream = OnDemand::of_files(dir, DEAD_LETTER, size);
        if stream.was_used() {
            // Why it cannot be used is told.
            drop(stream.opened(moment));
        }
        Self { stream, known: BTreeMap::new() }
    }

    /// For reading it, if it was ever used.
    #[must_use]
    pub fn reader(&self) -> Option<SegmentReader> {
        self.stream.get().map(|stream| stream.reader().clone())
    }
}

impl<M: Media, R: ReadMedia> Stream<M, R> {
    /// What names the letters of a log's events from `since` on.
    fn keys(&self, log_id: u64, since: Offset) -> BTreeSet<LetterKey> {
        let mut keys = BTreeSet::new();
        self.read(Offset(0), &mut |item| {
            let Item::Events(frame) = item else { return true };
            let fates = frame.into_iter().filter_map(|(_, letter)| {
                let fate = Fate::read(letter.properties).filter(|f| f.log_id == log_id)?;
                Some((fate.offset, fate.route.to_owned()))
            });
            keys.extend(fates.filter(|(offset, _)| *offset >= since));
            true
        });
        keys
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
    pub const fn new(open: O) -> Self {
        Self { stream: OnDemand::new(DEAD_LETTER, open), known: BTreeMap::new() }
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
            self.stream.close();
            self.known.clear();
        }
        done.map_err(|why| format!("dead letters cannot be kept: {why}"))
    }

    /// How the stream stands; `None`: there never was a letter.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        self.stream.get().map(Stream::extent)
    }

    /// Why the stream cannot be used, if that is so.
    #[must_use]
    pub fn unusable(&self) -> Option<String> {
        self.stream.unusable()
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
        let stream = self.stream.opened(moment)?;
        let mut known = match known {
            // What lies below is settled.
            Some(mut known) if known.since <= since => {
                known.keys = known.keys.split_off(&(since, String::new()));
                known
            }
            _ => Known { since, keys: stream.keys(first.log_id, since) },
        };
        known.since = since;
        let now = stream.now(moment);
        let told = |error: CommitError| error.to_string();
        let mut written = Vec::new();
        for letter in &burial.letters {
            if known.keys.insert(letter.key.clone()) {
                written.push(letter.key.clone());
                let clock = Clock { wall: letter.time, trusted: letter.trusted, ..now };
                let frame = Frame { count: 1, clock, body: &letter.record };
                stream.append(&frame).map_err(told)?;
            }
        }
        stream.commit(now).map_err(told)?;
        self.known.retain(|_, other| other.note(&written));
        self.known.insert(lane, known);
        Ok(())
    }
}
