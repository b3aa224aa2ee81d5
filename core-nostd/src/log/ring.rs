//! Which segment is which: the ring's headers.
//!
//! Segments are begun in the order of their indices, from the last back to the first; each header
//! says how many were begun before. So the newest is found by binary search, and the one that
//! holds an offset too, without an index. A ring may have grown: then unused segments lie between
//! old and new ones. Where anything does not fit, all headers are read.

use super::media::ReadMedia;
use super::segment::{Found, SegmentHeader};
use crate::Offset;
use crate::crc::Crc32c;

/// A segment and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) index: u32,
    pub(super) header: SegmentHeader,
}

/// What a look for the newest segment has come to.
pub(super) enum Head<E> {
    /// No segment was ever written; a new log may begin at this index.
    None {
        free: u32,
    },
    At(Placed),
    /// A segment of another version stands here.
    Newer,
    /// No segment can be read, and this is why.
    Failed(E),
}

/// Finds the newest segment, in few reads; where anything does not fit, by reading all headers.
pub(super) fn find_head<M: ReadMedia>(media: &M, crc: Crc32c) -> Head<M::Error> {
    if let Some(placed) = search_head(media, crc) {
        return Head::At(placed);
    }
    let mut newest: Option<Placed> = None;
    let (mut free, mut failed) = (None, None);
    for index in 0..media.geometry().segments {
        match SegmentHeader::read(media, index, crc) {
            Ok(Found::Newer) => return Head::Newer,
            Ok(Found::Header(header)) => {
                if newest.is_none_or(|newest| newest.header.sequence < header.sequence) {
                    newest = Some(Placed { index, header });
                }
            }
            Ok(Found::Blank) => free = free.or(Some(index)),
            Ok(Found::Garbage) => {}
            Err(error) => failed = Some(error),
        }
    }
    match (newest, failed) {
        (Some(placed), _) => Head::At(placed),
        (None, Some(error)) => Head::Failed(error),
        // What cannot be understood is left alone as long as there is another place.
        (None, None) => Head::None { free: free.unwrap_or(0) },
    }
}

/// Binary search for the last segment that was begun without a break after the one at index 0;
/// `None` if the headers are not as an undisturbed ring has them.
fn search_head<M: ReadMedia>(media: &M, crc: Crc32c) -> Option<Placed> {
    let segments = media.geometry().segments;
    let Ok(Found::Header(first)) = SegmentHeader::read(media, 0, crc) else { return None };
    let newer = |index: u32| match SegmentHeader::read(media, index, crc) {
        Ok(Found::Header(header)) if header.log_id != first.log_id => None,
        Ok(Found::Header(header)) if header.sequence == first.sequence + u64::from(index) => {
            Some(Some(header))
        }
        Ok(Found::Header(header)) if header.sequence < first.sequence => Some(None),
        Ok(Found::Blank) => Some(None),
        _ => None,
    };
    let (mut head, mut low, mut high) = (first, 0, segments);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match newer(middle)? {
            Some(header) => (head, low) = (header, middle),
            None => high = middle,
        }
    }
    // A header that was wiped, or not written because its segment failed, would hide newer ones.
    for step in 1..segments.min(4) {
        let index = (low + step) % segments;
        match SegmentHeader::read(media, index, crc) {
            Ok(Found::Header(header)) if header.sequence < head.sequence => {}
            Ok(Found::Blank) => {}
            _ => return None,
        }
    }
    Some(Placed { index: low, header: head })
}

/// The segments of one ring, seen from its newest one.
pub(super) struct Ring<'m, M> {
    pub(super) media: &'m M,
    pub(super) crc: Crc32c,
    pub(super) head: Placed,
}

impl<M: ReadMedia> Ring<'_, M> {
    /// The header at an index, if it belongs to the ring. One that is older than its place allows does
    /// not: its segment could not be wiped, and was passed over.
    fn at(&self, index: u32) -> Option<Placed> {
        let newest = self.head.header;
        let from_head = u64::from(self.head.index) + u64::from(self.segments()) - u64::from(index);
        let steps = self.wrap(from_head);
        match SegmentHeader::read(self.media, index, self.crc) {
            Ok(Found::Header(header))
                if header.log_id == self.head.header.log_id
                    && header.sequence <= newest.sequence
                    && header.sequence.saturating_add(u64::from(steps)) >= newest.sequence =>
            {
                Some(Placed { index, header })
            }
            _ => None,
        }
    }

    /// The `nth` segment in order of age; those that are not readable are `None`.
    fn nth(&self, nth: u32) -> Option<Placed> {
        self.at(self.wrap(u64::from(self.head.index) + 1 + u64::from(nth)))
    }

    fn wrap(&self, index: u64) -> u32 {
        u32::try_from(index % u64::from(self.segments())).expect("below a u32")
    }

    fn segments(&self) -> u32 {
        self.media.geometry().segments
    }

    /// The oldest segment but for the one at index `without`.
    pub(super) fn oldest(&self, without: Option<u32>) -> Placed {
        let usable = |placed: &Placed| Some(placed.index) != without;
        // A ring that was never filled is unused from the newest segment to its end.
        let unused = |nth: u32| {
            let index = self.wrap(u64::from(self.head.index) + 1 + u64::from(nth));
            matches!(SegmentHeader::read(self.media, index, self.crc), Ok(Found::Blank))
        };
        let first = self.at(0).filter(usable);
        let fresh = self.segments() - 1 - self.head.index;
        if let Some(first) = first
            && fresh >= 4
            && (0..4).all(unused)
            && first.header.sequence + u64::from(self.head.index) == self.head.header.sequence
        {
            return first;
        }
        let mut all = (0..self.segments()).filter_map(|nth| self.nth(nth));
        all.find(usable).unwrap_or(self.head)
    }

    /// The next segment that was begun after `placed` and can be read.
    pub(super) fn after(&self, placed: &Placed) -> Option<Placed> {
        let index = |step: u32| self.wrap(u64::from(placed.index) + u64::from(step));
        let mut later = (1..self.segments()).filter_map(|step| self.at(index(step)));
        later.find(|later| later.header.sequence > placed.header.sequence)
    }

    /// The segment that was begun right before the newest.
    pub(super) fn before_head(&self) -> Option<Placed> {
        let earlier = |placed: &Placed| placed.header.sequence < self.head.header.sequence;
        let all = (0..self.segments()).filter_map(|nth| self.nth(nth)).filter(earlier);
        all.max_by_key(|placed| placed.header.sequence)
    }

    /// The newest segment that begins at or below `from`; if there is none, the oldest.
    pub(super) fn holding(&self, from: Offset) -> Placed {
        if self.head.header.base <= from {
            return self.head;
        }
        let begins = |placed: &Placed| Some(placed.header.base <= from);
        self.last_where(&mut { begins }).unwrap_or_else(|| self.oldest(None))
    }

    /// The newest segment that begins below `from`; if there is none, the oldest.
    pub(super) fn holding_before(&self, from: Offset) -> Placed {
        let begins = |placed: &Placed| Some(placed.header.base < from);
        self.last_where(&mut { begins }).unwrap_or_else(|| self.oldest(None))
    }

    /// The newest segment for which `holds`, by binary search: it holds for all that are older,
    /// and for none that is newer. `None`: nobody can tell.
    pub(super) fn last_where(
        &self,
        holds: &mut dyn FnMut(&Placed) -> Option<bool>,
    ) -> Option<Placed> {
        // It holds for all before `low`, and for none from `high` on.
        let (mut low, mut high) = (0, self.segments());
        let mut best = None;
        while low < high {
            let middle = low + (high - low) / 2;
            // Those that cannot be read say nothing: the nearest older one decides for them.
            let found = (low..=middle).rev().find_map(|nth| {
                let placed = self.nth(nth)?;
                Some((nth, placed, holds(&placed)?))
            });
            match found {
                Some((nth, _, false)) => high = nth,
                Some((_, placed, true)) => {
                    best = Some(placed);
                    low = middle + 1;
                }
                None => low = middle + 1,
            }
        }
        best
    }
}
