//! Batches, decoded by the codec crate and checked byte by byte where it does not look.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;

use super::*;

const PRODUCER: Producer = Producer::new(77, 5);

fn builder(limits: BatchLimits) -> BatchBuilder {
    let origin = Origin {
        session: 1,
        log_id: 0xfeed,
        generation: 0xbeef,
        gateway_hash: gateway_hash("gw"),
        topics: vec![(Arc::from("cold"), 1), (Arc::from("hot"), 6)],
        send_time: std::collections::BTreeSet::new(),
        batch_bytes: BTreeMap::new(),
    };
    BatchBuilder::new(Arc::new(origin), limits, Codec::None)
}

fn record<'a>(offset: u64, value: &'a [u8], headers: &'a [Header<'a>]) -> Record<'a> {
    Record {
        topic: "hot",
        partition: Partitioner::Gateway,
        offset: Offset(offset),
        route: 1,
        timestamp: Timestamp(1_700_000_000_000),
        key: Some(b"plant/1"),
        value,
        headers,
    }
}

fn seal(builder: BatchBuilder) -> Vec<SealedChain> {
    let mut next = 0;
    builder.seal(PRODUCER, |_, _, count| {
        next += count;
        next - count
    })
}

fn decode(batch: &SealedBatch) -> Vec<kafka_protocol::records::Record> {
    RecordBatchDecoder::decode(&mut batch.bytes.clone()).expect("a valid batch").records
}

#[test]
fn a_batch_is_what_the_codec_reads() {
    let headers = [
        Header { prefix: "", name: "mqtt.topic", value: b"plant/1" },
        Header { prefix: "mqtt.user.", name: "line", value: "größe".as_bytes() },
    ];
    let mut builder = builder(BatchLimits::default());
    let large = vec![0x5a; 300_000];
    let mut records =
        [record(10, b"one", &headers), record(12, &large, &[]), record(900, b"", &headers)];
    records[1].timestamp = Timestamp(1_700_000_123_456);
    records[2].timestamp = Timestamp(1_600_000_000_000);
    records[2].key = None;
    for record in &records {
        builder.push(record).unwrap();
    }
    let bytes = builder.bytes();
    let chains = seal(builder);
    assert_eq!((chains.len(), chains[0].batches.len()), (1, 1));
    let batch = &chains[0].batches[0];
    assert_eq!((batch.bytes.len(), batch.offsets()), (bytes, (Offset(10), Offset(900))));
    let read = decode(batch);
    for (index, (read, record)) in read.iter().zip(&records).enumerate() {
        let index = i32::try_from(index).unwrap();
        assert!(read.transactional && !read.control);
        assert_eq!((read.producer_id, read.producer_epoch, read.sequence), (77, 5, index));
        assert_eq!((read.offset, read.timestamp), (i64::from(index), record.timestamp.0));
        assert_eq!(read.key.as_deref(), record.key);
        assert_eq!(read.value.as_deref(), Some(record.value));
        let skipped = usize::from(index == 0);
        let found: Vec<_> = read
            .headers
            .iter()
            .skip(skipped)
            .map(|(name, value)| (name.to_string(), value.clone().unwrap()))
            .collect();
        let expected: Vec<_> = record
            .headers
            .iter()
            .map(|h| (format!("{}{}", h.prefix, h.name), Bytes::copy_from_slice(h.value)))
            .collect();
        assert_eq!(found, expected);
    }
    let (name, evidence) = read[0].headers.first().unwrap();
    assert_eq!(&**name, "tributary.batch");
    assert_eq!(evidence.as_deref(), Some(b"000000000000feed,0000beef,10".as_slice()));
    assert_eq!(read.len(), 3);
}

#[test]
fn the_header_and_the_checksum_are_as_kafka_has_them() {
    let mut builder = builder(BatchLimits::default());
    builder.push(&record(1, b"a", &[])).unwrap();
    builder.push(&record(2, b"b", &[])).unwrap();
    let bytes = seal(builder).remove(0).batches.remove(0).bytes;
    let int = |at: usize| i32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
    assert_eq!(&bytes[..8], [0; 8], "base offset");
    assert_eq!(usize::try_from(int(8)).unwrap(), bytes.len() - 12, "length");
    assert_eq!((int(12), bytes[16]), (-1, 2), "leader epoch, magic");
    assert_eq!(int(17).cast_unsigned(), crc32c::crc32c(&bytes[21..]));
    assert_eq!(&bytes[21..23], [0, 0x10], "transactional, uncompressed, create time");
    assert_eq!((int(23), int(57)), (1, 2), "last offset delta, count");
    // A flipped bit does not pass the codec's check of the sum.
    let mut flipped = bytes.to_vec();
    flipped[70] ^= 1;
    assert!(RecordBatchDecoder::decode(&mut Bytes::from(flipped)).is_err());
}

#[test]
fn a_full_batch_is_followed_by_another_with_evidence_and_sequence_of_its_own() {
    let limits = BatchLimits { batch_bytes: 1000, ..BatchLimits::default() };
    let mut builder = builder(limits);
    for offset in 0..30 {
        builder.push(&record(offset, &[7; 100], &[])).unwrap();
    }
    let bytes = builder.bytes();
    let batches = seal(builder).remove(0).batches;
    assert!(batches.len() > 3);
    assert_eq!(batches.iter().map(|batch| batch.bytes.len()).sum::<usize>(), bytes);
    let mut next = 0;
    for batch in &batches {
        assert!(batch.bytes.len() <= 1000);
        let read = decode(batch);
        assert_eq!(read[0].sequence, next);
        let evidence = read[0].headers.first().unwrap().1.clone().unwrap();
        assert_eq!(evidence, format!("000000000000feed,0000beef,{next}"));
        assert!(read[1..].iter().all(|record| record.headers.is_empty()));
        next += i32::try_from(read.len()).unwrap();
    }
    assert_eq!(next, 30);
}

#[test]
fn records_find_the_partition_that_a_java_client_finds() {
    let mut builder = builder(BatchLimits::default());
    let mut by_key = record(1, b"x", &[]);
    by_key.partition = Partitioner::Key;
    // murmur2("foobar") is -790332482, of which Java takes the lower 31 bits.
    by_key.key = Some(b"foobar");
    builder.push(&by_key).unwrap();
    by_key.key = None;
    builder.push(&by_key).unwrap();
    builder.push(&record(3, b"y", &[])).unwrap();
    let chains = seal(builder);
    assert_eq!(chains[0].partition, 0x50e4_7bbe % 6);
    let gateway = i32::try_from(murmur2::partition(gateway_hash("gw"), 6)).unwrap();
    assert_eq!((chains.len(), chains[1].partition), (2, gateway));
    assert_eq!(decode(&chains[1].batches[0]).len(), 2, "without a key it goes by the gateway");
}

#[test]
fn what_does_not_fit_is_not_taken_and_changes_nothing() {
    let limits = BatchLimits { batch_bytes: 1000, transaction_bytes: 2000, records: 9 };
    let mut builder = builder(limits);
    assert_eq!(builder.push(&record(0, &[0; 1000], &[])), Err(PushError::TooLarge));
    assert!(builder.is_empty() && builder.bytes() == 0);
    let unknown = Record { topic: "nowhere", ..record(0, b"", &[]) };
    assert_eq!(builder.push(&unknown), Err(PushError::UnknownTopic));
    assert_eq!(builder.take_missing().as_deref(), Some("nowhere"));
    builder.push(&record(0, &[0; 700], &[])).unwrap();
    builder.push(&record(1, &[0; 500], &[])).unwrap();
    let bytes = builder.bytes();
    assert_eq!(builder.push(&record(2, &[0; 800], &[])), Err(PushError::Full));
    assert_eq!((builder.len(), builder.bytes()), (2, bytes));
    for offset in 2..9 {
        builder.push(&record(offset, b"", &[])).unwrap();
    }
    assert_eq!(builder.push(&record(9, b"", &[])), Err(PushError::Full), "records are limited");
    assert_eq!(seal(builder).remove(0).batches.len(), 2);
}

#[test]
fn a_first_record_is_taken_even_if_the_budget_is_small() {
    let limits = BatchLimits { transaction_bytes: 10, ..BatchLimits::default() };
    let mut builder = builder(limits);
    builder.push(&record(0, &[0; 700], &[])).unwrap();
    assert_eq!(builder.push(&record(1, b"", &[])), Err(PushError::Full));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(5, 3), 8);
    assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 2, 10), 7);
}
