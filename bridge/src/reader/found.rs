//! Where reading begins, and what is found.

use std::collections::{BTreeMap, BTreeSet};

use tributary_core::time::{Instant, Timestamp};

use super::ReadRecord;

/// Where reading of a topic begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The topic's id when it was read last, if the cluster has told it.
    pub id: Option<u128>,
    /// By partition the offset of the next record.
    pub next: BTreeMap<i32, u64>,
    /// Where the other partitions begin.
    pub others: Edge,
}

/// A place that only the cluster knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The oldest record.
    Beginning,
    /// What comes next.
    End,
    /// The last record before what comes next.
    Last,
    /// The last record before the first one that is not older: if the one is gone, others may be.
    Before(Timestamp),
}

/// What a reader has found. Each is to be kept, but for `AtEnd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Reading of a partition begins.
    Began {
        /// The topic.
        topic: String,
        /// Its id, if the cluster tells it.
        id: Option<u128>,
        /// The partition.
        partition: i32,
        /// How many the topic has.
        partitions: usize,
        /// The offset of the next record.
        next: u64,
        /// Why here.
        why: Began,
    },
    /// Records, or nothing but the place behind what is not to be read.
    Records {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What is committed, in order.
        records: Vec<ReadRecord>,
        /// First and last offset of batches that cannot be read: too large, or damaged.
        unreadable: Vec<(u64, u64)>,
        /// The offset of the next record.
        next: u64,
    },
    /// All was read that was there when this session began, open transactions included.
    AtEnd {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

/// Why reading of a partition begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// It was not read before.
    First,
    /// The topic was deleted and made again.
    Recreated,
    /// Records from here on were deleted before they were read.
    Gone(u64),
    /// The partition ends before this place, where reading was to go on: it has lost records, or is
    /// another one.
    Beyond(u64),
}

/// How a reader stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderStatus {
    /// Whether records come as they are committed.
    pub is_live: bool,
    /// Until when nothing is tried, if it is waited.
    pub until: Option<Instant>,
    /// What last went wrong, in words; kept until the next thing goes wrong.
    pub last_error: Option<String>,
    /// The topics that are not there.
    pub missing: BTreeSet<String>,
    /// What somebody has to put right before a session can go on.
    pub refused: Option<String>,
}

impl ReaderStatus {
    /// What is not there, in words.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        self.missing.first().map(|topic| format!("topic {topic} does not exist"))
    }
}

impl Edge {
    /// As `ListOffsets` asks for it.
    pub(super) const fn moment(self) -> i64 {
        match self {
            Self::End | Self::Last => -1,
            Self::Beginning => -2,
            Self::Before(Timestamp(ms)) => ms,
        }
    }
}
