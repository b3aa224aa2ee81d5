//! One gateway: the daemon's own parts, joined as the daemon joins them, over a simulated disk and
//! a clock that may be wrong.
//!
//! What the daemon does on threads happens here in calls, so that any of them can be the last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use fastrand::Rng;
use tokio::sync::oneshot;
use tributary::config::{Lane as Name, Route};
use tributary::door::Visit;
use tributary::replicate::feed::Present;
use tributary::replicate::lane::{Beginning, Effect, Lane};
use tributary::replicate::report::Report;
use tributary::replicate::table::{Table, Wanted};
use tributary::replicate::traffic::{Limits, Spent, Traffic};
use tributary::runtime::Failure;
use tributary::runtime::clock::{Clocks, Moment};
use tributary::runtime::dialogue::{Dialogue, Shared};
use tributary::runtime::hint::LaneHint;
use tributary::runtime::hub::Hub;
use tributary::runtime::ingest::Ingest;
use tributary::runtime::opening::{Recovered, recover, table_of};
use tributary::runtime::retention::Policy;
use tributary::runtime::routing::{Hints, Routing};
use tributary::runtime::status::routes;
use tributary::runtime::writer::Writer;
use tributary_bridge::{Codec, Compression, Settings};
use tributary_core::Offset;
use tributary_core::log::{ControlKind, Entropy};
use tributary_core::time::{Instant, Timestamp};

use super::letters;
use crate::disk::{Disk, DiskReader};

/// The gateway's name.
pub(super) const NAME: &str = "press-line-3";
/// The right time when the world begins: 2026-06-01.
pub(super) const WALL_AT_ORIGIN: i64 = 1_780_272_000_000;

/// A gateway, running or not.
pub(super) struct Gateway {
    pub(super) disk: Disk,
    /// Where its dead letters are.
    pub(super) letters: Disk,
    /// When the machine was switched on.
    booted: u64,
    /// From when on its wall clock is right.
    pub(super) right_from: u64,
    pub(super) process: Option<Process>,
}

type Putting = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// The daemon while it runs.
pub(super) struct Process {
    pub(super) shared: Arc<Shared>,
    writer: Writer<Disk>,
    reader: DiskReader,
    letters: letters::Letters,
    pub(super) lanes: BTreeMap<Name, Track>,
    hints: Hints,
    traffic: Traffic,
    table: Arc<Mutex<Table>>,
    putting: Option<Putting>,
    /// What is asked for next: one reload ends before another begins.
    wanted: Option<Wanted>,
    generation: u32,
    generations: Vec<(u32, Offset)>,
    pub(super) conversations: BTreeMap<u64, Conversation>,
    /// When the next commit is due.
    pub(super) commit_at: Option<u64>,
    /// When the lane wants to be woken.
    pub(super) lane_at: u64,
    log_id: u64,
}

/// A lane at work.
pub(super) struct Track {
    pub(super) lane: Lane<DiskReader>,
    claim: Option<oneshot::Receiver<Offset>>,
}

/// A device's connection as the gateway sees it.
pub(super) struct Conversation {
    dialogue: Dialogue,
    unread: Vec<u8>,
}

impl Gateway {
    pub(super) fn new(disk: Disk) -> Self {
        let letters = Disk::new(letters::GEOMETRY, 7);
        Self { disk, letters, booted: 0, right_from: 0, process: None }
    }

    /// The machine is switched on; its clock is right only `later`.
    pub(super) fn switch_on(&mut self, now: u64, later: u64) {
        self.booted = now;
        self.right_from = now + later;
    }

    pub(super) fn moment(&self, now: u64) -> Moment {
        let since_boot = now.saturating_sub(self.booted);
        let right = WALL_AT_ORIGIN + now.cast_signed();
        let wall = if now >= self.right_from { right } else { since_boot.cast_signed() };
        Moment { now: Instant(since_boot), wall: Timestamp(wall), is_set: now >= self.right_from }
    }

    pub(super) fn instant(&self, now: u64) -> Instant {
        self.moment(now).now
    }

    /// When the machine's clock comes to `instant`.
    pub(super) fn world_time(&self, instant: Instant) -> u64 {
        self.booted.saturating_add(instant.0)
    }

    /// Starts the daemon. `false`: the power went while it started.
    ///
    /// # Panics
    /// If it does not start though the disk has power: it always starts.
    pub(super) fn start(&mut self, now: u64, routes: &[Route], rng: &mut Rng) -> bool {
        let entropy = Entropy { log_id: rng.u64(..), generation: rng.u32(..), salt: rng.u64(..) };
        let moment = self.moment(now);
        let recovered = match recover(self.disk.clone(), entropy, moment) {
            Ok(recovered) => recovered,
            Err(_) if self.disk.is_down() => return false,
            Err(error) => panic!("does not start: {error}"),
        };
        let mut process = Process::new(recovered, self.disk.reader(), self.letters.clone());
        process.put(routes);
        self.process = Some(process);
        true
    }
}

impl Process {
    fn new(recovered: Recovered<Disk>, reader: DiskReader, letters: Disk) -> Self {
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
        let settings = tributary_mqtt::Settings::default();
        Self {
            shared: Arc::new(Shared { ingest, hub, clocks, settings }),
            writer,
            reader,
            letters: letters::open(letters, generation),
            lanes: BTreeMap::new(),
            hints,
            traffic: Traffic::new(Limits::default(), Spent::default(), settled),
            table: Arc::new(Mutex::new(table)),
            putting: None,
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
        let Some(wanted) = self.wanted.take() else { return };
        let ingest = Arc::clone(&self.shared.ingest);
        let (table, hints) = (Arc::clone(&self.table), self.hints.clone());
        let generation = self.generation;
        self.putting = Some(Box::pin(async move {
            let (ingest, table, hints) = (&*ingest, &*table, &hints);
            Routing { ingest, table, hints, generation }.put(wanted).await
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
        self.begin_putting();
        put.is_ok() && self.putting.is_none()
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
        let beginning = Beginning {
            lane,
            settings: Settings {
                lane: lane.name().to_owned(),
                compression: Compression::Fixed(codec(self.log_id)),
                ..Settings::new(NAME, self.log_id, bootstrap)
            },
            generation: self.generation,
            generations: self.generations.clone(),
            hint,
        };
        Lane::new(instant, beginning, self.reader.clone())
    }

    /// Whether routes that were asked for are not in force yet.
    pub(super) fn is_putting(&self) -> bool {
        self.putting.is_some()
    }

    /// Who the gateway is to Kafka: one for each lane at work.
    pub(super) fn identities(&self) -> Vec<String> {
        let identity = |lane: &Name| {
            let lane = lane.name().to_owned();
            Settings { lane, ..Settings::new(NAME, self.log_id, Vec::new()) }.identity()
        };
        self.lanes.keys().map(identity).collect()
    }

    /// Commits all that waits.
    pub(super) fn commit(&mut self, moment: Moment) {
        self.commit_at = None;
        let taken = self.shared.ingest.take();
        self.writer.turn(moment, taken);
        self.writer.tend(moment);
    }

    /// The effects of a turn of every lane; hints are left for the log at once.
    pub(super) fn turn_lanes(&mut self, moment: Moment) -> Vec<(Name, Effect)> {
        let mut effects = Vec::new();
        let mut over = Vec::new();
        for name in Name::ALL {
            let present = self.present(moment, name);
            let Some(Track { lane, claim }) = self.lanes.get_mut(&name) else { continue };
            lane.work(moment.now, &present);
            while let Some(effect) = lane.poll_effect() {
                if let Effect::WriteHint(body) = effect {
                    let ingest = &self.shared.ingest;
                    *claim = Some(ingest.write_control(ControlKind::Hint, move |_, _| body));
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
        effects
    }

    /// When a lane is to be woken.
    pub(super) fn poll_lanes(&self, now: Instant) -> Option<Instant> {
        self.lanes.values().map(|track| track.lane.poll_timeout(now)).min()
    }

    /// How the lanes stand that are at work.
    pub(super) fn reports(&self, moment: Moment) -> BTreeMap<Name, Report> {
        let report = |track: &Track| {
            let mut report = Report::default();
            track.lane.tell(moment.now, &mut report);
            report
        };
        self.lanes.iter().map(|(name, track)| (*name, report(track))).collect()
    }

    /// Records of the routes in force that stand in Kafka, and those kept as dead letters, as the
    /// gateway counts them.
    pub(super) fn counted(&self, moment: Moment) -> (u64, u64) {
        let mut reports = self.reports(moment);
        for name in Name::ALL {
            if let Some(hint) = self.hint(name) {
                reports.entry(name).or_insert_with(|| Report::noted(&hint));
            }
        }
        let table = lock(&self.table).clone();
        let durable = self.shared.ingest.durable().0;
        let routes = routes(&table, &reports, durable);
        let delivered = routes.iter().map(|route| route.delivered).sum();
        (delivered, routes.iter().map(|route| route.dead_lettered).sum())
    }

    /// A lane's hint as it stands in the log.
    pub(super) fn hint(&self, lane: Name) -> Option<LaneHint> {
        lock(&self.hints[lane.index()]).clone()
    }

    fn present(&self, moment: Moment, lane: Name) -> Present {
        let (end, oldest) = self.reader.end();
        let clocks: &Mutex<Clocks> = &self.shared.clocks;
        let clocks = lock(clocks);
        let traffic = self.traffic.view(moment.now, moment.wall, lane);
        Present { end, oldest, clock: clocks.now(moment), anchor: clocks.anchor(), traffic }
    }

    /// A device has connected.
    pub(super) fn welcome(&mut self, wire: u64, moment: Moment) {
        let dialogue = Dialogue::new(Arc::clone(&self.shared), moment, Visit::unchecked());
        self.conversations.insert(wire, Conversation { dialogue, unread: Vec::new() });
    }
}

impl Conversation {
    /// Deals with bytes of the device, and with all that has become possible. What is to be sent,
    /// and whether the connection is to be closed then.
    pub(super) fn serve(&mut self, moment: Moment, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        self.unread.extend_from_slice(bytes);
        self.dialogue.retry(moment, &mut out);
        if !self.unread.is_empty() && self.dialogue.wants_bytes(&out) {
            let progress = self.dialogue.handle_bytes(moment, &self.unread, &mut out);
            self.unread.drain(..progress.used);
        }
        self.dialogue.handle_wake(moment, &mut out);
        (out, self.dialogue.is_closed())
    }

    /// The device is gone.
    pub(super) fn leave(mut self, moment: Moment) {
        self.dialogue.leave(moment);
    }
}

/// Every gateway has one; all are met.
fn codec(log_id: u64) -> Codec {
    Codec::ALL[usize::try_from(log_id % 5).expect("below five")]
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
