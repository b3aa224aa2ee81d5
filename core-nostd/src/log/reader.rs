//! Reading the log from an offset on, while it is written.
//!
//! A reader keeps no index: it finds its segment by the headers and then walks. It begins at the
//! segment's start, so the control records that hold at its offset always come first. Events are
//! borrowed from the caller's buffer. A segment that is recycled meanwhile cannot be mistaken: its
//! frames no longer fit their seal.

use core::fmt;
use core::ops::Range;

use super::chunk::Chunk;
use super::frame::{FrameHeader, HEADER_BYTES, Kind};
use super::media::ReadMedia;
use super::ring::{Placed, Ring};
use super::segment::{Found, SegmentHeader};
use super::walk::Walk;
use super::window::{Overlay, Window};
use super::{End, Gap, GapCause, OFFSET_MAX};
use crate::Offset;
use crate::crc::Crc32c;

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// A frame is larger than the buffer: give one of at least this many bytes.
    BufferTooSmall(usize),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::BufferTooSmall(bytes) = self;
        write!(f, "a frame needs a buffer of {bytes} bytes")
    }
}

impl core::error::Error for ReadError {}

/// A place in the log.
#[derive(Debug)]
pub struct Reader {
    crc: Crc32c,
    next: Offset,
    /// Also control records in front of the next event, in segments that hold no event from there on.
    with_controls: bool,
    place: Option<Place>,
    /// Where the chunk that was handed out last begins.
    chunk: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    placed: Placed,
    walk: Walk,
    /// The next segment, if there is one: where it begins, this one ends, whatever it holds.
    after: Option<Placed>,
}

/// What one turn of a reader came to.
enum Turn {
    /// Something was passed over.
    Again,
    /// There is nothing before the end.
    Nothing,
    Gap(Gap, GapCause),
    /// The first bytes of the buffer are frames.
    Frames(usize, Range<Offset>),
}

/// How far a walk over a buffer came.
struct Walked {
    /// Bytes of frames, at the start of the buffer.
    used: usize,
    /// Whether something in them is to be handed out.
    wanted: bool,
    stop: Stop,
}

/// Why a walk over a buffer ended.
#[derive(Clone, Copy)]
enum Stop {
    /// The frame here has so many bytes and goes on behind the buffer.
    Incomplete(u32),
    /// The frame here leaves out the offsets before this one.
    Jump(Offset),
    /// No frame goes on here.
    Bad,
    /// What follows is of no use: the next segment has it, or there is no room for a frame.
    Over,
}

impl Reader {
    /// A reader whose first event is `from`, or the first after it.
    #[must_use]
    pub const fn new(from: Offset, crc: Crc32c) -> Self {
        Self { crc, next: from, with_controls: false, place: None, chunk: None }
    }

    /// The same, but all control records that hold at `from` or behind come, too: also those at the
    /// end of the segment before, and of segments without any event.
    #[must_use]
    pub const fn with_controls(from: Offset, crc: Crc32c) -> Self {
        Self { with_controls: true, ..Self::new(from, crc) }
    }

    /// The next event to be handed out is `from`, or the first after it. Cheap from the chunk that
    /// was handed out last onwards; control records of that chunk come again then.
    pub fn seek(&mut self, from: Offset) {
        let in_segment =
            |place: &Place| place.after.is_none_or(|next| from < next.header.takes_over_at());
        let behind = |place: &Place| place.walk.next <= from && in_segment(place);
        let place = if from < self.next { self.chunk } else { self.place };
        self.place = place.filter(behind);
        self.next = from;
    }

    /// The first offset that was not handed out yet.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// Fills `buffer` with the next frames before `end`. `None`: there are none. `end` is the
    /// durable end at any time after the last call. A chunk holds one gap, or frames.
    ///
    /// What the media cannot read is damaged: it becomes a gap.
    ///
    /// # Errors
    /// If the buffer is smaller than the next frame.
    ///
    /// # Panics
    /// If the buffer is smaller than a frame's header.
    pub fn read<'b, M: ReadMedia>(
        &mut self,
        media: &M,
        end: End,
        buffer: &'b mut [u8],
    ) -> Result<Option<Chunk<'b>>, ReadError> {
        loop {
            match self.turn(media, end, buffer)? {
                Turn::Again => {}
                Turn::Nothing => return Ok(None),
                Turn::Gap(range, cause) => return Ok(Some(Chunk::of_gap(range, cause))),
                Turn::Frames(used, wanted) => {
                    return Ok(Some(Chunk::of_frames(&buffer[..used], wanted)));
                }
            }
        }
    }

    fn turn<M: ReadMedia>(
        &mut self,
        media: &M,
        end: End,
        buffer: &mut [u8],
    ) -> Result<Turn, ReadError> {
        if self.next < end.oldest {
            return Ok(self.lose(end.oldest, GapCause::Evicted));
        }
        let Some(mut place) = self.place else { return Ok(self.locate(media, end)) };
        let in_head = place.placed.header.sequence >= end.sequence;
        if !in_head && place.after.is_none() {
            place.after = self.ring(media, end).and_then(|ring| ring.after(&place.placed));
            self.place = place.after.map(|_| place);
            return Ok(Turn::Again);
        }
        let of_frames = place.placed.header.geometry(media.geometry());
        let limit = if in_head { end.at } else { of_frames.segment_bytes };
        if place.walk.at >= limit {
            return Ok(if in_head { Turn::Nothing } else { self.leave(media, &place) });
        }
        let ring = Ring { media, crc: self.crc, head: place.placed };
        let mut window = Window::new(&ring, &place.placed, limit, buffer);
        let begin = place;
        let mut walked = place.walk_over(&mut window, self.next);
        if walked.used == 0 && matches!(walked.stop, Stop::Bad) {
            // Also where no event is missing: control records may be durable in a slot alone.
            walked = place.mend(&mut window);
            if matches!(walked.stop, Stop::Bad) && place.walk.next >= place.until() {
                // It is complete: what is left was torn, or never belonged to it.
                walked.stop = Stop::Over;
            }
        }
        if walked.used > 0 {
            let wanted = self.next..place.until();
            self.next = self.next.max(place.walk.next.min(place.until()));
            (self.place, self.chunk) = (Some(place), Some(begin));
            let frames = Turn::Frames(walked.used, wanted);
            return Ok(if walked.wanted { frames } else { Turn::Again });
        }
        match walked.stop {
            Stop::Incomplete(bytes) => Err(ReadError::BufferTooSmall(bytes as usize)),
            Stop::Over => {
                place.walk.at = limit;
                self.place = Some(place);
                Ok(Turn::Again)
            }
            Stop::Jump(base) => {
                place.walk.next = base;
                self.place = Some(place);
                Ok(self.lose(base.min(place.until()), GapCause::Damaged))
            }
            Stop::Bad => Ok(self.pass_damage(&ring, place, end, &mut window)),
        }
    }

    /// The ring as `end` has it; `None` if its newest segment is not there.
    fn ring<'m, M: ReadMedia>(&self, media: &'m M, end: End) -> Option<Ring<'m, M>> {
        match SegmentHeader::read(media, end.segment, self.crc) {
            Ok(Found::Header(header)) if header.sequence == end.sequence => {
                let head = Placed { index: end.segment, header };
                Some(Ring { media, crc: self.crc, head })
            }
            _ => None,
        }
    }

    /// Finds the segment that holds the next offset.
    fn locate<M: ReadMedia>(&mut self, media: &M, end: End) -> Turn {
        let Some(ring) = self.ring(media, end) else {
            return match SegmentHeader::read(media, end.segment, self.crc) {
                // The end is of long ago.
                Ok(Found::Header(_)) => Turn::Nothing,
                _ => match self.lose(end.offset, GapCause::Damaged) {
                    Turn::Again => Turn::Nothing,
                    gap => gap,
                },
            };
        };
        let placed = if self.with_controls {
            ring.holding_before(self.next)
        } else {
            ring.holding(self.next)
        };
        self.place = Some(Place::at_start(media, placed));
        self.lose(placed.header.base, GapCause::Evicted)
    }

    /// Goes on in the next segment.
    fn leave<M: ReadMedia>(&mut self, media: &M, place: &Place) -> Turn {
        let Some(placed) = place.after else { return Turn::Nothing };
        // The oldest segment goes first: those between are gone with this one, or are damaged.
        let is_there = self.is_there(media, &place.placed);
        self.place = Some(Place::at_start(media, placed));
        let cause = if is_there { GapCause::Damaged } else { GapCause::Evicted };
        self.lose(placed.header.base, cause)
    }

    /// Whether a segment was not recycled meanwhile.
    fn is_there<M: ReadMedia>(&self, media: &M, placed: &Placed) -> bool {
        let now = SegmentHeader::read(media, placed.index, self.crc);
        matches!(now, Ok(Found::Header(header)) if header == placed.header)
    }

    /// Goes behind what cannot be read here.
    fn pass_damage<M: ReadMedia>(
        &mut self,
        ring: &Ring<'_, M>,
        mut place: Place,
        end: End,
        window: &mut Window<'_, M>,
    ) -> Turn {
        if !self.is_there(ring.media, &place.placed) {
            // Recycled under our eyes.
            self.place = None;
            return Turn::Again;
        }
        let found = place.look_behind(window);
        let in_head = place.placed.header.sequence >= end.sequence;
        let base = if let Some((at, frame)) = found {
            let (next, generation, age) = (frame.base, frame.generation, place.walk.age);
            place.walk = Walk { at, next, generation, age };
            Some(frame.base)
        } else {
            place.walk.at = window.limit;
            // Of another segment only the next one tells where it ended.
            in_head.then_some(end.offset)
        };
        self.place = Some(place);
        let Some(base) = base else { return Turn::Again };
        match self.lose(base.min(place.until()), GapCause::Damaged) {
            Turn::Again => Turn::Gap(self.next..self.next, GapCause::Damaged),
            gap => gap,
        }
    }

    /// Passes over what is missing before `base`.
    fn lose(&mut self, base: Offset, cause: GapCause) -> Turn {
        if base <= self.next {
            return Turn::Again;
        }
        let range = self.next..base;
        self.next = base;
        self.chunk = None;
        Turn::Gap(range, cause)
    }
}

impl Place {
    fn at_start<M: ReadMedia>(media: &M, placed: Placed) -> Self {
        let geometry = placed.header.geometry(media.geometry());
        Self { placed, walk: Walk::at_start(geometry, &placed.header), after: None }
    }

    /// Where the next segment takes over.
    fn until(&self) -> Offset {
        self.after.map_or(OFFSET_MAX, |after| after.header.takes_over_at())
    }

    /// Walks over the frames that one reading of the window shows; events below `from` are not
    /// wanted.
    fn walk_over<M: ReadMedia>(&mut self, window: &mut Window<'_, M>, from: Offset) -> Walked {
        let begin = self.walk.at;
        let shown = begin + u32::try_from(window.most(begin).len()).expect("inside a segment");
        let mut wanted = false;
        let stop = loop {
            let left = shown - self.walk.at;
            if left < HEADER_BYTES {
                break Stop::Over;
            }
            let Some(header) = window.header(self.walk.at) else { break Stop::Bad };
            let is_events = header.kind == Kind::Events;
            if !self.walk.accepts(&header) {
                break Stop::Bad;
            }
            if header.base > self.until() || is_events && header.base == self.until() {
                break Stop::Over;
            }
            if header.frame_bytes() > left {
                break Stop::Incomplete(header.frame_bytes());
            }
            if header.base > self.walk.next {
                break Stop::Jump(header.base);
            }
            let skipped = is_events && header.end() <= from;
            // Those that are not wanted, too: what stands in the last page's own place may be left
            // from before, with a header that fits.
            if window.frame(self.walk.at).is_none() {
                break Stop::Bad;
            }
            wanted |= !skipped && !matches!(header.kind, Kind::Unknown(_) | Kind::Filler);
            self.walk.pass(&header);
        };
        Walked { used: (self.walk.at - begin) as usize, wanted, stop }
    }

    /// The first frame that goes on behind what cannot be read here, in any copy of its page.
    fn look_behind<M: ReadMedia>(&self, window: &mut Window<'_, M>) -> Option<(u32, FrameHeader)> {
        let (at, limit, page_bytes) = (self.walk.at, window.limit, window.geometry.page_bytes);
        window.show(None);
        let mut first = self.walk.look_behind(window, at..limit);
        for slot in [1, 2] {
            let Some(page_at) = window.page_in_slot(slot, self.placed.header.base) else {
                continue;
            };
            // Only what comes before the best so far is of interest.
            let end = first.map_or(limit, |(place, _)| place).min(page_at + page_bytes);
            window.show(Some(Overlay { slot, page_at }));
            first = self.walk.look_behind(window, at..end).or(first);
        }
        window.show(None);
        first
    }

    /// Looks for the frame here in the slots: that of a segment that failed while it was the
    /// newest reaches into a page that is durable there alone.
    fn mend<M: ReadMedia>(&mut self, window: &mut Window<'_, M>) -> Walked {
        let (geometry, at) = (window.geometry, self.walk.at);
        let header = window.header(at);
        let last = header.map_or(at + HEADER_BYTES, |head| at + head.frame_bytes());
        for slot in [1, 2] {
            for page_at in [geometry.page_at(at), geometry.page_at(last - 1)] {
                window.show(Some(Overlay { slot, page_at }));
                let Some(header) = window.frame(at) else { continue };
                let is_moved = header.kind == Kind::Events && header.base == self.until();
                if !self.walk.accepts(&header) || header.base > self.until() || is_moved {
                    continue;
                }
                if header.base > self.walk.next {
                    return Walked { used: 0, wanted: false, stop: Stop::Jump(header.base) };
                }
                let used = header.frame_bytes() as usize;
                if window.bytes(at, used).len() < used {
                    let stop = Stop::Incomplete(header.frame_bytes());
                    return Walked { used: 0, wanted: false, stop };
                }
                self.walk.pass(&header);
                return Walked { used, wanted: true, stop: Stop::Over };
            }
        }
        Walked { used: 0, wanted: false, stop: Stop::Bad }
    }
}
