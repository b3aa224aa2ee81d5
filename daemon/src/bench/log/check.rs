//! The second step of the plug-pull check: what of all that was acknowledged is still there.

use std::path::Path;

use serde::Serialize;
use tributary_core::log::Item;

use super::peer;
use super::promise::payload;
use crate::io::log_files::is_locked;
use crate::log_tools::{INPUT, OpenedLog, Place, survey};

/// What is left of a promise.
#[derive(Debug, Default, Serialize)]
pub(super) struct Checked {
    log_id: String,
    /// Everything below was acknowledged.
    acknowledged: u64,
    /// The oldest that is kept: the ring has made room for newer ones.
    oldest: u64,
    /// Events that are there, as they were written.
    kept: u64,
    /// First and end of each range of acknowledged events that is not there.
    missing: Vec<(u64, u64)>,
    /// Acknowledged events that are there and say something else.
    changed: Vec<u64>,
    /// Events behind the last acknowledged one: written, and not yet told.
    more: u64,
}

pub(super) fn run(dir: &Path, peer: &str) -> Result<Checked, String> {
    if is_locked(dir).unwrap_or(false) {
        return Err(format!("a promise is still being written to {}", dir.display()));
    }
    let place = Place { dir: dir.to_owned(), stream: INPUT.to_owned() };
    let log = OpenedLog::open(&place, None).map_err(|error| error.to_string())?;
    let id = survey(&log, &place).log_id;
    let id = id.ok_or_else(|| format!("{} holds no log that was begun", dir.display()))?;
    let known = peer::ask(peer, &id).map_err(|error| format!("cannot ask {peer}: {error}"))?;
    let acknowledged = known.ok_or_else(|| {
        format!("the peer {peer} does not know the log {id}: was it started anew meanwhile?")
    })?;
    let oldest = log.oldest.0;
    let mut found = Checked { log_id: id, acknowledged, oldest, ..Checked::default() };
    let (mut due, mut pages) = (oldest, log.pages(log.oldest));
    while let Some(chunk) = pages.next(&log) {
        for item in chunk {
            let Item::Events(events) = item else { continue };
            for (offset, event) in events {
                found.miss(due, offset.0);
                due = offset.0 + 1;
                if event.payload != payload(offset.0).as_bytes() {
                    found.changed.push(offset.0);
                } else if offset.0 < acknowledged {
                    found.kept += 1;
                } else {
                    found.more += 1;
                }
            }
        }
    }
    found.miss(due, acknowledged);
    Ok(found)
}

impl Checked {
    fn miss(&mut self, first: u64, end: u64) {
        let end = end.min(self.acknowledged);
        if first < end {
            self.missing.push((first, end));
        }
    }

    /// Acknowledged events that are lost.
    pub(super) fn lost(&self) -> u64 {
        let missing: u64 = self.missing.iter().map(|(first, end)| end - first).sum();
        missing + self.changed.len() as u64
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("plain values"))
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!(
            "acknowledged {} events; {} of them are there, {} made room for newer ones",
            self.acknowledged, self.kept, self.oldest
        )];
        if self.more > 0 {
            lines.push(format!("{} more are there that were not told yet", self.more));
        }
        for (first, end) in &self.missing {
            lines.push(format!("LOST: events {first} to {}", end - 1));
        }
        for offset in &self.changed {
            lines.push(format!("CHANGED: event {offset} says something else"));
        }
        lines.push(match self.lost() {
            0 => "nothing that was acknowledged is lost".to_owned(),
            lost => format!(
                "{lost} acknowledged events are lost: this disk or card says that data is safe when\n\
                 it is not. Turn its write cache off, or use another one: no software can mend it."
            ),
        });
        lines.join("\n")
    }
}
