//! One replicator and a cluster, and everything that can go wrong between them: walked to the end
//! where the scope is small, drawn at random where it is not.
//!
//! Each request may be lost, applied without an answer, arrive only when a later session is at
//! work; the process may die before or after any of it, or before a claim is durable; coordinators
//! move; Kafka may forget the position while the process is down. Whatever happens, a `read_committed` reader finds
//! each record once, in order, and the position is the log's end; but where a claim is durable whose transaction
//! nobody knows the end of, and Kafka forgets, the lane halts. Some records are larger than their topic takes: whatever happens, each
//! of them is kept elsewhere before the position passes it, and the others do not suffer.
//!
//! `TRIBUTARY_SCHEDULES=N` draws so many at random; `TRIBUTARY_FAULTS=N` walks every placement of
//! so many faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::env;

use tributary_bridge::{
    BatchLimits, Bytes, ConnId, Halt, Hint, Local, Output, Partitioner, Position, Record,
    Replicator, Settings, State, Talk as _,
};
use tributary_cluster as kafka;
use tributary_cluster::{BrokerId, Cluster, Kafka, TopicSettings, TransactionVersion};
use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

/// Events in the log, and how many a transaction takes: three transactions.
const EVENTS: u64 = 6;
const RECORDS: usize = 2;
/// Records that their topic does not take: two of one transaction, so that nothing is left of it,
/// and one that another one of the same transaction follows.
const REFUSED: [u64; 3] = [0, 1, 4];
/// What the topic takes; two of the other records together are larger.
const BATCH_BYTES_MAX: usize = 125;
const TOPIC: &str = "events";
/// More turns than any schedule needs: one that has more goes round in circles.
const TURNS_MAX: u32 = 5_000;
/// Kafka has forgotten by then.
const OUTAGE_MS: u64 = 8 * 24 * 3_600_000;
/// The cluster does what is due so often meanwhile.
const OUTAGE_STEPS: u64 = 32;
/// Schedules drawn in an ordinary run.
const SCHEDULES: u64 = 3_000;
/// Faults of each walked schedule in an ordinary run.
const FAULTS: u32 = 1;

/// What can happen to a request; the first is that nothing does.
const FATES: [Fate; 8] = [
    Fate::Arrives,
    Fate::Lost,
    Fate::Unanswered,
    Fate::Late,
    Fate::DiesBefore,
    Fate::DiesAfter,
    Fate::CoordinatorMoves,
    Fate::DiesAndIsForgotten,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// The connection breaks before the request arrives.
    Lost,
    /// It is applied, then the connection breaks.
    Unanswered,
    /// The connection breaks for the client; the request arrives when a later session is at work.
    Late,
    /// The process dies before it is sent.
    DiesBefore,
    /// The process dies when it has been applied.
    DiesAfter,
    CoordinatorMoves,
    /// The process dies when it has been applied, and does not come back before Kafka has forgotten the position.
    DiesAndIsForgotten,
}

/// Decides what happens: follows a path first, then nothing more, or dice.
struct Chooser {
    path: Vec<usize>,
    taken: Vec<(usize, usize)>,
    faults: u32,
    dice: Option<fastrand::Rng>,
}

impl Chooser {
    fn choose(&mut self, options: usize) -> usize {
        let at = self.taken.len();
        let options = if self.faults == 0 { 1 } else { options };
        let chosen = match &mut self.dice {
            None => self.path.get(at).copied().unwrap_or(0),
            Some(dice) if options > 1 => {
                let strikes = dice.u8(..6) == 0;
                if strikes { dice.usize(1..options) } else { 0 }
            }
            Some(_) => 0,
        };
        self.faults -= u32::from(chosen > 0);
        self.taken.push((chosen, options));
        chosen
    }
}

/// What outlives the process.
struct Disk {
    generations: Vec<(u32, Offset)>,
    hint: Hint,
    /// Records that are kept because Kafka does not take them, however often.
    kept: BTreeSet<u64>,
}

struct Scene {
    chooser: Chooser,
    now: u64,
    cluster: Cluster,
    disk: Disk,
    replicator: Replicator,
    serial: u64,
    conns: BTreeMap<ConnId, kafka::ConnId>,
    /// Requests that arrive so many sessions later, on connections that the client has given up.
    late: VecDeque<(u64, kafka::ConnId, Bytes)>,
    position: Position,
    wants: bool,
    /// The position of the batch that was handed in last.
    handed_in: Position,
}

impl Scene {
    fn new(level: TransactionVersion, chooser: Chooser) -> Self {
        let settings = kafka::Settings {
            brokers: 2,
            kafka: Kafka::V4_1_2(level),
            transaction_sweep_ms: 1_000,
            ..kafka::Settings::default()
        };
        let mut cluster = Cluster::new(settings);
        let topic = TopicSettings { batch_bytes_max: BATCH_BYTES_MAX, ..TopicSettings::default() };
        cluster.create_topic(TOPIC, topic).expect("the cluster is new");
        let low = Position { offset: Offset(0), generation: 1, account: String::new() };
        let hint = Hint { low: low.clone(), high: Offset(0) };
        Self {
            chooser,
            now: 0,
            cluster,
            disk: Disk { generations: vec![(1, Offset(0))], hint, kept: BTreeSet::new() },
            replicator: Replicator::new(Instant(0), settings_of(), 1),
            serial: 1,
            conns: BTreeMap::new(),
            late: VecDeque::new(),
            position: low,
            wants: false,
            handed_in: Position::default(),
        }
    }

    /// Lives on until everything is in Kafka.
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            while let Some(output) = self.replicator.poll_output() {
                self.handle(output);
                self.hear();
            }
            if self.wants && self.position.offset.0 < EVENTS {
                self.hand_in();
                continue;
            }
            if self.position.offset.0 == EVENTS && self.replicator.is_idle() && self.wants {
                return self.judge();
            }
            if let State::Halted(halt) = &self.replicator.status().state {
                let Hint { low, high } = &self.disk.hint;
                let is_open =
                    matches!(halt, Halt::InDoubt { kafka: None, .. }) && low.offset < *high;
                return if is_open {
                    Ok(())
                } else {
                    Err(format!("halted: {halt}, {:?}", self.disk.hint))
                };
            }
            self.wait();
        }
        Err(format!("goes round in circles: {:?}", self.replicator.status()))
    }

    fn instant(&self) -> Instant {
        Instant(self.now)
    }

    fn handle(&mut self, output: Output) {
        let now = self.instant();
        match output {
            Output::Connect { conn, host, .. } => {
                let id = host.strip_prefix("broker-").and_then(|id| id.parse().ok());
                let target = self.cluster.connect(BrokerId(id.unwrap_or(1)));
                self.conns.insert(conn, target.expect("every broker is up"));
                self.replicator.handle_connected(now, conn);
            }
            Output::Send { conn, bytes } => self.send(conn, bytes),
            Output::Disconnect { conn } => {
                if let Some(target) = self.conns.remove(&conn) {
                    self.cluster.disconnect(target);
                }
            }
            Output::NeedLocal => {
                let local = Local {
                    generation: self.generation(),
                    generations: self.disk.generations.clone(),
                    hint: Some(self.disk.hint.clone()),
                    overruled: None,
                    log_is_empty: false,
                    oldest: Offset(0),
                    end: Offset(EVENTS),
                };
                self.replicator.handle_local(now, &local);
            }
            Output::Resumed(position) => {
                (self.position, self.wants) = (position.clone(), false);
                // Its predecessor is fenced: what that had claimed is not in doubt any more.
                if self.disk.hint.high > position.offset {
                    if self.chooser.choose(2) == 1 {
                        return self.die();
                    }
                    let high = position.offset;
                    self.replicator.handle_claimed(now, high);
                    self.disk.hint = Hint { low: position, high };
                }
            }
            Output::WantBatch => self.wants = true,
            Output::Claim(high) => {
                if self.chooser.choose(2) == 1 {
                    return self.die();
                }
                self.disk.hint = Hint { low: self.position.clone(), high };
                self.replicator.handle_claimed(now, high);
            }
            Output::Bury(refused) => {
                if self.chooser.choose(2) == 1 {
                    return self.die();
                }
                self.disk.kept.extend(refused.iter().map(|one| one.offset.0));
                let account = self.account(self.handed_in.offset);
                let next = Position { account, ..self.handed_in.clone() };
                self.replicator.handle_buried(now, Ok(next));
            }
            Output::Committed(position) => self.position = position,
            _ => {}
        }
    }

    fn send(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(target) = self.conns.get(&conn).copied() else { return };
        let now = self.instant();
        match FATES[self.chooser.choose(FATES.len())] {
            Fate::Arrives => self.cluster.handle_bytes(now, target, &bytes),
            Fate::Lost => self.cut(conn),
            Fate::Unanswered => {
                self.cluster.handle_bytes(now, target, &bytes);
                self.cut(conn);
            }
            Fate::Late => {
                self.late.push_back((self.replicator.status().counters.sessions, target, bytes));
                self.conns.remove(&conn);
                self.replicator.handle_closed(now, conn, "the line is dead");
            }
            Fate::DiesBefore => self.die(),
            Fate::DiesAfter => {
                self.cluster.handle_bytes(now, target, &bytes);
                self.die();
            }
            Fate::DiesAndIsForgotten => {
                self.cluster.handle_bytes(now, target, &bytes);
                self.die();
                self.be_forgotten();
            }
            Fate::CoordinatorMoves => {
                let to = if self.now.is_multiple_of(2) { BrokerId(2) } else { BrokerId(1) };
                self.cluster.move_coordinator(&settings_of().identity(), to);
                self.cluster.handle_bytes(now, target, &bytes);
            }
        }
    }

    fn cut(&mut self, conn: ConnId) {
        if let Some(target) = self.conns.remove(&conn) {
            self.cluster.disconnect(target);
        }
        self.replicator.handle_closed(self.instant(), conn, "the line broke");
    }

    /// The process is killed and starts again: all it knows is what is on the disk.
    fn die(&mut self) {
        for target in core::mem::take(&mut self.conns).into_values() {
            self.cluster.disconnect(target);
        }
        self.serial += 1;
        let generation = u32::try_from(self.serial).expect("few lives");
        self.disk.generations.push((generation, Offset(EVENTS)));
        self.replicator = Replicator::new(self.instant(), settings_of(), self.serial);
        self.late.iter_mut().for_each(|(session, ..)| *session = 0);
        (self.position, self.wants) = (self.disk.hint.low.clone(), false);
    }

    /// A week goes by: no transaction is open any more, and nothing is under way.
    fn be_forgotten(&mut self) {
        for (_, target, _) in core::mem::take(&mut self.late) {
            self.cluster.disconnect(target);
        }
        for _ in 0..OUTAGE_STEPS {
            self.now += OUTAGE_MS / OUTAGE_STEPS;
            self.cluster.handle_timeout(self.instant());
        }
        while self.cluster.poll_output().is_some() {}
        self.cluster.forget_group(&settings_of().identity());
        self.replicator = Replicator::new(self.instant(), settings_of(), self.serial);
    }

    fn generation(&self) -> u32 {
        self.disk.generations.last().map_or(0, |(generation, _)| *generation)
    }

    /// Passes on what brokers say.
    fn hear(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            let (kafka::Output::Bytes { conn: from, .. } | kafka::Output::Close { conn: from }) =
                &output;
            let conn = self.conns.iter().find(|(_, target)| *target == from).map(|(c, _)| *c);
            let Some(conn) = conn else { continue };
            match output {
                kafka::Output::Bytes { bytes, .. } => {
                    self.replicator.handle_bytes(self.instant(), conn, &bytes);
                }
                kafka::Output::Close { .. } => self.cut(conn),
            }
        }
    }

    fn hand_in(&mut self) {
        self.wants = false;
        let mut batch = self.replicator.begin_batch();
        let mut next = self.position.offset;
        while next.0 < EVENTS {
            let value = value_of(next.0);
            let record = Record {
                topic: TOPIC,
                partition: Partitioner::Gateway,
                offset: next,
                route: 1,
                timestamp: Timestamp(1_767_225_600_000),
                key: None,
                value: value.as_bytes(),
                headers: &[],
            };
            if batch.push(&record).is_err() {
                break;
            }
            next = next.plus(1);
        }
        let position =
            Position { offset: next, generation: self.generation(), account: self.account(next) };
        self.handed_in = position.clone();
        self.replicator.handle_batch(self.instant(), batch, position);
    }

    /// Time passes; what was late arrives when a session is at work that came after it.
    fn wait(&mut self) {
        let deadlines = [self.replicator.poll_timeout(), self.cluster.poll_timeout()];
        let next = deadlines.into_iter().flatten().min().map_or(self.now + 1, |at| at.0);
        self.now = next.max(self.now + 1);
        let sessions = self.replicator.status().counters.sessions;
        let due = |(session, ..): &&(u64, kafka::ConnId, Bytes)| *session < sessions;
        if let Some((_, target, bytes)) = self.late.front().filter(due).cloned() {
            self.late.pop_front();
            self.cluster.handle_bytes(self.instant(), target, &bytes);
            self.cluster.disconnect(target);
        }
        self.cluster.handle_timeout(self.instant());
        self.hear();
        self.replicator.handle_timeout(self.instant());
    }

    fn judge(&mut self) -> Result<(), String> {
        self.now += 60_000;
        self.cluster.handle_timeout(self.instant());
        let found = self.cluster.read_committed(TOPIC, 0);
        let found: Vec<String> = found
            .into_iter()
            .map(|record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned())
            .collect();
        let wanted = (0..EVENTS).filter(|n| !REFUSED.contains(n)).map(value_of);
        let wanted: Vec<String> = wanted.collect();
        if found != wanted {
            return Err(format!("a reader finds {found:?}"));
        }
        if !self.disk.kept.iter().eq(&REFUSED) {
            return Err(format!("kept elsewhere: {:?}", self.disk.kept));
        }
        let (found, wanted) = (&self.position.account, self.account(Offset(EVENTS)));
        if *found == wanted { Ok(()) } else { Err(format!("the account: {found}")) }
    }

    /// What is known of the records below `next`.
    fn account(&self, next: Offset) -> String {
        format!("{next}, of which {} are kept elsewhere", self.disk.kept.range(..next.0).count())
    }
}

fn value_of(n: u64) -> String {
    let room = if REFUSED.contains(&n) { BATCH_BYTES_MAX } else { 0 };
    format!("event {n}{}", ".".repeat(room))
}

fn settings_of() -> Settings {
    let settings = Settings::new("gw", 7, vec![("broker-1".to_owned(), 9092)]);
    let batch = BatchLimits { records: RECORDS, ..settings.batch };
    Settings { batch, ..settings }
}

fn number(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_placement_of_faults_is_exact() {
    let faults = u32::try_from(number("TRIBUTARY_FAULTS", FAULTS.into())).expect("few");
    for level in [TransactionVersion::V0, TransactionVersion::V2] {
        let (mut path, mut schedules, mut states) = (Vec::new(), 0_u64, 0_u64);
        loop {
            let known = path.len();
            let chooser = Chooser { path, taken: Vec::new(), faults, dice: None };
            let mut scene = Scene::new(level, chooser);
            let end = scene.run();
            let taken = scene.chooser.taken;
            schedules += 1;
            // What comes behind the last change of the path was not met before.
            states += (taken.len() - known.saturating_sub(1)) as u64;
            assert_eq!(end, Ok(()), "{level:?}, {taken:?}");
            let last = taken.iter().rposition(|(chosen, options)| chosen + 1 < *options);
            let Some(last) = last else { break };
            path = taken[..last].iter().map(|(chosen, _)| *chosen).collect();
            path.push(taken[last].0 + 1);
        }
        println!("{level:?}: {schedules} schedules of {faults} faults, {states} states, all exact");
    }
}

#[test]
fn random_schedules_are_exact() {
    let schedules = number("TRIBUTARY_SCHEDULES", SCHEDULES);
    for seed in 0..schedules {
        let levels = [TransactionVersion::V0, TransactionVersion::V1, TransactionVersion::V2];
        let level = levels[usize::try_from(seed % 3).expect("below three")];
        let dice = Some(fastrand::Rng::with_seed(seed));
        let chooser = Chooser { path: Vec::new(), taken: Vec::new(), faults: 12, dice };
        let mut scene = Scene::new(level, chooser);
        assert_eq!(scene.run(), Ok(()), "seed {seed}, {level:?}");
    }
    println!("{schedules} random schedules of up to 12 faults, all exact");
}
