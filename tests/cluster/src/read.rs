//! What a reader of the cluster sees.

use std::collections::BTreeSet;

use bytes::Bytes;
use tributary_core::time::Timestamp;

use crate::log::{Aborted, Batch, Partition, Record, Upto};

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

/// The records of a partition whose transactions are committed, up to the first undecided one.
pub(crate) fn committed(partition: &Partition) -> Vec<ReadRecord> {
    let end = partition.end(Upto::Stable);
    let mut starting: Vec<Aborted> = partition.aborted_from(partition.start()).copied().collect();
    starting.sort_by_key(|aborted| core::cmp::Reverse(aborted.first));
    // As consumers do: a producer's records are skipped from where its aborted transaction begins
    // to its next abort marker.
    let mut aborting = BTreeSet::new();
    let mut records = Vec::new();
    for batch in partition.batches_from(partition.start()) {
        let header = &batch.header;
        if header.last_offset() >= end {
            break;
        }
        while let Some(aborted) = starting.pop_if(|next| next.first <= header.last_offset()) {
            aborting.insert(aborted.producer_id);
        }
        if header.is_control() {
            aborting.remove(&header.producer_id);
        } else if !(header.is_transactional() && aborting.contains(&header.producer_id)) {
            records.extend(batch.records().flatten().map(ReadRecord::from));
        }
    }
    records
}

/// All records of a partition.
pub(crate) fn uncommitted(partition: &Partition) -> Vec<ReadRecord> {
    let batches = partition.batches_from(partition.start());
    let batches = batches.filter(|batch| !batch.header.is_control());
    batches.flat_map(Batch::records).flatten().map(ReadRecord::from).collect()
}

impl From<Record> for ReadRecord {
    fn from(record: Record) -> Self {
        let Record { offset, timestamp, key, value, headers } = record;
        Self { offset, timestamp, key, value, headers }
    }
}
