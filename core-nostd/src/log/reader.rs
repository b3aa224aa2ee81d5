//! Reading the log from an offset on, while it is written.
//!
//! A reader keeps no index: it finds its segment by the headers and then walks. It begins at the
//! segment's start, so the control records that hold at its offset always come first. Events are
//! borrowed from the caller's buffer. A segment that is recycled meanwhile cannot be mistaken: its
//! frames no longer fit their seal.

use core::ops::Range;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal, SegmentHeader};
use super::media::ReadMedia;
use super::ring::{find_offset, header_of, index_of};
use super::scan::{View, Walk};
use super::{Clock, Control, End, GapCause};
use crate::Offset;
use crate::crc::Crc32c;
use crate::record::{self, Event};

/// Why nothing can be read.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The media failed.
    Media(E),
    /// A frame is larger than the buffer: give one of this many bytes.
    Buffer(usize),
}

impl<E: core::fmt::Display> core::fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Media(error) => error.fmt(f),
            Self::Buffer(bytes) => write!(f, "a frame needs a buffer of {bytes} bytes"),
        }
    }
}

impl<E: core::fmt::Debug + core::fmt::Display> core::error::Error for ReadError<E> {}

impl<E> From<E> for ReadError<E> {
    fn from(error: E) -> Self {
        Self::Media(error)
    }
}

/// A place in the log.
#[derive(Debug)]
pub struct Reader {
    crc: Crc32c,
    next: Offset,
    place: Option<Place>,
    /// Where the chunk that was handed out last begins, and its first offset.
    chunk: Option<(Place, Offset)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    header: SegmentHeader,
    walk: Walk,
}

impl Reader {
    /// A reader whose first event is `from`, or the first after it.
    #[must_use]
    pub const fn new(from: Offset, crc: Crc32c) -> Self {
        Self { crc, next: from, place: None, chunk: None }
    }

    /// The next event to be handed out is `from`, or the first after it.
    pub fn seek(&mut self, from: Offset) {
        if from < self.next {
            self.place = match self.chunk {
                Some((place, first)) if first <= from => Some(place),
                _ => None,
            };
        }
        self.next = from;
    }

    /// The first offset that was not handed out yet.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// Fills `buffer` with the next frames before `end`. `None`: there are none. A chunk holds one
    /// gap, or frames.
    ///
    /// # Errors
    /// If the media fails, or the buffer is smaller than a frame.
    pub fn read<'b, M: ReadMedia>(
        &mut self,
        media: &M,
        end: End,
        buffer: &'b mut [u8],
    ) -> Result<Option<Chunk<'b>>, ReadError<M::Error>> {
        loop {
            let Some(mut place) = self.place else {
                match find_offset(media, end.sequence, self.next, self.crc)? {
                    None => return Ok(None),
                    Some(header) => {
                        let walk = Walk::at_start(media.geometry(), &header);
                        self.place = Some(Place { header, walk });
                        if let Some(gap) = self.lose(header.base, GapCause::Evicted) {
                            return Ok(Some(gap));
                        }
                        continue;
                    }
                }
            };
            let in_head = place.header.sequence == end.sequence;
            let segment_bytes = media.geometry().segment_bytes;
            let limit = if in_head { end.at } else { segment_bytes };
            let count = buffer.len().min(limit.saturating_sub(place.walk.at) as usize);
            if count == 0 {
                if place.header.sequence >= end.sequence {
                    return Ok(None);
                }
                match self.next_segment(media, end, place)? {
                    Some(gap) => return Ok(Some(gap)),
                    None => continue,
                }
            }
            let index = index_of(media.geometry(), place.header.sequence);
            media.read(index, place.walk.at, &mut buffer[..count])?;
            let begin = place;
            let superseded = match in_head {
                true => None,
                false => header_of(media, place.header.sequence + 1, self.crc)?.map(|h| h.base),
            };
            let seal = place.header.seal(self.crc);
            let stop = walk_over(&mut place.walk, &buffer[..count], seal, |at| {
                media.geometry().next_page(at)
            });
            let used = (place.walk.at - begin.walk.at) as usize;
            if used > 0 {
                let (from, place_before) = (self.next, begin.walk.next);
                self.chunk = Some((begin, place_before));
                self.place = Some(place);
                let until = superseded.unwrap_or(Offset(u64::MAX));
                self.next = self.next.max(place.walk.next.min(until));
                let frames = Frames { bytes: &buffer[..used], at: begin.walk.at, seal };
                return Ok(Some(Chunk { gap: None, frames, from, until }));
            }
            match stop {
                Stop::Incomplete(bytes) if bytes <= (limit - place.walk.at) as usize => {
                    return Err(ReadError::Buffer(bytes));
                }
                // A segment ends where no header fits any more.
                Stop::Incomplete(_) if !in_head && count < FRAME_HEADER_BYTES => {
                    place.walk.at = limit;
                    self.place = Some(place);
                }
                Stop::Jump(base) => {
                    place.walk.next = base;
                    self.place = Some(place);
                    if let Some(gap) = self.lose(base, GapCause::Damaged) {
                        return Ok(Some(gap));
                    }
                }
                Stop::Incomplete(_) | Stop::Bad => {
                    if let Some(gap) = self.pass_damage(media, end, place, buffer)? {
                        return Ok(Some(gap));
                    }
                }
            }
        }
    }

    /// Goes behind what cannot be read in the segment of `place`.
    fn pass_damage<'b, M: ReadMedia>(
        &mut self,
        media: &M,
        end: End,
        mut place: Place,
        scratch: &mut [u8],
    ) -> Result<Option<Chunk<'b>>, M::Error> {
        let now = header_of(media, place.header.sequence, self.crc)?;
        if now != Some(place.header) {
            // Recycled under our eyes.
            self.place = None;
            return Ok(None);
        }
        let index = index_of(media.geometry(), place.header.sequence);
        let mut view = View::of(media, index, &place.header, self.crc);
        let in_head = place.header.sequence == end.sequence;
        if in_head {
            view.limit = end.at;
        }
        let found = view.behind_damage(&place.walk, scratch)?;
        let base = match found {
            Some((at, header)) => {
                place.walk = Walk { at, next: header.base, generation: Some(header.generation) };
                header.base
            }
            None => {
                place.walk.at = view.limit;
                if in_head { end.offset } else { place.walk.next }
            }
        };
        self.place = Some(place);
        Ok(self.lose(base, GapCause::Damaged))
    }

    /// Goes on in the next segment that can be read.
    fn next_segment<'b, M: ReadMedia>(
        &mut self,
        media: &M,
        end: End,
        place: Place,
    ) -> Result<Option<Chunk<'b>>, M::Error> {
        for sequence in place.header.sequence + 1..=end.sequence {
            if let Some(header) = header_of(media, sequence, self.crc)? {
                let walk = Walk::at_start(media.geometry(), &header);
                self.place = Some(Place { header, walk });
                return Ok(self.lose(header.base, GapCause::Damaged));
            }
        }
        // All were recycled meanwhile.
        self.place = None;
        Ok(None)
    }

    /// Passes over what is missing before `base`.
    fn lose<'b>(&mut self, base: Offset, cause: GapCause) -> Option<Chunk<'b>> {
        if base <= self.next {
            return None;
        }
        let range = self.next..base;
        self.next = base;
        self.chunk = None;
        Some(Chunk::of_gap(range, cause))
    }
}

/// Why a walk over a buffer ended.
enum Stop {
    /// The frame here goes on behind the buffer: it has so many bytes, as far as that is known.
    Incomplete(usize),
    /// The frame here begins a generation, at this offset and not at the expected one.
    Jump(Offset),
    Bad,
}

/// Walks over the frames in `bytes`, which stand where the walk stands.
fn walk_over(walk: &mut Walk, bytes: &[u8], seal: Seal, next_page: impl Fn(u32) -> u32) -> Stop {
    let begin = walk.at;
    loop {
        let rest = bytes.get((walk.at - begin) as usize..).unwrap_or_default();
        let Some(head) = rest.first_chunk::<FRAME_HEADER_BYTES>() else {
            if rest.first() == Some(&0) {
                walk.at = next_page(walk.at).min(begin + bytes.len() as u32);
            }
            return Stop::Incomplete(FRAME_HEADER_BYTES);
        };
        let Some(header) = FrameHeader::decode(head, seal, walk.at) else {
            let page = next_page(walk.at);
            if head[0] == 0 && page > walk.at {
                walk.at = page.min(begin + bytes.len() as u32);
                continue;
            }
            return Stop::Bad;
        };
        let Some(body) = rest.get(FRAME_HEADER_BYTES..header.frame_bytes()) else {
            return Stop::Incomplete(header.frame_bytes());
        };
        if !walk.accepts(&header) || seal.body_crc(body) != header.body_crc {
            return Stop::Bad;
        }
        if header.base > walk.next {
            return Stop::Jump(header.base);
        }
        walk.pass(&header);
    }
}

/// Frames in a buffer, all valid.
#[derive(Clone, Debug)]
struct Frames<'b> {
    bytes: &'b [u8],
    at: u32,
    seal: Seal,
}

impl<'b> Iterator for Frames<'b> {
    type Item = (FrameHeader, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(head) = self.bytes.first_chunk::<FRAME_HEADER_BYTES>() {
            if let Some(header) = FrameHeader::decode(head, self.seal, self.at) {
                let (frame, rest) = self.bytes.split_at_checked(header.frame_bytes())?;
                self.bytes = rest;
                self.at += frame.len() as u32;
                return Some((header, &frame[FRAME_HEADER_BYTES..]));
            }
            // The rest of a page that was not written to its end: frames begin at sectors again.
            let skip = (512 - self.at as usize % 512).min(self.bytes.len());
            self.bytes = &self.bytes[skip..];
            self.at += skip as u32;
        }
        None
    }
}

/// What one read brought.
#[derive(Clone, Debug)]
pub struct Chunk<'b> {
    gap: Option<(Range<Offset>, GapCause)>,
    frames: Frames<'b>,
    from: Offset,
    until: Offset,
}

/// One thing in the log.
#[derive(Clone, Debug)]
pub enum Item<'b> {
    /// Events of one frame.
    Events(Events<'b>),
    /// A control record.
    Control(Control<'b>),
    /// Offsets that are not there.
    Gap {
        /// Which.
        range: Range<Offset>,
        /// Why.
        cause: GapCause,
    },
}

impl Chunk<'_> {
    fn of_gap(range: Range<Offset>, cause: GapCause) -> Self {
        let seal = SegmentHeader::none().seal(|_, _| 0);
        let frames = Frames { bytes: &[], at: 0, seal };
        Self { gap: Some((range, cause)), frames, from: Offset(0), until: Offset(0) }
    }
}

impl<'b> Iterator for Chunk<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        if let Some((range, cause)) = self.gap.take() {
            return Some(Item::Gap { range, cause });
        }
        loop {
            let (header, body) = self.frames.next()?;
            match header.kind {
                Kind::Control(Some(kind)) => {
                    return Some(Item::Control(Control { kind, at: header.base, body }));
                }
                Kind::Events if header.end() > self.from && header.base < self.until => {
                    return Some(Item::Events(Events {
                        clock: header.clock,
                        offset: header.base,
                        body,
                        from: self.from,
                        until: self.until,
                    }));
                }
                Kind::Events | Kind::Control(None) => {}
            }
        }
    }
}

/// The events of one frame, each with its offset.
#[derive(Clone, Debug)]
pub struct Events<'b> {
    clock: Clock,
    offset: Offset,
    body: &'b [u8],
    from: Offset,
    until: Offset,
}

impl Events<'_> {
    /// Both clocks when the frame was begun.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }
}

impl<'b> Iterator for Events<'b> {
    type Item = (Offset, Event<'b>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.body.is_empty() {
                return None;
            }
            let event = record::decode(&mut self.body, self.clock.wall)?;
            let offset = self.offset;
            self.offset = offset.plus(1);
            if offset >= self.from && offset < self.until {
                return Some((offset, event));
            }
        }
    }
}
