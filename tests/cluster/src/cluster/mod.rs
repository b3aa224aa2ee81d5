//! The cluster.

use std::collections::VecDeque;

use bytes::Bytes;
use tributary_core::time::Instant;

use crate::access::Access;
use crate::{
    BrokerId, Fault, FaultRates, Kafka, Permission, Position, ReadRecord, Settings, TopicSettings,
};

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
        /// Whole answers, in the order of the requests.
        bytes: Bytes,
    },
    /// The broker closes the connection; nothing more comes from it or may be given to it.
    Close {
        /// This one.
        conn: ConnId,
    },
}

/// A Kafka cluster. Time must not go back.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    access: Access,
    outputs: VecDeque<Output>,
    connections: u64,
}

impl Cluster {
    /// A fresh cluster: brokers 1 to `settings.brokers`, all up, no topic.
    ///
    /// # Panics
    /// If `settings.brokers` is 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        assert!(settings.brokers > 0, "a cluster has at least one broker");
        Self { settings, access: Access::default(), outputs: VecDeque::new(), connections: 0 }
    }

    /// Opens a connection to `broker`. `None`: refused, because the broker is down, unknown, or
    /// has [`crate::limits::CONNECTIONS_MAX`] connections.
    pub fn connect(&mut self, broker: BrokerId) -> Option<ConnId> {
        if broker.0 > i32::from(self.settings.brokers) {
            return None;
        }
        self.connections += 1;
        Some(ConnId(self.connections))
    }

    /// The client closed the connection.
    pub fn disconnect(&mut self, _conn: ConnId) {}

    /// Bytes arrived. Bytes for a connection that is closed are ignored.
    pub fn handle_bytes(&mut self, _now: Instant, conn: ConnId, _bytes: &[u8]) {
        self.outputs.push_back(Output::Close { conn });
    }

    /// Time has come to `now`: due markers are written, held requests go on.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Makes a topic, its leaders spread over the brokers. `false`: there is one of that name.
    pub fn create_topic(&mut self, _name: &str, _settings: TopicSettings) -> bool {
        false
    }

    /// Upgrades or downgrades the cluster while it runs.
    pub fn set_kafka(&mut self, kafka: Kafka) {
        self.settings.kafka = kafka;
    }

    /// Where clients reach `broker`. Default: `broker-<id>`, 9092.
    pub fn set_address(&mut self, _broker: BrokerId, _host: &str, _port: u16) {}

    /// Gives a partition another leader.
    pub fn move_leader(&mut self, _topic: &str, _partition: i32, _leader: BrokerId) {}

    /// Gives a group, and the transactional id of the same name, another coordinator, which loads
    /// its state anew.
    pub fn move_coordinator(&mut self, _key: &str, _coordinator: BrokerId) {}

    /// Stops a broker: its connections are closed, its partitions and coordinators move to the
    /// next broker that is up; where there is none, they wait for it.
    pub fn stop_broker(&mut self, _broker: BrokerId) {}

    /// Starts a broker again.
    pub fn start_broker(&mut self, _broker: BrokerId) {}

    /// Takes a permission away.
    pub fn deny(&mut self, permission: Permission) {
        self.access.deny(permission);
    }

    /// Gives a permission back.
    pub fn allow(&mut self, permission: &Permission) {
        self.access.allow(permission);
    }

    /// Orders a fault. Faults are tried in the order in which they were ordered.
    pub fn inject(&mut self, _fault: Fault) {}

    /// Random faults from now on.
    pub fn set_fault_rates(&mut self, _rates: FaultRates) {}

    /// What a `read_committed` consumer reads of a partition from its start.
    #[must_use]
    pub fn read_committed(&self, _topic: &str, _partition: i32) -> Vec<ReadRecord> {
        Vec::new()
    }

    /// What a `read_uncommitted` consumer reads of a partition from its start.
    #[must_use]
    pub fn read_uncommitted(&self, _topic: &str, _partition: i32) -> Vec<ReadRecord> {
        Vec::new()
    }

    /// The committed position of a group.
    #[must_use]
    pub fn committed_position(
        &self,
        _group: &str,
        _topic: &str,
        _partition: i32,
    ) -> Option<Position> {
        None
    }
}
