//! Puts dead letters back into the input: `tributary replay dead-letter`.
//!
//! A task of its own, so that who asked may go at any moment: the batch under way is finished, and
//! noted. Order is what it is about: the mark, then the events, and the next mark only when these
//! are durable.

use std::io;
use std::sync::{Arc, Mutex};

use core::time::Duration;

use tokio::sync::{OwnedMutexGuard, mpsc};
use tributary_core::Offset;
use tributary_core::time::Timestamp;

use super::dead_letters::{Back, FileLetters, Replay, Wanted};
use super::ingest::{Closed, Ingest, NotTaken};
use crate::io::clock::moment;
use crate::io::control::{self, Lines};
use crate::replicate::table::Table;
use crate::sync::lock;

/// How often it is looked whether the log has failed, while a batch is not durable yet.
const LOOKED_EVERY: Duration = Duration::from_millis(500);

/// What a replay works with.
pub(super) struct Replaying {
    pub(super) letters: Arc<Mutex<FileLetters>>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) table: Arc<Mutex<Table>>,
    pub(super) log_id: u64,
}

/// Puts back what is asked for; `only` is held meanwhile.
pub(super) async fn run(
    replaying: Replaying,
    (only, request): (&Arc<tokio::sync::Mutex<()>>, control::Replay),
    lines: &mut Lines,
) -> io::Result<()> {
    let Ok(guard) = Arc::clone(only).try_lock_owned() else {
        return lines.send("{\"error\":\"a replay of dead letters is under way\"}\n").await;
    };
    let (told, mut news) = mpsc::channel(1);
    tokio::spawn(replaying.work(request, told, guard));
    while let Some(line) = news.recv().await {
        lines.send(&line).await?;
    }
    Ok(())
}

impl Replaying {
    async fn work(
        self,
        request: control::Replay,
        told: mpsc::Sender<String>,
        _guard: OwnedMutexGuard<()>,
    ) {
        let dry_run = request.dry_run;
        let begun = tokio::task::block_in_place(|| {
            lock(&self.letters).begin_replay(moment(), self.log_id, wanted(request))
        });
        let end = match begun {
            Err(why) => serde_json::json!({ "error": why }),
            Ok(None) => serde_json::json!({ "done": super::dead_letters::Figures::default() }),
            Ok(Some(mut replay)) => {
                let ended = self.put_all(&mut replay, dry_run, &told).await;
                match ended {
                    Ok(()) => serde_json::json!({ "done": replay.figures }),
                    Err(why) => serde_json::json!({ "error": why, "done": replay.figures }),
                }
            }
        };
        // Who asked may have gone.
        told.send(format!("{end}\n")).await.unwrap_or_default();
    }

    async fn put_all(
        &self,
        replay: &mut Replay,
        dry_run: bool,
        told: &mpsc::Sender<String>,
    ) -> Result<(), String> {
        let mut left = Vec::new();
        let mut stopped = None;
        loop {
            let mut batch = Vec::new();
            if stopped.is_none() && !told.is_closed() {
                batch = tokio::task::block_in_place(|| self.next_batch(replay));
            }
            if !dry_run {
                let since = self.ingest.desk().next();
                tokio::task::block_in_place(|| {
                    let mut letters = lock(&self.letters);
                    letters.note_replay(moment(), replay, (&left, &batch), since)
                })?;
            }
            if batch.is_empty() {
                return stopped.map_or(Ok(()), Err);
            }
            if !dry_run {
                let (put, why) = self.put(&batch).await?;
                left = batch.split_off(put);
                stopped = why;
            }
            let range = replay.offsets();
            let line = serde_json::json!({
                "at": replay.at().0, "first": range.start.0, "end": range.end.0,
            });
            // A slow reader misses some.
            told.try_send(format!("{line}\n")).unwrap_or_default();
        }
    }

    fn next_batch(&self, replay: &mut Replay) -> Vec<Back> {
        let table = lock(&self.table).clone();
        let is_in_force = |name: &str| table.routes.iter().any(|entry| entry.rule.name == name);
        lock(&self.letters).next_batch(replay, &is_in_force)
    }

    /// Puts letters into the input, and returns when they are durable: how many, and why not all.
    /// An error: whether they are is not known.
    async fn put(&self, batch: &[Back]) -> Result<(usize, Option<String>), String> {
        let (mut put, mut end) = (0, Offset(0));
        let mut stopped = None;
        while stopped.is_none() && put < batch.len() {
            let space = self.ingest.space();
            let taken = self.leave(&batch[put..], &mut put, &mut end);
            match taken {
                Ok(()) => {}
                Err(NotTaken::Busy) => space.await,
                Err(NotTaken::Closed(closed)) => stopped = Some(why_closed(closed).to_owned()),
            }
        }
        let mut durable = self.ingest.follow();
        while self.ingest.durable() < end {
            if self.ingest.is_failed() {
                return Err(why_closed(Closed::Failed).to_owned());
            }
            tokio::select! {
                _ = durable.changed() => {}
                () = tokio::time::sleep(LOOKED_EVERY) => {}
            }
        }
        Ok((put, stopped))
    }

    /// Leaves letters at the desk, as far as it takes them.
    fn leave(&self, batch: &[Back], put: &mut usize, end: &mut Offset) -> Result<(), NotTaken> {
        let now = moment().wall;
        let mut desk = self.ingest.desk();
        for back in batch {
            *end = desk.append_late(&back.event(), now)?.plus(1);
            *put += 1;
        }
        Ok(())
    }
}

fn why_closed(closed: Closed) -> &'static str {
    match closed {
        Closed::Failed => {
            "the log cannot be written any more; the next start finds out how much was put back"
        }
        Closed::Full => "the log is full and holds; the rest stays where it is",
        Closed::Stopping => "the daemon is stopping; the rest stays where it is",
    }
}

fn wanted(request: control::Replay) -> Wanted {
    let control::Replay { route, filter, from, to, since, until, .. } = request;
    Wanted {
        route,
        filter,
        offsets: Offset(from)..Offset(to.unwrap_or(u64::MAX)),
        times: Timestamp(since.unwrap_or(i64::MIN))..Timestamp(until.unwrap_or(i64::MAX)),
    }
}
