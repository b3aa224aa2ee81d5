//! How the scripted broker answers.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, decode_request_header_from_buffer};
use kafka_protocol::records::{Record, RecordBatchDecoder};
use tributary_bridge::ConnId;

use super::produce::produce;
use super::{Broker, Fault, Seen, login};

const WHY: &str = "an answer of this version";

/// API keys and the highest version that a Kafka 4.4 offers.
pub(crate) const APIS: [(ApiKey, i16); 13] = [
    (ApiKey::Produce, 13),
    (ApiKey::Metadata, 13),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::FindCoordinator, 6),
    (ApiKey::ApiVersions, 5),
    (ApiKey::CreateTopics, 7),
    (ApiKey::InitProducerId, 6),
    (ApiKey::AddPartitionsToTxn, 5),
    (ApiKey::AddOffsetsToTxn, 4),
    (ApiKey::EndTxn, 5),
    (ApiKey::TxnOffsetCommit, 6),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 2),
];

impl Broker {
    pub(crate) fn new(transaction_version: i16) -> Self {
        let topics = [("hot", 1), ("tributary.positions", 4)];
        Self {
            transaction_version,
            offered: BTreeMap::new(),
            topics: topics.map(|(name, count)| (name.to_owned(), vec![1; count])).into(),
            coordinator: 1,
            producer: (1000, 0),
            committed: None,
            pending: None,
            faults: BTreeMap::new(),
            seen: Vec::new(),
            late: Vec::new(),
            silent: BTreeSet::new(),
            lifetime_ms: 0,
            blamed: &[],
            leader: None,
            throttle_ms: 0,
        }
    }

    /// The answer to a request, unless there is none.
    pub(crate) fn handle(&mut self, conn: ConnId, port: u16, frame: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Bytes::copy_from_slice(frame);
        assert_eq!(usize::try_from(bytes.get_i32()), Ok(frame.len() - 4));
        let header = decode_request_header_from_buffer(&mut bytes).expect("a header");
        let key = ApiKey::try_from(header.request_api_key).expect("a key");
        let version = header.request_api_version;
        let fault = self
            .faults
            .get_mut(&header.request_api_key)
            .and_then(VecDeque::pop_front)
            .unwrap_or(Fault::Code(0));
        let body = bytes.clone();
        let code = match fault {
            Fault::Code(code) => code,
            Fault::Blames(_) => 87,
            Fault::Silence => -2,
            Fault::SilentSuccess | Fault::Late => 0,
        };
        self.blamed = if let Fault::Blames(places) = fault { places } else { &[] };
        let mut answer = BytesMut::new();
        answer.extend_from_slice(&header.correlation_id.to_be_bytes());
        if key.response_header_version(version) == 1 {
            answer.extend_from_slice(&[0]);
        }
        let note = self.answer((key, version), &mut bytes, code, &mut answer);
        assert!(bytes.is_empty(), "{key:?} has bytes left over");
        let text = format!("{key:?} v{version}{note}");
        self.seen.push(Seen { port, text, body });
        let mut framed = u32::try_from(answer.len()).expect("short").to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        match fault {
            _ if self.silent.contains(&conn) => None,
            Fault::Silence | Fault::SilentSuccess => {
                self.silent.insert(conn);
                None
            }
            Fault::Code(_) | Fault::Blames(_)
                if self.late.iter().all(|(late, _)| *late != conn) =>
            {
                Some(framed)
            }
            Fault::Code(_) | Fault::Blames(_) | Fault::Late => {
                self.late.push((conn, framed));
                None
            }
        }
    }

    fn answer(
        &mut self,
        (key, version): (ApiKey, i16),
        bytes: &mut Bytes,
        code: i16,
        out: &mut BytesMut,
    ) -> String {
        match key {
            ApiKey::ApiVersions => {
                read::<ApiVersionsRequest>(bytes, version);
                self.versions(code).encode(out, version).expect(WHY);
                String::new()
            }
            ApiKey::SaslHandshake => login::handshake(bytes, code, out),
            ApiKey::SaslAuthenticate => self.authenticate(version, bytes, code, out),
            ApiKey::Metadata => {
                let request = read::<MetadataRequest>(bytes, version);
                assert!(!request.allow_auto_topic_creation);
                let names: Vec<String> = request
                    .topics
                    .expect("topics")
                    .into_iter()
                    .map(|topic| topic.name.expect("a name").to_string())
                    .collect();
                self.metadata(&names, code).encode(out, version).expect(WHY);
                format!(" {}", names.join(" "))
            }
            ApiKey::FindCoordinator => {
                let request = read::<FindCoordinatorRequest>(bytes, version);
                self.coordinator(version, code).encode(out, version).expect(WHY);
                let key = request.coordinator_keys.first().unwrap_or(&request.key).clone();
                assert_eq!(&*key, "tributary.gw.0000000000001234.normal");
                if request.key_type == 0 { " group" } else { " transaction" }.to_owned()
            }
            ApiKey::CreateTopics => self.create(version, bytes, code, out),
            ApiKey::InitProducerId => {
                let request = read::<InitProducerIdRequest>(bytes, version);
                assert_eq!((*request.producer_id, request.producer_epoch), (-1, -1));
                if code == 0 {
                    self.pending = None;
                    self.producer.1 += 1;
                }
                InitProducerIdResponse::default()
                    .with_error_code(code)
                    .with_producer_id(ProducerId(if code == 0 { self.producer.0 } else { -1 }))
                    .with_producer_epoch(self.producer.1)
                    .encode(out, version)
                    .expect(WHY);
                String::new()
            }
            ApiKey::OffsetFetch => {
                let request = read::<OffsetFetchRequest>(bytes, version);
                assert!(request.require_stable);
                self.position(version, code).encode(out, version).expect(WHY);
                String::new()
            }
            _ => self.answer_transaction((key, version), bytes, code, out),
        }
    }

    fn create(&mut self, version: i16, bytes: &mut Bytes, code: i16, out: &mut BytesMut) -> String {
        let request = read::<CreateTopicsRequest>(bytes, version);
        let topic = request.topics[0].clone();
        if code == 0 {
            let count = usize::try_from(topic.num_partitions).unwrap_or(3);
            self.topics.insert(topic.name.to_string(), vec![1; count]);
        }
        let result = create_topics_response::CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code);
        CreateTopicsResponse::default().with_topics(vec![result]).encode(out, version).expect(WHY);
        format!(" {} {}", topic.name.0, topic.num_partitions)
    }

    fn answer_transaction(
        &mut self,
        (key, version): (ApiKey, i16),
        bytes: &mut Bytes,
        code: i16,
        out: &mut BytesMut,
    ) -> String {
        match key {
            ApiKey::AddPartitionsToTxn => add_partitions(bytes, version, code, out),
            ApiKey::AddOffsetsToTxn => {
                read::<AddOffsetsToTxnRequest>(bytes, version);
                AddOffsetsToTxnResponse::default()
                    .with_error_code(code)
                    .encode(out, version)
                    .expect(WHY);
                String::new()
            }
            ApiKey::Produce => produce(
                (bytes, version),
                (code, self.leader.filter(|_| code == 6)),
                self.blamed,
                out,
            ),
            ApiKey::TxnOffsetCommit => {
                let request = read::<TxnOffsetCommitRequest>(bytes, version);
                assert_eq!((request.generation_id, &*request.member_id), (-1, ""));
                let topic = &request.topics[0];
                let partition = &topic.partitions[0];
                let metadata = partition.committed_metadata.clone().expect("metadata").to_string();
                let note = format!(" {} {metadata}", partition.committed_offset);
                if code == 0 {
                    self.pending = Some((partition.committed_offset, metadata));
                }
                let result =
                    txn_offset_commit_response::TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code);
                let result = txn_offset_commit_response::TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(vec![result]);
                TxnOffsetCommitResponse::default()
                    .with_topics(vec![result])
                    .encode(out, version)
                    .expect(WHY);
                note
            }
            ApiKey::EndTxn => {
                let request = read::<EndTxnRequest>(bytes, version);
                assert!(request.committed, "never an abort");
                if code == 0 {
                    self.committed = self.pending.take();
                    self.producer.1 += i16::from(version >= 5);
                }
                let mut response = EndTxnResponse::default().with_error_code(code);
                if version >= 5 {
                    response = response
                        .with_producer_id(ProducerId(self.producer.0))
                        .with_producer_epoch(self.producer.1);
                }
                response.encode(out, version).expect(WHY);
                format!(" epoch {}", request.producer_epoch)
            }
            key => panic!("{key:?} is not expected"),
        }
    }

    fn versions(&self, code: i16) -> ApiVersionsResponse {
        let apis = APIS.map(|(key, max)| {
            let max = self.offered.get(&(key as i16)).copied().unwrap_or(max);
            api_versions_response::ApiVersion::default()
                .with_api_key(key as i16)
                .with_max_version(max)
        });
        let apis = apis.into_iter().filter(|api| api.max_version >= 0).collect();
        let response = ApiVersionsResponse::default().with_error_code(code).with_api_keys(apis);
        if self.transaction_version == 0 {
            return response;
        }
        let feature = api_versions_response::FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str("transaction.version"))
            .with_max_version_level(self.transaction_version)
            .with_min_version_level(self.transaction_version);
        response.with_finalized_features_epoch(9).with_finalized_features(vec![feature])
    }

    fn metadata(&self, names: &[String], code: i16) -> MetadataResponse {
        use metadata_response::*;
        let brokers = [1, 2].map(|port| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(port))
                .with_host(StrBytes::from_static_str("kafka"))
                .with_port(port)
        });
        let replicas = || [1, 2, 3].map(BrokerId).to_vec();
        let topics = names.iter().map(|name| {
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(name.clone()))));
            let Some(leaders) = self.topics.get(name).filter(|_| code == 0) else {
                return topic.with_error_code(if code == 0 { 3 } else { code });
            };
            let partitions = leaders.iter().enumerate().map(|(index, leader)| {
                MetadataResponsePartition::default()
                    .with_partition_index(i32::try_from(index).expect("few"))
                    .with_leader_id(BrokerId(if *leader == 0 { -1 } else { i32::from(*leader) }))
                    .with_replica_nodes(replicas())
                    .with_isr_nodes(replicas())
            });
            topic.with_partitions(partitions.collect())
        });
        MetadataResponse::default()
            .with_throttle_time_ms(self.throttle_ms)
            .with_brokers(brokers.to_vec())
            .with_controller_id(BrokerId(1))
            .with_topics(topics.collect())
    }

    fn coordinator(&self, version: i16, code: i16) -> FindCoordinatorResponse {
        let host = StrBytes::from_static_str("kafka");
        let port = i32::from(self.coordinator);
        if version >= 4 {
            let coordinator = find_coordinator_response::Coordinator::default()
                .with_host(host)
                .with_port(port)
                .with_error_code(code);
            FindCoordinatorResponse::default().with_coordinators(vec![coordinator])
        } else {
            FindCoordinatorResponse::default().with_host(host).with_port(port).with_error_code(code)
        }
    }

    fn position(&self, version: i16, code: i16) -> OffsetFetchResponse {
        use offset_fetch_response::*;
        let name = TopicName(StrBytes::from_static_str("tributary.positions"));
        let (offset, metadata) = self.committed.clone().unwrap_or((-1, String::new()));
        let metadata = Some(StrBytes::from_string(metadata));
        if version >= 8 {
            let partition = OffsetFetchResponsePartitions::default()
                .with_committed_offset(offset)
                .with_metadata(metadata)
                .with_error_code(code);
            let topic = OffsetFetchResponseTopics::default()
                .with_name(name)
                .with_partitions(vec![partition]);
            let group = OffsetFetchResponseGroup::default().with_topics(vec![topic]);
            OffsetFetchResponse::default().with_groups(vec![group])
        } else {
            let partition = OffsetFetchResponsePartition::default()
                .with_committed_offset(offset)
                .with_metadata(metadata)
                .with_error_code(code);
            let topic = OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(vec![partition]);
            OffsetFetchResponse::default().with_topics(vec![topic])
        }
    }
}

fn add_partitions(bytes: &mut Bytes, version: i16, code: i16, out: &mut BytesMut) -> String {
    use add_partitions_to_txn_response as r;

    let request = read::<AddPartitionsToTxnRequest>(bytes, version);
    let mut note = String::new();
    let mut topics = Vec::new();
    for topic in request.v3_and_below_topics {
        let mut partitions = Vec::new();
        for index in topic.partitions {
            write!(note, " {}-{index}", topic.name.0).expect("a string");
            partitions.push(
                r::AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(index)
                    .with_partition_error_code(code),
            );
        }
        topics.push(
            r::AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name)
                .with_results_by_partition(partitions),
        );
    }
    AddPartitionsToTxnResponse::default()
        .with_results_by_topic_v3_and_below(topics)
        .encode(out, version)
        .expect(WHY);
    note
}

pub(super) fn read<T: Decodable>(bytes: &mut Bytes, version: i16) -> T {
    T::decode(bytes, version).expect("a request of this version")
}

/// The records of one batch, decoded by the codec crate.
pub(crate) fn records(mut batch: Bytes) -> Vec<Record> {
    RecordBatchDecoder::decode(&mut batch).expect("a valid batch").records
}
