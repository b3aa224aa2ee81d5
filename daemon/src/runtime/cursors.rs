//! Named readers: who reads the log from outside goes on where it was.
//!
//! A cursor is a control record of the log, so it survives what the log survives. It moves when its
//! reader says that it has dealt with what came: what it did not say is read again.

use core::ops::Range;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tributary_core::Offset;
use tributary_core::log::ControlKind;

use super::ingest::Ingest;
use super::snapshot::Snapshot;
use crate::sync::lock;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// So many there may be: all of them are at the start of each segment.
pub const CURSORS_MAX: usize = 64;

/// A cursor as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorRecord {
    /// Its name.
    pub name: String,
    /// All below is read, or gone.
    pub position: u64,
    /// Events that were gone before it had read them.
    pub lost: u64,
    /// It is forgotten.
    pub forgotten: bool,
}

impl CursorRecord {
    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_else(|_| unreachable!("it encodes"))
    }

    /// Reads the body of a control record; `None` if it is none of ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// What people are told of a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorStatus {
    /// Its name.
    pub name: String,
    /// The offset of the next event that it will read.
    pub position: u64,
    /// Events that it has not read, those that are gone included.
    pub behind: u64,
    /// Events that were gone before it had read them.
    pub lost: u64,
    /// Whether somebody reads with it now.
    pub reading: bool,
}

/// All cursors of a log.
pub struct Cursors {
    ingest: Arc<Ingest>,
    known: Mutex<BTreeMap<String, Cursor>>,
}

#[derive(Debug, Default)]
struct Cursor {
    position: u64,
    lost: u64,
    reading: bool,
    /// Gone events that its reader has come across, beyond its position.
    gone: Vec<Range<u64>>,
}

impl Cursors {
    /// As the log remembers them.
    #[must_use]
    pub fn restore(snapshot: &Snapshot, ingest: Arc<Ingest>) -> Self {
        let known = snapshot.cursors().map(|record| {
            let CursorRecord { name, position, lost, .. } = record;
            (name, Cursor { position, lost, ..Cursor::default() })
        });
        Self { ingest, known: Mutex::new(known.collect()) }
    }

    /// Begins to read with a cursor, one reader at a time: where it stands, or at `from`. A new one
    /// begins at the next event.
    ///
    /// # Errors
    /// What is wrong with the name, or with reading now.
    pub async fn read(
        self: &Arc<Self>,
        name: &str,
        from: Option<Offset>,
    ) -> Result<Reading, String> {
        check_name(name)?;
        let durable = self.ingest.durable().0;
        let moves = {
            let mut known = lock(&self.known);
            let is_new = !known.contains_key(name);
            if is_new && known.len() >= CURSORS_MAX {
                return Err(format!(
                    "there are {CURSORS_MAX} cursors already: `tributary tail --cursor NAME --forget` \
                     forgets one"
                ));
            }
            let begin = Cursor { position: durable, ..Cursor::default() };
            let cursor = known.entry(name.to_owned()).or_insert(begin);
            if cursor.reading {
                return Err(format!("somebody reads with cursor `{name}` already"));
            }
            let position = from.map_or(cursor.position, |from| from.0.min(durable));
            let moves = is_new || position != cursor.position;
            *cursor = Cursor { position, lost: cursor.lost, reading: true, gone: Vec::new() };
            moves
        };
        let reading = Reading { cursors: Arc::clone(self), name: name.to_owned() };
        if moves {
            self.note(name).await.map_err(|error| error.to_string())?;
        }
        Ok(reading)
    }

    /// Forgets a cursor.
    ///
    /// # Errors
    /// There is none of that name, somebody reads with it, or the log cannot be written.
    pub async fn forget(&self, name: &str) -> Result<(), String> {
        let record = {
            let mut known = lock(&self.known);
            let cursor = known.get(name).ok_or_else(|| format!("there is no cursor `{name}`"))?;
            if cursor.reading {
                return Err(format!("somebody reads with cursor `{name}`"));
            }
            let record = CursorRecord { forgotten: true, ..cursor.record(name) };
            known.remove(name);
            record
        };
        self.write(record).await.map_err(|error| error.to_string())
    }

    /// How they stand, by name.
    #[must_use]
    pub fn status(&self) -> Vec<CursorStatus> {
        let durable = self.ingest.durable().0;
        let known = lock(&self.known);
        let status = known.iter().map(|(name, cursor)| CursorStatus {
            name: name.clone(),
            position: cursor.position,
            behind: durable.saturating_sub(cursor.position),
            lost: cursor.lost,
            reading: cursor.reading,
        });
        status.collect()
    }

    /// Has the log keep a cursor as it is now.
    async fn note(&self, name: &str) -> io::Result<()> {
        let record = lock(&self.known).get(name).map(|cursor| cursor.record(name));
        match record {
            Some(record) => self.write(record).await,
            None => Ok(()),
        }
    }

    async fn write(&self, record: CursorRecord) -> io::Result<()> {
        let written = self.ingest.write_control(ControlKind::Cursor, move |_, _| record.encode());
        written.await.map(drop).map_err(|_| io::Error::other("the log cannot be written"))
    }
}

impl Cursor {
    fn record(&self, name: &str) -> CursorRecord {
        let Self { position, lost, .. } = *self;
        CursorRecord { name: name.to_owned(), position, lost, forgotten: false }
    }

    /// Moves it; what is gone below counts as lost.
    fn advance(&mut self, to: u64) {
        let lost = self.gone.iter().map(|gone| {
            let (start, end) = (gone.start.max(self.position), gone.end.min(to));
            end.saturating_sub(start)
        });
        self.lost += lost.sum::<u64>();
        self.gone.retain(|gone| gone.end > to);
        self.position = to;
    }
}

/// Somebody reads with a cursor. Nobody else may meanwhile.
pub struct Reading {
    cursors: Arc<Cursors>,
    name: String,
}

impl Reading {
    /// Where reading begins.
    #[must_use]
    pub fn position(&self) -> Offset {
        let known = lock(&self.cursors.known);
        Offset(known.get(&self.name).map_or(0, |cursor| cursor.position))
    }

    /// The reader has come across events that are gone.
    pub fn pass_gone(&self, gone: Range<Offset>) {
        if let Some(cursor) = lock(&self.cursors.known).get_mut(&self.name) {
            cursor.gone.push(gone.start.0..gone.end.0);
        }
    }

    /// The reader has dealt with all below `to`. Returns when the log knows.
    ///
    /// # Errors
    /// The log cannot be written.
    pub async fn advance(&self, to: u64) -> io::Result<()> {
        {
            let durable = self.cursors.ingest.durable().0;
            let mut known = lock(&self.cursors.known);
            let Some(cursor) = known.get_mut(&self.name) else { return Ok(()) };
            let to = to.min(durable);
            if to <= cursor.position {
                return Ok(());
            }
            cursor.advance(to);
        }
        self.cursors.note(&self.name).await
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(cursor) = lock(&self.cursors.known).get_mut(&self.name) {
            cursor.reading = false;
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err(format!(
            "`{name}` cannot name a cursor: 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_counts_once_it_is_passed() {
        let mut cursor = Cursor { position: 10, gone: vec![10..14, 20..25], ..Cursor::default() };
        cursor.advance(17);
        assert_eq!((cursor.position, cursor.lost), (17, 4));
        cursor.advance(22);
        cursor.advance(30);
        assert_eq!((cursor.position, cursor.lost), (30, 9));
        assert_eq!(cursor.gone, []);
    }

    #[test]
    fn each_segment_names_the_cursors_but_for_those_that_are_forgotten() {
        let record = |name: &str, position, forgotten| {
            let name = name.to_owned();
            CursorRecord { name, position, lost: 1, forgotten }.encode()
        };
        let mut snapshot = Snapshot::default();
        for body in
            [record("a", 1, false), record("b", 2, false), record("a", 3, false), b"other".into()]
        {
            snapshot.note(ControlKind::Cursor, &body);
        }
        let all: Vec<_> = snapshot.records().iter().map(|(_, body)| body.to_vec()).collect();
        assert_eq!(all, [record("a", 3, false), record("b", 2, false)]);
        snapshot.note(ControlKind::Cursor, &record("a", 3, true));
        assert_eq!(snapshot.records(), [(ControlKind::Cursor, record("b", 2, false).as_slice())]);
    }
}
