//! The downlinks that run: one task that reads all their topics.

mod keeping;
mod work;

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::commands::FileCommands;
use super::dialogue::Shared;
use super::status::DownlinkStatus;
use crate::config::{self, Downlink};
use crate::downlink::place::Places;
use crate::sync::lock;
pub(super) use keeping::Keeping;
use work::{Reports, Work};

/// The downlinks that run, how far they have read, and what is kept of it.
pub(super) struct Downlinks {
    places: Arc<Mutex<Places>>,
    keeping: Keeping,
    running: Mutex<Option<Running>>,
}

/// A reader at work.
struct Running {
    upstream: config::Upstream,
    downlinks: Vec<Downlink>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    report: Reports,
}

impl Downlinks {
    /// None runs. The log knows how far they had read.
    pub(super) fn new(places: Places, keeping: Keeping) -> Self {
        Self { places: Arc::new(Mutex::new(places)), keeping, running: Mutex::default() }
    }

    /// The stream of commands.
    pub(super) fn commands(&self) -> &Mutex<FileCommands> {
        &self.keeping.commands
    }

    /// Has those of a configuration run, and no others.
    pub(super) async fn follow(
        &self,
        (upstream, downlinks): (Option<&config::Upstream>, &[Downlink]),
        (gateway, log_id): (&str, u64),
        shared: &Arc<Shared>,
    ) {
        let is_same = |running: &Running| {
            Some(&running.upstream) == upstream && running.downlinks == downlinks
        };
        if lock(&self.running).as_ref().is_some_and(is_same) {
            return;
        }
        self.stop().await;
        let Some(upstream) = upstream.filter(|_| !downlinks.is_empty()) else { return };
        let status = |rule: &Downlink| DownlinkStatus {
            topic: rule.from.clone(),
            ..DownlinkStatus::default()
        };
        let report = Arc::new(Mutex::new(downlinks.iter().map(status).collect()));
        let (stop, stopped) = watch::channel(false);
        let work = Work::new(
            (upstream, downlinks),
            (gateway, log_id),
            (Arc::clone(shared), Arc::clone(&self.places), Arc::clone(&report)),
            self.keeping.clone(),
        );
        let task = tokio::spawn(work.run(stopped));
        let (upstream, downlinks) = (upstream.clone(), downlinks.to_vec());
        *lock(&self.running) = Some(Running { upstream, downlinks, stop, task, report });
    }

    /// Ends all; how far they have read is in the log then.
    pub(super) async fn stop(&self) {
        let running = lock(&self.running).take();
        let Some(running) = running else { return };
        running.stop.send_replace(true);
        if running.task.await.is_err() {
            tracing::error!("the reader of the downlinks has panicked");
        }
    }

    /// How they stand.
    pub(super) fn status(&self) -> Vec<DownlinkStatus> {
        let running = lock(&self.running);
        running.as_ref().map(|running| lock(&running.report).clone()).unwrap_or_default()
    }
}
