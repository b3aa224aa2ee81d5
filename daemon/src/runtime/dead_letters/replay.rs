//! Letters that are put back on their way: which were, and which are next.
//!
//! Two logs are written, so the intent comes first: a mark in the stream names the letters and is
//! durable before they are put into the input; the next mark, of the same replay or of the end,
//! confirms it. Only the last mark can be in doubt after a crash. Then the input is read from where it
//! stood when the mark was written: what is there was put back, the rest was not.

use core::ops::Range;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_core::Offset;
use tributary_core::log::{
    CommitError, ControlKind, End, GapCause, Item, Media, ReadMedia, Reader,
};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin};
use tributary_core::time::Timestamp;
use tributary_core::topic;

use super::{DeadLetters, Moment};
use crate::io::crc::crc32c;
use crate::replicate::letter::{Fate, LetterKey};
use crate::runtime::stream::{CHUNK_BYTES, Extent, Stream};

/// Letters that are put back between two marks, and about how many bytes of them.
const BATCH_LETTERS: usize = 256;
const BATCH_BYTES: usize = 512 << 10;

/// What a control record of the stream tells of letters that are put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The log that they are put into.
    log_id: u64,
    /// Where they stand there, or behind.
    since: u64,
    /// Letters of the mark before that were not put back after all.
    without: Vec<u64>,
    /// Letters that are put back now.
    letters: Vec<u64>,
}

impl Mark {
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        postcard::from_bytes(body).ok()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_else(|_| unreachable!("numbers encode"))
    }
}

/// Which letters are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of this route alone.
    pub route: Option<String>,
    /// Of events whose topic matches this filter.
    pub filter: Option<String>,
    /// With these offsets in the stream.
    pub offsets: Range<Offset>,
    /// Of events that came in at these times.
    pub times: Range<Timestamp>,
}

/// The input log, as it stands.
pub struct Input<'a, R> {
    /// Its identity.
    pub log_id: u64,
    /// For reading it.
    pub reader: &'a R,
    /// Its durable end.
    pub end: End,
}

/// A letter that is put back.
#[derive(Debug)]
pub struct Back {
    /// Its offset in the stream.
    pub letter: Offset,
    /// The event, relative to `time`.
    record: Vec<u8>,
    time: Timestamp,
}

/// How far a replay has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Letters that are wanted.
    pub wanted: u64,
    /// Letters that are put back; when nothing is to be changed, those that would be.
    pub put_back: u64,
    /// Letters that were put back before.
    pub before: u64,
    /// Letters of routes that are not in force.
    pub without_route: u64,
    /// Letters that may have been put back before: what told of it is damaged.
    pub in_doubt: u64,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    wanted: Wanted,
    log_id: u64,
    /// The letters that were put back before, in order.
    done: Vec<u64>,
    /// Of letters below that are not among them it is not known.
    known_from: Offset,
    at: Offset,
    /// How far it has come.
    pub figures: Figures,
}

impl Back {
    /// The event, as it is put into the input.
    ///
    /// # Panics
    /// Never: it was just encoded.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        record::decode(&mut self.record.as_slice(), self.time).expect("it was just encoded")
    }
}

impl Replay {
    /// The next letter that will be looked at.
    #[must_use]
    pub const fn at(&self) -> Offset {
        self.at
    }

    /// The letters that are looked at.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.wanted.offsets.clone()
    }

    /// What is put back of a letter, if it is to be.
    fn judge(
        &mut self,
        (letter, event, trusted): (Offset, &Event<'_>, bool),
        is_in_force: &dyn Fn(&str) -> bool,
    ) -> Option<Back> {
        let Wanted { route, filter, times, .. } = &self.wanted;
        let fate = Fate::read(event.properties)?;
        let heard = filter.as_deref().is_none_or(|filter| topic::matches(filter, event.topic));
        let named = route.as_deref().is_none_or(|route| route == fate.route);
        if !heard || !named || !times.contains(&event.time) {
            return None;
        }
        self.figures.wanted += 1;
        if self.done.binary_search(&letter.0).is_ok() {
            self.figures.before += 1;
            return None;
        }
        if letter < self.known_from {
            self.figures.in_doubt += 1;
            return None;
        }
        if !is_in_force(fate.route) {
            self.figures.without_route += 1;
            return None;
        }
        self.figures.put_back += 1;
        let properties = fate.put_back(self.log_id, trusted);
        let (properties, time) = (Properties(&properties), event.time);
        let (origin, retain) = (Origin::Replay, false);
        let back = Event { properties, origin, retain, packet_id: None, ..*event };
        let mut record = vec![0; record::encoded_len(&back, time)];
        record::encode(&back, time, &mut record);
        Some(Back { letter, record, time })
    }
}

impl<M: Media, R: ReadMedia> Stream<M, R> {
    /// The last that was noted of letters that are put back.
    fn last_mark(&self) -> Mark {
        self.snapshot().replayed().and_then(Mark::decode).unwrap_or_default()
    }

    /// The letters that were put back, in order. Of those below an offset it may not be known:
    /// behind them is damage, where marks may have stood.
    fn put_back(&self) -> (Vec<u64>, Offset) {
        let (mut done, mut known_from): (Vec<u64>, _) = (Vec::new(), Offset(0));
        self.read(Offset(0), &mut |item| {
            match item {
                Item::Control(control) if control.kind == ControlKind::Replayed => {
                    if let Some(mark) = Mark::decode(control.body) {
                        done.retain(|letter| !mark.without.contains(letter));
                        done.extend(mark.letters);
                    }
                }
                Item::Gap { range, cause: GapCause::Damaged } => known_from = range.end,
                _ => {}
            }
            true
        });
        done.sort_unstable();
        done.dedup();
        (done, known_from)
    }

    /// Notes letters that are put back now, and those of the last time that were not: durable.
    fn mark(&mut self, moment: Moment, mark: &Mark) -> Result<(), CommitError> {
        let clock = self.now(moment);
        self.append_control(ControlKind::Replayed, &mark.encode(), clock)?;
        self.commit(clock)
    }

    /// The letters of the last mark that do not stand in the input: a crash came before.
    fn missing(&self, input: &Input<'_, impl ReadMedia>) -> Vec<u64> {
        let Mark { log_id, since, letters, .. } = self.last_mark();
        let Some(first) = letters.first().filter(|_| log_id == input.log_id) else {
            return Vec::new();
        };
        let mut due: BTreeMap<(u64, LetterKey), u64> = BTreeMap::new();
        let key = |fate: Fate<'_>| (fate.log_id, (fate.offset, fate.route.to_owned()));
        self.read(Offset(*first), &mut |item| {
            let Item::Events(frame) = item else { return true };
            for (letter, event) in frame {
                if letters.contains(&letter.0)
                    && let Some(fate) = Fate::read(event.properties)
                {
                    due.insert(key(fate), letter.0);
                }
            }
            due.len() < letters.len()
        });
        let mut reader = Reader::new(Offset(since), crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(Some(chunk)) = reader.read(input.reader, input.end, &mut buffer) {
            for item in chunk {
                match item {
                    Item::Events(frame) => {
                        for (_, event) in frame {
                            Fate::of_put_back(&event).and_then(|fate| due.remove(&key(fate)));
                        }
                    }
                    Item::Gap { range, .. } if !range.is_empty() => {
                        let (first, end) = (range.start.0, range.end.0);
                        tracing::warn!(first, end, "letters that were put back may be lost here");
                        return Vec::new();
                    }
                    Item::Gap { .. } | Item::Control(_) => {}
                }
            }
        }
        due.into_values().collect()
    }
}

impl<M, R, O> DeadLetters<M, R, O>
where
    M: Media,
    R: ReadMedia,
    O: FnMut(Moment) -> Result<Stream<M, R>, String>,
{
    /// After a start: finds out which letters a crash kept from being put back.
    ///
    /// # Errors
    /// If that cannot be noted.
    pub fn settle(
        &mut self,
        moment: Moment,
        input: &Input<'_, impl ReadMedia>,
    ) -> Result<(), String> {
        let Some(stream) = self.stream.get_mut() else { return Ok(()) };
        let all = stream.last_mark().letters.len();
        if all == 0 {
            return Ok(());
        }
        let without = stream.missing(input);
        let missing = without.len();
        tracing::info!(all, missing, "a replay of dead letters was cut short");
        self.note(moment, &Mark { without, ..Mark::default() })
    }

    /// Begins a replay. `None`: there are no letters.
    ///
    /// # Errors
    /// If what was begun before is in doubt until the next start.
    pub fn begin_replay(
        &mut self,
        moment: Moment,
        log_id: u64,
        mut wanted: Wanted,
    ) -> Result<Option<Replay>, String> {
        if !self.stream.was_used() {
            return Ok(None);
        }
        let stream = self.stream.opened(moment)?;
        if !stream.last_mark().letters.is_empty() {
            return Err("what an earlier replay put back is not known to be durable: the next \
                        start of the daemon finds out"
                .to_owned());
        }
        let Range { start, end } = wanted.offsets;
        let Extent { oldest, next } = stream.extent();
        wanted.offsets = start.max(oldest)..end.min(next);
        let (at, (done, known_from)) = (wanted.offsets.start, stream.put_back());
        Ok(Some(Replay { wanted, log_id, done, known_from, at, figures: Figures::default() }))
    }

    /// The next letters to be put back, those whose routes are in force; none: that is all.
    pub fn next_batch(
        &mut self,
        replay: &mut Replay,
        is_in_force: &dyn Fn(&str) -> bool,
    ) -> Vec<Back> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let (Some(stream), end) = (self.stream.get(), replay.wanted.offsets.end) else {
            return batch;
        };
        stream.read(replay.at, &mut |item| {
            let frame = match item {
                Item::Events(frame) => frame,
                Item::Gap { range, .. } => {
                    replay.at = replay.at.max(range.end);
                    return true;
                }
                Item::Control(_) => return true,
            };
            let trusted = frame.clock().trusted;
            for (letter, event) in frame {
                if letter >= end || batch.len() == BATCH_LETTERS || bytes >= BATCH_BYTES {
                    return false;
                }
                replay.at = letter.plus(1);
                if let Some(back) = replay.judge((letter, &event, trusted), is_in_force) {
                    bytes += back.record.len();
                    batch.push(back);
                }
            }
            true
        });
        batch
    }

    /// Notes, durably, that these letters are put into the input now, at `since` or behind; and
    /// those of the batch before that were not put there.
    ///
    /// # Errors
    /// If it cannot be written: then nothing may be put back.
    pub fn note_replay(
        &mut self,
        moment: Moment,
        replay: &mut Replay,
        (without, batch): (&[Back], &[Back]),
        since: Offset,
    ) -> Result<(), String> {
        let numbers = |all: &[Back]| all.iter().map(|back| back.letter.0).collect();
        replay.figures.put_back -= without.len() as u64;
        let (without, letters) = (numbers(without), numbers(batch));
        self.note(moment, &Mark { log_id: replay.log_id, since: since.0, without, letters })
    }

    fn note(&mut self, moment: Moment, mark: &Mark) -> Result<(), String> {
        let Some(stream) = self.stream.get_mut() else { return Ok(()) };
        let done = stream.mark(moment, mark);
        if done.is_err() {
            self.stream.close();
            self.known.clear();
        }
        done.map_err(|error| format!("the stream of dead letters cannot be written: {error}"))
    }
}
