//! What the brokers know together: topics, coordinators, permissions, time. Requests are applied to
//! it by [`crate::api`]; connections know nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::{Instant, Timestamp};
use uuid::Uuid;

use super::random::Random;
use crate::access::Access;
use crate::coordinator::{
    Client, Groups, Participant, Producer, TransactionSettings, Transactions,
};
use crate::limits::{TOPIC_NAME_BYTES_MAX, TOPIC_PARTITIONS_MAX, TOPICS_MAX};
use crate::log::Partition;
use crate::{BrokerId, Kafka, Settings, TopicSettings};

/// A topic and its partitions.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) settings: TopicSettings,
    pub(crate) partitions: Vec<Partition>,
}

/// The state of all brokers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    /// The latest time that was given in.
    pub(crate) now: Instant,
    pub(crate) access: Access,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) random: Random,
    /// Grows with everything that a waiting request may be waiting for.
    pub(crate) changes: u64,
    /// Markers of these are lost instead of written, once each.
    pub(crate) losing: BTreeSet<Participant>,
    brokers: Vec<Broker>,
    topics: BTreeMap<String, Topic>,
    /// Coordinators that were moved by hand.
    moved: BTreeMap<String, BrokerId>,
    cold: Cold,
    log_bytes: usize,
    features_epoch: i64,
    cluster_id: String,
}

#[derive(Debug)]
struct Broker {
    host: String,
    port: u16,
    up: bool,
}

/// Which internal topics are yet to be made; each is refused once.
#[derive(Debug)]
struct Cold {
    groups: bool,
    transactions: bool,
    producer_ids: bool,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed);
        let broker = |id| Broker { host: format!("broker-{id}"), port: 9092, up: true };
        let transactions = TransactionSettings {
            kafka: settings.kafka,
            marker_delay_ms: settings.marker_delay_ms,
            timeout_max_ms: settings.transaction_timeout_max_ms,
            sweep_ms: settings.transaction_sweep_ms,
            expiration_ms: settings.transactional_id_expiration_ms,
            epoch_max: settings.epoch_max,
        };
        let cold = settings.cold_start;
        Self {
            now: Instant(0),
            access: Access::default(),
            groups: Groups::new(settings.offsets_retention_ms),
            transactions: Transactions::new(transactions),
            changes: 0,
            losing: BTreeSet::new(),
            brokers: (1..=settings.brokers).map(broker).collect(),
            topics: BTreeMap::new(),
            moved: BTreeMap::new(),
            cold: Cold { groups: cold, transactions: cold, producer_ids: cold },
            log_bytes: 0,
            features_epoch: 1,
            cluster_id: format!("{:016x}", random.draw()),
            random,
            settings,
        }
    }

    /// The brokers' wall clock.
    pub(crate) fn wall(&self) -> Timestamp {
        let ms = i64::try_from(self.now.0).unwrap_or(i64::MAX);
        Timestamp(self.settings.wall_at_origin.0.saturating_add(ms))
    }

    pub(super) fn set_wall(&mut self, wall: Timestamp) {
        let ms = i64::try_from(self.now.0).unwrap_or(i64::MAX);
        self.settings.wall_at_origin = Timestamp(wall.0.saturating_sub(ms));
    }

    pub(crate) const fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    pub(crate) const fn features_epoch(&self) -> i64 {
        self.features_epoch
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Something happened that waiting requests may wait for, and the logs grew by so much.
    pub(crate) const fn changed(&mut self, bytes: usize) {
        self.changes += 1;
        self.log_bytes += bytes;
    }

    pub(crate) fn set_kafka(&mut self, kafka: Kafka) {
        self.settings.kafka = kafka;
        self.transactions.settings.kafka = kafka;
        self.features_epoch += 1;
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&String, &Topic)> {
        self.topics.iter()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<&Topic, Error> {
        self.topics.get(name).ok_or(Error::UnknownTopicOrPartition)
    }

    pub(crate) fn topic_mut(&mut self, name: &str) -> Result<&mut Topic, Error> {
        self.topics.get_mut(name).ok_or(Error::UnknownTopicOrPartition)
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<&Partition, Error> {
        let index = usize::try_from(index).map_err(|_| Error::UnknownTopicOrPartition)?;
        self.topic(topic)?.partitions.get(index).ok_or(Error::UnknownTopicOrPartition)
    }

    pub(crate) fn partition_mut(
        &mut self,
        topic: &str,
        index: i32,
    ) -> Result<&mut Partition, Error> {
        let index = usize::try_from(index).map_err(|_| Error::UnknownTopicOrPartition)?;
        self.topic_mut(topic)?.partitions.get_mut(index).ok_or(Error::UnknownTopicOrPartition)
    }

    /// The partition, if `broker` leads it.
    pub(crate) fn led_partition(
        &self,
        topic: &str,
        index: i32,
        broker: BrokerId,
    ) -> Result<&Partition, Error> {
        let partition = self.partition(topic, index)?;
        if partition.leader == Some(broker) {
            Ok(partition)
        } else {
            Err(Error::NotLeaderOrFollower)
        }
    }

    /// Makes a topic, each partition led by the next broker.
    pub(crate) fn alter_topic(&mut self, name: &str, settings: TopicSettings) -> Result<(), Error> {
        let topic = self.topics.get_mut(name).ok_or(Error::UnknownTopicOrPartition)?;
        topic.settings = settings;
        Ok(())
    }

    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        settings: TopicSettings,
    ) -> Result<(), Error> {
        if self.topics.contains_key(name) {
            return Err(Error::TopicAlreadyExists);
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(Error::PolicyViolation);
        }
        if !is_topic_name(name) {
            return Err(Error::InvalidTopicException);
        }
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&settings.partitions) {
            return Err(Error::InvalidPartitions);
        }
        let first = self.topics.len();
        let leader = |index| self.up_from(first + index);
        let partitions = (0..usize::from(settings.partitions)).map(leader).map(Partition::new);
        let partitions = partitions.collect();
        let id = Uuid::from_u64_pair(self.random.draw(), self.random.draw() | 1);
        self.topics.insert(name.to_owned(), Topic { id, settings, partitions });
        Ok(())
    }

    /// Deletes a topic and its records. Offsets that groups committed on it stay.
    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<(), Error> {
        let topic = self.topics.remove(name).ok_or(Error::UnknownTopicOrPartition)?;
        self.log_bytes -= topic.partitions.iter().map(Partition::bytes).sum::<usize>();
        Ok(())
    }

    /// Deletes the records below `offset`.
    pub(crate) fn trim(&mut self, topic: &str, index: i32, offset: i64) -> Result<(), Error> {
        let partition = self.partition_mut(topic, index)?;
        let before = partition.bytes();
        partition.trim(offset);
        let after = partition.bytes();
        self.log_bytes -= before - after;
        Ok(())
    }

    /// Registers a participant of a transaction, or in version 0 asks whether it is. Not asked for
    /// where the very transaction is open already, as brokers do. Fencing is 47 here.
    pub(crate) fn enter_transaction(
        &mut self,
        caller: (&str, Producer, Client),
        into: Participant,
    ) -> Result<(), Error> {
        let (id, producer, client) = caller;
        let is_open = match &into {
            Participant::Partition(topic, index) => self
                .partition(topic, *index)
                .is_ok_and(|partition| partition.has_open(producer.id, producer.epoch)),
            Participant::Group(group) => self.groups.has_open(group, producer),
        };
        if is_open {
            return Ok(());
        }
        let result = match client {
            Client::V0 => self.transactions.verify(self.now, (id, producer), &into),
            Client::V2 => self.transactions.add(self.now, caller, &BTreeSet::from([into])),
        };
        result.map_err(|error| match error {
            Error::ProducerFenced => Error::InvalidProducerEpoch,
            error => error,
        })
    }

    /// Does what time has brought: writes markers, aborts what is too old.
    pub(super) fn settle(&mut self) {
        self.transactions.sweep(self.now);
        while let Some(ending) = self.transactions.take_due(self.now) {
            let producer = (ending.producer.id, ending.producer.epoch);
            for participant in ending.participants {
                if !self.losing.remove(&participant) {
                    self.mark(producer, ending.commit, &participant);
                }
            }
            self.changes += 1;
        }
    }

    fn mark(&mut self, producer: (i64, i16), commit: bool, participant: &Participant) {
        let wall = self.wall();
        match participant {
            Participant::Group(group) => self.groups.mark(group, producer.0, commit),
            Participant::Partition(topic, index) => {
                // A topic that was deleted meanwhile needs no marker.
                let bytes = self
                    .partition_mut(topic, *index)
                    .map_or(0, |partition| partition.mark(producer, commit, wall));
                self.changed(bytes);
            }
        }
    }

    // Brokers and coordinators.

    pub(crate) fn is_up(&self, broker: BrokerId) -> bool {
        self.broker(broker).is_some_and(|broker| broker.up)
    }

    pub(crate) fn brokers_up(&self) -> impl Iterator<Item = BrokerId> {
        (1..).zip(&self.brokers).filter(|(_, broker)| broker.up).map(|(id, _)| BrokerId(id))
    }

    pub(crate) fn address(&self, broker: BrokerId) -> (&str, u16) {
        self.broker(broker).map_or(("", 0), |broker| (&broker.host, broker.port))
    }

    pub(super) fn set_address(&mut self, broker: BrokerId, host: &str, port: u16) {
        if let Some(broker) = self.broker_mut(broker) {
            host.clone_into(&mut broker.host);
            broker.port = port;
        }
    }

    /// Stops or starts a broker; what it led or coordinated moves where it can.
    pub(super) fn set_up(&mut self, broker: BrokerId, up: bool) {
        let coordinated: BTreeSet<String> = self.coordinated_by(broker);
        if let Some(broker) = self.broker_mut(broker) {
            broker.up = up;
        }
        let alive: Vec<BrokerId> = self.brokers_up().collect();
        let next = alive.iter().find(|id| **id > broker).or(alive.first()).copied();
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader.is_none_or(|leader| !alive.contains(&leader)) {
                partition.lead_by(next);
            }
        }
        self.transactions.reload(self.now, |id| coordinated.contains(id));
        self.changes += 1;
    }

    pub(super) fn move_leader(
        &mut self,
        topic: &str,
        index: i32,
        leader: BrokerId,
    ) -> Result<(), Error> {
        if !self.is_up(leader) {
            return Err(Error::BrokerNotAvailable);
        }
        self.partition_mut(topic, index)?.lead_by(Some(leader));
        self.changes += 1;
        Ok(())
    }

    /// The broker that coordinates the group, or the transactional id, `key`.
    pub(crate) fn coordinator(&self, key: &str) -> Option<BrokerId> {
        let home = crc32c::crc32c(key.as_bytes()) as usize;
        let moved = self.moved.get(key).filter(|broker| self.is_up(**broker));
        moved.copied().or_else(|| self.up_from(home))
    }

    pub(crate) fn check_coordinator(&self, key: &str, asked: BrokerId) -> Result<(), Error> {
        if self.coordinator(key) == Some(asked) { Ok(()) } else { Err(Error::NotCoordinator) }
    }

    pub(super) fn move_coordinator(&mut self, key: &str, to: BrokerId) {
        self.moved.insert(key.to_owned(), to);
        self.transactions.reload(self.now, |id| id == key);
        self.changes += 1;
    }

    /// Refuses once with 15 while the coordinators' internal topic is yet to be made.
    pub(crate) const fn warm_coordinator(&mut self, of_transactions: bool) -> Result<(), Error> {
        let cold =
            if of_transactions { &mut self.cold.transactions } else { &mut self.cold.groups };
        if core::mem::replace(cold, false) { Err(Error::CoordinatorNotAvailable) } else { Ok(()) }
    }

    /// Refuses once with 14 while the first block of producer ids is yet to be had.
    pub(crate) const fn warm_producer_ids(&mut self) -> Result<(), Error> {
        let cold = core::mem::replace(&mut self.cold.producer_ids, false);
        if cold { Err(Error::CoordinatorLoadInProgress) } else { Ok(()) }
    }

    fn coordinated_by(&self, broker: BrokerId) -> BTreeSet<String> {
        let ids = self.transactions.ids();
        ids.filter(|id| self.coordinator(id) == Some(broker)).cloned().collect()
    }

    /// The first broker that is up, counting from `home` in a circle.
    fn up_from(&self, home: usize) -> Option<BrokerId> {
        let up: Vec<_> = self.brokers_up().collect();
        let count = self.brokers.len();
        let wanted = BrokerId(i32::try_from(home % count + 1).expect("brokers are counted in u16"));
        up.iter().find(|id| **id >= wanted).or(up.first()).copied()
    }

    fn broker(&self, broker: BrokerId) -> Option<&Broker> {
        self.brokers.get(usize::try_from(broker.0).ok()?.checked_sub(1)?)
    }

    fn broker_mut(&mut self, broker: BrokerId) -> Option<&mut Broker> {
        self.brokers.get_mut(usize::try_from(broker.0).ok()?.checked_sub(1)?)
    }
}

/// Letters, digits, `.`, `_` and `-`; not `.` or `..`.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(legal)
        && !matches!(name, "." | "..")
}
