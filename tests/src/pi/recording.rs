//! What a machine wrote to its disk, in order, with its flushes: QEMU's `blklogwrites`, in the format
//! of Linux's dm-log-writes.
//!
//! ```text
//! sector 0: u64 magic · u64 version · u64 number of entries · u32 bytes of a sector
//! entry:    u64 sector · u64 sectors · u64 flags · u64 0; padded to a sector; then the sectors' data
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR_BYTES: usize = 512;
const ENTRIES_AT: usize = 16;
const FLUSH: u64 = 1;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;

/// One thing that a machine asked of its disk.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it writes, in bytes from the start of the disk.
    pub at: usize,
    /// What it writes.
    pub bytes: Vec<u8>,
    /// All that was written before survives a power cut.
    pub is_flush: bool,
}

/// How many entries a recording that is under way has.
///
/// # Errors
/// It cannot be read.
pub fn entries(recording: &File) -> Result<usize> {
    let mut count = [0; 8];
    recording.read_exact_at(&mut count, ENTRIES_AT as u64)?;
    Ok(usize::try_from(u64::from_le_bytes(count))?)
}

/// Reads a recording. The last entries of a machine that was killed may be missing.
///
/// # Errors
/// It is none.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path)?;
    let number = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    ensure!(number(0) == Some(MAGIC), "{} is no recording", path.display());
    let count = number(ENTRIES_AT).context("a recording has a head")?;
    let mut entries = Vec::new();
    let mut at = SECTOR_BYTES;
    for _ in 0..count {
        let head = [number(at), number(at + 8), number(at + 16)];
        let [Some(sector), Some(sectors), Some(flags)] = head else { break };
        ensure!(flags & (DISCARD | FUA) == 0, "flags {flags:#x}: a plain disk has no such thing");
        let length = usize::try_from(sectors)? * SECTOR_BYTES;
        let data_at = at + SECTOR_BYTES;
        let Some(data) = bytes.get(data_at..data_at + length) else { break };
        entries.push(Entry {
            at: usize::try_from(sector)? * SECTOR_BYTES,
            bytes: data.to_vec(),
            is_flush: flags & FLUSH != 0,
        });
        at = data_at + length;
    }
    Ok(entries)
}

/// A disk whose recording is played.
#[derive(Clone, Debug)]
pub struct Replay<'e> {
    entries: &'e [Entry],
    /// What survives a power cut, whatever happens.
    stable: Vec<u8>,
    /// Entries from here on are not flushed yet.
    unflushed: usize,
    played: usize,
}

/// Some bytes of an entry, by entry and range of sectors in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which entry.
    pub entry: usize,
    /// The first of its sectors.
    pub sector: usize,
    /// How many.
    pub sectors: usize,
}

impl<'e> Replay<'e> {
    /// Begins with the disk as it was when the recording began.
    #[must_use]
    pub const fn new(entries: &'e [Entry], disk: Vec<u8>) -> Self {
        Self { entries, stable: disk, unflushed: 0, played: 0 }
    }

    /// Plays entries until `count` of all have been.
    pub fn play_to(&mut self, count: usize) {
        for entry in self.played..count {
            if self.entries[entry].is_flush {
                for entry in &self.entries[self.unflushed..=entry] {
                    self.stable[entry.at..entry.at + entry.bytes.len()]
                        .copy_from_slice(&entry.bytes);
                }
                self.unflushed = entry + 1;
            }
        }
        self.played = count;
    }

    /// What a power cut now may lose: a random part of what is not flushed, in sectors.
    pub fn draw_lost(&self, rng: &mut Rng) -> Vec<Piece> {
        let everything = rng.u8(0..4);
        let mut lost = Vec::new();
        for entry in self.unflushed..self.played {
            let sectors = self.entries[entry].bytes.len() / SECTOR_BYTES;
            match (everything, rng.u8(0..3)) {
                (0, _) => lost.push(Piece { entry, sector: 0, sectors }),
                (1, _) | (_, 0) => {}
                (_, 1) => lost.push(Piece { entry, sector: 0, sectors }),
                _ => {
                    let each = (0..sectors).filter(|_| rng.bool());
                    lost.extend(each.map(|sector| Piece { entry, sector, sectors: 1 }));
                }
            }
        }
        lost
    }

    /// The disk after a power cut that loses these pieces.
    #[must_use]
    pub fn disk_without(&self, lost: &[Piece]) -> Vec<u8> {
        let mut disk = self.stable.clone();
        for number in self.unflushed..self.played {
            let entry = &self.entries[number];
            for (sector, bytes) in entry.bytes.chunks(SECTOR_BYTES).enumerate() {
                let is_lost = |piece: &&Piece| {
                    piece.entry == number
                        && (piece.sector..piece.sector + piece.sectors).contains(&sector)
                };
                if lost.iter().find(is_lost).is_none() {
                    let at = entry.at + sector * SECTOR_BYTES;
                    disk[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        disk
    }

    /// Where a piece lies, in bytes from the start of the disk.
    #[must_use]
    pub fn place(&self, piece: Piece) -> core::ops::Range<usize> {
        let at = self.entries[piece.entry].at + piece.sector * SECTOR_BYTES;
        at..at + piece.sectors * SECTOR_BYTES
    }
}
