//! The ring of segments on files: pre-written, recycled in place.
//!
//! Overwriting blocks that were written before costs one flush and changes no metadata; a file
//! that grows costs two. So a segment's file is written in full before it is used. Only the next
//! segment has to be ready: the rest is written ahead while nothing else is to do.

mod error;
mod place;
mod reader;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use core::cell::RefCell;

use rustix::fs::{FlockOperation, flock};
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, Media, ReadMedia, Tail, peek};

pub use error::SegmentError;
pub use reader::SegmentReader;
use reader::Shared;

use super::crc::crc32c;

/// Bytes of one segment.
pub const SEGMENT_BYTES: u32 = 4 << 20;
/// Bytes written at once when a file is made.
const FILL_BYTES: usize = 256 << 10;
/// Bytes read ahead while the log is opened.
const WINDOW_BYTES: usize = 128 << 10;

/// The files of one log, and the lock on its directory.
#[derive(Debug)]
pub struct SegmentFiles {
    geometry: Geometry,
    shared: Arc<Shared>,
    dir: PathBuf,
    file_system: String,
    /// Segments that were written to since the last barrier.
    dirty: Vec<u32>,
    /// What was read last, for the many small reads of a recovery.
    window: RefCell<Option<Window>>,
    /// Files from here on may have to be made.
    prewritten: u32,
    lock: File,
}

#[derive(Debug)]
struct Window {
    segment: u32,
    at: u32,
    bytes: Vec<u8>,
}

impl SegmentFiles {
    /// Locks a directory, and opens the files in it. `bytes_max` bounds a new log; one that exists
    /// keeps its size. A directory in RAM is refused unless `volatile`.
    ///
    /// # Errors
    /// If it cannot be used; the message says what to do.
    pub fn open(dir: &Path, bytes_max: u64, volatile: bool) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = lock_directory(dir)?;
        let place = place::look_at(dir).map_err(unusable)?;
        if place.in_ram && !volatile {
            let file_system = place.file_system;
            return Err(SegmentError::InRam { dir: dir.to_owned(), file_system });
        }
        let geometry = existing_geometry(dir)?.unwrap_or(Geometry {
            segments: u32::try_from(bytes_max / u64::from(SEGMENT_BYTES)).unwrap_or(u32::MAX),
            segment_bytes: SEGMENT_BYTES,
            page_bytes: place.page_bytes,
        });
        let shared = Arc::new(Shared::new(geometry, dir));
        Ok(Self {
            geometry,
            shared,
            dir: dir.to_owned(),
            file_system: place.file_system,
            dirty: Vec::new(),
            window: RefCell::new(None),
            prewritten: 0,
            lock,
        })
    }

    /// For reading what is durable, on any thread.
    #[must_use]
    pub fn reader(&self) -> SegmentReader {
        SegmentReader::new(Arc::clone(&self.shared))
    }

    /// The kind of file system under the directory.
    #[must_use]
    pub fn file_system(&self) -> &str {
        &self.file_system
    }

    /// Bytes that the log may take.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        u64::from(self.geometry.segments) * u64::from(self.geometry.segment_bytes)
    }

    /// Shows readers the durable end and the oldest offset.
    pub fn publish(&self, end: End, oldest: Offset, tail: Tail<'_>) {
        self.shared.publish(end, oldest, tail);
    }

    /// Makes one file ahead of its use, if one is missing. Whether one was.
    ///
    /// # Errors
    /// If there is no room: the ring closes when it is reached.
    pub fn prewrite_step(&mut self) -> Result<bool, SegmentError> {
        while self.prewritten < self.geometry.segments {
            let segment = self.prewritten;
            self.prewritten += 1;
            if !path_of(&self.dir, segment).exists() {
                self.make(segment)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a segment's file in full, under another name until it is whole.
    fn make(&self, segment: u32) -> Result<(), SegmentError> {
        let path = path_of(&self.dir, segment);
        let failed = |source| SegmentError::Io { path: path.clone(), what: "make", source };
        let draft = path.with_extension("new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&draft)
            .map_err(failed)?;
        let zeros = vec![0; FILL_BYTES];
        for at in (0..u64::from(self.geometry.segment_bytes)).step_by(FILL_BYTES) {
            file.write_all_at(&zeros, at).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

impl ReadMedia for SegmentFiles {
    type Error = SegmentError;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        if into.len() > WINDOW_BYTES / 2 {
            return self.shared.read_file(segment, at, into);
        }
        let mut window = self.window.borrow_mut();
        if let Some(window) = &*window
            && window.segment == segment
            && let Some(begin) = at.checked_sub(window.at)
            && let Some(bytes) = window.bytes.get(begin as usize..begin as usize + into.len())
        {
            into.copy_from_slice(bytes);
            return Ok(());
        }
        let room = (self.geometry.segment_bytes.saturating_sub(at) as usize).min(WINDOW_BYTES);
        let mut bytes = window.take().map_or_else(Vec::new, |window| window.bytes);
        bytes.resize(room.max(into.len()), 0);
        self.shared.read_file(segment, at, &mut bytes)?;
        into.copy_from_slice(&bytes[..into.len()]);
        *window = Some(Window { segment, at, bytes });
        Ok(())
    }
}

impl Media for SegmentFiles {
    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), SegmentError> {
        *self.window.get_mut() = None;
        let path = path_of(&self.dir, segment);
        let failed = |source| SegmentError::Io { path: path.clone(), what: "write", source };
        let file = self.shared.file(segment)?.ok_or_else(|| {
            failed(std::io::Error::new(std::io::ErrorKind::NotFound, "the file is gone"))
        })?;
        if !self.dirty.contains(&segment) {
            self.dirty.push(segment);
        }
        file.write_all_at(bytes, u64::from(at)).map_err(failed)
    }

    fn barrier(&mut self) -> Result<(), SegmentError> {
        for segment in core::mem::take(&mut self.dirty) {
            let path = path_of(&self.dir, segment);
            let failed = |source| SegmentError::Io { path, what: "sync", source };
            if let Some(file) = self.shared.file(segment)? {
                rustix::fs::fdatasync(&*file).map_err(|errno| failed(errno.into()))?;
            }
        }
        Ok(())
    }

    fn recycle(&mut self, segment: u32) -> Result<(), SegmentError> {
        if path_of(&self.dir, segment).exists() { Ok(()) } else { self.make(segment) }
    }
}

/// Where a segment lies.
fn path_of(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("input-{segment:05}.seg"))
}

/// Takes the directory's lock, which is let go when the process ends, however it ends.
fn lock_directory(dir: &Path) -> Result<File, SegmentError> {
    let path = dir.join("LOCK");
    let failed = |source| SegmentError::Directory { dir: dir.to_owned(), source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SegmentError::Locked { dir: dir.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The shape of the log that is in the directory, if there is one.
fn existing_geometry(dir: &Path) -> Result<Option<Geometry>, SegmentError> {
    let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let failed = |source| SegmentError::Io { path: path.clone(), what: "read", source };
        let file = File::open(&path).map_err(failed)?;
        let segment_bytes = file.metadata().map_err(failed)?.len();
        let mut header = [0; 52];
        if file.read_exact_at(&mut header, 0).is_ok()
            && let Some((page_bytes, segments)) = peek(&header, crc32c)
        {
            let segment_bytes = u32::try_from(segment_bytes).unwrap_or(SEGMENT_BYTES);
            return Ok(Some(Geometry { segments, segment_bytes, page_bytes }));
        }
    }
    Ok(None)
}
