//! A lane over a log with bad places: what can be read is shipped, whatever stood where it cannot; and what
//! cannot be read for now is not given up. Nothing here waits: time is an argument.

use std::collections::{BTreeMap, VecDeque};

use tributary::config::{Lane as Name, Route};
use tributary::replicate::feed::Present;
use tributary::replicate::lane::{Beginning, Effect, Lane};
use tributary::replicate::report::Report;
use tributary::replicate::table::{Table, Wanted};
use tributary::replicate::traffic::View;
use tributary::runtime::clock::{Anchor, Moment};
use tributary::runtime::hint::LaneHint;
use tributary::runtime::opening::{recover, recover_patiently};
use tributary_bridge::{ConnId, Position, Settings};
use tributary_cluster as kafka;
use tributary_cluster::{BrokerId, Cluster, TopicSettings};
use tributary_core::Offset;
use tributary_core::log::{AppendError, ControlKind, Entropy, Frame, Geometry, Log};
use tributary_core::time::Instant;
use tributary_tests::disk::Disk;
use tributary_tests::readings::{WALL_AT_ORIGIN, clock, reading};

const GEOMETRY: Geometry = Geometry { segments: 8, segment_bytes: 128 << 10, page_bytes: 4096 };
const LOG_ID: u64 = 7;
const TOPIC: &str = "all";
const STEP_MS: u64 = 100;
const MINUTE_MS: u64 = 60_000;
/// Where a segment's first record stands, and how long its header is.
const FIRST_AT: u32 = 3 * 4096;
const HEADER_BYTES: u32 = 48;
/// The kind of a frame that holds a routing table.
const ROUTES: u8 = 0xC1;
/// Events of one commit: so both slots hold later pages than a segment's first one.
const COMMITTED: u64 = 16;
/// Fits into a segment many times, and fills three of them.
const EVENTS: u64 = 3_000;

struct Scene {
    now: u64,
    disk: Disk,
    log: Box<Log<Disk, Box<[u8]>>>,
    table: Table,
    cluster: Cluster,
    lane: Lane<tributary_tests::disk::DiskReader>,
    conns: BTreeMap<ConnId, kafka::ConnId>,
    answers: VecDeque<kafka::Output>,
    /// Offsets at which segments begin.
    bases: Vec<u64>,
}

impl Scene {
    fn new() -> Self {
        let disk = Disk::new(GEOMETRY, 1);
        let moment = Moment { now: Instant(0), wall: WALL_AT_ORIGIN, is_set: true };
        let entropy = Entropy { log_id: LOG_ID, generation: 1, salt: 1 };
        let log = recover(disk.clone(), entropy, moment).expect("a new log").log;
        let wanted = Wanted::compile(&[Route::everything(TOPIC)], true).expect("it compiles");
        let table = Table::none().succeed(&wanted, Offset(0), Offset(0));
        let mut cluster = Cluster::new(kafka::Settings::default());
        cluster.create_topic(TOPIC, TopicSettings::default()).expect("the cluster is new");
        let low = Position { generation: log.generation(), ..Position::default() };
        let lane = lane(&log, Some(LaneHint::beginning("normal", low)), &disk);
        let (conns, answers) = (BTreeMap::new(), VecDeque::new());
        let mut scene =
            Self { now: 0, disk, log, table, cluster, lane, conns, answers, bases: vec![0] };
        let body = scene.table.encode();
        scene.log.append_control(ControlKind::Routes, &body, clock(0)).expect("there is room");
        scene.log.commit().expect("a disk");
        scene
    }

    /// More events, over as many segments as it takes.
    fn publish(&mut self, count: u64) {
        let (clock, first) = (clock(self.now), self.log.next_offset().0);
        for number in first..first + count {
            let body = reading(number, clock);
            let frame = Frame { count: 1, clock, body: &body };
            if self.log.append(&frame) == Err(AppendError::SegmentFull) {
                let table = self.table.encode();
                self.log.roll(&[(ControlKind::Routes, &table)], clock).expect("a disk");
                self.bases.push(number);
                self.log.append(&frame).expect("there is room");
            }
            if number % COMMITTED == 0 {
                self.log.commit().expect("a disk");
            }
        }
        self.log.commit().expect("a disk");
    }

    fn steps(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.turn();
            self.now += STEP_MS;
            self.cluster.handle_timeout(Instant(self.now));
            while let Some(output) = self.cluster.poll_output() {
                self.answers.push_back(output);
            }
            while let Some(answer) = self.answers.pop_front() {
                self.hear(answer);
            }
        }
    }

    fn turn(&mut self) {
        loop {
            let now = Instant(self.now);
            let (end, oldest) = self.disk.reader().end();
            let (clock, anchor) = (clock(self.now), Anchor::default());
            self.lane.follow(&self.table);
            self.lane.work(now, &Present { end, oldest, clock, anchor, traffic: View::default() });
            let effects: Vec<Effect> = core::iter::from_fn(|| self.lane.poll_effect()).collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(now, effect);
            }
        }
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Connect { conn, .. } => {
                let target = self.cluster.connect(BrokerId(1)).expect("it is up");
                self.conns.insert(conn, target);
                self.lane.talk().handle_connected(now, conn);
            }
            Effect::Send { conn, bytes } => {
                self.cluster.handle_bytes(now, self.conns[&conn], &bytes);
            }
            Effect::Disconnect { conn } => {
                if let Some(target) = self.conns.remove(&conn) {
                    self.cluster.disconnect(target);
                }
            }
            Effect::WriteHint(body) => {
                let clock = clock(self.now);
                self.log.append_control(ControlKind::Hint, &body, clock).expect("there is room");
                self.log.commit().expect("a disk");
                self.lane.handle_claimed(now, true);
            }
            other => panic!("{other:?} is not expected"),
        }
    }

    fn hear(&mut self, answer: kafka::Output) {
        let kafka::Output::Bytes { conn: from, bytes } = answer else { return };
        let conn = self.conns.iter().find(|(_, target)| **target == from).map(|(conn, _)| *conn);
        if let Some(conn) = conn {
            self.lane.talk().handle_bytes(Instant(self.now), conn, &bytes);
        }
    }

    /// The process is killed and starts again.
    fn restart(&mut self) {
        for (_, target) in core::mem::take(&mut self.conns) {
            self.cluster.disconnect(target);
        }
        while self.cluster.poll_output().is_some() {}
        self.lane = lane(&self.log, self.lane.hint().clone(), &self.disk);
    }

    /// The offsets of the events that stand in Kafka, in their order.
    fn delivered(&self) -> Vec<u64> {
        let records = self.cluster.read_committed(TOPIC, 0);
        let number =
            |value: &[u8]| str::from_utf8(value).ok()?.strip_prefix("reading ")?.parse().ok();
        records.iter().filter_map(|record| number(record.value.as_deref()?)).collect()
    }

    /// Changes a bit of the routing table that a segment begins with.
    fn damage_table(&self, segment: u32) {
        let bytes = self.disk.bytes(segment).expect("it is in use");
        let mut at = FIRST_AT;
        while bytes[at as usize] != ROUTES {
            let length = bytes[at as usize + 4..].first_chunk().expect("a header");
            at += HEADER_BYTES + u32::from_le_bytes(*length);
        }
        self.disk.flip(segment, at + HEADER_BYTES, 0);
    }

    fn stuck(&self) -> Option<String> {
        let mut report = Report::default();
        self.lane.tell(Instant(self.now), &mut report);
        report.stuck
    }

    /// A lane that has shipped all of the first segment, and some of the second; then more came.
    fn in_the_second_segment() -> Self {
        let mut scene = Self::new();
        while scene.bases.len() < 2 {
            scene.publish(10);
        }
        scene.steps(MINUTE_MS);
        assert_eq!(scene.delivered().len() as u64, scene.log.next_offset().0);
        scene.publish(EVENTS);
        assert!(scene.bases.len() > 3, "{:?}", scene.bases);
        scene
    }
}

fn lane(
    log: &Log<Disk, Box<[u8]>>,
    hint: Option<LaneHint>,
    disk: &Disk,
) -> Lane<tributary_tests::disk::DiskReader> {
    let settings = Settings::new("gw", LOG_ID, vec![("broker-1".to_owned(), 9092)]);
    let beginning = Beginning {
        lane: Name::Normal,
        settings: Settings { lane: "normal".to_owned(), ..settings },
        generation: log.generation(),
        generations: log.generations().iter().map(|it| (it.number, it.first)).collect(),
        hint,
        gaps: None,
    };
    Lane::new(Instant(0), beginning, disk.reader())
}

#[test]
fn a_segment_whose_routing_table_is_damaged_is_shipped_by_the_one_before() {
    let mut scene = Scene::in_the_second_segment();
    scene.damage_table(1);
    scene.restart();
    scene.steps(MINUTE_MS);
    assert!(scene.delivered().into_iter().eq(0..scene.log.next_offset().0));
}

#[test]
fn the_oldest_segment_whose_routing_table_is_damaged_is_shipped_by_the_next_one() {
    let mut scene = Scene::new();
    scene.publish(EVENTS);
    scene.damage_table(0);
    scene.steps(MINUTE_MS);
    assert!(scene.delivered().into_iter().eq(0..EVENTS));
}

#[test]
fn what_cannot_be_read_for_now_is_waited_for() {
    let mut scene = Scene::in_the_second_segment();
    scene.disk.make_unreadable(Some((1, 0..GEOMETRY.segment_bytes)));
    scene.restart();
    scene.steps(5 * MINUTE_MS);
    let stuck = scene.stuck().expect("a reason");
    assert!(stuck.starts_with("cannot read the log at"), "{stuck}");
    scene.disk.make_unreadable(None);
    scene.steps(MINUTE_MS);
    assert_eq!(scene.stuck(), None);
    assert!(scene.delivered().into_iter().eq(0..scene.log.next_offset().0));
}

#[test]
fn what_can_never_be_read_does_not_hold_up_the_rest_for_ever() {
    let mut scene = Scene::in_the_second_segment();
    let shipped = scene.delivered();
    scene.disk.make_unreadable(Some((2, 0..GEOMETRY.segment_bytes)));
    scene.restart();
    scene.steps(15 * MINUTE_MS);
    let (first, end) = (scene.bases[2], scene.bases[3]);
    let all = (0..scene.log.next_offset().0).filter(|number| !(first..end).contains(number));
    assert!(shipped.len() as u64 <= first);
    assert!(scene.delivered().into_iter().eq(all));
}

/// An opening that goes on without what it could not read has it behind the end of its segment for ever.
#[test]
fn a_start_waits_for_a_device_that_does_not_give_everything_out_yet() {
    let mut scene = Scene::new();
    scene.publish(100);
    let disk = scene.disk.clone();
    drop(scene);
    disk.make_unreadable(Some((0, FIRST_AT..GEOMETRY.segment_bytes)));
    let moment = Moment { now: Instant(0), wall: WALL_AT_ORIGIN, is_set: true };
    let entropy = Entropy { log_id: LOG_ID, generation: 2, salt: 2 };
    let mut looks = 0;
    let recovered = recover_patiently(disk.clone(), entropy, moment, |report| {
        looks += 1;
        if looks == 3 {
            disk.make_unreadable(None);
        }
        report.unread_pages > 0
    });
    let report = recovered.expect("it always starts").report;
    assert_eq!((looks, report.next, report.gaps.len()), (4, Offset(100), 0));
}
