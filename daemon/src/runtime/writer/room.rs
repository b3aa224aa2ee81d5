//! Room in the log: who waits for it, and what goes for it or by its age.

use core::ops::Range;

use tributary_core::Offset;
use tributary_core::log::{CommitError, Media};

use super::Writer;
use crate::config::WhenFull;
use crate::runtime::clock::Moment;
use crate::sync::lock;

/// What is read at once to find out which events are too old.
const SCAN_BYTES: usize = 64 << 10;

impl<M: Media> Writer<M> {
    /// Whether something has to wait that leaves a part of the segment to others: there is no room
    /// for it but that of events which a lane has not shipped.
    pub(super) fn is_held(&mut self, bytes: usize, part: u32) -> bool {
        let reserve = self.log.media().geometry().segment_bytes / part;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.policy.when_full == WhenFull::Hold
            && self.log.room() < bytes.saturating_add(reserve)
            && self.would_evict_unshipped()
    }

    fn would_evict_unshipped(&mut self) -> bool {
        let Some(last) = self.ingest.positions().held_from() else { return false };
        self.log.next_victim().is_some_and(|victim| last < victim.end)
    }

    /// Starts the next segment, with the records in force where it begins: behind a segment that
    /// failed that is the durable end, and what holds only later comes along with what is moved.
    pub(super) fn roll(&mut self) -> Result<(), CommitError> {
        loop {
            // Each time: it may be another segment than before that has to make room.
            let holds = self.policy.when_full == WhenFull::Hold && self.would_evict_unshipped();
            if holds && !self.log.has_failed() {
                tracing::error!(
                    "control records have no other room: events make room that were not shipped"
                );
            }
            if holds && self.log.has_failed() {
                tracing::error!(
                    "a segment failed, and the next one holds what was not shipped: the log holds \
                     it and takes nothing more; check the disk and start again"
                );
                return Err(CommitError::SegmentFailed);
            }
            // A segment that holds no event may hold what sessions told.
            let victim = self.log.next_victim();
            self.look_at_last(victim.map_or(self.log.oldest(), |victim| victim.end));
            let at = self.log.roll_at();
            let sound = at == self.log.next_offset();
            let snapshot = if sound { &mut self.snapshot } else { &mut self.durable_snapshot };
            snapshot.settle(at);
            let rolled = self.log.roll(&snapshot.records(), self.clock);
            if sound && rolled.is_ok() {
                // Whatever becomes of the new segment: all of this one is durable now.
                self.durable_snapshot = self.snapshot.clone();
            }
            match rolled {
                Err(CommitError::SegmentFailed) => {}
                Err(error) => return Err(error),
                Ok(None) => return Ok(()),
                Ok(Some(evicted)) => {
                    self.note_evicted(&evicted);
                    return Ok(());
                }
            }
        }
    }

    fn look_at_last(&mut self, below: Offset) {
        if let Some(look) = &mut self.last_look {
            look(below);
        }
    }

    fn note_evicted(&mut self, evicted: &Range<Offset>) {
        let count = evicted.end.0 - evicted.start.0;
        self.gone.evicted += count;
        self.gone.note(evicted, self.ingest.positions());
        tracing::warn!(
            first = evicted.start.0,
            count,
            "the log is full: its oldest events made room for new ones"
        );
    }

    /// Gives up events that are older than allowed; of a log that holds only those that are shipped.
    pub(super) fn expire(&mut self, moment: Moment) -> Result<(), CommitError> {
        let clocks = *lock(&self.clocks);
        let clock = clocks.now(moment);
        let Some(age) = self.expiry.as_mut().and_then(|expiry| expiry.due(moment.now, clock))
        else {
            return Ok(());
        };
        let age = clocks.anchor().as_read(age);
        let mut below = self.log.offset_at(age, &mut vec![0; SCAN_BYTES]);
        if self.policy.when_full == WhenFull::Hold {
            below = self.ingest.positions().held_from().map_or(below, |last| below.min(last));
        }
        if below <= self.log.oldest() {
            return Ok(());
        }
        self.look_at_last(below);
        self.clock = clock;
        let mut expired = None;
        self.append(|log| log.trim(below, clock).map(|gap| expired = gap))?;
        self.commit()?;
        if let Some(expired) = expired {
            self.gone.expired += expired.end.0 - expired.start.0;
            self.gone.note(&expired, self.ingest.positions());
            let (first, end) = (expired.start.0, expired.end.0);
            tracing::info!(first, end, "events were older than `max_age`");
            self.publish_facts();
        }
        Ok(())
    }
}
