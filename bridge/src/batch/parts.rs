//! A finished batch made again of some of its records: so what Kafka refuses of it is found.
//!
//! The records keep their bytes, all but their places in the batch. Producer, first sequence and
//! codec stay; so batches that follow fit behind as long as no record is left out.

use core::ops::Range;
use std::collections::BTreeSet;

use tributary_core::Offset;
use tributary_core::time::Timestamp;

use super::encode::{HEADER_BYTES, SealedBatch, Stamp, sequence_before};
use super::varint;

/// The uncompressed records of a batch, and where each of them lies.
struct Loose {
    bytes: Vec<u8>,
    spans: Vec<Range<usize>>,
}

impl SealedBatch {
    /// How many records it holds.
    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    /// First and last offset of the local log in it.
    pub(crate) fn offsets(&self) -> (Offset, Offset) {
        let ends = (self.tags.first(), self.tags.last());
        let (Some(first), Some(last)) = ends else { unreachable!("a batch holds a record") };
        (first.offset, last.offset)
    }

    /// Two batches of the same records, about equally large: so one that is larger than all others
    /// together is soon alone.
    pub(crate) fn halves(&self) -> (Self, Self) {
        assert!(self.len() > 1, "a record cannot be divided");
        let loose = self.loosen();
        let half = loose.bytes.len() / 2;
        let cut = loose.spans.partition_point(|span| span.end <= half).clamp(1, self.len() - 1);
        let stamp = Stamp::read(&self.bytes);
        let behind = stamp.sequence_at(cut);
        let first = self.remake(&loose, &stamp, (&mut (0..cut), None));
        let stamp = Stamp { sequence: behind, ..stamp };
        let second = self.remake(&loose, &stamp, (&mut (cut..self.len()), None));
        (first, second)
    }

    /// The batch without the records at these places; `None` if none is left.
    pub(crate) fn without(&self, places: &BTreeSet<usize>) -> Option<Self> {
        let mut kept = (0..self.len()).filter(|place| !places.contains(place)).peekable();
        kept.peek()?;
        Some(self.remake(&self.loosen(), &Stamp::read(&self.bytes), (&mut kept, None)))
    }

    /// The batch behind one of which so many records are left out.
    pub(crate) fn moved_up(self, count: i32) -> Self {
        let stamp = Stamp::read(&self.bytes);
        let sequence = sequence_before(stamp.sequence, count);
        let bytes = Stamp { sequence, ..stamp }.finish(self.bytes.into());
        Self { bytes, ..self }
    }

    /// Whether every record bears this timestamp.
    pub(crate) fn is_stamped(&self, time: Timestamp) -> bool {
        let Stamp { base_timestamp, max_timestamp, .. } = Stamp::read(&self.bytes);
        // A base above another record's time is the first record's own.
        base_timestamp == time.0 && max_timestamp == time.0 && self.is_level()
    }

    /// The same records, all with this timestamp.
    pub(crate) fn stamped(&self, time: Timestamp) -> Self {
        let stamp = Stamp { base_timestamp: time.0, ..Stamp::read(&self.bytes) };
        let mut all = 0..self.len();
        self.remake(&self.loosen(), &stamp, (&mut all, Some(0)))
    }

    /// Whether all records bear the timestamp of the first.
    fn is_level(&self) -> bool {
        let Loose { bytes, spans } = self.loosen();
        spans.iter().all(|span| varint::take(&bytes, span.start + 1).0 == 0)
    }

    fn loosen(&self) -> Loose {
        let mut bytes = Vec::new();
        let (codec, packed) = (Stamp::read(&self.bytes).codec, &self.bytes[HEADER_BYTES..]);
        let unpacked = codec.decompress(packed, usize::MAX - 1, &mut bytes);
        unpacked.expect("what was compressed here can be decompressed");
        let (mut at, mut spans) = (0, Vec::with_capacity(self.len()));
        while at < bytes.len() {
            let (length, body) = varint::take(&bytes, at);
            let length = usize::try_from(length).expect("a record has a length");
            spans.push(body..body + length);
            at = body + length;
        }
        assert_eq!(spans.len(), self.len(), "a batch knows what each record was made from");
        Loose { bytes, spans }
    }

    /// A batch of the records at these places; with a delta, each at that time behind the base.
    fn remake(
        &self,
        loose: &Loose,
        stamp: &Stamp,
        (kept, time): (&mut dyn Iterator<Item = usize>, Option<i64>),
    ) -> Self {
        let (mut records, mut tags) = (Vec::new(), Vec::new());
        let mut max_delta = i64::MIN;
        for place in kept {
            let body = &loose.bytes[loose.spans[place].clone()];
            // Attributes, time delta, offset delta, and all that stays.
            let (delta, offset_at) = varint::take(body, 1);
            let (_, rest_at) = varint::take(body, offset_at);
            let delta = time.unwrap_or(delta);
            let offset = i64::try_from(tags.len()).expect("records are limited");
            let front = 1 + varint::len(delta) + varint::len(offset);
            varint::put_len(&mut records, front + body.len() - rest_at);
            records.push(body[0]);
            varint::put(&mut records, delta);
            varint::put(&mut records, offset);
            records.extend_from_slice(&body[rest_at..]);
            tags.push(self.tags[place]);
            max_delta = max_delta.max(delta);
        }
        let mut buffer = vec![0; HEADER_BYTES];
        stamp.codec.compress(&records, &mut buffer);
        let count = i32::try_from(tags.len()).expect("records are limited");
        let max_timestamp = stamp.base_timestamp.wrapping_add(max_delta);
        let bytes = Stamp { count, max_timestamp, ..*stamp }.finish(buffer);
        Self { bytes, raw_bytes: HEADER_BYTES + records.len(), tags }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::{Record as Read, RecordBatchDecoder};

    use super::*;
    use crate::batch::encode::{OpenBatch, Producer};
    use crate::batch::{Codec, Header, Partitioner, Record};

    /// Records of these many bytes, each a second after the one before.
    fn batch(codec: Codec, sizes: &[usize]) -> SealedBatch {
        let mut open: Option<OpenBatch> = None;
        for (at, size) in (0_u32..).zip(sizes) {
            let value = vec![b'0' + u8::try_from(at).expect("few"); *size];
            let record = Record {
                topic: "hot",
                partition: Partitioner::Gateway,
                offset: Offset(u64::from(at) * 10),
                route: at,
                timestamp: Timestamp(i64::from(at) * 1_000),
                key: Some(b"key"),
                value: &value,
                headers: &[Header::new("name", b"value")],
            };
            let batch = open.get_or_insert_with(|| OpenBatch::new(&record, Vec::new()));
            let size = batch.size_of(&record, None);
            batch.put(&record, None, size);
        }
        let mut open = open.expect("there is a record");
        open.compress(codec);
        open.seal(Producer::new(9, 3), 7)
    }

    /// By the codec crate, which decompresses nothing here.
    fn read(batch: &SealedBatch) -> Vec<Read> {
        let buffer = [vec![0; HEADER_BYTES], batch.loosen().bytes].concat();
        let stamp = Stamp { codec: Codec::None, ..Stamp::read(&batch.bytes) };
        let mut plain = stamp.finish(buffer);
        RecordBatchDecoder::decode(&mut plain).expect("a valid batch").records
    }

    /// What must stay of each record, whatever batch it is in.
    fn content(records: &[Read]) -> Vec<(i64, Option<bytes::Bytes>, Option<bytes::Bytes>, usize)> {
        let of = |r: &Read| (r.timestamp, r.key.clone(), r.value.clone(), r.headers.len());
        records.iter().map(of).collect()
    }

    #[test]
    fn halves_are_the_whole_and_a_large_record_is_soon_alone() {
        for codec in Codec::ALL {
            let whole = batch(codec, &[300, 300, 9_000, 300, 300]);
            let (first, rest) = whole.halves();
            assert_eq!((first.len(), rest.len()), (2, 3), "{codec:?}");
            let (large, last) = rest.halves();
            assert_eq!((large.len(), last.len()), (1, 2), "{codec:?}");
            let parts = [&first, &large, &last].map(read).concat();
            assert_eq!(content(&parts), content(&read(&whole)));
            let sequences: Vec<i32> = parts.iter().map(|record| record.sequence).collect();
            assert_eq!(sequences, [7, 8, 9, 10, 11], "no gap");
            assert_eq!((last.offsets(), last.tags[1].route), ((Offset(30), Offset(40)), 4));
        }
    }

    #[test]
    fn what_is_left_out_leaves_no_gap() {
        let whole = batch(Codec::Lz4, &[100; 5]);
        let rest = whole.without(&[0, 3].into()).expect("three are left");
        let kept = content(&read(&whole));
        let kept = [&kept[1..3], &kept[4..]].concat();
        assert_eq!(content(&read(&rest)), kept);
        assert_eq!(read(&rest).last().map(|record| record.offset), Some(2));
        assert_eq!(rest.offsets(), (Offset(10), Offset(40)));
        let behind = batch(Codec::None, &[10]).moved_up(2);
        assert_eq!(read(&behind)[0].sequence, 5);
        let wrapped = behind.moved_up(6);
        assert_eq!(read(&wrapped)[0].sequence, i32::MAX);
        assert!(whole.without(&[0, 1, 2, 3, 4].into()).is_none());
    }

    #[test]
    fn a_stamp_is_the_same_for_all() {
        let (whole, now) = (batch(Codec::Zstd, &[100; 3]), Timestamp(77_000));
        assert!(!whole.is_stamped(Timestamp(0)) && !whole.is_stamped(now));
        let stamped = whole.stamped(now);
        assert!(stamped.is_stamped(now));
        let times: Vec<i64> = read(&stamped).iter().map(|record| record.timestamp).collect();
        assert_eq!(times, [77_000; 3]);
        assert!(stamped.halves().1.is_stamped(now));
    }
}
