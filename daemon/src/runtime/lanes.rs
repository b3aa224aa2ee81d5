//! The lanes that run: one thread each, those that the routing table needs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};
use tributary_bridge::{Codec, Compression, Delivery, Settings};
use tributary_core::Offset;

use super::answers::{Daemon, LaneAnswers, Upstream};
use super::hint::LaneHint;
use super::routing::Hints;
use crate::config::upstream::Access;
use crate::config::{self, LANES, Lane};
use crate::io::threads::{join, spawn_async};
use crate::replicate::aside::Standing;
use crate::replicate::costs;
use crate::replicate::drive::{self, Context, DetourAsked};
use crate::replicate::lane::Beginning;
use crate::replicate::report::Report;
use crate::replicate::traffic::{Limits, Traffic};
use crate::sync::lock;

/// All lanes, running or not.
pub(super) struct Lanes {
    /// What the log knows of their positions.
    pub(super) hints: Hints,
    pub(super) generation: u32,
    pub(super) generations: Vec<(u32, Offset)>,
    upstream: Mutex<Option<config::Upstream>>,
    running: Mutex<BTreeMap<Lane, Running>>,
    traffic: Mutex<Arc<Mutex<Traffic>>>,
    /// Where lanes ask for other routing tables.
    detours: mpsc::Sender<DetourAsked>,
}

/// A lane at work.
struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    answers: LaneAnswers,
}

impl Lanes {
    /// And where they ask for other routing tables.
    pub(super) fn new(
        hints: Hints,
        generation: u32,
        generations: Vec<(u32, Offset)>,
    ) -> (Self, mpsc::Receiver<DetourAsked>) {
        let (detours, asked) = mpsc::channel(LANES);
        let lanes = Self {
            detours,
            hints,
            generation,
            generations,
            upstream: Mutex::default(),
            running: Mutex::default(),
            traffic: Mutex::default(),
        };
        (lanes, asked)
    }

    /// Starts the lanes that the table in force needs; others under another upstream.
    pub(super) async fn follow(
        &self,
        upstream: Option<&config::Upstream>,
        daemon: &Daemon,
    ) -> io::Result<()> {
        let same = lock(&self.upstream).as_ref() == upstream;
        if !same {
            self.stop(daemon).await;
            *lock(&self.upstream) = upstream.cloned();
            *lock(&self.traffic) = Arc::new(Mutex::new(self.begin_traffic(upstream)));
        }
        self.bury().await;
        if upstream.is_none() {
            for lane in Lane::ALL {
                daemon.ingest.positions().remove(lane.name());
            }
        }
        if let Some(upstream) = upstream {
            self.start(upstream, daemon)?;
            let running = lock(&self.running);
            *lock(&daemon.upstream) = Some(Upstream {
                config: upstream.clone(),
                traffic: Arc::clone(&lock(&self.traffic)),
                lanes: running.values().map(|lane| lane.answers.clone()).collect(),
            });
        }
        daemon.ingest.positions().complete();
        Ok(())
    }

    /// Starts the lanes that another table needs, under the same upstream.
    pub(super) async fn follow_table(&self, daemon: &Daemon) -> io::Result<()> {
        let upstream = lock(&self.upstream).clone();
        self.follow(upstream.as_ref(), daemon).await
    }

    /// How the lanes stand.
    pub(super) async fn standing(&self) -> Standing {
        self.bury().await;
        let running = lock(&self.running);
        let settled = lock(&lock(&self.traffic)).settled();
        Standing { settled, at_work: Lane::ALL.map(|lane| running.contains_key(&lane)) }
    }

    /// Ends every lane in order: its transaction ends, its claim is taken back.
    pub(super) async fn stop(&self, daemon: &Daemon) {
        let running = core::mem::take(&mut *lock(&self.running));
        *lock(&daemon.upstream) = None;
        for lane in running.values() {
            lane.stop.send_replace(true);
        }
        for lane in running.into_values() {
            join(lane.thread).await;
        }
    }

    /// Joins the lanes that had nothing left to do.
    async fn bury(&self) {
        let is_over = |_: &Lane, lane: &mut Running| {
            lane.thread.is_finished() || lock(&lane.answers.report).is_over
        };
        let ended: Vec<_> = lock(&self.running).extract_if(.., is_over).collect();
        for (_, lane) in ended {
            join(lane.thread).await;
        }
    }

    fn begin_traffic(&self, upstream: Option<&config::Upstream>) -> Traffic {
        let limits = upstream
            .map(|upstream| Limits { bandwidth: upstream.bandwidth, monthly: upstream.monthly });
        let hints = self.hints.each_ref().map(|hint| lock(hint).clone());
        let spent = hints.iter().flatten().map(|hint| hint.spent).max();
        let settled = hints.map(|hint| hint.as_ref().map_or(Offset(0), LaneHint::settled));
        Traffic::new(limits.unwrap_or_default(), spent.unwrap_or_default(), settled)
    }

    fn start(&self, upstream: &config::Upstream, daemon: &Daemon) -> io::Result<()> {
        let compression = compression(upstream.compression);
        for lane in Lane::ALL {
            let hint = lock(&self.hints[lane.index()]).clone();
            let settled = hint.as_ref().map_or(Offset(0), LaneHint::settled);
            let needed = lock(&daemon.table).needs(lane, settled);
            if needed && !lock(&self.running).contains_key(&lane) {
                let log_id = lock(&daemon.facts).id.0;
                let gateway = &daemon.constants.gateway;
                let settings = Settings {
                    authenticate: upstream.access.sasl.is_some(),
                    encrypted: upstream.access.tls.is_some(),
                    compression,
                    delivery: delivery(upstream.delivery),
                    lane: lane.name().to_owned(),
                    ..Settings::new(gateway, log_id, upstream.brokers.clone())
                };
                let known = hint.as_ref().map(Report::noted).unwrap_or_default();
                let position = known.position(lane, &lock(&daemon.table));
                daemon.ingest.positions().set(lane.name(), position);
                let way = (upstream.access.clone(), upstream.gaps.clone());
                let running = self.start_one((lane, hint), (settings, way), daemon)?;
                lock(&self.running).insert(lane, running);
            }
        }
        Ok(())
    }

    fn start_one(
        &self,
        (lane, hint): (Lane, Option<LaneHint>),
        (settings, (access, gaps)): (Settings, (Access, Option<String>)),
        daemon: &Daemon,
    ) -> io::Result<Running> {
        let (stop, stopped) = watch::channel(false);
        let identity = settings.identity();
        let decided = Arc::default();
        let answers = LaneAnswers { lane, identity, report: Arc::default(), decided };
        let (generation, generations) = (self.generation, self.generations.clone());
        let context = Context {
            beginning: Beginning { lane, settings, generation, generations, hint, gaps },
            access,
            hint: Arc::clone(&self.hints[lane.index()]),
            traffic: Arc::clone(&lock(&self.traffic)),
            table: Arc::clone(&daemon.table),
            log: daemon.log.clone(),
            ingest: Arc::clone(&daemon.ingest),
            letters: Arc::clone(&daemon.letters),
            clocks: Arc::clone(&daemon.clocks),
            report: Arc::clone(&answers.report),
            done: Arc::clone(&daemon.done),
            decided: Arc::clone(&answers.decided),
            halted: Arc::clone(&daemon.halted),
            detours: self.detours.clone(),
            stop: stopped,
        };
        let name = format!("lane-{}", lane.name());
        let thread = spawn_async(&name, drive::run(context))?;
        Ok(Running { stop, thread, answers })
    }
}

/// What is promised, as the bridge calls it.
pub(super) fn delivery(wanted: config::Delivery) -> Delivery {
    match wanted {
        config::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
        config::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
    }
}

fn compression(wanted: config::Compression) -> Compression {
    Compression::Fixed(match wanted {
        config::Compression::Auto => return Compression::Auto(costs::measure()),
        config::Compression::None => Codec::None,
        config::Compression::Gzip => Codec::Gzip,
        config::Compression::Snappy => Codec::Snappy,
        config::Compression::Lz4 => Codec::Lz4,
        config::Compression::Zstd => Codec::Zstd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::threads::spawn;

    /// Its thread is still ending when another table needs it.
    #[tokio::test]
    async fn a_lane_that_is_ending_is_waited_for_and_can_be_begun_anew() {
        let (lanes, _asked) = Lanes::new(Hints::default(), 1, Vec::new());
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let thread = spawn("ending", move || held.recv().unwrap_or_default()).expect("a thread");
        let answers = LaneAnswers {
            lane: Lane::Normal,
            identity: String::new(),
            report: Arc::default(),
            decided: Arc::default(),
        };
        lock(&answers.report).is_over = true;
        let (stop, _) = watch::channel(false);
        lock(&lanes.running).insert(Lane::Normal, Running { stop, thread, answers });
        let ending = async { drop(let_go) };
        let (standing, ()) = tokio::join!(lanes.standing(), ending);
        assert!(!standing.at_work[Lane::Normal.index()], "nobody would begin it");
    }
}
