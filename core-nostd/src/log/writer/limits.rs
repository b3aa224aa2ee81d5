//! How large buffers, frames and what waits in memory may be.

use super::super::BODY_BYTES_MAX;
use super::super::frame::FRAME_HEADER_BYTES;
use super::super::media::Geometry;

/// Room that is left at the end of a segment, so that dozens of openings in a row can be noted in
/// it without beginning the next one.
pub(super) const RESERVE_BYTES: usize = 2048;

/// Bytes of the buffer that a log needs for bodies of up to `body_bytes`.
#[must_use]
pub const fn buffer_bytes(geometry: Geometry, body_bytes: usize) -> usize {
    let page_bytes = geometry.page_bytes as usize;
    let bytes = body_bytes + FRAME_HEADER_BYTES + 2 * page_bytes;
    if bytes < 5 * page_bytes { 5 * page_bytes } else { bytes }
}

/// The largest body that a log takes with a buffer of so many bytes.
#[must_use]
pub const fn body_bytes_max(geometry: Geometry, buffer_bytes: usize) -> usize {
    let page_bytes = geometry.page_bytes as usize;
    let waiting = waiting_bytes_max(geometry, buffer_bytes) - page_bytes - FRAME_HEADER_BYTES;
    if waiting < BODY_BYTES_MAX { waiting } else { BODY_BYTES_MAX }
}

/// How much of a segment may be in memory: so much that it still fits behind the records in force
/// when it has to go to another segment.
pub(super) const fn waiting_bytes_max(geometry: Geometry, buffer_bytes: usize) -> usize {
    let in_buffer = buffer_bytes - geometry.page_bytes as usize;
    let in_segment = half_bytes(geometry) - RESERVE_BYTES / 2;
    if in_buffer < in_segment { in_buffer } else { in_segment }
}

/// Half of what frames may use of a new segment.
pub(super) const fn half_bytes(of_media: Geometry) -> usize {
    let geometry = of_media.of_frames();
    ((geometry.segment_bytes - geometry.data_at()) / 2) as usize
}
