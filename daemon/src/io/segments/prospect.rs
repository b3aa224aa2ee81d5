//! What a start would find where a directory is to be, without making or changing anything.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, access};

use super::place::{self, Place};
use super::ring::bytes_held;
use super::{LOCK, SegmentError};

/// What a start would find where a directory is to be.
#[derive(Debug)]
pub struct Prospect {
    place: Place,
    /// Bytes that the files of a log take there already.
    held: u64,
}

impl Prospect {
    /// Looks at a directory; at the one that it would be made in, if it is not there.
    ///
    /// # Errors
    /// If a log cannot live there, or only one that is `volatile`; the message says what to do.
    pub fn of(dir: &Path, volatile: bool) -> Result<Self, SegmentError> {
        let unusable = |source| SegmentError::Directory { dir: dir.to_owned(), source };
        let nearest = nearest(dir).map_err(unusable)?;
        let place = place::look_at(&nearest).map_err(unusable)?;
        if place.in_ram && !volatile {
            let file_system = place.file_system;
            return Err(SegmentError::InRam { dir: dir.to_owned(), file_system });
        }
        may_write(&nearest).map_err(unusable)?;
        let held = if dir.is_dir() { bytes_held(dir).map_err(unusable)? } else { 0 };
        Ok(Self { place, held })
    }

    /// What it lies on.
    pub(super) fn into_place(self) -> Place {
        self.place
    }

    /// What is to be said if a log of so many bytes has no room there.
    #[must_use]
    pub fn shortage(&self, size: u64) -> Option<String> {
        let Place { file_system, bytes, bytes_free, .. } = &self.place;
        let room = bytes_free.saturating_add(self.held);
        // Some file systems, in RAM or far away, do not tell how large they are.
        (*bytes > 0 && size > room).then(|| {
            format!(
                "`size` under [log] is {}, and its {file_system} has room for {}: once that is used up \
                 the log stays as small; free space there, or lower `size`",
                ByteSize(size),
                ByteSize(room)
            )
        })
    }
}

/// Whether the lock can be taken there, or made.
fn may_write(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let may = |path: &Path, what| access(path, what).map_err(io::Error::from);
    match may(&dir.join(LOCK), Access::WRITE_OK) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            may(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        }
        known => known,
    }
}

/// The directory itself, or the innermost of those around it that is there.
fn nearest(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let found = dir.ancestors().find(|place| fs::symlink_metadata(place).is_ok());
    found.map(Path::to_owned).ok_or_else(|| ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_room_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("a/b");
        let mut prospect = Prospect::of(&inside, true).unwrap();
        assert!(!inside.exists() && prospect.held == 0);
        (prospect.place.bytes, prospect.place.bytes_free) = (100 << 20, 20 << 20);
        assert!(prospect.shortage(20 << 20).is_none());
        let told = prospect.shortage(21 << 20).unwrap();
        assert!(told.contains("21.0 MiB") && told.contains("20.0 MiB"), "{told}");
        prospect.held = 1 << 20;
        assert!(prospect.shortage(21 << 20).is_none(), "what it has it need not get");
        (prospect.place.bytes, prospect.place.bytes_free) = (0, 0);
        assert!(prospect.shortage(21 << 20).is_none(), "nobody knows");
    }
}
