//! Which files in a directory are the segments of a stream, and how many its ring has.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the header of a segment begins with, see FORMAT.md.
const MAGIC: &[u8] = b"TRIBSEG";

/// The name of a segment's file, see FORMAT.md.
pub(super) fn file_name(stream: &str, segment: u32) -> String {
    format!("{stream}-{segment:05}.seg")
}

/// How many segments the ring of a stream has that `asked` are wanted of: more, if files behind these
/// were begun by a log. Any other file with such a name is a stray one.
pub(super) fn ring_in(dir: &Path, stream: &str, asked: u32) -> std::io::Result<u32> {
    let mut segments = asked;
    for (index, path) in files_of(dir, stream)? {
        if index >= segments && is_begun(&path) {
            segments = index.saturating_add(1);
        }
    }
    Ok(segments)
}

/// The files that are named as segments of a stream, with their indices.
fn files_of(dir: &Path, stream: &str) -> std::io::Result<Vec<(u32, PathBuf)>> {
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
fn is_begun(path: &Path) -> bool {
    let mut front = [0; 512 + MAGIC.len()];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut front, 0));
    // What cannot be read may be one.
    let failed = read.is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof);
    failed || front.starts_with(MAGIC) || front.ends_with(MAGIC)
}
