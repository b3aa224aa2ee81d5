//! What is measured, each behind the same two calls.

use std::path::Path;

use anyhow::Result;

use crate::{databases, ours, raw, wals};

/// Bytes of one record, as it is handed over.
pub const RECORD_BYTES: usize = 128;
/// The most records of one commit.
pub const RECORDS_MAX: usize = 4096;

/// Something that makes records durable.
pub trait Store {
    /// Appends `records`, whole records of [`RECORD_BYTES`], and returns when all of them are durable.
    fn commit(&mut self, records: &[u8]) -> Result<()>;

    /// Reads all that is kept, every record: how many there are.
    fn scan(&mut self) -> Result<u64>;

    /// Where its end is: the segment and the byte in it; of ours.
    fn end(&self) -> Option<(u64, u32)> {
        None
    }
}

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file that nothing beats: written before, then over again, with one `fdatasync` each.
    Raw,
    /// Ours.
    Tributary,
    /// A write-ahead log.
    Okaywal,
    /// Another.
    OpenWal,
    /// A log-structured key-value store.
    Fjall,
    /// SQL.
    Sqlite,
    /// A copy-on-write B-tree.
    Redb,
}

impl Kind {
    /// The limit, ours, and the others.
    pub const ALL: [Self; 7] = [
        Self::Raw,
        Self::Tributary,
        Self::Okaywal,
        Self::OpenWal,
        Self::Fjall,
        Self::Sqlite,
        Self::Redb,
    ];

    /// As the tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw file, pre-written",
            Self::Tributary => "tributary",
            Self::Okaywal => "okaywal 0.3",
            Self::OpenWal => "open-wal 0.2",
            Self::Fjall => "fjall 3, SyncData",
            Self::Sqlite => "SQLite WAL, FULL",
            Self::Redb => "redb 4, Immediate",
        }
    }

    /// As the command line calls it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == word)
    }

    /// Opens it in a directory of its own, or makes it. `keep`: the least that it must keep, in bytes.
    pub fn open(self, dir: &Path, keep: u64) -> Result<Box<dyn Store>> {
        std::fs::create_dir_all(dir)?;
        Ok(match self {
            Self::Raw => Box::new(raw::Raw::open(dir, keep)?),
            Self::Tributary => Box::new(ours::Ours::open(dir, keep)?),
            Self::Okaywal => Box::new(wals::Okay::open(dir, keep)?),
            Self::OpenWal => Box::new(wals::Open::open(dir, keep)?),
            Self::Fjall => Box::new(databases::Fjall::open(dir)?),
            Self::Sqlite => Box::new(databases::Sqlite::open(dir)?),
            Self::Redb => Box::new(databases::Redb::open(dir)?),
        })
    }
}
