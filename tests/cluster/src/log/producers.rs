//! What a partition remembers of each producer: its epoch, its last batches, its open transaction.
//!
//! The rules are those of Kafka's `ProducerStateManager` and `ProducerAppendInfo`.

use std::collections::VecDeque;

use kafka_protocol::error::ResponseError as Error;

use super::batch::Header;
use crate::limits::PRODUCER_BATCHES_MAX;

/// What a partition knows of one producer id.
#[derive(Clone, Debug)]
pub(crate) struct ProducerState {
    pub(crate) epoch: i16,
    /// The last batches of this epoch, oldest first.
    batches: VecDeque<Written>,
    /// Where its open transaction begins.
    pub(crate) open_from: Option<i64>,
    /// Where it wrote last, a marker included.
    pub(crate) last_offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    timestamp: i64,
}

/// A batch that the partition holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
}

impl ProducerState {
    pub(crate) const fn new(epoch: i16) -> Self {
        Self { epoch, batches: VecDeque::new(), open_from: None, last_offset: -1 }
    }

    /// The batch that was written when `header` came before, if it is among the last five.
    pub(crate) fn duplicate(&self, header: &Header) -> Option<Duplicate> {
        let same = |written: &&Written| {
            written.first_sequence == header.base_sequence
                && written.last_sequence == header.last_sequence()
        };
        let written =
            self.batches.iter().filter(|_| self.epoch == header.producer_epoch).find(same)?;
        Some(Duplicate { base_offset: written.base_offset, timestamp: written.timestamp })
    }

    /// Whether a batch that is no duplicate may be appended: the epoch is not an old one, and the
    /// sequence follows.
    pub(crate) fn check(&self, header: &Header) -> Result<(), Error> {
        if header.producer_epoch < self.epoch {
            return Err(Error::InvalidProducerEpoch);
        }
        let last = match self.batches.back() {
            Some(written) if header.producer_epoch == self.epoch => written.last_sequence,
            _ => i32::MAX,
        };
        if header.base_sequence != last.wrapping_add(1) & i32::MAX {
            return Err(Error::OutOfOrderSequenceNumber);
        }
        if self.open_from.is_some() && !header.is_transactional() {
            return Err(Error::InvalidTxnState);
        }
        Ok(())
    }

    /// The batch was appended at its offset.
    pub(crate) fn wrote(&mut self, header: &Header) {
        self.move_to(header.producer_epoch);
        self.last_offset = header.last_offset();
        if self.batches.len() == PRODUCER_BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
        });
    }

    /// Sequences begin anew with an epoch.
    pub(crate) fn move_to(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}
