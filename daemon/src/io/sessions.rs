//! Sessions and retained messages in a file of their own: what spares a start the reading of the
//! whole log.
//!
//! It is only ever behind the log, never beside it: each transaction holds the place up to which
//! the log was folded in. Without it, or if it is damaged or of another log, everything is read
//! from the log again, as far as that reaches.
//!
//! Each opening reads and checks the whole file. What is only trusted because the last end was an
//! orderly one may have rotted since, and pages that hold something else are no errors to who walks
//! over them, but a panic: which would be the end of each start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tributary_core::time::Age;

use super::files::LOG_FILE_MODE;
use crate::runtime::sessions::{ClientState, Searches, State, Touched};

/// The file in the data directory.
const NAME: &str = "sessions.redb";
/// One that is being made, and has not taken its place yet.
const NEW: &str = "sessions.redb.new";
/// The last one that did not serve.
pub const ASIDE: &str = "sessions.redb.damaged";
/// Pages of the file that may be kept in memory, in bytes.
const CACHE_BYTES: usize = 1 << 20;
/// A file beyond this size that is many times as large as what it holds is made smaller: of itself it
/// stays as large as it ever was.
const ROOM_BYTES: u64 = 8 << 20;
const TIMES_MAX: u64 = 4;
/// How often it is looked through for what is over: there may be megabytes of it.
const SWEEP_MS: u64 = 60_000;

const CLIENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("clients-1");
const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained-1");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups-1");
const PLACE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("place-1");
const LOG: &str = "log";
const APPLIED: &str = "applied";

type Rows<'t> = redb::Table<'t, &'static str, &'static [u8]>;

/// The file, open.
pub struct SessionStore {
    database: Database,
    path: PathBuf,
    /// When it was rid of what is over, by the log's clock.
    swept: Option<Age>,
}

/// What it holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// As far as it can be read.
    pub state: State,
    /// Clients whose rows cannot be.
    pub clients: Vec<String>,
    /// Topics whose rows cannot be.
    pub topics: Vec<String>,
    /// Shared filters whose rows cannot be.
    pub groups: Vec<String>,
}

impl Found {
    /// Whether it can all be read.
    #[must_use]
    pub const fn has_all(&self) -> bool {
        self.clients.is_empty() && self.topics.is_empty() && self.groups.is_empty()
    }
}

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It holds something else than what was written: it is to be made anew.
    Damaged(String),
    /// The disk does not take it, or does not give it out. It may at another time.
    Device(String),
}

impl core::fmt::Display for StoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (Self::Damaged(why) | Self::Device(why)) = self;
        f.write_str(why)
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        let error = error.into();
        let is_damaged = match &error {
            redb::Error::Io(error) => is_damage(error),
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => true,
            _ => false,
        };
        let why = error.to_string();
        if is_damaged { Self::Damaged(why) } else { Self::Device(why) }
    }
}

/// Whether a file is not what it was, rather than out of reach: a sector that cannot be read any more, an
/// end that is missing, no database at all.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [ErrorKind::InvalidData, ErrorKind::InvalidInput, ErrorKind::UnexpectedEof];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

impl SessionStore {
    /// Opens the file of a log in `dir`, and reads all of it; where there is none, makes one that holds
    /// nothing.
    ///
    /// # Errors
    /// If it is damaged or of another log, cannot be opened, or cannot be made.
    pub fn open(dir: &Path, log: u64) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Self::create(dir, log, &State::default());
            }
            opened => opened?,
        };
        if file.metadata()?.len() == 0 {
            return Err(StoreError::Damaged("it is empty".into()));
        }
        let store = Self { database: database(file)?, path, swept: None };
        store.expect_log(log)?;
        Ok(store)
    }

    /// Makes the file anew, with all of `state`. The one that was there serves until that is done, and is
    /// kept beside it then: the last one of them.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn create(dir: &Path, log: u64, state: &State) -> Result<Self, StoreError> {
        let (path, new) = (dir.join(NAME), dir.join(NEW));
        Self::make(&new, log, state)
            .and_then(|database| {
                keep_aside(&path, &dir.join(ASIDE))?;
                fs::rename(&new, &path)?;
                File::open(dir)?.sync_all()?;
                Ok(Self { database, path, swept: None })
            })
            .inspect_err(|_| fs::remove_file(&new).unwrap_or_default())
    }

    fn make(path: &Path, log: u64, state: &State) -> Result<Database, StoreError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let database = database(options.mode(LOG_FILE_MODE).open(path)?)?;
        fill(&database, log, state)?;
        Ok(database)
    }

    fn expect_log(&self, log: u64) -> Result<(), StoreError> {
        let place = self.database.begin_read()?.open_table(PLACE)?;
        let known = place.get(LOG)?;
        if known.is_some_and(|known| known.value() == log.to_le_bytes()) {
            return Ok(());
        }
        Err(StoreError::Damaged("it belongs to another log".into()))
    }

    /// What it holds; with retained messages only if they are `wanted`.
    ///
    /// # Errors
    /// If it cannot be read as a whole.
    pub fn load(&self, wanted: bool) -> Result<Found, StoreError> {
        let reading = self.database.begin_read()?;
        let mut found = Found::default();
        let Found { state, clients, topics, groups } = &mut found;
        for entry in reading.open_table(CLIENTS)?.iter()? {
            let (name, bytes) = entry?;
            match read_client(bytes.value()) {
                Some(client) => drop(state.clients.insert(name.value().to_owned(), client)),
                None => clients.push(name.value().to_owned()),
            }
        }
        if wanted {
            for entry in reading.open_table(RETAINED)?.iter()? {
                let (topic, bytes) = entry?;
                match decode(bytes.value()) {
                    Some(kept) => drop(state.retained.insert(topic.value().to_owned(), kept)),
                    None => topics.push(topic.value().to_owned()),
                }
            }
        }
        match reading.open_table(GROUPS) {
            // An earlier version's file has none.
            Err(TableError::TableDoesNotExist(_)) => {}
            table => {
                for entry in table?.iter()? {
                    let (filter, bytes) = entry?;
                    match decode(bytes.value()) {
                        Some(dealt) => drop(state.groups.insert(filter.value().to_owned(), dealt)),
                        None => groups.push(filter.value().to_owned()),
                    }
                }
            }
        }
        let place = reading.open_table(PLACE)?.get(APPLIED)?;
        let applied = place.and_then(|place| decode(place.value()));
        let why = || StoreError::Damaged("its place in the log cannot be read".into());
        state.applied = applied.ok_or_else(why)?;
        Ok(found)
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
                put_client(&mut table, name, state.clients.get(name))?;
            }
            let mut table = writing.open_table(RETAINED)?;
            for topic in &topics {
                put(&mut table, topic, state.retained.get(topic))?;
            }
            let is_swept = |swept: Age| state.now().0.saturating_sub(swept.0) < SWEEP_MS;
            if !self.swept.is_some_and(is_swept) {
                for topic in over(&table, state)? {
                    table.remove(topic.as_str())?;
                }
                self.swept = Some(state.now());
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

fn database(file: File) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    let builder = builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

/// Writes all of `state` into a file that is new.
fn fill(database: &Database, log: u64, state: &State) -> Result<(), StoreError> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(CLIENTS)?;
        for (name, client) in &state.clients {
            put_client(&mut table, name, Some(client))?;
        }
        let mut table = writing.open_table(RETAINED)?;
        for (topic, retained) in &state.retained {
            put(&mut table, topic, Some(retained))?;
        }
        let mut table = writing.open_table(GROUPS)?;
        for (filter, dealt) in &state.groups {
            put(&mut table, filter, Some(dealt))?;
        }
        let mut place = writing.open_table(PLACE)?;
        place.insert(LOG, &log.to_le_bytes()[..])?;
        put(&mut place, APPLIED, Some(&state.applied))?;
    }
    Ok(writing.commit()?)
}

/// Topics whose retained messages are of no use any more by the clocks of the log: those of `state` and those
/// that it was not asked to know. They would fill the file.
fn over(table: &Rows<'_>, state: &State) -> Result<Vec<String>, StoreError> {
    let mut over = Vec::new();
    for entry in table.iter()? {
        let (topic, row) = entry?;
        if decode(row.value()).is_some_and(|retained| state.is_over(&retained)) {
            over.push(topic.value().to_owned());
        }
    }
    Ok(over)
}

/// Gives a file another name, too; where the file system has no such thing, instead.
fn keep_aside(path: &Path, aside: &Path) -> io::Result<()> {
    let or_missing = |done: io::Result<()>| match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if !path.exists() {
        return Ok(());
    }
    or_missing(fs::remove_file(aside))?;
    or_missing(fs::hard_link(path, aside).or_else(|_| fs::rename(path, aside)))
}

fn put<T: Serialize>(table: &mut Rows<'_>, key: &str, value: Option<&T>) -> Result<(), StoreError> {
    put_row(table, key, value.map(|value| encode(value, Vec::new())))
}

/// What is looked for stands behind the rest, where there is any, and behind a 0: so rows of earlier versions are read,
/// and those of most clients are what they were.
fn put_client(
    table: &mut Rows<'_>,
    name: &str,
    client: Option<&ClientState>,
) -> Result<(), StoreError> {
    let row = client.map(|client| {
        let row = encode(client, Vec::new());
        if client.searches.is_empty() { row } else { encode(&(0_u8, &client.searches), row) }
    });
    put_row(table, name, row)
}

fn put_row(table: &mut Rows<'_>, key: &str, row: Option<Vec<u8>>) -> Result<(), StoreError> {
    match row {
        Some(row) => table.insert(key, row.as_slice())?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn encode<T: Serialize>(value: &T, behind: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, behind).unwrap_or_else(|_| unreachable!("plain values into memory"))
}

fn read_client(row: &[u8]) -> Option<ClientState> {
    let (client, rest): (ClientState, _) = postcard::take_from_bytes(row).ok()?;
    let searches = match rest {
        [] => Searches::default(),
        [0, searches @ ..] => decode(searches)?,
        // Where more was looked for an earlier version knew less: the log tells.
        _ => return None,
    };
    Some(ClientState { searches, ..client })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::runtime::sessions::{Change, Noted};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::{Age, Timestamp};

    /// What takes nothing any more.
    #[derive(Debug, Default)]
    struct Full {
        inner: InMemoryBackend,
        is_full: Arc<AtomicBool>,
    }

    impl StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.inner.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.inner.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.inner.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.inner.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.inner.write(offset, data)
        }
    }

    impl SessionStore {
        /// A file that holds nothing, and takes nothing.
        pub(crate) fn on_a_full_disk(log: u64) -> Self {
            let full = Full::default();
            let is_full = Arc::clone(&full.is_full);
            let database = Database::builder().create_with_backend(full).unwrap();
            fill(&database, log, &State::default()).unwrap();
            is_full.store(true, Ordering::Relaxed);
            Self { database, path: PathBuf::new(), swept: None }
        }

        /// Has rows that nobody can read.
        pub(crate) fn spoil(&self, client: &str, topic: &str) {
            let writing = self.database.begin_write().unwrap();
            for (table, key) in [(CLIENTS, client), (RETAINED, topic)] {
                writing.open_table(table).unwrap().insert(key, &[0xFF; 3][..]).unwrap();
            }
            writing.commit().unwrap();
        }
    }

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
        let again = SessionStore::open(dir.path(), 7).unwrap().load(true).unwrap().state;
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
        assert_eq!(store.load(true).unwrap().state, state);
        let (filter, identifier) = ("$share/g/a", 0);
        for (number, client, change) in [
            (2, "a", Change::Subscribed { filter, options: 1, identifier }),
            (3, filter, Change::Dealt { cursor: 300 }),
        ] {
            state.apply_change(number, Noted { client, at: 4, change });
        }
        store.write(&mut state).unwrap();
        assert_eq!(store.load(true).unwrap().state, state);
        state.apply_change(4, Noted { client: "a", at: 4, change: Change::Ended });
        state.forget_groups();
        store.write(&mut state).unwrap();
        assert_eq!(store.load(true).unwrap().state.groups.len(), 0);
    }

    /// Rows of earlier versions end before it, and so do those of whom nothing is looked for.
    #[test]
    fn what_is_looked_for_is_there_too_and_rows_without_it_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        let subscribed = Change::Subscribed { filter: "a", options: 2, identifier: 0 };
        let searching = Change::Searching { filter: "a", options: 2, identifier: 3, below: 300 };
        begun(&mut state, 1, "a");
        state.apply_change(2, Noted { client: "a", at: 4, change: subscribed });
        store.write(&mut state).unwrap();
        let row = b"\x3c\0\0\0\x01\x01a\x02\0\x04\0\0\0\x03";
        let reading = store.database.begin_read().unwrap();
        let rows = reading.open_table(CLIENTS).unwrap();
        assert_eq!(rows.get("a").unwrap().unwrap().value(), row);
        assert_eq!(store.load(true).unwrap().state, state);
        state.apply_change(3, Noted { client: "a", at: 4, change: searching });
        let brought = Change::Brought { packet_id: 1, offset: 300, filter: "a" };
        state.apply_change(4, Noted { client: "a", at: 4, change: brought });
        state.apply_change(
            5,
            Noted { client: "a", at: 4, change: Change::Completed { packet_id: 1 } },
        );
        store.write(&mut state).unwrap();
        let found = store.load(true).unwrap().state;
        assert_eq!(found, state);
        let (_, search) = found.clients["a"].searches.in_order()[0];
        assert!(search.brought.iter().eq(&[300]));
        let rows = store.database.begin_read().unwrap().open_table(CLIENTS).unwrap();
        let longer = [row, &b"\0\x01\x01a\x02\x03\xac\x02\x03\x01\xac\x02"[..]].concat();
        assert_eq!(rows.get("a").unwrap().unwrap().value(), longer);
        state.apply_change(6, Noted { client: "a", at: 4, change: Change::Found });
        store.write(&mut state).unwrap();
        let rows = store.database.begin_read().unwrap().open_table(CLIENTS).unwrap();
        assert_eq!(rows.get("a").unwrap().unwrap().value(), row);
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
        assert_eq!(store.load(true).unwrap().state, state);
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
    fn a_file_that_does_not_serve_is_kept_beside_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        store.write(&mut state).unwrap();
        drop(store);
        let of_another = SessionStore::open(dir.path(), 8).err().unwrap();
        assert_eq!(of_another, StoreError::Damaged("it belongs to another log".into()));
        drop(SessionStore::create(dir.path(), 8, &State::default()).unwrap());
        let aside = fs::read(dir.path().join(ASIDE)).unwrap();
        for rotten in [&b"not a database"[..], b""] {
            fs::write(dir.path().join(NAME), rotten).unwrap();
            let why = SessionStore::open(dir.path(), 8).err().unwrap();
            assert!(matches!(why, StoreError::Damaged(_)), "{why}");
            let made = SessionStore::create(dir.path(), 8, &state).unwrap();
            assert_eq!(made.load(true).unwrap().state.clients, state.clients);
            assert_eq!(fs::read(dir.path().join(ASIDE)).unwrap(), rotten, "the last one");
        }
        assert!(!aside.is_empty());
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(
            names.collect::<std::collections::BTreeSet<_>>(),
            [NAME, ASIDE].map(Into::into).into()
        );
    }

    #[test]
    fn a_disk_that_takes_no_new_file_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        store.write(&mut state).unwrap();
        fs::create_dir(dir.path().join(NEW)).unwrap();
        let why = SessionStore::create(dir.path(), 7, &State::default()).err().unwrap();
        assert!(matches!(why, StoreError::Device(_)), "{why}");
        drop(store);
        let found = SessionStore::open(dir.path(), 7).unwrap().load(true).unwrap();
        assert_eq!(found.state.clients, state.clients);
        assert!(!dir.path().join(ASIDE).exists());
    }

    #[test]
    fn a_row_that_cannot_be_read_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SessionStore::open(dir.path(), 7).unwrap();
        let mut state = State::default();
        begun(&mut state, 1, "a");
        begun(&mut state, 2, "b");
        state.apply_event(0, &Event { topic: "x", payload: b"1", ..photo() }, Age(0));
        store.write(&mut state).unwrap();
        store.spoil("b", "y");
        let found = store.load(true).unwrap();
        assert_eq!((found.clients, found.topics), (vec!["b".to_owned()], vec!["y".to_owned()]));
        state.clients.remove("b");
        assert_eq!(found.state, state);
    }
}
