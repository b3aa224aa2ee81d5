//! Frames and segment headers, byte by byte; little endian.
//!
//! ```text
//! frame                                   segment header
//!  0 u8   kind                             0 [u8; 8] "TRIBSEG1"
//!  1 u8   flags: bit 0 = trusted clock     8 u64     log id
//!  2 u16  count of records                16 u64     sequence: how many segments came before
//!  4 u32  body length                     24 u64     base offset
//!  8 u64  base offset                     32 u64     salt
//! 16 u32  durable delta                   40 u32     page size
//! 20 u32  generation                      44 u32     segments of the ring
//! 24 i64  wall time, ms                   48 u32     CRC32C of bytes 0 to 47
//! 32 u64  age, ms
//! 40 u32  CRC32C of the body
//! 44 u32  CRC32C of log id, salt, position in the segment, bytes 0 to 43
//! 48 body
//! ```
//!
//! The seed of a frame's last checksum makes a frame that is stale or in the wrong place invalid.

use super::{Clock, ControlKind};
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::{Age, Timestamp};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 52;

const MAGIC: [u8; 8] = *b"TRIBSEG1";
const EVENTS: u8 = 1;
const CONTROLS_FROM: u8 = 16;
const TRUSTED: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    /// A control record; `None`: of a kind that a later version knows.
    Control(Option<ControlKind>),
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) count: u16,
    pub(super) body_bytes: u32,
    pub(super) base: Offset,
    /// How far the durable end was behind `base` when the frame was written.
    pub(super) durable_delta: u32,
    pub(super) generation: u32,
    pub(super) clock: Clock,
    pub(super) body_crc: u32,
}

/// What tells the frames of one segment from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    seed: u32,
    crc: Crc32c,
}

impl Seal {
    fn head_crc(self, at: u32, head: &[u8]) -> u32 {
        (self.crc)((self.crc)(self.seed, &at.to_le_bytes()), head)
    }

    /// The checksum of a body.
    pub(super) fn body_crc(self, body: &[u8]) -> u32 {
        (self.crc)(0, body)
    }
}

impl FrameHeader {
    /// All bytes of the frame.
    pub(super) const fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.body_bytes as usize
    }

    /// The offset behind the frame's last event.
    pub(super) const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }

    /// The durable end when the frame was written.
    pub(super) const fn durable(&self) -> Offset {
        Offset(self.base.0.saturating_sub(self.durable_delta as u64))
    }

    pub(super) fn encode(&self, seal: Seal, at: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0] = match self.kind {
            Kind::Events => EVENTS,
            Kind::Control(kind) => CONTROLS_FROM + kind.map_or(u8::MAX / 2, |kind| kind as u8),
        };
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

    /// Reads a header that was written for position `at` of the sealed segment; `None` if it was
    /// not.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], seal: Seal, at: u32) -> Option<Self> {
        let kind = match bytes[0] {
            EVENTS => Kind::Events,
            byte if byte >= CONTROLS_FROM => Kind::Control(ControlKind::of(byte - CONTROLS_FROM)),
            _ => return None,
        };
        if seal.head_crc(at, &bytes[..44]) != u32_at(bytes, 44) {
            return None;
        }
        Some(Self {
            kind,
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
        })
    }

    /// Whether bytes could be a header at all: cheap, for looking for one.
    pub(super) fn is_plausible(bytes: &[u8; FRAME_HEADER_BYTES], from: Offset, room: u32) -> bool {
        (bytes[0] == EVENTS || bytes[0] >= CONTROLS_FROM)
            && u64_at(bytes, 8).checked_sub(from.0).is_some_and(|ahead| ahead < 1 << 32)
            && u32_at(bytes, 4) <= room
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log_id: u64,
    pub(super) sequence: u64,
    pub(super) base: Offset,
    pub(super) salt: u64,
    pub(super) page_bytes: u32,
    pub(super) segments: u32,
}

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Header(SegmentHeader),
    /// Written by a version with another format.
    Newer,
    /// Nothing was written yet.
    Blank,
    /// Nothing that can be read.
    Garbage,
}

impl SegmentHeader {
    /// The header of no segment.
    pub(super) const fn none() -> Self {
        let base = Offset(0);
        Self { log_id: 0, sequence: 0, base, salt: 0, page_bytes: 0, segments: 0 }
    }

    pub(super) fn encode(&self, crc: Crc32c) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.page_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.segments.to_le_bytes());
        let sum = crc(0, &bytes[..48]);
        bytes[48..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES], crc: Crc32c) -> Found {
        if bytes.iter().all(|&byte| byte == 0) {
            return Found::Blank;
        }
        if crc(0, &bytes[..48]) != u32_at(bytes, 48) || bytes[..7] != MAGIC[..7] {
            return Found::Garbage;
        }
        if bytes[7] != MAGIC[7] {
            return Found::Newer;
        }
        Found::Header(Self {
            log_id: u64_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            base: Offset(u64_at(bytes, 24)),
            salt: u64_at(bytes, 32),
            page_bytes: u32_at(bytes, 40),
            segments: u32_at(bytes, 44),
        })
    }

    /// What seals this segment's frames.
    pub(super) fn seal(&self, crc: Crc32c) -> Seal {
        let seed = crc(crc(0, &self.log_id.to_le_bytes()), &self.salt.to_le_bytes());
        Seal { seed, crc }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
