//! Answers to the command line: gathers what the parts of the daemon tell of themselves.

use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::log::{Item, Reader, offset_at};
use tributary_core::time::{Instant, Timestamp};

use super::clock::Clocks;
use super::cursors::{Cursors, Reading};
use super::dead_letters::FileLetters;
use super::downlinks::Downlinks;
use super::facts::Facts;
use super::folding::Trouble;
use super::hub::Hub;
use super::ingest::{Closed, Ingest};
use super::replaying::{self, Replaying};
use super::routing::Hints;
use super::scrub::Damage;
use super::sources::Sources;
use super::status::{
    CLIENTS_SHOWN_MAX, LaneStatus, LogStatus, Month, MqttStatus, Refused, Reports, Status,
    UpstreamStatus, routes,
};
use super::{stream, tail};
use crate::config::{self, Delivery, Lane};
use crate::door::{Counters, Door};
use crate::io::clock::moment;
use crate::io::control::{self, Answers, Decide, Lines, Replay, Request};
use crate::io::crc::crc32c;
use crate::io::segments::{COMMANDS, DEAD_LETTER, INPUT, Place, SegmentReader};
use crate::log_tools::LogEnd;
use crate::replicate::report::{Counters as LaneCounters, Report};
use crate::replicate::table::Table;
use crate::replicate::traffic::{Traffic, month_of};
use crate::sync::lock;

/// Bytes read to find the age of one event.
const CHUNK_BYTES: usize = 1 << 20;

/// What does not change while the daemon runs.
pub(super) struct Constants {
    pub(super) gateway: String,
    pub(super) listeners: Vec<String>,
    pub(super) dir: String,
    pub(super) place: Place,
    /// Of the log, as it is configured.
    pub(super) size: u64,
    pub(super) damage: Arc<Damage>,
    pub(super) started: Instant,
}

/// What a reload may change.
#[derive(Clone)]
pub(super) struct Upstream {
    /// How it is reached.
    pub(super) config: config::Upstream,
    pub(super) traffic: Arc<Mutex<Traffic>>,
    /// By priority.
    pub(super) lanes: Vec<LaneAnswers>,
}

/// Where a lane tells how it stands.
#[derive(Clone)]
pub(super) struct LaneAnswers {
    pub(super) lane: Lane,
    pub(super) identity: String,
    pub(super) report: Arc<Mutex<Report>>,
    /// Wakes it when an operator has decided where it goes on.
    pub(super) decided: Arc<Notify>,
}

/// All that is asked for answers.
pub(super) struct Daemon {
    pub(super) constants: Constants,
    pub(super) ingest: Arc<Ingest>,
    pub(super) hub: Arc<Hub>,
    pub(super) clocks: Arc<Mutex<Clocks>>,
    pub(super) log: SegmentReader,
    pub(super) cursors: Arc<Cursors>,
    pub(super) facts: Arc<Mutex<Facts>>,
    pub(super) sources: Sources,
    pub(super) downlinks: Downlinks,
    pub(super) doors: Vec<Arc<Door>>,
    pub(super) letters: Arc<Mutex<FileLetters>>,
    pub(super) upstream: Mutex<Option<Upstream>>,
    pub(super) table: Arc<Mutex<Table>>,
    /// What the log knows of the lanes.
    pub(super) hints: Hints,
    /// What lanes have done since the start, those that have ended among them.
    pub(super) done: Arc<Mutex<LaneCounters>>,
    /// Held by the replay of dead letters that runs.
    pub(super) replay: Arc<tokio::sync::Mutex<()>>,
    /// Told when a lane has halted.
    pub(super) halted: Arc<Notify>,
    /// What keeps sessions from being folded.
    pub(super) folding: Trouble,
}

impl Daemon {
    /// The upstream with the lanes that are at work.
    pub(super) fn upstream(&self) -> Option<Upstream> {
        let mut upstream = lock(&self.upstream).clone()?;
        upstream.lanes.retain(|lane| !lock(&lane.report).is_over);
        Some(upstream)
    }

    pub(super) fn status(&self) -> Status {
        let durable = self.ingest.durable();
        let upstream = self.upstream();
        let lanes = upstream.iter().flat_map(|upstream| &upstream.lanes);
        let mut reports: Reports =
            lanes.map(|lane| (lane.lane, lock(&lane.report).clone())).collect();
        for lane in Lane::ALL {
            if let Some(hint) = &*lock(&self.hints[lane.index()]) {
                reports.entry(lane).or_insert_with(|| Report::noted(hint));
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: self.constants.gateway.clone(),
            uptime_s: moment().now.ms_since(self.constants.started) / 1_000,
            log: self.log_status(durable),
            mqtt: self.mqtt_status(),
            sources: self.sources.status(),
            downlinks: self.downlinks.status(),
            upstream: upstream.map(|upstream| self.upstream_status(&upstream, &reports, durable)),
            routes: routes(&lock(&self.table), &reports, durable.0),
        }
    }

    fn log_status(&self, durable: Offset) -> LogStatus {
        let facts = lock(&self.facts).clone();
        let Constants { place, damage, .. } = &self.constants;
        let (gaps, unusable) = (damage.gaps(), self.unusable());
        let others = [lock(&self.letters).reader(), lock(self.downlinks.commands()).reader()];
        let mut all = [&self.log].into_iter().chain(others.iter().flatten());
        let refusing = facts.closed.map(|closed| match closed {
            Closed::Failed => cannot_be_written(facts.failure.as_deref()),
            Closed::Full => self.full(),
            Closed::Stopping => "the daemon is stopping".to_owned(),
        });
        LogStatus {
            id: format!("{:016x}", facts.id.0),
            generation: format!("{:08x}", facts.generation),
            dir: self.constants.dir.clone(),
            file_system: place.file_system.clone(),
            mount_options: place.options.clone(),
            file_system_bytes: place.bytes,
            page_bytes: place.page_bytes,
            bytes_max: stream::bytes_max(self.constants.size, &self.log, &others),
            oldest: facts.oldest.0,
            durable: durable.0,
            gone: facts.gone,
            refused: self.ingest.refused(),
            gaps: gaps.listed,
            gaps_more: gaps.more,
            vanished: damage.vanished(),
            verified: damage.verified(),
            smaller: self.log.smaller(),
            larger: all.find_map(SegmentReader::larger),
            refusing,
            bytes_written: facts.counters.bytes,
            flushes: facts.counters.barriers,
            commits: facts.counters.commits,
            cursors: self.cursors.status(),
            dead_letters: lock(&self.letters).extent().map(|all| (all.oldest.0, all.next.0)),
            commands: lock(self.downlinks.commands())
                .extent()
                .map(|all| (all.oldest.0, all.next.0)),
            unusable,
            unfolded: self.folding.why(),
            clock_trusted: lock(&self.clocks).now(moment()).trusted,
        }
    }

    /// Streams beside the log that cannot be used, and why.
    fn unusable(&self) -> BTreeMap<String, String> {
        let letters = lock(&self.letters).unusable();
        let commands = lock(self.downlinks.commands()).unusable();
        let all = [(DEAD_LETTER, letters), (COMMANDS, commands)];
        all.into_iter().filter_map(|(name, why)| Some((name.to_owned(), why?))).collect()
    }

    /// What a log that is full and holds waits for.
    fn full(&self) -> String {
        let (lane, at) = self.ingest.positions().last().unwrap_or_default();
        format!(
            "the log is full, and lane `{lane}` has shipped only what lies below {at}: see to the \
             upstream, or say `when_full = \"drop-oldest\"` under [log]"
        )
    }

    fn mqtt_status(&self) -> MqttStatus {
        MqttStatus {
            listeners: self.constants.listeners.clone(),
            connections: self.hub.connections() as u64,
            counts: self.hub.counters.tally(),
            refused: self.refused(),
            clients: self.hub.sessions(CLIENTS_SHOWN_MAX),
        }
    }

    fn refused(&self) -> Refused {
        let mut all = Refused::default();
        for door in &self.doors {
            let Counters { refused, over_limit, publishes_denied, deliveries_denied } =
                &door.counters;
            all.logins += refused.load(Ordering::Relaxed);
            all.over_limit += over_limit.load(Ordering::Relaxed);
            all.publishes += publishes_denied.load(Ordering::Relaxed);
            all.deliveries += deliveries_denied.load(Ordering::Relaxed);
        }
        all
    }

    fn upstream_status(
        &self,
        upstream: &Upstream,
        reports: &Reports,
        durable: Offset,
    ) -> UpstreamStatus {
        let (config, lanes) = (&upstream.config, upstream.lanes.iter());
        let lanes: Vec<LaneStatus> =
            lanes.map(|lane| self.lane_status(lane, &reports[&lane.lane], durable)).collect();
        let spent = lock(&upstream.traffic).spent();
        let this_month = month_of(moment().wall) == spent.month;
        let month =
            Month { bytes: if this_month { spent.bytes } else { 0 }, bytes_max: config.monthly };
        let brokers = config.brokers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let at_least_once = config.delivery == Delivery::AtLeastOnce;
        let shipped = (*lock(&self.done), month);
        UpstreamStatus { at_least_once, ..UpstreamStatus::of(brokers, lanes, shipped, durable.0) }
    }

    fn lane_status(&self, lane: &LaneAnswers, report: &Report, durable: Offset) -> LaneStatus {
        let position = report.position(lane.lane, &lock(&self.table));
        let backlog = durable.0.saturating_sub(position.0);
        LaneStatus {
            lane: lane.lane.name().to_owned(),
            state: report.state.to_owned(),
            reason: report.reason.clone(),
            refused: report.refused.clone(),
            identity: lane.identity.clone(),
            transaction_version: report.transaction_version,
            compression: report.codec.to_string(),
            settled: position.0,
            backlog,
            oldest_undelivered_ms: (backlog > 0).then(|| self.age_ms(position)).flatten(),
            counters: report.counters,
        }
    }

    /// The first event that came in at this wall time or later. Found by the age clock: wall clocks jump.
    fn offset_at(&self, wall_ms: i64) -> Offset {
        let clocks = *lock(&self.clocks);
        let anchor = clocks.anchor().at(clocks.now(moment()));
        let age = anchor.as_read(anchor.age_at(Timestamp(wall_ms)));
        offset_at(&self.log, self.log.end(), age, (crc32c, &mut vec![0; CHUNK_BYTES]))
    }

    /// How long ago the first event at or after `offset` came in.
    fn age_ms(&self, offset: Offset) -> Option<u64> {
        let clocks = *lock(&self.clocks);
        let mut reader = Reader::new(offset, crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(Some(chunk)) = reader.read(&self.log, self.log.end(), &mut buffer) {
            for item in chunk {
                if let Item::Events(frame) = item {
                    return Some(clocks.ms_since(frame.clock().age, moment()));
                }
            }
        }
        None
    }
}

fn cannot_be_written(failure: Option<&str>) -> String {
    let failure = failure.unwrap_or("it failed");
    format!("the log cannot be written any more, it is only read: {failure}")
}

impl control::Cursor for Reading {
    async fn advance(&self, read: u64) -> io::Result<()> {
        Self::advance(self, read).await
    }
}

impl Answers for Daemon {
    type Cursor = Reading;

    async fn status(&self) -> String {
        let status = tokio::task::block_in_place(|| Daemon::status(self));
        serde_json::to_string(&status).unwrap_or_else(|_| unreachable!("plain values"))
    }

    async fn log_end(&self, stream: &str) -> String {
        let reader = match stream {
            INPUT => Some(self.log.clone()),
            DEAD_LETTER => lock(&self.letters).reader(),
            COMMANDS => lock(self.downlinks.commands()).reader(),
            _ => None,
        };
        let answer = match reader.map(|reader| reader.durable()) {
            Some((end, oldest, tail)) => serde_json::to_string(&LogEnd::new(end, oldest, &tail)),
            None => serde_json::to_string(&LogEnd::no_such(stream)),
        };
        answer.unwrap_or_else(|_| unreachable!("plain values"))
    }

    async fn forget(&self, cursor: &str) -> String {
        let answer = match self.cursors.forget(cursor).await {
            Ok(()) => serde_json::json!({ "forgotten": cursor }),
            Err(why) => serde_json::json!({ "error": why }),
        };
        answer.to_string()
    }

    async fn decide(&self, decide: Decide) -> String {
        let answer = match Daemon::decide(self, &decide).await {
            Ok(plan) => serde_json::to_string(&plan),
            Err(why) => serde_json::to_string(&serde_json::json!({ "error": why })),
        };
        answer.unwrap_or_else(|_| unreachable!("plain values"))
    }

    async fn replay(&self, request: Replay, lines: &mut Lines) -> io::Result<()> {
        let replaying = Replaying {
            letters: Arc::clone(&self.letters),
            ingest: Arc::clone(&self.ingest),
            table: Arc::clone(&self.table),
            log_id: lock(&self.facts).id.0,
        };
        replaying::run(replaying, (&self.replay, request), lines).await
    }

    async fn read_with(&self, cursor: &str, from: Option<u64>) -> Result<Reading, String> {
        self.cursors.read(cursor, from.map(Offset)).await
    }

    async fn tail(
        &self,
        request: Request,
        cursor: Option<&Reading>,
        lines: &mut Lines,
    ) -> io::Result<()> {
        let Request::Tail { filter, from, since_ms, count, until_end, .. } = request else {
            unreachable!("only what asks for events is handed here")
        };
        let since = || since_ms.map(|ms| tokio::task::block_in_place(|| self.offset_at(ms)));
        let from = cursor.map(Reading::position).or(from.map(Offset)).or_else(since);
        let wanted = tail::Wanted {
            filter,
            from: from.unwrap_or_else(|| self.ingest.durable()),
            count: count.unwrap_or(u64::MAX),
            until_end,
        };
        tail::run(self.log.clone(), self.ingest.follow(), (wanted, cursor), lines).await
    }
}
