//! Reading the log on other threads while it is written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tributary_core::Offset;
use tributary_core::log::{End, Geometry, ReadMedia, Tail};

use super::{SegmentError, path_of};
use crate::sync::lock;

/// What the writer and all readers share.
#[derive(Debug)]
pub(super) struct Shared {
    geometry: Geometry,
    dir: PathBuf,
    files: Mutex<Vec<Option<Arc<File>>>>,
    durable: Mutex<Durable>,
}

/// The durable end, and the page that is durable only in a slot.
#[derive(Debug)]
struct Durable {
    end: End,
    oldest: Offset,
    segment: u32,
    at: u32,
    bytes: Vec<u8>,
}

impl Shared {
    pub(super) fn new(geometry: Geometry, dir: &Path) -> Self {
        let end = End { offset: Offset(0), sequence: 0, segment: 0, at: 0 };
        Self {
            geometry,
            dir: dir.to_owned(),
            files: Mutex::new(vec![None; geometry.segments as usize]),
            durable: Mutex::new(Durable {
                end,
                oldest: Offset(0),
                segment: 0,
                at: 0,
                bytes: Vec::new(),
            }),
        }
    }

    pub(super) fn publish(&self, end: End, oldest: Offset, tail: Tail<'_>) {
        let mut durable = lock(&self.durable);
        durable.end = end;
        durable.oldest = oldest;
        durable.segment = tail.segment;
        durable.at = tail.at;
        durable.bytes.clear();
        durable.bytes.extend_from_slice(tail.bytes);
    }

    /// Copies what `into` has of the last page and behind it; how much of `into` lies before.
    fn copy_tail(&self, segment: u32, at: u32, into: &mut [u8]) -> usize {
        let durable = lock(&self.durable);
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
        let slot = &mut files[segment as usize];
        if slot.is_none() {
            let path = path_of(&self.dir, segment);
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => *slot = Some(Arc::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(SegmentError::Io { path, what: "open", source }),
            }
        }
        Ok(slot.clone())
    }

    /// A segment's file, which was made.
    pub(super) fn existing_file(&self, segment: u32) -> Result<Arc<File>, SegmentError> {
        self.file(segment)?.ok_or_else(|| SegmentError::Io {
            path: path_of(&self.dir, segment),
            what: "write",
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "the file is gone"),
        })
    }

    /// Reads from a file as it is; what it does not hold is zeros.
    pub(super) fn read_file(
        &self,
        segment: u32,
        at: u32,
        into: &mut [u8],
    ) -> Result<(), SegmentError> {
        let mut done = 0;
        if let Some(file) = self.file(segment)? {
            while done < into.len() {
                match file.read_at(&mut into[done..], u64::from(at) + done as u64) {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source) => {
                        let path = path_of(&self.dir, segment);
                        return Err(SegmentError::Io { path, what: "read", source });
                    }
                }
            }
        }
        into[done..].fill(0);
        Ok(())
    }
}

/// Reads what is durable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    shared: Arc<Shared>,
}

impl SegmentReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The durable end.
    #[must_use]
    pub fn end(&self) -> End {
        lock(&self.shared.durable).end
    }

    /// The oldest offset that is kept.
    #[must_use]
    pub fn oldest(&self) -> Offset {
        lock(&self.shared.durable).oldest
    }
}

impl ReadMedia for SegmentReader {
    type Error = SegmentError;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), SegmentError> {
        // The last page first: should the log go on meanwhile, the file has all that it held.
        let in_file = self.shared.copy_tail(segment, at, into);
        self.shared.read_file(segment, at, &mut into[..in_file])
    }
}
