//! Why the files of a log cannot be used, and what to do.

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
            Self::Io { path, what, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
        }
    }
}

impl core::error::Error for SegmentError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Locked { .. } | Self::InRam { .. } => None,
        }
    }
}
