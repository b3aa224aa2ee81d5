//! Record batches, magic 2: read, checked, stamped, and made where the broker itself writes.
//!
//! ```text
//!  0 base offset i64      8 length i32         12 leader epoch i32   16 magic i8
//! 17 CRC32C of 21.. u32  21 attributes i16     23 last delta i32     27 base time i64
//! 35 largest time i64    43 producer id i64    51 producer epoch i16 53 base sequence i32
//! 57 record count i32    61 records
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::Timestamp;

use super::decompress::decompress;
use super::records::Records;

const HEADER_BYTES: usize = 61;
/// What stands before the part that the length counts.
const PREFIX_BYTES: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

const COMPRESSION: i16 = 0b0111;
/// zstd: the highest number that a codec has.
const CODEC_MAX: i16 = 4;
const LOG_APPEND_TIME: i16 = 0b1000;
const TRANSACTIONAL: i16 = 0b1_0000;
const CONTROL: i16 = 0b10_0000;

/// A producer id or a sequence that is not there.
const NONE: i16 = -1;

/// The fixed part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl Header {
    /// The number of the codec that the records are compressed with; 0: none.
    pub(super) const fn codec(&self) -> i16 {
        self.attributes & COMPRESSION
    }

    pub(crate) const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(crate) const fn is_stamped_by_broker(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    pub(crate) const fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The sequence of the last record. After `i32::MAX` comes 0.
    pub(crate) const fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }
}

/// A whole batch that was checked, or made here.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) header: Header,
    bytes: Bytes,
}

impl Batch {
    /// The batch as it goes over the wire.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its records, in order.
    pub(crate) fn records(&self) -> Records {
        let bytes = self.bytes.slice(HEADER_BYTES..);
        Records::new(decompress(self.header.codec(), &bytes), self.header)
    }

    /// Gives the batch its place in the log; with `time`, the broker's stamp as well.
    pub(crate) fn placed(self, base: i64, leader_epoch: i32, time: Option<Timestamp>) -> Self {
        let Self { mut header, bytes } = self;
        header.base_offset = base;
        if let Some(Timestamp(ms)) = time {
            header.attributes |= LOG_APPEND_TIME;
            header.max_timestamp = ms;
        }
        let bytes = header.encode(leader_epoch, &bytes[HEADER_BYTES..]);
        Self { header, bytes }
    }

    /// The marker that ends the transaction of a producer in a partition.
    pub(crate) fn marker(producer: (i64, i16), commit: bool, time: Timestamp) -> Self {
        let header = Header {
            base_offset: 0,
            attributes: TRANSACTIONAL | CONTROL,
            last_offset_delta: 0,
            base_timestamp: time.0,
            max_timestamp: time.0,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence: i32::from(NONE),
            record_count: 1,
        };
        // Length 16 · attributes · time delta · offset delta · key length 4 · key {version, type} ·
        // value length 6 · value {version, coordinator epoch} · no headers. Lengths are zigzag.
        let kind = u8::from(commit);
        let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
        Self { header, bytes: header.encode(0, &record) }
    }
}

/// Reads what a client produces to a partition: exactly one sound batch.
///
/// The caller has compared its size with the topic's limit, as a broker does that first.
pub(crate) fn parse_produced(bytes: &Bytes) -> Result<Batch, Error> {
    let header = Header::decode(bytes).ok_or(Error::InvalidRecord)?;
    if header.base_offset != 0 {
        return Err(Error::InvalidRecord);
    }
    let crc = (&bytes[CRC_AT..]).get_u32();
    if crc != crc32c::crc32c(&bytes[CRC_FROM..]) {
        return Err(Error::CorruptMessage);
    }
    if header.codec() > CODEC_MAX {
        return Err(Error::UnsupportedCompressionType);
    }
    if header.is_control()
        || header.last_offset_delta < 0
        || header.last_offset_delta.checked_add(1) != Some(header.record_count)
        || (header.has_producer() && header.base_sequence < 0)
        || (header.is_transactional() && !header.has_producer())
    {
        return Err(Error::InvalidRecord);
    }
    Ok(Batch { header, bytes: bytes.clone() })
}

/// The header of what a client produces, which must be exactly one batch of magic 2. Nothing else
/// about it is checked yet.
pub(crate) fn peek_produced(bytes: &Bytes) -> Result<Header, Error> {
    Header::decode(bytes).ok_or(Error::InvalidRecord)
}

impl Header {
    /// Reads the header of a batch that takes up all of `bytes`.
    fn decode(bytes: &Bytes) -> Option<Self> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        let mut fields = &bytes[..HEADER_BYTES];
        let base_offset = fields.get_i64();
        let length = usize::try_from(fields.get_i32()).ok()?;
        let _leader_epoch = fields.get_i32();
        let magic = fields.get_i8();
        let _crc = fields.get_u32();
        (length == bytes.len() - PREFIX_BYTES && magic == 2).then(|| Self {
            base_offset,
            attributes: fields.get_i16(),
            last_offset_delta: fields.get_i32(),
            base_timestamp: fields.get_i64(),
            max_timestamp: fields.get_i64(),
            producer_id: fields.get_i64(),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            record_count: fields.get_i32(),
        })
    }

    fn encode(&self, leader_epoch: i32, records: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
        let length = HEADER_BYTES - PREFIX_BYTES + records.len();
        bytes.put_i64(self.base_offset);
        bytes.put_i32(i32::try_from(length).expect("a request frame is shorter than 2 GiB"));
        bytes.put_i32(leader_epoch);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.last_offset_delta);
        bytes.put_i64(self.base_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.record_count);
        bytes.put_slice(records);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        (&mut bytes[CRC_AT..CRC_FROM]).put_u32(crc);
        bytes.freeze()
    }
}
