//! One lane: joins the replicator (protocol), the feed (which records) and the claims on offsets.
//!
//! A value: events and time go in, effects come out. Invariant: the replicator learns of a claim
//! only once it is durable in the log.

mod ahead;
mod aside;
mod burial;
mod claims;
mod decided;
mod effect;

use std::collections::VecDeque;

use tributary_bridge::{BatchBuilder, Output, Position, Replicator, Settings, State, Talk};
use tributary_core::Offset;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::feed::{CHUNKS_PER_TURN, Feed, Filled, Present};
use super::report::{Announcer, Report};
use super::table::Table;
use super::traffic::{News, View};
use crate::config::Lane as Name;
use crate::runtime::hint::LaneHint;
use ahead::Ahead;
use aside::Detours;
pub use burial::Burial;
use burial::Mourning;
use claims::Claim;
pub use effect::Effect;

/// How long the first event waits for company before a transaction begins.
const LINGER_MS: u64 = 20;
/// This many events need no company.
const EVENTS_ENOUGH: u64 = 1_000;
/// How long a batch may take to be filled before it goes as it is.
const FILL_MS: u64 = 500;
/// An idle lane takes back what it claimed, so that an outage leaves nothing in doubt.
const IDLE_MS: u64 = 2_000;
/// While a lane above has a backlog, a lane begins a transaction this often, of so many bytes.
const TRICKLE_MS: u64 = 5_000;
const TRICKLE_BYTES: usize = 16 << 10;
/// How often a lane looks whether it need not wait for another one any more.
const LOOK_MS: u64 = 100;
/// Why a lane ships nothing whose gateway does not know what time it is.
const NO_CLOCK: &str = "the clock is not set yet";
/// How long a lane may take to end its last transaction when the daemon stops.
const DRAIN_MS: u64 = 3_000;

/// What a lane begins with.
pub struct Beginning {
    /// Which lane it is.
    pub lane: Name,
    /// Bridge settings: identity and brokers.
    pub settings: Settings,
    /// This opening of the log.
    pub generation: u32,
    /// All openings of the log that are known, oldest first.
    pub generations: Vec<(u32, Offset)>,
    /// The lane's hint as it stands in the log; `None` if the log has lost it.
    pub hint: Option<LaneHint>,
    /// The topic that is told of offsets that are gone.
    pub gaps: Option<String>,
}

/// One lane at work, over a log that it reads.
pub struct Lane<M> {
    beginning: Beginning,
    log: M,
    replicator: Replicator,
    effects: VecDeque<Effect>,
    feed: Option<Feed<M>>,
    batch: Option<BatchBuilder>,
    ahead: Ahead,
    /// Since when there is something to ship and a batch is wanted.
    waiting_since: Option<Instant>,
    /// When the filling of the batch began.
    filling_since: Instant,
    /// Whether there are records in a batch that are not known to be committed.
    outstanding: bool,
    committed: Position,
    claimed: Offset,
    claim: Claim,
    /// Dead letters that are being written.
    mourning: Option<Mourning>,
    detours: Detours,
    idle_since: Instant,
    /// When the last transaction began, and whether it could not hold all that there was.
    began: Option<Instant>,
    saturated: bool,
    /// When to look again whether another lane still has to be waited for.
    look_at: Option<Instant>,
    /// Whether the last filling left off before the end.
    more: bool,
    /// Why the lane cannot make records at the moment.
    stuck: Option<String>,
    stopping: Option<Instant>,
    announcer: Announcer,
}

impl<M: ReadMedia + Clone> Lane<M> {
    /// A lane that begins now.
    #[must_use]
    pub fn new(now: Instant, beginning: Beginning, log: M) -> Self {
        let seed = u64::from(beginning.generation);
        let replicator = Replicator::new(now, beginning.settings.clone(), seed);
        let hint = beginning.hint.as_ref();
        Self {
            claimed: hint.map_or(Offset(0), |lane| lane.hint.high),
            committed: hint.map(|lane| lane.hint.low.clone()).unwrap_or_default(),
            beginning,
            log,
            replicator,
            effects: VecDeque::new(),
            feed: None,
            batch: None,
            ahead: Ahead::default(),
            waiting_since: None,
            filling_since: now,
            outstanding: false,
            claim: Claim::None,
            mourning: None,
            detours: Detours::default(),
            idle_since: now,
            began: None,
            saturated: false,
            look_at: None,
            more: false,
            stuck: None,
            stopping: None,
            announcer: Announcer::default(),
        }
    }

    /// Who is told what happens on the connections.
    pub fn talk(&mut self) -> &mut dyn Talk {
        &mut self.replicator
    }

    /// An interface or a route of this machine has come back.
    pub fn handle_link_returned(&mut self, now: Instant) {
        self.replicator.handle_link_returned(now);
    }

    /// The lane is to come to an end; see [`Lane::is_done`].
    pub fn handle_stop(&mut self, now: Instant) {
        self.stopping.get_or_insert(now);
    }

    /// Does everything that can be done without waiting. To be called after any other call, when
    /// more is durable, and when [`Lane::poll_timeout`] has come.
    pub fn work(&mut self, now: Instant, present: &Present) {
        if self.replicator.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.replicator.handle_timeout(now);
        }
        loop {
            while let Some(output) = self.replicator.poll_output() {
                self.handle_output(now, output, present);
            }
            if !self.fill(now, present) {
                break;
            }
        }
        self.release_claim(now, present);
        self.ask_to_return(present);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Lane::work`] is to be called, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let idle = now.plus_ms(if self.more { 0 } else { IDLE_MS });
        let lingering = self.waiting_since.map(|since| since.plus_ms(LINGER_MS));
        let deadlines = [self.replicator.poll_timeout(), lingering, self.look_at];
        deadlines.into_iter().flatten().fold(idle, Instant::min)
    }

    /// The hint as it stands in the log.
    #[must_use]
    pub fn hint(&self) -> &Option<LaneHint> {
        &self.beginning.hint
    }

    /// How the lane stands, for the other lanes.
    #[must_use]
    pub fn news(&self) -> News {
        let judged = self.feed.as_ref().filter(|_| !self.outstanding).map(Feed::next_offset);
        let noted =
            || self.beginning.hint.as_ref().map_or(self.committed.offset, LaneHint::settled);
        let settled = match (judged, &self.feed) {
            (Some(offset), _) => offset,
            (None, Some(_)) => self.committed.offset,
            (None, None) => noted(),
        };
        News {
            settled,
            is_saturated: self.saturated && self.is_live(),
            bytes_sent: self.replicator.status().counters.bytes_sent,
        }
    }

    /// Whether nothing is left to do: the routing table at the end of the log has no route of this
    /// lane, and what was selected before is in Kafka.
    #[must_use]
    pub fn is_spent(&self, table: &Table) -> bool {
        let noted = self.beginning.hint.as_ref().map(|lane| lane.hint.low.offset);
        let released = self.claimed <= self.committed.offset
            && !self.claim.is_awaited()
            && noted == Some(self.committed.offset);
        self.feed.is_some() && released && !table.needs(self.beginning.lane, self.news().settled)
    }

    /// Tells how the lane stands.
    pub fn tell(&self, now: Instant, report: &mut Report) {
        report.stuck.clone_from(&self.stuck);
        let feed = (self.feed.as_ref(), !self.outstanding);
        report.update(now, &self.replicator, feed, &self.committed);
        if self.stuck.as_deref() == Some(NO_CLOCK) && self.is_live() {
            report.state = "clock";
        }
    }

    /// Whether the lane was told to stop, and has ended what it had begun.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        let released = match self.claim {
            Claim::None => self.claimed <= self.committed.offset,
            Claim::Awaited(_) => false,
            Claim::Impossible => true,
        };
        self.stopping.is_some_and(|since| {
            let drained = self.replicator.is_idle() && (released || !self.is_live());
            drained || now.ms_since(since) > DRAIN_MS
        })
    }

    fn handle_output(&mut self, now: Instant, output: Output, present: &Present) {
        match output {
            Output::Connect { conn, host, port } => {
                self.effects.push_back(Effect::Connect { conn, host, port });
            }
            Output::Send { conn, bytes } => self.effects.push_back(Effect::Send { conn, bytes }),
            Output::Authenticate { conn, fresh } => {
                self.effects.push_back(Effect::Authenticate { conn, fresh });
            }
            Output::Disconnect { conn } => self.effects.push_back(Effect::Disconnect { conn }),
            Output::NeedLocal => self.replicator.handle_local(now, &self.local(present)),
            Output::Resumed(position) => self.resume(now, position, present),
            Output::WantBatch => self.want_batch(),
            Output::Claim(offset) => self.claim(offset, present),
            Output::Bury(refused) => self.bury(&refused, present),
            Output::Committed(position) => {
                self.committed = position;
                self.ahead.handed = None;
                self.ahead.took_ms = self.began.map_or(0, |began| now.ms_since(began));
                self.outstanding = self.batch.as_ref().is_some_and(|batch| !batch.is_empty());
                self.idle_since = now;
            }
            Output::Changed => self.announcer.announce(self.replicator.status()),
        }
    }

    fn resume(&mut self, now: Instant, position: Position, present: &Present) {
        let name = self.beginning.lane.name();
        tracing::info!(lane = name, offset = position.offset.0, "replication goes on");
        let from = self.reached(&position, present).unwrap_or_else(|| position.clone());
        self.committed = position;
        self.give_back(now, present);
        (self.ahead.handed, self.ahead.is_wanted) = (None, false);
        self.begin_at(&from);
        self.mourning = None;
        self.waiting_since = None;
        self.saturated = false;
        self.ask_to_leave();
    }

    /// Whether a transaction may begin, as far as the link and the other lanes are concerned; else
    /// it is looked at again.
    fn may_begin(&mut self, now: Instant, present: &Present) -> bool {
        let View { yields, not_before, is_spent, transaction_bytes_max, .. } = present.traffic;
        let trickle_at = self.began.filter(|_| yields).map(|began| began.plus_ms(TRICKLE_MS));
        let wait = [not_before, trickle_at].into_iter().flatten().max().filter(|at| *at > now);
        if is_spent {
            self.stuck = Some("this month's bytes are used up (upstream.monthly)".to_owned());
        }
        if wait.is_some() || is_spent {
            self.look_at =
                wait.map_or(Some(now.plus_ms(IDLE_MS)), |at| Some(at.min(now.plus_ms(LOOK_MS))));
            return false;
        }
        if let Some(batch) = &mut self.batch {
            let trickle = yields.then_some(TRICKLE_BYTES);
            if let Some(most) = [transaction_bytes_max, trickle].into_iter().flatten().min() {
                batch.limit_bytes(most);
            }
        }
        true
    }

    /// Fills a batch, if it is time, and hands it in if one is wanted. Whether it was handed in.
    fn fill(&mut self, now: Instant, present: &Present) -> bool {
        self.more = false;
        if !self.ahead.is_wanted {
            self.fill_ahead(now, present);
            return false;
        }
        self.look_at = None;
        self.give_up_ahead(present);
        let (Some(feed), Some(batch)) = (&self.feed, &self.batch) else { return false };
        let behind = present.end.offset.0.saturating_sub(feed.next_offset().0);
        let is_new = batch.is_empty();
        // Behind the last event a routing table may stand that has older ones shipped.
        let is_idle = behind == 0 && feed.has_read(present.end);
        if is_idle && is_new || self.stopping.is_some() || self.detours.is_awaited() {
            self.saturated = false;
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        if is_new && behind < EVENTS_ENOUGH && now.ms_since(since) < LINGER_MS {
            return false;
        }
        if !self.may_begin(now, present) || !self.may_claim(present) {
            return false;
        }
        let (Some(feed), Some(batch)) = (&mut self.feed, &mut self.batch) else { return false };
        self.waiting_since = None;
        let filled = match self.ahead.held.take() {
            Some(filled) => filled,
            None if present.clock.trusted => {
                batch.set_send_time(present.clock.wall);
                feed.fill(batch, (present, CHUNKS_PER_TURN))
            }
            None => Filled::Stopped(NO_CLOCK.to_owned()),
        };
        if is_new {
            self.filling_since = now;
        }
        let goes_on = filled == Filled::Halfway && now.ms_since(self.filling_since) < FILL_MS;
        let hand_in = filled == Filled::HandIn || !batch.is_empty() && !goes_on;
        // Once it is handed in, there is nothing to do before the next one is wanted.
        self.more = !hand_in && matches!(filled, Filled::Halfway | Filled::Paused);
        self.outstanding |= !batch.is_empty();
        self.look_at = (filled == Filled::Waits).then(|| now.plus_ms(LOOK_MS));
        self.saturated = filled == Filled::HandIn && !batch.is_empty();
        self.stuck = if let Filled::Stopped(why) = filled { Some(why) } else { None };
        if hand_in && let Some(batch) = self.batch.take() {
            self.began = Some(now);
            self.hand_in(now, batch);
        }
        hand_in
    }

    fn is_live(&self) -> bool {
        self.replicator.status().state == State::Live
    }
}
