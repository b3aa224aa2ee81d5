//! The one writer of a log: appends frames, commits, starts segments.

use core::ops::Range;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal, SegmentHeader};
use super::media::Media;
use super::recover::{GENERATION_BYTES, Recovery, WHOLE, remember};
use super::ring::{header_of, index_of};
use super::{
    BODY_BYTES_MAX, Clock, ControlKind, Counters, End, Entropy, FRAME_RECORDS_MAX, GENERATIONS_MAX,
    Generation, LogId, Tail,
};
use crate::Offset;
use crate::crc::Crc32c;

/// Why a frame was not appended.
#[derive(Debug)]
pub enum AppendError<E> {
    /// It does not fit in this segment: [`Log::roll`], then again. Nothing was written.
    SegmentFull,
    /// The media failed. What was acknowledged is safe; nothing more can be written.
    Media(E),
}

impl<E> From<E> for AppendError<E> {
    fn from(error: E) -> Self {
        Self::Media(error)
    }
}

/// Events for one frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How many records `body` holds: 1 to [`FRAME_RECORDS_MAX`].
    pub count: u32,
    /// Both clocks; the records' times are relative to the wall time.
    pub clock: Clock,
    /// Records, one behind the other; at most [`BODY_BYTES_MAX`] bytes.
    pub body: &'a [u8],
}

/// A log that is written. `M` is where it lies, `B` holds one page.
#[derive(Debug)]
pub struct Log<M, B> {
    media: M,
    crc: Crc32c,
    header: SegmentHeader,
    seal: Seal,
    /// Behind the last frame.
    at: u32,
    next: Offset,
    /// Everything before is durable.
    end: End,
    oldest: Offset,
    /// The begin of the page that holds `at`.
    tail: B,
    /// Which slot holds the last durable page.
    slot: u32,
    salt: u64,
    generations: heapless::Vec<Generation, GENERATIONS_MAX>,
    counters: Counters,
}

impl<M: Media, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    pub(super) fn begin(
        recovery: Recovery<M, B>,
        entropy: Entropy,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<Self, M::Error> {
        let Recovery { media, crc, tail, report, head, at, overlay } = recovery;
        let geometry = media.geometry();
        let created = head.is_none();
        let header = head.unwrap_or(SegmentHeader {
            log_id: entropy.log_id,
            sequence: 0,
            base: report.next,
            salt: entropy.salt,
            page_bytes: geometry.page_bytes,
            segments: geometry.segments,
        });
        let mut log = Self {
            media,
            crc,
            header,
            seal: header.seal(crc),
            at,
            next: report.next,
            end: End { offset: report.next, sequence: header.sequence, at },
            oldest: report.oldest,
            tail,
            slot: overlay.map_or(1, |overlay| overlay.slot_at / geometry.page_bytes),
            salt: entropy.salt,
            generations: report.generations,
            counters: Counters::default(),
        };
        let opened = Generation { number: entropy.generation, first: log.next };
        remember(&mut log.generations, opened);
        if created {
            log.start_segment(header)?;
            log.open_segment(clock, snapshot)?;
        } else {
            log.settle_last_page(overlay.map(|overlay| overlay.slot_at))?;
            let body = encode_generation(opened);
            match log.append_control(ControlKind::Opened, &body, clock) {
                Ok(()) => {}
                Err(AppendError::Media(error)) => return Err(error),
                Err(AppendError::SegmentFull) => log.next_segment(clock, snapshot)?,
            }
        }
        log.commit()?;
        Ok(log)
    }

    /// Puts the last page where it belongs, blank behind the last frame, and goes on behind it:
    /// what a later opening writes shares no page with what an earlier one left.
    fn settle_last_page(&mut self, slot_at: Option<u32>) -> Result<(), M::Error> {
        let geometry = self.media.geometry();
        let (page_at, used) = (geometry.page_at(self.at), (self.at % geometry.page_bytes) as usize);
        if used > 0 {
            let index = index_of(geometry, self.header.sequence);
            let tail = self.tail.as_mut();
            self.media.read(index, slot_at.unwrap_or(page_at), &mut tail[..used])?;
            self.finish_page()?;
            self.barrier()?;
        }
        self.end.at = self.at;
        Ok(())
    }

    /// Appends the events of one frame. They are not durable before [`Log::commit`].
    ///
    /// # Errors
    /// See [`AppendError`].
    ///
    /// # Panics
    /// If the frame is larger than allowed.
    pub fn append(&mut self, frame: &Frame<'_>) -> Result<(), AppendError<M::Error>> {
        assert!((1..=FRAME_RECORDS_MAX).contains(&frame.count), "a frame has 1 to 65,535 records");
        let count = u16::try_from(frame.count).expect("just checked");
        self.put_frame(Kind::Events, count, frame.clock, frame.body)
    }

    /// Appends a control record, which holds from the next offset on.
    ///
    /// # Errors
    /// See [`AppendError`].
    ///
    /// # Panics
    /// If the body is larger than allowed.
    pub fn append_control(
        &mut self,
        kind: ControlKind,
        body: &[u8],
        clock: Clock,
    ) -> Result<(), AppendError<M::Error>> {
        self.put_frame(Kind::Control(Some(kind)), 0, clock, body)
    }

    /// Makes everything that was appended durable. This is what an acknowledgement waits for.
    ///
    /// # Errors
    /// If the media fails: whether it is durable is not known, and never will be.
    pub fn commit(&mut self) -> Result<End, M::Error> {
        if self.end.at == self.at && self.end.sequence == self.header.sequence {
            return Ok(self.end);
        }
        let geometry = self.media.geometry();
        let used = (self.at % geometry.page_bytes) as usize;
        if used > 0 {
            // The other slot: the last durable page stays where it is until this one is durable.
            self.slot = 3 - self.slot;
            let index = index_of(geometry, self.header.sequence);
            self.media.write(index, self.slot * geometry.page_bytes, &self.tail.as_ref()[..used])?;
            self.counters.bytes += used as u64;
        }
        self.barrier()?;
        self.counters.commits += 1;
        self.end = End { offset: self.next, sequence: self.header.sequence, at: self.at };
        Ok(self.end)
    }

    /// Starts the next segment. It begins with `snapshot`, the control records in force, so that
    /// every segment can be understood alone. If the ring is full the oldest segment makes room:
    /// its offsets are returned.
    ///
    /// # Errors
    /// If the media fails.
    pub fn roll(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<Option<Range<Offset>>, M::Error> {
        let before = self.oldest;
        self.next_segment(clock, snapshot)?;
        Ok((self.oldest > before).then_some(before..self.oldest))
    }

    /// Gives back what lies below: it is not kept over restarts, and counts as evicted. Durable
    /// with the next commit.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn trim(&mut self, below: Offset, clock: Clock) -> Result<(), AppendError<M::Error>> {
        let below = below.min(self.end.offset);
        if below > self.oldest {
            self.append_control(ControlKind::Trimmed, &below.0.to_le_bytes(), clock)?;
            self.oldest = below;
        }
        Ok(())
    }

    /// The offset of the next event.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The oldest offset that is kept.
    #[must_use]
    pub const fn oldest(&self) -> Offset {
        self.oldest
    }

    /// The durable end.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }

    /// The log's identity.
    #[must_use]
    pub const fn id(&self) -> LogId {
        LogId(self.header.log_id)
    }

    /// The number of this opening.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generations.last().expect("every opening is remembered").number
    }

    /// Openings, oldest first; this one is the last.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// What was written since the log was opened.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Where the log lies, and the unfinished last page. Right after a commit the page is durable,
    /// up to the durable end: so it can be shown to readers, for whom its own place holds
    /// something else.
    pub fn media_and_tail(&mut self) -> (&mut M, Tail<'_>) {
        let geometry = self.media.geometry();
        let used = (self.at % geometry.page_bytes) as usize;
        let tail = Tail {
            segment: index_of(geometry, self.header.sequence),
            at: geometry.page_at(self.at),
            bytes: &self.tail.as_ref()[..used],
        };
        (&mut self.media, tail)
    }

    fn put_frame(
        &mut self,
        kind: Kind,
        count: u16,
        clock: Clock,
        body: &[u8],
    ) -> Result<(), AppendError<M::Error>> {
        assert!(body.len() <= BODY_BYTES_MAX, "a body has at most {BODY_BYTES_MAX} bytes");
        let room = self.media.geometry().segment_bytes - self.at;
        if FRAME_HEADER_BYTES + body.len() > room as usize {
            return Err(AppendError::SegmentFull);
        }
        let behind = self.next.0 - self.end.offset.0;
        let header = FrameHeader {
            kind,
            count,
            body_bytes: u32::try_from(body.len()).expect("at most BODY_BYTES_MAX"),
            base: self.next,
            durable_delta: u32::try_from(behind).expect("far fewer events wait"),
            generation: self.generation(),
            clock,
            body_crc: self.seal.body_crc(body),
        };
        self.put(&header.encode(self.seal, self.at))?;
        self.put(body)?;
        self.next = header.end();
        self.counters.frames += 1;
        Ok(())
    }

    /// Appends bytes: whole pages go to their place, the rest waits in the tail.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), M::Error> {
        let page_bytes = self.media.geometry().page_bytes as usize;
        let index = index_of(self.media.geometry(), self.header.sequence);
        while !bytes.is_empty() {
            let used = self.at as usize % page_bytes;
            if used == 0 && bytes.len() >= page_bytes {
                let (pages, rest) = bytes.split_at(bytes.len() / page_bytes * page_bytes);
                self.write(index, self.at, pages)?;
                self.at += pages.len() as u32;
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(page_bytes - used));
            self.tail.as_mut()[used..used + now.len()].copy_from_slice(now);
            self.at += now.len() as u32;
            bytes = rest;
            if used + now.len() == page_bytes {
                self.media.write(index, self.at - page_bytes as u32, self.tail.as_ref())?;
                self.counters.bytes += page_bytes as u64;
            }
        }
        Ok(())
    }

    /// Puts the last page to its place, blank behind the last frame.
    fn finish_page(&mut self) -> Result<(), M::Error> {
        let geometry = self.media.geometry();
        let used = (self.at % geometry.page_bytes) as usize;
        if used > 0 {
            self.tail.as_mut()[used..].fill(0);
            let index = index_of(geometry, self.header.sequence);
            self.media.write(index, geometry.page_at(self.at), self.tail.as_ref())?;
            self.counters.bytes += u64::from(geometry.page_bytes);
            self.at = geometry.next_page(self.at);
        }
        Ok(())
    }

    /// Ends this segment and begins the next one. What was appended becomes durable first: the
    /// next segment never claims what this one lost.
    fn next_segment(
        &mut self,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<(), M::Error> {
        self.finish_page()?;
        self.barrier()?;
        self.end = End { offset: self.next, sequence: self.header.sequence, at: self.at };
        let sequence = self.header.sequence + 1;
        let segments = u64::from(self.header.segments);
        if let Some(oldest) = (sequence + 1).checked_sub(segments) {
            let kept = self.first_kept(oldest, sequence)?;
            self.oldest = self.oldest.max(kept);
        }
        self.salt = self.salt.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(sequence | 1);
        let header = SegmentHeader { sequence, base: self.next, salt: self.salt, ..self.header };
        self.start_segment(header)?;
        self.open_segment(clock, snapshot)
    }

    /// Where the oldest segment begins once segment `next` has taken its place.
    fn first_kept(&self, oldest: u64, next: u64) -> Result<Offset, M::Error> {
        for sequence in oldest..next {
            if let Some(header) = header_of(&self.media, sequence, self.crc)? {
                return Ok(header.base);
            }
        }
        Ok(self.next)
    }

    fn start_segment(&mut self, header: SegmentHeader) -> Result<(), M::Error> {
        let geometry = self.media.geometry();
        let index = index_of(geometry, header.sequence);
        self.media.recycle(index)?;
        self.header = header;
        self.seal = header.seal(self.crc);
        self.at = geometry.data_at();
        self.end = End { offset: self.next, sequence: header.sequence, at: self.at };
        self.write(index, 0, &header.encode(self.crc))
    }

    fn open_segment(
        &mut self,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<(), M::Error> {
        let mut body = heapless::Vec::<u8, { GENERATIONS_MAX * GENERATION_BYTES }>::new();
        for generation in &self.generations {
            body.extend_from_slice(&encode_generation(*generation)).expect("sized for all");
        }
        let trimmed = self.oldest.0.to_le_bytes();
        // What comes last tells that the rest is there.
        let (first, last) = ((ControlKind::Opened, body.as_slice()), (WHOLE, &trimmed[..]));
        for (kind, body) in [first].into_iter().chain(snapshot.iter().copied()).chain([last]) {
            match self.append_control(kind, body, clock) {
                Ok(()) => {}
                Err(AppendError::Media(error)) => return Err(error),
                Err(AppendError::SegmentFull) => {
                    unreachable!("the records in force are smaller than a segment")
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, index: u32, at: u32, bytes: &[u8]) -> Result<(), M::Error> {
        self.media.write(index, at, bytes)?;
        self.counters.bytes += bytes.len() as u64;
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), M::Error> {
        self.media.barrier()?;
        self.counters.barriers += 1;
        Ok(())
    }
}

fn encode_generation(generation: Generation) -> [u8; GENERATION_BYTES] {
    let mut bytes = [0; GENERATION_BYTES];
    bytes[..4].copy_from_slice(&generation.number.to_le_bytes());
    bytes[4..].copy_from_slice(&generation.first.0.to_le_bytes());
    bytes
}
