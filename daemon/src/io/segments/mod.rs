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

use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, Media, ReadMedia, Tail};

pub use error::SegmentError;
pub use reader::SegmentReader;
use reader::Shared;

/// Bytes of one segment.
pub const SEGMENT_BYTES: u32 = 4 << 20;
/// Fewer make no ring.
const SEGMENTS_MIN: u32 = 2;
/// 256 GiB.
const SEGMENTS_MAX: u32 = 1 << 16;
/// Bytes written at once when a file is made.
const FILL_BYTES: usize = 256 << 10;

/// The files of one log, and the lock on its directory.
#[derive(Debug)]
pub struct SegmentFiles {
    geometry: Geometry,
    shared: Arc<Shared>,
    dir: PathBuf,
    file_system: String,
    /// Files from here on may have to be made.
    prewritten: u32,
    _lock: File,
}

impl SegmentFiles {
    /// Locks a directory, and opens the files in it. `bytes_max` bounds the log; one that is larger
    /// already keeps its size. A directory in RAM is refused unless `volatile`.
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
        let asked = u32::try_from(bytes_max / u64::from(SEGMENT_BYTES)).unwrap_or(SEGMENTS_MAX);
        let geometry = Geometry {
            segments: asked
                .clamp(SEGMENTS_MIN, SEGMENTS_MAX)
                .max(segments_in(dir).map_err(unusable)?),
            segment_bytes: SEGMENT_BYTES,
            page_bytes: place.page_bytes,
        };
        let shared = Arc::new(Shared::new(geometry, dir));
        Ok(Self {
            geometry,
            shared,
            dir: dir.to_owned(),
            file_system: place.file_system,
            prewritten: 0,
            _lock: lock,
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

    /// Makes one file ahead of its use, if one is missing. Whether one was.
    ///
    /// # Errors
    /// If there is no room: the ring closes when it is reached.
    pub fn prewrite_step(&mut self) -> Result<bool, SegmentError> {
        while self.prewritten < self.geometry.segments {
            let segment = self.prewritten;
            self.prewritten += 1;
            if !self.is_whole(segment) {
                self.make(segment)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_whole(&self, segment: u32) -> bool {
        let bytes = fs::metadata(path_of(&self.dir, segment)).map_or(0, |metadata| metadata.len());
        bytes >= u64::from(SEGMENT_BYTES)
    }

    /// Writes a segment's file in full; of one that was cut short, what is missing.
    fn make(&self, segment: u32) -> Result<(), SegmentError> {
        let path = path_of(&self.dir, segment);
        let failed = |source| SegmentError::Io { path: path.clone(), what: "make", source };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let begin = file.metadata().map_err(failed)?.len();
        let zeros = vec![0; FILL_BYTES];
        for at in (begin..u64::from(SEGMENT_BYTES)).step_by(FILL_BYTES) {
            let left = usize::try_from(u64::from(SEGMENT_BYTES) - at).unwrap_or(FILL_BYTES);
            file.write_all_at(&zeros[..left.min(FILL_BYTES)], at).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

impl ReadMedia for SegmentFiles {
    type Error = SegmentError;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        self.shared.read_file(segment, at, into)
    }
}

impl Media for SegmentFiles {
    fn prepare(&mut self, segment: u32) -> Result<(), SegmentError> {
        if self.is_whole(segment) { Ok(()) } else { self.make(segment) }
    }

    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), SegmentError> {
        let file = self.shared.existing_file(segment)?;
        file.write_all_at(bytes, u64::from(at)).map_err(|source| {
            let path = path_of(&self.dir, segment);
            SegmentError::Io { path, what: "write", source }
        })
    }

    fn barrier(&mut self, segment: u32) -> Result<(), SegmentError> {
        let file = self.shared.existing_file(segment)?;
        rustix::fs::fdatasync(&*file).map_err(|errno| {
            let path = path_of(&self.dir, segment);
            SegmentError::Io { path, what: "sync", source: errno.into() }
        })
    }

    fn settle(&mut self, segment: u32) -> Result<(), SegmentError> {
        let Some(file) = self.shared.file(segment)? else { return Ok(()) };
        self.barrier(segment)?;
        fadvise(&*file, 0, None, Advice::DontNeed).map_err(|errno| {
            let path = path_of(&self.dir, segment);
            SegmentError::Io { path, what: "read afresh", source: errno.into() }
        })
    }

    fn publish(&mut self, end: End, oldest: Offset, tail: Tail<'_>) {
        self.shared.publish(end, oldest, tail);
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
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SegmentError::Locked { dir: dir.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// How many segments the files in a directory make.
fn segments_in(dir: &Path) -> std::io::Result<u32> {
    let mut segments = 0;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let index =
            name.to_str().and_then(|name| name.strip_prefix("input-")?.strip_suffix(".seg"));
        let index: Option<u32> = index.and_then(|index| index.parse().ok());
        segments = segments.max(index.filter(|&index| index < SEGMENTS_MAX).map_or(0, |i| i + 1));
    }
    Ok(segments)
}
