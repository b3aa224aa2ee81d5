//! The batches of one topic and partition on their way.
//!
//! Some are on their way at a time, one after the other on one connection. The broker takes them in order
//! of their sequence numbers, so when one is answered "again", those behind it fail too; they are
//! sent again, in order, with the same bytes, when all are answered.
//!
//! A batch that is refused is divided, and its parts are sent one at a time, until the records to
//! blame are alone: they are left out, and what follows moves up. All of it happens inside of the
//! transaction: none of these answers ends it, and what was taken is not sent again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

use crate::batch::{SealedBatch, SealedChain};
use crate::output::Undeliverable;
use crate::task::{BUSY, MOVING};
use crate::wire::{Class, Code, read};

/// So many are on their way at a time: of so many a broker knows again which it has already taken.
const OPEN_MAX: usize = 5;
/// And so many bytes of them, unless it is a single one: enough for a long link. Each is in memory twice, as a batch and
/// as a request.
const OPEN_BYTES_MAX: usize = 2_700_000;

/// One topic and partition.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    batches: Vec<SealedBatch>,
    /// What records are stamped with whose own time the topic does not take; and how many were.
    send_time: Option<Timestamp>,
    pub(super) restamped: usize,
    /// Bytes before compression of the largest batch that was taken, and of the smallest of several
    /// records that was too large.
    fits: usize,
    too_large: Option<usize>,
    /// Batches from the front that Kafka has.
    good: usize,
    /// Batches from the front that Kafka has or that are on their way.
    sent: usize,
    /// Batches on their way.
    open: usize,
    /// An answer that asked for another try, until all are answered.
    trouble: Option<Class>,
    /// An answer that refused the first batch that Kafka does not have, until all are answered.
    refusal: Option<read::Produced>,
    /// Parts of a refused batch, behind those that Kafka has: to be sent one at a time.
    pub(super) wary: usize,
    /// Whether a batch was taken although one before it was not.
    disordered: bool,
    /// Whether a lone record was found corrupt once: that may have happened on the way.
    doubted: bool,
    /// Records that were left out.
    pub(super) left_out: Vec<Undeliverable>,
    /// Not to be sent before.
    pause: Option<Instant>,
    tries: u32,
}

/// What a transaction has taught of a topic.
#[derive(Debug)]
pub(crate) struct Lesson {
    pub(crate) topic: Arc<str>,
    /// How many records got the send time because the topic does not take their own.
    pub(crate) restamped: usize,
    /// Bytes before compression of the largest batch that was taken.
    pub(crate) fits: usize,
    /// The same of the smallest batch of several records that was too large, if one was.
    pub(crate) too_large: Option<usize>,
    /// Whether a batch was taken although one before it was not.
    pub(crate) disordered: bool,
}

/// What an answer to a batch means for its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Done, or to be sent again in time.
    Fine,
    /// To be sent again in time, but somewhere else.
    Moved,
    /// The session is over.
    Final,
}

impl Chain {
    pub(super) fn new(sealed: SealedChain) -> Self {
        let SealedChain { topic, partition, batches, send_time } = sealed;
        Self {
            topic,
            partition,
            batches,
            send_time,
            restamped: 0,
            fits: 0,
            too_large: None,
            good: 0,
            sent: 0,
            open: 0,
            trouble: None,
            refusal: None,
            wary: 0,
            disordered: false,
            doubted: false,
            left_out: Vec::new(),
            pause: None,
            tries: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.good == self.batches.len()
    }

    /// Ends a pause whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        self.pause = self.pause.filter(|until| *until > now);
    }

    /// The next batch to send, if one may be sent now.
    pub(super) fn next(&self) -> Option<usize> {
        let batch = self.batches.get(self.sent)?;
        let in_peace = self.trouble.is_none() && self.refusal.is_none() && self.pause.is_none();
        let has_room = || {
            let open = &self.batches[self.sent - self.open..self.sent];
            let bytes: usize = open.iter().map(|batch| batch.bytes.len()).sum();
            open.len() < OPEN_MAX && bytes + batch.bytes.len() <= OPEN_BYTES_MAX
        };
        let may_go = in_peace && (self.open == 0 || self.wary == 0 && has_room());
        may_go.then_some(self.sent)
    }

    /// Sends its batches one at a time.
    pub(super) fn be_wary(&mut self) {
        self.wary = self.batches.len();
    }

    /// Bytes of its batches as they are sent.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    /// First and last offsets of its batches.
    pub(super) fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.batches.iter().map(SealedBatch::offsets).flat_map(|(first, last)| [first, last])
    }

    pub(super) fn batch(&self, index: usize) -> &SealedBatch {
        &self.batches[index]
    }

    /// Its batches, when nothing is to be done with them any more.
    pub(super) fn take_batches(&mut self) -> Vec<SealedBatch> {
        core::mem::take(&mut self.batches)
    }

    /// The batch that [`Self::next`] named is on its way.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
        self.open += 1;
    }

    /// There is no leader to send to.
    pub(super) fn wait(&mut self, now: Instant) {
        self.pause = Some(MOVING.end(now, self.tries));
        self.tries = self.tries.saturating_add(1);
    }

    /// Batch `index` was answered.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        index: usize,
        answer: &read::Produced,
    ) -> Verdict {
        self.open -= 1;
        let class = answer.code.class();
        let in_trouble = self.trouble.is_some() || self.refusal.is_some();
        match class {
            // Taken although one before it was not: order is lost.
            Class::Good if index != self.good => {
                self.disordered = true;
                return Verdict::Final;
            }
            Class::Good => {
                self.fits = self.fits.max(self.batches[index].raw_bytes);
                self.good += 1;
                self.wary = self.wary.saturating_sub(1);
                self.doubted = false;
            }
            Class::Busy | Class::Leader => {
                self.trouble.get_or_insert(class);
            }
            // The send time itself is not taken: one of the clocks is wrong.
            Class::Timestamp if !in_trouble && !self.can_restamp() => return Verdict::Final,
            Class::Record | Class::Timestamp if index == self.good && !in_trouble => {
                self.refusal = Some(answer.clone());
            }
            // Behind one that is not there: judged when it is.
            Class::Record | Class::Timestamp | Class::OutOfOrder if in_trouble => {}
            _ => return Verdict::Final,
        }
        if self.open > 0 {
            let moved = self.trouble == Some(Class::Leader);
            return if moved { Verdict::Moved } else { Verdict::Fine };
        }
        if let Some(refusal) = self.refusal.take() {
            (self.sent, self.trouble) = (self.good, None);
            if refusal.code.class() == Class::Timestamp {
                self.restamp();
            } else {
                self.divide(&refusal);
            }
            return Verdict::Fine;
        }
        let Some(trouble) = self.trouble.take() else {
            return Verdict::Fine;
        };
        let pause = if trouble == Class::Busy { BUSY } else { MOVING };
        self.pause = Some(pause.end(now, self.tries));
        self.tries = self.tries.saturating_add(1);
        self.sent = self.good;
        if trouble == Class::Leader { Verdict::Moved } else { Verdict::Fine }
    }

    /// Whether the first batch that Kafka does not have bears other times than that of sending.
    fn can_restamp(&self) -> bool {
        let (time, batch) = (self.send_time, self.batches.get(self.good));
        time.zip(batch).is_some_and(|(time, batch)| !batch.is_stamped(time))
    }

    /// Whether Kafka does not even take the time of sending.
    pub(super) fn is_send_time_refused(&self) -> bool {
        self.send_time.is_some() && !self.can_restamp()
    }

    /// Stamps what Kafka does not have with the time of sending: what it refused once it would
    /// refuse again, or delete.
    fn restamp(&mut self) {
        let Some(time) = self.send_time else { return };
        for batch in &mut self.batches[self.good..] {
            *batch = batch.stamped(time);
            self.restamped += batch.len();
        }
    }

    /// The first batch that Kafka does not have was refused: leaves out the records to blame, as far
    /// as they are known, or divides it. A record is left out only if it was refused alone, or named.
    fn divide(&mut self, refusal: &read::Produced) {
        let batch = &self.batches[self.good];
        let blamed = refusal.blamed.iter().copied().filter(|place| *place < batch.len());
        // One that is named twice is one record, by which what follows moves up.
        let blamed: BTreeSet<usize> = blamed.collect();
        if !blamed.is_empty() {
            return self.leave_out(&blamed, refusal);
        }
        if batch.len() > 1 {
            if refusal.code == Code::TOO_LARGE {
                let bytes = batch.raw_bytes;
                self.too_large = Some(self.too_large.map_or(bytes, |known| known.min(bytes)));
            }
            let (first, second) = batch.halves();
            self.batches.splice(self.good..=self.good, [first, second]);
            self.wary = self.wary.max(1) + 1;
        } else if refusal.code == Code::CORRUPT && !self.doubted {
            (self.wary, self.doubted) = (self.wary.max(1), true);
        } else {
            self.leave_out(&BTreeSet::from([0]), refusal);
        }
    }

    /// What was learned of the topic.
    pub(super) fn into_lesson(self) -> Lesson {
        let Self { topic, restamped, fits, too_large, disordered, .. } = self;
        Lesson { topic, restamped, fits, too_large, disordered }
    }

    fn leave_out(&mut self, places: &BTreeSet<usize>, refusal: &read::Produced) {
        let batch = self.batches.remove(self.good);
        let words = refusal.message.as_ref().map(|words| format!(": {words}"));
        let error = format!("{}{}", refusal.code, words.unwrap_or_default());
        self.left_out.extend(places.iter().map(|place| Undeliverable {
            offset: batch.tags[*place].offset,
            route: batch.tags[*place].route,
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            error: error.clone(),
        }));
        let count = i32::try_from(places.len()).expect("records are limited");
        let behind = self.batches.split_off(self.good);
        self.wary = self.wary.saturating_sub(1);
        if let Some(rest) = batch.without(places) {
            self.wary += 1;
            self.batches.push(rest);
        }
        self.batches.extend(behind.into_iter().map(|batch| batch.moved_up(count)));
        self.doubted = false;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pause
    }
}
