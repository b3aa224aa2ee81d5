//! What writes the log and commits.
//!
//! Appends all that was taken, commits once, and only then tells those who wait. While a commit is
//! under way the next batch gathers. Invariant: nothing is announced as durable that the
//! log's `commit` has not returned for. What a full log does not take waits in memory, unannounced:
//! events, and behind them, in their order, the changes of sessions that hold behind them.

mod room;

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tributary_core::Offset;
use tributary_core::log::{
    AppendError, Clock, CommitError, ControlKind, Counters, End, Frame, Log, Media,
};
use tributary_core::time::{Age, Timestamp};

use crate::runtime::clock::{Clocks, Moment};
use crate::runtime::facts::Facts;
use crate::runtime::ingest::{Body, Closed, ControlRequest, Ingest, Taken};
use crate::runtime::retention::{Expiry, Gone, LastLook, Policy};
use crate::runtime::snapshot::Snapshot;
use crate::sync::lock;

/// Of a segment, the part at its end that a log which holds leaves to control records: lanes need
/// them for shipping what makes room.
const CONTROL_PART: u32 = 16;
/// Of a segment, the part of it that named readers leave to them.
const LANES_PART: u32 = 32;

/// The log, and who is to be told what of it.
pub struct Writer<M: Media> {
    log: Box<Log<M, Box<[u8]>>>,
    ingest: Arc<Ingest>,
    clocks: Arc<Mutex<Clocks>>,
    /// The control records in force at the end of the log.
    snapshot: Snapshot,
    /// Those in force at its durable end.
    durable_snapshot: Snapshot,
    policy: Policy,
    expiry: Option<Expiry>,
    /// What was taken and is not written.
    pending: Taken,
    /// Both clocks when the turn under way began.
    clock: Clock,
    gone: Gone,
    last_look: Option<LastLook>,
    facts: Arc<Mutex<Facts>>,
}

impl<M: Media> Writer<M> {
    /// For a log that was just opened, with the control records that it reported.
    #[must_use]
    pub fn new(
        log: Box<Log<M, Box<[u8]>>>,
        ingest: Arc<Ingest>,
        clocks: Arc<Mutex<Clocks>>,
        snapshot: Snapshot,
        policy: Policy,
    ) -> Self {
        let facts = Arc::new(Mutex::new(Facts::of(&log)));
        Self {
            log,
            ingest,
            clocks,
            durable_snapshot: snapshot.clone(),
            snapshot,
            expiry: policy.max_age.map(Expiry::new),
            policy,
            pending: Taken::default(),
            clock: Clock { wall: Timestamp(0), age: Age(0), trusted: false },
            gone: Gone::default(),
            last_look: None,
            facts,
        }
    }

    /// Who reads what the log is about to give up.
    #[must_use]
    pub fn with_last_look(mut self, last_look: LastLook) -> Self {
        self.last_look = Some(last_look);
        self
    }

    /// What goes when, from now on.
    pub fn follow(&mut self, policy: Policy) {
        if policy != self.policy {
            self.policy = policy;
            self.expiry = policy.max_age.map(Expiry::new);
        }
    }

    /// Where it leaves what others may know.
    #[must_use]
    pub fn facts(&self) -> Arc<Mutex<Facts>> {
        Arc::clone(&self.facts)
    }

    /// Makes durable what was taken, and tells those who wait.
    pub fn turn(&mut self, moment: Moment, taken: Taken) {
        self.pending.append(taken);
        if self.ingest.is_failed() {
            core::mem::take(&mut self.pending).give_up();
            return;
        }
        let before = self.facts_revision();
        if let Err(error) = self.write(moment) {
            self.fail(&error);
            return;
        }
        let holds = self.is_holding();
        if holds != (self.ingest.closed() == Some(Closed::Full)) {
            self.tell_holding(holds);
        }
        if self.facts_revision() != before {
            self.publish_facts();
        }
    }

    /// Whether a full log keeps something waiting.
    fn is_holding(&self) -> bool {
        !self.pending.is_empty()
    }

    fn facts_revision(&self) -> (Counters, Offset, bool) {
        (self.log.counters(), self.log.oldest(), self.ingest.closed().is_some())
    }

    fn tell_holding(&self, holds: bool) {
        self.ingest.hold(holds);
        if holds {
            let (lane, at) = self.ingest.positions().last().unwrap_or_default();
            tracing::warn!(lane, at = at.0, "the log is full and waits for this lane to ship");
        } else {
            tracing::info!("the log takes events again");
        }
    }

    /// To be called about every second, also when nothing was taken: what is due by time.
    pub fn tend(&mut self, moment: Moment) {
        self.observe_clock(moment);
        if !self.ingest.is_failed()
            && let Err(error) = self.expire(moment)
        {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &CommitError) {
        let cause = self.log.failure().map(ToString::to_string);
        tracing::error!(%error, cause, "events are refused");
        self.ingest.close(Closed::Failed);
        core::mem::take(&mut self.pending).give_up();
        self.publish_facts();
    }

    /// Notes a moment on both clocks in the log when the wall clock was set.
    fn observe_clock(&mut self, moment: Moment) {
        let (stepped, news) = {
            let mut clocks = lock(&self.clocks);
            let noted = (clocks.stepped(moment), clocks.news());
            clocks.settle_news();
            noted
        };
        if let Some(anchor) = stepped {
            tracing::info!(trusted = anchor.trusted, "the wall clock was set");
        }
        if let Some(anchor) = stepped.or(news) {
            let written =
                self.ingest.write_control(ControlKind::Anchor, move |_, _| anchor.encode());
            // Nobody waits for it: it only improves times that are shipped later.
            drop(written);
        }
    }

    fn write(&mut self, moment: Moment) -> Result<(), CommitError> {
        self.clock = lock(&self.clocks).now(moment);
        let mut written = Taken::default();
        while let Some(body) = self.pending.bodies.pop_front() {
            if self.is_held(body.bytes.len(), CONTROL_PART) {
                self.pending.bodies.push_front(body);
                break;
            }
            self.append_body(&body)?;
            written.bodies.push_back(body);
        }
        let done = self.write_controls()?;
        self.write_changes(&mut written)?;
        if written.is_empty() && done.is_empty() {
            return Ok(());
        }
        let end = self.commit()?;
        let reads_on = written.bodies.iter().any(|body| !body.places.is_empty());
        if !done.is_empty() || reads_on {
            self.durable_snapshot = self.snapshot.clone();
        }
        if self.is_holding() {
            self.pending.forget_who_has_gone();
            written.waiting.clone_from(&self.pending.waiting);
        } else {
            written.waiting = core::mem::take(&mut self.pending.waiting);
        }
        self.ingest.committed(end.offset, written);
        for (sender, at) in done {
            // Who asked may have gone meanwhile.
            sender.send(at).unwrap_or_default();
        }
        Ok(())
    }

    /// Appends control records: whom to tell of each, and the offset at which it holds.
    fn write_controls(&mut self) -> Result<Vec<(oneshot::Sender<Offset>, Offset)>, CommitError> {
        let mut done = Vec::new();
        for request in core::mem::take(&mut self.pending.controls) {
            if request.kind == ControlKind::Cursor
                && (!self.pending.controls.is_empty() || self.is_held(0, LANES_PART))
            {
                // Who has gone is not waited for: what it did not see noted is read again.
                self.pending.controls.extend(Some(request).filter(|it| !it.done.is_closed()));
                continue;
            }
            let ControlRequest { kind, body, done: sender } = request;
            let (at, clock) = (self.log.next_offset(), self.clock);
            let body = body(at, self.log.oldest());
            self.append(|log| log.append_control(kind, &body, clock))?;
            self.snapshot.note(kind, &body);
            done.push((sender, at));
        }
        Ok(done)
    }

    /// Appends the changes of sessions. They hold behind the events that were left before them: where
    /// those wait, they do.
    fn write_changes(&mut self, written: &mut Taken) -> Result<(), CommitError> {
        while self.pending.bodies.is_empty()
            && let Some(batch) = self.pending.changes.pop_front()
        {
            if self.is_held(batch.body().len(), CONTROL_PART) {
                self.pending.changes.push_front(batch);
                break;
            }
            let clock = self.clock;
            self.append(|log| log.append_control(ControlKind::Sessions, batch.body(), clock))?;
            written.changes.push_back(batch);
        }
        Ok(())
    }

    fn append_body(&mut self, body: &Body) -> Result<(), CommitError> {
        let mut clock = self.clock;
        let passed = clock.wall.0 - body.time.0;
        clock.age.0 = clock.age.0.saturating_add_signed(-passed.clamp(0, 60_000));
        clock.wall = body.time;
        let frame = Frame { count: body.count, clock, body: &body.bytes };
        self.append(|log| log.append(&frame))?;
        body.places.iter().for_each(|place| self.snapshot.follow(place));
        Ok(())
    }

    /// Appends; starts the next segment when this one is full.
    fn append(
        &mut self,
        mut frame: impl FnMut(&mut Log<M, Box<[u8]>>) -> Result<(), AppendError>,
    ) -> Result<(), CommitError> {
        let mut appended = frame(&mut self.log);
        while appended == Err(AppendError::SegmentFull) {
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

    fn publish_facts(&self) {
        let (gone, closed) = (self.gone.clone(), self.ingest.closed());
        *lock(&self.facts) = Facts { gone, closed, ..Facts::of(&self.log) };
    }
}
