//! Which files in a directory are the segments of a stream, and how many its ring has.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::shared::sync_directory;

/// What the header of a segment begins with, how long it is, and where it stands: see FORMAT.md. Once more it stands
/// at the start of the last sector.
const MAGIC: &[u8] = b"TRIBSEG";
const HEADER_BYTES: usize = 64;
const HEADER_PLACES: [u64; 2] = [0, SECTOR_BYTES];
const SECTOR_BYTES: u64 = 512;

/// The name of a segment's file, see FORMAT.md.
pub(super) fn file_name(stream: &str, segment: u32) -> String {
    format!("{stream}-{segment:05}.seg")
}

/// How many segments the ring of a stream has that `asked` are wanted of: more, if files behind these
/// were begun by a log. Any other file with such a name is a stray one.
pub(super) fn ring_in(dir: &Path, stream: &str, asked: u32) -> Result<u32> {
    let mut segments = asked;
    for (index, path) in files_of(dir, stream)? {
        if index >= segments && is_begun(&path) {
            segments = index.saturating_add(1);
        }
    }
    Ok(segments)
}

/// How many segments a ring has that is to be as long as its files are: those that were made ahead belong to it.
pub(super) fn ring_as_it_is(dir: &Path, stream: &str) -> Result<u32> {
    let begun = ring_in(dir, stream, 0)?;
    let there: BTreeSet<u32> = files_of(dir, stream)?.into_iter().map(|(index, _)| index).collect();
    Ok((begun..u32::MAX).find(|index| !there.contains(index)).unwrap_or(begun))
}

/// A file of a stream that this user may not read and write: whoever ran the daemon as another user left it.
pub(super) fn forbidden_in(dir: &Path, stream: &str) -> Result<Option<PathBuf>> {
    let is_forbidden =
        |path: &PathBuf| access(path, Access::READ_OK | Access::WRITE_OK) == Err(Errno::ACCESS);
    Ok(files_of(dir, stream)?.into_iter().map(|(_, path)| path).find(is_forbidden))
}

/// Removes the files behind a ring of so many segments that hold nothing: made ahead when the log was
/// to be larger, or given up. How many there were.
///
/// The names are gone for good before it returns: a header whose wipe was not durable yet could come
/// back with a power cut, and lengthen a ring that has closed without it.
pub(super) fn remove_behind(dir: &Path, stream: &str, segments: u32) -> Result<usize> {
    let behind = files_of(dir, stream)?.into_iter().filter(|(index, _)| *index >= segments);
    let blank: Vec<_> = behind.filter(|(_, path)| is_blank(path)).collect();
    for (_, path) in &blank {
        fs::remove_file(path)?;
    }
    if !blank.is_empty() {
        sync_directory(dir)?;
    }
    Ok(blank.len())
}

/// Bytes that the segments of all streams in a directory take.
pub(super) fn bytes_held(dir: &Path) -> Result<u64> {
    let mut bytes: u64 = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            bytes = bytes.saturating_add(fs::metadata(path)?.len());
        }
    }
    Ok(bytes)
}

/// The files that are named as segments of a stream, with their indices.
fn files_of(dir: &Path, stream: &str) -> Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(stream));
        let index =
            rest.and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".seg")?.parse().ok());
        if let Some(index) = index.filter(|index| *name == *file_name(stream, *index)) {
            found.push((index, entry.path()));
        }
    }
    Ok(found)
}

/// Whether a file has the header of a segment, of any version, in one of its places.
pub(super) fn is_begun(path: &Path) -> bool {
    // What cannot be read may be one.
    headers(path).is_none_or(|headers| headers.iter().any(|header| header.starts_with(MAGIC)))
}

/// Whether a file has no header in any of its places. Nothing in it could be read then: what seals the
/// frames of a segment stands in its header.
fn is_blank(path: &Path) -> bool {
    headers(path).is_some_and(|[in_front @ .., last]| {
        // There, frames of an earlier version may stand.
        in_front.as_flattened().iter().all(|byte| *byte == 0) && !last.starts_with(MAGIC)
    })
}

/// What stands in the places of a segment's header; `None` if that cannot be read.
fn headers(path: &Path) -> Option<[[u8; HEADER_BYTES]; 3]> {
    let file = File::open(path).ok()?;
    let last = file.metadata().ok()?.len().saturating_sub(SECTOR_BYTES);
    let [first, second] = HEADER_PLACES;
    let mut headers = [[0; HEADER_BYTES]; 3];
    for (header, at) in headers.iter_mut().zip([first, second, last]) {
        match file.read_exact_at(header, at) {
            // What a file does not hold is zeros.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return None,
            _ => {}
        }
    }
    Some(headers)
}
