//! What the devices were promised, and what a `read_committed` consumer may find: the judge.
//!
//! Knows nothing of how the gateway works: only what was sent, what was acknowledged, and which
//! routes were asked for when.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tributary_cluster::{Cluster, ReadRecord};

use super::letters::Found;

use tributary::config::Lane::{self, Bulk, High, Normal};
use tributary::config::Route;

/// Names a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) device: usize,
    pub(super) serial: u64,
}

/// What is known of a reading. Moments are numbers that only grow.
#[derive(Clone, Debug)]
struct Reading {
    payload: String,
    /// `None`: no condition can be told.
    value: Option<i64>,
    /// Larger than the topic [`NARROW`] takes.
    is_large: bool,
    /// Published at QoS 2: sent again it is no second event.
    exactly_once: bool,
    first_sent: u64,
    acked: Option<u64>,
    /// By then it was in the log: it was acknowledged, or a subscriber has seen it.
    proven: Option<u64>,
    /// How often it was sent.
    times: u64,
    /// Events that it may have become.
    events: u64,
}

/// What a subscriber may know of a reading that it sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) name: Name,
    pub(super) exactly_once: bool,
    pub(super) first_sent: u64,
    /// Events that it may have become.
    pub(super) events: u64,
}

/// A route that can be asked for: its topic and lane, the condition as SQL and as code.
type Wish = (&'static str, Lane, Option<&'static str>, fn(Option<i64>) -> bool);

/// The topic that does not take large readings, nor batches of many.
pub(super) const NARROW: &str = "all";
/// What it takes, and a large reading's filling, which no codec makes small enough.
const NARROW_BYTES: usize = 450;
const FILLING: usize = 500;
/// The same where all readings are long.
const NARROW_BYTES_OF_LONG: usize = 2_500;
const FILLING_OF_LONG: usize = 4_000;

/// What the topic [`NARROW`] takes; `are_long`: all readings are.
pub(super) const fn narrow_bytes(are_long: bool) -> usize {
    if are_long { NARROW_BYTES_OF_LONG } else { NARROW_BYTES }
}

/// The configurations that the operator changes between.
const CONFIGURATIONS: [&[Wish]; 4] = [
    &[("hot", Normal, Some("v > 50"), |v| v.is_some_and(|v| v > 50))],
    &[("hot", High, Some("v > 50"), |v| v.is_some_and(|v| v > 50)), ("all", Bulk, None, |_| true)],
    &[
        ("hot", Normal, Some("v > 70"), |v| v.is_some_and(|v| v > 70)),
        ("cold", Normal, Some("v <= 50 AND topic(2) <> 'x'"), |v| v.is_some_and(|v| v <= 50)),
    ],
    &[
        ("all", Normal, None, |_| true),
        ("cold", Bulk, Some("v < 20"), |v| v.is_some_and(|v| v < 20)),
    ],
];

/// A configuration and when it can have been, and surely was, in force.
#[derive(Clone, Copy, Debug)]
struct Period {
    configuration: usize,
    asked: u64,
    sure: Option<u64>,
}

/// How strictly acknowledged readings are looked for, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Completeness {
    /// Each that is selected is there.
    All,
    /// The log was full: what is missing is counted.
    Counted,
    /// The log was copied or rolled back: what is there is judged, not what is missing.
    Some,
    /// The disk lied, or nobody remembers what a copy has shipped: what is there was sent, and came
    /// first in order, unless its topic changed lanes: a routing table may be lost.
    Little,
    /// The same, and each of two copies has shipped what it took: their order is nobody's.
    Least,
}

impl Completeness {
    /// Nothing is there twice that was published once.
    pub(super) const fn is_exact(self) -> bool {
        matches!(self, Self::All | Self::Counted)
    }
}

/// What a consumer finds.
pub(super) struct Tally {
    pub(super) records: u64,
    /// Records that should be there.
    pub(super) missing: u64,
}

/// What was promised.
pub(super) struct Ledger {
    moment: u64,
    /// A large reading's filling.
    filling: usize,
    readings: BTreeMap<Name, Reading>,
    names: BTreeMap<String, Name>,
    periods: Vec<Period>,
}

impl Ledger {
    pub(super) fn new(configuration: usize, are_long: bool) -> Self {
        let first = Period { configuration, asked: 0, sure: None };
        let (readings, names) = (BTreeMap::new(), BTreeMap::new());
        let filling = if are_long { FILLING_OF_LONG } else { FILLING };
        Self { moment: 1, filling, readings, names, periods: vec![first] }
    }

    pub(super) fn random_configuration(rng: &mut Rng) -> usize {
        rng.usize(..CONFIGURATIONS.len())
    }

    /// The routes of the configuration that is asked for.
    pub(super) fn routes(&self) -> Vec<Route> {
        let period = self.periods.last().expect("there is a first");
        let wishes = CONFIGURATIONS[period.configuration].iter();
        let route = |(topic, lane, condition, _): &Wish| Route {
            from: Some("plant/+/telemetry".to_owned()),
            condition: condition.map(str::to_owned),
            lane: *lane,
            ..Route::everything(topic)
        };
        wishes.map(route).collect()
    }

    /// A reading that was never sent; `filler` makes it longer.
    pub(super) fn make(&mut self, name: Name, (exactly_once, filler): (bool, &str), rng: &mut Rng) {
        let Name { device, serial } = name;
        let value = rng.i64(0..100);
        let is_large = rng.u8(..20) == 0;
        let filling = if is_large { self.filling } else { 0 };
        let filling: String = (0..filling).map(|_| rng.alphanumeric()).collect();
        let known = format!(r#""d":{device},"s":{serial},"f":"{filler}{filling}""#);
        let (payload, value) = match rng.u8(..10) {
            0 => (format!("broken {device} {serial} {filler}{filling}"), None),
            1 => (format!("{{{known}}}"), None),
            2 => (format!(r#"{{{known},"v":"{value}"}}"#), None),
            _ => (format!(r#"{{{known},"v":{value}}}"#), Some(value)),
        };
        self.names.insert(payload.clone(), name);
        let reading = Reading {
            payload,
            value,
            is_large,
            exactly_once,
            first_sent: 0,
            acked: None,
            proven: None,
            times: 0,
            events: 0,
        };
        self.readings.insert(name, reading);
    }

    /// A reading is sent, perhaps again: how often by now, and its payload. `is_new`: what came
    /// before may be another event.
    pub(super) fn send(&mut self, name: Name, is_new: bool) -> (u64, &str) {
        self.moment += 1;
        let reading = self.readings.get_mut(&name).expect("it was made");
        if reading.times == 0 {
            reading.first_sent = self.moment;
        }
        reading.times += 1;
        if reading.times == 1 || !reading.exactly_once || is_new {
            reading.events += 1;
        }
        (reading.times, &reading.payload)
    }

    pub(super) fn acknowledge(&mut self, name: Name) {
        self.moment += 1;
        let reading = self.readings.get_mut(&name).expect("it was made");
        reading.acked.get_or_insert(self.moment);
        reading.proven.get_or_insert(self.moment);
    }

    /// A subscriber sees a reading: it is durable.
    pub(super) fn see(&mut self, payload: &str) -> Option<Seen> {
        self.moment += 1;
        let name = *self.names.get(payload)?;
        let reading = self.readings.get_mut(&name)?;
        reading.proven.get_or_insert(self.moment);
        let Reading { exactly_once, first_sent, events, .. } = *reading;
        Some(Seen { name, exactly_once, first_sent, events })
    }

    /// A moment of its own.
    pub(super) fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Acknowledged readings that were never sent before a moment.
    pub(super) fn owed_since(&self, moment: u64) -> impl Iterator<Item = Name> {
        let owed = move |reading: &Reading| reading.first_sent > moment && reading.acked.is_some();
        self.readings.iter().filter(move |(_, reading)| owed(reading)).map(|(name, _)| *name)
    }

    /// Another configuration is asked for.
    pub(super) fn ask(&mut self, configuration: usize) {
        self.moment += 1;
        self.periods.push(Period { configuration, asked: self.moment, sure: None });
    }

    /// The gateway says that the configuration asked for last is in force.
    pub(super) fn confirm(&mut self) {
        self.moment += 1;
        let moment = self.moment;
        self.periods.last_mut().expect("there is a first").sure.get_or_insert(moment);
    }

    /// How many readings were made, and how many are acknowledged.
    pub(super) fn counts(&self) -> (u64, u64) {
        let acked = self.readings.values().filter(|reading| reading.acked.is_some()).count();
        (self.readings.len() as u64, acked as u64)
    }

    /// The configurations that may have been in force between two moments.
    fn possible(&self, from: u64, to: u64) -> impl Iterator<Item = &Period> {
        let ends = self.periods.iter().skip(1).map(|next| next.sure.unwrap_or(u64::MAX));
        let ends = ends.chain([u64::MAX]);
        self.periods
            .iter()
            .zip(ends)
            .filter(move |(period, end)| period.asked <= to && from <= *end)
            .map(|(period, _)| period)
    }

    /// What stands in the cluster is what was promised.
    pub(super) fn check(
        &self,
        cluster: &Cluster,
        letters: &[Found],
        completeness: Completeness,
    ) -> Result<Tally> {
        let refused = self.check_letters(letters, completeness)?;
        let (mut records, mut missing) = (0, 0);
        let is_exact = completeness.is_exact();
        let mut places = BTreeSet::new();
        for topic in ["hot", "cold", "all"] {
            let mut copies: BTreeMap<Name, u64> = BTreeMap::new();
            let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
            for record in read_all(cluster, topic) {
                records += 1;
                let payload = record.value.as_deref().unwrap_or_default();
                let payload = core::str::from_utf8(payload)?;
                let name = self.names.get(payload);
                let name = *name.with_context(|| format!("{topic}: {payload} was never sent"))?;
                let place = (header(&record, "tributary.offset")?, topic);
                if is_exact {
                    ensure!(places.insert(place.clone()), "{place:?} is there twice");
                }
                let count = copies.entry(name).or_default();
                *count += 1;
                if *count == 1 {
                    let before = newest.insert(name.device, name.serial);
                    let in_order = before.is_none_or(|before| before < name.serial);
                    let promised = match completeness {
                        Completeness::Least => false,
                        Completeness::Little => self.is_in_one_lane(topic),
                        _ => true,
                    };
                    ensure!(
                        in_order || !promised,
                        "{topic}: {payload} comes after reading {before:?}"
                    );
                }
            }
            for (name, reading) in &self.readings {
                let mut count = copies.get(name).copied().unwrap_or(0);
                if topic == NARROW && reading.is_large {
                    ensure!(count == 0, "{topic}: a large reading is there");
                    count = refused.get(name).copied().unwrap_or(0);
                }
                let is_missing = self.check_count(topic, reading, count, completeness)?;
                missing += u64::from(is_missing);
            }
        }
        Ok(Tally { records, missing })
    }

    /// The dead letters are what the narrow topic does not take, each once: how many there are of
    /// each reading.
    fn check_letters(
        &self,
        letters: &[Found],
        completeness: Completeness,
    ) -> Result<BTreeMap<Name, u64>> {
        let mut counts: BTreeMap<Name, u64> = BTreeMap::new();
        let mut places = BTreeSet::new();
        for letter in letters {
            let name = self.names.get(&letter.payload);
            let name = name.with_context(|| format!("never sent: {letter:?}"))?;
            let is_large = self.readings.get(name).is_some_and(|reading| reading.is_large);
            ensure!(letter.route == NARROW && is_large, "no dead letter: {letter:?}");
            let is_new = places.insert((letter.log_id, letter.offset));
            ensure!(is_new || !completeness.is_exact(), "twice: {letter:?}");
            // The copies of a log may each keep the same one.
            *counts.entry(*name).or_default() += u64::from(is_new);
        }
        Ok(counts)
    }

    fn is_in_one_lane(&self, topic: &str) -> bool {
        let wishes = self.periods.iter().flat_map(|period| CONFIGURATIONS[period.configuration]);
        let lanes = wishes.filter(|(of, ..)| *of == topic).map(|(_, lane, ..)| *lane);
        lanes.collect::<BTreeSet<Lane>>().len() < 2
    }

    /// Whether a record is missing that may be.
    fn check_count(
        &self,
        topic: &str,
        reading: &Reading,
        count: u64,
        completeness: Completeness,
    ) -> Result<bool> {
        let selects = |period: &Period| {
            let mut wishes = CONFIGURATIONS[period.configuration].iter();
            wishes.any(|(of, _, _, selects)| *of == topic && selects(reading.value))
        };
        // It may have been sent again until it was acknowledged; once it was in the log sooner.
        let until = |moment: Option<u64>| moment.unwrap_or(u64::MAX);
        let any = self.possible(reading.first_sent, until(reading.acked)).any(selects);
        let all = self.possible(reading.first_sent, until(reading.proven)).all(selects);
        let most = match completeness {
            Completeness::Little | Completeness::Least => u64::MAX,
            _ if any && completeness.is_exact() => reading.events,
            _ if any => reading.times,
            _ => 0,
        };
        let promised = all && reading.proven.is_some();
        let least = u64::from(promised && completeness == Completeness::All);
        ensure!(
            (least..=most).contains(&count),
            "{topic}: {count} times instead of {least} to {most}: {reading:?}"
        );
        Ok(promised && count == 0)
    }
}

fn read_all(cluster: &Cluster, topic: &str) -> Vec<ReadRecord> {
    let mut records = Vec::new();
    for partition in 0.. {
        if cluster.end_offset(topic, partition).is_none() {
            break;
        }
        records.extend(cluster.read_committed(topic, partition));
    }
    records
}

/// The one header of this name.
fn header(record: &ReadRecord, name: &str) -> Result<String> {
    let mut found = record.headers.iter().filter(|(other, _)| other == name.as_bytes());
    let (_, value) = found.next().with_context(|| format!("no header {name}"))?;
    ensure!(found.next().is_none(), "two headers {name}");
    let value = value.as_deref().context("a header without a value")?;
    Ok(core::str::from_utf8(value)?.to_owned())
}
