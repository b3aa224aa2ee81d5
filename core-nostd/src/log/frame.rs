//! The header of a frame, byte by byte; little endian.
//!
//! ```text
//!  0 u8   kind: 0xE1 events, 0xC0 + code = control record, 0xDF = filler
//!  1 u8   flags: bit 0 = the wall clock was trusted
//!  2 u16  count of records
//!  4 u32  length of the body
//!  8 u64  offset of the first record; a control record: the offset at which it holds
//! 16 u32  durable delta: bytes between the durable end and this frame when it was written
//! 20 u32  generation
//! 24 i64  wall time, ms
//! 32 u64  age, ms
//! 40 u32  CRC32C of the body
//! 44 u32  CRC32C of log id, salt of the segment, place in the segment, bytes 0 to 43
//! 48      body
//! ```
//!
//! The last checksum makes a frame invalid that is stale or in the wrong place. The durable delta
//! says of everything before it whether it was durable: so a torn end can be told from damage.

use super::{Clock, ControlKind, FRAME_RECORDS_MAX, OFFSET_MAX};
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::{Age, Timestamp};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// The same, as places in a segment are counted.
pub(super) const HEADER_BYTES: u32 = 48;
const _: () = assert!(HEADER_BYTES as usize == FRAME_HEADER_BYTES);

const EVENTS: u8 = 0xE1;
const CONTROL: u8 = 0xC0;
/// Codes of control records are below; those that this version does not know are passed over.
const CONTROL_CODES: u8 = 0x1F;
/// Behind the control records, where versions that do not know it pass it over, too.
const FILLER: u8 = CONTROL + CONTROL_CODES;
const TRUSTED: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records.
    Events,
    /// A control record.
    Control(ControlKind),
    /// A control record of a kind that a later version knows.
    Unknown(u8),
    /// Nothing: the rest of a page.
    Filler,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let code = byte.wrapping_sub(CONTROL);
        match byte {
            EVENTS => Some(Self::Events),
            FILLER => Some(Self::Filler),
            _ if code < CONTROL_CODES => {
                Some(ControlKind::of(code).map_or(Self::Unknown(code), Self::Control))
            }
            _ => None,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Events => EVENTS,
            Self::Control(kind) => CONTROL + kind as u8,
            Self::Unknown(code) => CONTROL + code,
            Self::Filler => FILLER,
        }
    }
}

/// What tells the frames of one segment from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    seed: u32,
    crc: Crc32c,
}

impl Seal {
    pub(super) fn new(log_id: u64, salt: u64, crc: Crc32c) -> Self {
        Self { seed: crc(crc(0, &log_id.to_le_bytes()), &salt.to_le_bytes()), crc }
    }

    fn head_crc(self, at: u32, head: &[u8]) -> u32 {
        (self.crc)((self.crc)(self.seed, &at.to_le_bytes()), head)
    }

    /// The checksum of a body that goes on from `seed`; of its first part, from 0.
    pub(super) fn body_crc(self, seed: u32, body: &[u8]) -> u32 {
        (self.crc)(seed, body)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) count: u16,
    pub(super) body_bytes: u32,
    pub(super) base: Offset,
    pub(super) durable_delta: u32,
    pub(super) generation: u32,
    pub(super) clock: Clock,
    pub(super) body_crc: u32,
}

impl FrameHeader {
    /// All bytes of the frame.
    pub(super) const fn frame_bytes(&self) -> u32 {
        HEADER_BYTES + self.body_bytes
    }

    /// The offset behind the frame's last event.
    pub(super) const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }

    /// Whether what stood at `place` was durable when this frame was written at `at`.
    pub(super) const fn proves_durable(&self, at: u32, place: u32) -> bool {
        at.saturating_sub(self.durable_delta) > place
    }

    pub(super) fn encode(&self, seal: Seal, at: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0] = self.kind.byte();
        bytes[1] = if self.clock.trusted { TRUSTED } else { 0 };
        bytes[2..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.durable_delta.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.clock.wall.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.clock.age.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = seal.head_crc(at, &bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header that was written for place `at` of the sealed segment; `None` if it was not.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], seal: Seal, at: u32) -> Option<Self> {
        Self::parse(bytes).filter(|_| seal.head_crc(at, &bytes[..44]) == u32_at(bytes, 44))
    }

    /// Reads a header that is known to be valid.
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let header = Self {
            kind: Kind::of(bytes[0])?,
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            body_bytes: u32_at(bytes, 4),
            base: Offset(u64_at(bytes, 8)),
            durable_delta: u32_at(bytes, 16),
            generation: u32_at(bytes, 20),
            clock: Clock {
                wall: Timestamp(u64_at(bytes, 24).cast_signed()),
                age: Age(u64_at(bytes, 32)),
                trusted: bytes[1] & TRUSTED != 0,
            },
            body_crc: u32_at(bytes, 40),
        };
        (header.base <= OFFSET_MAX).then_some(header)
    }

    /// Whether a header could begin with this byte.
    pub(super) const fn may_begin_with(byte: u8) -> bool {
        byte == EVENTS || byte.wrapping_sub(CONTROL) < CONTROL_CODES
    }

    /// Whether bytes could be a header at all: cheap, for looking for one. `from`: offsets are not
    /// below; `room`: bytes that are left.
    pub(super) fn is_plausible(bytes: &[u8], from: Offset, room: u32) -> bool {
        bytes.len() >= FRAME_HEADER_BYTES
            && Self::may_begin_with(bytes[0])
            && u64_at(bytes, 8).wrapping_sub(from.0) < OFFSET_MAX.0
            && u32_at(bytes, 4) <= room
    }
}

const _: () = assert!(FRAME_RECORDS_MAX <= u16::MAX as u32);

/// Four bytes, little endian. The caller has checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Eight bytes, little endian. The caller has checked the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
