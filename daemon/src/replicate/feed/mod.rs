//! Reads the log at a lane's position, judges each event by the table in force at its offset, and
//! fills batches with the records.
//!
//! A pure fold over the log: position and account after a batch depend on nothing else, so a batch
//! that was never committed is made again, the same. All records of one event go into one batch.
//!
//! A route that begins before its table reads back first: when the fold reaches the table's offset
//! for the first time, it goes through the older events for those routes alone (`backfill` in the
//! account), and only then on. So each route's records stay in log order.

mod addressed;
mod gone;
mod hidden;
mod letters;
mod present;
mod putting;
mod watched;

pub(super) use gone::{GAP_ROUTE, GapTold};
pub use present::{Filled, Present};

use core::ops::Range;

use tributary_bridge::{BatchBuilder, Position};
use tributary_core::Offset;
use tributary_core::log::{Chunk, Control, ControlKind, End, GapCause, Item, ReadMedia, Reader};
use tributary_core::record::Event;
use tributary_core::time::Timestamp;

use super::account::Account;
use super::aside::{self, Aside};
use super::judge::Judge;
use super::mapping::{EventTime, Origin, Texts};
use super::table::{Entry, Moved, Table};
use crate::config::Lane;
use crate::io::crc::crc32c;
use addressed::Addressed;
use watched::{Patience, Watched};

/// Bytes that are read from the log at once; the largest frame fits.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that are read in one turn, so that answers of brokers do not wait for a long scan.
pub(super) const CHUNKS_PER_TURN: usize = 8;

/// The fold of one lane.
pub struct Feed<M> {
    origin: Origin,
    generation: u32,
    log: Watched<M>,
    patience: Patience,
    reader: Reader,
    /// All is read up to this end of the log.
    read_to: Option<End>,
    buffer: Vec<u8>,
    fold: Fold,
}

/// Where the fold stands.
struct Fold {
    lane: Lane,
    /// Topics that are other lanes', as the log's end tells.
    asides: Vec<Aside>,
    /// Where that changes next.
    edge: Option<Offset>,
    /// Other lanes that must come so far before this one goes on.
    waits_for: Option<Vec<Moved>>,
    /// Another table begins here: the records before it go first, so that those of one transaction
    /// were selected, and are counted, under one table.
    turns: bool,
    judge: Option<Judge>,
    /// Where damage was passed that may have hidden the table in force.
    damaged: Option<Offset>,
    /// All below is judged, but for the routes that are read back.
    at: Offset,
    account: Account,
    /// Whether the reader stands where the account's `backfill` says, and not at `at`.
    reading_back: bool,
    /// Whether the account is laid out as the table is.
    counted: bool,
    /// Offsets that are gone and not counted yet.
    gone: Option<Range<Offset>>,
    texts: Texts,
}

/// Whether the reading can go on.
enum Step {
    On,
    /// Go on reading from here.
    Jump(Offset),
    /// The table in force has to be found first.
    Search,
    Stop(Filled),
}

impl<M: ReadMedia> Feed<M> {
    /// A fold that begins at `position`.
    #[must_use]
    pub(super) fn new(
        (origin, lane): (Origin, Lane),
        generation: u32,
        log: M,
        (position, asides): (&Position, &[Aside]),
    ) -> Self {
        Self {
            origin,
            generation,
            log: Watched::new(log),
            patience: Patience::default(),
            reader: Reader::new(position.offset, crc32c),
            read_to: None,
            buffer: vec![0; CHUNK_BYTES],
            fold: Fold {
                lane,
                asides: asides.to_vec(),
                edge: None,
                waits_for: None,
                turns: false,
                judge: None,
                damaged: None,
                at: position.offset,
                account: Account::parse(&position.account).unwrap_or_default(),
                reading_back: false,
                counted: false,
                gone: None,
                texts: Texts::default(),
            },
        }
    }

    /// Other topics are other lanes' from now on.
    pub(super) fn follow(&mut self, asides: &[Aside]) {
        self.fold.asides = asides.to_vec();
        self.fold.edge = aside::edge(asides, self.fold.at);
    }

    /// Where the fold stands, as a position to commit.
    #[must_use]
    pub fn position(&self) -> Position {
        let gone = self.fold.gone.as_ref();
        Position {
            offset: gone.map_or(self.fold.at, |gone| gone.start),
            generation: self.generation,
            account: self.fold.account.to_string(),
        }
    }

    /// The counts so far, and the table that they belong to.
    #[must_use]
    pub fn account(&self) -> (&Account, Option<&Table>) {
        (&self.fold.account, self.fold.judge.as_ref().map(|judge| &**judge.table()))
    }

    /// Whether all was read up to this end of the log, control records too.
    #[must_use]
    pub fn has_read(&self, end: End) -> bool {
        self.read_to == Some(end)
    }

    /// The first event that is not judged yet.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.fold.at
    }

    /// Puts the records of the next events into `batch`, until it is full, the log ends, or so many chunks were
    /// read.
    pub(super) fn fill(
        &mut self,
        batch: &mut BatchBuilder,
        (present, chunks): (&Present, usize),
    ) -> Filled {
        if let Some(others) = &self.fold.waits_for {
            if others.iter().any(|moved| present.traffic.is_before(moved)) {
                return Filled::Waits;
            }
            self.fold.waits_for = None;
            self.fold.turns = true;
        }
        if core::mem::take(&mut self.fold.turns) {
            // From the segment's start: the table comes again.
            self.reader = Reader::new(self.fold.reading_at(), crc32c);
        }
        if let Some(why) = self.patience.rests(present.clock.age) {
            return Filled::Stopped(why.clone());
        }
        for _ in 0..chunks {
            let begin = self.reader.next_offset();
            let read = self.reader.read(&self.log, present.end, &mut self.buffer);
            if let Some(why) = self.log.take_failure() {
                let why = format!("cannot read the log at {begin}: {why}");
                if self.patience.waits(present.clock.age, &why) {
                    self.reader = Reader::new(self.fold.reading_at(), crc32c);
                    return Filled::Stopped(why);
                }
            } else {
                self.patience.calm(present.clock.age);
            }
            let step = match read {
                Ok(Some(chunk)) => self.fold.read(chunk, &self.origin, present, batch),
                Ok(None) if self.fold.is_blind() => Step::Search,
                Ok(None) => {
                    self.read_to = Some(present.end);
                    return match self.fold.settle_gone(&self.origin, present, batch) {
                        Step::Stop(filled) => filled,
                        _ => Filled::All,
                    };
                }
                Err(error) => {
                    return Filled::Stopped(format!("cannot read the log at {begin}: {error}"));
                }
            };
            match step {
                Step::On => {}
                Step::Jump(offset) => self.reader.seek(offset),
                Step::Search => {
                    if let Step::Stop(filled) = self.find_table(present, batch) {
                        return filled;
                    }
                    self.reader.seek(self.fold.reading_at());
                }
                Step::Stop(filled) => {
                    self.reader.seek(self.fold.reading_at());
                    return filled;
                }
            }
        }
        Filled::Halfway
    }
}

impl Fold {
    /// The offset that the reader has to stand at.
    fn reading_at(&self) -> Offset {
        self.account.backfill.filter(|_| self.reading_back).unwrap_or(self.at)
    }

    fn read(
        &mut self,
        chunk: Chunk<'_>,
        origin: &Origin,
        present: &Present,
        batch: &mut BatchBuilder,
    ) -> Step {
        for item in chunk {
            let step = match item {
                Item::Control(control) => self.adopt(&control, origin, present, batch),
                Item::Gap { range, cause } => {
                    if cause == GapCause::Damaged {
                        self.damaged = Some(range.start);
                    }
                    self.lose(&range, (origin, present), batch)
                }
                Item::Events(frame) => {
                    let clock = frame.clock();
                    let mut events = frame.into_iter();
                    loop {
                        let Some((offset, mut event)) = events.next() else { break Step::On };
                        let mut time = EventTime::of(&event, clock, &present.anchor);
                        let Addressed { route, first } = Addressed::of(&mut event, &mut time);
                        let stamp = time.stamp(present.clock.wall);
                        self.texts.set(first.unwrap_or(offset), time);
                        let due = (offset, stamp, &event);
                        match self.take(origin, due, route, (present, batch)) {
                            Step::On => {}
                            other => break other,
                        }
                    }
                }
            };
            if !matches!(step, Step::On) {
                return step;
            }
        }
        Step::On
    }

    /// Goes on under the table of a control record, if it is one and holds here.
    fn adopt(
        &mut self,
        control: &Control<'_>,
        origin: &Origin,
        present: &Present,
        batch: &mut BatchBuilder,
    ) -> Step {
        if control.kind != ControlKind::Routes || self.reading_back || control.at > self.at {
            return Step::On;
        }
        let table = Table::decode(control.body).ok().map(|mut table| {
            table.divert(&self.asides, self.at.0);
            table
        });
        let judge = table.and_then(|table| Judge::new(table).ok());
        let Some(judge) = judge else {
            return Step::Stop(Filled::Stopped(format!(
                "the routing table at offset {} was written by another version",
                control.at
            )));
        };
        let goes_on = self.judge.as_ref().is_some_and(|now| now.table() == judge.table());
        if !goes_on && !batch.is_empty() {
            self.turns = true;
            return Step::Stop(Filled::Paused);
        }
        let before = |moved: &Moved| present.traffic.is_before(moved);
        let entering = judge.table().entering(self.lane, control.at, &self.asides);
        let behind: Vec<Moved> = entering.into_iter().filter(before).collect();
        if control.at == self.at && !behind.is_empty() {
            self.waits_for = Some(behind);
            return Step::Stop(Filled::Waits);
        }
        if let Step::Stop(filled) = self.count_gone(judge.table(), (origin, present), batch) {
            self.turns = true;
            return Step::Stop(filled);
        }
        if control.at == self.at && self.account.backfill.is_none() {
            let unmet = |entry: &&Entry| !self.account.knows(entry.id);
            let new = judge.table().backfilled(self.lane, self.at).filter(unmet);
            self.account.backfill = new.map(|entry| Offset(entry.begin)).min();
        }
        if control.at == self.at {
            self.account.adopt(judge.table(), self.lane);
        }
        // A table from before the position comes again whenever the reader finds its way: what was
        // counted under the one in force must not go with it.
        self.counted = control.at == self.at;
        self.judge = Some(judge);
        self.damaged = None;
        self.edge = aside::edge(&self.asides, self.at);
        match self.account.backfill {
            Some(offset) if control.at == self.at => {
                self.reading_back = true;
                Step::Jump(offset)
            }
            _ => Step::On,
        }
    }

    /// Lays out the account as the table in force is, before anything is counted.
    fn lay_out(&mut self) {
        if let Some(judge) = &self.judge
            && !self.counted
        {
            self.account.adopt(judge.table(), self.lane);
            self.counted = true;
        }
    }

    /// All below `end` is dealt with.
    fn pass(&mut self, end: Offset) -> Step {
        if !self.reading_back {
            self.at = self.at.max(end);
        } else if end < self.at {
            self.account.backfill = Some(end);
        } else {
            self.reading_back = false;
            self.account.backfill = None;
            return Step::Jump(self.at);
        }
        Step::On
    }

    /// Judges one event and puts its records into the batch; all or none.
    fn take(
        &mut self,
        origin: &Origin,
        (offset, stamp, event): (Offset, Timestamp, &Event<'_>),
        route: Option<&str>,
        (present, batch): (&Present, &mut BatchBuilder),
    ) -> Step {
        if self.edge.is_some_and(|edge| edge <= self.at) {
            // The table comes again, with the routes in other lanes.
            (self.edge, self.turns) = (None, true);
            return Step::Stop(Filled::Paused);
        }
        if let Step::Stop(filled) = self.settle_gone(origin, present, batch) {
            return Step::Stop(filled);
        }
        if self.is_blind() {
            return Step::Search;
        }
        self.lay_out();
        let Some(judge) = &mut self.judge else {
            return self.pass(offset.plus(1));
        };
        let (at, back, lane) = (self.at.0, self.reading_back, self.lane);
        // What the centre has sent goes back only where that is asked for: so nothing goes round in circles.
        let is_candidate = |entry: &Entry| {
            let is_due = entry.begin <= offset.0 && (!back || entry.since == at);
            entry.rule.lane == lane && is_due && entry.rule.events.include(event.origin)
        };
        let account = &self.account;
        judge.judge(event, route, is_candidate, |entry, topic| account.admits(entry, topic));
        self.put(origin, (offset, stamp, event), batch)
    }
}
