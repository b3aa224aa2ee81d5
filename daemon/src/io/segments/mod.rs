//! The ring of segments on files: pre-written, recycled in place.
//!
//! Overwriting blocks that were written before costs one flush and changes no metadata; a file
//! that grows costs two. So a segment's file is written in full before it is used. Only the next
//! segment has to be ready: the rest is made ahead, in the background.

mod ahead;
mod error;
pub(super) mod note;
mod place;
mod prospect;
mod reader;
mod ring;
mod shared;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation, fadvise, fdatasync, flock};
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, Media, Noted, ReadMedia, Tail};

pub use error::SegmentError;
use note::NoteKeeper;
pub use place::Place;
pub use prospect::Prospect;
pub use reader::SegmentReader;
use ring::{forbidden_in, is_begun, remove_behind, ring_as_it_is, ring_in};
#[cfg(test)]
use shared::FILES_OPEN_MAX;
use shared::{Shared, sync_directory};

use super::files::{LOG_DIR_MODE, LOG_FILE_MODE};

/// The stream of what devices publish.
pub const INPUT: &str = "input";
/// The stream of commands, for devices that stay away for longer than the input reaches back.
pub const COMMANDS: &str = "downlink";
/// The stream of events that Kafka will never take.
pub const DEAD_LETTER: &str = "dead-letter";
/// Locked by who has the directory, as the directory itself is: the file may be taken away.
const LOCK: &str = "LOCK";
/// Bytes of one segment.
pub const SEGMENT_BYTES: u32 = 4 << 20;
/// Fewer make no ring.
const SEGMENTS_MIN: u32 = 2;
const SEGMENTS_MAX: u32 = 1 << 16;
/// The longest ring: 256 GiB.
pub const BYTES_MAX: u64 = SEGMENTS_MAX as u64 * SEGMENT_BYTES as u64;

/// The files of one log, and the lock on its directory.
#[derive(Debug)]
pub struct SegmentFiles {
    shared: Arc<Shared>,
    note: NoteKeeper,
    place: Place,
    begins: Begins,
    /// Locked as long as this lives; the kernel unlocks it however the process ends. Of the input:
    /// the other streams are opened by who has it.
    _lock: Option<Locks>,
}

/// Which segments may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Any,
    /// None that holds something.
    Unused,
    /// This one was the next: none behind it is begun in its place, which would give it up as well.
    None(u32),
}

impl SegmentFiles {
    /// Locks a directory, and opens the files in it. `bytes_max` bounds the log; one that is larger
    /// already keeps its size. A directory in RAM is refused unless `volatile`.
    ///
    /// # Errors
    /// If it cannot be used; the message says what to do.
    pub fn open(dir: &Path, bytes_max: u64, volatile: bool) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        // What is refused is left as it was.
        let place = Prospect::of(dir, volatile)?.into_place();
        make_directory(dir, DirBuilder::new().mode(LOG_DIR_MODE)).map_err(unusable)?;
        let lock = lock_directory(dir)?;
        Self::of_stream(dir, (INPUT, bytes_max), (place, Some(lock)))
    }

    /// Locks a directory, and opens the files in it for a log that gives nothing up: it goes on in what is
    /// unused. The ring is as long as its files are.
    ///
    /// # Errors
    /// If it cannot be used; the message says what to do.
    pub fn open_to_keep(dir: &Path) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        let segments = ring_as_it_is(dir, INPUT).map_err(unusable)?;
        let files = Self::open(dir, u64::from(segments) * u64::from(SEGMENT_BYTES), true)?;
        Ok(Self { begins: Begins::Unused, ..files })
    }

    /// Opens the files of another stream in a directory that this process has locked.
    ///
    /// # Errors
    /// If they cannot be used; the message says what to do.
    pub fn open_another(
        dir: &Path,
        stream: &'static str,
        bytes_max: u64,
    ) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        let place = place::look_at(dir).map_err(unusable)?;
        Self::of_stream(dir, (stream, bytes_max), (place, None))
    }

    /// Whether a stream was ever used.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_there(dir: &Path, stream: &str) -> std::io::Result<bool> {
        Ok(ring_in(dir, stream, 0)? > 0)
    }

    fn of_stream(
        dir: &Path,
        (stream, bytes_max): (&'static str, u64),
        (place, lock): (Place, Option<Locks>),
    ) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        let asked = u32::try_from(bytes_max / u64::from(SEGMENT_BYTES)).unwrap_or(SEGMENTS_MAX);
        let asked = asked.clamp(SEGMENTS_MIN, SEGMENTS_MAX);
        if let Some(path) = forbidden_in(dir, stream).map_err(unusable)? {
            // Nothing is wrong with it: to go on without would lose what it holds.
            let source = std::io::ErrorKind::PermissionDenied.into();
            return Err(SegmentError::Io { path, what: "open", source });
        }
        let there = ring_in(dir, stream, asked).map_err(unusable)?;
        let geometry = Geometry {
            segments: there.min(SEGMENTS_MAX),
            segment_bytes: SEGMENT_BYTES,
            page_bytes: place.page_bytes,
        };
        let shared = Arc::new(Shared::new((geometry, asked), dir, stream));
        let note = NoteKeeper::new(dir, stream);
        Ok(Self { shared, note, place, begins: Begins::Any, _lock: lock })
    }

    /// Sees to it that nothing is given up that is to be kept.
    fn check_begin(&mut self, segment: u32) -> Result<(), SegmentError> {
        let path = self.shared.path(segment);
        if self.begins == Begins::Unused && path.exists() && is_begun(&path) {
            self.begins = Begins::None(segment);
        }
        let Begins::None(kept) = self.begins else { return Ok(()) };
        Err(SegmentError::Kept { path: self.shared.path(kept) })
    }

    /// Has the files made that are missing, while the log is used.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn make_ahead(&self) -> std::io::Result<()> {
        ahead::make_ahead(&self.shared)
    }

    /// For reading what is durable, on any thread.
    #[must_use]
    pub fn reader(&self) -> SegmentReader {
        SegmentReader::new(Arc::clone(&self.shared))
    }

    /// What the directory lies on.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Has the files follow a size that was lowered: those that hold nothing and lie behind the ring are
    /// removed. Where the ring is longer than was asked for, that is told. Before the log is recovered.
    pub fn follow_size(&self) {
        let Shared { geometry, .. } = &*self.shared;
        let (dir, stream) = (self.shared.dir(), self.shared.stream());
        match remove_behind(dir, stream, geometry.segments) {
            Ok(0) => {}
            Ok(files) => tracing::info!(stream, files, "files that hold nothing are removed"),
            Err(error) => tracing::warn!(stream, %error, "files that hold nothing stay"),
        }
        if let Some(larger) = self.shared.larger() {
            tracing::warn!("{larger}");
        }
    }

    /// Bytes that the log may take.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.shared.bytes_max()
    }
}

impl ReadMedia for SegmentFiles {
    type Error = SegmentError;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        self.shared.read_file(segment, at, into)
    }

    fn noted(&self) -> Option<Noted> {
        note::read(self.shared.dir(), self.shared.stream())
    }
}

impl Media for SegmentFiles {
    fn prepare(&mut self, segment: u32) -> Result<(), SegmentError> {
        self.check_begin(segment)?;
        self.shared.make(segment).inspect_err(|error| self.shared.note_smaller(error))
    }

    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), SegmentError> {
        let written = self.shared.existing_file(segment)?.write_all_at(bytes, u64::from(at));
        written.map_err(|source| self.shared.failed(segment, "write", source))
    }

    fn barrier(&mut self, segment: u32) -> Result<(), SegmentError> {
        let file = self.shared.existing_file(segment)?;
        fdatasync(&*file).map_err(|errno| self.shared.failed(segment, "sync", errno.into()))
    }

    fn settle(&mut self, segment: u32) -> Result<(), SegmentError> {
        let Some(file) = self.shared.file(segment)? else { return Ok(()) };
        self.barrier(segment)?;
        // Pages that the kernel holds after a failed barrier are not what the device has.
        fadvise(&*file, 0, None, Advice::DontNeed)
            .map_err(|errno| self.shared.failed(segment, "read afresh", errno.into()))
    }

    fn publish(&mut self, end: End, oldest: Offset, tail: Tail<'_>) {
        // Before anybody is told.
        self.note.note(end, tail.header.log_id());
        self.shared.publish(end, oldest, tail);
    }
}

/// Makes a directory whose name survives a power cut. Those around it are made as this user makes
/// directories.
fn make_directory(dir: &Path, builder: &DirBuilder) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_directory(parent, &DirBuilder::new())?;
    builder.create(dir)?;
    sync_directory(parent)
}

/// The lock file and, where the file system can lock it, the directory.
type Locks = (File, Option<File>);

/// Takes the directory's locks, which are let go when the process ends, however it ends.
fn lock_directory(dir: &Path) -> Result<Locks, SegmentError> {
    let failed = |source| SegmentError::Directory { dir: dir.to_owned(), source };
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(LOG_FILE_MODE);
    let file = options.open(dir.join(LOCK)).map_err(failed)?;
    lock_one(dir, &file)?.map_err(failed)?;
    let itself = File::open(dir).map_err(failed)?;
    let is_locked = lock_one(dir, &itself)?.is_ok();
    Ok((file, is_locked.then_some(itself)))
}

/// Locks the file or the directory; `Ok(Err(…))` if that is not possible there.
fn lock_one(dir: &Path, file: &File) -> Result<std::io::Result<()>, SegmentError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SegmentError::Locked { dir: dir.to_owned() }),
        done => Ok(done.map_err(Into::into)),
    }
}
