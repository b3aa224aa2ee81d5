//! What the operator decides about one lane of the bridge, and the names that follow from it.

use crate::batch::{Codec, Compression};
use crate::limits::RECORDS_MAX;

/// The topic in whose name positions are committed: nothing is ever written to it, but Kafka
/// keeps offsets only for a topic that exists.
pub(crate) const POSITIONS_TOPIC: &str = "tributary.positions";
/// 0 is the input log; the others are for further sources of a lane.
pub(crate) const POSITIONS_PARTITIONS: i32 = 4;
/// The partition of [`POSITIONS_TOPIC`] that stands for the input log.
pub(crate) const INPUT_PARTITION: i32 = 0;

/// Settings of one replicator. Every lane has one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The gateway's name: in ids, and the source of its partition.
    pub gateway: String,
    /// Identity of the local log. A new log is a new identity to Kafka.
    pub log_id: u64,
    /// The lane: `high`, `normal` or `bulk`.
    pub lane: String,
    /// Brokers to ask first, tried in turn. Not empty.
    pub bootstrap: Vec<(String, u16)>,
    /// How long Kafka lets a transaction stay open. It holds up the readers of its partitions, so
    /// it is short; transactions are sized to need a third of it. One that cannot be made smaller gets more time.
    pub transaction_timeout_ms: u32,
    /// How long a broker may take to answer, or a connection to open, before the session ends. Behind such a
    /// transaction answers get more time, too.
    pub request_timeout_ms: u32,
    /// How much one transaction may carry.
    pub batch: BatchLimits,
    /// What record batches are compressed with.
    pub compression: Compression,
    /// What is promised.
    pub delivery: Delivery,
    /// How missing topics are made.
    pub create: Creation,
    /// Whether brokers want a login (SASL): then `Output::Authenticate` asks for credentials.
    pub authenticate: bool,
    /// Whether connections are encrypted; only what people are told depends on it.
    pub encrypted: bool,
}

/// What is promised to who reads the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Each record once, by transactions that carry the position.
    #[default]
    ExactlyOnce,
    /// Each record at least once, in order, by an idempotent producer (KIP-98) without transactions; the
    /// position is committed behind the records. For clusters that have no transactions, or do not permit them.
    AtLeastOnce,
}

/// How much one transaction may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of one record batch: below the broker's `message.max.bytes` (1,048,588 by default).
    pub batch_bytes: usize,
    /// Bytes of all batches of one transaction, for a link that is fast enough; twice as many where a full one
    /// takes seconds.
    pub transaction_bytes: usize,
    /// Records of one transaction.
    pub records: usize,
}

/// How missing topics are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Partitions of a new topic; -1 leaves it to the broker (KIP-464).
    pub partitions: i32,
    /// Replicas of a new topic; -1 leaves it to the broker (KIP-464).
    pub replication: i16,
}

impl Settings {
    /// Settings with every default for a gateway, its log and the brokers to ask first.
    #[must_use]
    pub fn new(gateway: &str, log_id: u64, bootstrap: Vec<(String, u16)>) -> Self {
        Self {
            gateway: gateway.to_owned(),
            log_id,
            lane: "normal".to_owned(),
            bootstrap,
            transaction_timeout_ms: 15_000,
            request_timeout_ms: 15_000,
            batch: BatchLimits::default(),
            compression: Compression::Fixed(Codec::None),
            delivery: Delivery::default(),
            create: Creation::default(),
            authenticate: false,
            encrypted: false,
        }
    }

    /// The transactional id and the group id, which are the same: `tributary.<gateway>.<log id, 16
    /// hex digits>.<lane>`.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("tributary.{}.{:016x}.{}", self.gateway, self.log_id, self.lane)
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { batch_bytes: 900_000, transaction_bytes: 4 * 1024 * 1024, records: RECORDS_MAX }
    }
}

impl Default for Creation {
    fn default() -> Self {
        Self { partitions: -1, replication: -1 }
    }
}
