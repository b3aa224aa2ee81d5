//! Limits of the bridge, each with its unit.

/// The largest answer that we take from a broker, length field excluded.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most array elements that one answer may hold, those of integers aside: bounds what decoding it may
/// allocate.
pub const ELEMENTS_MAX: usize = 65_536;
/// Topics that one replicator ships to; more are forgotten and looked up again.
pub const TOPICS_MAX: usize = 1024;
/// The longest name that Kafka gives a topic.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Partitions of one topic that we address.
pub const PARTITIONS_MAX: usize = 16_384;
/// The longest account in a position: with the rest it stays below Kafka's
/// `offset.metadata.max.bytes` (4096).
pub const ACCOUNT_BYTES_MAX: usize = 4000;
/// The most bytes of records that one batch brings a reader, when they are decompressed; a batch that is
/// larger is passed over.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most memory that the records of one answer take; a batch that takes more by itself is passed over.
pub const READ_MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Partitions of one topic that a reader reads: where it is in each of them is kept.
pub const READ_PARTITIONS_MAX: usize = 128;
/// The most records of one transaction.
pub const RECORDS_MAX: usize = 100_000;

const _: () = assert!(ACCOUNT_BYTES_MAX + "v1,01234567,".len() < 4096, "metadata fits");
