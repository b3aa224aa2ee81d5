//! How the daemon stands, in numbers: what `tributary status` asks for. Cumulative counters are
//! exact over restarts where they travel with the position (routes), else since the start.

use serde::{Deserialize, Serialize};

use super::retention::Gone;
use crate::replicate::report::{Counters as LaneCounters, Report};
use crate::replicate::table::Table;

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
    /// Bytes that it may take.
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
    /// Offsets found damaged or lost when the log was opened: first and end of each range.
    pub gaps: Vec<(u64, u64)>,
    /// Why events are refused at the moment.
    pub refusing: Option<String>,
    /// Bytes written since the start.
    pub bytes_written: u64,
    /// Flushes of the device since the start.
    pub flushes: u64,
    /// Commits since the start.
    pub commits: u64,
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
    /// Connections accepted since the start.
    pub connects: u64,
    /// Messages on their way to subscribers since the start.
    pub delivered: u64,
    /// Messages that slow subscribers did not get since the start.
    pub dropped: u64,
}

/// The Kafka side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// In words: `live`, `backing off`, `in doubt`, …
    pub state: String,
    /// Why it is not live, or what stops it.
    pub reason: Option<String>,
    /// What Kafka refuses: topic, offsets, error.
    pub refused: Option<String>,
    /// Bootstrap brokers.
    pub brokers: Vec<String>,
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
    /// Of these, still to be judged or delivered.
    pub pending: u64,
}

/// The routes of `table`, as far as the lane's report has come.
#[must_use]
pub fn routes(table: &Table, report: &Report, durable: u64) -> Vec<RouteStatus> {
    table
        .routes
        .iter()
        .map(|entry| {
            let counts = report.account.counts(entry.id);
            let ingested = durable.saturating_sub(entry.begin);
            // A route that the lane has not come to yet, or reads back for, is behind by that.
            let judged_to = match report.account.backfill {
                _ if !report.account.knows(entry.id) => entry.begin,
                Some(back) if entry.since == report.settled => back.0,
                _ => report.settled,
            };
            let judged = judged_to.saturating_sub(entry.begin);
            RouteStatus {
                name: entry.rule.name.clone(),
                from: entry.rule.from.clone(),
                condition: entry.rule.condition.clone(),
                topic: entry.rule.topic.clone(),
                begin: entry.begin,
                ingested,
                delivered: counts.delivered,
                filtered: judged.saturating_sub(counts.delivered + counts.lost),
                undecided: counts.undecided,
                lost: counts.lost,
                pending: ingested.saturating_sub(judged),
            }
        })
        .collect()
}
