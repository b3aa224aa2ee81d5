//! The log: a ring of equal segments, recycled in place, of one stream.
//!
//! ```text
//! segment:  header page | slot A | slot B | frame frame frame … (dense)
//! ```
//!
//! A commit appends frames and ends with one barrier. Full pages go to their place once; the
//! unfinished last page goes to slot A or B, alternately. So no write of a commit ever goes over
//! the only durable copy of acknowledged bytes, and old pages are never written again.
//!
//! Every opening is a *generation* with a random number, and begins at a page of its own; what an
//! earlier one left behind there cannot pass for its own. Recovery never wipes and never halts:
//! a torn end was never acknowledged and is dropped; damage that was is a gap, with exact offsets.
//!
//! - [`media`]: where it lies. [`Recovery`] finds the end, [`Log`] writes, [`Reader`] reads.

mod frame;
pub mod media;
mod reader;
mod recover;
mod ring;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use core::ops::Range;

pub use frame::FRAME_HEADER_BYTES;
pub use media::{Geometry, Media, ReadMedia};
pub use reader::{Chunk, Events, Item, ReadError, Reader};
pub use recover::{OpenError, Recovery, Report};
pub use ring::peek;
pub use writer::{AppendError, Frame, Log};

use crate::Offset;
use crate::time::{Age, Timestamp};

/// The largest body of a frame, in bytes: one event of the largest kind, or many small ones.
pub const BODY_BYTES_MAX: usize = 768 << 10;
/// The most records in a frame.
pub const FRAME_RECORDS_MAX: u32 = u16::MAX as u32;
/// Openings that are remembered.
pub const GENERATIONS_MAX: usize = 1024;
/// Gaps that one recovery lists; more are joined to the last.
pub const GAPS_MAX: usize = 16;

const _: () = assert!(crate::limits::RECORD_BYTES_MAX <= BODY_BYTES_MAX);

/// The identity of a log: random, drawn when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId(pub u64);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Wall time.
    pub wall: Timestamp,
    /// The age clock.
    pub age: Age,
    /// Whether the wall time can be relied upon.
    pub trusted: bool,
}

/// Random numbers for one opening of a log.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// The identity, should the log be new.
    pub log_id: u64,
    /// The number of this opening.
    pub generation: u32,
    /// What the salts of its segments are made from.
    pub salt: u64,
}

/// One opening of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its random number.
    pub number: u32,
    /// The first offset that it could give out.
    pub first: Offset,
}

/// What a control record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ControlKind {
    /// The generations, newest last; kept by the log itself.
    Opened = 0,
    /// The routing table.
    Routes = 1,
    /// A moment on both clocks.
    Anchor = 2,
    /// What is known of a lane's position. The body begins with an offset (u64, little endian):
    /// none below it is given out again.
    Hint = 3,
    /// The oldest offset that is kept (u64, little endian); kept by the log itself.
    Trimmed = 4,
}

impl ControlKind {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Opened,
            1 => Self::Routes,
            2 => Self::Anchor,
            3 => Self::Hint,
            4 => Self::Trimmed,
            _ => return None,
        })
    }
}

/// A control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// What it is about.
    pub kind: ControlKind,
    /// The offset from which on it holds.
    pub at: Offset,
    /// What it says.
    pub body: &'a [u8],
}

/// The durable end of a log: the place behind the last committed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The next offset.
    pub offset: Offset,
    /// How many segments came before the one that holds the place.
    pub sequence: u64,
    /// The place, in bytes from the start of the segment.
    pub at: u32,
}

/// The unfinished last page, as it is durable in a slot: readers need it, for its own place holds
/// something else.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// The segment.
    pub segment: u32,
    /// The page's place in it.
    pub at: u32,
    /// The page's first bytes; all that is written of it.
    pub bytes: &'a [u8],
}

/// Why offsets are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// They made room for newer ones, or were given back.
    Evicted,
    /// They cannot be read any more.
    Damaged,
}

impl GapCause {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Damaged => "damaged",
        }
    }
}

/// What was written since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes handed to the media.
    pub bytes: u64,
    /// Barriers.
    pub barriers: u64,
    /// Commits.
    pub commits: u64,
    /// Frames.
    pub frames: u64,
}

/// Offsets that are known to be lost.
pub type Gap = Range<Offset>;
