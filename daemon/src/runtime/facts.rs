//! What others may know of the log: its writer leaves it for them.

use tributary_core::Offset;
use tributary_core::log::{Counters, Log, LogId, Media};

use super::ingest::Closed;
use super::retention::Gone;

/// What others may know of the log.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The log's identity.
    pub id: LogId,
    /// This opening.
    pub generation: u32,
    /// The oldest event that is still there.
    pub oldest: Offset,
    /// Events that are gone, since the start.
    pub gone: Gone,
    /// Why events are refused, if they are.
    pub closed: Option<Closed>,
    /// What the device said when it failed last.
    pub failure: Option<String>,
    /// Writes and flushes since the start.
    pub counters: Counters,
}

impl Facts {
    /// What the log itself tells.
    pub(super) fn of<M: Media>(log: &Log<M, Box<[u8]>>) -> Self {
        Self {
            id: log.id(),
            generation: log.generation(),
            oldest: log.oldest(),
            gone: Gone::default(),
            closed: None,
            failure: log.failure().map(ToString::to_string),
            counters: log.counters(),
        }
    }
}
