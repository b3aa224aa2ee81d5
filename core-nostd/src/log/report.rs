//! What recovery found.

use super::generations::Generations;
use super::media::Noted;
use super::{Clock, Gap, LogId, OFFSET_MAX};
use crate::Offset;
use crate::time::Age;

/// Gaps that one recovery lists; more are joined to the last.
pub const GAPS_MAX: usize = 16;

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether there was no log yet.
    pub created: bool,
    /// The identity; `None` if there was no log yet.
    pub id: Option<LogId>,
    /// What is noted beside the segments of a log that was here, should none of them have a header any more:
    /// all of it is lost, and another one begins.
    pub vanished: Option<Noted>,
    /// The oldest offset that is there.
    pub oldest: Offset,
    /// The offset that the next event will have.
    pub next: Offset,
    /// What is missing in the newest segment, or between it and `next`.
    pub gaps: heapless::Vec<Gap, GAPS_MAX>,
    /// Gaps that were joined to the last of these, with what lies between, because they are too many.
    pub joined_gaps: u32,
    /// Of these gaps, those that an earlier recovery found already.
    pub known_gaps: heapless::Vec<Gap, GAPS_MAX>,
    /// Openings so far, oldest first.
    pub generations: Generations,
    /// The clocks of the newest frame.
    pub last_clock: Option<Clock>,
    /// Bytes of frames behind the end that were not acknowledged, and are dropped.
    pub torn_bytes: u32,
    /// Control records of kinds that a later version knows, passed over.
    pub unknown_controls: u32,
    /// Reads of the newest segment.
    pub reads: u32,
    /// Pages of the newest segment that the device could not read. The log goes on in the next
    /// segment then and leaves this one as it is: another reading may succeed.
    pub unread_pages: u32,
    /// The latest on the age clock, also among what is dropped.
    pub(super) age: Age,
    /// The highest offset that a hint claims.
    pub(super) claimed: Offset,
}

impl Report {
    pub(super) fn new(floor: Offset) -> Self {
        Self {
            created: true,
            id: None,
            vanished: None,
            oldest: floor,
            next: floor,
            gaps: heapless::Vec::new(),
            joined_gaps: 0,
            known_gaps: heapless::Vec::new(),
            generations: Generations::new(),
            last_clock: None,
            torn_bytes: 0,
            unknown_controls: 0,
            reads: 0,
            unread_pages: 0,
            age: Age(0),
            claimed: Offset(0),
        }
    }

    /// Takes note of offsets that are missing; `gap` does not begin before an earlier one.
    pub(super) fn lose(&mut self, gap: Gap) {
        if gap.is_empty() {
            return;
        }
        let full = self.gaps.is_full();
        match self.gaps.last_mut() {
            Some(last) if last.end == gap.start => last.end = gap.end,
            Some(last) if full => {
                last.end = gap.end;
                self.joined_gaps += 1;
            }
            _ => self.gaps.push(gap).expect("it is not full"),
        }
    }

    /// No offset below `claimed` may be given out again: it may have been seen elsewhere.
    pub(super) fn claim(&mut self, claimed: Offset) {
        if claimed > self.next && claimed < OFFSET_MAX {
            self.lose(self.next..claimed);
            self.next = claimed;
        }
    }
}
