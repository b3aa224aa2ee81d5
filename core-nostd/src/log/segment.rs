//! The header of a segment, byte by byte; little endian.
//!
//! ```text
//!  0 [u8; 7] "TRIBSEG"
//!  7 u8      version of the format: '2'; '1' is read, too
//!  8 u64     log id
//! 16 u64     sequence: how many segments were begun before
//! 24 u64     base: the offset at which it begins
//! 32 u64     salt
//! 40 u64     the oldest offset that was kept when it was begun
//! 48 u32     page size
//! 52 u32     the generation that began it
//! 56 u32     how many offsets in front of base were given to no event of the segment before
//! 60 u32     CRC32C of bytes 0 to 59
//! ```
//!
//! It stands in the first sector and in the second, so that one bad sector does not cost a segment,
//! and in the last one, so that no bad page does. Both pages hold nothing else, and are written as a
//! whole, with zeros. In version 1 frames may stand in the last page, and no header. Magic, version and
//! checksum stay where they are in every later version.

use super::frame::{Seal, u32_at, u64_at};
use super::media::{Geometry, ReadMedia};
use crate::Offset;
use crate::crc::Crc32c;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;

/// Copies of the header stand in sectors of their own.
const SECTOR_BYTES: u32 = 512;
const MAGIC: [u8; 7] = *b"TRIBSEG";
/// By the versions of the format, whether the last page holds the header as well.
const VERSIONS: [(u8, bool); 2] = [(b'1', false), (b'2', true)];
const CRC_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log_id: u64,
    pub(super) sequence: u64,
    pub(super) base: Offset,
    pub(super) salt: u64,
    pub(super) oldest: Offset,
    pub(super) page_bytes: u32,
    pub(super) generation: u32,
    pub(super) skipped: u32,
    /// Whether the last page holds this header as well, and no frames.
    pub(super) is_in_last_page: bool,
}

/// The header of the newest segment, as the log knows it. All reading begins with it: media show it to
/// readers from memory, so that a device which cannot read it for a moment costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderCopy {
    segment: u32,
    bytes: [u8; SEGMENT_HEADER_BYTES],
}

impl HeaderCopy {
    pub(super) fn of(segment: u32, header: &SegmentHeader, crc: Crc32c) -> Self {
        Self { segment, bytes: header.encode(crc) }
    }

    /// Answers a reading of this header; `false`: something else is read.
    #[must_use]
    pub fn answers(&self, segment: u32, at: u32, into: &mut [u8]) -> bool {
        let is_this = segment == self.segment
            && SegmentHeader::PLACES.contains(&at)
            && into.len() == SEGMENT_HEADER_BYTES;
        if is_this {
            into.copy_from_slice(&self.bytes);
        }
        is_this
    }

    /// The identity of the log.
    #[must_use]
    pub fn log_id(&self) -> u64 {
        u64_at(&self.bytes, 8)
    }
}

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Header(SegmentHeader),
    /// Written by a version with another format.
    Newer,
    /// Nothing was written yet, or it was given up.
    Blank,
    /// Nothing that can be read.
    Garbage,
}

impl SegmentHeader {
    pub(super) fn encode(&self, crc: Crc32c) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..7].copy_from_slice(&MAGIC);
        let [(without, _), (with, _)] = VERSIONS;
        bytes[7] = if self.is_in_last_page { with } else { without };
        bytes[8..16].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.oldest.0.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.page_bytes.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.generation.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.skipped.to_le_bytes());
        let sum = crc(0, &bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES], crc: Crc32c) -> Found {
        if bytes.iter().all(|&byte| byte == 0) {
            return Found::Blank;
        }
        if crc(0, &bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) || bytes[..7] != MAGIC {
            return Found::Garbage;
        }
        let known = VERSIONS.into_iter().find(|(version, _)| *version == bytes[7]);
        let Some((_, is_in_last_page)) = known else { return Found::Newer };
        Found::Header(Self {
            log_id: u64_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            base: Offset(u64_at(bytes, 24)),
            salt: u64_at(bytes, 32),
            oldest: Offset(u64_at(bytes, 40)),
            page_bytes: u32_at(bytes, 48),
            generation: u32_at(bytes, 52),
            skipped: u32_at(bytes, 56),
            is_in_last_page,
        })
    }

    /// Where the events of the segment before end.
    pub(super) const fn takes_over_at(&self) -> Offset {
        Offset(self.base.0.saturating_sub(self.skipped as u64))
    }

    /// What seals this segment's frames.
    pub(super) fn seal(&self, crc: Crc32c) -> Seal {
        Seal::new(self.log_id, self.salt, crc)
    }

    /// The places of the header's copies in the first page of a segment.
    pub(super) const PLACES: [u32; 2] = [0, SECTOR_BYTES];

    /// The place of the copy in the last page, whatever size that has.
    pub(super) const fn last_place(of_media: Geometry) -> u32 {
        of_media.segment_bytes - SECTOR_BYTES
    }

    /// The shape of what frames may use of this segment: a log that has moved to a machine with larger
    /// pages has segments with small ones for a while.
    pub(super) const fn geometry(&self, of_media: Geometry) -> Geometry {
        let paged = self.paged(of_media);
        if self.is_in_last_page { paged.of_frames() } else { paged }
    }

    /// The whole segment in its own pages.
    const fn paged(&self, of_media: Geometry) -> Geometry {
        Geometry { page_bytes: self.page_bytes, ..of_media }
    }

    /// The header of segment `index`: of its copies the first that can be read.
    pub(super) fn read<M: ReadMedia>(
        media: &M,
        index: u32,
        crc: Crc32c,
    ) -> Result<Found, M::Error> {
        let mut found = Found::Garbage;
        let mut failed = None;
        let last = Self::last_place(media.geometry());
        let [first, second] = Self::PLACES;
        for at in [first, second, last] {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            if let Err(error) = media.read(index, at, &mut bytes) {
                failed = Some(error);
                continue;
            }
            match Self::decode(&bytes, crc) {
                Found::Header(header) if !header.paged(media.geometry()).is_sound() => {}
                Found::Garbage => {}
                // At the end of what is begun there may be zeros as well.
                Found::Blank if at == last => {}
                Found::Blank => found = Found::Blank,
                good => return Ok(good),
            }
        }
        match failed {
            Some(error) if found == Found::Garbage => Err(error),
            _ => Ok(found),
        }
    }
}
