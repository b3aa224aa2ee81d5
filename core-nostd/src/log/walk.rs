//! What comes next in a segment: which of all frames that are valid in themselves go on with it.
//!
//! A frame goes on with the log if it is of the generation that writes and begins at the offset
//! that is due. An opening begins a new generation; it and a record of a gap may leave out
//! offsets. What an unclean stop left behind the end is of an older generation, and every opening
//! is later on the age clock than all that it found: so behind damage, too, old and new can be told
//! apart.

use super::ControlKind;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind};
use super::media::{Geometry, ReadMedia};
use super::segment::SegmentHeader;
use super::window::Window;
use crate::Offset;
use crate::time::Age;

/// A place in a segment, and what is expected there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) at: u32,
    /// The offset that is due.
    pub(super) next: Offset,
    /// The generation that writes here.
    pub(super) generation: u32,
    /// The latest that was seen on the age clock.
    pub(super) age: Age,
}

impl Walk {
    /// The first place of a segment.
    pub(super) fn at_start(geometry: Geometry, header: &SegmentHeader) -> Self {
        let (at, generation) = (geometry.data_at(), header.generation);
        Self { at, next: header.base, generation, age: Age(0) }
    }

    /// Whether a valid frame is the next one of this log.
    pub(super) fn accepts(&self, header: &FrameHeader) -> bool {
        let (same, due) = (header.generation == self.generation, header.base == self.next);
        let later = header.base >= self.next;
        match header.kind {
            Kind::Control(ControlKind::Opened) => later && (same || header.clock.age > self.age),
            Kind::Control(ControlKind::Gap) => same && later,
            Kind::Events | Kind::Control(_) | Kind::Unknown(_) | Kind::Filler => same && due,
        }
    }

    /// Whether a valid frame belongs to this log and lies behind what could not be read here.
    pub(super) fn resumes(&self, header: &FrameHeader) -> bool {
        let live = header.generation == self.generation || header.clock.age > self.age;
        live && header.base >= self.next
    }

    /// Goes behind a frame that stands here.
    pub(super) fn pass(&mut self, header: &FrameHeader) {
        self.at += header.frame_bytes();
        self.next = header.end();
        self.generation = header.generation;
        self.age = self.age.max(header.clock.age);
    }

    /// The next frame, if there is one: goes behind it.
    pub(super) fn step<M: ReadMedia>(&mut self, window: &mut Window<'_, M>) -> Option<FrameHeader> {
        let header = window.frame(self.at).filter(|header| self.accepts(header))?;
        self.pass(&header);
        Some(header)
    }

    /// The first valid frame that begins in `places` and lies behind what could not be read here.
    pub(super) fn look_behind<M: ReadMedia>(
        &self,
        window: &mut Window<'_, M>,
        places: core::ops::Range<u32>,
    ) -> Option<(u32, FrameHeader)> {
        let mut at = places.start;
        loop {
            let (place, header) = self.header_behind(window, at..places.end)?;
            if window.frame(place).is_some() {
                return Some((place, header));
            }
            at = place + 1;
        }
    }

    /// The same for a header, whatever became of its body.
    pub(super) fn header_behind<M: ReadMedia>(
        &self,
        window: &mut Window<'_, M>,
        places: core::ops::Range<u32>,
    ) -> Option<(u32, FrameHeader)> {
        let mut at = places.start;
        loop {
            let place = self.plausible(window, at..places.end)?;
            let header = window.header(place).filter(|header| self.resumes(header));
            if let Some(header) = header {
                return Some((place, header));
            }
            at = place + 1;
        }
    }

    fn plausible<M: ReadMedia>(
        &self,
        window: &mut Window<'_, M>,
        places: core::ops::Range<u32>,
    ) -> Option<u32> {
        let (mut at, seal) = (places.start, window.seal);
        while at < places.end {
            let room = window.limit.saturating_sub(at);
            let bytes = window.most(at);
            let places_here = (bytes.len() + 1).saturating_sub(FRAME_HEADER_BYTES);
            if places_here == 0 {
                return None;
            }
            // Cheap tests first: this looks at every byte of what may be megabytes.
            for (index, first) in bytes[..places_here].iter().enumerate() {
                if !FrameHeader::may_begin_with(*first) {
                    continue;
                }
                let place = at + u32::try_from(index).expect("inside a segment");
                let head = &bytes[index..index + FRAME_HEADER_BYTES];
                if place < places.end
                    && FrameHeader::is_plausible(head, self.next, room)
                    && let Some(head) = head.first_chunk()
                    && FrameHeader::decode(head, seal, place).is_some()
                {
                    return Some(place);
                }
            }
            at += u32::try_from(places_here).expect("inside a segment");
        }
        None
    }
}
