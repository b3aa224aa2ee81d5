//! Writing the log: appending to memory, and making that durable.
//!
//! Invariants: `buffer` shows the segment from `tail_at` on, a page boundary, up to `at`. What lies
//! below `durable_at` is durable: full pages in their place, the last one in `slot`. A commit
//! writes to the other slot and to pages behind, so it goes over no only copy.
//!
//! After a failed write or barrier nothing is written to that segment any more: what is in memory,
//! the acknowledged part of the last page included, goes to the next one with [`Log::roll`]. If
//! that fails too, the log can only be read.

mod begin;
mod commit;
mod error;
mod limits;
mod moving;
mod roll;

use core::borrow::BorrowMut;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal};
use super::generations::{Generation, Generations};
use super::media::{Geometry, Media};
use super::ring::Placed;
use super::seek::Shown;
use super::segment::HeaderCopy;
use super::{Clock, ControlKind, Counters, End, FRAME_RECORDS_MAX, Gap, LogId, OFFSET_MAX, Tail};
use commit::LastPage;
pub use error::{AppendError, CommitError};
use limits::{RESERVE_BYTES, half_bytes, waiting_bytes_max};
pub use limits::{body_bytes_max, buffer_bytes};

use crate::Offset;
use crate::crc::Crc32c;
use crate::time::Age;

/// Events for one frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How many records `body` holds: 1 to [`FRAME_RECORDS_MAX`].
    pub count: u32,
    /// Both clocks; the records' times are relative to the wall time.
    pub clock: Clock,
    /// Records, one behind the other; at most [`body_bytes_max`].
    pub body: &'a [u8],
}

/// Whether the segment can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sound,
    /// No more, but the next one can take over.
    Failed,
    ReadOnly,
}

/// When the header of a new segment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderDue {
    /// It was.
    No,
    /// With its first frames.
    WithFrames,
    /// When its first frames are durable: until then the failed segment before holds acknowledged
    /// events that this one begins with, and has to stay the newest.
    AfterFrames,
}

/// A log that is written. `M` is where it lies, `B` the buffer.
#[derive(Debug)]
pub struct Log<M: Media, B> {
    media: M,
    buffer: B,
    crc: Crc32c,
    /// What frames may use of this segment.
    geometry: Geometry,
    segment: Placed,
    seal: Seal,
    tail_at: u32,
    durable_at: u32,
    at: u32,
    next: Offset,
    end: End,
    oldest: Offset,
    /// The offset at `durable_at`: what lies behind has to go to the next segment if this one
    /// fails.
    durable_next: Offset,
    /// Behind the last event that is durable, in this segment or the one before.
    events_end: Offset,
    slot: u32,
    salt: u64,
    generation: u32,
    generations: Generations,
    /// That of the last frame; its age is the latest of all.
    clock: Clock,
    state: State,
    header_due: HeaderDue,
    failure: Option<M::Error>,
    /// So often the ring closes here without asking for room again: there was none.
    refused: u32,
    counters: Counters,
}

/// The body of a frame, as its header tells of it.
#[derive(Clone, Copy)]
struct Summed {
    bytes: usize,
    crc: u32,
}

/// What is copied as soon as it was read for its checksum: the processor has it at hand.
const PART_BYTES: usize = 4096;

impl Summed {
    fn of(seal: Seal, body: &[u8]) -> Self {
        Self { bytes: body.len(), crc: seal.body_crc(0, body) }
    }

    fn of_copy(seal: Seal, body: &[u8], into: &mut [u8]) -> Self {
        let mut crc = 0;
        for (part, into) in body.chunks(PART_BYTES).zip(into.chunks_mut(PART_BYTES)) {
            crc = seal.body_crc(crc, part);
            into.copy_from_slice(part);
        }
        Self { bytes: body.len(), crc }
    }
}

impl<M: Media, B: BorrowMut<[u8]>> Log<M, B> {
    /// Appends the events of one frame. They are not durable before [`Log::commit`]; where the
    /// buffer is full, those before it become so.
    ///
    /// # Errors
    /// See [`AppendError`].
    ///
    /// # Panics
    /// If the frame has no records or more than [`FRAME_RECORDS_MAX`].
    pub fn append(&mut self, frame: &Frame<'_>) -> Result<(), AppendError> {
        assert!((1..=FRAME_RECORDS_MAX).contains(&frame.count), "a frame has 1 to 65,535 records");
        let count = u16::try_from(frame.count).expect("just checked");
        self.put_frame((Kind::Events, count), frame.clock, frame.body, RESERVE_BYTES)
    }

    /// Appends a control record, which holds from the next offset on.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_control(
        &mut self,
        kind: ControlKind,
        body: &[u8],
        clock: Clock,
    ) -> Result<(), AppendError> {
        self.put_frame((Kind::Control(kind), 0), clock, body, RESERVE_BYTES)
    }

    /// Makes everything that was appended durable. This is what an acknowledgement waits for.
    /// Writes nothing if there is nothing new.
    ///
    /// # Errors
    /// See [`CommitError`]. What was not acknowledged must not be.
    pub fn commit(&mut self) -> Result<End, CommitError> {
        match self.state {
            State::ReadOnly => return Err(CommitError::ReadOnly),
            State::Failed => return Err(CommitError::SegmentFailed),
            State::Sound => {}
        }
        if self.at == self.durable_at && self.header_due == HeaderDue::No {
            return Ok(self.end);
        }
        self.fill_last_page();
        if let Err(error) = self.write_out(LastPage::ToSlot) {
            return Err(self.fail(error));
        }
        self.counters.commits += 1;
        Ok(self.end)
    }

    /// Gives back what lies below: it counts as evicted from now on, over restarts too once this
    /// is committed.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn trim(&mut self, below: Offset, clock: Clock) -> Result<Option<Gap>, AppendError> {
        let (oldest, below) = (self.oldest, below.min(self.end.offset));
        if below <= oldest {
            return Ok(None);
        }
        self.append_control(ControlKind::Trimmed, &below.0.to_le_bytes(), clock)?;
        self.oldest = below;
        Ok(Some(oldest..below))
    }

    /// The first durable offset of a frame that is not from before `age`: see
    /// [`offset_at`](super::offset_at).
    pub fn offset_at(&self, age: Age, buffer: &mut [u8]) -> Offset {
        let shown = Shown { media: &self.media, tail: self.tail() };
        super::offset_at(&shown, self.end, age, (self.crc, buffer))
    }

    /// The age clock of what was written last.
    #[must_use]
    pub const fn age(&self) -> Age {
        self.clock.age
    }

    /// Bytes that are left in this segment.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.geometry.segment_bytes.saturating_sub(self.at)
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
        LogId(self.segment.header.log_id)
    }

    /// The number of this opening.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Openings, oldest first; this one is the last.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Whether the segment can be written no more: what is not durable waits for [`Log::roll`].
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// What was written since the log was opened.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What the device said when a write or a barrier failed last.
    #[must_use]
    pub const fn failure(&self) -> Option<&M::Error> {
        self.failure.as_ref()
    }

    /// Where the log lies.
    #[must_use]
    pub const fn media(&self) -> &M {
        &self.media
    }

    /// Where the log lies, for what does not concern the log: writing ahead, settings.
    pub const fn media_mut(&mut self) -> &mut M {
        &mut self.media
    }

    /// The unfinished last page, as far as it is durable.
    #[must_use]
    pub fn tail(&self) -> Tail<'_> {
        let count = self.durable_at.saturating_sub(self.tail_at) as usize;
        let Placed { index, header } = self.segment;
        let bytes = &self.buffer.borrow()[..count];
        let header = HeaderCopy::of(index, &header, self.crc);
        Tail { segment: index, at: self.tail_at, bytes, header }
    }

    fn page(&self) -> usize {
        self.geometry.page_bytes as usize
    }

    fn put_frame(
        &mut self,
        (kind, count): (Kind, u16),
        clock: Clock,
        body: &[u8],
        reserve: usize,
    ) -> Result<(), AppendError> {
        let buffer_bytes = self.buffer.borrow().len();
        let bytes_max = body_bytes_max(self.media.geometry(), buffer_bytes);
        if body.len() > bytes_max {
            return Err(AppendError::TooLarge { bytes: body.len(), bytes_max });
        }
        let frame_bytes = FRAME_HEADER_BYTES + body.len();
        match self.state {
            State::ReadOnly => return Err(AppendError::ReadOnly),
            State::Sound if frame_bytes + reserve <= self.room() as usize => {}
            State::Sound | State::Failed => return Err(AppendError::SegmentFull),
        }
        let waiting = (self.at - self.tail_at) as usize;
        if waiting + frame_bytes > waiting_bytes_max(self.media.geometry(), buffer_bytes) {
            match self.commit() {
                Ok(_) => {}
                Err(CommitError::ReadOnly) => return Err(AppendError::ReadOnly),
                Err(_) => return Err(AppendError::SegmentFull),
            }
            // The commit may have filled a page.
            if frame_bytes + reserve > self.room() as usize {
                return Err(AppendError::SegmentFull);
            }
        }
        let place = (self.at - self.tail_at) as usize;
        let into = &mut self.buffer.borrow_mut()[place..place + frame_bytes];
        let body = Summed::of_copy(self.seal, body, &mut into[FRAME_HEADER_BYTES..]);
        let header = self.frame_header((kind, count), clock, body);
        let head = header.encode(self.seal, self.at);
        self.buffer.borrow_mut()[place..place + FRAME_HEADER_BYTES].copy_from_slice(&head);
        self.passed(&header);
        Ok(())
    }

    /// The header of the next frame. The age clock only runs forward.
    fn frame_header(&self, (kind, count): (Kind, u16), clock: Clock, body: Summed) -> FrameHeader {
        FrameHeader {
            kind,
            count,
            body_bytes: u32::try_from(body.bytes).expect("below BODY_BYTES_MAX"),
            base: self.next,
            durable_delta: self.at - self.durable_at,
            generation: self.generation,
            clock: Clock { age: clock.age.max(self.clock.age), ..clock },
            body_crc: body.crc,
        }
    }

    /// A frame stands at `at` now.
    fn passed(&mut self, header: &FrameHeader) {
        self.at += header.frame_bytes();
        self.next = header.end();
        self.clock = Clock { age: self.clock.age.max(header.clock.age), ..header.clock };
        self.counters.frames += 1;
        assert!(self.next < OFFSET_MAX, "offsets last for millions of years");
    }

    /// Takes note of a failed write or barrier.
    fn fail(&mut self, error: M::Error) -> CommitError {
        self.counters.failures += 1;
        self.failure = Some(error);
        if self.header_due == HeaderDue::AfterFrames {
            self.state = State::ReadOnly;
            return CommitError::ReadOnly;
        }
        self.state = State::Failed;
        CommitError::SegmentFailed
    }
}
