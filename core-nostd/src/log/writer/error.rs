//! What keeps a log from taking frames or making them durable.

use core::fmt;

/// Why a frame was not appended. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// It does not fit in this segment, or this segment has failed:
    /// [`Log::roll`](super::Log::roll), then again.
    SegmentFull,
    /// It never fits.
    TooLarge {
        /// Bytes of its body.
        bytes: usize,
        /// Bytes that a body may have.
        bytes_max: usize,
    },
    /// Two segments in a row could not be written: the log can only be read.
    ReadOnly,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentFull => f.write_str("the segment is full"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "a frame of {bytes} bytes is larger than {bytes_max} bytes")
            }
            Self::ReadOnly => f.write_str("the log cannot be written any more"),
        }
    }
}

impl core::error::Error for AppendError {}

/// Why what was appended is not durable. [`Log::failure`](super::Log::failure) has the device's own
/// words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The segment cannot be written any more. Nothing is lost yet, everything is in memory:
    /// [`Log::roll`](super::Log::roll), then [`Log::commit`](super::Log::commit).
    SegmentFailed,
    /// The next segment could not be written either: the log can only be read until it is opened
    /// again. What was not acknowledged is lost.
    ReadOnly,
    /// The control records in force leave no room for events: nothing was done.
    SnapshotTooLarge {
        /// Their bytes.
        bytes: usize,
        /// Bytes that they may have.
        bytes_max: usize,
    },
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentFailed => f.write_str("a segment of the log cannot be written any more"),
            Self::ReadOnly => f.write_str(
                "two segments in a row cannot be written; the log can only be read now: check the \
                 disk and start again",
            ),
            Self::SnapshotTooLarge { bytes, bytes_max } => {
                write!(f, "control records of {bytes} bytes are more than {bytes_max} bytes")
            }
        }
    }
}

impl core::error::Error for CommitError {}
