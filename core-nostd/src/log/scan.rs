//! Walking over the frames of one segment, and finding the next one behind damage.

use super::ControlKind;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal, SegmentHeader};
use super::media::{Geometry, ReadMedia};
use crate::Offset;
use crate::crc::Crc32c;

/// One segment, as its media shows it; one of its pages may be shown from a slot instead.
pub(super) struct View<'m, M> {
    media: &'m M,
    segment: u32,
    pub(super) seal: Seal,
    /// Frames lie below.
    pub(super) limit: u32,
    overlay: Option<Overlay>,
}

impl<M> Clone for View<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for View<'_, M> {}

/// A page that is read from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) slot_at: u32,
    pub(super) page_at: u32,
}

/// What a walk expects next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) at: u32,
    pub(super) next: Offset,
    /// The opening whose frames are expected; `None`: not known before its first frame.
    pub(super) generation: Option<u32>,
}

impl Walk {
    pub(super) fn at_start(geometry: Geometry, header: &SegmentHeader) -> Self {
        Self { at: geometry.data_at(), next: header.base, generation: None }
    }

    /// Whether a frame that is valid in itself is the next one of this log: of the expected
    /// generation and offset, or the begin of a new generation.
    pub(super) fn accepts(&self, header: &FrameHeader) -> bool {
        let opens = header.kind == Kind::Control(Some(ControlKind::Opened));
        opens || (self.generation == Some(header.generation) && header.base == self.next)
    }

    /// Goes behind an accepted frame.
    pub(super) fn pass(&mut self, header: &FrameHeader) {
        self.at += u32::try_from(header.frame_bytes()).expect("a frame fits its segment");
        self.next = header.end();
        self.generation = Some(header.generation);
    }
}

/// What stands at a place.
pub(super) enum Standing<'s> {
    /// A frame that is valid in itself, and its body.
    Frame(FrameHeader, &'s [u8]),
    /// The page is not written further.
    Blank,
    /// No frame.
    Bad,
}

impl<'m, M: ReadMedia> View<'m, M> {
    pub(super) fn of(media: &'m M, segment: u32, header: &SegmentHeader, crc: Crc32c) -> Self {
        let limit = media.geometry().segment_bytes;
        Self { media, segment, seal: header.seal(crc), limit, overlay: None }
    }

    pub(super) fn with(self, overlay: Overlay) -> Self {
        Self { overlay: Some(overlay), ..self }
    }

    /// Reads bytes of the segment; the caller stays below the segment's end.
    pub(super) fn read(&self, at: u32, into: &mut [u8]) -> Result<(), M::Error> {
        let Some(Overlay { slot_at, page_at }) = self.overlay else {
            return self.media.read(self.segment, at, into);
        };
        let page_end = page_at + self.media.geometry().page_bytes;
        let (mut at, mut into) = (at, into);
        while !into.is_empty() {
            let (from, room) = if at < page_at {
                (at, page_at - at)
            } else if at < page_end {
                (slot_at + (at - page_at), page_end - at)
            } else {
                (at, u32::MAX - at)
            };
            let count = into.len().min(room as usize);
            let (now, later) = into.split_at_mut(count);
            self.media.read(self.segment, from, now)?;
            at += u32::try_from(count).expect("inside a segment");
            into = later;
        }
        Ok(())
    }

    /// The valid header at a place, if there is one whose frame ends below the limit.
    pub(super) fn header(&self, at: u32) -> Result<Option<FrameHeader>, M::Error> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if at as usize + bytes.len() > self.limit as usize {
            return Ok(None);
        }
        self.read(at, &mut bytes)?;
        let header = FrameHeader::decode(&bytes, self.seal, at);
        let ends = |header: &FrameHeader| at as usize + header.frame_bytes();
        Ok(header.filter(|header| ends(header) <= self.limit as usize))
    }

    /// What stands at a place; `scratch` takes the body.
    pub(super) fn frame<'s>(
        &self,
        at: u32,
        scratch: &'s mut [u8],
    ) -> Result<Standing<'s>, M::Error> {
        let Some(header) = self.header(at)? else {
            let mut first = [1];
            if at < self.limit {
                self.read(at, &mut first)?;
            }
            return Ok(if first == [0] { Standing::Blank } else { Standing::Bad });
        };
        let Some(body) = scratch.get_mut(..header.body_bytes as usize) else {
            return Ok(Standing::Bad);
        };
        self.read(at + FRAME_HEADER_BYTES as u32, body)?;
        if self.seal.body_crc(body) != header.body_crc {
            return Ok(Standing::Bad);
        }
        Ok(Standing::Frame(header, body))
    }

    /// The place of the next frame of this walk, which may lie behind a page that is not written
    /// to its end.
    pub(super) fn next_place(
        &self,
        walk: &Walk,
        scratch: &mut [u8],
    ) -> Result<Option<u32>, M::Error> {
        let next_page = self.media.geometry().next_page(walk.at);
        for at in [walk.at, next_page] {
            match self.frame(at, scratch)? {
                Standing::Frame(header, _) if walk.accepts(&header) => return Ok(Some(at)),
                // Only a page that is blank from here on may be passed over.
                Standing::Blank => {}
                Standing::Frame(..) | Standing::Bad => break,
            }
        }
        Ok(None)
    }

    /// Looks behind damage for the next frame that proves that what is missing was durable: one
    /// that was written when the durable end was already beyond `walk.next`. What was torn off
    /// together with the end of the log cannot prove that, whatever is left of it.
    pub(super) fn behind_damage(
        &self,
        walk: &Walk,
        scratch: &mut [u8],
    ) -> Result<Option<(u32, FrameHeader)>, M::Error> {
        let mut at = walk.at;
        while at as usize + FRAME_HEADER_BYTES <= self.limit as usize {
            let count = scratch.len().min((self.limit - at) as usize);
            let (window, _) = scratch.split_at_mut(count);
            self.read(at, window)?;
            let room = self.limit - at;
            for (index, bytes) in window.windows(FRAME_HEADER_BYTES).enumerate() {
                let Some(bytes) = bytes.first_chunk() else { continue };
                let place = at + index as u32;
                if FrameHeader::is_plausible(bytes, walk.next, room)
                    && let Some(header) = FrameHeader::decode(bytes, self.seal, place)
                    && header.durable() > walk.next
                    && place as usize + header.frame_bytes() <= self.limit as usize
                {
                    return Ok(Some((place, header)));
                }
            }
            at += u32::try_from(count + 1 - FRAME_HEADER_BYTES).expect("inside a segment");
        }
        Ok(None)
    }
}
