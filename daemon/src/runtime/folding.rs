//! Keeps the file of sessions not far behind the log: at the start, while it grows, and at the end.

use core::time::Duration;

use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, LogId, ReadMedia};

use super::clock::Clocks;
use super::hub::Hub;
use super::ingest::Ingest;
use super::server::Failure;
use super::sessions::{replay, resume};
use crate::config::Config;
use crate::io::clock::moment;
use crate::io::segments::SegmentReader;
use crate::io::sessions::SessionStore;

/// What a start may have to read of the log, in bytes: more is folded into the file.
const REPLAY_BYTES_MAX: u64 = 16 << 20;
/// Of a small log, so many parts of it: what it evicts has to be in the file before.
const REPLAY_PART: u64 = 8;
/// But not more often than that.
const PAUSE: Duration = Duration::from_millis(500);

/// The file, if it can be used, and where it stands.
pub(super) struct Folding {
    store: Option<SessionStore>,
    log: SegmentReader,
    folded: u64,
}

impl Folding {
    /// Has sessions and retained messages go on as file and log know them.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn restore(
        config: &Config,
        id: LogId,
        log: SegmentReader,
        (ingest, hub, clocks): (&Ingest, &Hub, &Clocks),
    ) -> Result<Self, Failure> {
        let end = log.end();
        let store = SessionStore::open(&config.log.dir, id.0).inspect_err(|error| {
            tracing::error!(%error, "no file of sessions: each start reads the whole log");
        });
        let store = store.ok();
        let known = store.as_ref().map(|store| store.load(true)).transpose();
        let known = known.unwrap_or_else(|error| {
            tracing::error!(%error, "the file of sessions cannot be read: the log tells them again");
            None
        });
        let (state, lost) = resume(known, &log, end)
            .map_err(|error| Failure::Directory(format!("the log's sessions: {error}")))?;
        for range in lost {
            tracing::warn!(
                first = range.start.0,
                end = range.end.0,
                "sessions and retained messages that only these events told of are lost"
            );
        }
        ingest.number_changes_from(state.applied.change);
        let (clients, retained) = (state.clients.len(), state.retained.len());
        hub.restore(state, clocks.now(moment()).age, &clocks.anchor());
        tracing::info!(clients, retained, "sessions restored");
        Ok(Self { store, folded: 0, log })
    }

    /// Folds what the log has beyond the file into it.
    pub(super) fn fold(&mut self) {
        let end = self.log.end();
        let Some(store) = &mut self.store else { return };
        let folded = store.load(false).and_then(|mut state| {
            if state.applied.offset > end.offset.0 {
                return Err("it is ahead of the log".into());
            }
            replay(&mut state, &self.log, end)?;
            store.write(&mut state)
        });
        match folded {
            Ok(()) => self.folded = place(&self.log, end),
            Err(error) => {
                tracing::error!(%error, "sessions are not folded: the next start reads more");
            }
        }
    }

    fn is_behind(&self) -> bool {
        let Geometry { segments, segment_bytes, .. } = self.log.geometry();
        let log_bytes = u64::from(segments) * u64::from(segment_bytes);
        let bytes_max = REPLAY_BYTES_MAX.min(log_bytes / REPLAY_PART);
        place(&self.log, self.log.end()) - self.folded > bytes_max
    }

    /// Runs until `stop`.
    pub(super) async fn run(
        mut self,
        mut durable: watch::Receiver<Offset>,
        mut stop: watch::Receiver<bool>,
    ) {
        self.fold();
        // Looks only now and then: to be woken by each commit would hold up who commits.
        loop {
            tokio::select! {
                changed = durable.changed() => if changed.is_err() { break },
                _ = stop.changed() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.changed() => break,
            }
            if self.is_behind() {
                self.fold();
            }
        }
        self.fold();
    }
}

/// The bytes of the log up to a place.
fn place(log: &SegmentReader, end: End) -> u64 {
    end.sequence * u64::from(log.geometry().segment_bytes) + u64::from(end.at)
}
