//! A client as small as a script: one request at a time, on one connection to each broker. It uses
//! the codec's own batch encoder and decoder, so that ours is checked against another.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, OffsetFetchRequest,
    ProduceRequest, RequestHeader, ResponseHeader, TxnOffsetCommitRequest,
    add_partitions_to_txn_request, offset_fetch_request,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tributary_cluster::{BrokerId, Cluster, ConnId, Output, Settings, TopicSettings};
use tributary_core::time::Instant;

pub(crate) const TOPIC: &str = "events";
pub(crate) const POSITIONS: &str = "positions";
pub(crate) const ID: &str = "gateway";
pub(crate) const B1: BrokerId = BrokerId(1);

/// The wall time of a default cluster at its origin.
pub(crate) const ORIGIN_MS: i64 = 1_767_225_600_000;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing came.
    Silent,
    /// The broker closed the connection.
    Closed,
}

/// A cluster, a clock and connections.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
    conns: BTreeMap<BrokerId, ConnId>,
    correlation: i32,
}

impl World {
    /// A cluster with the topics [`TOPIC`] (2 partitions) and [`POSITIONS`].
    pub(crate) fn new(settings: Settings) -> Self {
        let mut cluster = Cluster::new(settings);
        let two = TopicSettings { partitions: 2, ..TopicSettings::default() };
        cluster.create_topic(TOPIC, two).expect("the cluster is new");
        cluster.create_topic(POSITIONS, TopicSettings::default()).expect("the cluster is new");
        Self { cluster, now: Instant(0), conns: BTreeMap::new(), correlation: 0 }
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.cluster.handle_timeout(self.now);
    }

    /// Sends a request and takes the answer that is there at once.
    pub(crate) fn try_call<R: Request>(
        &mut self,
        broker: BrokerId,
        version: i16,
        request: &R,
    ) -> Result<R::Response, Lost> {
        self.send(broker, version, request);
        self.take::<R>(broker, version)
    }

    /// Sends a request and lets time pass until it is answered.
    pub(crate) fn call<R: Request>(
        &mut self,
        broker: BrokerId,
        version: i16,
        request: &R,
    ) -> R::Response {
        let mut answer = self.try_call(broker, version, request);
        while answer.as_ref().err() == Some(&Lost::Silent) {
            let next = self.cluster.poll_timeout().expect("something will happen");
            self.now = self.now.max(next);
            self.cluster.handle_timeout(self.now);
            answer = self.take::<R>(broker, version);
        }
        answer.unwrap_or_else(|lost| panic!("no answer to API {}: {lost:?}", R::KEY))
    }

    pub(crate) fn send<R: Request>(&mut self, broker: BrokerId, version: i16, request: &R) {
        self.correlation += 1;
        let frame = frame(self.correlation, version, request);
        self.send_bytes(broker, &frame);
    }

    pub(crate) fn send_bytes(&mut self, broker: BrokerId, bytes: &[u8]) {
        let conn = self.conn(broker);
        self.cluster.handle_bytes(self.now, conn, bytes);
    }

    /// Takes the answer to the request that was sent last.
    pub(crate) fn take<R: Request>(
        &mut self,
        broker: BrokerId,
        version: i16,
    ) -> Result<R::Response, Lost> {
        let mut body = self.take_bytes(broker)?;
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).expect("a header");
        assert_eq!(header.correlation_id, self.correlation);
        let response = R::Response::decode(&mut body, version).expect("a response");
        assert!(body.is_empty(), "{} bytes are left over", body.len());
        Ok(response)
    }

    /// Takes a frame, without its length.
    pub(crate) fn take_bytes(&mut self, broker: BrokerId) -> Result<Bytes, Lost> {
        let of_broker = self.conns.get(&broker).copied();
        match self.cluster.poll_output() {
            None => Err(Lost::Silent),
            Some(Output::Close { conn }) => {
                self.conns.retain(|_, known| *known != conn);
                Err(Lost::Closed)
            }
            Some(Output::Bytes { conn, mut bytes }) => {
                assert_eq!(Some(conn), of_broker);
                assert_eq!(usize::try_from(bytes.get_i32()), Ok(bytes.len()));
                Ok(bytes)
            }
        }
    }

    /// Throws away what came, and asks on a new connection.
    pub(crate) fn still_answers(&mut self) -> bool {
        while self.cluster.poll_output().is_some() {}
        self.disconnect(B1);
        self.try_call(B1, 12, &MetadataRequest::default()).is_ok()
    }

    pub(crate) fn disconnect(&mut self, broker: BrokerId) {
        if let Some(conn) = self.conns.remove(&broker) {
            self.cluster.disconnect(conn);
        }
    }

    fn conn(&mut self, broker: BrokerId) -> ConnId {
        let cluster = &mut self.cluster;
        *self
            .conns
            .entry(broker)
            .or_insert_with(|| cluster.connect(broker).expect("the broker is up"))
    }
}

/// A request as it goes over the wire.
pub(crate) fn frame<R: Request>(correlation: i32, version: i16, request: &R) -> BytesMut {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("script")));
    let mut body = BytesMut::new();
    encode_request_header_into_buffer(&mut body, &header).expect("a header");
    request.encode(&mut body, version).expect("a request");
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).expect("a small request"));
    frame.extend_from_slice(&body);
    frame
}

/// What a batch is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) producer: (i64, i16),
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
    pub(crate) time_ms: i64,
}

impl Stamp {
    pub(crate) const PLAIN: Self =
        Self { producer: (-1, -1), sequence: -1, transactional: false, time_ms: ORIGIN_MS };
}

/// A batch of records with these values and no key.
pub(crate) fn batch(stamp: Stamp, values: &[&str]) -> Bytes {
    let record = |(index, value): (i32, &&str)| Record {
        transactional: stamp.transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: stamp.producer.0,
        producer_epoch: stamp.producer.1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(index),
        sequence: stamp.sequence.wrapping_add(index),
        timestamp: stamp.time_ms + i64::from(index),
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: [(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"1")))].into(),
    };
    let records: Vec<_> = (0..).zip(values).map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch");
    bytes.freeze()
}

pub(crate) fn produce_request(
    id: Option<&str>,
    place: (&str, i32),
    records: Bytes,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(place.1).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(text(place.0).into()).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(id.map(|id| text(id).into()))
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic])
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Which versions a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Of transaction versions 0 and 1.
    V0,
    /// Of transaction version 2.
    V2,
}

/// A transactional producer whose group has the same name, on broker 1.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) speaks: Speaks,
    pub(crate) producer: (i64, i16),
    /// The next sequence of each partition of [`TOPIC`].
    pub(crate) sequences: [i32; 2],
}

impl Session {
    /// A session that has its producer. Retries 51, as clients must.
    pub(crate) fn open(world: &mut World, id: &str, speaks: Speaks) -> Self {
        let mut session = Self { id: id.to_owned(), speaks, producer: (-1, -1), sequences: [0, 0] };
        let mut answer = session.init(world, 60_000);
        while answer.error_code == 51 {
            world.wait_ms(5);
            answer = session.init(world, 60_000);
        }
        assert_eq!(answer.error_code, 0);
        session.adopt(answer.producer_id.0, answer.producer_epoch);
        session
    }

    pub(crate) fn adopt(&mut self, id: i64, epoch: i16) {
        if self.producer != (id, epoch) {
            self.producer = (id, epoch);
            self.sequences = [0, 0];
        }
    }

    pub(crate) fn init(&self, world: &mut World, timeout_ms: i32) -> InitProducerIdResponse {
        world.call(B1, 4, &init_request(&self.id, timeout_ms))
    }

    /// `InitProducerId` by a producer that knows its own id.
    pub(crate) fn init_own(&self, world: &mut World) -> InitProducerIdResponse {
        let (id, epoch) = self.producer;
        let request = init_request(&self.id, 60_000);
        world.call(B1, 4, &request.with_producer_id(id.into()).with_producer_epoch(epoch))
    }

    pub(crate) const fn stamp(&self, partition: usize) -> Stamp {
        Stamp {
            producer: self.producer,
            sequence: self.sequences[partition],
            transactional: true,
            time_ms: ORIGIN_MS,
        }
    }

    /// Produces in the version of the session and moves the sequence on. Answers the error and the
    /// base offset.
    pub(crate) fn produce(
        &mut self,
        world: &mut World,
        partition: usize,
        values: &[&str],
    ) -> (i16, i64) {
        let records = batch(self.stamp(partition), values);
        let answer = self.send_batch(world, partition, records);
        if answer.0 == 0 {
            self.sequences[partition] += i32::try_from(values.len()).expect("few values");
        }
        answer
    }

    pub(crate) fn send_batch(
        &self,
        world: &mut World,
        partition: usize,
        records: Bytes,
    ) -> (i16, i64) {
        let version = match self.speaks {
            Speaks::V0 => 11,
            Speaks::V2 => 12,
        };
        self.send_batch_as(world, version, (partition, records))
    }

    pub(crate) fn send_batch_as(
        &self,
        world: &mut World,
        version: i16,
        (partition, records): (usize, Bytes),
    ) -> (i16, i64) {
        let place = (TOPIC, i32::try_from(partition).expect("0 or 1"));
        let answer = world.call(B1, version, &produce_request(Some(&self.id), place, records));
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    pub(crate) fn add_partition(&self, world: &mut World, partition: i32) -> i16 {
        let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
            .with_name(text(TOPIC).into())
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(text(&self.id).into())
            .with_v3_and_below_producer_id(self.producer.0.into())
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![topic]);
        let answer = world.call(B1, 3, &request);
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    pub(crate) fn add_offsets(&self, world: &mut World) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_producer_id(self.producer.0.into())
            .with_producer_epoch(self.producer.1)
            .with_group_id(text(&self.id).into());
        world.call(B1, 3, &request).error_code
    }

    /// Registers partition 0 and the group, where the version needs that. Retries 51.
    pub(crate) fn register(&self, world: &mut World) {
        if self.speaks == Speaks::V2 {
            return;
        }
        while self.add_partition(world, 0) == 51 {
            world.wait_ms(5);
        }
        assert_eq!(self.add_offsets(world), 0);
    }

    pub(crate) fn commit_request(&self, place: (&str, i32), offset: i64) -> TxnOffsetCommitRequest {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(place.1)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("v1")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(text(place.0).into())
            .with_partitions(vec![partition]);
        TxnOffsetCommitRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_group_id(text(&self.id).into())
            .with_producer_id(self.producer.0.into())
            .with_producer_epoch(self.producer.1)
            .with_generation_id(-1)
            .with_topics(vec![topic])
    }

    pub(crate) fn commit_offset(&self, world: &mut World, offset: i64) -> i16 {
        let version = match self.speaks {
            Speaks::V0 => 4,
            Speaks::V2 => 5,
        };
        commit_offset_as(world, version, &self.commit_request((POSITIONS, 0), offset))
    }

    pub(crate) fn end_as(&self, world: &mut World, commit: bool) -> EndTxnResponse {
        let version = match self.speaks {
            Speaks::V0 => 4,
            Speaks::V2 => 5,
        };
        let request = EndTxnRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_producer_id(self.producer.0.into())
            .with_producer_epoch(self.producer.1)
            .with_committed(commit);
        world.call(B1, version, &request)
    }

    /// Ends the transaction and takes the next epoch. Answers the error.
    pub(crate) fn end(&mut self, world: &mut World, commit: bool) -> i16 {
        let answer = self.end_as(world, commit);
        if answer.error_code == 0 && self.speaks == Speaks::V2 {
            self.adopt(answer.producer_id.0, answer.producer_epoch);
        }
        answer.error_code
    }

    /// A whole transaction: records in partition 0, and a position.
    pub(crate) fn transact(&mut self, world: &mut World, values: &[&str], position: i64) {
        self.register(world);
        assert_eq!(self.produce(world, 0, values).0, 0);
        assert_eq!(self.commit_offset(world, position), 0);
        assert_eq!(self.end(world, true), 0);
    }
}

/// Sends a commit of one partition in the given version. Answers its error.
pub(crate) fn commit_offset_as(
    world: &mut World,
    version: i16,
    request: &TxnOffsetCommitRequest,
) -> i16 {
    world.call(B1, version, request).topics[0].partitions[0].error_code
}

pub(crate) fn init_request(id: &str, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(text(id).into()))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

/// What `OffsetFetch` answers for partition 0 of [`POSITIONS`]: its error, the offset, the metadata.
pub(crate) fn fetch_offset(world: &mut World, group: &str, stable: bool) -> (i16, i64, String) {
    let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
        .with_name(text(POSITIONS).into())
        .with_partition_indexes(vec![0]);
    let group = offset_fetch_request::OffsetFetchRequestGroup::default()
        .with_group_id(text(group).into())
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    let request =
        OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable);
    let answer = world.call(B1, 9, &request);
    assert_eq!(answer.groups[0].error_code, 0);
    let partition = &answer.groups[0].topics[0].partitions[0];
    let metadata = partition.metadata.as_ref().expect("never null").to_string();
    (partition.error_code, partition.committed_offset, metadata)
}

/// The values of records.
pub(crate) fn values(records: &[tributary_cluster::ReadRecord]) -> Vec<String> {
    let value = |record: &tributary_cluster::ReadRecord| {
        String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text")
    };
    records.iter().map(value).collect()
}

/// A request of every kind, to be encoded in any version that is offered.
pub(crate) fn every_api() -> [ApiKey; 17] {
    [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::ApiVersions,
        ApiKey::CreateTopics,
        ApiKey::InitProducerId,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::EndTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::DescribeConfigs,
        ApiKey::SaslHandshake,
        ApiKey::SaslAuthenticate,
    ]
}
