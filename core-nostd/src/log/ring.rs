//! Which segment is which: the ring's headers.
//!
//! Segment `sequence` lies at index `sequence % segments`, so headers need no index: the head is
//! found by binary search over the laps, a segment that holds an offset by one over the bases.

use super::frame::{Found, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::media::{Geometry, ReadMedia};
use crate::Offset;
use crate::crc::Crc32c;

/// What a segment's first bytes say of the ring that it belongs to: page size and segments. For
/// media that have to know their shape before a log can be opened.
#[must_use]
pub fn peek(header: &[u8; SEGMENT_HEADER_BYTES], crc: Crc32c) -> Option<(u32, u32)> {
    match SegmentHeader::decode(header, crc) {
        Found::Header(header) => Some((header.page_bytes, header.segments)),
        Found::Newer | Found::Blank | Found::Garbage => None,
    }
}

/// The header at an index.
pub(super) fn header_at<M: ReadMedia>(
    media: &M,
    index: u32,
    crc: Crc32c,
) -> Result<Found, M::Error> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    media.read(index, 0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes, crc))
}

/// The header of segment `sequence`, if it is still there.
pub(super) fn header_of<M: ReadMedia>(
    media: &M,
    sequence: u64,
    crc: Crc32c,
) -> Result<Option<SegmentHeader>, M::Error> {
    Ok(match header_at(media, index_of(media.geometry(), sequence), crc)? {
        Found::Header(header) if header.sequence == sequence => Some(header),
        _ => None,
    })
}

/// Where segment `sequence` lies.
pub(super) fn index_of(geometry: Geometry, sequence: u64) -> u32 {
    u32::try_from(sequence % u64::from(geometry.segments)).expect("below a u32")
}

/// What a look for the head has come to.
pub(super) enum Head {
    /// No segment was ever written.
    None,
    /// The newest segment.
    At(SegmentHeader),
    /// A segment of a later version stands here.
    Newer,
}

/// Finds the newest segment, in few reads; where anything does not fit, by reading all headers.
pub(super) fn find_head<M: ReadMedia>(media: &M, crc: Crc32c) -> Result<Head, M::Error> {
    if let Some(header) = search_head(media, crc)? {
        return Ok(Head::At(header));
    }
    let mut newest: Option<SegmentHeader> = None;
    for index in 0..media.geometry().segments {
        match header_at(media, index, crc)? {
            Found::Newer => return Ok(Head::Newer),
            Found::Header(header) if is_in_place(media.geometry(), index, &header) => {
                if newest.is_none_or(|newest| newest.sequence < header.sequence) {
                    newest = Some(header);
                }
            }
            _ => {}
        }
    }
    Ok(newest.map_or(Head::None, Head::At))
}

fn is_in_place(geometry: Geometry, index: u32, header: &SegmentHeader) -> bool {
    index_of(geometry, header.sequence) == index
}

/// Binary search for the last segment of the first one's lap; `None` if the headers are not as an
/// undisturbed ring has them.
fn search_head<M: ReadMedia>(
    media: &M,
    crc: Crc32c,
) -> Result<Option<SegmentHeader>, M::Error> {
    let segments = media.geometry().segments;
    let Found::Header(first) = header_at(media, 0, crc)? else { return Ok(None) };
    let in_lap = |index: u32| -> Result<Option<Option<SegmentHeader>>, M::Error> {
        Ok(match header_at(media, index, crc)? {
            Found::Header(header) if header.sequence == first.sequence + u64::from(index) => {
                Some(Some(header))
            }
            Found::Header(header)
                if header.sequence + u64::from(segments) == first.sequence + u64::from(index) =>
            {
                Some(None)
            }
            Found::Blank if first.sequence == 0 => Some(None),
            _ => None,
        })
    };
    let (mut head, mut low, mut high) = (first, 0, segments);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match in_lap(middle)? {
            Some(Some(header)) => (head, low) = (header, middle),
            Some(None) => high = middle,
            None => return Ok(None),
        }
    }
    // A header that was wiped would hide newer ones behind it.
    for next in [low + 1, low + 2] {
        if next < segments && !matches!(in_lap(next)?, Some(None)) {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// The oldest segment that holds offsets from `from` on, or, if `from` is older than all, the
/// oldest segment. `head` is the newest.
pub(super) fn find_offset<M: ReadMedia>(
    media: &M,
    head: u64,
    from: Offset,
    crc: Crc32c,
) -> Result<Option<SegmentHeader>, M::Error> {
    let segments = u64::from(media.geometry().segments);
    // All sequences from `low` on are there, and begin at or below `from` up to `best`.
    let (mut low, mut high) = ((head + 1).saturating_sub(segments), head + 1);
    let mut best = None;
    while low < high {
        let middle = low + (high - low) / 2;
        match header_of(media, middle, crc)? {
            Some(header) if header.base <= from => {
                best = Some(header);
                low = middle + 1;
            }
            Some(_) => high = middle,
            // Recycled already, never written, or damaged: what is there lies behind.
            None => low = middle + 1,
        }
    }
    if best.is_some() {
        return Ok(best);
    }
    oldest(media, head, crc)
}

/// The oldest segment that is there.
pub(super) fn oldest<M: ReadMedia>(
    media: &M,
    head: u64,
    crc: Crc32c,
) -> Result<Option<SegmentHeader>, M::Error> {
    let first = (head + 1).saturating_sub(u64::from(media.geometry().segments));
    for sequence in first..=head {
        if let Some(header) = header_of(media, sequence, crc)? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}
