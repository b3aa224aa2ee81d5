//! One transaction's records, encoded as they will go to Kafka.
//!
//! A [`BatchBuilder`] holds open record batches (format v2), one per topic and partition, and seals
//! and compresses one when it is full: what waits to be sent is as small as what is sent. A payload
//! is copied once, into its batch.

mod compress;
mod decompress;
mod encode;
mod left_out;
mod murmur2;
mod parts;
mod push_error;
mod varint;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::time::Timestamp;

pub(crate) use compress::Chooser;
pub use compress::{Codec, Compression, Costs};
pub(crate) use encode::{Producer, SealedBatch, sequence_after, sequence_before};
pub use push_error::PushError;

use crate::output::Undeliverable;
use crate::settings::{BatchLimits, Settings};
use encode::OpenBatch;

/// One finished record. Everything is borrowed; [`BatchBuilder::push`] copies it into its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// How the partition is found.
    pub partition: Partitioner,
    /// Offset of the event in the local log.
    pub offset: Offset,
    /// What made the record of the event: with the offset it names the record, should Kafka refuse
    /// it for good.
    pub route: u32,
    /// The record's time in Kafka.
    pub timestamp: Timestamp,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's value.
    pub value: &'a [u8],
    /// The record's headers.
    pub headers: &'a [Header<'a>],
}

/// How a record's partition is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// One partition per gateway, by its name: an interrupted transaction delays one partition.
    #[default]
    Gateway,
    /// By the key, as Java clients do (murmur2); a record without a key goes as `Gateway`.
    Key,
}

/// One header. The name is `prefix` followed by `name`, so that none has to be put together.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Begin of the name; may be empty.
    pub prefix: &'a str,
    /// Rest of the name.
    pub name: &'a str,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Header<'a> {
    /// A header with its whole name.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a [u8]) -> Self {
        Self { prefix: "", name, value }
    }

    /// A header whose name is put together.
    #[must_use]
    pub const fn prefixed(prefix: &'a str, name: &'a str, value: &'a [u8]) -> Self {
        Self { prefix, name, value }
    }
}

/// More than a batch's own header and the evidence in its first record take.
const BATCH_OVERHEAD_BYTES: usize = 256;

/// Collects the records of one transaction. Made by [`crate::Replicator::begin_batch`].
#[derive(Debug)]
pub struct BatchBuilder {
    origin: Arc<Origin>,
    limits: BatchLimits,
    codec: Codec,
    chains: Vec<OpenChain>,
    /// Where the chain of a topic (by its index in the origin) and partition is.
    index: BTreeMap<(usize, u32), usize>,
    records: usize,
    bytes: usize,
    raw_bytes: usize,
    missing: Option<String>,
    left_out: Vec<Undeliverable>,
    /// Records that have a place whatever the limits say.
    reserved: usize,
    /// What records are stamped with whose own time Kafka does not take.
    send_time: Option<Timestamp>,
    /// Buffers of batches that are done with: memory that is at hand costs least.
    spares: Vec<Vec<u8>>,
}

/// What the batches of one session have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// Which session; a batch of another one is not taken.
    pub(crate) session: u64,
    pub(crate) log_id: u64,
    pub(crate) generation: u32,
    pub(crate) gateway_hash: u32,
    /// Topics that can be written to, by name, with their partitions.
    pub(crate) topics: Vec<(Arc<str>, u32)>,
    /// Those that have refused the time of a record: they get the send time.
    pub(crate) send_time: BTreeSet<String>,
    /// Those that take only smaller batches than others: bytes before compression.
    pub(crate) batch_bytes: BTreeMap<String, usize>,
}

/// All records of one topic and partition, in order.
#[derive(Debug)]
struct OpenChain {
    topic: Arc<str>,
    partition: u32,
    full: Vec<OpenBatch>,
    open: OpenBatch,
}

/// The finished batches of one topic and partition, in the order in which they must arrive.
#[derive(Debug)]
pub(crate) struct SealedChain {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) batches: Vec<SealedBatch>,
    pub(crate) send_time: Option<Timestamp>,
}

/// The hash by which a gateway's records find their partition.
pub(crate) fn gateway_hash(gateway: &str) -> u32 {
    murmur2::murmur2(gateway.as_bytes())
}

impl BatchBuilder {
    pub(crate) fn new(origin: Arc<Origin>, limits: BatchLimits, codec: Codec) -> Self {
        Self {
            origin,
            limits,
            codec,
            chains: Vec::new(),
            index: BTreeMap::new(),
            records: 0,
            bytes: 0,
            raw_bytes: 0,
            missing: None,
            left_out: Vec::new(),
            reserved: 0,
            send_time: None,
            spares: Vec::new(),
        }
    }

    /// A batch of no session, which knows topics of one partition each: for tests of who fills it.
    #[must_use]
    pub fn of_topics(settings: &Settings, names: &[&str]) -> Self {
        let mut topics: Vec<_> = names.iter().map(|name| (Arc::from(*name), 1)).collect();
        topics.sort();
        let origin = Origin { topics, ..Origin::default() };
        Self::new(Arc::new(origin), settings.batch, Codec::None)
    }

    /// With buffers to use again.
    pub(crate) fn with_spares(self, spares: Vec<Vec<u8>>) -> Self {
        Self { spares, ..self }
    }

    /// Keeps places for one record to each of `topics`, of at most `record_bytes` each: the
    /// records of one event, which go into one transaction or none. Then push them: none is answered
    /// anything but [`PushError::TooLarge`].
    ///
    /// # Errors
    ///
    /// Nothing was kept: [`PushError::Full`], or [`PushError::UnknownTopic`].
    pub fn reserve<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str>,
        record_bytes: usize,
    ) -> Result<(), PushError> {
        let mut records = 0;
        for topic in topics {
            if self.origin.topics.binary_search_by(|(name, _)| (**name).cmp(topic)).is_err() {
                self.missing = Some(topic.to_owned());
                return Err(PushError::UnknownTopic);
            }
            records += 1;
        }
        // What is larger is not taken.
        let most = (record_bytes + BATCH_OVERHEAD_BYTES).min(self.limits.batch_bytes);
        let bytes = records * most;
        let full = self.records + records > self.limits.records
            || self.bytes + bytes > self.limits.transaction_bytes;
        if full && self.records > 0 {
            return Err(PushError::Full);
        }
        self.reserved = records;
        Ok(())
    }

    /// Takes a record. Records of one topic and partition arrive in Kafka in the order pushed.
    ///
    /// # Errors
    ///
    /// The record was not taken; see [`PushError`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), PushError> {
        let Ok(topic) = self.origin.topics.binary_search_by(|(name, _)| (**name).cmp(record.topic))
        else {
            self.missing = Some(record.topic.to_owned());
            return Err(PushError::UnknownTopic);
        };
        let partition = self.partition(record, self.origin.topics[topic].1);
        let own_time_is_taken = !self.origin.send_time.contains(record.topic);
        let stamp = self.send_time.filter(|_| !own_time_is_taken).unwrap_or(record.timestamp);
        let record = &Record { timestamp: stamp, ..*record };
        let known = self.index.get(&(topic, partition)).copied();
        if let Some(chain) = known {
            let open = &self.chains[chain].open;
            let size = open.size_of(record, None);
            let bytes = size.bytes();
            let most = self.origin.batch_bytes.get(record.topic);
            if open.bytes() + bytes <= *most.unwrap_or(&self.limits.batch_bytes) {
                self.room_for(bytes)?;
                self.chains[chain].open.put(record, None, size);
                self.took(bytes);
                return Ok(());
            }
        }
        self.push_first(record, (topic, partition), known)
    }

    /// Takes at most so many bytes from now on, a first record aside.
    pub fn limit_bytes(&mut self, bytes: usize) {
        self.limits.transaction_bytes = self.limits.transaction_bytes.min(bytes);
    }

    /// The time at which it is filled, by a clock that can be trusted: records are stamped with it
    /// where the topic does not take their own.
    pub fn set_send_time(&mut self, now: Timestamp) {
        self.send_time = Some(now);
    }

    /// Records taken, or left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Bytes of all batches: compressed, where a batch is full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no record was taken, or left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn session(&self) -> u64 {
        self.origin.session
    }

    pub(crate) fn take_missing(&mut self) -> Option<String> {
        self.missing.take()
    }

    /// Records of a batch that is not compressed yet: a sample for the choice of a codec.
    pub(crate) fn sample(&self) -> &[u8] {
        self.chains.first().map_or(&[], |chain| chain.open.records())
    }

    /// Bytes of all batches before compression.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Compresses and stamps every batch; `sequence` gives the next sequence number of a topic and partition and
    /// moves it on by the count it is told.
    pub(crate) fn seal(
        self,
        producer: Producer,
        mut sequence: impl FnMut(&str, i32, i32) -> i32,
    ) -> Vec<SealedChain> {
        let (codec, send_time) = (self.codec, self.send_time);
        let seal_chain = |chain: OpenChain| {
            let topic = chain.topic;
            let partition = i32::try_from(chain.partition).expect("below PARTITIONS_MAX");
            let mut last = chain.open;
            last.compress(codec);
            let batches = chain.full.into_iter().chain([last]);
            let batches = batches
                .map(|batch| {
                    let first = sequence(&topic, partition, batch.count());
                    batch.seal(producer, first)
                })
                .collect();
            SealedChain { topic, partition, batches, send_time }
        };
        self.chains.into_iter().map(seal_chain).collect()
    }

    /// Takes the first record of a batch, which carries the evidence of where the batch is from.
    fn push_first(
        &mut self,
        record: &Record<'_>,
        place: (usize, u32),
        known: Option<usize>,
    ) -> Result<(), PushError> {
        let Origin { log_id, generation, .. } = *self.origin;
        let evidence = format!("{log_id:016x},{generation:08x},{}", record.offset);
        let evidence = Header { prefix: "tributary.", name: "batch", value: evidence.as_bytes() };
        let mut batch = OpenBatch::new(record, self.spares.pop().unwrap_or_default());
        let size = batch.size_of(record, Some(&evidence));
        let bytes = batch.bytes() + size.bytes();
        if bytes > self.limits.batch_bytes {
            return Err(PushError::TooLarge);
        }
        self.room_for(bytes)?;
        batch.put(record, Some(&evidence), size);
        if let Some(chain) = known {
            let chain = &mut self.chains[chain];
            let mut full = core::mem::replace(&mut chain.open, batch);
            let raw = full.bytes();
            self.spares.extend(full.compress(self.codec));
            self.bytes -= raw - full.bytes();
            chain.full.push(full);
        } else {
            self.index.insert(place, self.chains.len());
            let (topic, partition) = (Arc::clone(&self.origin.topics[place.0].0), place.1);
            self.chains.push(OpenChain { topic, partition, full: Vec::new(), open: batch });
        }
        self.took(bytes);
        Ok(())
    }

    fn partition(&self, record: &Record<'_>, partitions: u32) -> u32 {
        let hash = match (record.partition, record.key) {
            (Partitioner::Key, Some(key)) => murmur2::murmur2(key),
            (Partitioner::Key, None) | (Partitioner::Gateway, _) => self.origin.gateway_hash,
        };
        murmur2::partition(hash, partitions)
    }

    /// A first record always has room: else a small budget could stop the lane for ever.
    fn room_for(&self, bytes: usize) -> Result<(), PushError> {
        if self.reserved > 0 {
            return Ok(());
        }
        let full = self.records >= self.limits.records
            || self.bytes + bytes > self.limits.transaction_bytes;
        if full && self.records > 0 { Err(PushError::Full) } else { Ok(()) }
    }

    fn took(&mut self, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(1);
        self.records += 1;
        self.bytes += bytes;
        self.raw_bytes += bytes;
    }
}
