//! Reads a whole log, every checksum and every record, and tells what is damaged.

use core::ops::Range;

use serde::Serialize;
use tributary_core::Offset;
use tributary_core::log::{GapCause, Item, ReadMedia, SegmentState, segment_state};

use super::{OpenedLog, Source};
use crate::io::crc::crc32c;

/// What a log holds, and what of it is lost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Events that can be read.
    pub events: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Control records that can be read.
    pub controls: u64,
    /// First offset and end of each range that is lost.
    pub gaps: Vec<(u64, u64)>,
    /// Places where something cannot be read that held no event: control records may be missing.
    pub without_events: u64,
    /// Segments whose header cannot be read.
    pub damaged_segments: Vec<u32>,
    /// Segments that a newer version wrote.
    pub newer_segments: Vec<u32>,
    /// Bytes behind the end that were never acknowledged; the next start drops them.
    pub torn_bytes: u32,
    /// Pages that the device cannot read.
    pub unread_pages: u32,
}

impl Verified {
    /// Whether nothing that was acknowledged is lost.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.gaps.is_empty() && self.without_events == 0 && self.unread_pages == 0
    }

    /// Events that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.gaps.iter().map(|(first, end)| end - first).sum()
    }

    fn lose(&mut self, range: &Range<Offset>) {
        match self.gaps.last_mut() {
            Some(last) if last.1 == range.start.0 => last.1 = range.end.0,
            _ => self.gaps.push((range.start.0, range.end.0)),
        }
    }
}

/// Reads everything; `progress` is told the first offset that was not read yet.
#[must_use]
pub fn verify(log: &OpenedLog, progress: &mut dyn FnMut(Offset)) -> Verified {
    let mut found = Verified::default();
    let mut pages = log.pages(log.oldest);
    while let Some(chunk) = pages.next(log) {
        for item in chunk {
            match item {
                Item::Control(_) => found.controls += 1,
                // Recycled while it was read: the daemon needed the room.
                Item::Gap { cause: GapCause::Evicted, .. } => {}
                Item::Gap { range, .. } if range.is_empty() => found.without_events += 1,
                Item::Gap { range, .. } => found.lose(&range),
                Item::Events(events) => {
                    let mut due = events.offsets();
                    for (offset, event) in events {
                        found.events += 1;
                        found.payload_bytes += event.payload.len() as u64;
                        due.start = offset.plus(1);
                    }
                    if !due.is_empty() {
                        found.lose(&due);
                    }
                }
            }
        }
        progress(pages.next_offset());
    }
    let read_to = log.end.map_or(log.next, |end| end.offset);
    if read_to < log.next {
        found.lose(&(read_to..log.next));
    }
    if let Source::Files(report) = &log.source {
        if let Some(noted) = report.vanished {
            found.lose(&(Offset(0)..noted.end));
        }
        (found.torn_bytes, found.unread_pages) = (report.torn_bytes, report.unread_pages);
    }
    for index in 0..log.files.geometry().segments {
        match segment_state(&log.files, index, crc32c) {
            Ok(SegmentState::Newer) => found.newer_segments.push(index),
            Ok(SegmentState::Damaged) | Err(_) => found.damaged_segments.push(index),
            Ok(SegmentState::Begun(_) | SegmentState::Blank) => {}
        }
    }
    found
}
