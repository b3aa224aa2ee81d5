//! Keeps the file of sessions not far behind the log: at the start, while it grows, and at the end.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, LogId, ReadMedia};

use super::clock::Clocks;
use super::hub::Hub;
use super::ingest::Ingest;
use super::retention::LastLook;
use super::server::Failure;
use super::sessions::{replay, resume};
use crate::config::Config;
use crate::io::clock::moment;
use crate::io::segments::SegmentReader;
use crate::io::sessions::SessionStore;
use crate::sync::lock;

/// What a start may have to read of the log, in bytes: more is folded into the file.
const REPLAY_BYTES_MAX: u64 = 16 << 20;
/// Of a small log, so many parts of it: who gives up events should not have to wait for the file.
const REPLAY_PART: u64 = 8;
/// But not more often than that.
const PAUSE: Duration = Duration::from_millis(500);

/// The file, if it can be used, and where it stands.
pub(super) struct Folding {
    store: Option<SessionStore>,
    log: SegmentReader,
    folded: Option<End>,
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
        Ok(Self { store, folded: None, log })
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
            Ok(()) => self.folded = Some(end),
            Err(error) => {
                tracing::error!(%error, "sessions are not folded: the next start reads more");
            }
        }
    }

    fn is_behind(&self) -> bool {
        let Geometry { segments, segment_bytes, .. } = self.log.geometry();
        let log_bytes = u64::from(segments) * u64::from(segment_bytes);
        let bytes_max = REPLAY_BYTES_MAX.min(log_bytes / REPLAY_PART);
        let folded = self.folded.map_or(0, |end| place(&self.log, end));
        place(&self.log, self.log.end()) - folded > bytes_max
    }

    /// Events below this offset are about to go: folds them, unless that was done. What is told at the very
    /// end of them may be newer than what was folded there.
    fn fold_before(&mut self, below: Offset) {
        if self.folded.is_none_or(|end| end.offset <= below) {
            self.fold();
        }
    }
}

/// For who gives up events: sessions are in the file before the log is without them.
pub(super) fn last_look(folding: &Arc<Mutex<Folding>>) -> LastLook {
    let folding = Arc::clone(folding);
    Box::new(move |below| lock(&folding).fold_before(below))
}

/// Runs until `stop`.
pub(super) async fn run(
    folding: Arc<Mutex<Folding>>,
    mut durable: watch::Receiver<Offset>,
    mut stop: watch::Receiver<bool>,
) {
    lock(&folding).fold();
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
        let mut folding = lock(&folding);
        if folding.is_behind() {
            folding.fold();
        }
    }
    lock(&folding).fold();
}

/// The bytes of the log up to a place.
fn place(log: &SegmentReader, end: End) -> u64 {
    end.sequence * u64::from(log.geometry().segment_bytes) + u64::from(end.at)
}

#[cfg(test)]
mod tests {
    use tributary_core::log::{Clock, Entropy, Frame, Log};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos, encode, encoded_len};
    use tributary_core::time::{Age, Timestamp};

    use super::*;
    use crate::io::segments::SegmentFiles;
    use crate::runtime::opening::recover;

    const CLOCK: Clock = Clock { wall: Timestamp(5), age: Age(5), trusted: true };

    fn retain(log: &mut Log<SegmentFiles, Box<[u8]>>, topic: &str) {
        let event = Event {
            topic,
            payload: b"x",
            client: "press",
            time: CLOCK.wall,
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        let mut body = vec![0; encoded_len(&event, CLOCK.wall)];
        encode(&event, CLOCK.wall, &mut body);
        log.append(&Frame { count: 1, clock: CLOCK, body: &body }).unwrap();
        log.commit().unwrap();
    }

    /// At a place that was folded something may have been told since.
    #[test]
    fn what_is_about_to_go_is_folded_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = SegmentFiles::open(dir.path(), 16 << 20, true).unwrap();
        let reader = files.reader();
        let entropy = Entropy { log_id: 1, generation: 1, salt: 1 };
        let mut log = recover(files, entropy, moment()).unwrap().log;
        let store = Some(SessionStore::open(dir.path(), 1).unwrap());
        let mut folding = Folding { store, log: reader, folded: None };
        let known = |folding: &Folding| {
            let store = folding.store.as_ref().unwrap();
            store.load(true).unwrap().retained.into_keys().collect::<Vec<_>>()
        };
        retain(&mut log, "a");
        folding.fold_before(Offset(0));
        assert_eq!(known(&folding), ["a"]);
        retain(&mut log, "b");
        folding.fold_before(Offset(0));
        assert_eq!(known(&folding), ["a"], "what is about to go was folded");
        folding.fold_before(Offset(1));
        assert_eq!(known(&folding), ["a", "b"]);
    }
}
