//! Finding an offset by time, without an index.
//!
//! The age clock only runs forward along the log. So the segment is found by binary search over the
//! clocks of their first frames, and the place in it by walking from header to header.

use super::frame::FRAME_HEADER_BYTES;
use super::media::{Geometry, ReadMedia};
use super::ring::{Placed, Ring};
use super::segment::{Found, SegmentHeader};
use super::walk::Walk;
use super::window::Window;
use super::{End, Tail};
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::Age;

/// The first offset of a frame that is not from before `age`; the durable end if all are. Where
/// headers cannot be read it may lie before that, never behind. `buffer`: a page or more, the
/// larger the fewer reads.
///
/// # Panics
/// If the buffer is smaller than a frame's header.
pub fn offset_at<M: ReadMedia>(
    media: &M,
    end: End,
    age: Age,
    (crc, buffer): (Crc32c, &mut [u8]),
) -> Offset {
    let Ok(Found::Header(header)) = SegmentHeader::read(media, end.segment, crc) else {
        return end.oldest;
    };
    let ring = Ring { media, crc, head: Placed { index: end.segment, header } };
    let first_age = |placed: &Placed, buffer: &mut [u8]| {
        let (geometry, limit) = shape(media, placed, end);
        let mut window = Window::new(&ring, placed, limit, &mut buffer[..FRAME_HEADER_BYTES]);
        Some(window.header(geometry.data_at())?.clock.age)
    };
    let mut is_before = |placed: &Placed| first_age(placed, buffer).map(|first| first < age);
    let placed = ring.last_where(&mut is_before).unwrap_or_else(|| ring.oldest(None));
    let (geometry, limit) = shape(media, &placed, end);
    let mut window = Window::new(&ring, &placed, limit, buffer);
    let mut walk = Walk::at_start(geometry, &placed.header);
    while let Some(header) = window.header(walk.at).filter(|header| walk.accepts(header)) {
        if header.clock.age >= age && header.end() > header.base {
            return header.base.clamp(end.oldest, end.offset);
        }
        walk.pass(&header);
    }
    walk.next.clamp(end.oldest, end.offset)
}

fn shape<M: ReadMedia>(media: &M, placed: &Placed, end: End) -> (Geometry, u32) {
    let geometry = placed.header.geometry(media.geometry());
    let limit = if placed.index == end.segment { end.at } else { geometry.segment_bytes };
    (geometry, limit)
}

/// Media as readers have to see it: with the last page as it is durable in a slot, and its header.
pub(super) struct Shown<'a, M> {
    pub(super) media: &'a M,
    pub(super) tail: Tail<'a>,
}

impl<M: ReadMedia> ReadMedia for Shown<'_, M> {
    type Error = M::Error;

    fn geometry(&self) -> Geometry {
        self.media.geometry()
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), M::Error> {
        let Tail { segment: of, at: tail_at, bytes, header } = self.tail;
        if header.answers(segment, at, into) {
            return Ok(());
        }
        self.media.read(segment, at, into)?;
        if of != segment {
            return Ok(());
        }
        let skipped = at.saturating_sub(tail_at) as usize;
        let before = tail_at.saturating_sub(at) as usize;
        let bytes = bytes.get(skipped..).unwrap_or_default();
        if let Some(into) = into.get_mut(before..) {
            let count = bytes.len().min(into.len());
            into[..count].copy_from_slice(&bytes[..count]);
        }
        Ok(())
    }
}
