//! Answers of brokers: the sessions of a replicator with a cluster whose answers are tampered with.

use std::collections::BTreeMap;

use tributary_bridge::{
    ConnId, Hint, Local, Output, Partitioner, Position, Record, Replicator, Settings, Talk as _,
};
use tributary_cluster::{BrokerId, Cluster, TopicSettings};
use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

use super::Target;

pub(super) const ANSWERS: Target = Target { name: "answers", feed, good };

/// Outputs of the replicator that are looked at.
const STEPS_MAX: usize = 120;
/// Bytes of one change.
const CHANGE_BYTES: usize = 5;
const TOPIC: &str = "t";

/// No change, and one for each of the first answers.
fn good() -> Vec<Vec<u8>> {
    let mut good = vec![Vec::new()];
    good.extend((0..16).map(|answer| vec![answer, 0, 9, 0, 1]));
    good
}

/// The bytes are changes, five bytes each: which answer, where in it (two bytes), how, with what.
fn feed(bytes: &[u8]) {
    let mut world = World::new(bytes);
    for _ in 0..STEPS_MAX {
        if let Some(output) = world.replicator.poll_output() {
            world.carry_out(output);
        } else if let Some(at) = world.replicator.poll_timeout() {
            world.wait_until(at);
        } else {
            return;
        }
    }
}

/// A replicator, a cluster, and who comes between them.
struct World<'a> {
    changes: Vec<&'a [u8]>,
    answers: usize,
    now: Instant,
    next: Offset,
    cluster: Cluster,
    lines: BTreeMap<ConnId, tributary_cluster::ConnId>,
    replicator: Replicator,
}

impl<'a> World<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut cluster = Cluster::new(tributary_cluster::Settings::default());
        cluster
            .create_topic(TOPIC, TopicSettings::default())
            .unwrap_or_else(|error| panic!("a fresh cluster takes a topic: {error:?}"));
        let settings = Settings::new("gateway", 7, vec![("broker-1".to_owned(), 9092)]);
        Self {
            changes: bytes.chunks_exact(CHANGE_BYTES).collect(),
            answers: 0,
            now: Instant(0),
            next: Offset(0),
            cluster,
            lines: BTreeMap::new(),
            replicator: Replicator::new(Instant(0), settings, 7),
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { conn, host, .. } => self.connect(conn, &host),
            Output::Send { conn, bytes } => {
                if let Some(line) = self.lines.get(&conn) {
                    self.cluster.handle_bytes(self.now, *line, &bytes);
                    self.answer();
                }
            }
            Output::Disconnect { conn } => {
                if let Some(line) = self.lines.remove(&conn) {
                    self.cluster.disconnect(line);
                }
            }
            Output::NeedLocal => self.replicator.handle_local(self.now, &local(self.next)),
            Output::Resumed(position) => self.next = position.offset,
            Output::WantBatch => self.ship(),
            Output::Claim(high) => self.replicator.handle_claimed(self.now, high),
            Output::Bury(_) => {
                let next = Position { offset: self.next, ..Position::default() };
                let next = Position { generation: GENERATION, ..next };
                self.replicator.handle_buried(self.now, Ok(next));
            }
            Output::Authenticate { .. } => unreachable!("no credentials are set"),
            Output::Committed(_) | Output::Changed => {}
        }
    }

    fn wait_until(&mut self, at: Instant) {
        self.now = at.max(Instant(self.now.0 + 1));
        self.cluster.handle_timeout(self.now);
        self.answer();
        self.replicator.handle_timeout(self.now);
    }

    fn connect(&mut self, conn: ConnId, host: &str) {
        let broker = host.strip_prefix("broker-").and_then(|id| id.parse().ok()).map(BrokerId);
        match broker.and_then(|broker| self.cluster.connect(broker)) {
            Some(line) => {
                self.lines.insert(conn, line);
                self.replicator.handle_connected(self.now, conn);
            }
            None => self.replicator.handle_closed(self.now, conn, "refused"),
        }
    }

    /// Passes on what the brokers say, changed where a change is due.
    fn answer(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            let of = |line| self.lines.iter().find(|(_, known)| **known == line).map(|(c, _)| *c);
            match output {
                tributary_cluster::Output::Bytes { conn, bytes } => {
                    let Some(conn) = of(conn) else { continue };
                    let bytes = self.changed(bytes.to_vec());
                    self.replicator.handle_bytes(self.now, conn, &bytes);
                }
                tributary_cluster::Output::Close { conn } => {
                    let Some(conn) = of(conn) else { continue };
                    self.lines.remove(&conn);
                    self.replicator.handle_closed(self.now, conn, "closed");
                }
            }
        }
    }

    fn changed(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for change in self.changes.iter().filter(|change| usize::from(change[0]) == self.answers) {
            let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % bytes.len().max(1);
            match (change[3] % 4, bytes.get_mut(at)) {
                (0, Some(byte)) => *byte = change[4],
                (1, Some(byte)) => *byte ^= 1 << (change[4] % 8),
                (2, _) => bytes.truncate(at),
                _ => bytes.insert(at, change[4]),
            }
        }
        self.answers += 1;
        bytes
    }

    /// One record, and the position behind it.
    fn ship(&mut self) {
        let mut batch = self.replicator.begin_batch();
        let record = Record {
            topic: TOPIC,
            partition: Partitioner::Gateway,
            offset: self.next,
            route: 1,
            timestamp: Timestamp(1_800_000_000_000),
            key: None,
            value: b"v",
            headers: &[],
        };
        let pushed = batch.reserve([TOPIC].into_iter(), 64).and_then(|()| batch.push(&record));
        if pushed.is_ok() {
            self.next = self.next.plus(1);
        }
        let next = Position { offset: self.next, generation: GENERATION, account: String::new() };
        self.replicator.handle_batch(self.now, batch, next);
    }
}

const GENERATION: u32 = 1;

fn local(end: Offset) -> Local {
    let start = Position { offset: Offset(0), generation: GENERATION, account: String::new() };
    Local {
        generation: GENERATION,
        generations: vec![(GENERATION, Offset(0))],
        hint: Some(Hint { low: start, high: end }),
        overruled: None,
        log_is_empty: false,
        oldest: Offset(0),
        end: end.plus(1),
    }
}
