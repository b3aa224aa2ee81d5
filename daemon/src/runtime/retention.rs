//! What goes when: by age, and when the log is full.
//!
//! A full log drops its oldest events, or holds: then it takes none until the lanes have shipped
//! theirs. Only the positions of lanes hold it, never those of other readers. What was shipped
//! stays as long as there is room: nothing is given up before its place is needed or its age is
//! reached.

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tributary_core::Offset;
use tributary_core::log::Clock;
use tributary_core::time::{Age, Instant};

use crate::config::{Log, WhenFull};
use crate::sync::lock;

/// Age is looked at this often within the longest age that is allowed.
const CHECKS_PER_AGE: u64 = 32;
/// And at least this often, and not more often, in ms.
const CHECK_MS: Range<u64> = 1_000..600_000;

/// What is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Events go when they are older.
    pub max_age: Option<Duration>,
    /// What happens when the log is full.
    pub when_full: WhenFull,
}

impl Policy {
    /// As a configuration wants it.
    pub(super) fn of(log: &Log) -> Self {
        Self { max_age: log.max_age, when_full: log.when_full }
    }
}

/// Called before the log gives up events below an offset: who has to know them reads them now.
pub type LastLook = Box<dyn FnMut(Offset) + Send>;

/// Where the lanes are: below, nothing is left to be shipped.
#[derive(Debug, Default)]
pub struct Positions {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_lane: BTreeMap<String, Offset>,
    /// Every lane is among them.
    is_complete: bool,
}

impl Positions {
    /// A lane that has come so far. From now on it counts.
    pub fn set(&self, lane: &str, settled: Offset) {
        let by_lane = &mut lock(&self.known).by_lane;
        match by_lane.get_mut(lane) {
            Some(position) => *position = settled,
            None => drop(by_lane.insert(lane.to_owned(), settled)),
        }
    }

    /// All lanes that there are have told where they are. Before that a log that holds gives up
    /// nothing: after a start lanes come later than the log.
    pub fn complete(&self) {
        lock(&self.known).is_complete = true;
    }

    /// A lane that is no more.
    pub fn remove(&self, lane: &str) {
        lock(&self.known).by_lane.remove(lane);
    }

    /// Only what lies below may be given up by a log that holds; `None`: there is no lane to hold it.
    pub(super) fn held_from(&self) -> Option<Offset> {
        let known = lock(&self.known);
        if known.is_complete { known.by_lane.values().min().copied() } else { Some(Offset(0)) }
    }

    /// The lane that is the furthest behind, and its position.
    pub fn last(&self) -> Option<(String, Offset)> {
        let by_lane = &lock(&self.known).by_lane;
        by_lane.iter().min_by_key(|(_, at)| **at).map(|(lane, at)| (lane.clone(), *at))
    }

    fn all(&self) -> Vec<(String, Offset)> {
        lock(&self.known).by_lane.iter().map(|(lane, at)| (lane.clone(), *at)).collect()
    }
}

/// Offsets that are gone, counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Events that made room for newer ones.
    pub evicted: u64,
    /// Events that were older than allowed.
    pub expired: u64,
    /// Of both, by lane: those that it had not shipped.
    pub unshipped: BTreeMap<String, u64>,
}

impl Gone {
    /// Counts what is gone for the lanes.
    pub(super) fn note(&mut self, range: &Range<Offset>, positions: &Positions) {
        for (lane, at) in positions.all() {
            let unshipped = range.end.0.saturating_sub(range.start.max(at).0);
            if unshipped > 0 {
                *self.unshipped.entry(lane).or_default() += unshipped;
            }
        }
    }
}

/// When to look which events are too old.
#[derive(Debug)]
pub(super) struct Expiry {
    max_age_ms: u64,
    due: Instant,
}

impl Expiry {
    pub(super) fn new(max_age: Duration) -> Self {
        let max_age_ms = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        Self { max_age_ms, due: Instant(0) }
    }

    /// If it is time to look: events from before this age go.
    pub(super) fn due(&mut self, now: Instant, clock: Clock) -> Option<Age> {
        if now < self.due {
            return None;
        }
        let pause_ms = (self.max_age_ms / CHECKS_PER_AGE).clamp(CHECK_MS.start, CHECK_MS.end);
        self.due = now.plus_ms(pause_ms);
        clock.age.0.checked_sub(self.max_age_ms).map(Age)
    }
}
