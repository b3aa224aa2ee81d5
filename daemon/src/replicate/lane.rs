//! Drives one lane: joins the replicator, its connections, the log and the clock.
//!
//! A switchboard: what happens is decided by the [`Replicator`] (protocol) and the [`Feed`] (which
//! records). Invariant: a claim is durable in the log before the replicator learns of it.

use std::sync::{Arc, Mutex};

use core::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tributary_bridge::{BatchBuilder, Hint, Local, Output, Position, Replicator, Settings, State};
use tributary_core::Offset;
use tributary_core::log::ControlKind;
use tributary_core::time::Instant;

use super::feed::{Feed, Filled, Present};
use super::report::{Announcer, Report};
use crate::io::clock::now;
use crate::io::kafka::{LinkEvent, Links};
use crate::io::segments::SegmentReader;
use crate::runtime::clock::Clocks;
use crate::runtime::hint::LaneHint;
use crate::runtime::ingest::Ingest;
use crate::sync::lock;

/// How long the first event waits for company before a transaction begins.
const LINGER_MS: u64 = 20;
/// This many events need no company.
const EVENTS_ENOUGH: u64 = 1_000;
/// An idle lane takes back what it claimed, so that an outage leaves nothing in doubt.
const IDLE_MS: u64 = 2_000;
/// How long a lane may take to end its last transaction when the daemon stops.
const DRAIN_MS: u64 = 3_000;

/// What a lane needs of the daemon.
pub struct Context {
    /// Bridge settings: identity and brokers.
    pub settings: Settings,
    /// This opening of the log.
    pub generation: u32,
    /// All openings of the log that are known, oldest first.
    pub generations: Vec<(u32, Offset)>,
    /// The lane's hint as it stands in the log; `None` if the log has lost it.
    pub hint: Arc<Mutex<Option<Hint>>>,
    /// The log, to read.
    pub log: SegmentReader,
    /// The log, to write hints.
    pub ingest: Arc<Ingest>,
    /// The time.
    pub clocks: Arc<Mutex<Clocks>>,
    /// Where the lane tells how it stands.
    pub report: Arc<Mutex<Report>>,
    /// Becomes true when the lane is to end.
    pub stop: watch::Receiver<bool>,
}

/// A hint that is being written, and who will say that it is durable.
type Claim = (Hint, oneshot::Receiver<Offset>);

/// One lane at work.
pub struct Lane {
    context: Context,
    replicator: Replicator,
    links: Links,
    feed: Option<Feed>,
    batch: Option<BatchBuilder>,
    /// Since when there is something to ship and a batch is wanted.
    waiting_since: Option<Instant>,
    /// Whether records were handed in that are not known to be committed.
    outstanding: bool,
    committed: Position,
    claimed: Offset,
    claim: Option<Claim>,
    idle_since: Instant,
    /// Whether the last filling left off before the end.
    more: bool,
    stopping: Option<Instant>,
    announcer: Announcer,
}

impl Lane {
    /// Runs until told to stop. Needs a tokio runtime with I/O and time.
    pub async fn run(context: Context) {
        let seed = u64::from(context.generation);
        let replicator = Replicator::new(now(), context.settings.clone(), seed);
        let (links, events) = Links::new();
        let hint = lock(&context.hint).clone();
        let lane = Self {
            claimed: hint.as_ref().map_or(Offset(0), |hint| hint.high),
            committed: hint.map(|hint| hint.low).unwrap_or_default(),
            context,
            replicator,
            links,
            feed: None,
            batch: None,
            waiting_since: None,
            outstanding: false,
            claim: None,
            idle_since: now(),
            more: false,
            stopping: None,
            announcer: Announcer::default(),
        };
        lane.turn(events).await;
    }

    async fn turn(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let mut durable = self.context.ingest.follow();
        let mut stop = self.context.stop.clone();
        loop {
            self.work(*durable.borrow_and_update());
            lock(&self.context.report).update(
                &self.replicator,
                (self.feed.as_ref(), !self.outstanding),
                &self.committed,
            );
            if self.is_done() {
                self.replicator.stop();
                return;
            }
            let pause = self.pause();
            tokio::select! {
                event = events.recv() => self.handle_event(event),
                claimed = claimed(&mut self.claim) => self.handle_claimed(claimed),
                Ok(()) = durable.changed() => {}
                Ok(()) = stop.changed(), if self.stopping.is_none() => self.stopping = Some(now()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Everything that can be done without waiting.
    fn work(&mut self, durable: Offset) {
        if self.replicator.poll_timeout().is_some_and(|deadline| deadline <= now()) {
            self.replicator.handle_timeout(now());
        }
        loop {
            while let Some(output) = self.replicator.poll_output() {
                self.handle_output(output);
            }
            if !self.fill(durable) {
                break;
            }
        }
        self.release_claim();
    }

    fn handle_event(&mut self, event: Option<LinkEvent>) {
        match event {
            Some(LinkEvent::Connected(conn)) => self.replicator.handle_connected(now(), conn),
            Some(LinkEvent::Bytes(conn, bytes)) => {
                self.replicator.handle_bytes(now(), conn, &bytes);
            }
            Some(LinkEvent::Closed(conn, why)) => {
                self.replicator.handle_closed(now(), conn, &why);
            }
            None => unreachable!("the links keep a sender"),
        }
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Connect { conn, host, port } => self.links.connect(conn, host, port),
            Output::Send { conn, bytes } => self.links.send(conn, bytes),
            Output::Disconnect { conn } => self.links.disconnect(conn),
            Output::NeedLocal => {
                let local = self.local();
                self.replicator.handle_local(now(), &local);
            }
            Output::Resumed(position) => self.resume(position),
            Output::WantBatch => self.batch = Some(self.replicator.begin_batch()),
            Output::Claim(offset) => self.claim(offset),
            Output::Committed(position) => {
                self.committed = position;
                self.outstanding = false;
                self.idle_since = now();
            }
            Output::Changed => self.announcer.announce(self.replicator.status()),
        }
    }

    /// What the log knows, as of now.
    fn local(&self) -> Local {
        let end = self.context.log.end();
        Local {
            generation: self.context.generation,
            generations: self.context.generations.clone(),
            hint: lock(&self.context.hint).clone(),
            log_is_empty: end.offset == Offset(0),
            oldest: self.context.log.oldest(),
            end: end.offset,
        }
    }

    fn resume(&mut self, position: Position) {
        let Context { settings, generation, log, .. } = &self.context;
        tracing::info!(offset = position.offset.0, "replication goes on");
        self.feed = Some(Feed::new(&settings.gateway, *generation, log.clone(), &position));
        self.committed = position;
        self.outstanding = false;
        self.batch = None;
        self.waiting_since = None;
    }

    /// Fills a batch, if one is wanted and it is time. Whether it was handed in.
    fn fill(&mut self, durable: Offset) -> bool {
        let (Some(feed), Some(batch)) = (&mut self.feed, &mut self.batch) else { return false };
        let behind = durable.0.saturating_sub(feed.next_offset().0);
        if behind == 0 || self.stopping.is_some() {
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now());
        if behind < EVENTS_ENOUGH && now().ms_since(since) < LINGER_MS {
            return false;
        }
        self.waiting_since = None;
        let present = self.context.present();
        let filled = if present.clock.trusted {
            feed.fill(batch, &present)
        } else {
            Filled::Stopped("the clock is not set yet".to_owned())
        };
        let hand_in = !batch.is_empty() || filled == Filled::HandIn;
        self.more = filled == Filled::Paused;
        let stuck = if let Filled::Stopped(why) = filled { Some(why) } else { None };
        lock(&self.context.report).stuck = stuck;
        if hand_in && let Some(batch) = self.batch.take() {
            self.outstanding |= !batch.is_empty();
            self.replicator.handle_batch(now(), batch, feed.position());
        }
        hand_in
    }

    /// Makes a hint durable that claims at least up to `offset`: all that is durable, so that
    /// shipping a backlog claims once.
    fn claim(&mut self, offset: Offset) {
        let high = self.context.ingest.durable().max(offset);
        self.write_hint(high);
    }

    /// An idle lane takes its claim back: after an outage of weeks, in which Kafka may forget the
    /// position, nothing is in doubt.
    ///
    /// Only in a session: one that has ended may have left a transaction whose end nobody knows.
    fn release_claim(&mut self) {
        let rested = self.stopping.is_some() || now().ms_since(self.idle_since) >= IDLE_MS;
        let idle = self.is_live() && self.replicator.is_idle() && self.claim.is_none();
        if rested && idle && self.claimed > self.committed.offset {
            self.replicator.handle_claimed(now(), self.committed.offset);
            self.write_hint(self.committed.offset);
        }
    }

    fn is_live(&self) -> bool {
        self.replicator.status().state == State::Live
    }

    fn write_hint(&mut self, high: Offset) {
        let hint = Hint { low: self.committed.clone(), high };
        let lane = self.context.settings.lane.clone();
        let body = LaneHint { lane, hint: hint.clone() }.encode(self.context.ingest.durable());
        let written = self.context.ingest.write_control(ControlKind::Hint, move |_, _| body);
        self.claim = Some((hint, written));
    }

    fn handle_claimed(&mut self, claimed: Option<Hint>) {
        self.claim = None;
        // If the log cannot be written, nothing more can be claimed: the lane stands still.
        if let Some(hint) = claimed {
            self.claimed = hint.high;
            self.replicator.handle_claimed(now(), hint.high);
            *lock(&self.context.hint) = Some(hint);
        }
    }

    fn is_done(&self) -> bool {
        let released = self.claimed <= self.committed.offset && self.claim.is_none();
        self.stopping.is_some_and(|since| {
            let drained = self.replicator.is_idle() && (released || !self.is_live());
            drained || now().ms_since(since) > DRAIN_MS
        })
    }

    /// How long to wait if nothing happens.
    fn pause(&self) -> Duration {
        let next = self.replicator.poll_timeout().map_or(IDLE_MS, |at| at.ms_since(now()));
        let lingering =
            self.waiting_since.map_or(IDLE_MS, |since| since.plus_ms(LINGER_MS).ms_since(now()));
        let more = if self.more { 0 } else { IDLE_MS };
        Duration::from_millis(next.min(lingering).min(more))
    }
}

impl Context {
    fn present(&self) -> Present {
        let clocks = lock(&self.clocks);
        Present { end: self.log.end(), clock: clocks.now(), anchor: clocks.anchor() }
    }
}

/// Resolves when the claim under way is durable, or can never be (`None`).
async fn claimed(claim: &mut Option<Claim>) -> Option<Hint> {
    match claim {
        None => core::future::pending().await,
        Some((hint, written)) => written.await.ok().map(|_| hint.clone()),
    }
}
