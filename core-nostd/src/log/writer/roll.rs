//! Beginning the next segment of the ring.
//!
//! Order: what this segment holds is made durable in its place; the oldest segment is given up;
//! the records in force are written; header and first events become durable with the next commit.
//! A cut before that leaves this segment the newest: what the next one begins with is judged by
//! whether it is there as a whole. A segment that cannot be begun is passed over, once.

use core::borrow::BorrowMut;

use super::super::frame::{FRAME_HEADER_BYTES, Kind};
use super::super::generations::GENERATION_BYTES;
use super::super::media::Media;
use super::super::ring::{Placed, Ring};
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::super::{Clock, ControlKind, Gap};
use super::commit::LastPage;
use super::{CommitError, HeaderDue, Log, RESERVE_BYTES, State, Summed, half_bytes};
use crate::Offset;

/// Where there was no room for the next segment, it is not asked for so many times: a log that holds
/// looks some dozens of times a second, and each attempt writes.
const REFUSED_ASKS: u32 = 200;

impl<M: Media, B: BorrowMut<[u8]>> Log<M, B> {
    /// The offset at which the next segment would begin: of the control records, those that hold
    /// there are in force for it. Below [`Log::next_offset`] where this segment has failed: what
    /// was not made durable goes to the next one.
    #[must_use]
    pub fn roll_at(&self) -> Offset {
        if self.state == State::Failed { self.durable_next } else { self.next }
    }

    /// Starts the next segment. It begins with `snapshot`, the control records in force at
    /// [`Log::roll_at`], so that every segment can be understood alone. If the ring is full the
    /// oldest segment makes room: its offsets are returned. What was appended before is durable
    /// then, or, if this segment has failed, waits for the next commit.
    ///
    /// # Errors
    /// [`CommitError::SegmentFailed`] if this segment has failed only now, or the next one cannot be
    /// begun: ask again, also for [`Log::next_victim`], with the records in force at
    /// [`Log::roll_at`]. [`CommitError::ReadOnly`] if two in a row cannot be written, or
    /// [`CommitError::SnapshotTooLarge`].
    pub fn roll(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<Option<Gap>, CommitError> {
        let bytes_max = half_bytes(self.media.geometry()) - RESERVE_BYTES;
        let bytes = self.snapshot_bytes(snapshot);
        if bytes > bytes_max {
            return Err(CommitError::SnapshotTooLarge { bytes, bytes_max });
        }
        if self.state == State::ReadOnly {
            return Err(CommitError::ReadOnly);
        }
        if self.state == State::Sound
            && let Err(error) = self.close()
        {
            return Err(self.fail(error));
        }
        let oldest = self.oldest;
        let (index, begun) = match self.prepare_next() {
            Ok(index) if index == self.end.segment && index != self.segment.index => {
                // This segment failed before anything in it was durable, and there is no third one:
                // the one with the durable end is not given up.
                self.state = State::ReadOnly;
                return Err(CommitError::ReadOnly);
            }
            Ok(index) => (index, self.begin_next(index, snapshot, clock)),
            Err(error) => (self.index_behind(), Err(error)),
        };
        begun.map_err(|error| match self.state {
            State::Sound => {
                // Until the next one is there nobody has heard of what is evicted.
                self.oldest = oldest;
                self.pass_over(index, error)
            }
            _ => self.give_out(error),
        })
    }

    /// The segment at `index` cannot be begun. All of this one is durable: so the log stands at the start
    /// of that one as if it had failed at its first commit, and the one behind may be tried.
    fn pass_over(&mut self, index: u32, error: M::Error) -> CommitError {
        if self.segment.index != index {
            self.start(index, self.segment.header.sequence + 1, self.next);
        }
        // The records in force are all that there can be of it, a frame in parts too.
        (self.tail_at, self.at) = (self.durable_at, self.durable_at);
        self.fail(error)
    }

    fn give_out(&mut self, error: M::Error) -> CommitError {
        self.counters.failures += 1;
        self.failure = Some(error);
        self.state = State::ReadOnly;
        CommitError::ReadOnly
    }

    /// What [`Log::roll`] would evict. Sees to it that there is room for the next segment, which may
    /// take its time once: only then is it known where that is.
    pub fn next_victim(&mut self) -> Option<Gap> {
        let index = self.prepare_next().ok()?;
        let kept = self.kept_without(index);
        (kept > self.oldest).then_some(self.oldest..kept)
    }

    /// Makes everything durable in its place; this segment is never written again.
    fn close(&mut self) -> Result<(), M::Error> {
        let in_place = self.at == self.tail_at && self.at == self.durable_at;
        if in_place && self.header_due == HeaderDue::No {
            return Ok(());
        }
        self.write_out(LastPage::Home)
    }

    fn begin_next(
        &mut self,
        index: u32,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<Option<Gap>, M::Error> {
        let kept = self.kept_without(index);
        let evicted = (kept > self.oldest).then_some(self.oldest..kept);
        self.oldest = self.oldest.max(kept);
        self.give_up(index)?;
        let moving = (self.state == State::Failed).then(|| self.set_aside());
        let base = moving.as_ref().map_or(self.next, |moving| moving.base);
        let sequence = self.segment.header.sequence + 1;
        self.start(index, sequence, base);
        self.put_snapshot(snapshot, clock)?;
        if let Some(moving) = moving {
            self.header_due = HeaderDue::AfterFrames;
            self.put_moved(&moving, clock)?;
        }
        self.state = State::Sound;
        Ok(evicted)
    }

    /// Wipes the header of the segment at `index`: readers see that it is gone before anything in
    /// it changes, and after a cut it does not come back with half of what it held. That it is
    /// blank already says nothing: a wipe may be visible and not durable.
    fn give_up(&mut self, index: u32) -> Result<(), M::Error> {
        let Err(error) = self.wipe(index) else { return Ok(()) };
        // The log goes on without it, and gives up the one behind: were this one to come back with a cut,
        // what that held would look damaged.
        self.counters.failures += u64::from(self.wipe(index).is_err());
        Err(error)
    }

    fn wipe(&mut self, index: u32) -> Result<(), M::Error> {
        self.write_header(index, &[0; SEGMENT_HEADER_BYTES])?;
        self.counters.barriers += 1;
        self.media.barrier(index)
    }

    /// The index of the segment that comes next. Where the disk is full before the ring has its
    /// length, the ring closes as it is.
    fn prepare_next(&mut self) -> Result<u32, M::Error> {
        let next = self.index_behind();
        if self.refused > 0 {
            self.refused -= 1;
        } else {
            match self.media.prepare(next) {
                Ok(()) => return Ok(next),
                Err(error) if !self.may_close() => return Err(error),
                Err(_) => self.refused = REFUSED_ASKS,
            }
        }
        self.media.prepare(0).map(|()| 0)
    }

    /// Whether the ring may close behind this segment: no older one lies there.
    fn may_close(&self) -> bool {
        let ring = Ring { media: &self.media, crc: self.crc, head: self.segment };
        self.index_behind() > 0
            && self.segment.index > 0
            && ring.oldest(None).index <= self.segment.index
    }

    fn index_behind(&self) -> u32 {
        (self.segment.index + 1) % self.geometry.segments
    }

    /// The oldest offset that is kept when the segment at `index` is given up.
    fn kept_without(&self, index: u32) -> Offset {
        let ring = Ring { media: &self.media, crc: self.crc, head: self.segment };
        ring.oldest(Some(index)).header.base.max(self.oldest)
    }

    /// Takes the log to the start of a segment that has no header yet.
    pub(super) fn start(&mut self, index: u32, sequence: u64, base: Offset) {
        // SplitMix64: one random number becomes one for each segment.
        self.salt = self.salt.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut salt = self.salt;
        salt = (salt ^ (salt >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        salt = (salt ^ (salt >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let header = SegmentHeader {
            log_id: self.segment.header.log_id,
            sequence,
            base,
            salt: salt ^ (salt >> 31),
            oldest: self.oldest,
            page_bytes: self.geometry.page_bytes,
            generation: self.generation,
            skipped: u32::try_from(base.0.saturating_sub(self.events_end.0)).unwrap_or(u32::MAX),
            is_in_last_page: true,
        };
        self.segment = Placed { index, header };
        self.geometry = header.geometry(self.media.geometry());
        self.seal = header.seal(self.crc);
        self.at = self.geometry.data_at();
        (self.tail_at, self.durable_at) = (self.at, self.at);
        self.next = base;
        self.durable_next = base;
        self.slot = 1;
        self.refused = 0;
        self.header_due = HeaderDue::WithFrames;
        self.counters.segments += 1;
    }

    /// Writes the records in force; the generations come last and end them.
    pub(super) fn put_snapshot(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<(), M::Error> {
        for (kind, body) in snapshot {
            self.spill_frame((Kind::Control(*kind), 0), clock, body)?;
        }
        let mut body = [0; super::super::GENERATIONS_MAX * GENERATION_BYTES];
        let mut bytes = 0;
        for (generation, into) in
            self.generations.iter().zip(body.chunks_exact_mut(GENERATION_BYTES))
        {
            into.copy_from_slice(&generation.encode());
            bytes += GENERATION_BYTES;
        }
        self.spill_frame((Kind::Control(ControlKind::Opened), 0), clock, &body[..bytes])
    }

    fn snapshot_bytes(&self, snapshot: &[(ControlKind, &[u8])]) -> usize {
        let given: usize = snapshot.iter().map(|(_, body)| FRAME_HEADER_BYTES + body.len()).sum();
        given + FRAME_HEADER_BYTES + self.generations.len() * GENERATION_BYTES
    }

    /// Appends a frame of any size page by page, without a commit in between: for a segment that
    /// has no header yet.
    pub(super) fn spill_frame(
        &mut self,
        kind: (Kind, u16),
        clock: Clock,
        body: &[u8],
    ) -> Result<(), M::Error> {
        let header = self.frame_header(kind, clock, Summed::of(self.seal, body));
        let (head, at) = (header.encode(self.seal, self.at), self.at);
        let place = self.spill(at, &head)?;
        self.spill(place, body)?;
        self.passed(&header);
        Ok(())
    }

    /// Writes bytes into the last page; full pages go to their place. The place behind them.
    pub(super) fn spill(&mut self, mut at: u32, mut bytes: &[u8]) -> Result<u32, M::Error> {
        let page = self.page();
        while !bytes.is_empty() {
            let used = (at - self.tail_at) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(page - used));
            self.buffer.borrow_mut()[used..used + now.len()].copy_from_slice(now);
            at += u32::try_from(now.len()).expect("inside a page");
            bytes = later;
            self.page_filled(at)?;
        }
        Ok(at)
    }

    /// Writes the last page to its place if it is full up to `at`.
    pub(super) fn page_filled(&mut self, at: u32) -> Result<(), M::Error> {
        if at - self.tail_at == self.geometry.page_bytes {
            let page = &self.buffer.borrow()[..self.geometry.page_bytes as usize];
            self.media.write(self.segment.index, self.tail_at, page)?;
            self.counters.bytes += u64::from(self.geometry.page_bytes);
            self.tail_at = at;
        }
        Ok(())
    }
}
