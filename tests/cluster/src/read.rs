//! What a reader of the cluster sees.

use bytes::Bytes;
use tributary_core::time::Timestamp;

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// The producer's time, or the broker's where the topic stamps itself.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A committed offset of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read; -1 where a client committed that.
    pub offset: i64,
    /// What the client stored beside it.
    pub metadata: String,
}
