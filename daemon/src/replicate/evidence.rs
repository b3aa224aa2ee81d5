//! What of a lane stands in Kafka, by reading it: the tie-breaker for what is in doubt.
//!
//! A transaction of a lane is there as a whole or not at all, in all of its topics, and transactions
//! follow each other. So the highest offset of this log that stands in any topic of the lane tells how far
//! it has come: all that it had selected up to there is in Kafka, and nothing behind. It takes that every topic was
//! read, from before the doubt began to the end, and that nothing was deleted there meanwhile.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use tributary_bridge::{Began, Found, ReadRecord};
use tributary_core::Offset;
use tributary_core::log::{ControlKind, End, Item, ReadMedia, Reader};
use tributary_core::time::Timestamp;

use super::table::Table;
use crate::config::{Header, Lane, Template};
use crate::io::crc::crc32c;

/// Which log, opening and offset a batch begins with.
const BATCH: &str = "tributary.batch";
const OFFSET: &str = "tributary.offset";
const ROUTE: &str = "tributary.route";

/// What is read at once of the log.
const CHUNK_BYTES: usize = 256 << 10;
/// Clocks of gateways and brokers differ, and records bear the time of either: so much earlier is read.
const MARGIN_MS: i64 = 3_600_000;

/// What has to be read, as the log tells.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// The topics of the lane.
    pub topics: BTreeSet<String>,
    /// By route the offsets in doubt that the lane would have shipped.
    pub routes: BTreeMap<String, Vec<Range<u64>>>,
    /// No record in doubt is older; `None`: nobody knows.
    pub since: Option<Timestamp>,
}

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
    /// By route, the offsets in doubt that stand in Kafka.
    found: BTreeMap<String, BTreeSet<u64>>,
    /// Bytes of records that were read.
    pub bytes: u64,
    /// Why nothing can be concluded.
    pub flaw: Option<String>,
}

/// How far a lane has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The offset behind the last event that stands in Kafka; where the doubt begins if none does.
    pub at: u64,
    /// By route how many of the offsets in doubt stand there.
    pub delivered: BTreeMap<String, u64>,
}

impl Ground {
    /// Reads the log where offsets are in doubt: under which tables they were judged.
    ///
    /// # Errors
    /// Why Kafka's records could prove nothing.
    pub fn read<M: ReadMedia>(
        (log, end): (&M, End),
        lane: Lane,
        doubt: &Range<u64>,
    ) -> Result<Self, String> {
        let mut ground = Self::default();
        let mut reader = Reader::new(Offset(doubt.start), crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut table = (doubt.start, Table::none());
        let (mut earliest, mut is_trusted) = (i64::MAX, true);
        let unreadable = |error| format!("the log cannot be read: {error}");
        while reader.next_offset().0 < doubt.end
            && let Some(chunk) = reader.read(log, end, &mut buffer).map_err(unreadable)?
        {
            for item in chunk {
                match item {
                    Item::Control(control) if control.kind == ControlKind::Routes => {
                        let next = Table::decode(control.body)
                            .map_err(|_| "a routing table is of another version")?;
                        let at = control.at.0.max(doubt.start);
                        ground.add(&table.1, lane, table.0..at.min(doubt.end))?;
                        table = (at, next);
                    }
                    // What was put back has the time at which it first came.
                    Item::Events(frame) => {
                        is_trusted &= frame.clock().trusted;
                        let times = frame.map(|(_, event)| event.time.0);
                        earliest = times.fold(earliest, i64::min);
                    }
                    Item::Control(_) | Item::Gap { .. } => {}
                }
            }
        }
        ground.add(&table.1, lane, table.0..doubt.end)?;
        let since = Timestamp(earliest.saturating_sub(MARGIN_MS));
        ground.since = (is_trusted && earliest < i64::MAX).then_some(since);
        Ok(ground)
    }

    /// Offsets that were judged under a table.
    fn add(&mut self, table: &Table, lane: Lane, offsets: Range<u64>) -> Result<(), String> {
        if offsets.is_empty() {
            return Ok(());
        }
        for rule in table.routes.iter().map(|entry| &entry.rule).filter(|it| it.lane == lane) {
            if Template::of(&rule.topic).is_some() {
                return Err(format!("route {} makes topics of its own", rule.name));
            }
            let headers = &rule.shape.headers;
            if !headers.has(Header::Offset) || !headers.has(Header::Route) {
                return Err(format!(
                    "records of route {} do not name offset and route: `headers` leaves them out",
                    rule.name
                ));
            }
            self.topics.insert(rule.topic.clone());
            self.routes.entry(rule.name.clone()).or_default().push(offsets.clone());
        }
        Ok(())
    }

    fn has(&self, route: &str, offset: u64) -> bool {
        let mut ranges = self.routes.get(route).into_iter().flatten();
        ranges.any(|range| range.contains(&offset))
    }
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
            found: BTreeMap::new(),
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
                // Where nobody knows since when, all that ever was has to be there.
                let is_cut = self.ground.since.is_none() && *next > 0;
                if !matches!(why, Began::First) || is_cut {
                    self.fail(format!("records of {topic}-{partition} were deleted meanwhile"));
                }
            }
            Found::Records { topic, partition, records, too_large, .. } => {
                self.bytes += records.iter().map(bytes_of).sum::<u64>();
                if let Some((first, last)) = too_large.first() {
                    let words = format!(
                        "offsets {first} to {last} of {topic}-{partition} are too large to be read"
                    );
                    self.fail(words);
                }
                let owners = owners(records);
                let start = self.starts.get(&(topic.clone(), *partition)).copied();
                // What began before reading did is from before the doubt.
                let whole = records.iter().filter(|record| Some(record.batch) >= start);
                for record in whole {
                    match owners.get(&record.batch) {
                        Some(log) if *log == self.log_id => self.note(topic, record),
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

    /// The first record of its batch is gone: it may be one of this log's, or another's.
    fn note_orphan(&mut self, topic: &str, record: &ReadRecord) {
        if place_of(record).is_some_and(|(offset, route)| self.ground.has(route, offset)) {
            let place = record.offset;
            let words =
                format!("whose the record {place} of {topic} is does not show: it was compacted");
            self.fail(words);
        }
    }

    fn note(&mut self, topic: &str, record: &ReadRecord) {
        let Some((offset, route)) = place_of(record) else {
            let place = record.offset;
            let words = format!(
                "the record {place} of {topic} does not name its offset and route: `headers` leaves them out"
            );
            self.fail(words);
            return;
        };
        if self.ground.has(route, offset) {
            self.found.entry(route.to_owned()).or_default().insert(offset);
        }
    }

    fn fail(&mut self, why: String) {
        self.flaw.get_or_insert(why);
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
        let highest = self.found.values().filter_map(|offsets| offsets.last()).max();
        let delivered =
            self.found.iter().map(|(route, offsets)| (route.clone(), offsets.len() as u64));
        Ok(Verdict {
            at: highest.map_or(self.start, |offset| offset + 1),
            delivered: delivered.collect(),
        })
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
mod tests {
    use super::*;
    use tributary_bridge::Bytes;

    fn record(batch: u64, offset: u64, headers: &[(&str, String)]) -> ReadRecord {
        let header = |(name, value): &(&str, String)| {
            ((*name).to_owned(), Some(Bytes::from(value.clone().into_bytes())))
        };
        ReadRecord {
            offset,
            batch,
            timestamp: Timestamp(0),
            key: None,
            value: None,
            headers: headers.iter().map(header).collect(),
        }
    }

    /// A batch of a log with events of these offsets for a route.
    fn batch(log: u64, base: u64, route: &str, offsets: &[u64]) -> Vec<ReadRecord> {
        let one = |(at, offset): (u64, &u64)| {
            let mut headers = vec![(OFFSET, offset.to_string()), (ROUTE, route.to_owned())];
            if at == 0 {
                headers.insert(0, (BATCH, format!("{log:016x},00000001,{offset}")));
            }
            record(base, base + at, &headers)
        };
        (0..).zip(offsets).map(one).collect()
    }

    fn records(topic: &str, records: Vec<ReadRecord>) -> Found {
        let topic = topic.to_owned();
        Found::Records { topic, partition: 0, records, too_large: Vec::new(), next: 0 }
    }

    fn began(topic: &str, why: Began) -> Found {
        let topic = topic.to_owned();
        Found::Began { topic, id: None, partition: 0, partitions: 1, next: 0, why }
    }

    fn at_end(topic: &str) -> Found {
        Found::AtEnd { topic: topic.to_owned(), partition: 0 }
    }

    fn evidence() -> Evidence {
        let topics = ["hot", "all"].map(str::to_owned);
        let routes = topics.clone().map(|route| (route, vec![100..150, 150..200]));
        let ground =
            Ground { topics: topics.into(), routes: routes.into(), since: Some(Timestamp(0)) };
        let mut evidence = Evidence::new(7, 100, ground);
        for topic in ["hot", "all"] {
            evidence.handle_found(&began(topic, Began::First));
        }
        evidence
    }

    #[test]
    fn the_highest_offset_in_any_topic_counts_and_others_records_do_not() {
        let mut evidence = evidence();
        evidence.handle_found(&records("hot", batch(7, 0, "hot", &[98, 99, 110, 120])));
        evidence.handle_found(&records("hot", batch(8, 9, "hot", &[150])));
        evidence.handle_found(&records("all", batch(7, 0, "all", &[119, 120, 121])));
        assert!(!evidence.is_complete());
        evidence.handle_found(&at_end("hot"));
        assert!(!evidence.is_complete());
        evidence.handle_found(&at_end("all"));
        assert!(evidence.is_complete());
        let delivered = [("hot", 2), ("all", 3)].map(|(route, count)| (route.to_owned(), count));
        let verdict = Verdict { at: 122, delivered: delivered.into() };
        assert_eq!(evidence.verdict(), Ok(verdict));
    }

    #[test]
    fn partitions_that_were_not_heard_of_yet_are_waited_for() {
        let mut evidence = evidence();
        let topic = "hot".to_owned();
        let two = Found::Began {
            topic,
            id: None,
            partition: 0,
            partitions: 2,
            next: 0,
            why: Began::First,
        };
        evidence.handle_found(&two);
        evidence.handle_found(&at_end("hot"));
        evidence.handle_found(&at_end("all"));
        assert!(!evidence.is_complete());
    }

    #[test]
    fn where_nothing_stands_the_doubt_begins() {
        let mut evidence = evidence();
        evidence.handle_found(&records("all", batch(7, 0, "all", &[97, 99])));
        assert_eq!(evidence.verdict(), Ok(Verdict { at: 100, ..Verdict::default() }));
    }

    #[test]
    fn what_is_deleted_or_names_nothing_proves_nothing() {
        let mut gone = evidence();
        gone.handle_found(&began("hot", Began::Gone(3)));
        assert!(gone.verdict().is_err_and(|why| why.contains("hot-0 were deleted")));
        let mut orphan = evidence();
        let headers = [(OFFSET, "110".to_owned()), (ROUTE, "hot".to_owned())];
        orphan.handle_found(&records("hot", vec![record(4, 5, &headers)]));
        assert!(orphan.verdict().is_err_and(|why| why.contains("compacted")));
        let mut undated = evidence();
        undated.ground.since = None;
        let topic = "hot".to_owned();
        let (id, why) = (None, Began::First);
        undated.handle_found(&Found::Began {
            topic,
            id,
            partition: 0,
            partitions: 1,
            next: 7,
            why,
        });
        assert!(undated.verdict().is_err_and(|why| why.contains("were deleted")));
        let mut silent = evidence();
        let headers = [(BATCH, "0000000000000007,00000001,110".to_owned())];
        silent.handle_found(&records("hot", vec![record(0, 0, &headers)]));
        assert!(silent.verdict().is_err_and(|why| why.contains("`headers`")));
    }
}
