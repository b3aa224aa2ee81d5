//! Looking at a log from outside: inspect, verify, export, repair.
//!
//! A running daemon tells how far its log is durable, and everything below is read from the files.
//! Without one recovery looks at the files, without writing, and finds the end that a start would.

mod end;
mod export;
mod line;
mod opened;
mod repair;
mod survey;
mod verify;

use std::path::PathBuf;

pub use end::LogEnd;
pub use export::{Export, Exported, Format, Selection};
pub use line::parse_time;
pub(crate) use line::{EventLine, GapLine};
pub use opened::{OpenedLog, Pages, Source};
pub use repair::{Repaired, repair};
pub use survey::{Hint, Segment, Summary, survey};
pub use verify::{Verified, verify};

pub use crate::io::segments::INPUT;

/// Bytes that are read at once; grown where a frame is larger.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a log cannot be looked at.
#[derive(Debug)]
pub enum ToolError {
    /// The directory or the stream; the text says what to do.
    Directory(String),
    /// A request that makes no sense; the text says what would.
    Request(String),
    /// Where the output goes.
    Output(std::io::Error),
}

impl core::fmt::Display for ToolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Directory(why) | Self::Request(why) => f.write_str(why),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl core::error::Error for ToolError {}

/// Which log.
#[derive(Clone, Debug)]
pub struct Place {
    /// The data directory.
    pub dir: PathBuf,
    /// The stream's name.
    pub stream: String,
}
