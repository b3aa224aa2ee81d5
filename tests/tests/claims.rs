//! One lane, its log and a cluster, over a link that takes its time: what it claims and gives back, and what it fills
//! ahead. Nothing here waits: time is an argument.

use std::collections::{BTreeMap, VecDeque};

use tributary::config::{Lane as Name, Route};
use tributary::replicate::feed::Present;
use tributary::replicate::lane::{Beginning, Effect, Lane};
use tributary::replicate::table::{Table, Wanted};
use tributary::replicate::traffic::View;
use tributary::runtime::clock::{Anchor, Moment};
use tributary::runtime::hint::{LaneHint, Reached};
use tributary::runtime::opening::recover;
use tributary_bridge::{BatchLimits, Codec, Compression, ConnId, Position, Settings};
use tributary_cluster as kafka;
use tributary_cluster::{BrokerId, Cluster, Permission, TopicSettings};
use tributary_core::Offset;
use tributary_core::log::{ControlKind, Entropy, Frame, Geometry, Log};
use tributary_core::time::Instant;
use tributary_tests::disk::{Disk, DiskReader};
use tributary_tests::readings::{WALL_AT_ORIGIN, clock, payload, reading};

const GEOMETRY: Geometry = Geometry { segments: 8, segment_bytes: 1 << 20, page_bytes: 4096 };
const LOG_ID: u64 = 7;
const TOPIC: &str = "all";
/// What an answer takes.
const ANSWER_MS: u64 = 300;
/// What a full transaction holds.
const TRANSACTION_BYTES: usize = 64 << 10;
const MINUTE_MS: u64 = 60_000;
/// Longer than a lane rests before it takes back what it has claimed.
const RESTED_MS: u64 = 10_000;

struct Scene {
    now: u64,
    log: Box<Log<Disk, Box<[u8]>>>,
    reader: DiskReader,
    table: Table,
    cluster: Cluster,
    lane: Lane<DiskReader>,
    conns: BTreeMap<ConnId, kafka::ConnId>,
    answers: VecDeque<kafka::Output>,
    /// Nobody can be reached.
    is_away: bool,
    traffic: View,
}

impl Scene {
    fn new() -> Self {
        let disk = Disk::new(GEOMETRY, 1);
        let reader = disk.reader();
        let moment = Moment { now: Instant(0), wall: WALL_AT_ORIGIN, is_set: true };
        let entropy = Entropy { log_id: LOG_ID, generation: 1, salt: 1 };
        let mut log = recover(disk, entropy, moment).expect("a new log").log;
        let wanted = Wanted::compile(&[Route::everything(TOPIC)], true).expect("it compiles");
        let table = Table::none().succeed(&wanted, Offset(0), Offset(0));
        log.append_control(ControlKind::Routes, &table.encode(), clock(0)).expect("there is room");
        log.commit().expect("a disk");
        let mut cluster = Cluster::new(kafka::Settings::default());
        cluster.create_topic(TOPIC, TopicSettings::default()).expect("the cluster is new");
        let low = Position { generation: log.generation(), ..Position::default() };
        let lane = lane(0, &log, Some(LaneHint::beginning("normal", low)), &reader);
        Self {
            now: 0,
            log,
            reader,
            table,
            cluster,
            lane,
            conns: BTreeMap::new(),
            answers: VecDeque::new(),
            is_away: false,
            traffic: View::default(),
        }
    }

    /// So many events more.
    fn publish(&mut self, count: u64) {
        let clock = clock(self.now);
        let first = self.log.next_offset().0;
        for number in first..first + count {
            let body = reading(number, clock);
            self.log.append(&Frame { count: 1, clock, body: &body }).expect("there is room");
        }
        self.log.commit().expect("a disk");
    }

    /// Lets the lane and the cluster do what they can; then an answer's time goes by.
    fn step(&mut self) {
        self.turn();
        self.now += ANSWER_MS;
        self.cluster.handle_timeout(Instant(self.now));
        while let Some(output) = self.cluster.poll_output() {
            self.answers.push_back(output);
        }
        while let Some(answer) = self.answers.pop_front() {
            self.hear(answer);
        }
    }

    fn steps(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    fn turn(&mut self) {
        loop {
            let now = Instant(self.now);
            let (end, oldest) = self.reader.end();
            let (clock, anchor) = (clock(self.now), Anchor::default());
            let present = Present { end, oldest, clock, anchor, traffic: self.traffic };
            self.lane.follow(&self.table);
            self.lane.work(now, &present);
            let mut is_quiet = true;
            while let Some(effect) = self.lane.poll_effect() {
                is_quiet = false;
                self.carry_out(now, effect);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Connect { conn, .. } if self.is_away => {
                self.lane.talk().handle_closed(now, conn, "nobody is there");
            }
            Effect::Connect { conn, .. } => {
                let target = self.cluster.connect(BrokerId(1)).expect("it is up");
                self.conns.insert(conn, target);
                self.lane.talk().handle_connected(now, conn);
            }
            Effect::Send { conn, bytes } => {
                if let Some(target) = self.conns.get(&conn) {
                    self.cluster.handle_bytes(now, *target, &bytes);
                }
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
            Effect::Authenticate { .. } | Effect::Bury(_) | Effect::Detour(_) => {
                unreachable!("nothing asks for it")
            }
        }
    }

    fn hear(&mut self, answer: kafka::Output) {
        let now = Instant(self.now);
        let (kafka::Output::Bytes { conn: from, .. } | kafka::Output::Close { conn: from }) =
            &answer;
        let conn = self.conns.iter().find(|(_, target)| *target == from).map(|(conn, _)| *conn);
        let Some(conn) = conn else { return };
        match answer {
            kafka::Output::Bytes { bytes, .. } => self.lane.talk().handle_bytes(now, conn, &bytes),
            kafka::Output::Close { .. } => {
                self.conns.remove(&conn);
                self.lane.talk().handle_closed(now, conn, "closed");
            }
        }
    }

    /// All connections break, and no new one can be made. What is under way to the lane is lost.
    fn be_cut_off(&mut self) {
        while self.cluster.poll_output().is_some() {}
        self.is_away = true;
        for (conn, target) in core::mem::take(&mut self.conns) {
            self.cluster.disconnect(target);
            self.lane.talk().handle_closed(Instant(self.now), conn, "the line broke");
        }
    }

    /// The process is killed and starts again.
    fn restart(&mut self) {
        let hint = self.lane.hint().clone();
        self.restart_with(hint);
    }

    fn restart_with(&mut self, hint: Option<LaneHint>) {
        self.be_cut_off();
        self.is_away = false;
        self.lane = lane(self.now, &self.log, hint, &self.reader);
    }

    /// What the hint in the log says: (L, U).
    fn hint(&self) -> (u64, u64) {
        let hint = &self.lane.hint().as_ref().expect("a lane has one").hint;
        (hint.low.offset.0, hint.high.0)
    }

    /// How many events stand in Kafka, each once and in order.
    fn delivered(&self) -> usize {
        let records = self.cluster.read_committed(TOPIC, 0);
        for (number, record) in (0..).zip(&records) {
            let value = record.value.as_deref().unwrap_or_default();
            assert_eq!(str::from_utf8(value).ok(), Some(&*payload(number)));
        }
        records.len()
    }
}

fn lane(
    now: u64,
    log: &Log<Disk, Box<[u8]>>,
    hint: Option<LaneHint>,
    reader: &DiskReader,
) -> Lane<DiskReader> {
    let settings = Settings::new("gw", LOG_ID, vec![("broker-1".to_owned(), 9092)]);
    let batch = BatchLimits { transaction_bytes: TRANSACTION_BYTES, ..settings.batch };
    let beginning = Beginning {
        lane: Name::Normal,
        settings: Settings {
            lane: "normal".to_owned(),
            compression: Compression::Fixed(Codec::None),
            batch,
            ..settings
        },
        generation: log.generation(),
        generations: log.generations().iter().map(|it| (it.number, it.first)).collect(),
        hint,
        gaps: None,
    };
    Lane::new(Instant(now), beginning, reader.clone())
}

fn identity() -> String {
    format!("tributary.gw.{LOG_ID:016x}.normal")
}

/// What every step but those that change nothing has added to the topic.
fn growth(scene: &mut Scene, ms: u64) -> Vec<usize> {
    let (mut before, end) = (scene.delivered(), scene.now + ms);
    let mut grown = Vec::new();
    while scene.now < end {
        scene.step();
        let there = scene.delivered();
        grown.extend(Some(there - before).filter(|more| *more > 0));
        before = there;
    }
    grown
}

#[test]
fn what_was_filled_ahead_gives_way_to_another_lanes_backlog() {
    let mut scene = Scene::new();
    scene.publish(4_000);
    let full = growth(&mut scene, 10 * ANSWER_MS);
    let most = full.into_iter().max().expect("some transactions");
    assert!((100..1_000).contains(&most), "{most}");
    // Another one has just begun, and the next is filled meanwhile.
    let before = scene.delivered();
    while scene.delivered() == before {
        scene.step();
    }
    scene.turn();
    scene.traffic.yields = true;
    let yielding = growth(&mut scene, MINUTE_MS);
    let (under_way, trickle) = yielding.split_first().expect("it trickles");
    assert!(*under_way > most / 2, "one was to be under way: {yielding:?}");
    assert!(trickle.len() > 5 && trickle.iter().all(|more| *more < most / 2), "{yielding:?}");
    scene.traffic.yields = false;
    scene.steps(MINUTE_MS);
    assert_eq!(scene.delivered(), 4_000);
}

/// Only who is fenced cannot end its transaction any more: before that nobody knows what became of it.
#[test]
fn what_was_claimed_is_given_back_behind_the_fence_and_not_before() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.steps(MINUTE_MS);
    assert_eq!((scene.delivered(), scene.hint()), (10, (10, 10)));
    scene.publish(10);
    // The transaction is over in Kafka, and the lane has not heard of it.
    while scene.delivered() == 10 {
        scene.turn();
        if scene.delivered() == 10 {
            scene.step();
        }
    }
    scene.be_cut_off();
    scene.steps(RESTED_MS);
    assert_eq!(scene.hint(), (10, 20), "nobody knows how it ended");
    scene.is_away = false;
    let end = scene.now + MINUTE_MS;
    while scene.hint().0 == 10 && scene.now < end {
        scene.step();
    }
    assert_eq!(scene.hint(), (20, 20));
    scene.publish(1);
    scene.steps(MINUTE_MS);
    assert_eq!(scene.delivered(), 21);
}

/// What a lane knows beyond Kafka's position holds until that moves: a lane that took a topic knows by it what was
/// sent of that before, and by whom.
#[test]
fn how_far_was_judged_outlasts_a_claim_that_comes_to_nothing() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.steps(MINUTE_MS);
    scene.publish(5);
    let known = scene.lane.hint().clone().expect("a lane has one");
    let reached = Some(Reached { offset: 15, account: known.hint.low.account.clone() });
    scene.publish(5);
    scene.restart_with(Some(LaneHint { reached, ..known }));
    let end = scene.now + MINUTE_MS;
    while scene.hint().1 == 10 && scene.now < end {
        scene.step();
        scene.turn();
    }
    assert_eq!(scene.hint(), (10, 20), "it has claimed what it is about to send");
    scene.restart();
    scene.steps(MINUTE_MS);
    assert_eq!(scene.cluster.read_committed(TOPIC, 0).len(), 15);
}

/// No transaction of it was ever ended: whenever Kafka takes it, nobody has to decide anything.
#[test]
fn a_topic_that_is_refused_for_longer_than_kafka_remembers_leaves_nothing_in_doubt() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.steps(MINUTE_MS);
    let refused = Permission::WriteTopic(TOPIC.to_owned());
    scene.cluster.deny(refused.clone());
    scene.publish(10);
    scene.steps(60 * MINUTE_MS);
    assert_eq!((scene.delivered(), scene.hint()), (10, (10, 10)));
    scene.cluster.forget_group(&identity());
    scene.steps(60 * MINUTE_MS);
    scene.restart();
    scene.steps(10 * MINUTE_MS);
    scene.cluster.allow(&refused);
    scene.steps(60 * MINUTE_MS);
    assert_eq!((scene.delivered(), scene.hint()), (20, (20, 20)));
}
