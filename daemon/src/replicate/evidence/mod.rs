//! What of a lane stands in Kafka, by reading it: the tie-breaker for what is in doubt.
//!
//! A transaction of a lane is there as a whole or not at all, in all of its topics, and transactions
//! follow each other. So the highest offset of this log that stands in any topic of the lane tells how far
//! it has come: all that it had selected up to there is in Kafka, and nothing behind. It takes that every topic was
//! read, from before the doubt began to the end, and that nothing was deleted there meanwhile. A topic that is not
//! there at all has nothing of the lane. Where the lane reads back, "highest" is what comes last on its way. What is
//! gone from the log was passed by a transaction, too, which may have told the topic of gaps and nothing else: its
//! records name the offsets.

mod ground;
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use tributary_bridge::{Began, Found, ReadRecord};
use tributary_core::Offset;

use super::feed::{GAP_ROUTE, GapTold};
use crate::config::Lane;
pub use ground::{Ground, LookBack, Place, Share, Step};

/// Which log, opening and offset a batch begins with.
const BATCH: &str = "tributary.batch";
const OFFSET: &str = "tributary.offset";
const ROUTE: &str = "tributary.route";

/// What was read so far.
#[derive(Clone, Debug)]
pub struct Evidence {
    log_id: u64,
    /// The first offset in doubt.
    start: u64,
    ground: Ground,
    /// Where reading of each partition began.
    starts: BTreeMap<(String, i32), u64>,
    /// How many partitions each topic has.
    counts: BTreeMap<String, usize>,
    /// Partitions that are being read; whether their end was reached.
    partitions: BTreeMap<(String, i32), bool>,
    /// Behind what was read of each partition.
    nexts: BTreeMap<(String, i32), u64>,
    /// By the number of the route, what is in doubt and stands in Kafka.
    found: BTreeMap<u32, BTreeSet<Place>>,
    /// By the number of the route what is told to be gone: its first offset, and its end. Of routes with nothing in
    /// doubt under 0.
    gone: BTreeSet<(u32, u64, u64)>,
    /// The last of it by partition.
    shown: BTreeMap<(String, i32), Place>,
    /// Bytes of records that were read.
    pub bytes: u64,
    /// Why nothing can be concluded.
    pub flaw: Option<String>,
}

/// Partitions that cannot be read to their end, because a transaction in them stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// By topic and partition the offset at which it begins.
    pub from: BTreeMap<(String, i32), u64>,
    /// Whether partitions that were read to their end show something that may be of the transaction that stays open.
    pub shown_elsewhere: bool,
}

/// How far a lane has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The offset behind the last event that stands in Kafka; where the doubt begins if none does.
    pub at: u64,
    /// How far it has read back there.
    pub backfill: Option<Offset>,
    /// By the number of each route that the lane has met how many of its records in doubt stand there.
    pub delivered: BTreeMap<u32, u64>,
    /// How many of a route's events Kafka was told to be gone.
    pub lost: BTreeMap<u32, u64>,
}

impl Evidence {
    /// Nothing was read yet. `start`: the first offset in doubt.
    #[must_use]
    pub fn new(log_id: u64, start: u64, ground: Ground) -> Self {
        Self {
            log_id,
            start,
            ground,
            starts: BTreeMap::new(),
            counts: BTreeMap::new(),
            partitions: BTreeMap::new(),
            nexts: BTreeMap::new(),
            found: BTreeMap::new(),
            gone: BTreeSet::new(),
            shown: BTreeMap::new(),
            bytes: 0,
            flaw: None,
        }
    }

    /// A reader has found this.
    pub fn handle_found(&mut self, found: &Found) {
        match found {
            Found::Began { topic, partition, partitions, next, why, .. } => {
                self.counts.insert(topic.clone(), *partitions);
                self.partitions.entry((topic.clone(), *partition)).or_insert(false);
                self.starts.entry((topic.clone(), *partition)).or_insert(*next);
                self.nexts.insert((topic.clone(), *partition), *next);
                // Where nobody knows since when, all that ever was has to be there.
                let is_cut = self.ground.since.is_none() && *next > 0;
                if !matches!(why, Began::First) || is_cut {
                    self.fail(format!("records of {topic}-{partition} were deleted meanwhile"));
                }
            }
            Found::Records { topic, partition, records, unreadable, next } => {
                self.nexts.insert((topic.clone(), *partition), *next);
                self.bytes += records.iter().map(bytes_of).sum::<u64>();
                if let Some((first, last)) = unreadable.first() {
                    let words = format!(
                        "offsets {first} to {last} of {topic}-{partition} cannot be read: too large, or damaged"
                    );
                    self.fail(words);
                }
                let owners = owners(records);
                let start = self.starts.get(&(topic.clone(), *partition)).copied();
                // What began before reading did is from before the doubt.
                let whole = records.iter().filter(|record| Some(record.batch) >= start);
                for record in whole {
                    match owners.get(&record.batch) {
                        Some(log) if *log == self.log_id => self.note((topic, *partition), record),
                        Some(_) => {}
                        None => self.note_orphan(topic, record),
                    }
                }
            }
            Found::AtEnd { topic, partition } => {
                self.partitions.insert((topic.clone(), *partition), true);
            }
        }
    }

    /// A topic is not there: it was never made, or all that it had went with it. Of it nothing can come twice.
    pub fn handle_missing(&mut self, topic: &str) {
        self.counts.entry(topic.to_owned()).or_insert(0);
    }

    /// The first record of its batch is gone: it may be one of this log's, or another's.
    fn note_orphan(&mut self, topic: &str, record: &ReadRecord) {
        if place_of(record)
            .is_some_and(|(offset, route)| self.ground.place(route, offset).is_some())
        {
            let place = record.offset;
            let words =
                format!("whose the record {place} of {topic} is does not show: it was compacted");
            self.fail(words);
        }
    }

    fn note(&mut self, (topic, partition): (&str, i32), record: &ReadRecord) {
        let Some((offset, route)) = place_of(record) else {
            if let Some(told) = self.gap_of(topic, record) {
                self.note_gap((topic, partition), &told);
                return;
            }
            let place = record.offset;
            let words = format!(
                "the record {place} of {topic} does not name its offset and route: `headers` leaves them out"
            );
            self.fail(words);
            return;
        };
        if let Some((id, place)) = self.ground.place(route, offset) {
            self.found.entry(id).or_default().insert(place);
            self.show((topic, partition), place);
        }
    }

    fn show(&mut self, (topic, partition): (&str, i32), place: Place) {
        let last = self.shown.entry((topic.to_owned(), partition)).or_insert(place);
        *last = place.max(*last);
    }

    /// What a record tells to be gone, if it is one of those.
    fn gap_of(&self, topic: &str, record: &ReadRecord) -> Option<GapTold> {
        self.ground.gaps.as_ref().filter(|(of_gaps, _)| of_gaps == topic)?;
        serde_json::from_slice(record.value.as_ref()?).ok()
    }

    /// A transaction of the lane has passed what is gone.
    fn note_gap(&mut self, at: (&str, i32), told: &GapTold) {
        let is_own = |(_, lane): &(String, Lane)| told.lane == lane.name();
        if !self.ground.gaps.as_ref().is_some_and(is_own) {
            return;
        }
        let start = self.start;
        for it in told.routes.iter().filter(|it| it.end > start) {
            let shares = self.ground.routes.get(&it.route);
            let id = shares.and_then(|shares| shares.first()).map_or(GAP_ROUTE, |share| share.id);
            self.gone.insert((id, it.first, it.end));
            self.show(at, Place { at: it.end - 1, step: Step::On });
        }
    }

    fn fail(&mut self, why: String) {
        self.flaw.get_or_insert(why);
    }

    /// What is still to be read, if there is more but nobody is shown it: an open transaction is in front. Transactions
    /// follow each other, so nothing is of this one that is not behind all that stands before it where it is open.
    #[must_use]
    pub fn held_back(&self) -> Option<HeldBack> {
        let open = self.partitions.iter().filter(|(_, at_end)| !**at_end);
        let from: BTreeMap<_, _> = open
            .map(|(place, _)| (place.clone(), self.nexts.get(place).copied().unwrap_or(0)))
            .collect();
        let before = from.keys().map(|place| self.shown.get(place)).min().flatten();
        let elsewhere = self.shown.iter().filter(|(place, _)| !from.contains_key(*place));
        let shown_elsewhere = elsewhere.map(|(_, highest)| highest).max() > before;
        (!from.is_empty()).then_some(HeldBack { from, shown_elsewhere })
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let was_read = |topic: &String| {
            let read = self.partitions.iter().filter(|((of, _), at_end)| of == topic && **at_end);
            self.counts.get(topic) == Some(&read.count())
        };
        self.ground.topics.iter().all(was_read)
    }

    /// What it says, once all was read.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn verdict(&self) -> Result<Verdict, String> {
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone());
        }
        let mut delivered: BTreeMap<u32, u64> =
            self.found.iter().map(|(route, places)| (*route, places.len() as u64)).collect();
        let mut missing = BTreeMap::new();
        for (id, first, end) in self.gone.iter().filter(|(id, ..)| *id != GAP_ROUTE) {
            *missing.entry(*id).or_insert(0) += end - first;
        }
        let last_gone = self.gone.iter().map(|(.., end)| *end).max();
        let last_gone = last_gone.map(|end| Place { at: end - 1, step: Step::On });
        let last = self.found.values().filter_map(|places| places.last()).max();
        let last = last.max(last_gone.as_ref());
        let (at, backfill) = match last {
            None => (self.start, self.ground.backfill),
            Some(Place { at, step: Step::On }) => (at + 1, None),
            Some(Place { at, step: Step::Back(offset) }) => {
                (*at, Some(Offset(offset + 1)).filter(|next| next.0 < *at))
            }
        };
        // Nothing is read back twice: who has begun with it has met the routes.
        let has_begun = |back: &&LookBack| last.is_some_and(|last| back.at <= last.at);
        for id in self.ground.looks_back.iter().filter(has_begun).flat_map(|back| &back.ids) {
            delivered.entry(*id).or_insert(0);
        }
        Ok(Verdict { at, backfill, delivered, lost: missing })
    }
}

/// By batch the log that wrote it.
fn owners(records: &[ReadRecord]) -> BTreeMap<u64, u64> {
    let owner = |record: &ReadRecord| {
        let text = str::from_utf8(record.header(BATCH)?).ok()?;
        Some((record.batch, u64::from_str_radix(text.split_once(',')?.0, 16).ok()?))
    };
    records.iter().filter_map(owner).collect()
}

/// The event that a record was made of, and the route.
fn place_of(record: &ReadRecord) -> Option<(u64, &str)> {
    let text = |name| record.header(name).and_then(|value| str::from_utf8(value).ok());
    Some((text(OFFSET)?.parse().ok()?, text(ROUTE)?))
}

fn bytes_of(record: &ReadRecord) -> u64 {
    let len = |bytes: &Option<tributary_bridge::Bytes>| {
        bytes.as_ref().map_or(0, tributary_bridge::Bytes::len)
    };
    let headers = record.headers.iter().map(|(name, value)| name.len() + len(value));
    (len(&record.key) + len(&record.value) + headers.sum::<usize>()) as u64
}

#[cfg(test)]
mod logs;
#[cfg(test)]
mod tests;
