//! Where one connection leaves the events of one read, and the changes of its session.

use core::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::record::{self, Event};
use tributary_core::time::Timestamp;

use super::{CHANGE_BYTES_MAX, CHANGES_WAITING_BYTES_MAX, Closed, Ingest};
use super::{NotTaken, State, WAITING_BYTES_MAX};
use crate::downlink::place::Place;
use crate::runtime::sessions::{Batch, Change};

/// The place where a connection leaves the events of one read. Wakes the log thread when dropped.
pub struct Desk<'a> {
    pub(super) state: MutexGuard<'a, State>,
    pub(super) ingest: &'a Ingest,
    /// Events that were left and of which nobody knows yet.
    pub(super) left: usize,
}

impl Desk<'_> {
    /// Leaves one event; it has the offset that is returned, and is not durable yet.
    ///
    /// # Errors
    /// When it cannot be taken now; nothing of it is kept.
    pub fn append(&mut self, event: &Event<'_>) -> Result<Offset, NotTaken> {
        self.append_late(event, event.time)
    }

    /// The same for an event that came in before `now`, at its time.
    ///
    /// # Errors
    /// When it cannot be taken now; nothing of it is kept.
    pub fn append_late(&mut self, event: &Event<'_>, now: Timestamp) -> Result<Offset, NotTaken> {
        if let Some(closed) = self.state.closed {
            return Err(NotTaken::Closed(closed));
        }
        if self.state.bytes >= WAITING_BYTES_MAX {
            return Err(NotTaken::Busy);
        }
        Ok(self.put(event, now))
    }

    /// Leaves one event that has to stand before a change which is left next. It is always taken, as that is, and waits
    /// with it. What is left so was bounded while it waited elsewhere.
    pub fn append_before_change(&mut self, event: &Event<'_>) -> Offset {
        self.put(event, event.time)
    }

    fn put(&mut self, event: &Event<'_>, now: Timestamp) -> Offset {
        let state = &mut *self.state;
        let length = record::encoded_len(event, now);
        if state.taken.bodies.back().is_none_or(|body| body.is_full(length)) {
            let mut body = state.spare.pop().unwrap_or_default();
            body.time = now;
            state.taken.bodies.push_back(body);
        }
        let Some(body) = state.taken.bodies.back_mut() else { unreachable!("just pushed") };
        let begin = body.bytes.len();
        let length = record::encoded_len(event, body.time);
        body.bytes.resize(begin + length, 0);
        record::encode(event, body.time, &mut body.bytes[begin..]);
        body.count += 1;
        state.bytes += length;
        let offset = state.next;
        state.next = offset.plus(1);
        self.left += 1;
        offset
    }

    /// Leaves one event that was a record of Kafka, which is not to be read again: the place behind it
    /// becomes durable with it.
    ///
    /// # Errors
    /// When it cannot be taken now; nothing of it is kept.
    pub fn append_read(&mut self, event: &Event<'_>, place: Place) -> Result<Offset, NotTaken> {
        let offset = self.append(event)?;
        let Some(body) = self.state.taken.bodies.back_mut() else {
            unreachable!("it has an event")
        };
        let is_same = |it: &&mut Place| it.topic == place.topic && it.partition == place.partition;
        match body.places.iter_mut().find(is_same) {
            Some(known) => known.next = place.next,
            None => body.places.push(place),
        }
        Ok(offset)
    }

    /// Leaves a change of a client's session, that holds from the next event on; its number. It
    /// becomes durable soon, and at once if the log thread is woken for it. It is always taken: where
    /// too many wait, those who bring them [are not read](Ingest::is_crowded).
    pub fn change(&mut self, client: &str, change: &Change<'_>) -> u64 {
        let state = &mut *self.state;
        let changes = &mut state.taken.changes;
        if changes.back().is_none_or(Batch::is_full) {
            changes.push_back(Batch::new(state.next_change));
        }
        let Some(batch) = changes.back_mut() else { unreachable!("just pushed") };
        let before = batch.bytes();
        let number = batch.push(client, state.next, change);
        state.change_bytes += batch.bytes() - before;
        state.next_change = number + 1;
        if state.change_bytes >= CHANGE_BYTES_MAX
            && !self.ingest.crowded.swap(true, Ordering::AcqRel)
        {
            self.ingest.rouse(state);
        }
        number
    }

    /// Whether the log is full and waits: what need not be noted is not.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state.closed == Some(Closed::Full)
    }

    /// Whether a client may begin what the log has to remember. In a full log it waits for the lanes, and
    /// of what waits there may be only so much.
    #[must_use]
    pub fn has_room_for_changes(&self) -> bool {
        !self.is_full() || self.state.change_bytes < CHANGES_WAITING_BYTES_MAX
    }

    /// Whether so many changes wait that what can be told later should be.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.ingest.is_crowded()
    }

    /// The next offset to be given out.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.state.next
    }

    /// Has `waiter` told when all that was left so far is durable.
    pub fn wake(&mut self, waiter: &Arc<Notify>) {
        self.state.taken.waiting.push(Arc::clone(waiter));
    }

    /// Goes without waking the log thread: who asks has it woken, or commits. Tells how many events
    /// were left.
    #[must_use]
    pub fn leave(mut self) -> usize {
        core::mem::take(&mut self.left)
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        if self.left > 0 && !self.state.is_gathering() {
            self.ingest.rouse(&mut self.state);
        }
    }
}
