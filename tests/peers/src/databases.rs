//! Databases as logs: a record under each next number, many in one transaction.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::Connection;

use crate::store::{RECORD_BYTES, Store};

/// fjall.
pub struct Fjall {
    database: Database,
    records: Keyspace,
    next: u64,
}

impl Fjall {
    /// Opens it, or makes it.
    pub fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let last = records.iter().next_back().map(fjall::Guard::key).transpose()?;
        let number = |key: &[u8]| key.first_chunk().map_or(0, |key| u64::from_be_bytes(*key) + 1);
        let next = last.as_deref().map_or(0, number);
        Ok(Self { database, records, next })
    }
}

impl Store for Fjall {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for record in records.chunks_exact(RECORD_BYTES) {
            batch.insert(&self.records, self.next.to_be_bytes(), record);
            self.next += 1;
        }
        Ok(batch.commit()?)
    }

    fn scan(&mut self) -> Result<u64> {
        let mut records = 0;
        for record in self.records.iter() {
            records += u64::from(black_box(record.value()?).len() == RECORD_BYTES);
        }
        Ok(records)
    }
}

/// SQLite.
pub struct Sqlite {
    connection: Connection,
    next: i64,
}

impl Sqlite {
    /// Opens it, or makes it.
    pub fn open(dir: &Path) -> Result<Self> {
        let connection = Connection::open(dir.join("records.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY, record BLOB NOT NULL)",
        )?;
        let last = "SELECT coalesce(max(number), 0) FROM records";
        let next = connection.query_row(last, [], |row| row.get::<_, i64>(0))? + 1;
        Ok(Self { connection, next })
    }
}

impl Store for Sqlite {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2)")?;
            for record in records.chunks_exact(RECORD_BYTES) {
                insert.execute((self.next, record))?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }

    fn scan(&mut self) -> Result<u64> {
        let mut select = self.connection.prepare("SELECT record FROM records ORDER BY number")?;
        let (mut rows, mut records) = (select.query([])?, 0);
        while let Some(row) = rows.next()? {
            records += u64::from(black_box(row.get_ref(0)?.as_blob()?).len() == RECORD_BYTES);
        }
        Ok(records)
    }
}

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// redb.
pub struct Redb {
    database: redb::Database,
    next: u64,
}

impl Redb {
    /// Opens it, or makes it.
    pub fn open(dir: &Path) -> Result<Self> {
        let database = redb::Database::create(dir.join("records.redb"))?;
        let write = database.begin_write()?;
        let next = {
            let table = write.open_table(RECORDS)?;
            table.last()?.map_or(0, |(number, _)| number.value() + 1)
        };
        write.commit()?;
        Ok(Self { database, next })
    }
}

impl Store for Redb {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut table = write.open_table(RECORDS)?;
            for record in records.chunks_exact(RECORD_BYTES) {
                table.insert(self.next, record)?;
                self.next += 1;
            }
        }
        Ok(write.commit()?)
    }

    fn scan(&mut self) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut records = 0;
        for entry in table.iter()? {
            records += u64::from(black_box(entry?.1.value()).len() == RECORD_BYTES);
        }
        Ok(records)
    }
}
