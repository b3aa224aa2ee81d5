//! A lane whose log cannot be written any more: it claims nothing, so it ships nothing, and rests.

use core::pin::pin;
use core::task::{Context, Waker};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tributary::config::{Lane as Name, Route};
use tributary::replicate::feed::Present;
use tributary::replicate::lane::{Beginning, Effect, Lane};
use tributary::replicate::report::Report;
use tributary::replicate::table::{Table, Wanted};
use tributary::replicate::traffic::View;
use tributary::runtime::clock::{Clocks, Moment};
use tributary::runtime::ingest::Ingest;
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::retention::Policy;
use tributary::runtime::routing::{Hints, Routing};
use tributary::runtime::writer::Writer;
use tributary_bridge::{ConnId, Settings};
use tributary_cluster as kafka;
use tributary_cluster::{BrokerId, Cluster, TopicSettings};
use tributary_core::Offset;
use tributary_core::log::{Entropy, Geometry};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Instant;
use tributary_tests::disk::{Disk, DiskReader};
use tributary_tests::readings::WALL_AT_ORIGIN;

const RING: Geometry = Geometry { segments: 4, segment_bytes: 64 << 10, page_bytes: 4096 };
const TOPIC: &str = "hot";
const PRODUCE: [u8; 2] = [0, 0];
const MINUTE_MS: u64 = 60_000;
/// More effects at one moment than a lane ever has.
const EFFECTS_MAX: u32 = 100;

struct Scene {
    moment: Moment,
    disk: Disk,
    writer: Writer<Disk>,
    ingest: Arc<Ingest>,
    clocks: Arc<Mutex<Clocks>>,
    table: Mutex<Table>,
    lane: Lane<DiskReader>,
    cluster: Cluster,
    conns: BTreeMap<ConnId, kafka::ConnId>,
    /// Whether hints become durable; how many were tried, and how many Produce requests were sent.
    is_writable: bool,
    hints: u32,
    produced: u32,
}

impl Scene {
    fn new() -> Self {
        let moment = Moment { now: Instant(0), wall: WALL_AT_ORIGIN, is_set: true };
        let disk = Disk::new(RING, 1);
        let entropy = Entropy { log_id: 1, generation: 1, salt: 1 };
        let recovered = recover(disk.clone(), entropy, moment).expect("it always starts");
        let Recovered { log, snapshot, clocks, .. } = recovered;
        let generations = log.generations().iter().map(|it| (it.number, it.first)).collect();
        let (log_id, generation) = (log.id().0, log.generation());
        let ingest = Arc::new(Ingest::new(log.next_offset()));
        let clocks = Arc::new(Mutex::new(clocks));
        let (of_writer, policy) = (Arc::clone(&clocks), Policy::default());
        let mut writer = Writer::new(log, Arc::clone(&ingest), of_writer, snapshot, policy);
        let (table, hints) = (Mutex::new(Table::none()), Hints::default());
        let routing = Routing { ingest: &ingest, table: &table, hints: &hints, generation };
        put(&routing, || writer.turn(moment, ingest.take()));
        let hint = hints[Name::Normal.index()].lock().unwrap_or_else(PoisonError::into_inner);
        let beginning = Beginning {
            lane: Name::Normal,
            settings: Settings::new("gw", log_id, vec![("broker-1".to_owned(), 9092)]),
            generation,
            generations,
            hint: hint.clone(),
            gaps: None,
        };
        drop(hint);
        let mut cluster = Cluster::new(kafka::Settings::default());
        cluster.create_topic(TOPIC, TopicSettings::default()).expect("the cluster is new");
        let lane = Lane::new(moment.now, beginning, disk.reader());
        let (conns, is_writable, hints, produced) = (BTreeMap::new(), true, 0, 0);
        Self {
            moment,
            disk,
            writer,
            ingest,
            clocks,
            table,
            lane,
            cluster,
            conns,
            is_writable,
            hints,
            produced,
        }
    }

    fn publish(&mut self) {
        let event = Event {
            topic: "t",
            payload: b"x",
            client: "c",
            time: self.moment.wall,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        self.ingest.desk().append(&event).expect("there is room");
        self.writer.turn(self.moment, self.ingest.take());
    }

    /// Lets so much time pass, deadline by deadline.
    fn pass(&mut self, ms: u64) {
        let end = self.moment.now.plus_ms(ms);
        while self.moment.now < end {
            self.turn();
            let deadlines =
                [Some(self.lane.poll_timeout(self.moment.now)), self.cluster.poll_timeout()];
            let next = deadlines.into_iter().flatten().fold(end, Instant::min);
            let next = next.max(self.moment.now.plus_ms(1));
            self.moment.wall.0 += next.ms_since(self.moment.now).cast_signed();
            self.moment.now = next;
            self.cluster.handle_timeout(next);
            self.hear();
        }
    }

    /// All that the lane wants at this moment.
    fn turn(&mut self) {
        for _ in 0..EFFECTS_MAX {
            let present = self.present();
            self.lane.follow(&self.table.lock().unwrap_or_else(PoisonError::into_inner));
            self.lane.work(self.moment.now, &present);
            let effects: Vec<Effect> = core::iter::from_fn(|| self.lane.poll_effect()).collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.handle(effect);
            }
            self.hear();
        }
    }

    fn present(&self) -> Present {
        let (end, oldest) = self.disk.reader().end();
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, anchor) = (clocks.now(self.moment), clocks.anchor());
        Present { end, oldest, clock, anchor, traffic: View::default() }
    }

    fn handle(&mut self, effect: Effect) {
        let now = self.moment.now;
        match effect {
            Effect::Connect { conn, .. } => {
                let target = self.cluster.connect(BrokerId(1)).expect("it is up");
                self.conns.insert(conn, target);
                self.lane.talk().handle_connected(now, conn);
            }
            Effect::Send { conn, bytes } => {
                self.produced += u32::from(bytes[4..6] == PRODUCE);
                self.cluster.handle_bytes(now, self.conns[&conn], &bytes);
            }
            Effect::Disconnect { conn } => {
                if let Some(target) = self.conns.remove(&conn) {
                    self.cluster.disconnect(target);
                }
            }
            Effect::WriteHint(_) => {
                self.hints += 1;
                self.lane.handle_claimed(now, self.is_writable);
            }
            other => panic!("{other:?} is not expected"),
        }
    }

    fn hear(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            let kafka::Output::Bytes { conn: from, bytes } = output else { continue };
            let conn = self.conns.iter().find(|(_, target)| **target == from).map(|(c, _)| *c);
            if let Some(conn) = conn {
                self.lane.talk().handle_bytes(self.moment.now, conn, &bytes);
            }
        }
    }

    /// A lane that has shipped an event, whose log fails then.
    fn failed() -> Self {
        let mut scene = Self::new();
        scene.publish();
        scene.pass(1_000);
        assert_eq!(scene.hints, 1);
        assert_eq!(scene.cluster.read_committed(TOPIC, 0).len(), 1);
        (scene.is_writable, scene.hints, scene.produced) = (false, 0, 0);
        scene
    }
}

/// Puts the route into force, with a log that takes turns.
fn put(routing: &Routing<'_>, mut turn: impl FnMut()) {
    let mut put = pin!(routing.put(wanted()));
    let mut cx = Context::from_waker(Waker::noop());
    while put.as_mut().poll(&mut cx).map(|done| done.expect("the log is well")).is_pending() {
        turn();
    }
}

fn wanted() -> Wanted {
    Wanted::compile(&[Route::everything(TOPIC)], true).expect("it compiles")
}

#[test]
fn an_idle_lane_whose_log_has_failed_rests() {
    let mut scene = Scene::failed();
    scene.pass(10 * MINUTE_MS);
    assert_eq!((scene.hints, scene.produced), (1, 0));
}

#[test]
fn what_cannot_be_claimed_is_not_sent_again_and_again() {
    let mut scene = Scene::failed();
    scene.publish();
    scene.pass(10 * MINUTE_MS);
    assert!(scene.hints <= 1 && scene.produced <= 1, "{} {}", scene.hints, scene.produced);
    let mut report = Report::default();
    scene.lane.tell(scene.moment.now, &mut report);
    let stuck = report.stuck.expect("a reason");
    assert!(stuck.starts_with("the log cannot be written"), "{stuck}");
    assert_eq!(scene.cluster.read_committed(TOPIC, 0).len(), 1);
    assert_eq!(scene.lane.news().settled, Offset(1));
}
