//! The cluster as its users see it: bytes and time in, bytes out, and the levers of an operator, a
//! bad day and a reader.

mod connection;
mod random;
mod state;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tributary_core::time::{Instant, Timestamp};

pub(crate) use random::Random;
pub(crate) use state::{State, Topic, is_topic_name};

use crate::coordinator::Participant;
use crate::faults::Faults;
use crate::log::Upto;
use crate::{
    BrokerId, Fault, FaultRates, Kafka, Permission, Position, ReadRecord, Settings, TopicSettings,
    Users, read,
};
use connection::Connections;

/// An open connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the cluster wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Bytes {
        /// On this connection.
        conn: ConnId,
        /// A whole answer. Answers come in the order of the requests.
        bytes: Bytes,
    },
    /// The broker closes the connection. What is given in for it from now on is ignored.
    Close {
        /// This one.
        conn: ConnId,
    },
}

/// A Kafka cluster.
///
/// Time must not go back. After every call that takes `now`, and after every lever that closes
/// connections, [`Self::poll_output`] is to be emptied and [`Self::poll_timeout`] asked again.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    connections: Connections,
    faults: Faults,
}

/// What a client sees and does.
impl Cluster {
    /// A fresh cluster: brokers 1 to `settings.brokers`, all up, no topic.
    ///
    /// # Panics
    /// If `settings.brokers` or `settings.epoch_max` is below 1.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        assert!(settings.brokers > 0, "a cluster has at least one broker");
        assert!(settings.epoch_max > 0, "each producer id has at least one epoch");
        let connections = Connections::default();
        Self { state: State::new(settings), connections, faults: Faults::default() }
    }

    /// Opens a connection to `broker`. `None`: refused, because the broker is down or unknown, or
    /// the cluster has [`crate::limits::CONNECTIONS_MAX`] connections.
    pub fn connect(&mut self, broker: BrokerId) -> Option<ConnId> {
        if self.state.is_up(broker) { self.connections.open(broker) } else { None }
    }

    /// The client closed the connection. Requests of it that were not looked at are lost.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.connections.forget(conn);
    }

    /// Bytes arrived on a connection; any part of a request, or several.
    ///
    /// # Panics
    /// If time goes back.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.connections.take_bytes(conn, bytes);
        self.handle_timeout(now);
    }

    /// Time has come to `now`: due markers are written, held requests go on.
    ///
    /// # Panics
    /// If time goes back.
    pub fn handle_timeout(&mut self, now: Instant) {
        assert!(now >= self.state.now, "time does not go back");
        self.state.now = now;
        self.state.settle();
        self.connections.run(&mut self.state, &mut self.faults);
    }

    /// The latest time that was given in.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.state.now
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.connections.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.state.transactions.poll_timeout(), self.connections.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }
}

/// What an operator does.
impl Cluster {
    /// Makes a topic, each partition led by the next broker.
    ///
    /// # Errors
    /// As `CreateTopics`: 36 it exists, 17 its name, 37 its number of partitions, 44 too many.
    pub fn create_topic(
        &mut self,
        name: &str,
        settings: TopicSettings,
    ) -> Result<(), ResponseError> {
        self.state.create_topic(name, settings)
    }

    /// Changes what a topic takes from now on; its partitions stay.
    ///
    /// # Errors
    /// 3: there is none.
    pub fn alter_topic(
        &mut self,
        name: &str,
        settings: TopicSettings,
    ) -> Result<(), ResponseError> {
        self.state.alter_topic(name, settings)
    }

    /// All brokers, up or not.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerId> + use<> {
        (1..=i32::from(self.state.settings.brokers)).map(BrokerId)
    }

    /// Deletes a topic with its records.
    ///
    /// # Errors
    /// 3: there is none.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ResponseError> {
        self.state.delete_topic(name)
    }

    /// Deletes the records of a partition below `offset`, in whole batches, as retention does.
    ///
    /// # Errors
    /// 3: there is no such partition.
    pub fn trim(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), ResponseError> {
        self.state.trim(topic, partition, offset)
    }

    /// Appends what another producer writes, as one batch without a transaction; answers with the offset
    /// of the first. Offsets in `records` count for nothing.
    ///
    /// # Errors
    /// What the broker would answer.
    pub fn write(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[ReadRecord],
    ) -> Result<i64, ResponseError> {
        crate::write::write(&mut self.state, (topic, partition), records)
    }

    /// Upgrades or downgrades the cluster while it runs.
    pub fn set_kafka(&mut self, kafka: Kafka) {
        self.state.set_kafka(kafka);
    }

    /// Sets the brokers' wall clock.
    pub fn set_wall(&mut self, wall: Timestamp) {
        self.state.set_wall(wall);
    }

    /// Where clients reach `broker`. Default: `broker-<id>`, 9092.
    pub fn set_address(&mut self, broker: BrokerId, host: &str, port: u16) {
        self.state.set_address(broker, host, port);
    }

    /// Whom the brokers let in from now on; who is in stays in until its login has to be repeated.
    /// `None`: everybody.
    pub fn users(&mut self) -> &mut Option<Users> {
        &mut self.state.settings.users
    }

    /// Takes a permission away.
    pub fn deny(&mut self, permission: Permission) {
        self.state.access.deny(permission);
    }

    /// Gives a permission back.
    pub fn allow(&mut self, permission: &Permission) {
        self.state.access.allow(permission);
    }

    /// All offsets of a group vanish, as they do when they expire.
    pub fn forget_group(&mut self, group: &str) {
        self.state.groups.forget(group);
    }
}

/// What a bad day brings.
impl Cluster {
    /// Gives a partition another leader; the old one answers 6 from now on.
    ///
    /// # Errors
    /// 3: there is no such partition; 8: the broker is not up.
    pub fn move_leader(
        &mut self,
        topic: &str,
        partition: i32,
        leader: BrokerId,
    ) -> Result<(), ResponseError> {
        self.state.move_leader(topic, partition, leader)
    }

    /// Gives a group, and the transactional id of the same name, another coordinator, or the same
    /// one again: its state is loaded anew. The old one answers 16 from now on.
    pub fn move_coordinator(&mut self, key: &str, coordinator: BrokerId) {
        self.state.move_coordinator(key, coordinator);
    }

    /// Who coordinates a group or a transactional id; `None` while no broker is up.
    #[must_use]
    pub fn coordinator(&self, key: &str) -> Option<BrokerId> {
        self.state.coordinator(key)
    }

    /// Who leads a partition; `None` while no broker is up, or there is no such partition.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<BrokerId> {
        self.state.partition(topic, partition).ok()?.leader
    }

    /// Stops a broker: its connections are closed, what it led and coordinated moves to the next
    /// broker that is up. Where there is none, it waits.
    pub fn stop_broker(&mut self, broker: BrokerId) {
        self.state.set_up(broker, false);
        self.connections.close_all(broker);
    }

    /// Starts a broker again. It leads what had no leader.
    pub fn start_broker(&mut self, broker: BrokerId) {
        self.state.set_up(broker, true);
    }

    /// Orders a fault. Of several that fit a request, the one ordered first strikes.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.inject(fault);
    }

    /// How many requests will be hit because that was ordered.
    #[must_use]
    pub fn faults_ordered(&self) -> u32 {
        self.faults.ordered()
    }

    /// Random faults from now on, drawn from the seed.
    ///
    /// # Panics
    /// If the rates together exceed 10 000.
    pub fn set_fault_rates(&mut self, rates: FaultRates) {
        self.faults.set_rates(rates);
    }

    /// The next marker for this partition is lost, as KAFKA-20734 does: the transaction is complete
    /// for its coordinator and open for ever in the partition.
    pub fn lose_partition_marker(&mut self, topic: &str, partition: i32) {
        self.state.losing.insert(Participant::Partition(topic.to_owned(), partition));
    }

    /// The next marker for the offsets of this group is lost: they answer 88 for ever.
    pub fn lose_group_marker(&mut self, group: &str) {
        self.state.losing.insert(Participant::Group(group.to_owned()));
    }
}

/// What a reader finds.
impl Cluster {
    /// What a `read_committed` consumer reads of a partition from its start; nothing of one that
    /// does not exist.
    #[must_use]
    pub fn read_committed(&self, topic: &str, partition: i32) -> Vec<ReadRecord> {
        self.state.partition(topic, partition).map_or_else(|_| Vec::new(), read::committed)
    }

    /// What a `read_uncommitted` consumer reads of a partition from its start.
    #[must_use]
    pub fn read_uncommitted(&self, topic: &str, partition: i32) -> Vec<ReadRecord> {
        self.state.partition(topic, partition).map_or_else(|_| Vec::new(), read::uncommitted)
    }

    /// The end of a partition: the offset of its next batch.
    #[must_use]
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        Some(self.state.partition(topic, partition).ok()?.end(Upto::End))
    }

    /// Up to where the transactions of a partition are decided.
    #[must_use]
    pub fn stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        Some(self.state.partition(topic, partition).ok()?.end(Upto::Stable))
    }

    /// The committed position of a group; `None`: none, or it has expired.
    #[must_use]
    pub fn committed_position(&self, group: &str, topic: &str, partition: i32) -> Option<Position> {
        let place = (topic.to_owned(), partition);
        let found = self.state.groups.fetch(self.state.now, group, (&place, false));
        let committed = found.ok().flatten()?;
        Some(Position { offset: committed.offset, metadata: committed.metadata.clone() })
    }

    /// The names of all topics, in order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.state.topics().map(|(name, _)| name.as_str())
    }
}
