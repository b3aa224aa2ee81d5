//! How the daemon stands, in numbers: what `tributary status` asks for. Cumulative counters are
//! exact over restarts where they travel with the position (routes), else since the start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cursors::CursorStatus;
use super::hub::{SessionStatus, Tally};
use super::retention::Gone;
use crate::config::Lane;
use crate::replicate::account::Counts;
use crate::replicate::report::{Counters as LaneCounters, Report};
use crate::replicate::table::{Entry, Moved, Table};

/// Clients that are listed.
pub const CLIENTS_SHOWN_MAX: usize = 1_000;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// The gateway's name.
    pub gateway: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The log.
    pub log: LogStatus,
    /// The MQTT side.
    pub mqtt: MqttStatus,
    /// Other brokers whose messages are taken.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// Kafka topics that bring commands.
    #[serde(default)]
    pub downlinks: Vec<DownlinkStatus>,
    /// The Kafka side; `None` without `[upstream]`.
    pub upstream: Option<UpstreamStatus>,
    /// What became of the events, per route.
    pub routes: Vec<RouteStatus>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Identity, 16 hex digits.
    pub id: String,
    /// This opening, 8 hex digits.
    pub generation: String,
    /// Directory.
    pub dir: String,
    /// File system under it, as far as it is known.
    pub file_system: String,
    /// The options that it is mounted with, as far as they are known.
    pub mount_options: String,
    /// Bytes of the whole file system.
    pub file_system_bytes: u64,
    /// What is written as a whole: the unit that a commit protects.
    pub page_bytes: u32,
    /// Bytes that all its streams may take.
    pub bytes_max: u64,
    /// The oldest offset that is still there.
    pub oldest: u64,
    /// All below is durable: also the number of events ever taken.
    pub durable: u64,
    /// Events that are gone since the start: evicted because the log was full, or too old.
    #[serde(flatten)]
    pub gone: Gone,
    /// Events that were refused since the start, and their publishers told if they could be.
    pub refused: u64,
    /// Offsets found damaged or lost: first and end of each range.
    pub gaps: Vec<(u64, u64)>,
    /// Gaps that are not listed.
    pub gaps_more: u64,
    /// What is lost of a log that was there before this one began at this start.
    pub vanished: Option<String>,
    /// Everything below was read and checked since the start.
    pub verified: u64,
    /// Why the log stays smaller than it may be.
    pub smaller: Option<String>,
    /// Why it is larger than it was to be.
    pub larger: Option<String>,
    /// Why events are refused at the moment.
    pub refusing: Option<String>,
    /// Bytes written since the start.
    pub bytes_written: u64,
    /// Flushes of the device since the start.
    pub flushes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Dead letters: the oldest that is kept, and the offset of the next one, if there ever was one.
    pub dead_letters: Option<(u64, u64)>,
    /// The same of commands, which are kept for devices that stay away for long.
    pub commands: Option<(u64, u64)>,
    /// Streams beside it that cannot be used, and why.
    #[serde(default)]
    pub unusable: BTreeMap<String, String>,
    /// Why what it tells of sessions is not kept in the file of sessions, while that is so.
    pub unfolded: Option<String>,
    /// Named readers.
    #[serde(default)]
    pub cursors: Vec<CursorStatus>,
    /// Whether the wall clock is trusted.
    pub clock_trusted: bool,
}

/// The MQTT side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttStatus {
    /// Where clients connect.
    pub listeners: Vec<String>,
    /// Clients connected now.
    pub connections: u64,
    /// What happened since the start.
    #[serde(flatten)]
    pub counts: Tally,
    /// What was refused at the doors since the start.
    #[serde(default)]
    pub refused: Refused,
    /// The clients that are connected or whose sessions last, the first [`CLIENTS_SHOWN_MAX`] by name.
    #[serde(default)]
    pub clients: Vec<SessionStatus>,
}

/// What was refused at the doors since the start, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Logins: unknown, wrong password, too many tries, not allowed.
    pub logins: u64,
    /// Connections that were one too many of their address.
    pub over_limit: u64,
    /// Publishes that the access list does not allow.
    pub publishes: u64,
    /// Messages that a subscriber may not read.
    pub deliveries: u64,
}

/// Another broker whose messages are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name; its events name it as their client.
    pub name: String,
    /// The broker.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// Whether messages are taken now; else the next connection is waited for.
    pub connected: bool,
    /// Connections since the source was begun.
    pub connects: u64,
    /// Messages that became events.
    pub received: u64,
    /// Messages that the broker sent again, and that were in the log: not taken twice.
    pub duplicates: u64,
    /// Messages that the broker sent again after a restart: some may be in the log twice.
    pub repeated: u64,
    /// Messages that can be no events: acknowledged, and not taken.
    pub refused: u64,
    /// Why the last of these was refused.
    pub refusal: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A Kafka topic whose records become events for devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownlinkStatus {
    /// The topic.
    pub topic: String,
    /// Whether records come as they are committed.
    pub live: bool,
    /// What is waited for, if it is not the connection.
    pub waits_for: Option<String>,
    /// Records that became events since it was begun.
    pub received: u64,
    /// Records that were for other gateways.
    pub others: u64,
    /// Records that were too old.
    pub expired: u64,
    /// Records that can be no events.
    pub refused: u64,
    /// Why the last of these was refused.
    pub refusal: Option<String>,
    /// Records that Kafka has deleted before they were read.
    pub lost: u64,
    /// By partition the offset of the next record.
    pub next: BTreeMap<i32, u64>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The Kafka side: what matters most of all lanes, and each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Of the first lane that is not live, else `live`.
    pub state: String,
    /// Why it is not live, or what stops it.
    pub reason: Option<String>,
    /// What Kafka refuses: topic, offsets, error.
    pub refused: Option<String>,
    /// Bootstrap brokers.
    pub brokers: Vec<String>,
    /// Transactional id, which is also the group id, of that lane.
    pub identity: String,
    /// The cluster's finalized `transaction.version`.
    pub transaction_version: Option<i16>,
    /// Whether records may come twice, because that was asked for.
    #[serde(default)]
    pub at_least_once: bool,
    /// All below is dealt with by every lane: in Kafka, or not selected.
    pub settled: u64,
    /// Events that are not.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest_undelivered_ms: Option<u64>,
    /// Since the start, all lanes together, with those that have ended.
    pub counters: LaneCounters,
    /// Bytes sent this month.
    pub month: Month,
    /// By priority.
    pub lanes: Vec<LaneStatus>,
}

/// Bytes sent in the calendar month, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Month {
    /// So far.
    pub bytes: u64,
    /// The budget, if there is one.
    pub bytes_max: Option<u64>,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Its name.
    pub lane: String,
    /// In words: `live`, `backing off`, `in doubt`, …
    pub state: String,
    /// Why it is not live, or what stops it.
    pub reason: Option<String>,
    /// What Kafka refuses: topic, offsets, error.
    pub refused: Option<String>,
    /// Transactional id, which is also the group id.
    pub identity: String,
    /// The cluster's finalized `transaction.version`.
    pub transaction_version: Option<i16>,
    /// What the last transaction was compressed with.
    pub compression: String,
    /// All below is dealt with: in Kafka, or not selected.
    pub settled: u64,
    /// Events that are not.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest_undelivered_ms: Option<u64>,
    /// Since the start.
    pub counters: LaneCounters,
}

impl UpstreamStatus {
    /// Puts together what the lanes say of themselves, and what all there were have sent.
    #[must_use]
    pub fn of(
        brokers: Vec<String>,
        lanes: Vec<LaneStatus>,
        (counters, month): (LaneCounters, Month),
        durable: u64,
    ) -> Self {
        let ill = lanes.iter().find(|lane| lane.state != "live");
        let shown = ill.or(lanes.first()).cloned().unwrap_or_default();
        let settled = lanes.iter().map(|lane| lane.settled).min().unwrap_or(durable);
        Self {
            at_least_once: false,
            state: shown.state,
            reason: shown.reason,
            refused: lanes.iter().find_map(|lane| lane.refused.clone()),
            brokers,
            identity: shown.identity,
            transaction_version: shown.transaction_version,
            settled,
            backlog: durable.saturating_sub(settled),
            oldest_undelivered_ms: lanes.iter().filter_map(|lane| lane.oldest_undelivered_ms).max(),
            counters,
            month,
            lanes,
        }
    }
}

/// What became of the events of one route: `ingested` is the sum of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// MQTT topic filter.
    pub from: Option<String>,
    /// Condition.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Kafka topic.
    pub topic: String,
    /// The lane that ships it.
    pub lane: String,
    /// Why Kafka takes nothing of it.
    pub blocked: Option<String>,
    /// The first offset that it may select.
    pub begin: u64,
    /// Events since then.
    pub ingested: u64,
    /// Of these, in Kafka.
    pub delivered: u64,
    /// Of these, not selected.
    pub filtered: u64,
    /// Of the filtered, those whose condition could not be told.
    pub undecided: u64,
    /// Of these, evicted or damaged before they could be judged.
    pub lost: u64,
    /// Of these, those that Kafka will never take: kept as dead letters.
    #[serde(default)]
    pub dead_lettered: u64,
    /// Of these, those that an operator has passed over.
    #[serde(default)]
    pub skipped: u64,
    /// Of these, still to be judged or delivered.
    pub pending: u64,
}

/// How each running lane stands.
pub type Reports = BTreeMap<Lane, Report>;

/// The routes of `table`, as far as the lanes' reports have come.
#[must_use]
pub fn routes(table: &Table, reports: &Reports, durable: u64) -> Vec<RouteStatus> {
    let route = |entry: &Entry| {
        let counts = sum(reports, entry.id);
        let ingested = durable.saturating_sub(entry.begin);
        let judged = judged_to(entry, reports).saturating_sub(entry.begin);
        RouteStatus {
            name: entry.rule.name.clone(),
            from: entry.rule.from.clone(),
            condition: entry.rule.condition.clone(),
            topic: entry.rule.topic.clone(),
            lane: entry.rule.lane.name().to_owned(),
            blocked: blocked(entry, reports),
            begin: entry.begin,
            ingested,
            delivered: counts.delivered,
            filtered: judged.saturating_sub(
                counts.delivered + counts.lost + counts.dead_lettered + counts.skipped,
            ),
            undecided: counts.undecided,
            lost: counts.lost,
            dead_lettered: counts.dead_lettered,
            skipped: counts.skipped,
            pending: ingested.saturating_sub(judged),
        }
    };
    table.at_present().routes.iter().map(route).collect()
}

/// Why Kafka takes nothing of a route.
fn blocked(entry: &Entry, reports: &Reports) -> Option<String> {
    let report = reports.get(&entry.rule.lane)?;
    report.refused.clone().filter(|_| report.refused_topic.as_ref() == Some(&entry.rule.topic))
}

/// What all lanes that the route was in have counted.
fn sum(reports: &Reports, route: u32) -> Counts {
    let counts = reports.values().map(|report| report.account.counts(route));
    counts.fold(Counts::default(), |sum, counts| Counts {
        delivered: sum.delivered + counts.delivered,
        lost: sum.lost + counts.lost,
        undecided: sum.undecided + counts.undecided,
        dead_lettered: sum.dead_lettered + counts.dead_lettered,
        skipped: sum.skipped + counts.skipped,
    })
}

/// All events of the route below are dealt with.
fn judged_to(entry: &Entry, reports: &Reports) -> u64 {
    let Some(report) = reports.get(&entry.rule.lane) else { return entry.begin };
    match (entry.moved, report.account.backfill) {
        // The lane that it has left comes first.
        (Some(Moved { at, from, left }), _) if report.settled < at => {
            reports.get(&from).map_or(left, |before| before.settled.min(left))
        }
        // A route that the lane has not come to yet, or reads back for, is behind by that.
        (None, _) if !report.account.knows(entry.id) => entry.begin,
        (_, Some(back)) if entry.since == report.settled => back.0,
        _ => report.settled,
    }
}
