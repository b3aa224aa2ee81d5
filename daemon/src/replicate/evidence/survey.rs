//! What the log has of offsets in doubt: the routing tables that judge them, and the times of the events.

use core::ops::Range;

use tributary_core::Offset;
use tributary_core::log::{Chunk, ControlKind, End, Events, Item, ReadMedia, Reader};
use tributary_core::record::{Event, Origin};
use tributary_core::time::Timestamp;

use crate::config::Lane;
use crate::io::crc::crc32c;
use crate::replicate::aside::Aside;
use crate::replicate::letter::{Fate, First};
use crate::replicate::table::Table;

/// What is read at once of the log; the largest frame fits.
const CHUNK_BYTES: usize = 1 << 20;

/// The routing tables from the first offset in doubt to the log's end.
pub(super) struct Tables {
    /// The first offset in doubt.
    start: u64,
    /// Each with the offset that it states.
    tables: Vec<(u64, Table)>,
}

/// What the events tell.
pub(super) struct Times {
    /// When the first of them came; `None`: there are none.
    pub(super) earliest: Option<Timestamp>,
    /// Whether the clock could be trusted with all of them.
    pub(super) is_trusted: bool,
    /// Where some are gone, behind the last of those.
    pub(super) gone_to: Option<u64>,
    /// Those whose records bear the offsets of others.
    pub(super) put_back: Vec<PutBack>,
}

/// An event that was put back, whose record bears the offset at which it came first.
pub(super) struct PutBack {
    pub(super) route: String,
    pub(super) offset: u64,
}

impl Tables {
    pub(super) fn read<M: ReadMedia>(log: (&M, End), doubt: &Range<u64>) -> Result<Self, String> {
        let mut tables = Self { start: doubt.start, tables: Vec::new() };
        walk(log, doubt.start, |item| {
            let Item::Control(control) = item else { return Ok(()) };
            if control.kind == ControlKind::Routes {
                let table = Table::decode(control.body)
                    .map_err(|_| "a routing table is of another version")?;
                tables.add(control.at.0, table);
            }
            Ok(())
        })?;
        Ok(tables)
    }

    fn add(&mut self, at: u64, table: Table) {
        let last = self.tables.last();
        // Each segment repeats it.
        if last.is_some_and(|(_, before)| *before == table) {
            return;
        }
        // It holds no more where the doubt begins, or for no offset at all.
        if last.is_some_and(|(before, _)| at <= self.start.max(*before)) {
            self.tables.pop();
        }
        self.tables.push((at, table));
    }

    /// The tables that judge what is in doubt: the offset that each states, and the offsets for which it holds.
    pub(super) fn in_force(&self, end: u64) -> impl Iterator<Item = (u64, &Table, Range<u64>)> {
        let starts = self.tables.iter().map(|(at, _)| (*at).max(self.start));
        let ends = starts.clone().skip(1).chain([end]);
        let all = self.tables.iter().zip(starts.zip(ends));
        all.map(move |((at, table), (from, until))| (*at, table, from.min(end)..until.min(end)))
    }

    /// Topics that are other lanes', as the log's end tells: for all offsets, also those that older tables judge.
    ///
    /// # Errors
    /// The end has forgotten one that held for what is in doubt.
    pub(super) fn asides(&self, lane: Lane, doubt: &Range<u64>) -> Result<Vec<Aside>, String> {
        let last = self.tables.last().map(|(_, table)| table.asides.clone()).unwrap_or_default();
        let concerns = |aside: &&Aside| {
            (aside.home == lane || aside.lane == lane)
                && aside.from < doubt.end
                && aside.until.is_none_or(|until| until > doubt.start)
        };
        let is_known = |aside: &&Aside| {
            let is_it = |known: &Aside| {
                (&known.topic, known.home, known.lane, known.from)
                    == (&aside.topic, aside.home, aside.lane, aside.from)
            };
            last.iter().any(is_it)
        };
        let all = self.tables.iter().flat_map(|(_, table)| &table.asides).filter(concerns);
        if let Some(forgotten) = all.into_iter().find(|aside| !is_known(aside)) {
            return Err(format!(
                "topic {} was another lane's for a while, and until when is forgotten",
                forgotten.topic
            ));
        }
        Ok(last)
    }
}

impl Times {
    pub(super) fn read<M: ReadMedia>(log: (&M, End), offsets: &Range<u64>) -> Result<Self, String> {
        let mut times =
            Self { earliest: None, is_trusted: true, gone_to: None, put_back: Vec::new() };
        walk(log, offsets.start, |item| {
            match item {
                Item::Events(frame) => times.note(frame, offsets),
                Item::Gap { range, .. } if !range.is_empty() && range.start.0 < offsets.end => {
                    times.gone_to = Some(range.end.0);
                }
                Item::Gap { .. } | Item::Control(_) => {}
            }
            Ok(())
        })?;
        Ok(times)
    }

    fn note(&mut self, frame: Events<'_>, offsets: &Range<u64>) {
        let trusted = frame.clock().trusted;
        for (Offset(offset), event) in frame {
            if offsets.contains(&offset) {
                self.is_trusted &= trusted;
                self.put_back.extend(put_back(offset, &event));
            } else if !trusted || event.origin == Origin::Replay {
                continue;
            }
            // Also of those behind: a record whose event came before a clock was put back bears a later one's time.
            self.earliest = Some(self.earliest.map_or(event.time, |first| first.min(event.time)));
        }
    }
}

fn put_back(offset: u64, event: &Event<'_>) -> Option<PutBack> {
    let fate = Fate::of_put_back(event)?;
    let first = fate.first.and_then(First::offset)?;
    (first.0 != offset).then(|| PutBack { route: fate.route.to_owned(), offset })
}

/// Goes through the log from an offset to the end.
fn walk<M: ReadMedia>(
    (log, end): (&M, End),
    from: u64,
    mut each: impl FnMut(Item<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = Reader::with_controls(Offset(from), crc32c);
    let mut buffer = vec![0; CHUNK_BYTES];
    let unreadable = |error| format!("the log cannot be read: {error}");
    while let Some(chunk) = reader.read(log, end, &mut buffer).map_err(unreadable)? {
        let chunk: Chunk<'_> = chunk;
        for item in chunk {
            each(item)?;
        }
    }
    Ok(())
}
