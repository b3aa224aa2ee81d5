//! Writing the log on flash: a frame is one program, and durable when it has returned.

use core::borrow::BorrowMut;

use super::super::super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, Seal};
use super::super::super::generations::{GENERATION_BYTES, Generation};
use super::super::super::ring::Placed;
use super::super::super::segment::SegmentHeader;
use super::super::super::writer::Frame;
use super::super::super::{Clock, ControlKind, FRAME_RECORDS_MAX, Gap, OFFSET_MAX};
use super::super::{NorError, State};
use super::log::NorLog;
use super::places::Places;
use super::sector::{ERASED, data_at};
use super::{NorFlash, each_way};
use crate::Offset;
use crate::time::Age;

/// A frame that an opening repeats: where it is, and what sealed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) index: u32,
    pub(super) at: u32,
    pub(super) header: FrameHeader,
    pub(super) seal: Seal,
}

#[each_way]
impl<F: NorFlash, B: BorrowMut<[u8]>> NorLog<F, B> {
    /// Appends the events of one frame: one program, no read. They are durable when this returns.
    ///
    /// # Errors
    /// See [`NorError`]. Nothing was appended then.
    ///
    /// # Panics
    /// If the frame has no records or more than [`FRAME_RECORDS_MAX`].
    pub async fn append(&mut self, frame: &Frame<'_>) -> Result<(), NorError<F::Error>> {
        assert!((1..=FRAME_RECORDS_MAX).contains(&frame.count), "a frame has 1 to 65,535 records");
        let count = u16::try_from(frame.count).expect("just checked");
        self.check_begun()?;
        self.put((Kind::Events, count), frame.clock, frame.body).await
    }

    /// Appends a control record, which holds from the next offset on; durable when this returns.
    ///
    /// # Errors
    /// See [`NorError`].
    pub async fn append_control(
        &mut self,
        kind: ControlKind,
        body: &[u8],
        clock: Clock,
    ) -> Result<(), NorError<F::Error>> {
        self.check_begun()?;
        self.put((Kind::Control(kind), 0), clock, body).await
    }

    /// A segment whose beginning was given up in the middle takes nothing.
    fn check_begun(&self) -> Result<(), NorError<F::Error>> {
        if self.state == State::Begun { Err(NorError::SegmentFull) } else { Ok(()) }
    }

    /// Gives back what lies below: it counts as evicted from now on.
    ///
    /// # Errors
    /// See [`NorError`].
    pub async fn trim(
        &mut self,
        below: Offset,
        clock: Clock,
    ) -> Result<Option<Gap>, NorError<F::Error>> {
        let (oldest, below) = (self.oldest, below.min(self.next));
        if below <= oldest {
            return Ok(None);
        }
        self.append_control(ControlKind::Trimmed, &below.0.to_le_bytes(), clock).await?;
        self.oldest = below;
        Ok(Some(oldest..below))
    }

    /// Begins the next segment with `snapshot`, the control records in force, and erases it before:
    /// what it held, the oldest, is returned.
    ///
    /// # Errors
    /// [`NorError::Flash`] if the segment cannot be written: ask again, it will be the one after.
    /// [`NorError::ReadOnly`] if that could not either.
    pub async fn roll(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<Option<Gap>, NorError<F::Error>> {
        self.roll_with(snapshot, clock, None).await
    }

    /// The same; a frame of an earlier segment is the first in the new one.
    pub(super) async fn roll_with(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
        carried: Option<&Carried>,
    ) -> Result<Option<Gap>, NorError<F::Error>> {
        if self.state == State::ReadOnly {
            return Err(NorError::ReadOnly);
        }
        let had_failed = self.state == State::Failed;
        self.state = State::Begun;
        match self.begin_next(snapshot, clock, carried).await {
            Ok(evicted) => {
                self.state = State::Sound;
                Ok(evicted)
            }
            Err(error) => {
                self.state = if had_failed { State::ReadOnly } else { State::Failed };
                Err(if had_failed { NorError::ReadOnly } else { error })
            }
        }
    }

    async fn begin_next(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
        carried: Option<&Carried>,
    ) -> Result<Option<Gap>, NorError<F::Error>> {
        let index = (self.index + 1) % self.geometry.segments;
        let kept = self.kept_without(index).await?.max(self.oldest);
        let evicted = (kept > self.oldest).then_some(self.oldest..kept);
        self.oldest = kept;
        // Sequences follow the indices, over segments that fail, too: so a search can rely on it.
        (self.index, self.sequence) = (index, self.sequence.wrapping_add(1));
        self.entropy = self.entropy.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let salt = (self.entropy ^ (self.entropy >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        self.salt = salt ^ (salt >> 31);
        let begin = self.geometry.start + index * self.geometry.segment_bytes;
        let erased = self.flash.erase(begin, begin + self.geometry.segment_bytes).await;
        erased.map_err(NorError::Flash)?;
        let next = self.next;
        let base = carried.map_or(next, |carried| carried.header.base);
        let header = SegmentHeader {
            log_id: self.log_id,
            sequence: self.sequence,
            base,
            salt: self.salt,
            oldest: self.oldest,
            page_bytes: Self::word(),
            generation: self.generation,
            skipped: 0,
            is_in_last_page: false,
        };
        (self.at, self.next) = (data_at(Self::word()), base);
        (self.base, self.begun_by) = (base, self.generation);
        let filled = self.fill(snapshot, clock, carried, next).await;
        self.next = next;
        filled?;
        // Last: a segment that has a header has all that it begins with.
        let bytes = header.encode(self.crc);
        self.flash.write(begin, &bytes).await.map_err(NorError::Flash)?;
        Ok(evicted)
    }

    async fn fill(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
        carried: Option<&Carried>,
        next: Offset,
    ) -> Result<(), NorError<F::Error>> {
        for (kind, body) in snapshot {
            self.put((Kind::Control(*kind), 0), clock, body).await?;
        }
        self.put_opened(clock).await?;
        let Some(carried) = carried else { return Ok(()) };
        self.put_carried(carried).await?;
        let from = core::mem::replace(&mut self.next, next);
        if from < next {
            let mut body = [0; 16];
            body[..8].copy_from_slice(&from.0.to_le_bytes());
            body[8..].copy_from_slice(&next.0.to_le_bytes());
            self.put((Kind::Control(ControlKind::Gap), 0), clock, &body).await?;
        }
        Ok(())
    }

    /// The oldest offset that is kept when the segment at `index` is erased.
    async fn kept_without(&mut self, index: u32) -> Result<Offset, NorError<F::Error>> {
        if self.sequence == u64::MAX {
            return Ok(self.next);
        }
        let head = self.placed();
        let (geometry, crc) = (self.geometry, self.crc);
        let mut places = Places { flash: &mut self.flash, geometry, crc, reads: 0 };
        Ok(places.oldest(&head, Some(index)).await?.header.base)
    }

    /// The segment that is written, as far as others look at it.
    pub(super) fn placed(&self) -> Placed {
        let header = SegmentHeader {
            log_id: self.log_id,
            sequence: self.sequence,
            base: self.base,
            salt: self.salt,
            oldest: self.oldest,
            page_bytes: Self::word(),
            generation: self.begun_by,
            skipped: 0,
            is_in_last_page: false,
        };
        Placed { index: self.index, header }
    }

    fn word() -> u32 {
        u32::try_from(F::WRITE_SIZE).expect("a word is small")
    }

    /// Whether so many bytes of frames fit.
    fn has_room(&self, bytes: usize) -> bool {
        self.at as usize + bytes <= self.geometry.segment_bytes as usize
    }

    /// Bytes of a frame on the flash.
    fn frame_bytes(body_bytes: usize) -> usize {
        (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(F::WRITE_SIZE)
    }

    /// Notes the opening: ends the records in force.
    async fn put_opened(&mut self, clock: Clock) -> Result<(), NorError<F::Error>> {
        let opening = Generation { number: self.generation, first: self.first };
        let body: [u8; GENERATION_BYTES] = opening.encode();
        let header = self.head((Kind::Control(ControlKind::Opened), 0), clock, &body);
        self.program(&header, &body).await
    }

    /// Repeats a frame here. One that cannot be read a second time was never acknowledged.
    async fn put_carried(&mut self, carried: &Carried) -> Result<(), NorError<F::Error>> {
        let Carried { index, at, header, seal } = *carried;
        let bytes = header.frame_bytes() as usize;
        let whole = Self::frame_bytes(header.body_bytes as usize);
        let buffer = &mut self.buffer.borrow_mut()[..whole];
        let from = self.geometry.start + index * self.geometry.segment_bytes + at;
        self.flash.read(from, buffer).await.map_err(NorError::Flash)?;
        let same = buffer.first_chunk().and_then(|head| FrameHeader::decode(head, seal, at));
        if same != Some(header)
            || seal.body_crc(0, &buffer[FRAME_HEADER_BYTES..bytes]) != header.body_crc
        {
            return Ok(());
        }
        let header = FrameHeader {
            generation: self.generation,
            clock: Clock { age: self.age, ..header.clock },
            ..header
        };
        self.program_buffer(&header).await
    }

    async fn put(
        &mut self,
        (kind, count): (Kind, u16),
        clock: Clock,
        body: &[u8],
    ) -> Result<(), NorError<F::Error>> {
        let header = self.head((kind, count), clock, body);
        self.program(&header, body).await
    }

    fn head(&self, (kind, count): (Kind, u16), clock: Clock, body: &[u8]) -> FrameHeader {
        FrameHeader {
            kind,
            count,
            body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            base: self.next,
            durable_delta: 0,
            generation: self.generation,
            clock: Clock { age: clock.age.max(self.age), ..clock },
            body_crc: self.seal().body_crc(0, body),
        }
    }

    async fn program(
        &mut self,
        header: &FrameHeader,
        body: &[u8],
    ) -> Result<(), NorError<F::Error>> {
        let room = self.buffer.borrow().len() - FRAME_HEADER_BYTES;
        if body.len() > room {
            return Err(NorError::TooLarge(room));
        }
        let into = &mut self.buffer.borrow_mut()[FRAME_HEADER_BYTES..][..body.len()];
        into.copy_from_slice(body);
        self.program_buffer(header).await
    }

    /// Programs a frame whose body is in the buffer.
    async fn program_buffer(&mut self, header: &FrameHeader) -> Result<(), NorError<F::Error>> {
        let bytes = header.frame_bytes() as usize;
        let whole = Self::frame_bytes(header.body_bytes as usize);
        match self.state {
            State::ReadOnly => return Err(NorError::ReadOnly),
            State::Sound | State::Begun if self.has_room(whole) => {}
            State::Sound | State::Begun | State::Failed => return Err(NorError::SegmentFull),
        }
        let head = header.encode(self.seal(), self.at);
        let buffer = &mut self.buffer.borrow_mut()[..whole];
        buffer[..FRAME_HEADER_BYTES].copy_from_slice(&head);
        buffer[bytes..].fill(ERASED);
        let place = self.geometry.start + self.index * self.geometry.segment_bytes + self.at;
        // Until it has returned, also if nobody waits for that: then the words are not known.
        let state = core::mem::replace(&mut self.state, State::Failed);
        self.flash.write(place, buffer).await.map_err(NorError::Flash)?;
        self.state = state;
        self.at += u32::try_from(whole).expect("inside a segment");
        self.next = header.end();
        self.age = Age(self.age.0.max(header.clock.age.0));
        assert!(self.next < OFFSET_MAX, "offsets last for millions of years");
        Ok(())
    }
}
