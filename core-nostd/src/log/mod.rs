//! The log: a ring of equal segments, recycled in place, of one stream.
//!
//! ```text
//! segment:  header page | slot A | slot B | frame frame frame … (dense)
//! ```
//!
//! A commit appends frames and ends with one barrier. Full pages go to their place once; the
//! unfinished last page goes to slot A or B, alternately. So no write of a commit ever goes over
//! the only durable copy of acknowledged bytes.
//!
//! Every opening is a *generation* with a random number. It goes on in the same segment, right
//! behind what it found; what an earlier one left behind that place cannot pass for its own.
//! Recovery never wipes and never halts: a torn end was never acknowledged and is dropped; damage
//! to what was is a gap, with exact offsets.
//!
//! - [`media`]: where it lies, and what a power cut may leave.
//! - [`Recovery`] finds the end, [`Log`] writes, [`Reader`] reads.

pub mod media;
pub mod nor;

mod chunk;
mod frame;
mod generations;
mod reader;
mod recovery;
mod report;
mod ring;
mod salvage;
mod seek;
mod segment;
mod survey;
mod walk;
mod window;
mod writer;

use core::fmt;
use core::ops::Range;

pub use chunk::{Chunk, Events, Item};
pub use frame::FRAME_HEADER_BYTES;
pub use generations::{GENERATIONS_MAX, Generation};
pub use media::{Geometry, Media, Noted, ReadMedia};
pub use reader::{ReadError, Reader};
pub use recovery::{OpenError, Recovery};
pub use report::{GAPS_MAX, Report};
pub use seek::offset_at;
pub use segment::HeaderCopy;
pub use survey::{SegmentInfo, SegmentState, segment_state};
pub use writer::{AppendError, CommitError, Frame, Log, body_bytes_max, buffer_bytes};

use crate::Offset;
use crate::time::{Age, Timestamp};

/// The largest body of a frame, in bytes: one event of the largest kind, or many small ones.
pub const BODY_BYTES_MAX: usize = 768 << 10;
/// The most records in a frame.
pub const FRAME_RECORDS_MAX: u32 = u16::MAX as u32;
/// Offsets stay below: a claim beyond it is nonsense and is passed over.
pub const OFFSET_MAX: Offset = Offset(1 << 62);

const _: () = assert!(crate::limits::RECORD_BYTES_MAX <= BODY_BYTES_MAX);

/// The identity of a log: random, drawn when it is made. Shown as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What a control record is about. The number is its code on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ControlKind {
    /// Generations, oldest first (u32 number, u64 first offset, little endian, each): all of them
    /// at the start of a segment, the new one alone later. Kept by the log itself.
    Opened = 0,
    /// The routing table.
    Routes = 1,
    /// A moment on both clocks.
    Anchor = 2,
    /// What is known of a lane's position. The body begins with an offset (u64, little endian):
    /// none below it is given out again.
    Hint = 3,
    /// A named reader's position.
    Cursor = 4,
    /// Offsets that are lost (u64 first, u64 end, little endian). Kept by the log itself.
    Gap = 5,
    /// What became of MQTT sessions: their begin, subscriptions, and steps of QoS 2.
    Sessions = 6,
    /// The oldest offset that is kept (u64, little endian). Kept by the log itself.
    Trimmed = 7,
    /// In the stream of dead letters: which of them are put back on their way.
    Replayed = 8,
    /// How far a Kafka topic was read whose records become events.
    Downlink = 9,
}

impl ControlKind {
    const ALL: [Self; 10] = [
        Self::Opened,
        Self::Routes,
        Self::Anchor,
        Self::Hint,
        Self::Cursor,
        Self::Gap,
        Self::Sessions,
        Self::Trimmed,
        Self::Replayed,
        Self::Downlink,
    ];

    fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
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
    /// How many segments were begun before the one that holds the place.
    pub sequence: u64,
    /// The segment's index in the ring.
    pub segment: u32,
    /// The place, in bytes from the start of the segment.
    pub at: u32,
    /// The oldest offset that is kept: what lies below is evicted, also where it can still be read.
    pub oldest: Offset,
}

/// The unfinished last page, as it is durable in a slot: readers need it, for its own place may
/// hold something else. And the header in front of it, without which nothing is found.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// The segment's index in the ring.
    pub segment: u32,
    /// The page's place in it.
    pub at: u32,
    /// The page's first bytes, up to the durable end.
    pub bytes: &'a [u8],
    /// The segment's header.
    pub header: HeaderCopy,
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
    /// Bytes that the device has to write: whole pages.
    pub bytes: u64,
    /// Barriers.
    pub barriers: u64,
    /// Commits that wrote something.
    pub commits: u64,
    /// Frames.
    pub frames: u64,
    /// Segments that were begun.
    pub segments: u64,
    /// Segments on which a write or a barrier failed.
    pub failures: u64,
}

/// Offsets that are known to be lost.
pub type Gap = Range<Offset>;
