//! Where the records in doubt of a lane would stand, as the log tells.
//!
//! Invariant: it sees routes exactly as the lane's fold does (`feed/`): in the lanes in which they are at each offset,
//! asides included, and reading back where the fold would. What the fold does and Kafka's records do not show is no
//! ground for anything.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use tributary_core::Offset;
use tributary_core::log::{End, ReadMedia};
use tributary_core::time::Timestamp;

use super::survey::{PutBack, Tables, Times};
use crate::config::{Header, Lane, Template};
use crate::replicate::account::Account;
use crate::replicate::aside;
use crate::replicate::table::{Entry, Rule, Table};

/// Clocks of gateways and brokers differ, and records bear the time of either: so much earlier is read.
const MARGIN_MS: i64 = 3_600_000;

/// What has to be read.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// The topics of the lane.
    pub topics: BTreeSet<String>,
    /// By route what is in doubt.
    pub routes: BTreeMap<String, Vec<Share>>,
    /// Where the lane reads back, in its order.
    pub looks_back: Vec<LookBack>,
    /// How far it had read back when the doubt began.
    pub backfill: Option<Offset>,
    /// No record in doubt is older; `None`: nobody knows.
    pub since: Option<Timestamp>,
    /// Whether some of what is in doubt is gone from the log: a transaction may have told that and nothing else.
    pub has_gaps: bool,
    /// The topic in which it would have, and the lane.
    pub gaps: Option<(String, Lane)>,
}

/// Offsets that a lane would have shipped for a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The route's number.
    pub id: u32,
    /// The offsets.
    pub offsets: Range<u64>,
    /// They are read back where the lane stands here.
    pub back_at: Option<u64>,
}

/// A place at which a lane reads back before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookBack {
    /// The offset of the table that asks for it.
    pub at: u64,
    /// The routes that are read back.
    pub ids: Vec<u32>,
}

/// An event on a lane's way, in the order in which the lane comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where the lane stands.
    pub at: u64,
    /// Which event it is.
    pub step: Step,
}

/// An event, seen from where the lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// This older one, read back.
    Back(u64),
    /// The one here.
    On,
}

impl Ground {
    /// Reads the log where offsets are in doubt: under which tables they were judged. `account`: the lane's where
    /// the doubt begins.
    ///
    /// # Errors
    /// Why Kafka's records could prove nothing.
    pub fn read<M: ReadMedia>(
        (log, end): (&M, End),
        lane: Lane,
        (doubt, account): (&Range<u64>, &Account),
    ) -> Result<Self, String> {
        let tables = Tables::read((log, end), doubt)?;
        let asides = tables.asides(lane, doubt)?;
        let mut ground = Self { backfill: account.backfill, ..Self::default() };
        for (at, table, offsets) in tables.in_force(doubt.end) {
            let mut from = offsets.start;
            while from < offsets.end {
                let edge = aside::edge(&asides, Offset(from));
                let until = edge.map_or(offsets.end, |edge| edge.0.min(offsets.end));
                let mut held = table.clone();
                held.divert(&asides, from);
                if at == from {
                    ground.look_back(&held, (lane, at), account)?;
                }
                ground.take(&held, lane, from..until)?;
                from = until;
            }
        }
        if ground.backfill.is_some()
            && ground.looks_back.first().map(|it| it.at) != Some(doubt.start)
        {
            return Err("a route was reading back, and what it asked for is not in the log".into());
        }
        if lane.is_aside() && ground.routes.is_empty() {
            return Err("what the lane has taken is not in the log any more".into());
        }
        ground.tell_times((log, end), doubt)?;
        Ok(ground)
    }

    /// Has the topic read that is told of gaps, where it can tell more than the others. Where the lane reads back
    /// its records do not show whether what is gone was passed then or before.
    #[must_use]
    pub fn with_gaps(mut self, topic: Option<&str>, lane: Lane) -> Self {
        let reads_back = self.backfill.is_some() || !self.looks_back.is_empty();
        if let Some(topic) = topic.filter(|_| self.has_gaps && !reads_back) {
            self.topics.insert(topic.to_owned());
            self.gaps = Some((topic.to_owned(), lane));
        }
        self
    }

    /// Whether, and where on the lane's way, a record of a route and an offset is in doubt; and the route's number.
    #[must_use]
    pub fn place(&self, route: &str, offset: u64) -> Option<(u32, Place)> {
        let shares = self.routes.get(route).into_iter().flatten();
        let share = shares.into_iter().find(|share| share.offsets.contains(&offset))?;
        let place = share.back_at.map_or(Place { at: offset, step: Step::On }, |at| Place {
            at,
            step: Step::Back(offset),
        });
        Some((share.id, place))
    }

    /// Offsets that are judged under a table.
    fn take(&mut self, table: &Table, lane: Lane, offsets: Range<u64>) -> Result<(), String> {
        for entry in table.routes.iter().filter(|entry| entry.rule.lane == lane) {
            self.add(entry, Share { id: entry.id, offsets: offsets.clone(), back_at: None })?;
        }
        Ok(())
    }

    /// The routes that a lane reads back where this table begins, as its fold does: unless it has done so.
    fn look_back(
        &mut self,
        table: &Table,
        (lane, at): (Lane, u64),
        account: &Account,
    ) -> Result<(), String> {
        let due: Vec<&Entry> = table.backfilled(lane, Offset(at)).collect();
        let begun = self.backfill.filter(|_| self.looks_back.is_empty()).map(|from| from.0);
        let unmet = due.iter().filter(|entry| !account.knows(entry.id));
        let Some(from) = begun.or(unmet.map(|entry| entry.begin).min()) else { return Ok(()) };
        if lane.is_aside() && begun.is_none() {
            return Err("its home was reading back when the lane took what it has".into());
        }
        for entry in &due {
            let offsets = from.max(entry.begin)..at;
            self.add(entry, Share { id: entry.id, offsets, back_at: Some(at) })?;
        }
        self.looks_back.push(LookBack { at, ids: due.iter().map(|entry| entry.id).collect() });
        Ok(())
    }

    fn add(&mut self, entry: &Entry, share: Share) -> Result<(), String> {
        if share.offsets.is_empty() {
            return Ok(());
        }
        is_told(&entry.rule)?;
        self.topics.insert(entry.rule.topic.clone());
        self.routes.entry(entry.rule.name.clone()).or_default().push(share);
        Ok(())
    }

    /// Since when records in doubt may be there.
    fn tell_times<M: ReadMedia>(
        &mut self,
        log: (&M, End),
        doubt: &Range<u64>,
    ) -> Result<(), String> {
        let starts = self.routes.values().flatten().map(|share| share.offsets.start);
        let first = starts.min().unwrap_or(doubt.start).min(doubt.start);
        let times = Times::read(log, &(first..doubt.end))?;
        self.has_gaps = times.gone_to.is_some_and(|end| end > doubt.start);
        for PutBack { route, offset } in &times.put_back {
            if self.place(route, *offset).is_some() {
                return Err(format!(
                    "the event {offset} was put back for route {route}: its record names the offset at which it \
                     came first"
                ));
            }
        }
        let since = times.earliest.map(|time| Timestamp(time.0.saturating_sub(MARGIN_MS)));
        self.since = since.filter(|_| times.is_trusted);
        Ok(())
    }
}

/// Whether records of a route tell what they are made of.
fn is_told(rule: &Rule) -> Result<(), String> {
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
    Ok(())
}
