//! Record batches, format v2 (`DefaultRecordBatch` of Apache Kafka).
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 CRC-32C u32
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 count i32 | 61 records
//! ```
//!
//! The CRC covers everything from the attributes on. Producer and sequence are stamped when the
//! batch is sealed, once: a batch that is sent again is sent with the same bytes.

use bytes::Bytes;
use tributary_core::Offset;

use super::{Codec, Header, Record, varint};

pub(super) const HEADER_BYTES: usize = 61;
const MAGIC: u8 = 2;
/// Of a batch in a transaction; the codec's bits are added. The timestamps are the producer's.
const TRANSACTIONAL: i16 = 0x10;

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    buffer: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    tags: Vec<Tag>,
    /// Bytes before compression, if it is compressed.
    raw_bytes: Option<usize>,
    /// What the records in the buffer are compressed with.
    codec: Codec,
}

/// A finished batch: these bytes are what Kafka gets, however often they are sent.
#[derive(Clone, Debug)]
pub(crate) struct SealedBatch {
    pub(crate) bytes: Bytes,
    /// How many they are before compression.
    pub(crate) raw_bytes: usize,
    /// What each record was made from, in order.
    pub(crate) tags: Vec<Tag>,
}

/// How long a record is at its place in a batch, its length field aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordSize {
    body: usize,
}

/// What a record was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The event's offset in the local log.
    pub(crate) offset: Offset,
    /// The route that selected it.
    pub(crate) route: u32,
}

/// All that stands in front of the records of a batch, and depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) codec: Codec,
    pub(super) count: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer: Producer,
    pub(super) sequence: i32,
}

/// The producer whose stamp a batch bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// Whether its batches are parts of transactions.
    pub(crate) transactional: bool,
}

impl Producer {
    /// One for transactions.
    pub(crate) const fn new(id: i64, epoch: i16) -> Self {
        Self { id, epoch, transactional: true }
    }
}

impl OpenBatch {
    /// An empty batch whose first record will be `record`, in a buffer that was used before.
    pub(super) fn new(record: &Record<'_>, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        Self {
            buffer,
            count: 0,
            base_timestamp: record.timestamp.0,
            max_timestamp: record.timestamp.0,
            tags: Vec::new(),
            raw_bytes: None,
            codec: Codec::None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How long a record would be here; `extra` is a header before its own.
    pub(super) fn size_of(&self, record: &Record<'_>, extra: Option<&Header<'_>>) -> RecordSize {
        RecordSize { body: self.body_bytes(record, extra) }
    }

    /// Appends a record of the size that [`Self::size_of`] has told.
    pub(super) fn put(
        &mut self,
        record: &Record<'_>,
        extra: Option<&Header<'_>>,
        RecordSize { body }: RecordSize,
    ) {
        let delta = self.timestamp_delta(record);
        let buffer = &mut self.buffer;
        varint::put_len(buffer, body);
        buffer.push(0);
        varint::put(buffer, delta);
        varint::put(buffer, i64::from(self.count));
        match record.key {
            None => varint::put(buffer, -1),
            Some(key) => put_bytes(buffer, key),
        }
        put_bytes(buffer, record.value);
        varint::put_len(buffer, record.headers.len() + usize::from(extra.is_some()));
        for header in extra.into_iter().chain(record.headers) {
            varint::put_len(buffer, header.prefix.len() + header.name.len());
            buffer.extend_from_slice(header.prefix.as_bytes());
            buffer.extend_from_slice(header.name.as_bytes());
            put_bytes(buffer, header.value);
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp.0);
        self.tags.push(Tag { offset: record.offset, route: record.route });
    }

    /// The records taken so far, encoded.
    pub(super) fn records(&self) -> &[u8] {
        &self.buffer[HEADER_BYTES..]
    }

    /// Compresses the batch, if that makes it smaller. It takes no more records. Gives back the buffer
    /// that it does not need any more.
    pub(super) fn compress(&mut self, codec: Codec) -> Option<Vec<u8>> {
        if codec == Codec::None {
            return None;
        }
        let mut other = vec![0; HEADER_BYTES];
        codec.compress(self.records(), &mut other);
        if other.len() < self.buffer.len() {
            self.raw_bytes = Some(self.buffer.len());
            self.codec = codec;
            core::mem::swap(&mut self.buffer, &mut other);
        }
        Some(other)
    }

    /// Stamps the batch and computes its CRC.
    pub(super) fn seal(self, producer: Producer, sequence: i32) -> SealedBatch {
        assert!(self.count > 0, "a batch is opened for a record");
        let raw_bytes = self.raw_bytes.unwrap_or(self.buffer.len());
        let Self { buffer, count, base_timestamp, max_timestamp, tags, codec, .. } = self;
        let stamp = Stamp { codec, count, base_timestamp, max_timestamp, producer, sequence };
        SealedBatch { bytes: stamp.finish(buffer), raw_bytes, tags }
    }

    pub(super) fn count(&self) -> i32 {
        self.count
    }

    fn timestamp_delta(&self, record: &Record<'_>) -> i64 {
        record.timestamp.0.wrapping_sub(self.base_timestamp)
    }

    fn body_bytes(&self, record: &Record<'_>, extra: Option<&Header<'_>>) -> usize {
        let headers = record.headers.len() + usize::from(extra.is_some());
        1 + varint::len(self.timestamp_delta(record))
            + varint::len(i64::from(self.count))
            + record.key.map_or(1, |key| varint::len_with(key.len()))
            + varint::len_with(record.value.len())
            + varint::len_of(headers)
            + extra.into_iter().chain(record.headers).map(header_bytes).sum::<usize>()
    }
}

impl RecordSize {
    /// Bytes that the record takes.
    pub(super) fn bytes(self) -> usize {
        varint::len_with(self.body)
    }
}

impl SealedBatch {
    /// Its buffer, for another batch, if nobody else has it.
    pub(crate) fn into_buffer(self) -> Option<Vec<u8>> {
        self.bytes.is_unique().then(|| self.bytes.into())
    }
}

fn header_bytes(header: &Header<'_>) -> usize {
    varint::len_with(header.prefix.len() + header.name.len()) + varint::len_with(header.value.len())
}

fn put_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    varint::put_len(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

impl Stamp {
    /// Writes the header in front of the records in `buffer`, and computes the CRC.
    pub(super) fn finish(&self, mut buffer: Vec<u8>) -> Bytes {
        let kind = if self.producer.transactional { TRANSACTIONAL } else { 0 };
        let attributes = kind | self.codec.attribute();
        let length = i32::try_from(buffer.len() - 12).expect("a batch is limited to far below");
        let mut head = Head { buffer: &mut buffer, at: 0 };
        head.put(0_i64.to_be_bytes());
        head.put(length.to_be_bytes());
        head.put((-1_i32).to_be_bytes());
        head.put([MAGIC]);
        head.put([0; 4]);
        head.put(attributes.to_be_bytes());
        head.put((self.count - 1).to_be_bytes());
        head.put(self.base_timestamp.to_be_bytes());
        head.put(self.max_timestamp.to_be_bytes());
        head.put(self.producer.id.to_be_bytes());
        head.put(self.producer.epoch.to_be_bytes());
        head.put(self.sequence.to_be_bytes());
        head.put(self.count.to_be_bytes());
        assert_eq!(head.at, HEADER_BYTES);
        let crc = crc32c::crc32c(&buffer[21..]);
        buffer[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(buffer)
    }

    /// Reads what [`Stamp::finish`] wrote.
    pub(super) fn read(batch: &[u8]) -> Self {
        fn field<const N: usize>(batch: &[u8], at: usize) -> [u8; N] {
            *batch[at..].first_chunk().expect("a batch begins with its header")
        }
        let attributes = i16::from_be_bytes(field(batch, 21));
        let codec = Codec::of_attributes(attributes);
        Self {
            codec: codec.expect("a batch of ours"),
            base_timestamp: i64::from_be_bytes(field(batch, 27)),
            max_timestamp: i64::from_be_bytes(field(batch, 35)),
            producer: Producer {
                id: i64::from_be_bytes(field(batch, 43)),
                epoch: i16::from_be_bytes(field(batch, 51)),
                transactional: attributes & TRANSACTIONAL != 0,
            },
            sequence: i32::from_be_bytes(field(batch, 53)),
            count: i32::from_be_bytes(field(batch, 57)),
        }
    }

    /// The sequence number of the record at this place.
    pub(super) fn sequence_at(&self, place: usize) -> i32 {
        let place = i32::try_from(place).expect("records are limited");
        sequence_after(self.sequence, place)
    }
}

/// Writes the batch header field by field.
struct Head<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Head<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.buffer[self.at..self.at + N].copy_from_slice(&field);
        self.at += N;
    }
}

/// The sequence number `count` records further on: it wraps to 0 after `i32::MAX`.
pub(crate) fn sequence_after(sequence: i32, count: i32) -> i32 {
    const MODULUS: i64 = 1 << 31;
    let next = (i64::from(sequence) + i64::from(count)) % MODULUS;
    i32::try_from(next).expect("a remainder of 2^31")
}

/// The sequence number `count` records before.
pub(crate) fn sequence_before(sequence: i32, count: i32) -> i32 {
    const MODULUS: i64 = 1 << 31;
    let before = (i64::from(sequence) - i64::from(count)).rem_euclid(MODULUS);
    i32::try_from(before).expect("a remainder of 2^31")
}
