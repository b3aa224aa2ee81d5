//! Write-ahead logs: okaywal and open-wal.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use okaywal::{
    Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};
use open_wal::{Lsn, Wal, WalConfig};

use crate::store::{RECORD_BYTES, Store};

/// Segments of okaywal where nothing must be kept: like ours, some of them in turn.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Reads what a recovery hands out; a checkpoint has nothing to do.
#[derive(Clone, Debug, Default)]
struct Records(Arc<AtomicU64>);

impl LogManager for Records {
    fn recover(&mut self, entry: &mut Entry<'_>) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            bytes.clear();
            std::io::Read::read_to_end(&mut chunk, &mut bytes)?;
            if !chunk.check_crc()? {
                return Err(std::io::Error::other("a chunk is damaged"));
            }
            self.0.fetch_add((black_box(&bytes).len() / RECORD_BYTES) as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

/// okaywal: an entry for each commit, a chunk with a checksum for each record.
pub struct Okay {
    log: WriteAheadLog,
    recovered: Records,
}

impl Okay {
    /// Opens it, or makes it. It forgets what it has handed to a checkpoint: where it must keep
    /// something, there is none before that.
    pub fn open(dir: &Path, keep: u64) -> Result<Self> {
        let bytes = SEGMENT_BYTES.max(keep + keep / 8);
        let recovered = Records::default();
        let log = Configuration::default_for(dir)
            .preallocate_bytes(u32::try_from(bytes)?)
            .checkpoint_after_bytes(bytes - (1 << 20))
            .open(recovered.clone())?;
        Ok(Self { log, recovered })
    }
}

impl Store for Okay {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let mut entry = self.log.begin_entry()?;
        for record in records.chunks_exact(RECORD_BYTES) {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        // It reads when it is opened.
        Ok(self.recovered.0.load(Ordering::Relaxed))
    }
}

/// open-wal.
pub struct Open {
    log: Wal,
    keep: u64,
    /// Bytes that were appended since the last checkpoint.
    appended: u64,
}

impl Open {
    /// Opens it, or makes it.
    pub fn open(dir: &Path, keep: u64) -> Result<Self> {
        let (log, _) = Wal::open(dir, WalConfig::default())?;
        Ok(Self { log, keep, appended: 0 })
    }
}

impl Store for Open {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        for record in records.chunks_exact(RECORD_BYTES) {
            self.log.append(record)?;
        }
        let durable = self.log.commit()?;
        self.appended += records.len() as u64;
        if self.appended > self.keep.max(256 << 20) {
            self.log.checkpoint(durable)?;
            self.appended = 0;
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        let (mut reader, mut records) = (self.log.reader_from(Lsn(0))?, 0);
        while let Some(record) = reader.next() {
            records += u64::from(black_box(record?.1).len() == RECORD_BYTES);
        }
        Ok(records)
    }
}
