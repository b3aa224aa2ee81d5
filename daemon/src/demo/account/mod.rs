//! The checker: what the devices know against what is in the log and what a consumer of the cluster
//! reads. Pure, so that it can be shown to find what it is there for.
//!
//! What `QoS` 1 and exactly-once demand together: each reading that was acknowledged is in the log
//! and, if the filter selects it, in the cluster, and in both at most as often as its device sent
//! it; no event (gateway, offset, route) is in the cluster twice; there the first copies of a
//! device's readings are in the order of their sequence numbers, and the events of a partition in
//! the order of the log.

use std::collections::HashSet;

use serde::Serialize;

use super::fleet::Journal;
use super::reading::{Reading, name};

/// Mistakes of one kind that are told in full.
const EVIDENCE_MAX: usize = 5;

/// A record as a consumer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// What makes the event unique; `None` if a header is missing.
    pub(super) identity: Option<Identity>,
    /// The value.
    pub(super) value: Vec<u8>,
}

/// What makes an event unique, from the record's headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) gateway: String,
    pub(super) offset: u64,
    pub(super) route: String,
}

/// What the gateway says of itself, at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Own {
    /// Events in its log.
    pub(super) durable: u64,
    /// Of the route: records in Kafka.
    pub(super) delivered: u64,
    /// Of the route: events that the condition does not select.
    pub(super) filtered: u64,
    /// Of the route: events lost.
    pub(super) lost: u64,
    /// Of the route: events still to be delivered.
    pub(super) pending: u64,
}

/// The account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Account {
    /// Readings that were sent.
    pub(super) published: u64,
    /// Readings that have their PUBACK.
    pub(super) acknowledged: u64,
    /// Publishes sent again because their PUBACK never came.
    pub(super) resent: u64,
    /// Readings that the filter has to select, by the devices' own data.
    pub(super) selected: u64,
    /// Different readings in the cluster.
    pub(super) arrived: u64,
    /// Readings in the log a second time, because their device published them again: events of
    /// their own, as MQTT has it.
    pub(super) repeated_in_log: u64,
    /// Those of them in the cluster.
    pub(super) repeated_in_cluster: u64,
    /// What the gateway says.
    pub(super) gateway: Own,
    /// Acknowledged but not in the log, or selected but not in the cluster.
    pub(super) lost: u64,
    /// An event that is there twice, or a reading more often than it was sent.
    pub(super) doubled: u64,
    /// Behind a later one.
    pub(super) out_of_order: u64,
    /// Never sent like this, or not to be selected.
    pub(super) unexpected: u64,
    /// Sums of the gateway that do not agree with what was found.
    pub(super) disagreements: u64,
    /// What is wrong, in words: the first few of each kind.
    pub(super) evidence: Vec<String>,
}

impl Account {
    /// Draws up the account from what the devices know, the payloads in the log, the records of
    /// each partition of the route's topic, and what the gateway says of itself.
    pub(super) fn draw_up(
        journals: &[Journal],
        log: &[Vec<u8>],
        partitions: &[Vec<Arrival>],
        own: Own,
    ) -> Self {
        let mut account = Self { gateway: own, ..Self::default() };
        account.sum_up(journals);
        let mut logged: Vec<Copies> = journals.iter().map(Copies::of).collect();
        for payload in log {
            account.enter_logged(payload, &mut logged);
        }
        let mut found: Vec<Copies> = journals.iter().map(Copies::of).collect();
        let mut identities = HashSet::new();
        for partition in partitions {
            let mut last_offset = None;
            for arrival in partition {
                account.enter(arrival, &mut identities, &mut found, &mut last_offset);
            }
        }
        for (journal, copies) in journals.iter().zip(logged.iter().zip(&found)) {
            account.look_for_losses(journal, copies);
        }
        account.compare(log.len() as u64);
        account
    }

    /// Whether nothing is wrong.
    pub(super) fn is_clean(&self) -> bool {
        let Self { lost, doubled, out_of_order, unexpected, disagreements, .. } = self;
        [lost, doubled, out_of_order, unexpected, disagreements].iter().all(|count| **count == 0)
    }

    /// Records in the cluster that are as they should be.
    pub(super) fn records(&self) -> u64 {
        self.arrived + self.repeated_in_cluster
    }

    fn sum_up(&mut self, journals: &[Journal]) {
        for journal in journals {
            self.published += journal.times.len() as u64;
            self.acknowledged += journal.acknowledged as u64;
            let sent: u64 = journal.times.iter().map(|times| u64::from(*times)).sum();
            self.resent += sent - journal.times.len() as u64;
            let readings = readings(journal.device, journal.acknowledged);
            self.selected += readings.filter(|reading| reading.is_selected()).count() as u64;
        }
    }

    fn enter_logged(&mut self, payload: &[u8], logged: &mut [Copies]) {
        let sent = Reading::parse(payload);
        let copies = sent.and_then(|reading| logged.get_mut(reading.device));
        let (Some(reading), Some(copies)) = (sent, copies) else {
            let text = String::from_utf8_lossy(payload);
            return self.unexpected(&format!("in the log, but was not sent: {text}"));
        };
        match copies.enter(reading.seq) {
            Sighting::First | Sighting::Late { .. } => {}
            Sighting::Again => self.repeated_in_log += 1,
            Sighting::Surplus { times } => {
                self.doubled(reading, &format!("sent {times} ×, and in the log more often"));
            }
        }
    }

    fn enter<'a>(
        &mut self,
        arrival: &'a Arrival,
        identities: &mut HashSet<&'a Identity>,
        found: &mut [Copies],
        last_offset: &mut Option<u64>,
    ) {
        let text = String::from_utf8_lossy(&arrival.value);
        let Some(identity) = &arrival.identity else {
            return self.unexpected(&format!("a record without the gateway's headers: {text}"));
        };
        let offset = identity.offset;
        let sent = Reading::parse(&arrival.value).filter(|reading| reading.is_selected());
        let copies = sent.and_then(|reading| found.get_mut(reading.device));
        let (Some(reading), Some(copies)) = (sent, copies) else {
            let why = "was not sent, or is not selected";
            return self.unexpected(&format!("offset {offset} {why}: {text}"));
        };
        if !identities.insert(identity) {
            return self.doubled(reading, &format!("offset {offset} is there twice"));
        }
        match copies.enter(reading.seq) {
            Sighting::First => self.arrived += 1,
            Sighting::Again => self.repeated_in_cluster += 1,
            Sighting::Late { behind } => {
                self.arrived += 1;
                self.out_of_order(reading, &format!("first seen behind seq {behind}"));
            }
            Sighting::Surplus { times } => {
                return self
                    .doubled(reading, &format!("sent {times} ×, and in the cluster more often"));
            }
        }
        if let Some(last) = last_offset.replace(offset)
            && last > offset
        {
            self.out_of_order(reading, &format!("offset {offset} behind offset {last}"));
        }
    }

    fn look_for_losses(&mut self, journal: &Journal, (logged, found): (&Copies, &Copies)) {
        for reading in readings(journal.device, journal.acknowledged) {
            let missing = if logged.seen[reading.seq] == 0 {
                "in the log"
            } else if reading.is_selected() && found.seen[reading.seq] == 0 {
                "in the cluster"
            } else {
                continue;
            };
            let times = journal.times[reading.seq];
            let why = format!("acknowledged, sent {times} ×, not {missing}");
            note(&mut self.evidence, &mut self.lost, "lost", &at(reading, &why));
        }
    }

    /// What the gateway says must fit what was found.
    fn compare(&mut self, logged: u64) {
        let Own { durable, delivered, filtered, lost, pending } = self.gateway;
        let records = self.records() + self.doubled;
        let sum = delivered + filtered + lost + pending;
        let checks = [
            (durable == logged, format!("{durable} durable, {logged} events in the log")),
            (delivered == records, format!("{delivered} delivered, {records} records read")),
            (
                durable == sum,
                format!("{durable} durable, {sum} delivered, filtered, lost or pending"),
            ),
        ];
        for (agrees, why) in checks {
            if !agrees {
                note(&mut self.evidence, &mut self.disagreements, "the gateway's sums", &why);
            }
        }
    }

    fn unexpected(&mut self, why: &str) {
        note(&mut self.evidence, &mut self.unexpected, "unexpected", why);
    }

    fn doubled(&mut self, reading: Reading, why: &str) {
        note(&mut self.evidence, &mut self.doubled, "doubled", &at(reading, why));
    }

    fn out_of_order(&mut self, reading: Reading, why: &str) {
        note(&mut self.evidence, &mut self.out_of_order, "out of order", &at(reading, why));
    }
}

/// The copies of one device's readings that were found.
struct Copies {
    /// How often each was sent.
    times: Vec<u32>,
    /// How often each was seen.
    seen: Vec<u32>,
    /// The highest that was seen.
    highest: Option<usize>,
}

/// What a copy is.
enum Sighting {
    /// The first of its reading, in order.
    First,
    /// The first of its reading, behind a later reading.
    Late { behind: usize },
    /// Of a reading that was sent again.
    Again,
    /// More than were sent.
    Surplus { times: u32 },
}

impl Copies {
    fn of(journal: &Journal) -> Self {
        let seen = vec![0; journal.times.len()];
        Self { times: journal.times.clone(), seen, highest: None }
    }

    fn enter(&mut self, seq: usize) -> Sighting {
        let times = self.times.get(seq).copied().unwrap_or(0);
        let Some(seen) = self.seen.get_mut(seq).filter(|seen| **seen < times) else {
            return Sighting::Surplus { times };
        };
        *seen += 1;
        if *seen > 1 {
            return Sighting::Again;
        }
        match self.highest {
            Some(behind) if behind > seq => Sighting::Late { behind },
            _ => {
                self.highest = Some(seq);
                Sighting::First
            }
        }
    }
}

fn readings(device: usize, count: usize) -> impl Iterator<Item = Reading> {
    (0..count).map(move |seq| Reading { device, seq })
}

fn at(reading: Reading, why: &str) -> String {
    format!("{} seq {}: {why}", name(reading.device), reading.seq)
}

/// Counts a mistake, and keeps the words for the first few.
fn note(evidence: &mut Vec<String>, count: &mut u64, kind: &str, why: &str) {
    if *count < EVIDENCE_MAX as u64 {
        evidence.push(format!("{kind}: {why}"));
    }
    *count += 1;
}

#[cfg(test)]
mod tests;
