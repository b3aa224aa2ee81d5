//! Why the files of a log cannot be used, and what to do.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Why the files of a log cannot be used.
#[derive(Debug)]
pub enum SegmentError {
    /// Another daemon has the directory.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory does not survive a power cut.
    InRam {
        /// The directory.
        dir: PathBuf,
        /// What is under it.
        file_system: String,
    },
    /// The directory cannot be made, read or written.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A segment would have to make room, and none may.
    Kept {
        /// Its file.
        path: PathBuf,
    },
    /// A file of the log fails.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl core::fmt::Display for SegmentError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Locked { dir } => write!(
                f,
                "another tributary uses {}: stop it, or give this one another `dir` under [log]",
                dir.display()
            ),
            Self::InRam { dir, file_system } => write!(
                f,
                "{} lies on {file_system}, which a power cut or a restart empties: choose a `dir` \
                 under [log] on a disk or card, or say `volatile = true` to accept it",
                dir.display()
            ),
            Self::Directory { dir, source } => write!(
                f,
                "cannot use {}: {source}; it must be a directory that this user may write to",
                dir.display()
            ),
            Self::Kept { path } => write!(
                f,
                "the log can only go on where {} makes room, and a repair gives up nothing that can \
                 be read: start the daemon, which mends the log as well, and keeps what sessions \
                 told there",
                path.display()
            ),
            Self::Io { path, what, source } => {
                write!(f, "cannot {what} {}: {source}{}", path.display(), advice(source))
            }
        }
    }
}

/// What to do about an error of the system, if that can be told.
fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free space there, or give the log a smaller `size` under [log]"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "; the kernel makes a file system read-only when its device fails: see dmesg, check it \
             with fsck, or replace the card"
        }
        ErrorKind::PermissionDenied => "; this user must be allowed to read and write it",
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            "; the device fails: see dmesg, save what is on it, and replace it"
        }
        _ => "",
    }
}

impl core::error::Error for SegmentError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Locked { .. } | Self::InRam { .. } | Self::Kept { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do() {
        let error = |errno: rustix::io::Errno| {
            let source = std::io::Error::from(errno);
            SegmentError::Io { path: "/d/input-00001.seg".into(), what: "make", source }.to_string()
        };
        assert!(error(rustix::io::Errno::NOSPC).ends_with("a smaller `size` under [log]"));
        assert!(error(rustix::io::Errno::IO).contains("replace it"));
        assert!(error(rustix::io::Errno::ROFS).contains("fsck"));
    }
}
