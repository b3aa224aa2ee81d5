//! What stands at the start of each segment, for tools that show a log.

use super::media::ReadMedia;
use super::segment::{Found, SegmentHeader};
use crate::Offset;
use crate::crc::Crc32c;

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It was begun, and holds frames.
    Begun(SegmentInfo),
    /// Nothing was written yet, or it was given up for the next one.
    Blank,
    /// A version with a newer format wrote it.
    Newer,
    /// No copy of its header is whole.
    Damaged,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The log that it belongs to.
    pub log_id: u64,
    /// How many segments were begun before.
    pub sequence: u64,
    /// The offset at which it begins.
    pub base: Offset,
    /// The oldest offset that was kept when it was begun.
    pub oldest: Offset,
    /// Bytes of its pages.
    pub page_bytes: u32,
    /// The opening that began it.
    pub generation: u32,
}

/// Reads the header of segment `index`.
///
/// # Errors
/// If the device fails.
pub fn segment_state<M: ReadMedia>(
    media: &M,
    index: u32,
    crc: Crc32c,
) -> Result<SegmentState, M::Error> {
    Ok(match SegmentHeader::read(media, index, crc)? {
        Found::Header(header) => SegmentState::Begun(SegmentInfo {
            log_id: header.log_id,
            sequence: header.sequence,
            base: header.base,
            oldest: header.oldest,
            page_bytes: header.page_bytes,
            generation: header.generation,
        }),
        Found::Blank => SegmentState::Blank,
        Found::Newer => SegmentState::Newer,
        Found::Garbage => SegmentState::Damaged,
    })
}
