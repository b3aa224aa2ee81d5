//! The daemon of a gateway while it runs: its own parts, joined as the daemon joins them.
//!
//! What the daemon does on threads happens here in calls, so that any of them can be the last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tributary::config::{Lane as Name, Route};
use tributary::replicate::aside::{Detour, Standing};
use tributary::replicate::feed::Present;
use tributary::replicate::lane::{Beginning, Effect, Lane};
use tributary::replicate::table::{Table, Wanted};
use tributary::replicate::traffic::{Limits, Spent, Traffic};
use tributary::runtime::Failure;
use tributary::runtime::clock::{Clocks, Moment};
use tributary::runtime::dialogue::Shared;
use tributary::runtime::fanout::Fanout;
use tributary::runtime::hint::LaneHint;
use tributary::runtime::hub::Hub;
use tributary::runtime::ingest::Ingest;
use tributary::runtime::keeper::Keeper;
use tributary::runtime::opening::{Recovered, table_of};
use tributary::runtime::retention::Policy;
use tributary::runtime::routing::{Hints, Routing};
use tributary::runtime::sessions::{replay, resume};
use tributary::runtime::writer::Writer;
use tributary_bridge::{BatchLimits, Codec, Compression, Settings};
use tributary_core::Offset;
use tributary_core::log::ControlKind;
use tributary_core::time::Instant;

use super::conversation::Conversation;
use super::gateway::{File, NAME};
use super::letters;
use crate::disk::{Disk, DiskReader};

/// The topic that is told of what is gone.
pub(super) const GAPS: &str = "tributary.gaps";

type Putting = Pin<Box<dyn Future<Output = Result<bool, Failure>>>>;

/// The daemon while it runs.
pub(super) struct Process {
    pub(super) shared: Arc<Shared>,
    writer: Writer<Disk>,
    pub(super) reader: DiskReader,
    letters: letters::Letters,
    pub(super) lanes: BTreeMap<Name, Track>,
    pub(super) hints: Hints,
    traffic: Traffic,
    pub(super) table: Arc<Mutex<Table>>,
    putting: Option<Putting>,
    /// The lane that asked for what is put into force; `None`: the operator did.
    asker: Option<Name>,
    detours: VecDeque<(Name, Detour)>,
    /// Which of the two is asked for.
    detour_kind: usize,
    /// Topics that a lane went on without, and that came back.
    pub(super) detoured: [u64; 2],
    /// What is asked for next: one reload ends before another begins.
    wanted: Option<Wanted>,
    generation: u32,
    generations: Vec<(u32, Offset)>,
    pub(super) conversations: BTreeMap<u64, Conversation>,
    /// When the next commit is due.
    pub(super) commit_at: Option<u64>,
    /// When the lane wants to be woken.
    pub(super) lane_at: u64,
    fanout: Fanout<()>,
    /// When what is durable is handed out next.
    pub(super) fan_out_at: Option<u64>,
    keeper: Keeper,
    /// When its timers are looked at next.
    pub(super) keep_at: u64,
    /// What stands in the log from here on may be of a commit that did not end.
    pub(super) doubtful: Offset,
    pub(super) log_id: u64,
}

/// A lane at work.
pub(super) struct Track {
    pub(super) lane: Lane<DiskReader>,
    claim: Option<oneshot::Receiver<Offset>>,
}

impl Process {
    pub(super) fn new(
        recovered: Recovered<Disk>,
        reader: DiskReader,
        letters: Disk,
        (file, moment): (File, Moment),
    ) -> Self {
        let Recovered { log, snapshot, clocks, .. } = recovered;
        let table = table_of(&snapshot).unwrap_or_else(|why| panic!("{why:?}"));
        let hints = Name::ALL.map(|lane| Arc::new(Mutex::new(snapshot.hint(lane.name()))));
        let settled =
            hints.each_ref().map(|hint| lock(hint).as_ref().map_or(Offset(0), LaneHint::settled));
        let generation = log.generation();
        let generations = log.generations().iter().map(|g| (g.number, g.first)).collect();
        let log_id = log.id().0;
        let ingest = Arc::new(Ingest::new(log.next_offset()));
        let clocks = Arc::new(Mutex::new(clocks));
        let writer =
            Writer::new(log, Arc::clone(&ingest), Arc::clone(&clocks), snapshot, Policy::default());
        let hub = Arc::new(Hub::default());
        let (state, _) =
            resume(file, &reader, reader.end().0).unwrap_or_else(|why| panic!("{why}"));
        ingest.number_changes_from(state.applied.change);
        let known = *lock::<Clocks>(&clocks);
        hub.restore(state, known.now(moment).age, &known.anchor());
        let (doubtful, fanout) = (ingest.durable(), Fanout::new(Arc::clone(&hub), ()));
        // Machines are off for longer than sessions last by default.
        let session_expiry_max_s = u32::MAX;
        let settings = tributary_mqtt::Settings { session_expiry_max_s, ..Default::default() };
        let shared = Arc::new(Shared { ingest, hub, clocks, settings });
        Self {
            keeper: Keeper::new(Arc::clone(&shared), moment),
            keep_at: u64::MAX,
            fanout,
            fan_out_at: None,
            doubtful,
            shared,
            writer,
            reader,
            letters: letters::open(letters, generation),
            lanes: BTreeMap::new(),
            hints,
            traffic: Traffic::new(Limits::default(), Spent::default(), settled),
            table: Arc::new(Mutex::new(table)),
            putting: None,
            asker: None,
            detours: VecDeque::new(),
            detoured: [0; 2],
            detour_kind: 0,
            wanted: None,
            generation,
            generations,
            conversations: BTreeMap::new(),
            commit_at: None,
            lane_at: u64::MAX,
            log_id,
        }
    }

    /// Asks for routes; in force once [`Process::advance`] says so.
    pub(super) fn put(&mut self, routes: &[Route]) {
        let wanted = Wanted::compile(routes, true).unwrap_or_else(|why| panic!("{why}"));
        self.wanted = Some(wanted);
        self.begin_putting();
    }

    fn begin_putting(&mut self) {
        if self.putting.is_some() {
            return;
        }
        let Some(wanted) = self.wanted.take() else { return self.begin_detour() };
        let ingest = Arc::clone(&self.shared.ingest);
        let (table, hints) = (Arc::clone(&self.table), self.hints.clone());
        let generation = self.generation;
        self.putting = Some(Box::pin(async move {
            let (ingest, table, hints) = (&*ingest, &*table, &hints);
            Routing { ingest, table, hints, generation }.put(wanted).await.map(|()| true)
        }));
    }

    /// Goes on with a table that a lane asked for.
    fn begin_detour(&mut self) {
        let Some((name, detour)) = self.detours.pop_front() else { return };
        self.asker = Some(name);
        self.detour_kind = usize::from(matches!(detour, Detour::Return(_)));
        let ingest = Arc::clone(&self.shared.ingest);
        let (table, hints) = (Arc::clone(&self.table), self.hints.clone());
        let generation = self.generation;
        let at_work = Name::ALL.map(|lane| self.lanes.contains_key(&lane));
        let standing = Standing { settled: self.traffic.settled(), at_work };
        self.putting = Some(Box::pin(async move {
            let (ingest, table, hints) = (&*ingest, &*table, &hints);
            Routing { ingest, table, hints, generation }.detour(detour, &standing).await
        }));
    }

    /// Goes on with what waits for the log. Whether the routes that were asked for are in force
    /// just now.
    pub(super) fn advance(&mut self, instant: Instant) -> bool {
        for (name, track) in &mut self.lanes {
            if let Some(claim) = &mut track.claim
                && let written = claim.try_recv()
                && written != Err(oneshot::error::TryRecvError::Empty)
            {
                track.claim = None;
                track.lane.handle_claimed(instant, written.is_ok());
                lock(&self.hints[name.index()]).clone_from(track.lane.hint());
            }
        }
        let Some(putting) = &mut self.putting else { return false };
        let Poll::Ready(put) = putting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            return false;
        };
        self.putting = None;
        if put.is_ok() {
            self.begin_lanes(instant);
        }
        let asker = self.asker.take();
        if asker.is_some() && matches!(put, Ok(true)) {
            self.detoured[self.detour_kind] += 1;
        }
        if let Some(track) = asker.and_then(|asker| self.lanes.get_mut(&asker)) {
            track.lane.handle_detour();
        }
        self.begin_putting();
        let is_last = self.wanted.is_none() && (self.putting.is_none() || self.asker.is_some());
        put.is_ok() && asker.is_none() && is_last
    }

    /// Begins the lanes that the table in force needs.
    fn begin_lanes(&mut self, instant: Instant) {
        for lane in Name::ALL {
            let hint = lock(&self.hints[lane.index()]).clone();
            let settled = hint.as_ref().map_or(Offset(0), LaneHint::settled);
            let needed = lock(&self.table).needs(lane, settled);
            if needed && !self.lanes.contains_key(&lane) {
                self.traffic.reset(lane);
                let lane_at_work = self.begin_lane(instant, (lane, hint));
                self.lanes.insert(lane, Track { lane: lane_at_work, claim: None });
            }
        }
    }

    fn begin_lane(
        &self,
        instant: Instant,
        (lane, hint): (Name, Option<LaneHint>),
    ) -> Lane<DiskReader> {
        let bootstrap = vec![("broker-1".to_owned(), 9092), ("broker-2".to_owned(), 9092)];
        let settings = Settings::new(NAME, self.log_id, bootstrap);
        let beginning = Beginning {
            lane,
            settings: Settings {
                lane: lane.name().to_owned(),
                compression: Compression::Fixed(codec(self.log_id)),
                batch: limits(self.log_id, settings.batch),
                ..settings
            },
            generation: self.generation,
            generations: self.generations.clone(),
            hint,
            gaps: Some(GAPS.to_owned()),
        };
        Lane::new(instant, beginning, self.reader.clone())
    }

    /// Whether routes that were asked for are not in force yet.
    pub(super) fn is_putting(&self) -> bool {
        self.putting.is_some() || !self.detours.is_empty()
    }

    /// Commits all that waits.
    pub(super) fn commit(&mut self, moment: Moment) {
        self.commit_at = None;
        self.doubtful = self.shared.ingest.durable();
        let taken = self.shared.ingest.take();
        self.writer.turn(moment, taken);
        self.writer.tend(moment);
    }

    /// Hands out what is durable.
    pub(super) fn fan_out(&mut self) {
        self.fan_out_at = None;
        let came_to_rest = |_| !self.fanout.turn(&self.reader, self.reader.end().0);
        assert!((0..1_000_000).any(came_to_rest), "the fan-out does not come to rest");
    }

    /// Does what is due. Milliseconds until there may be more.
    pub(super) fn keep(&mut self, moment: Moment) -> u64 {
        self.keeper.turn(moment).unwrap_or(1)
    }

    /// Brings the file of sessions up to the log.
    pub(super) fn fold(&self, file: &mut File) {
        let mut state = file.take().unwrap_or_default();
        let end = self.reader.end().0;
        if state.applied.offset <= end.offset.0 {
            replay(&mut state, &self.reader, end).unwrap_or_else(|why| panic!("{why}"));
        }
        *file = Some(state);
    }

    /// The effects of a turn of every lane; hints are left for the log at once.
    pub(super) fn turn_lanes(&mut self, moment: Moment) -> Vec<(Name, Effect)> {
        let mut effects = Vec::new();
        let mut over = Vec::new();
        for name in Name::ALL {
            let present = self.present(moment, name);
            let Some(Track { lane, claim }) = self.lanes.get_mut(&name) else { continue };
            lane.follow(&lock(&self.table));
            lane.work(moment.now, &present);
            while let Some(effect) = lane.poll_effect() {
                if let Effect::WriteHint(body) = effect {
                    let ingest = &self.shared.ingest;
                    *claim = Some(ingest.write_control(ControlKind::Hint, move |_, _| body));
                } else if let Effect::Detour(detour) = effect {
                    self.detours.push_back((name, detour));
                } else if let Effect::Bury(burial) = effect {
                    let done = self.letters.bury(moment, name, &burial);
                    lane.handle_buried(moment.now, done);
                    lane.work(moment.now, &present);
                } else {
                    effects.push((name, effect));
                }
            }
            self.traffic.tell(moment.now, moment.wall, name, lane.news());
            if lane.is_spent(&lock(&self.table)) {
                over.push(name);
            }
        }
        for name in over {
            self.lanes.remove(&name);
            self.traffic.reset(name);
        }
        self.begin_putting();
        effects
    }

    /// When a lane is to be woken.
    pub(super) fn poll_lanes(&self, now: Instant) -> Option<Instant> {
        self.lanes.values().map(|track| track.lane.poll_timeout(now)).min()
    }

    fn present(&self, moment: Moment, lane: Name) -> Present {
        let (end, oldest) = self.reader.end();
        let clocks: &Mutex<Clocks> = &self.shared.clocks;
        let clocks = lock(clocks);
        let traffic = self.traffic.view(moment.now, moment.wall, lane);
        Present { end, oldest, clock: clocks.now(moment), anchor: clocks.anchor(), traffic }
    }

    /// A client has connected.
    pub(super) fn welcome(&mut self, wire: u64, moment: Moment) {
        self.conversations.insert(wire, Conversation::begin(&self.shared, moment));
    }
}

/// Of half of the gateways a backlog takes many transactions: the next is filled while one is under way.
fn limits(log_id: u64, usual: BatchLimits) -> BatchLimits {
    let transaction_bytes = if log_id & 1 << 20 == 0 { 2_000 } else { usual.transaction_bytes };
    BatchLimits { transaction_bytes, ..usual }
}

/// Every gateway has one; all are met.
fn codec(log_id: u64) -> Codec {
    Codec::ALL[usize::try_from(log_id % 5).expect("below five")]
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
