//! One segment, read through a buffer of the caller's; one of its pages may be read from a slot.

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Seal};
use super::media::{Geometry, ReadMedia};
use super::ring::{Placed, Ring};
use crate::Offset;

/// How many places in a slot are tried for finding out which page it holds.
const SLOT_TRIES_MAX: usize = 64;

/// A page that is read from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    /// 1 or 2: the slot's page in the segment.
    pub(super) slot: u32,
    pub(super) page_at: u32,
}

/// A view of one segment. Invariant: `buffer[..filled]` is what is shown from `at` on.
pub(super) struct Window<'w, M> {
    media: &'w M,
    segment: u32,
    pub(super) geometry: Geometry,
    pub(super) seal: Seal,
    buffer: &'w mut [u8],
    at: u32,
    filled: usize,
    pub(super) limit: u32,
    overlay: Option<Overlay>,
    /// Reads of the media so far, and pages that it could not read.
    pub(super) reads: u32,
    pub(super) unread_pages: u32,
}

impl<'w, M: ReadMedia> Window<'w, M> {
    /// A view of a segment up to `limit`. The buffer takes a page or more.
    pub(super) fn new(
        ring: &Ring<'w, M>,
        placed: &Placed,
        limit: u32,
        buffer: &'w mut [u8],
    ) -> Self {
        assert!(buffer.len() >= FRAME_HEADER_BYTES, "a window shows a header");
        Self {
            media: ring.media,
            segment: placed.index,
            geometry: placed.header.geometry(ring.media.geometry()),
            seal: placed.header.seal(ring.crc),
            buffer,
            at: 0,
            filled: 0,
            limit,
            overlay: None,
            reads: 0,
            unread_pages: 0,
        }
    }

    pub(super) fn overlay(&self) -> Option<Overlay> {
        self.overlay
    }

    pub(super) fn show(&mut self, overlay: Option<Overlay>) {
        if self.overlay != overlay {
            self.overlay = overlay;
            self.filled = 0;
        }
    }

    /// The bytes that are shown from `at` on, up to `count` of them: fewer at the limit or where
    /// the buffer is smaller.
    pub(super) fn bytes(&mut self, at: u32, count: usize) -> &[u8] {
        let count = count.min(self.limit.saturating_sub(at) as usize).min(self.buffer.len());
        let inside = at.checked_sub(self.at).map(|begin| begin as usize);
        let begin = match inside {
            Some(begin) if begin + count <= self.filled => begin,
            _ => {
                self.fill(at);
                0
            }
        };
        &self.buffer[begin..begin + count]
    }

    /// As much as the buffer takes.
    pub(super) fn most(&mut self, at: u32) -> &[u8] {
        self.bytes(at, usize::MAX)
    }

    /// The frame at a place, if it is valid in itself and ends below the limit.
    pub(super) fn frame(&mut self, at: u32) -> Option<FrameHeader> {
        let header = self.header(at)?;
        let (mut crc, mut from) = (0, at + HEADER_BYTES);
        let mut left = header.body_bytes as usize;
        while left > 0 {
            let part = self.bytes(from, left);
            let count = part.len();
            crc = self.seal.body_crc(crc, &self.buffer_at(from)[..count]);
            from += u32::try_from(count).expect("inside a segment");
            left -= count;
        }
        (crc == header.body_crc).then_some(header)
    }

    /// The valid header at a place, if its frame ends below the limit.
    pub(super) fn header(&mut self, at: u32) -> Option<FrameHeader> {
        let seal = self.seal;
        let header =
            FrameHeader::decode(self.bytes(at, FRAME_HEADER_BYTES).first_chunk()?, seal, at)?;
        let room = self.limit - at - HEADER_BYTES;
        (header.body_bytes <= room).then_some(header)
    }

    /// The page that a slot holds, by the first frame in it that is valid for some page; `from`: offsets
    /// in this segment are not below. Shows no overlay afterwards.
    pub(super) fn page_in_slot(&mut self, slot: u32, from: Offset) -> Option<u32> {
        self.show(None);
        let (geometry, seal) = (self.geometry, self.seal);
        let page_bytes = geometry.page_bytes as usize;
        let page = self.bytes(slot * geometry.page_bytes, page_bytes);
        let heads = (0..).zip(page.windows(FRAME_HEADER_BYTES));
        let plausible =
            heads.filter(|(_, head)| FrameHeader::is_plausible(head, from, geometry.segment_bytes));
        plausible.take(SLOT_TRIES_MAX).find_map(|(at, head)| {
            let head = head.first_chunk()?;
            let pages = (geometry.data_at()..geometry.segment_bytes).step_by(page_bytes);
            let mut fits =
                pages.filter(|page| FrameHeader::decode(head, seal, page + at).is_some());
            fits.next()
        })
    }

    fn buffer_at(&self, at: u32) -> &[u8] {
        &self.buffer[(at - self.at) as usize..self.filled]
    }

    fn fill(&mut self, at: u32) {
        self.at = at;
        self.filled = self.buffer.len().min(self.limit.saturating_sub(at) as usize);
        self.read(at, 0..self.filled);
        let page_bytes = self.geometry.page_bytes;
        if let Some(Overlay { slot, page_at }) = self.overlay {
            let end = at + u32::try_from(self.filled).expect("inside a segment");
            let (from, to) = (at.max(page_at), end.min(page_at + page_bytes));
            if from < to {
                let into = (from - at) as usize..(to - at) as usize;
                self.read(slot * page_bytes + (from - page_at), into);
            }
        }
    }

    /// Reads into a part of the buffer. What the device cannot read shows as zeros, page by page.
    fn read(&mut self, at: u32, into: core::ops::Range<usize>) {
        self.reads += 1;
        let into = &mut self.buffer[into];
        if self.media.read(self.segment, at, into).is_ok() {
            return;
        }
        let page_bytes = self.geometry.page_bytes;
        let (mut at, mut rest) = (at, into);
        while !rest.is_empty() {
            let count = rest.len().min((page_bytes - at % page_bytes) as usize);
            let (page, later) = rest.split_at_mut(count);
            self.reads += 1;
            if self.media.read(self.segment, at, page).is_err() {
                page.fill(0);
                self.unread_pages += 1;
            }
            at += u32::try_from(count).expect("inside a segment");
            rest = later;
        }
    }
}
