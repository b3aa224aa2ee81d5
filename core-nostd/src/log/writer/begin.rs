//! The first writes of an opening.
//!
//! What recovery found is durable. First the last page has to be in one slot as a whole, so that the
//! other one is free; then the opening is noted.

use core::borrow::BorrowMut;

use super::super::frame::{FRAME_HEADER_BYTES, Kind};
use super::super::generations::{GENERATION_BYTES, Generation, remember};
use super::super::media::Media;
use super::super::recovery::{Recovery, Unmade};
use super::super::ring::Placed;
use super::super::salvage::{Found, Sources};
use super::super::segment::SegmentHeader;
use super::super::{Clock, ControlKind, Counters, End, Entropy, Gap};
use super::moving::gap_body;
use super::{CommitError, HeaderDue, Log, State};
use crate::time::Age;

/// Bytes of a frame that notes missing offsets.
const GAP_FRAME_BYTES: usize = FRAME_HEADER_BYTES + 16;

impl<M: Media, B: BorrowMut<[u8]>> Log<M, B> {
    pub(in super::super) fn begin(
        mut recovery: Recovery<M, B>,
        entropy: Entropy,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<Self, M::Error> {
        let gaps = recovery.report.gaps.clone();
        let known = recovery.report.known_gaps.clone();
        let new_gaps = gaps.iter().filter(|gap| !known.contains(gap));
        let (found, head) = (recovery.found.clone(), recovery.head);
        let unread = recovery.report.unread_pages > 0;
        let age = Age(recovery.report.age.0.saturating_add(1)).max(clock.age);
        let clock = Clock { age, ..clock };
        let settled = core::mem::replace(&mut recovery.settled, Ok(()));
        let mut log = Self::at_end(recovery, entropy);
        let opened = match head {
            Err(Unmade { index }) => log.create(index, snapshot, clock),
            Ok(placed) => {
                if unread || placed.header.page_bytes != log.geometry.page_bytes {
                    log.state = State::Failed;
                } else {
                    log.settle(&placed, &found, settled);
                }
                log.note_opening(snapshot, clock, new_gaps.clone().cloned())
            }
        };
        match opened.and_then(|()| log.commit()) {
            Ok(_) => Ok(log),
            Err(CommitError::SegmentFailed) if head.is_ok() => {
                match log.roll(snapshot, clock).and_then(|_| log.commit()) {
                    Ok(_) => Ok(log),
                    Err(error) => Err(log.failed(error)),
                }
            }
            Err(error) => Err(log.failed(error)),
        }
    }

    /// A log that stands behind the last frame that was found.
    fn at_end(recovery: Recovery<M, B>, entropy: Entropy) -> Self {
        let Recovery { media, buffer, crc, report, head, found, .. } = recovery;
        let of_media = media.geometry();
        let segment = head.unwrap_or_else(|Unmade { index }| Placed {
            index,
            header: SegmentHeader {
                log_id: entropy.log_id,
                sequence: 0,
                base: report.next,
                salt: 0,
                oldest: report.oldest,
                page_bytes: of_media.page_bytes,
                generation: entropy.generation,
                skipped: 0,
                is_in_last_page: true,
            },
        });
        let Placed { index, header } = segment;
        let (next, at) = (report.next, found.at);
        let of_segment = header.geometry(of_media);
        let is_alike = header.page_bytes == of_media.page_bytes;
        let mut generations = report.generations;
        remember(&mut generations, Generation { number: entropy.generation, first: next });
        Self {
            media,
            buffer,
            crc,
            geometry: if is_alike { of_segment } else { of_media.of_frames() },
            segment,
            seal: header.seal(crc),
            tail_at: of_segment.page_at(at),
            durable_at: at,
            at,
            next,
            end: End {
                offset: next,
                sequence: header.sequence,
                segment: index,
                at,
                oldest: report.oldest,
            },
            oldest: report.oldest,
            durable_next: next,
            events_end: found.next,
            slot: 1,
            salt: entropy.salt,
            generation: entropy.generation,
            generations,
            clock: Clock { age: report.age, ..report.last_clock.unwrap_or_default() },
            state: State::Sound,
            header_due: HeaderDue::No,
            failure: None,
            refused: 0,
            counters: Counters::default(),
        }
    }

    fn create(
        &mut self,
        index: u32,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
    ) -> Result<(), CommitError> {
        let prepared = self.media.prepare(index);
        self.start(index, 0, self.next);
        prepared.and_then(|()| self.put_snapshot(snapshot, clock)).map_err(|error| self.fail(error))
    }

    /// Frees a slot. A segment on which a barrier failed or this fails is not written any more;
    /// neither is one of another page size, or one that could not be read as a whole.
    fn settle(&mut self, placed: &Placed, found: &Found, settled: Result<(), M::Error>) {
        let settled = settled
            .and_then(|()| self.write_mended(placed.index, &found.mended))
            .and_then(|()| self.free_slot(placed.index, found.sources));
        if let Err(error) = settled {
            self.fail(error);
        }
    }

    /// Puts pages in their places that were whole only together with a slot, which is written over
    /// from now on.
    fn write_mended(&mut self, index: u32, mended: &[u32]) -> Result<(), M::Error> {
        if mended.is_empty() {
            return Ok(());
        }
        let page = self.page();
        for (image, &at) in self.buffer.borrow()[page..].chunks(page).zip(mended) {
            if let Err(error) = self.media.write(index, at, image) {
                // Of what was never acknowledged this may be the only copy. It reads as before however
                // much of it was written: so it stays, and no later cut mixes it.
                self.counters.barriers += 1;
                return self.media.barrier(index).and(Err(error));
            }
            self.counters.bytes += u64::from(self.geometry.page_bytes);
        }
        self.counters.barriers += 1;
        self.media.barrier(index)
    }

    /// Has the last page in one slot as a whole.
    fn free_slot(&mut self, index: u32, sources: Sources) -> Result<(), M::Error> {
        if sources.none() {
            return Ok(());
        }
        if let Some(slot) = sources.only_slot() {
            self.slot = slot;
            return Ok(());
        }
        let (page, page_bytes) = (self.page(), self.geometry.page_bytes);
        let image = &self.buffer.borrow()[..page];
        let mut places = heapless::Vec::<u32, 2>::new();
        self.slot = if sources.slot(2) { 1 } else { 2 };
        if sources.slot(1) && sources.slot(2) {
            // Both have frames that the other one lacks: its own place is free.
            places.push(self.tail_at).expect("two fit");
        }
        places.push(self.slot * page_bytes).expect("two fit");
        for at in places {
            self.media.write(index, at, image)?;
            self.counters.bytes += u64::from(page_bytes);
            self.counters.barriers += 1;
            self.media.barrier(index)?;
        }
        Ok(())
    }

    fn note_opening(
        &mut self,
        snapshot: &[(ControlKind, &[u8])],
        clock: Clock,
        gaps: impl Iterator<Item = Gap> + Clone,
    ) -> Result<(), CommitError> {
        let bytes = FRAME_HEADER_BYTES + GENERATION_BYTES + gaps.clone().count() * GAP_FRAME_BYTES;
        let room = self.room() as usize;
        if self.state == State::Sound && bytes <= room {
            let first = self.next;
            let opened = Generation { number: self.generation, first }.encode();
            self.put_own(ControlKind::Opened, &opened, clock);
        } else {
            match self.roll(snapshot, clock) {
                Err(CommitError::SegmentFailed) => self.roll(snapshot, clock)?,
                rolled => rolled?,
            };
        }
        for gap in gaps {
            self.put_own(ControlKind::Gap, &gap_body(gap.start, gap.end), clock);
        }
        Ok(())
    }

    /// Appends a record of the log's own: there is room, the reserve is for it.
    fn put_own(&mut self, kind: ControlKind, body: &[u8], clock: Clock) {
        let put = self.put_frame((Kind::Control(kind), 0), clock, body, 0);
        put.expect("small, and the room was looked at");
    }

    fn failed(self, error: CommitError) -> M::Error {
        self.failure.unwrap_or_else(|| panic!("no device failed, and yet: {error}"))
    }
}
