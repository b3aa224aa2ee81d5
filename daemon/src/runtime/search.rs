//! Reads the topics of a lane, to find out what of it stands in Kafka.

use core::time::Duration;
use std::collections::BTreeMap;

use tributary_bridge::{Edge, Reader, Settings, Start, Talk as _};

use crate::config;
use crate::io::clock::now;
use crate::io::kafka::{self, Links};
use crate::replicate::evidence::{Evidence, Ground, HeldBack, Verdict};

/// How long a broker may hold back an answer without records.
const WAIT_MS: u32 = 200;
/// Without anything new for so long the cluster is away.
const SILENCE: Duration = Duration::from_mins(1);

/// A topic that is not there for so long does not exist: a broker that has just started may not know all yet.
const MISSING_MS: u64 = 5_000;

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) upstream: &'a config::Upstream,
    pub(super) gateway: &'a str,
    pub(super) log_id: u64,
    /// The first offset in doubt.
    pub(super) start: u64,
    /// Gives up when so many bytes were read.
    pub(super) bytes_max: u64,
}

/// Why it cannot be told how far a lane has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// For this reason.
    Why(String),
    /// A transaction stays open in the lane's topics.
    HeldBack(HeldBack),
}

impl From<String> for Untold {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

impl Search<'_> {
    /// Reads, and tells how far the lane has come.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) async fn run(&self, ground: Ground) -> Result<Verdict, Untold> {
        let edge = ground.since.map_or(Edge::Beginning, Edge::Before);
        let start = Start { id: None, next: BTreeMap::new(), others: edge };
        let settings = Settings {
            authenticate: self.upstream.access.sasl.is_some(),
            encrypted: self.upstream.access.tls.is_some(),
            ..Settings::new(self.gateway, self.log_id, self.upstream.brokers.clone())
        };
        let starts = ground.topics.iter().map(|topic| (topic.clone(), start.clone())).collect();
        let mut reader = Reader::new(now(), settings, starts, WAIT_MS, self.log_id);
        let mut evidence = Evidence::new(self.log_id, self.start, ground);
        let mut links = Links::new(&self.upstream.access);
        let mut heard = now();
        let mut missing_since = None;
        while !evidence.is_complete() {
            kafka::connect(&mut reader, &mut links);
            let mut has_found = false;
            while let Some(found) = reader.poll_found() {
                evidence.handle_found(&found);
                has_found = true;
            }
            let status = reader.status();
            if let Some(why) = &status.refused {
                return Err(why.clone().into());
            }
            if status.missing.is_empty() {
                missing_since = None;
            } else if now().ms_since(*missing_since.get_or_insert(now())) >= MISSING_MS {
                status.missing.iter().for_each(|topic| evidence.handle_missing(topic));
                if evidence.is_complete() {
                    break;
                }
            }
            if evidence.bytes > self.bytes_max {
                return Err(format!("there is more to read than {} bytes", self.bytes_max).into());
            }
            if has_found {
                heard = now();
                reader.handle_kept(now());
                continue;
            }
            if u128::from(now().ms_since(heard)) > SILENCE.as_millis() {
                // Only where nothing else can be the reason: what follows from it is an abort.
                let is_well = status.is_live && status.last_error.is_none();
                if let Some(held) = evidence.held_back().filter(|_| is_well) {
                    return Err(Untold::HeldBack(held));
                }
                let why = status.last_error.clone();
                let silent = || "the cluster does not answer".to_owned();
                return Err(why.unwrap_or_else(silent).into());
            }
            let until = reader.poll_timeout().map(|at| Duration::from_millis(at.ms_since(now())));
            tokio::select! {
                event = links.next() => kafka::hand_over(event, &mut reader),
                () = tokio::time::sleep(until.unwrap_or(SILENCE)) => reader.handle_timeout(now()),
            }
        }
        Ok(evidence.verdict()?)
    }
}
