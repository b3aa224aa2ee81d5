//! The note beside the segments: how far the log is durable at least, and how far it may have come.
//!
//! What is lost with the newest segment, or with the last commit, cannot be known from what is left:
//! it looks like a log that ended earlier. The note tells. It is written with each commit and not
//! synced, so it costs no flush; it is synced when a segment begins, and each [`STRIDE`] offsets,
//! before anything is acknowledged that lies beyond what it says. So no offset that was acknowledged
//! is given out again, even if the newest segment is gone.
//!
//! ```text
//! in two slots, 64 KiB apart:
//!  0 [u8; 8] "TRIBEND1"
//!  8 u64     log id
//! 16 u64     number: how many notes were written before
//! 24 u64     sequence of the newest segment
//! 32 u64     end: all below was durable
//! 40 u64     bound: nothing at or above was acknowledged while this was the newest note that is synced
//! 48 u32     CRC32C of bytes 0 to 47
//! ```

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::fdatasync;
use tributary_core::Offset;
use tributary_core::log::{End, Noted};

use super::shared::sync_directory;
use crate::io::crc::crc32c;
use crate::io::files::LOG_FILE_MODE;

/// Offsets that may be given out until the note has to be synced again.
const STRIDE: u64 = 1 << 16;
const MAGIC: [u8; 8] = *b"TRIBEND1";
const BYTES: usize = 52;
const CRC_AT: usize = BYTES - 4;
/// As far apart as the largest page is long.
const PLACES: [u64; 2] = [0, 1 << 16];

/// A note, and where it was found.
#[derive(Clone, Copy)]
struct Found {
    noted: Noted,
    number: u64,
    slot: usize,
}

/// The note of a stream in a directory, if there is one.
pub(in crate::io) fn read(dir: &Path, stream: &str) -> Option<Noted> {
    find(&File::open(path(dir, stream)).ok()?).map(|found| found.noted)
}

fn path(dir: &Path, stream: &str) -> PathBuf {
    dir.join(format!("{stream}.end"))
}

fn find(file: &File) -> Option<Found> {
    let in_slot = |slot: usize| {
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, PLACES[slot]).ok()?;
        let (noted, number) = decode(&bytes)?;
        Some(Found { noted, number, slot })
    };
    let both = [in_slot(0), in_slot(1)];
    both.into_iter().flatten().max_by_key(|found| found.number)
}

fn decode(bytes: &[u8; BYTES]) -> Option<(Noted, u64)> {
    let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let sum = u32::from_le_bytes(*bytes.last_chunk()?);
    if !bytes.starts_with(&MAGIC) || crc32c(0, &bytes[..CRC_AT]) != sum {
        return None;
    }
    let noted = Noted {
        log_id: number(8)?,
        sequence: number(24)?,
        end: Offset(number(32)?),
        bound: Offset(number(40)?),
    };
    Some((noted, number(16)?))
}

fn encode(noted: &Noted, number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    let Noted { log_id, sequence, end, bound } = noted;
    let numbers = [*log_id, number, *sequence, end.0, bound.0];
    for (into, number) in bytes[8..].chunks_mut(8).zip(numbers) {
        into.copy_from_slice(&number.to_le_bytes());
    }
    let sum = crc32c(0, &bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Keeps the note of a log that is written.
#[derive(Debug)]
pub(super) struct NoteKeeper {
    dir: PathBuf,
    stream: &'static str,
    file: Option<File>,
    number: u64,
    /// The slot of the note that is synced: the other one is written.
    synced_slot: usize,
    /// What is synced, of this opening.
    synced: Option<Noted>,
    /// Whether it could not be written: told once.
    failed: bool,
}

impl NoteKeeper {
    pub(super) fn new(dir: &Path, stream: &'static str) -> Self {
        let dir = dir.to_owned();
        Self { dir, stream, file: None, number: 0, synced_slot: 0, synced: None, failed: false }
    }

    /// The log with this identity is durable up to `end`, and that was not told anybody.
    pub(super) fn note(&mut self, end: End, log_id: u64) {
        match self.try_note(end, log_id) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(
                    %error,
                    "the note of the log's end cannot be written: should the newest segment be lost, \
                     offsets may be given out again"
                );
            }
            Err(_) => {}
        }
    }

    fn try_note(&mut self, end: End, log_id: u64) -> Result<()> {
        let End { offset, sequence, .. } = end;
        let covers = |noted: &Noted| noted.sequence == sequence && offset <= noted.bound;
        if let Some(synced) = self.synced.filter(covers) {
            return self.write(&Noted { end: offset, ..synced });
        }
        let noted = Noted { log_id, sequence, end: offset, bound: offset.plus(STRIDE) };
        self.write(&noted)?;
        fdatasync(self.open()?)?;
        self.synced_slot = 1 - self.synced_slot;
        self.synced = Some(noted);
        Ok(())
    }

    fn write(&mut self, noted: &Noted) -> Result<()> {
        self.open()?;
        self.number += 1;
        let (bytes, place) = (encode(noted, self.number), PLACES[1 - self.synced_slot]);
        self.open()?.write_all_at(&bytes, place)
    }

    /// The file, which is made if it is not there.
    fn open(&mut self) -> Result<&File> {
        if self.file.is_none() {
            let path = path(&self.dir, self.stream);
            let is_new = !path.exists();
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.mode(LOG_FILE_MODE).open(&path)?;
            if is_new {
                sync_directory(&self.dir)?;
            }
            // What an earlier process left may not be synced; from now on it is what is kept.
            fdatasync(&file)?;
            if let Some(found) = find(&file) {
                (self.number, self.synced_slot) = (found.number, found.slot);
            }
            self.file = Some(file);
        }
        self.file.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }
}
