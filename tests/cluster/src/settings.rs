//! What a cluster is made of: its release, its brokers, and the server settings that tests turn.

use tributary_core::time::Timestamp;

use crate::Users;

/// A broker's number in the cluster; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

/// The finalized level of the feature `transaction.version` (KIP-890).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionVersion {
    /// Not finalized: partitions are registered by request, the epoch changes with the session.
    V0,
    /// Like 0 on the wire; the coordinator's log can hold what version 2 needs.
    V1,
    /// Partitions are registered by writing to them, the epoch changes with each transaction.
    V2,
}

/// The release that the brokers answer as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kafka {
    /// Apache Kafka 3.9.2, which does not know the feature `transaction.version`: its level is 0.
    V3_9_2,
    /// Apache Kafka 4.1.2 with the given level.
    V4_1_2(TransactionVersion),
}

impl Kafka {
    /// The level of `transaction.version` in force.
    #[must_use]
    pub const fn transaction_version(self) -> TransactionVersion {
        match self {
            Self::V3_9_2 => TransactionVersion::V0,
            Self::V4_1_2(version) => version,
        }
    }
}

/// What a cluster starts with. The defaults are Kafka's own, except where a field says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many brokers there are; at least 1. Default: 1.
    pub brokers: u16,
    /// The release. Default: 4.1.2 with transaction version 2.
    pub kafka: Kafka,
    /// Seed of identifiers and of random faults.
    pub seed: u64,
    /// Wall time of the brokers at `Instant(0)`. Default: 2026-01-01.
    pub wall_at_origin: Timestamp,
    /// From the decision about a transaction to its markers in the partitions. Default: 0, so that
    /// a transaction is complete when the answer leaves.
    pub marker_delay_ms: u64,
    /// How long a request of transaction version 2 waits inside the broker for the markers of the
    /// transaction before, instead of being answered 51. Default: 100.
    pub concurrent_hold_ms: u64,
    /// `transaction.max.timeout.ms`.
    pub transaction_timeout_max_ms: u32,
    /// How often transactions are checked for their timeout. Default: 10 s.
    pub transaction_sweep_ms: u64,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: u64,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: u64,
    /// The highest producer epoch, at least 1; the producer id is replaced when it comes near.
    /// Default: 32 767.
    pub epoch_max: i16,
    /// Whether the internal topics are yet to be made: the first `FindCoordinator` of each kind is
    /// then answered 15 and the first `InitProducerId` 14. Default: no, unlike a fresh cluster.
    pub cold_start: bool,
    /// Bytes of all partition logs together; above, Produce is answered 56. Default: 1 GiB.
    pub log_bytes_max: usize,
    /// Whom the brokers let in by SASL. Default: `None`, everybody.
    pub users: Option<Users>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: 1,
            kafka: Kafka::V4_1_2(TransactionVersion::V2),
            seed: 0,
            wall_at_origin: Timestamp(1_767_225_600_000),
            marker_delay_ms: 0,
            concurrent_hold_ms: 100,
            transaction_timeout_max_ms: 900_000,
            transaction_sweep_ms: 10_000,
            transactional_id_expiration_ms: 7 * 24 * 3_600_000,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            epoch_max: i16::MAX,
            cold_start: false,
            log_bytes_max: 1024 * 1024 * 1024,
            users: None,
        }
    }
}

/// What a topic starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions; 1 to [`crate::limits::TOPIC_PARTITIONS_MAX`].
    pub partitions: u16,
    /// Largest batch in bytes, its header included: `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type=LogAppendTime`: the broker stamps the batches itself.
    pub log_append_time: bool,
    /// `cleanup.policy=compact`: a record without a key is refused.
    pub compacted: bool,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self { partitions: 1, batch_bytes_max: 1_048_588, log_append_time: false, compacted: false }
    }
}
