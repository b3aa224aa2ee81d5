//! Record batches as a broker sends them (format v2), hostile bytes included: which records in them are
//! committed, and where reading goes on.
//!
//! What a transaction has written comes before its outcome: the broker tells which were aborted, and
//! from where on; a control batch tells where each of them ends (KIP-98).

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use tributary_core::time::Timestamp;

use crate::batch::Codec;
use crate::limits::{READ_BYTES_MAX, READ_MEMORY_BYTES_MAX, RECORDS_MAX};
use crate::wire::Malformed;

/// From the base offset to the end of the length.
const FRONT_BYTES: usize = 12;
/// From the leader epoch to the end of the checksum.
const CHECKED_FROM: usize = 9;
const MAGIC: i8 = 2;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
/// The timestamps are those of the broker.
const APPEND_TIME: i16 = 0x08;

/// A header, its name aside.
const HEADER_BYTES: usize = size_of::<(String, Option<Bytes>)>();

const _: () = assert!(
    RECORDS_MAX * size_of::<ReadRecord>() + READ_BYTES_MAX / 8 < READ_MEMORY_BYTES_MAX,
    "batches of a replicator are read, however small their records are"
);

/// A record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its offset in the partition.
    pub offset: u64,
    /// The offset at which its batch begins: who wrote one of a batch wrote all.
    pub batch: u64,
    /// When it was made, or appended, as the topic wants it.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl ReadRecord {
    /// The value of the first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known == name)?;
        found.1.as_deref()
    }
}

/// What was made of the bytes of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// What is committed, in order.
    pub(super) records: Vec<ReadRecord>,
    /// First and last offset of batches that cannot be read: too large, or damaged.
    pub(super) unreadable: Vec<(u64, u64)>,
    /// Where to go on; `None`: there was no whole batch.
    pub(super) next: Option<u64>,
}

/// Reads batches, from this offset on, as far as `budget` allows: of the memory that one answer may take,
/// [`READ_MEMORY_BYTES_MAX`], what other partitions have left.
pub(super) fn decode(
    mut bytes: Bytes,
    mut aborted: Vec<(i64, i64)>,
    from: u64,
    budget: &mut usize,
) -> Result<Decoded, Malformed> {
    aborted.sort_by_key(|&(_, first)| core::cmp::Reverse(first));
    let mut open = BTreeSet::new();
    let mut decoded = Decoded::default();
    while let Some(batch) = Batch::take(&mut bytes)? {
        while let Some(&(producer, first)) = aborted.last()
            && first <= batch.last.cast_signed()
        {
            open.insert(producer);
            aborted.pop();
        }
        if batch.attributes & CONTROL != 0 {
            open.remove(&batch.producer);
        } else if batch.attributes & TRANSACTIONAL == 0 || !open.contains(&batch.producer) {
            match batch.read(from, *budget)? {
                Some((mut records, left)) => {
                    *budget = left;
                    decoded.records.append(&mut records);
                }
                // The rest is asked for again.
                None if *budget < READ_MEMORY_BYTES_MAX => break,
                None => decoded.unreadable.push((batch.base, batch.last)),
            }
        }
        decoded.next = Some(batch.last + 1);
    }
    Ok(decoded)
}

/// The head of a batch, and its records, compressed.
struct Batch {
    base: u64,
    last: u64,
    attributes: i16,
    codec: Codec,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: i64,
    count: usize,
    records: Bytes,
}

impl Batch {
    /// The next batch; none if there is only a part of one.
    fn take(bytes: &mut Bytes) -> Result<Option<Self>, Malformed> {
        if bytes.len() < FRONT_BYTES {
            return Ok(None);
        }
        let base = u64::try_from(bytes.get_i64()).map_err(|_| Malformed)?;
        let length = usize::try_from(bytes.get_i32()).map_err(|_| Malformed)?;
        if bytes.len() < length {
            return Ok(None);
        }
        let mut body = bytes.split_to(length);
        if body.len() < CHECKED_FROM {
            return Err(Malformed);
        }
        body.advance(4);
        let (magic, crc) = (body.get_i8(), body.get_u32());
        if magic != MAGIC || crc32c::crc32c(&body) != crc {
            return Err(Malformed);
        }
        Self::open(base, body).map(Some)
    }

    /// What the checksum covers.
    fn open(base: u64, mut body: Bytes) -> Result<Self, Malformed> {
        let fields = |body: &mut Bytes| {
            let attributes = body.try_get_i16()?;
            let last = body.try_get_u32()?;
            let times = (body.try_get_i64()?, body.try_get_i64()?);
            let producer = body.try_get_i64()?;
            let _epoch = body.try_get_i16()?;
            let _sequence = body.try_get_i32()?;
            let count = body.try_get_i32()?;
            Ok::<_, bytes::TryGetError>((attributes, last, times, producer, count))
        };
        let (attributes, last, times, producer, count) =
            fields(&mut body).map_err(|_| Malformed)?;
        Ok(Self {
            base,
            last: base.checked_add(u64::from(last)).ok_or(Malformed)?,
            attributes,
            codec: Codec::of_attributes(attributes).ok_or(Malformed)?,
            base_timestamp: times.0,
            max_timestamp: times.1,
            producer,
            count: usize::try_from(count).map_err(|_| Malformed)?,
            records: body,
        })
    }

    /// The records that lie at `from` or behind, and what is left of the budget when all are in memory; `None`:
    /// they take more, or are damaged.
    fn read(
        &self,
        from: u64,
        budget: usize,
    ) -> Result<Option<(Vec<ReadRecord>, usize)>, Malformed> {
        let mut plain = Vec::new();
        let most = budget.min(READ_BYTES_MAX);
        if self.codec.decompress(&self.records, most, &mut plain).is_err() {
            return Ok(None);
        }
        let structs = self.count.saturating_mul(size_of::<ReadRecord>());
        let Some(mut left) = budget.checked_sub(plain.len().saturating_add(structs)) else {
            return Ok(None);
        };
        let (mut rest, mut records) = (Bytes::from(plain), Vec::with_capacity(self.count));
        for _ in 0..self.count {
            let mut body = take_bytes(&mut rest)?.ok_or(Malformed)?;
            let Some(record) = self.record(&mut body, &mut left)? else { return Ok(None) };
            if record.offset >= from {
                records.push(record);
            }
        }
        if rest.is_empty() { Ok(Some((records, left))) } else { Err(Malformed) }
    }

    /// A record, whose headers are taken off what is `left` of a budget; `None`: that is too little.
    fn record(&self, body: &mut Bytes, left: &mut usize) -> Result<Option<ReadRecord>, Malformed> {
        let _attributes = body.try_get_u8().map_err(|_| Malformed)?;
        let (time, place) = (varint(body)?, varint(body)?);
        let place = u64::try_from(place).map_err(|_| Malformed)?;
        let offset = self.base.checked_add(place).filter(|offset| *offset <= self.last);
        let appended = self.attributes & APPEND_TIME != 0;
        let made = self.base_timestamp.wrapping_add(time);
        let (key, value) = (take_bytes(body)?, take_bytes(body)?);
        let count = usize::try_from(varint(body)?).map_err(|_| Malformed)?;
        let Some(mut rest) = left.checked_sub(count.saturating_mul(HEADER_BYTES)) else {
            return Ok(None);
        };
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = take_bytes(body)?.ok_or(Malformed)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            let Some(less) = rest.checked_sub(name.len()) else { return Ok(None) };
            rest = less;
            headers.push((name, take_bytes(body)?));
        }
        *left = rest;
        Ok(Some(ReadRecord {
            offset: offset.ok_or(Malformed)?,
            batch: self.base,
            timestamp: Timestamp(if appended { self.max_timestamp } else { made }),
            key,
            value,
            headers,
        }))
    }
}

/// Bytes behind their length; `None` where that is -1.
fn take_bytes(from: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    match varint(from)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            if length > from.len() {
                return Err(Malformed);
            }
            Ok(Some(from.split_to(length)))
        }
    }
}

/// A zig-zag number of at most 64 bits.
fn varint(from: &mut Bytes) -> Result<i64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = from.try_get_u8().map_err(|_| Malformed)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::indexmap::IndexMap;
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records::{
        Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };

    use super::*;

    fn read(bytes: Bytes, aborted: Vec<(i64, i64)>, from: u64) -> Result<Decoded, Malformed> {
        decode(bytes, aborted, from, &mut { READ_MEMORY_BYTES_MAX })
    }

    /// A batch of these values at this place of a partition, by the codec crate.
    fn batch(producer: i64, base: i64, values: &[&'static str]) -> Vec<u8> {
        let name = StrBytes::from_static_str("tributary.gateway");
        let records = (base..).zip(values).map(|(offset, value)| Record {
            transactional: true,
            control: *value == "marker",
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: producer,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: i32::try_from(offset).expect("small"),
            timestamp: 1_000,
            key: Some(Bytes::from_static(b"pump-1")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: IndexMap::from([(name.clone(), Some(Bytes::from_static(b"*")))]),
        });
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let (records, mut bytes) = (records.collect::<Vec<_>>(), BytesMut::new());
        RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("it encodes");
        bytes.to_vec()
    }

    /// A batch that is changed below its checksum.
    fn changed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The end of a producer's transaction.
    fn marker(producer: i64, base: i64) -> Vec<u8> {
        batch(producer, base, &["marker"])
    }

    fn values(decoded: &Decoded) -> Vec<(u64, String)> {
        let value = |record: &ReadRecord| {
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
        };
        decoded.records.iter().map(|record| (record.offset, value(record))).collect()
    }

    #[test]
    fn what_was_aborted_is_passed_over_and_what_follows_is_not() {
        let (a, b) = (batch(1, 10, &["kept", "too"]), batch(2, 12, &["aborted"]));
        let all = [a, b, marker(2, 13), batch(2, 14, &["again"]), marker(2, 15)].concat();
        let decoded = read(all.clone().into(), vec![(2, 12)], 11).expect("it is sound");
        assert_eq!(values(&decoded), [(11, "too".to_owned()), (14, "again".to_owned())]);
        assert_eq!(decoded.next, Some(16));
        let record = &decoded.records[0];
        assert_eq!(record.header("tributary.gateway"), Some(&b"*"[..]));
        assert_eq!(
            (record.timestamp, record.key.as_deref()),
            (Timestamp(1_000), Some(&b"pump-1"[..]))
        );
        let nothing_aborted = read(all.into(), Vec::new(), 10).expect("it is sound");
        assert_eq!(values(&nothing_aborted).len(), 4);
    }

    #[test]
    fn a_batch_that_is_cut_off_waits_and_one_that_is_damaged_is_told() {
        let whole = batch(1, 0, &["one"]);
        for cut in 0..whole.len() {
            let decoded = read(Bytes::copy_from_slice(&whole[..cut]), Vec::new(), 0);
            assert_eq!(decoded, Ok(Decoded::default()), "cut at {cut}");
        }
        for at in 16..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert_eq!(read(damaged.into(), Vec::new(), 0), Err(Malformed), "byte {at}");
        }
        // With a checksum that is right.
        for at in 21..whole.len() {
            for bit in 0..8 {
                let hostile = changed(whole.clone(), |bytes| bytes[at] ^= 1 << bit);
                drop(read(hostile.into(), vec![(1, 0)], 0));
            }
        }
    }

    #[test]
    fn what_one_answer_comes_to_is_bounded_over_its_partitions() {
        let whole = Bytes::from(batch(1, 0, &["one"]));
        let mut left = 1;
        let waits = decode(whole.clone(), Vec::new(), 0, &mut left);
        assert_eq!(waits, Ok(Decoded::default()), "asked for again");
        let mut left = READ_MEMORY_BYTES_MAX;
        decode(whole, Vec::new(), 0, &mut left).expect("it is sound");
        assert!(left < READ_MEMORY_BYTES_MAX - size_of::<ReadRecord>() - HEADER_BYTES);
    }

    /// A number as records have it.
    fn number(value: usize) -> Vec<u8> {
        let (mut left, mut bytes) = (value << 1, Vec::new());
        while left > 0x7f {
            bytes.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        bytes.push(left.to_le_bytes()[0]);
        bytes
    }

    /// A batch of `count` records, each of these bytes but for its length.
    fn batch_of(count: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = batch(1, 0, &["one"])[..61].to_vec();
        let length = number(body.len());
        for _ in 0..count {
            bytes.extend_from_slice(&length);
            bytes.extend_from_slice(body);
        }
        let length = u32::try_from(bytes.len() - FRONT_BYTES).expect("small");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        changed(bytes, |_| {})
    }

    /// A few bytes of a record, or of a header, are many in memory.
    #[test]
    fn what_takes_more_memory_than_one_answer_may_is_passed_over() {
        let behind = |bytes: Vec<u8>| [bytes, batch(1, 1, &["behind"])].concat();
        // Nothing but their lengths.
        let records = batch_of(1_000_000, &[0, 0, 0, 1, 1, 0]);
        let headers = [vec![0, 0, 0, 1, 1], number(2_000_000), vec![0; 4_000_000]].concat();
        for large in [records, batch_of(1, &headers)] {
            let decoded = read(behind(large).into(), Vec::new(), 0).expect("it is sound");
            assert_eq!(decoded.unreadable, [(0, 0)]);
            assert_eq!(values(&decoded), [(1, "behind".to_owned())]);
        }
        let decoded = read(batch_of(100_000, &[0, 0, 0, 1, 1, 0]).into(), Vec::new(), 0);
        assert_eq!(decoded.map(|it| it.records.len()), Ok(100_000));
    }

    #[test]
    fn what_a_topic_stamps_itself_has_its_time() {
        let stamped = changed(batch(1, 0, &["one"]), |bytes| {
            bytes[22] |= 0x08;
            bytes[35..43].copy_from_slice(&77_000_i64.to_be_bytes());
        });
        let decoded = read(stamped.into(), Vec::new(), 0).expect("it is sound");
        assert_eq!(decoded.records[0].timestamp, Timestamp(77_000));
    }
}
