//! What writes the log and commits.
//!
//! Appends all that was taken, commits once, and only then tells those who wait. While a commit is
//! under way the next batch gathers. Invariant: nothing is announced as durable that the
//! log's `commit` has not returned for.

use std::sync::{Arc, Mutex};

use core::ops::Range;

use tributary_core::Offset;
use tributary_core::log::{
    AppendError, Clock, CommitError, ControlKind, Counters, End, Frame, Log, LogId, Media,
};
use tributary_core::time::{Age, Timestamp};

use super::clock::{Clocks, Moment};
use super::ingest::{Closed, ControlRequest, Ingest, Taken};
use super::snapshot::Snapshot;
use crate::sync::lock;

/// What others may know of the log.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The log's identity.
    pub id: LogId,
    /// This opening.
    pub generation: u32,
    /// The oldest event that is still there.
    pub oldest: Offset,
    /// Events that were evicted since the start because the log was full.
    pub evicted: u64,
    /// Why events are refused, if they are.
    pub closed: Option<Closed>,
    /// Writes and flushes since the start.
    pub counters: Counters,
}

/// The log, and who is to be told what of it.
pub struct Writer<M: Media> {
    log: Log<M, Box<[u8]>>,
    ingest: Arc<Ingest>,
    clocks: Arc<Mutex<Clocks>>,
    /// The control records in force at the end of the log.
    snapshot: Snapshot,
    /// Those in force at its durable end.
    durable_snapshot: Snapshot,
    /// Both clocks when the turn under way began.
    clock: Clock,
    evicted: u64,
    facts: Arc<Mutex<Facts>>,
}

impl<M: Media> Writer<M> {
    /// For a log that was just opened, with the control records that it reported.
    #[must_use]
    pub fn new(
        log: Log<M, Box<[u8]>>,
        ingest: Arc<Ingest>,
        clocks: Arc<Mutex<Clocks>>,
        snapshot: Snapshot,
    ) -> Self {
        let facts = Arc::new(Mutex::new(facts_of(&log, 0)));
        Self {
            log,
            ingest,
            clocks,
            durable_snapshot: snapshot.clone(),
            snapshot,
            clock: Clock { wall: Timestamp(0), age: Age(0), trusted: false },
            evicted: 0,
            facts,
        }
    }

    /// Where it leaves what others may know.
    #[must_use]
    pub fn facts(&self) -> Arc<Mutex<Facts>> {
        Arc::clone(&self.facts)
    }

    /// Makes durable what was taken, and tells those who wait.
    pub fn turn(&mut self, moment: Moment, taken: Taken) {
        if taken.is_empty() {
            self.idle(moment);
            return;
        }
        if self.ingest.closed() == Some(Closed::Failed) {
            // What waits is dropped, and so are those who wait for it told.
            return;
        }
        if let Err(error) = self.write(moment, taken) {
            let cause = self.log.failure().map(ToString::to_string);
            tracing::error!(%error, cause, "events are refused");
            self.ingest.set_closed(Some(Closed::Failed));
        }
        self.publish_facts();
    }

    fn idle(&mut self, moment: Moment) {
        let stepped = lock(&self.clocks).stepped(moment);
        if let Some(anchor) = stepped {
            tracing::info!(trusted = anchor.trusted, "the wall clock was set");
            let written =
                self.ingest.write_control(ControlKind::Anchor, move |_, _| anchor.encode());
            // Nobody waits for it: it only improves times that are shipped later.
            drop(written);
        }
    }

    fn write(&mut self, moment: Moment, mut taken: Taken) -> Result<(), CommitError> {
        let clock = lock(&self.clocks).now(moment);
        self.clock = clock;
        for body in &taken.bodies {
            let mut clock = clock;
            let passed = clock.wall.0 - body.time.0;
            clock.age.0 = clock.age.0.saturating_add_signed(-passed.clamp(0, 60_000));
            clock.wall = body.time;
            let frame = Frame { count: body.count, clock, body: &body.bytes };
            self.append(|log| log.append(&frame))?;
        }
        let mut done = Vec::new();
        for ControlRequest { kind, body, done: sender } in taken.controls.drain(..) {
            let at = self.log.next_offset();
            let body = body(at, self.log.oldest());
            self.append(|log| log.append_control(kind, &body, clock))?;
            self.snapshot.note(kind, &body);
            done.push((sender, at));
        }
        let end = self.commit()?;
        if !done.is_empty() {
            self.durable_snapshot = self.snapshot.clone();
        }
        self.ingest.committed(end.offset, taken);
        for (sender, at) in done {
            // Who asked may have gone meanwhile.
            sender.send(at).unwrap_or_default();
        }
        Ok(())
    }

    /// Appends; starts the next segment when this one is full.
    fn append(
        &mut self,
        frame: impl Fn(&mut Log<M, Box<[u8]>>) -> Result<(), AppendError>,
    ) -> Result<(), CommitError> {
        let mut appended = frame(&mut self.log);
        if appended == Err(AppendError::SegmentFull) {
            self.roll()?;
            appended = frame(&mut self.log);
        }
        match appended {
            Ok(()) => Ok(()),
            Err(AppendError::ReadOnly) => Err(CommitError::ReadOnly),
            Err(error @ (AppendError::SegmentFull | AppendError::TooLarge { .. })) => {
                unreachable!("a frame is smaller than an empty segment: {error}")
            }
        }
    }

    /// Makes durable what was appended; what a failing segment does not take goes to the next.
    fn commit(&mut self) -> Result<End, CommitError> {
        let committed = self.log.commit();
        if committed != Err(CommitError::SegmentFailed) {
            return committed;
        }
        let cause = self.log.failure().map(ToString::to_string);
        tracing::error!(cause, "a segment of the log failed: going on in the next");
        self.roll()?;
        self.log.commit()
    }

    /// Starts the next segment, with the records in force where it begins: behind a segment that
    /// failed that is the durable end, and what holds only later comes along with what is moved.
    fn roll(&mut self) -> Result<(), CommitError> {
        loop {
            let sound = self.log.roll_at() == self.log.next_offset();
            let snapshot = if sound { &self.snapshot } else { &self.durable_snapshot };
            match self.log.roll(&snapshot.records(), self.clock) {
                Err(CommitError::SegmentFailed) => {}
                Err(error) => return Err(error),
                Ok(None) => return Ok(()),
                Ok(Some(evicted)) => {
                    self.note_evicted(&evicted);
                    return Ok(());
                }
            }
        }
    }

    fn note_evicted(&mut self, evicted: &Range<Offset>) {
        let count = evicted.end.0 - evicted.start.0;
        self.evicted += count;
        tracing::warn!(
            first = evicted.start.0,
            count,
            "the log is full: its oldest events made room for new ones"
        );
    }

    fn publish_facts(&self) {
        let mut facts = facts_of(&self.log, self.evicted);
        facts.closed = self.ingest.closed();
        *lock(&self.facts) = facts;
    }
}

fn facts_of<M: Media>(log: &Log<M, Box<[u8]>>, evicted: u64) -> Facts {
    Facts {
        id: log.id(),
        generation: log.generation(),
        oldest: log.oldest(),
        evicted,
        closed: None,
        counters: log.counters(),
    }
}
