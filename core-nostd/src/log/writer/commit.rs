//! What a commit writes, and where.

use core::borrow::BorrowMut;

use super::super::frame::{FRAME_HEADER_BYTES, HEADER_BYTES, Kind};
use super::super::media::Media;
use super::super::ring::Placed;
use super::super::segment::{HeaderCopy, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::super::{End, Tail};
use super::limits::RESERVE_BYTES;
use super::{HeaderDue, Log, Summed};

/// A commit of so many pages ends at the end of a page.
const FILLED_PAGES: u32 = 4;

/// Where the unfinished last page goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastPage {
    ToSlot,
    /// In its own place: nothing more comes to this segment.
    Home,
}

impl<M: Media, B: BorrowMut<[u8]>> Log<M, B> {
    /// Ends a large commit at the end of a page: the little that it costs spares the way through a
    /// slot, which is a write in another place, and a second one later.
    pub(super) fn fill_last_page(&mut self) {
        let page_bytes = self.geometry.page_bytes;
        let filled_to = self.geometry.page_at(self.at + page_bytes - 1);
        let rest = filled_to - self.at;
        let is_large = self.at - self.durable_at >= FILLED_PAGES * page_bytes;
        // What is left for openings at the end of a segment stays theirs.
        let is_near_end = ((self.geometry.segment_bytes - filled_to) as usize) < RESERVE_BYTES;
        // Should this segment fail, the next one begins in a page in front of what is moved.
        let waiting = (filled_to - self.tail_at) as usize;
        let has_page = waiting + self.page() <= self.buffer.borrow().len();
        if rest < HEADER_BYTES || !is_large || is_near_end || !has_page {
            return;
        }
        let place = (self.at - self.tail_at) as usize;
        let (begin, end) = (place + FRAME_HEADER_BYTES, place + rest as usize);
        let body = Summed::of(self.seal, &self.buffer.borrow()[begin..end]);
        let header = self.frame_header((Kind::Filler, 0), self.clock, body);
        let head = header.encode(self.seal, self.at);
        self.buffer.borrow_mut()[place..begin].copy_from_slice(&head);
        self.passed(&header);
    }

    /// Writes what is in memory and makes it durable.
    pub(super) fn write_out(&mut self, last_page: LastPage) -> Result<(), M::Error> {
        let (page_at, page) = (self.geometry.page_at(self.at), self.page());
        let full = (page_at - self.tail_at) as usize;
        let rest = (self.at - page_at) as usize;
        let Placed { index, header } = self.segment;
        let header = header.encode(self.crc);
        if self.header_due == HeaderDue::WithFrames {
            self.write_header(index, &header)?;
        }
        let buffer = self.buffer.borrow_mut();
        let mut home = full;
        if rest > 0 {
            buffer[full + rest..full + page].fill(0);
            self.counters.bytes += page as u64;
            match last_page {
                LastPage::Home => home += page,
                LastPage::ToSlot => {
                    // The other slot: the last durable page stays where it is.
                    let slot_at = (3 - self.slot) * self.geometry.page_bytes;
                    self.media.write(index, slot_at, &buffer[full..full + page])?;
                }
            }
        }
        if home > 0 {
            self.media.write(index, self.tail_at, &buffer[..home])?;
            self.counters.bytes += full as u64;
        }
        self.counters.barriers += 1;
        self.media.barrier(index)?;
        if self.header_due == HeaderDue::AfterFrames {
            self.write_header(index, &header)?;
            self.counters.barriers += 1;
            self.media.barrier(index)?;
        }
        self.buffer.borrow_mut().copy_within(full..full + rest, 0);
        if rest > 0 && last_page == LastPage::ToSlot {
            self.slot = 3 - self.slot;
        }
        self.became_durable();
        Ok(())
    }

    /// Writes the two pages that a header stands in as a whole: of a part the kernel would read the rest
    /// first, and nothing could be written where that cannot be read any more.
    pub(super) fn write_header(
        &mut self,
        index: u32,
        header: &[u8; SEGMENT_HEADER_BYTES],
    ) -> Result<(), M::Error> {
        let (page, of_media) = (self.geometry.page_bytes, self.media.geometry());
        let last_page = of_media.segment_bytes - page;
        let last_place = SegmentHeader::last_place(of_media) - last_page;
        let buffer = self.buffer.borrow_mut();
        // What waits leaves so much of the buffer free.
        let free = buffer.len() - page as usize;
        let image = &mut buffer[free..];
        for (page_at, places) in [(0, &SegmentHeader::PLACES[..]), (last_page, &[last_place])] {
            image.fill(0);
            for place in places {
                image[*place as usize..][..SEGMENT_HEADER_BYTES].copy_from_slice(header);
            }
            self.counters.bytes += u64::from(page);
            self.media.write(index, page_at, image)?;
        }
        Ok(())
    }

    fn became_durable(&mut self) {
        self.header_due = HeaderDue::No;
        self.tail_at = self.geometry.page_at(self.at);
        self.durable_at = self.at;
        (self.durable_next, self.events_end) = (self.next, self.next);
        let Placed { index: segment, header } = self.segment;
        self.end = End {
            offset: self.next,
            sequence: header.sequence,
            segment,
            at: self.at,
            oldest: self.oldest,
        };
        let bytes = &self.buffer.borrow()[..(self.at - self.tail_at) as usize];
        let header = HeaderCopy::of(segment, &header, self.crc);
        let tail = Tail { segment, at: self.tail_at, bytes, header };
        self.media.publish(self.end, self.oldest, tail);
    }
}
