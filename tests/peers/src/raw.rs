//! The limit: a file whose blocks were written before, written over from its start, with one `pwrite`
//! and one `fdatasync` a commit. It checks nothing, and could not tell where it ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use rustix::fs::fdatasync;

use crate::store::{RECORD_BYTES, Store};

const FILL: [u8; 1 << 16] = [0; 1 << 16];

/// The file.
pub struct Raw {
    file: File,
    bytes: u64,
    at: u64,
}

impl Raw {
    /// Makes it, and writes all of it.
    pub fn open(dir: &Path, keep: u64) -> Result<Self> {
        let path = dir.join("raw");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        for at in (0..keep).step_by(FILL.len()) {
            file.write_all_at(&FILL, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, bytes: keep, at: 0 })
    }
}

impl Store for Raw {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let bytes = records.len() as u64;
        if self.at + bytes > self.bytes {
            self.at = 0;
        }
        self.file.write_all_at(records, self.at)?;
        fdatasync(&self.file)?;
        self.at += bytes;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        Ok(self.bytes / RECORD_BYTES as u64)
    }
}
