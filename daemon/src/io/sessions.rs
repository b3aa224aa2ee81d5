//! Sessions and retained messages in a file of their own: what spares a start the reading of the
//! whole log.
//!
//! It is only ever behind the log, never beside it: each transaction holds the place up to which
//! the log was folded in. Without it, or if it is damaged or of another log, everything is read
//! from the log again, as far as that reaches.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::LOG_FILE_MODE;
use crate::runtime::sessions::{State, Touched};

/// The file in the data directory.
const NAME: &str = "sessions.redb";
/// Pages of the file that may be kept in memory, in bytes.
const CACHE_BYTES: usize = 1 << 20;
/// A file beyond this size that is many times as large as what it holds is made smaller: of itself it
/// stays as large as it ever was.
const ROOM_BYTES: u64 = 8 << 20;
const TIMES_MAX: u64 = 4;

const CLIENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("clients-1");
const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained-1");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups-1");
const PLACE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("place-1");
const LOG: &str = "log";
const APPLIED: &str = "applied";

/// The file, open.
pub struct SessionStore {
    database: Database,
    path: PathBuf,
}

/// What is wrong with the file.
pub type StoreError = Box<dyn core::error::Error + Send + Sync>;

impl SessionStore {
    /// Opens the file of a log in `dir`. One that is damaged is made anew.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: &Path, log: u64) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        match Self::try_open(&path, log) {
            Ok(store) => Ok(store),
            Err(error) if path.exists() => {
                tracing::warn!(
                    %error,
                    path = %path.display(),
                    "the file of sessions does not serve: it is made anew from the log"
                );
                fs::remove_file(&path)?;
                Self::try_open(&path, log)
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &PathBuf, log: u64) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = FileBackend::new(options.mode(LOG_FILE_MODE).open(path)?)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(file)?;
        let store = Self { database, path: path.clone() };
        let writing = store.database.begin_write()?;
        {
            writing.open_table(CLIENTS)?;
            writing.open_table(RETAINED)?;
            writing.open_table(GROUPS)?;
            let mut place = writing.open_table(PLACE)?;
            let known = place.get(LOG)?.map(|value| value.value().to_vec());
            match known {
                None => {
                    place.insert(LOG, &log.to_le_bytes()[..])?;
                }
                Some(known) if known == log.to_le_bytes() => {}
                Some(_) => return Err("it belongs to another log".into()),
            }
        }
        writing.commit()?;
        Ok(store)
    }

    /// What it holds; with retained messages only if they are `wanted`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(&self, wanted: bool) -> Result<State, StoreError> {
        let reading = self.database.begin_read()?;
        let mut state = State::default();
        for entry in reading.open_table(CLIENTS)?.iter()? {
            let (name, bytes) = entry?;
            state.clients.insert(name.value().to_owned(), decode(bytes.value())?);
        }
        if wanted {
            for entry in reading.open_table(RETAINED)?.iter()? {
                let (topic, bytes) = entry?;
                state.retained.insert(topic.value().to_owned(), decode(bytes.value())?);
            }
        }
        for entry in reading.open_table(GROUPS)?.iter()? {
            let (filter, bytes) = entry?;
            state.groups.insert(filter.value().to_owned(), decode(bytes.value())?);
        }
        if let Some(applied) = reading.open_table(PLACE)?.get(APPLIED)? {
            state.applied = decode(applied.value())?;
        }
        Ok(state)
    }

    /// Writes what was touched, and the place, in one transaction.
    ///
    /// # Errors
    /// If the disk does not take it; nothing is changed then.
    pub fn write(&mut self, state: &mut State) -> Result<(), StoreError> {
        let Touched { clients, topics, groups } = state.take_touched();
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(CLIENTS)?;
            for name in &clients {
                put(&mut table, name, state.clients.get(name))?;
            }
            let mut table = writing.open_table(RETAINED)?;
            for topic in &topics {
                put(&mut table, topic, state.retained.get(topic))?;
            }
            let mut table = writing.open_table(GROUPS)?;
            for filter in &groups {
                put(&mut table, filter, state.groups.get(filter))?;
            }
            let mut place = writing.open_table(PLACE)?;
            put(&mut place, APPLIED, Some(&state.applied))?;
        }
        writing.commit()?;
        self.shrink()
    }

    /// Gives back what was needed once.
    fn shrink(&mut self) -> Result<(), StoreError> {
        let bytes = fs::metadata(&self.path)?.len();
        if bytes <= ROOM_BYTES {
            return Ok(());
        }
        let writing = self.database.begin_write()?;
        let stats = writing.stats()?;
        writing.abort()?;
        if bytes > TIMES_MAX * (stats.stored_bytes() + stats.metadata_bytes()) {
            self.database.compact()?;
        }
        Ok(())
    }
}

fn put<T: Serialize>(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    key: &str,
    value: Option<&T>,
) -> Result<(), StoreError> {
    match value {
        Some(value) => table.insert(key, postcard::to_allocvec(value)?.as_slice())?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    Ok(postcard::from_bytes(bytes)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::runtime::sessions::{Change, Noted};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::{Age, Timestamp};

    fn begun(state: &mut State, number: u64, client: &str) {
        let change = Change::Begun { fresh: true, expiry_s: 60, will: None };
        state.apply_change(number, Noted { client, at: 3, change });
    }

    #[test]
    fn what_was_written_is_there_and_what_ended_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        begun(&mut state, 2, "b");
        store.write(&mut state).unwrap();
        state.apply_change(3, Noted { client: "a", at: 4, change: Change::Ended });
        store.write(&mut state).unwrap();
        drop(store);
        let again = SessionStore::open(dir.path(), 7).unwrap().load(true).unwrap();
        assert_eq!(again, state);
        assert_eq!(again.clients.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(again.applied.change, 4);
    }

    /// An earlier version's file has none.
    #[test]
    fn where_groups_are_is_there_too_and_gone_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        store.write(&mut state).unwrap();
        let writing = store.database.begin_write().unwrap();
        writing.delete_table(GROUPS).unwrap();
        writing.commit().unwrap();
        drop(store);
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        assert_eq!(store.load(true).unwrap(), state);
        let (filter, identifier) = ("$share/g/a", 0);
        for (number, client, change) in [
            (2, "a", Change::Subscribed { filter, options: 1, identifier }),
            (3, filter, Change::Dealt { cursor: 300 }),
        ] {
            state.apply_change(number, Noted { client, at: 4, change });
        }
        store.write(&mut state).unwrap();
        assert_eq!(store.load(true).unwrap(), state);
        state.apply_change(4, Noted { client: "a", at: 4, change: Change::Ended });
        state.forget_groups();
        store.write(&mut state).unwrap();
        assert_eq!(store.load(true).unwrap().groups.len(), 0);
    }

    #[test]
    fn the_file_does_not_stay_as_large_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        let payload = vec![7; 100_000];
        for number in 0..300 {
            let topic = format!("plant/{number}/photo");
            let event = Event { topic: &topic, payload: &payload, ..photo() };
            state.apply_event(number, &event, Age(0));
        }
        store.write(&mut state).unwrap();
        let bytes = || fs::metadata(dir.path().join(NAME)).unwrap().len();
        assert!(bytes() > 30_000_000, "{}", bytes());
        for number in 0..300 {
            let topic = format!("plant/{number}/photo");
            let event = Event { topic: &topic, payload: &[], ..photo() };
            state.apply_event(300 + number, &event, Age(0));
        }
        begun(&mut state, 1, "a");
        store.write(&mut state).unwrap();
        assert!(bytes() < ROOM_BYTES, "{}", bytes());
        assert_eq!(store.load(true).unwrap(), state);
    }

    fn photo() -> Event<'static> {
        Event {
            topic: "",
            payload: &[],
            client: "press",
            time: Timestamp(5),
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        }
    }

    #[test]
    fn other_users_cannot_read_it() {
        let dir = tempfile::tempdir().unwrap();
        SessionStore::open(dir.path(), 7).unwrap();
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777 & !LOG_FILE_MODE, 0, "{mode:o}");
    }

    #[test]
    fn a_file_that_does_not_serve_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        store.write(&mut state).unwrap();
        drop(store);
        let other = SessionStore::open(dir.path(), 8).unwrap();
        assert_eq!(other.load(true).unwrap(), State::default());
        drop(other);
        fs::write(dir.path().join(NAME), b"not a database").unwrap();
        let anew = SessionStore::open(dir.path(), 8).unwrap();
        assert_eq!(anew.load(true).unwrap(), State::default());
    }
}
