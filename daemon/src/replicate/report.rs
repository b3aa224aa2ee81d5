//! How a lane stands, for people: kept for `status`, and a line in the log for each change.

use serde::{Deserialize, Serialize};
use tributary_bridge::{Codec, Halt, Position, Replicator, Said, State, Status};
use tributary_core::Offset;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::account::Account;
use super::feed::Feed;
use super::table::Table;
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
    revision: Option<(u64, Position, Option<Offset>)>,
}

/// What a lane has done since the daemon started.
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
        self.sessions += other.sessions;
        self.transactions += other.transactions;
        self.records += other.records;
        self.batch_bytes += other.batch_bytes;
        self.bytes_sent += other.bytes_sent;
    }
}

impl Report {
    /// Below, nothing is left to be shipped, nor to be read back.
    #[must_use]
    pub fn position(&self) -> Offset {
        let settled = Offset(self.settled);
        self.account.backfill.map_or(settled, |back| back.min(settled))
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
