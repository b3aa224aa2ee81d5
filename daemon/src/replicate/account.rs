//! What became of the events of each route, exactly: it travels with the position.
//!
//! Cumulative from the offset at which a route began. What was filtered need not be counted: it is
//! what is left of the offsets passed. So a position and its account are one value, committed to
//! Kafka together, and no crash can make them disagree.

use core::fmt::{self, Write};
use std::collections::BTreeMap;

use tributary_core::Offset;

use super::table::{Entry, Table};
use crate::config::Lane;
use crate::io::crc::crc32c;

/// What happened to the events of one route so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that stand in Kafka.
    pub delivered: u64,
    /// Offsets that were evicted or damaged before they could be judged.
    pub lost: u64,
    /// Events whose condition could not be told: no JSON, a missing field, another type.
    pub undecided: u64,
    /// Records that Kafka will never take, kept as dead letters.
    pub dead_lettered: u64,
    /// Offsets that an operator has passed over.
    pub skipped: u64,
}

/// The counts of all routes in force at one position, and how far a look back has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    counts: Vec<(u32, Counts)>,
    /// The topics that a route has made, each by a part of its hash: two with the same count as one.
    topics: BTreeMap<u32, Vec<u16>>,
    /// Routes that began before their table are read from here up to it, before all goes on.
    pub backfill: Option<Offset>,
}

impl Account {
    /// The counts of a route; zero if it is new here.
    #[must_use]
    pub fn counts(&self, route: u32) -> Counts {
        self.counts.iter().find(|(id, _)| *id == route).map_or(Counts::default(), |(_, c)| *c)
    }

    /// Whether the route has been met.
    #[must_use]
    pub fn knows(&self, route: u32) -> bool {
        self.counts.iter().any(|(id, _)| *id == route)
    }

    /// Goes on under `table` in a lane: its routes keep their counts, new ones begin at zero, others
    /// end. What the lane has counted for a route that is in another lane now stays: a route's
    /// counts are the sum of all lanes'.
    pub fn adopt(&mut self, table: &Table, lane: Lane) {
        let stays = |entry: &&Entry| entry.rule.lane == lane || self.knows(entry.id);
        let routes = table.routes.iter().filter(stays);
        self.counts = routes.map(|entry| (entry.id, self.counts(entry.id))).collect();
        let counts = &self.counts;
        self.topics.retain(|route, _| counts.iter().any(|(id, _)| id == route));
    }

    /// Whether a route may make a topic: it has before, or has not made as many as it may.
    #[must_use]
    pub fn admits(&self, entry: &Entry, topic: &str) -> bool {
        let made = self.topics.get(&entry.id).map_or(&[][..], Vec::as_slice);
        made.contains(&mark(topic)) || made.len() < usize::from(entry.rule.topics_max)
    }

    /// A route has made a topic, if it may.
    pub fn note_topic(&mut self, entry: &Entry, topic: &str) {
        if self.admits(entry, topic) {
            let made = self.topics.entry(entry.id).or_default();
            if !made.contains(&mark(topic)) {
                made.push(mark(topic));
            }
        }
    }

    /// The counts of a route of the table that was adopted.
    ///
    /// # Panics
    /// If the route is not in this lane.
    pub fn of(&mut self, route: u32) -> &mut Counts {
        let found = self.counts.iter_mut().find(|(id, _)| *id == route);
        &mut found.expect("the account is laid out as the table is").1
    }

    /// With what a lane begins that takes routes from this one's: it knows what this one knows, and
    /// has counted what it counted before.
    #[must_use]
    pub fn of_aside(&self, mut counted: Self) -> Self {
        for (id, _) in &self.counts {
            if !counted.knows(*id) {
                counted.counts.push((*id, Counts::default()));
            }
        }
        Self { backfill: self.backfill, ..counted }
    }

    /// Of the records that were counted as delivered those of these routes are not, but kept as dead letters, or
    /// lost.
    pub fn bury(&mut self, kept: &[u32], lost: &[u32]) {
        for route in kept.iter().chain(lost) {
            self.of(*route).delivered -= 1;
        }
        for route in kept {
            self.of(*route).dead_lettered += 1;
        }
        for route in lost {
            self.of(*route).lost += 1;
        }
    }

    /// So many records of a route were found in Kafka.
    pub fn deliver(&mut self, route: u32, records: u64) {
        self.meet(route).delivered += records;
    }

    /// So many of its events are gone, as was found in Kafka.
    pub fn lose(&mut self, route: u32, events: u64) {
        self.meet(route).lost += events;
    }

    fn meet(&mut self, route: u32) -> &mut Counts {
        if !self.knows(route) {
            self.counts.push((route, Counts::default()));
        }
        self.of(route)
    }

    /// An operator passes over so many offsets of each route.
    pub fn skip(&mut self, offsets: u64) {
        for (_, counts) in &mut self.counts {
            counts.skipped += offsets;
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut account = Self::default();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            if let Some(offset) = part.strip_prefix("b=") {
                account.backfill = Some(Offset(u64::from_str_radix(offset, 16).ok()?));
                continue;
            }
            if let Some((route, marks)) = part.strip_prefix("t=").and_then(|it| it.split_once(','))
            {
                let digits = marks.as_bytes().chunks(4).map(core::str::from_utf8);
                let mark = |text: Result<&str, _>| u16::from_str_radix(text.ok()?, 16).ok();
                let marks: Option<Vec<u16>> = digits.map(mark).collect();
                account.topics.insert(u32::from_str_radix(route, 16).ok()?, marks?);
                continue;
            }
            let mut numbers = part.split('.').map(|number| u64::from_str_radix(number, 16).ok());
            let mut number = || numbers.next().flatten();
            let id = u32::try_from(number()?).ok()?;
            let (delivered, lost, undecided) = (number()?, number()?, number()?);
            // Told only where there are any.
            let (dead_lettered, skipped) = (number().unwrap_or(0), number().unwrap_or(0));
            let counts = Counts { delivered, lost, undecided, dead_lettered, skipped };
            account.counts.push((id, counts));
        }
        Some(account)
    }
}

/// A part of the hash of a topic's name.
fn mark(topic: &str) -> u16 {
    let [low, high, ..] = crc32c(0, topic.as_bytes()).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// `b=<backfill>;` and `<id>.<delivered>.<lost>.<undecided>;` for each route, all in hexadecimal;
/// with a fifth number where there are dead letters, and a sixth where an operator has passed over any.
/// Then `t=<id>,` and four digits for each topic that a route has made, `;`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.backfill {
            write!(f, "b={:x};", offset.0)?;
        }
        for (id, counts) in &self.counts {
            let Counts { delivered, lost, undecided, dead_lettered, skipped } = counts;
            write!(f, "{id:x}.{delivered:x}.{lost:x}.{undecided:x}")?;
            if *dead_lettered + *skipped > 0 {
                write!(f, ".{dead_lettered:x}")?;
            }
            if *skipped > 0 {
                write!(f, ".{skipped:x}")?;
            }
            f.write_char(';')?;
        }
        for (id, marks) in &self.topics {
            write!(f, "t={id:x},")?;
            for mark in marks {
                write!(f, "{mark:04x}")?;
            }
            f.write_char(';')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_kafka() {
        let account = Account {
            counts: vec![
                (1, Counts { delivered: 70_000, undecided: 3, ..Counts::default() }),
                (17, Counts { lost: 12, dead_lettered: 20, ..Counts::default() }),
                (18, Counts { skipped: 10, ..Counts::default() }),
            ],
            topics: BTreeMap::from([(17, vec![0xA, 0xBEEF])]),
            backfill: Some(Offset(99)),
        };
        let text = "b=63;1.11170.0.3;11.0.c.0.14;12.0.0.0.0.a;t=11,000abeef;";
        assert_eq!(account.to_string(), text);
        assert_eq!(Account::parse(&account.to_string()), Some(account));
        assert_eq!(Account::parse(""), Some(Account::default()));
        for wrong in ["1.2", "t=1", "t=1,00zz", "t=x,0001"] {
            assert_eq!(Account::parse(wrong), None, "{wrong}");
        }
    }
}
