//! The files of a log as they lie there, for looking at them: nothing is written, nothing is locked.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, Media, Noted, ReadMedia, Tail};

use super::segments::note;

/// What the files of a segment are called: `<stream>-<index, 5 digits or more>.seg`.
const SUFFIX: &str = ".seg";
/// Where the page size stands in a segment's header, and the copies of that in its file of so many bytes.
const PAGE_BYTES_AT: u64 = 48;
const fn header_places(bytes: u32) -> [u64; 3] {
    [0, 512, (bytes as u64).saturating_sub(512)]
}
/// Of a log that has no header that could tell: the first that makes whole pages of a segment.
const PAGE_BYTES: [u32; 2] = [4096, 1024];
/// Files that are held open.
const OPEN_MAX: usize = 64;

/// The files of one stream of a log.
#[derive(Debug)]
pub struct LogFiles {
    dir: PathBuf,
    stream: String,
    geometry: Geometry,
    /// How many there are, and bytes of all.
    files: u32,
    bytes: u64,
    open: RefCell<BTreeMap<u32, File>>,
    /// The page that is durable in a slot: segment, place, bytes.
    tail: Option<(u32, u32, Vec<u8>)>,
}

impl LogFiles {
    /// The files of `stream` in a directory.
    ///
    /// # Errors
    /// If there are none, or they cannot be read.
    pub fn open(dir: &Path, stream: &str) -> Result<Self> {
        let (mut segments, mut longest, mut files, mut bytes) = (0, 0, 0, 0);
        for (name, index, path) in segment_files(dir)? {
            if name != stream {
                continue;
            }
            let length = fs::metadata(path)?.len();
            segments = segments.max(index.saturating_add(1));
            longest = longest.max(length);
            files += 1;
            bytes += length;
        }
        if segments == 0 {
            return Err(Error::new(ErrorKind::NotFound, "no file of a log is there"));
        }
        let mut log = Self {
            dir: dir.to_owned(),
            stream: stream.to_owned(),
            geometry: Geometry {
                segments: segments.max(2),
                segment_bytes: u32::try_from(longest).unwrap_or(u32::MAX),
                page_bytes: PAGE_BYTES[0],
            },
            files,
            bytes,
            open: RefCell::default(),
            tail: None,
        };
        log.geometry.page_bytes = log.page_bytes(segments);
        if !log.geometry.is_sound() {
            let text = format!("files of {longest} bytes are no segments of a log");
            return Err(Error::new(ErrorKind::InvalidData, text));
        }
        Ok(log)
    }

    /// The page size that the first header tells.
    fn page_bytes(&self, segments: u32) -> u32 {
        let sound =
            |page_bytes: &u32| Geometry { page_bytes: *page_bytes, ..self.geometry }.is_sound();
        let told = |(index, at)| {
            let mut bytes = [0; 4];
            self.read_file(index, at + PAGE_BYTES_AT, &mut bytes).ok()?;
            Some(u32::from_le_bytes(bytes)).filter(sound)
        };
        let copies = header_places(self.geometry.segment_bytes);
        let mut places = (0..segments).flat_map(|index| copies.map(|at| (index, at)));
        let guess = || PAGE_BYTES.into_iter().find(sound).unwrap_or(PAGE_BYTES[0]);
        places.find_map(told).unwrap_or_else(guess)
    }

    /// The last page, which the daemon that writes has told.
    pub fn set_tail(&mut self, segment: u32, at: u32, bytes: Vec<u8>) {
        self.tail = Some((segment, at, bytes));
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> u32 {
        self.files
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what there is; behind the end of a file there are zeros.
    fn read_file(&self, segment: u32, at: u64, into: &mut [u8]) -> Result<()> {
        let mut open = self.open.borrow_mut();
        if !open.contains_key(&segment) {
            let path = self.dir.join(format!("{}-{segment:05}{SUFFIX}", self.stream));
            match File::open(path) {
                Ok(file) => {
                    if open.len() >= OPEN_MAX {
                        open.pop_first();
                    }
                    open.insert(segment, file);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut done = 0;
        while let Some(file) = open.get(&segment)
            && done < into.len()
        {
            match file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        into[done..].fill(0);
        Ok(())
    }
}

impl ReadMedia for LogFiles {
    type Error = Error;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<()> {
        self.read_file(segment, u64::from(at), into)?;
        let Some((of, page_at, bytes)) = &self.tail else { return Ok(()) };
        let (begin, page_at) = (at as usize, *page_at as usize);
        let (from, to) = (begin.max(page_at), (begin + into.len()).min(page_at + bytes.len()));
        if *of == segment && from < to {
            into[from - begin..to - begin].copy_from_slice(&bytes[from - page_at..to - page_at]);
        }
        Ok(())
    }

    fn noted(&self) -> Option<Noted> {
        note::read(&self.dir, &self.stream)
    }
}

/// So that recovery can look: what would write fails.
impl Media for LogFiles {
    fn prepare(&mut self, _: u32) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&mut self, _: u32, _: u32, _: &[u8]) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn barrier(&mut self, _: u32) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn settle(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self, _: End, _: Offset, _: Tail<'_>) {}
}

/// The segment files in a directory: stream, index, path.
fn segment_files(dir: &Path) -> Result<Vec<(String, u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.rsplit_once('-'));
        let Some((stream, index)) = parts else { continue };
        if let Ok(index) = index.parse() {
            found.push((stream.to_owned(), index, entry.path()));
        }
    }
    Ok(found)
}

/// The streams whose files lie in a directory, in the order of their names.
///
/// # Errors
/// If it cannot be listed.
pub fn streams(dir: &Path) -> Result<Vec<String>> {
    let mut streams: Vec<String> =
        segment_files(dir)?.into_iter().map(|(stream, ..)| stream).collect();
    streams.sort_unstable();
    streams.dedup();
    Ok(streams)
}

/// Whether a daemon has the directory. The look itself takes a shared lock for a moment.
///
/// # Errors
/// If that cannot be found out.
pub fn is_locked(dir: &Path) -> Result<bool> {
    match OpenOptions::new().read(true).open(dir.join("LOCK")) {
        Ok(lock) => match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(errno.into()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where an export goes: a new file, or standard output.
///
/// # Errors
/// If the file exists already or cannot be made.
pub fn output(path: Option<&Path>) -> Result<Box<dyn std::io::Write>> {
    Ok(match path {
        Some(path) => Box::new(File::create_new(path)?),
        None => Box::new(std::io::stdout()),
    })
}
