//! The sources that run: a task each, those that the configuration names.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dialogue::Shared;
use super::status::SourceStatus;
use crate::config::Source;
use crate::io::source::{self, Inside};
use crate::source::Figures;
use crate::sync::lock;

/// All sources.
#[derive(Default)]
pub(super) struct Sources {
    running: Mutex<Vec<Running>>,
}

/// A source at work.
struct Running {
    source: Source,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    report: Arc<Mutex<SourceStatus>>,
}

impl Sources {
    /// Ends the sources that the configuration does not name any more, or otherwise than before, and
    /// starts those that are new in it.
    pub(super) async fn follow(&self, wanted: &[Source], gateway: &str, shared: &Arc<Shared>) {
        let is_over = |running: &mut Running| !wanted.contains(&running.source);
        let over: Vec<Running> = lock(&self.running).extract_if(.., is_over).collect();
        end(over).await;
        let mut running = lock(&self.running);
        for source in wanted {
            if !running.iter().any(|other| other.source == *source) {
                running.push(Running::start(source, gateway, shared));
            }
        }
    }

    /// Ends all: what is durable is acknowledged, and the brokers are told good-bye.
    pub(super) async fn stop(&self) {
        let all = core::mem::take(&mut *lock(&self.running));
        end(all).await;
    }

    /// How they stand.
    pub(super) fn status(&self) -> Vec<SourceStatus> {
        lock(&self.running).iter().map(|running| lock(&running.report).clone()).collect()
    }
}

impl Running {
    fn start(source: &Source, gateway: &str, shared: &Arc<Shared>) -> Self {
        let named = || format!("tributary-{gateway}-{}", source.name);
        let client_id = source.client_id.clone().unwrap_or_else(named);
        let status = SourceStatus {
            name: source.name.clone(),
            url: source.url(),
            client_id: client_id.clone(),
            ..SourceStatus::default()
        };
        let report = Arc::new(Mutex::new(status));
        let (stop, stopped) = watch::channel(false);
        let inside =
            Inside { shared: Arc::clone(shared), report: Arc::clone(&report), stop: stopped };
        let task = tokio::spawn(source::run(source.clone(), client_id, inside));
        Self { source: source.clone(), stop, task, report }
    }
}

async fn end(sources: Vec<Running>) {
    for running in &sources {
        running.stop.send_replace(true);
    }
    for running in sources {
        if running.task.await.is_err() {
            tracing::error!(source = running.source.name, "a source has panicked");
        }
    }
}

impl SourceStatus {
    /// Takes over what became of messages.
    pub fn note(&mut self, figures: &Figures) {
        self.received = figures.received;
        self.duplicates = figures.duplicates;
        self.repeated = figures.repeated;
        if self.refused != figures.refused {
            self.refused = figures.refused;
            self.refusal.clone_from(&figures.refusal);
        }
    }
}
