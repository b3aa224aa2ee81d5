//! How a lane stands, for people: kept for `status`, and a line in the log for each change.

use serde::{Deserialize, Serialize};
use tributary_bridge::{Codec, Halt, Position, Replicator, Said, State, Status};
use tributary_core::Offset;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::account::Account;
use super::feed::Feed;
use super::table::Table;
use crate::config::Lane;
use crate::runtime::hint::LaneHint;

/// How a lane stands.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In words: `live`, `backing off`, …
    pub state: &'static str,
    /// Why it is not live, or what last went wrong.
    pub reason: Option<String>,
    /// Why the lane cannot make records at the moment.
    pub stuck: Option<String>,
    /// What Kafka refuses.
    pub refused: Option<String>,
    /// The topic, if only what goes there is refused.
    pub refused_topic: Option<String>,
    /// Why the lane stands still until an operator decides, and what Kafka had said.
    pub halted: Option<(Halt, Said)>,
    /// The cluster's finalized `transaction.version`.
    pub transaction_version: Option<i16>,
    /// What the last transaction was compressed with.
    pub codec: Codec,
    /// Transactions, records and bytes so far.
    pub counters: Counters,
    /// All below is dealt with: committed to Kafka, or found not to be selected.
    pub settled: u64,
    /// What became of the events below.
    pub account: Account,
    /// The table in force there, once the lane has read so far.
    pub table: Option<Table>,
    /// The lane had nothing left to do and has ended: what it has counted is in its hint.
    pub is_over: bool,
    revision: Option<(u64, Position, Option<Offset>)>,
}

/// What a lane has done since it began, or all of them since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Sessions with the cluster.
    pub sessions: u64,
    /// Committed transactions.
    pub transactions: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their batches, before compression.
    pub batch_bytes: u64,
    /// Bytes sent to brokers.
    pub bytes_sent: u64,
    /// Milliseconds for which brokers have asked for quiet (quotas, KIP-219).
    pub throttled_ms: u64,
}

impl Counters {
    /// Adds another lane's.
    pub fn add(&mut self, other: Self) {
        let Self { sessions, transactions, records, batch_bytes, bytes_sent, throttled_ms } = other;
        self.sessions += sessions;
        self.transactions += transactions;
        self.records += records;
        self.batch_bytes += batch_bytes;
        self.bytes_sent += bytes_sent;
        self.throttled_ms += throttled_ms;
    }

    /// What has come since the lane had counted this.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let Self { sessions, transactions, records, batch_bytes, bytes_sent, throttled_ms } =
            before;
        Self {
            sessions: self.sessions - sessions,
            transactions: self.transactions - transactions,
            records: self.records - records,
            batch_bytes: self.batch_bytes - batch_bytes,
            bytes_sent: self.bytes_sent - bytes_sent,
            throttled_ms: self.throttled_ms - throttled_ms,
        }
    }
}

impl Report {
    /// Below, nothing is left to be shipped by the lane, nor to be read back: a route of `table` that it
    /// has not met yet may begin far behind it.
    #[must_use]
    pub fn position(&self, lane: Lane, table: &Table) -> Offset {
        let behind = [self.account.backfill, table.unmet_from(lane, &self.account)];
        behind.into_iter().flatten().fold(Offset(self.settled), Offset::min)
    }

    /// How a lane stands that does not run, as the log knows.
    #[must_use]
    pub fn noted(hint: &LaneHint) -> Self {
        let account = hint.reached.as_ref().map_or(&hint.hint.low.account, |to| &to.account);
        Self {
            state: "at rest",
            settled: hint.settled().0,
            account: Account::parse(account).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Takes over how replicator and fold stand. `settled`: whether all that the fold has passed is
    /// committed or was not selected.
    pub fn update<M: ReadMedia>(
        &mut self,
        now: Instant,
        replicator: &Replicator,
        (feed, settled): (Option<&Feed<M>>, bool),
        committed: &Position,
    ) {
        let status = replicator.status();
        (self.state, self.reason) = words(&status.state, now);
        // Out of reach: the reason is why the last try came to nothing.
        let unreachable = status.last_error.as_ref().filter(|_| status.state == State::Offline);
        self.reason = self.reason.take().or_else(|| unreachable.cloned()).or(self.stuck.clone());
        self.refused = status.refused.as_ref().map(ToString::to_string);
        self.refused_topic = status.refused.as_ref().and_then(|refused| refused.topic.clone());
        self.halted = match &status.state {
            State::Halted(halt) => Some((halt.clone(), status.said.clone())),
            _ => None,
        };
        self.transaction_version = status.transaction_version;
        self.codec = status.codec;
        self.counters = Counters {
            sessions: status.counters.sessions,
            transactions: status.counters.transactions,
            records: status.counters.records,
            batch_bytes: status.counters.batch_bytes,
            bytes_sent: status.counters.bytes_sent,
            throttled_ms: status.counters.throttled_ms,
        };
        let judged = feed.filter(|_| settled);
        let settled = judged.map_or(committed.offset, Feed::next_offset).0;
        let back = judged.and_then(|feed| feed.account().0.backfill);
        let revision = Some((settled, committed.clone(), back));
        if self.revision == revision {
            return;
        }
        self.revision = revision;
        self.settled = settled;
        self.account = match judged {
            Some(feed) => feed.account().0.clone(),
            None => Account::parse(&committed.account).unwrap_or_default(),
        };
        if let Some(table) = feed.and_then(|feed| feed.account().1)
            && self.table.as_ref() != Some(table)
        {
            self.table = Some(table.clone());
        }
    }
}

fn words(state: &State, now: Instant) -> (&'static str, Option<String>) {
    match state {
        State::Offline => ("offline", None),
        State::Connecting => ("connecting", None),
        State::Starting => ("starting", None),
        State::Live => ("live", None),
        State::BackingOff { until, reason } => {
            let seconds = until.ms_since(now).div_ceil(1_000);
            ("backing off", Some(format!("{reason}; next attempt in {seconds} s")))
        }
        State::Halted(halt @ Halt::HangingTransaction) => {
            let repair =
                "`tributary upstream repair` reads Kafka's topics, and mends it or tells how";
            (halt.name(), Some(format!("{halt}; {repair}")))
        }
        State::Halted(halt) => {
            let decide = "`tributary upstream repair`, `adopt` or `skip` decides where it goes on";
            (halt.name(), Some(format!("{halt}; {decide}")))
        }
    }
}

/// Writes the changes of a lane's state to the log: one line each, repeats counted.
#[derive(Debug, Default)]
pub struct Announcer {
    last: String,
    repeats: u64,
}

impl Announcer {
    /// The status may have changed.
    pub fn announce(&mut self, status: &Status) {
        let line = match &status.state {
            // Passing states: what comes of them is told.
            State::Connecting | State::Starting => return,
            State::Offline => match &status.last_error {
                None => return,
                Some(why) => format!("the upstream cannot be reached: {why}"),
            },
            State::Live => "upstream is live".to_owned(),
            State::BackingOff { reason, .. } => reason.clone(),
            State::Halted(halt) => format!("replication stands still: {halt}"),
        };
        if line == self.last {
            self.repeats += 1;
            return;
        }
        if self.repeats > 0 {
            tracing::info!(
                "(the last message about the upstream came {} times more)",
                self.repeats
            );
        }
        self.repeats = 0;
        match &status.state {
            State::Live => tracing::info!("{line}"),
            State::Halted(_) => tracing::error!("{line}"),
            _ => tracing::warn!("{line}"),
        }
        self.last = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use crate::replicate::table::Wanted;
    use crate::runtime::status::routes;

    fn table(before: &Table, lane: Lane, at: u64) -> Table {
        let route = Route { name: "all".to_owned(), lane, ..Route::everything("events") };
        before.succeed(&Wanted::compile(&[route], true).expect("small"), Offset(at), Offset(0))
    }

    fn report(offset: u64, account: &str) -> Report {
        let low = Position { offset: Offset(offset), generation: 9, account: account.to_owned() };
        Report::noted(&LaneHint::beginning("normal", low))
    }

    #[test]
    fn all_that_a_lane_counts_is_in_the_sum() {
        let counters = Counters {
            sessions: 1,
            transactions: 2,
            records: 3,
            batch_bytes: 4,
            bytes_sent: 5,
            throttled_ms: 6,
        };
        let mut sum = Counters::default();
        sum.add(counters.since(sum));
        assert_eq!(sum, counters);
        assert_eq!(counters.since(sum), Counters::default(), "each once");
    }

    #[test]
    fn what_waits_to_be_read_back_is_backlog() {
        // Six events, and then an upstream.
        let first = table(&Table::none(), Lane::Normal, 6);
        let pending = |report: &Report, durable| {
            routes(&first, &[(Lane::Normal, report.clone())].into(), durable)[0].pending
        };
        for (report, durable, position) in [
            // The lane has not come to the table yet.
            (report(6, ""), 6, 0),
            (report(6, ""), 9, 0),
            (report(6, "b=2;1.2.0.0;"), 9, 2),
            (report(6, "1.6.0.0;"), 9, 6),
            (report(9, "1.9.0.0;"), 9, 9),
        ] {
            assert_eq!(report.position(Lane::Normal, &first), Offset(position));
            assert_eq!(pending(&report, durable), durable - position);
        }
    }

    #[test]
    fn a_route_that_comes_from_another_lane_is_not_read_back() {
        let moved = table(&table(&Table::none(), Lane::Normal, 6), Lane::High, 8);
        assert_eq!(report(8, "").position(Lane::High, &moved), Offset(8));
        let reports = [(Lane::Normal, report(7, "1.7.0.0;")), (Lane::High, report(7, ""))].into();
        assert!(routes(&moved, &reports, 9)[0].pending > 0);
        assert!(report(7, "").position(Lane::High, &moved) < Offset(9), "so there is backlog");
    }
}
