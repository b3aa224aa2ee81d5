//! A topic that takes smaller batches than others do: what was refused once is not made again.

use std::collections::BTreeMap;

use tributary_bridge::{
    Codec, Compression, ConnId, Hint, Local, Output, Partitioner, Position, Record, Replicator,
    Settings, Talk as _,
};
use tributary_cluster as kafka;
use tributary_cluster::{BrokerId, Cluster, TopicSettings};
use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

const TOPIC: &str = "narrow";
/// What the topic takes, and a record's payload: at most some twenty records to a batch.
const BATCH_BYTES_MAX: usize = 20_000;
const PAYLOAD_BYTES: usize = 900;
/// Records of a transaction.
const RECORDS: u64 = 100;
/// More turns than anything here needs.
const TURNS_MAX: u32 = 20_000;
const PRODUCE: [u8; 2] = [0, 0];

struct Scene {
    now: u64,
    cluster: Cluster,
    replicator: Replicator,
    conns: BTreeMap<ConnId, kafka::ConnId>,
    position: Position,
    wants: bool,
    /// Produce requests since the last commit.
    produced: u32,
    random: fastrand::Rng,
}

impl Scene {
    fn new(codec: Codec) -> Self {
        let mut cluster = Cluster::new(kafka::Settings::default());
        let topic = TopicSettings { batch_bytes_max: BATCH_BYTES_MAX, ..TopicSettings::default() };
        cluster.create_topic(TOPIC, topic).expect("the cluster is new");
        let settings = Settings::new("gw", 7, vec![("broker-1".to_owned(), 9092)]);
        let settings = Settings { compression: Compression::Fixed(codec), ..settings };
        Self {
            now: 0,
            cluster,
            replicator: Replicator::new(Instant(0), settings, 1),
            conns: BTreeMap::new(),
            position: Position::default(),
            wants: false,
            produced: 0,
            random: fastrand::Rng::with_seed(3),
        }
    }

    /// Ships one transaction: how many requests it took.
    fn ship(&mut self) -> u32 {
        let end = self.position.offset.0 + RECORDS;
        for _ in 0..TURNS_MAX {
            while let Some(output) = self.replicator.poll_output() {
                self.handle(output);
                self.hear();
            }
            if self.position.offset.0 == end {
                return core::mem::take(&mut self.produced);
            }
            if core::mem::take(&mut self.wants) {
                self.hand_in(end);
                continue;
            }
            let deadlines = [self.replicator.poll_timeout(), self.cluster.poll_timeout()];
            let next = deadlines.into_iter().flatten().min().map_or(self.now + 1, |at| at.0);
            self.now = next.max(self.now + 1);
            self.cluster.handle_timeout(Instant(self.now));
            self.hear();
            self.replicator.handle_timeout(Instant(self.now));
        }
        panic!("it does not end: {:?}", self.replicator.status());
    }

    fn handle(&mut self, output: Output) {
        let now = Instant(self.now);
        match output {
            Output::Connect { conn, .. } => {
                let target = self.cluster.connect(BrokerId(1)).expect("it is up");
                self.conns.insert(conn, target);
                self.replicator.handle_connected(now, conn);
            }
            Output::Send { conn, bytes } => {
                self.produced += u32::from(bytes[4..6] == PRODUCE);
                self.cluster.handle_bytes(now, self.conns[&conn], &bytes);
            }
            Output::Disconnect { conn } => {
                if let Some(target) = self.conns.remove(&conn) {
                    self.cluster.disconnect(target);
                }
            }
            Output::NeedLocal => {
                let low = Position { generation: 1, ..Position::default() };
                let local = Local {
                    generation: 1,
                    generations: vec![(1, Offset(0))],
                    hint: Some(Hint { low, high: Offset(0) }),
                    overruled: None,
                    log_is_empty: false,
                    oldest: Offset(0),
                    end: Offset(u64::from(u32::MAX)),
                };
                self.replicator.handle_local(now, &local);
            }
            Output::Resumed(position) => (self.position, self.wants) = (position, false),
            Output::WantBatch => self.wants = true,
            Output::Claim(high) => self.replicator.handle_claimed(now, high),
            Output::Bury(refused) => panic!("no record is too large: {refused:?}"),
            Output::Committed(position) => self.position = position,
            _ => {}
        }
    }

    fn hear(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            let kafka::Output::Bytes { conn: from, bytes } = output else { continue };
            let conn = self.conns.iter().find(|(_, target)| **target == from).map(|(c, _)| *c);
            if let Some(conn) = conn {
                self.replicator.handle_bytes(Instant(self.now), conn, &bytes);
            }
        }
    }

    fn hand_in(&mut self, end: u64) {
        let mut batch = self.replicator.begin_batch();
        let mut next = self.position.offset;
        while next.0 < end {
            // Nothing makes it smaller than by half.
            let letters = (0..PAYLOAD_BYTES).map(|_| self.random.digit(10));
            let value: String = letters.collect();
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
        let position = Position { offset: next, ..self.position.clone() };
        self.replicator.handle_batch(Instant(self.now), batch, position);
    }
}

#[test]
fn a_batch_that_was_too_large_is_not_made_again() {
    for codec in [Codec::None, Codec::Zstd] {
        let mut scene = Scene::new(codec);
        let first = scene.ship();
        let later: Vec<u32> = (0..20).map(|_| scene.ship()).collect();
        assert!(later.iter().all(|requests| *requests < first), "{codec:?}: {first}, {later:?}");
        // As many as its bytes need, and some more: parts are halves of halves.
        let bytes = usize::try_from(RECORDS).expect("few") * PAYLOAD_BYTES;
        let most = u32::try_from(bytes * 2 / BATCH_BYTES_MAX).expect("few") + 1;
        assert!(later.iter().all(|requests| *requests <= most), "{codec:?}: {first}, {later:?}");
        let found = scene.cluster.read_committed(TOPIC, 0).len() as u64;
        assert_eq!((found, scene.position.offset.0), (21 * RECORDS, 21 * RECORDS));
    }
}
