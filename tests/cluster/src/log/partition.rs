//! One partition: its batches, its producers, and how far its transactions are decided.
//!
//! Invariants: batches lie in order of offset without overlap; `open` holds exactly the
//! transactions whose marker is not written; `aborted` grows in order of the markers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::Timestamp;

use super::batch::Batch;
use super::producers::ProducerState;
use crate::BrokerId;
use crate::limits::{PARTITION_PRODUCERS_MAX, TIMESTAMP_AHEAD_MS_MAX};

/// A partition and its leader.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// Where clients must go; `None` while no broker is up.
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: i32,
    batches: VecDeque<Batch>,
    start: i64,
    end: i64,
    bytes: usize,
    producers: BTreeMap<i64, ProducerState>,
    /// First offset and producer of every undecided transaction.
    open: BTreeSet<(i64, i64)>,
    aborted: Vec<Aborted>,
}

/// A transaction that was aborted: records of the producer from `first` to `last` do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upto {
    /// To the end: `read_uncommitted`.
    End,
    /// To the first undecided transaction: `read_committed`.
    Stable,
}

/// How a batch is to be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append {
    /// The broker's clock.
    pub(crate) wall: Timestamp,
    /// The topic stamps batches itself.
    pub(crate) log_append_time: bool,
    /// A producer unknown to the partition must begin at sequence 0 (transaction version 2).
    pub(crate) from_zero: bool,
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The broker's stamp; -1 where the topic keeps the producer's.
    pub(crate) log_append_time: i64,
    /// By how many bytes the log grew; 0 for a batch that was there already.
    pub(crate) bytes: usize,
}

impl Partition {
    pub(crate) const fn new(leader: Option<BrokerId>) -> Self {
        Self {
            leader,
            leader_epoch: 0,
            batches: VecDeque::new(),
            start: 0,
            end: 0,
            bytes: 0,
            producers: BTreeMap::new(),
            open: BTreeSet::new(),
            aborted: Vec::new(),
        }
    }

    pub(crate) fn lead_by(&mut self, leader: Option<BrokerId>) {
        if self.leader != leader {
            self.leader = leader;
            self.leader_epoch += 1;
        }
    }

    pub(crate) const fn start(&self) -> i64 {
        self.start
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first offset that a reader does not see yet.
    pub(crate) fn end(&self, upto: Upto) -> i64 {
        match upto {
            Upto::End => self.end,
            Upto::Stable => self.open.first().map_or(self.end, |&(first, _)| first),
        }
    }

    /// Whether the producer has an open transaction here in this very epoch.
    pub(crate) fn has_open(&self, producer_id: i64, epoch: i16) -> bool {
        self.producers
            .get(&producer_id)
            .is_some_and(|state| state.open_from.is_some() && state.epoch == epoch)
    }

    /// Checks a client's batch in a broker's order and appends it.
    pub(crate) fn append(&mut self, batch: Batch, how: Append) -> Result<Appended, Error> {
        check_records(&batch, how)?;
        let state = self.producers.get(&batch.header.producer_id);
        if let Some(duplicate) = state.and_then(|state| state.duplicate(&batch.header)) {
            let log_append_time = if how.log_append_time { duplicate.timestamp } else { -1 };
            return Ok(Appended { base_offset: duplicate.base_offset, log_append_time, bytes: 0 });
        }
        if batch.header.has_producer() {
            match state {
                Some(state) => state.check(&batch.header)?,
                None if how.from_zero && batch.header.base_sequence != 0 => {
                    return Err(Error::OutOfOrderSequenceNumber);
                }
                None => {}
            }
        }
        let stamp = how.log_append_time.then_some(how.wall);
        let batch = batch.placed(self.end, self.leader_epoch, stamp);
        self.note_producer(&batch);
        let appended = Appended {
            base_offset: batch.header.base_offset,
            log_append_time: stamp.map_or(-1, |Timestamp(ms)| ms),
            bytes: batch.bytes().len(),
        };
        self.push(batch);
        Ok(appended)
    }

    /// Ends the producer's transaction here. Its epoch becomes the marker's. Answers the marker's
    /// length.
    pub(crate) fn mark(&mut self, producer: (i64, i16), commit: bool, wall: Timestamp) -> usize {
        let (producer_id, epoch) = producer;
        let marker =
            Batch::marker(producer, commit, wall).placed(self.end, self.leader_epoch, None);
        let bytes = marker.bytes().len();
        let last = marker.header.base_offset;
        let state = self.producers.entry(producer_id).or_insert_with(|| ProducerState::new(epoch));
        state.move_to(epoch);
        state.last_offset = last;
        if let Some(first) = state.open_from.take() {
            self.open.remove(&(first, producer_id));
            if !commit {
                self.aborted.push(Aborted { producer_id, first, last });
            }
        }
        self.forget_idle_producer();
        self.push(marker);
        bytes
    }

    /// The batches from the one that holds `from` on, whole, while they end below `end`, and while
    /// all together stay within `bytes_max`; the first is given whatever its size.
    pub(crate) fn read(&self, from: i64, upto: Upto, bytes_max: usize) -> Bytes {
        let end = self.end(upto);
        let mut bytes = BytesMut::new();
        for batch in self.batches_from(from).take_while(|batch| batch.header.last_offset() < end) {
            if !bytes.is_empty() && bytes.len() + batch.bytes().len() > bytes_max {
                break;
            }
            bytes.extend_from_slice(batch.bytes());
        }
        bytes.freeze()
    }

    /// The batches from the one that holds `from` on.
    pub(crate) fn batches_from(&self, from: i64) -> impl Iterator<Item = &Batch> {
        let first = self.batches.partition_point(|batch| batch.header.last_offset() < from);
        self.batches.range(first..)
    }

    /// The aborted transactions that a reader must know who reads from `from`.
    pub(crate) fn aborted_from(&self, from: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |aborted| aborted.last >= from)
    }

    /// The first record stamped at `time` or later.
    pub(crate) fn offset_at(&self, time: Timestamp) -> Option<(i64, Timestamp)> {
        let batches = self.batches.iter().filter(|batch| batch.header.max_timestamp >= time.0);
        let mut records =
            batches.filter(|batch| !batch.header.is_control()).flat_map(Batch::records).flatten();
        let record = records.find(|record| record.timestamp >= time)?;
        Some((record.offset, record.timestamp))
    }

    /// The offset of the last record of the batch with the largest time, and that time.
    pub(crate) fn largest_timestamp(&self) -> Option<(i64, i64)> {
        let batches = self.batches.iter().filter(|batch| !batch.header.is_control());
        let batch = batches.max_by_key(|batch| batch.header.max_timestamp)?;
        Some((batch.header.last_offset(), batch.header.max_timestamp))
    }

    /// Deletes what lies wholly below `offset`, as retention does.
    pub(crate) fn trim(&mut self, offset: i64) {
        self.start = offset.clamp(self.start, self.end(Upto::Stable));
        while let Some(batch) = self.batches.front()
            && batch.header.last_offset() < self.start
        {
            self.bytes -= batch.bytes().len();
            self.batches.pop_front();
        }
        self.aborted.retain(|aborted| aborted.last >= self.start);
    }

    fn note_producer(&mut self, batch: &Batch) {
        let header = &batch.header;
        if !header.has_producer() {
            return;
        }
        let state = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState::new(header.producer_epoch));
        state.wrote(header);
        if header.is_transactional() && state.open_from.is_none() {
            state.open_from = Some(header.base_offset);
            self.open.insert((header.base_offset, header.producer_id));
        }
        self.forget_idle_producer();
    }

    fn forget_idle_producer(&mut self) {
        if self.producers.len() <= PARTITION_PRODUCERS_MAX {
            return;
        }
        let idle = self.producers.iter().filter(|(_, state)| state.open_from.is_none());
        if let Some((&id, _)) = idle.min_by_key(|(_, state)| state.last_offset) {
            self.producers.remove(&id);
        }
    }

    fn push(&mut self, batch: Batch) {
        assert!(batch.header.base_offset == self.end, "batches are dense");
        self.end = batch.header.last_offset() + 1;
        self.bytes += batch.bytes().len();
        self.batches.push_back(batch);
    }
}

/// The batch holds the records that its header counts, none of them from the future.
fn check_records(batch: &Batch, how: Append) -> Result<(), Error> {
    let latest = how.wall.0.saturating_add(TIMESTAMP_AHEAD_MS_MAX);
    for record in batch.records() {
        let record = record.map_err(|_| Error::InvalidRecord)?;
        if record.timestamp.0 > latest && !how.log_append_time {
            return Err(Error::InvalidTimestamp);
        }
    }
    Ok(())
}
