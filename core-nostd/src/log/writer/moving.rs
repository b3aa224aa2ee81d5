//! From a segment that has failed to the next one: frames that are in memory.
//!
//! They get new headers, of this generation and for their new place. What is durable stays where it
//! is, its last page in a slot, where readers find it.

use core::borrow::BorrowMut;

use super::super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal};
use super::super::media::Media;
use super::super::{Clock, ControlKind};
use super::Log;
use crate::Offset;

/// What is moved: the end of the buffer, from `begin` on.
pub(super) struct Moving {
    begin: usize,
    /// The place of its first byte in the failed segment.
    at: u32,
    /// The seal of the failed segment.
    seal: Seal,
    pub(super) base: Offset,
    /// The offset behind it all.
    next: Offset,
}

impl<M: Media, B: BorrowMut<[u8]>> Log<M, B> {
    /// Puts what has to be moved to the end of the buffer. Of a segment that failed before anything in it
    /// was durable, full pages of the records in force are out of memory: the next one gets them anew.
    pub(super) fn set_aside(&mut self) -> Moving {
        let (at, base) = (self.durable_at.max(self.tail_at), self.durable_next);
        let bytes = (at - self.tail_at) as usize..(self.at - self.tail_at) as usize;
        let buffer = self.buffer.borrow_mut();
        let begin = buffer.len() - bytes.len();
        buffer.copy_within(bytes, begin);
        Moving { begin, at, seal: self.seal, base, next: self.next }
    }

    /// Appends what was set aside. Where offsets are missing in it, that is noted.
    pub(super) fn put_moved(&mut self, moving: &Moving, clock: Clock) -> Result<(), M::Error> {
        let mut begin = moving.begin;
        while let Some((place, header)) = self.next_moved(moving, begin) {
            begin = place + header.frame_bytes() as usize;
            self.jump(header.base, clock)?;
            if header.kind == Kind::Filler {
                continue;
            }
            let header = FrameHeader {
                durable_delta: self.at - self.durable_at,
                generation: self.generation,
                clock: Clock { age: header.clock.age.max(self.clock.age), ..header.clock },
                ..header
            };
            let head = header.encode(self.seal, self.at);
            let mut at = self.spill(self.at, &head)?;
            let mut from = place + FRAME_HEADER_BYTES;
            while from < begin {
                let used = (at - self.tail_at) as usize;
                let count = (begin - from).min(self.page() - used);
                self.buffer.borrow_mut().copy_within(from..from + count, used);
                from += count;
                at += u32::try_from(count).expect("inside a page");
                self.page_filled(at)?;
            }
            self.passed(&header);
        }
        self.jump(moving.next, clock)
    }

    /// The next frame at or behind `begin` in the buffer: damage may lie before it.
    fn next_moved(&self, moving: &Moving, begin: usize) -> Option<(usize, FrameHeader)> {
        let buffer = self.buffer.borrow();
        let heads = (begin..).zip(buffer.get(begin..)?.windows(FRAME_HEADER_BYTES));
        let mut frames = heads.filter_map(|(place, head)| {
            let at = moving.at + u32::try_from(place - moving.begin).ok()?;
            let header = FrameHeader::decode(head.first_chunk()?, moving.seal, at)?;
            let end = place + header.frame_bytes() as usize;
            (end <= buffer.len()).then_some((place, header))
        });
        frames.next()
    }

    /// Notes that offsets before `base` are missing.
    fn jump(&mut self, base: Offset, clock: Clock) -> Result<(), M::Error> {
        let start = core::mem::replace(&mut self.next, base);
        if start < base {
            self.spill_frame((Kind::Control(ControlKind::Gap), 0), clock, &gap_body(start, base))?;
        }
        Ok(())
    }
}

/// The body of a record of missing offsets.
pub(super) fn gap_body(start: Offset, end: Offset) -> [u8; 16] {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&start.0.to_le_bytes());
    body[8..].copy_from_slice(&end.0.to_le_bytes());
    body
}
