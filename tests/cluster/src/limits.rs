//! Every bound of the cluster, with its unit. What real brokers let an operator set, and a test may
//! want to set, is in [`crate::Settings`]; these are the rest.

/// Largest request frame, in bytes: `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes of one connection that may wait behind a request that is being held. Above, it is closed.
pub const CONNECTION_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;

/// Open connections of the whole cluster. Above, new ones are refused.
pub const CONNECTIONS_MAX: usize = 4096;

/// Topics of the cluster.
pub const TOPICS_MAX: usize = 4096;

/// Partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: u16 = 1024;

/// Transactional ids that the coordinator knows at a time.
pub const TRANSACTIONAL_IDS_MAX: usize = 65_536;

/// Partitions with a position in one group.
pub const GROUP_PARTITIONS_MAX: usize = 65_536;

/// Groups with a position.
pub const GROUPS_MAX: usize = 65_536;

/// Producers that one partition remembers. The one that wrote least recently is forgotten first.
pub const PARTITION_PRODUCERS_MAX: usize = 65_536;

/// Batches that a partition remembers of each producer, to recognise one that is sent again.
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// Length of a topic name, in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Length of the metadata of a committed offset, in bytes: `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// How far ahead of the broker's clock a record's time may be, in milliseconds:
/// `message.timestamp.after.max.ms`.
pub const TIMESTAMP_AHEAD_MS_MAX: i64 = 3_600_000;

/// Bytes of the records of one batch when they are decompressed.
pub const BATCH_RECORDS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that one answer to Fetch carries at most: `fetch.max.bytes`.
pub const FETCH_BYTES_MAX: usize = 55 * 1024 * 1024;

const _: () = assert!(REQUEST_BYTES_MAX <= CONNECTION_BYTES_MAX);
const _: () = assert!(OFFSET_METADATA_BYTES_MAX < REQUEST_BYTES_MAX);
