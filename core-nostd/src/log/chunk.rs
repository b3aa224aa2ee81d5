//! What a reader hands out: frames in the caller's buffer, and what is in them.

use core::ops::Range;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind};
use super::{Clock, Control, Gap, GapCause};
use crate::Offset;
use crate::record::{self, Event};

/// What one read brought: a gap, or frames that lie one behind the other.
#[derive(Clone, Debug)]
pub struct Chunk<'b> {
    gap: Option<(Gap, GapCause)>,
    /// Valid frames.
    frames: &'b [u8],
    wanted: Range<Offset>,
}

/// One thing in the log.
#[derive(Clone, Debug)]
pub enum Item<'b> {
    /// Events of one frame.
    Events(Events<'b>),
    /// A control record.
    Control(Control<'b>),
    /// Offsets that are not there. None at all: what is lost held no events, but perhaps control
    /// records.
    Gap {
        /// Which.
        range: Gap,
        /// Why.
        cause: GapCause,
    },
}

impl<'b> Chunk<'b> {
    pub(super) const fn of_gap(range: Gap, cause: GapCause) -> Self {
        Self { gap: Some((range, cause)), frames: &[], wanted: Offset(0)..Offset(0) }
    }

    /// Events outside of `wanted` are passed over.
    pub(super) const fn of_frames(frames: &'b [u8], wanted: Range<Offset>) -> Self {
        Self { gap: None, frames, wanted }
    }
}

impl<'b> Iterator for Chunk<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        if let Some((range, cause)) = self.gap.take() {
            return Some(Item::Gap { range, cause });
        }
        loop {
            let header = FrameHeader::parse(self.frames.first_chunk()?)?;
            let (frame, rest) = self.frames.split_at_checked(header.frame_bytes() as usize)?;
            self.frames = rest;
            let (base, body) = (header.base, &frame[FRAME_HEADER_BYTES..]);
            match header.kind {
                Kind::Control(kind) => {
                    return Some(Item::Control(Control { kind, at: base, body }));
                }
                Kind::Events if header.end() > self.wanted.start && base < self.wanted.end => {
                    let (clock, wanted, end) = (header.clock, self.wanted.clone(), header.end());
                    return Some(Item::Events(Events { clock, next: base, end, body, wanted }));
                }
                Kind::Events | Kind::Unknown(_) | Kind::Filler => {}
            }
        }
    }
}

/// The events of one frame, each with its offset.
#[derive(Clone, Debug)]
pub struct Events<'b> {
    clock: Clock,
    next: Offset,
    end: Offset,
    body: &'b [u8],
    wanted: Range<Offset>,
}

impl<'b> Events<'b> {
    /// Both clocks when the frame was begun.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The offsets that are left.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.next.max(self.wanted.start)..self.end.min(self.wanted.end)
    }

    /// The records that are left, as they were appended; the first may lie before
    /// [`Self::offsets`].
    #[must_use]
    pub const fn body(&self) -> &'b [u8] {
        self.body
    }
}

impl<'b> Iterator for Events<'b> {
    type Item = (Offset, Event<'b>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end {
            let event = record::decode(&mut self.body, self.clock.wall)?;
            let offset = self.next;
            self.next = offset.plus(1);
            if self.wanted.contains(&offset) {
                return Some((offset, event));
            }
        }
        None
    }
}
