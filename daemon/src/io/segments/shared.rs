//! What the log, its readers and the one who writes ahead share: files, and the durable end.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytesize::ByteSize;
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, HeaderCopy, Tail};

use super::ring::file_name;
use super::{SEGMENT_BYTES, SegmentError};
use crate::io::files::LOG_FILE_MODE;
use crate::sync::lock;

/// What a file is made of: so much is written at once.
static FILL: [u8; 64 << 10] = [0; 64 << 10];

/// Files of a stream that are open at the same time: a log may have more than a process may open.
pub(super) const FILES_OPEN_MAX: usize = 32;

/// What the writer and all readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) geometry: Geometry,
    /// How many segments the stream was to have.
    asked: u32,
    dir: PathBuf,
    stream: &'static str,
    /// Those that are open; the one that was used last is the last.
    files: Mutex<VecDeque<(u32, Arc<File>)>>,
    /// Held while a file is made longer. Only files that are not whole are: so zeros never go over
    /// a segment that is in use.
    making: Mutex<()>,
    durable: Mutex<Durable>,
    /// Why a file could not be made.
    smaller: Mutex<Option<String>>,
    /// Reads that have failed.
    failures: AtomicU64,
}

/// The durable end, and the page that is durable only in a slot, with the header of its segment.
#[derive(Debug)]
struct Durable {
    end: End,
    oldest: Offset,
    segment: u32,
    at: u32,
    bytes: Vec<u8>,
    header: Option<HeaderCopy>,
}

impl Shared {
    pub(super) fn new(
        (geometry, asked): (Geometry, u32),
        dir: &Path,
        stream: &'static str,
    ) -> Self {
        let durable = Durable {
            end: End { offset: Offset(0), sequence: 0, segment: 0, at: 0, oldest: Offset(0) },
            oldest: Offset(0),
            segment: 0,
            at: 0,
            bytes: Vec::new(),
            header: None,
        };
        Self {
            geometry,
            asked,
            dir: dir.to_owned(),
            stream,
            files: Mutex::default(),
            making: Mutex::new(()),
            durable: Mutex::new(durable),
            smaller: Mutex::new(None),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) const fn stream(&self) -> &'static str {
        self.stream
    }

    pub(super) fn publish(&self, end: End, oldest: Offset, tail: Tail<'_>) {
        let mut durable = lock(&self.durable);
        durable.end = end;
        durable.oldest = oldest;
        durable.segment = tail.segment;
        durable.at = tail.at;
        durable.header = Some(tail.header);
        durable.bytes.clear();
        durable.bytes.extend_from_slice(tail.bytes);
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes note of why a file could not be made.
    pub(super) fn note_smaller(&self, error: &SegmentError) {
        *lock(&self.smaller) = Some(error.to_string());
    }

    pub(super) fn smaller(&self) -> Option<String> {
        lock(&self.smaller).clone()
    }

    /// Bytes that the ring takes.
    pub(super) fn bytes_max(&self) -> u64 {
        bytes_of(self.geometry.segments)
    }

    /// What is to be said of a ring that is longer than it was to be.
    pub(super) fn larger(&self) -> Option<String> {
        (self.asked < self.geometry.segments).then(|| {
            format!(
                "the log keeps {} in its stream {}, where `size` under [log] leaves it {}: files that \
                 were begun stay; for a smaller log stop the daemon when all is shipped, and give it \
                 another `dir`",
                ByteSize(self.bytes_max()),
                self.stream,
                ByteSize(bytes_of(self.asked))
            )
        })
    }

    pub(super) fn end(&self) -> End {
        lock(&self.durable).end
    }

    pub(super) fn oldest(&self) -> Offset {
        lock(&self.durable).oldest
    }

    /// The durable end, the oldest offset, and the bytes of the last page up to the end.
    pub(super) fn durable(&self) -> (End, Offset, Vec<u8>) {
        let durable = lock(&self.durable);
        (durable.end, durable.oldest, durable.bytes.clone())
    }

    /// Copies what `into` has of the last page and behind it, or the newest segment's header; how much of
    /// `into` lies before, and has to be read.
    pub(super) fn copy_tail(&self, segment: u32, at: u32, into: &mut [u8]) -> usize {
        let durable = lock(&self.durable);
        if durable.header.is_some_and(|header| header.answers(segment, at, into)) {
            return 0;
        }
        let before = (durable.at as usize).saturating_sub(at as usize);
        if durable.segment != segment || before >= into.len() {
            return into.len();
        }
        let skipped = (at as usize).saturating_sub(durable.at as usize);
        let bytes = durable.bytes.get(skipped..).unwrap_or_default();
        let count = bytes.len().min(into.len() - before);
        let (page, behind) = into[before..].split_at_mut(count);
        page.copy_from_slice(&bytes[..count]);
        behind.fill(0);
        before
    }

    /// A segment's file; `None` if it was not made yet.
    pub(super) fn file(&self, segment: u32) -> Result<Option<Arc<File>>, SegmentError> {
        let mut files = lock(&self.files);
        let known = files.iter().rposition(|(other, _)| *other == segment);
        let (_, file) = match known.and_then(|index| files.remove(index)) {
            Some(known) => known,
            None => match OpenOptions::new().read(true).write(true).open(self.path(segment)) {
                Ok(file) => (segment, Arc::new(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(self.failed(segment, "open", source)),
            },
        };
        files.push_back((segment, Arc::clone(&file)));
        if files.len() > FILES_OPEN_MAX {
            files.pop_front();
        }
        Ok(Some(file))
    }

    /// How many files are open.
    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        lock(&self.files).len()
    }

    /// A segment's file, which was made.
    pub(super) fn existing_file(&self, segment: u32) -> Result<Arc<File>, SegmentError> {
        let gone = || Error::new(ErrorKind::NotFound, "the file is gone");
        self.file(segment)?.ok_or_else(|| self.failed(segment, "write", gone()))
    }

    /// How many reads have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Reads from a file as it is; what it does not hold is zeros.
    pub(super) fn read_file(
        &self,
        segment: u32,
        at: u32,
        into: &mut [u8],
    ) -> Result<(), SegmentError> {
        self.try_read_file(segment, at, into).inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn try_read_file(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        let mut done = 0;
        if let Some(file) = self.file(segment)? {
            while done < into.len() {
                match file.read_at(&mut into[done..], u64::from(at) + done as u64) {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(source) => return Err(self.failed(segment, "read", source)),
                }
            }
        }
        into[done..].fill(0);
        Ok(())
    }

    /// Writes a segment's file in full; of one that was cut short, what is missing.
    pub(super) fn make(&self, segment: u32) -> Result<(), SegmentError> {
        self.make_longer(segment, u64::from(SEGMENT_BYTES)).map(drop)
    }

    /// Makes a segment's file longer by so many bytes at most; `false` if it was whole.
    pub(super) fn make_longer(&self, segment: u32, bytes: u64) -> Result<bool, SegmentError> {
        let making = lock(&self.making);
        let failed = |source| self.failed(segment, "make", source);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(LOG_FILE_MODE);
        let file = options.open(self.path(segment)).map_err(failed)?;
        // Of a file whose length is not known nothing may be written over.
        let begin = file.metadata().map_err(failed)?.len();
        let end = u64::from(SEGMENT_BYTES).min(begin.saturating_add(bytes));
        if begin >= end {
            return Ok(false);
        }
        for at in (begin..end).step_by(FILL.len()) {
            let zeros = FILL.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            file.write_all_at(&FILL[..zeros], at).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        if begin == 0 {
            sync_directory(&self.dir).map_err(failed)?;
        }
        drop(making);
        Ok(true)
    }

    /// An error of a segment's file.
    pub(super) fn failed(&self, segment: u32, what: &'static str, source: Error) -> SegmentError {
        SegmentError::Io { path: self.path(segment), what, source }
    }

    pub(super) fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(file_name(self.stream, segment))
    }
}

fn bytes_of(segments: u32) -> u64 {
    u64::from(segments) * u64::from(SEGMENT_BYTES)
}

/// Has the names in a directory survive a power cut.
pub(super) fn sync_directory(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}
