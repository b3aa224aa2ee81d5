//! The batches of one topic and partition on their way.
//!
//! All are sent at once, one after the other on one connection. The broker takes them in order of
//! their sequence numbers, so when one is answered "again", those behind it fail too; they are
//! sent again, in order, with the same bytes, when all are answered.

use std::sync::Arc;

use tributary_core::time::Instant;

use crate::batch::{SealedBatch, SealedChain};
use crate::task::{BUSY, MOVING};
use crate::wire::{Class, Code};

/// One topic and partition.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    batches: Vec<SealedBatch>,
    /// Batches from the front that Kafka has.
    good: usize,
    /// Batches from the front that Kafka has or that are on their way.
    sent: usize,
    /// Batches on their way.
    open: usize,
    /// An answer that asked for another try, until all are answered.
    trouble: Option<Class>,
    /// Not to be sent before.
    pause: Option<Instant>,
    tries: u32,
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
        let SealedChain { topic, partition, batches } = sealed;
        Self {
            topic,
            partition,
            batches,
            good: 0,
            sent: 0,
            open: 0,
            trouble: None,
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
        let may_go = self.trouble.is_none() && self.pause.is_none();
        (may_go && self.sent < self.batches.len()).then_some(self.sent)
    }

    /// Bytes of its batches as they are sent.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    pub(super) fn batch(&self, index: usize) -> &SealedBatch {
        &self.batches[index]
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
    pub(super) fn answered(&mut self, now: Instant, index: usize, code: Code) -> Verdict {
        self.open -= 1;
        let class = code.class();
        match class {
            // Taken although one before it was not: order is lost.
            Class::Good if index != self.good => return Verdict::Final,
            Class::Good => self.good += 1,
            Class::Busy | Class::Leader => {
                self.trouble.get_or_insert(class);
            }
            Class::OutOfOrder if self.trouble.is_some() => {}
            _ => return Verdict::Final,
        }
        let Some(trouble) = self.trouble else {
            return Verdict::Fine;
        };
        if self.open == 0 {
            let pause = if trouble == Class::Busy { BUSY } else { MOVING };
            self.pause = Some(pause.end(now, self.tries));
            self.tries = self.tries.saturating_add(1);
            self.sent = self.good;
            self.trouble = None;
        }
        if trouble == Class::Leader { Verdict::Moved } else { Verdict::Fine }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pause
    }
}
