//! The requests, put together from what a session knows.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::{GroupId, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use crate::batch::Producer;
use crate::position::Position;
use crate::settings::{Creation, INPUT_PARTITION, POSITIONS_PARTITIONS, POSITIONS_TOPIC, Settings};

/// Names that go with every request.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// Transactional id and group id.
    pub(crate) identity: StrBytes,
    /// Client id, for the brokers' logs and quotas.
    pub(crate) client: StrBytes,
}

/// Which coordinator is looked for; the values are those of the wire.
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;
/// What is asked for the settings of.
const TOPIC_RESOURCE: i8 = 2;
/// Wait for all replicas in sync.
const ACKS_ALL: i16 = -1;
/// Nothing of transactions that were aborted, or are still open.
const READ_COMMITTED: i8 = 1;
/// What one answer brings at most, unless a single batch is larger.
const FETCH_BYTES: i32 = 512 * 1024;

impl Ids {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            identity: StrBytes::from_string(settings.identity()),
            client: StrBytes::from_string(format!("tributary.{}", settings.gateway)),
        }
    }

    fn transactional(&self) -> TransactionalId {
        TransactionalId(self.identity.clone())
    }

    fn group(&self) -> GroupId {
        GroupId(self.identity.clone())
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn positions_topic() -> TopicName {
    TopicName(StrBytes::from_static_str(POSITIONS_TOPIC))
}

pub(crate) fn versions() -> m::ApiVersionsRequest {
    m::ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tributary"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

pub(crate) fn handshake(mechanism: &str) -> m::SaslHandshakeRequest {
    m::SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned()))
}

pub(crate) fn authenticate(bytes: Vec<u8>) -> m::SaslAuthenticateRequest {
    m::SaslAuthenticateRequest::default().with_auth_bytes(bytes.into())
}

pub(crate) fn metadata<'a>(topics: impl Iterator<Item = &'a str>) -> m::MetadataRequest {
    let topic = |name| m::metadata_request::MetadataRequestTopic::default().with_name(Some(name));
    m::MetadataRequest::default()
        .with_topics(Some(topics.map(|name| topic(topic_name(name))).collect()))
        .with_allow_auto_topic_creation(false)
}

pub(crate) fn create_topic(
    name: &str,
    creation: Creation,
    timeout_ms: u32,
) -> m::CreateTopicsRequest {
    let partitions =
        if name == POSITIONS_TOPIC { POSITIONS_PARTITIONS } else { creation.partitions };
    let topic = m::create_topics_request::CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(creation.replication);
    m::CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(milliseconds(timeout_ms))
}

/// These settings of topics.
pub(crate) fn topic_settings<'a>(
    topics: impl Iterator<Item = &'a str>,
    names: &[&'static str],
) -> m::DescribeConfigsRequest {
    let keys: Vec<StrBytes> = names.iter().map(|name| StrBytes::from_static_str(name)).collect();
    let resource = |topic: &str| {
        m::describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(Some(keys.clone()))
    };
    m::DescribeConfigsRequest::default().with_resources(topics.map(resource).collect())
}

pub(crate) fn coordinator(
    ids: &Ids,
    transactions: bool,
    version: i16,
) -> m::FindCoordinatorRequest {
    let key_type = if transactions { TRANSACTION_KEY } else { GROUP_KEY };
    let request = m::FindCoordinatorRequest::default().with_key_type(key_type);
    if version >= 4 {
        request.with_coordinator_keys(vec![ids.identity.clone()])
    } else {
        request.with_key(ids.identity.clone())
    }
}

/// A producer for transactions, or one that is merely idempotent.
pub(crate) fn new_producer(
    ids: &Ids,
    timeout_ms: u32,
    transactional: bool,
) -> m::InitProducerIdRequest {
    m::InitProducerIdRequest::default()
        .with_transactional_id(transactional.then(|| ids.transactional()))
        .with_transaction_timeout_ms(milliseconds(timeout_ms))
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

pub(crate) fn committed_position(ids: &Ids, version: i16) -> m::OffsetFetchRequest {
    use m::offset_fetch_request as f;
    let request = m::OffsetFetchRequest::default().with_require_stable(true);
    let partitions = vec![INPUT_PARTITION];
    if version >= 8 {
        let topic = f::OffsetFetchRequestTopics::default()
            .with_name(positions_topic())
            .with_partition_indexes(partitions);
        let group = f::OffsetFetchRequestGroup::default()
            .with_group_id(ids.group())
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic]));
        request.with_groups(vec![group])
    } else {
        let topic = f::OffsetFetchRequestTopic::default()
            .with_name(positions_topic())
            .with_partition_indexes(partitions);
        request.with_group_id(ids.group()).with_topics(Some(vec![topic]))
    }
}

pub(crate) fn add_partitions<'a>(
    ids: &Ids,
    producer: Producer,
    partitions: impl Iterator<Item = (&'a str, i32)>,
) -> m::AddPartitionsToTxnRequest {
    use m::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    for (name, partition) in partitions {
        match topics.iter_mut().find(|topic| *topic.name.0 == *name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                AddPartitionsToTxnTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    m::AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(ids.transactional())
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(topics)
}

pub(crate) fn add_offsets(ids: &Ids, producer: Producer) -> m::AddOffsetsToTxnRequest {
    m::AddOffsetsToTxnRequest::default()
        .with_transactional_id(ids.transactional())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(ids.group())
}

/// At most one batch of a partition, as Kafka demands; in a transaction of these ids, if any.
pub(crate) fn produce<'a>(
    ids: Option<&Ids>,
    timeout_ms: u32,
    batches: impl Iterator<Item = (&'a str, i32, Bytes)>,
) -> m::ProduceRequest {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let mut topics: Vec<TopicProduceData> = Vec::new();
    for (name, partition, bytes) in batches {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes));
        match topics.iter_mut().find(|topic| *topic.name.0 == *name) {
            Some(topic) => topic.partition_data.push(data),
            None => topics.push(
                TopicProduceData::default()
                    .with_name(topic_name(name))
                    .with_partition_data(vec![data]),
            ),
        }
    }
    m::ProduceRequest::default()
        .with_transactional_id(ids.map(Ids::transactional))
        .with_acks(ACKS_ALL)
        .with_timeout_ms(milliseconds(timeout_ms))
        .with_topic_data(topics)
}

/// Commits a position without being a member of the group: generation -1, no member id.
pub(crate) fn commit_position(
    ids: &Ids,
    producer: Producer,
    position: &Position,
) -> m::TxnOffsetCommitRequest {
    use m::txn_offset_commit_request as t;
    // Kafka takes -1 without a word, and the position would be gone.
    let offset = i64::try_from(position.offset.0).expect("checked when the batch was handed in");
    let partition = t::TxnOffsetCommitRequestPartition::default()
        .with_partition_index(INPUT_PARTITION)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::from_string(position.metadata())));
    let topic = t::TxnOffsetCommitRequestTopic::default()
        .with_name(positions_topic())
        .with_partitions(vec![partition]);
    m::TxnOffsetCommitRequest::default()
        .with_transactional_id(ids.transactional())
        .with_group_id(ids.group())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

/// Always a commit: aborting is left to the next session's `InitProducerId`.
pub(crate) fn end_transaction(ids: &Ids, producer: Producer) -> m::EndTxnRequest {
    m::EndTxnRequest::default()
        .with_transactional_id(ids.transactional())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(true)
}

fn milliseconds(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Commits a position outside of any transaction, without being a member of the group.
pub(crate) fn commit_offset(ids: &Ids, position: &Position) -> m::OffsetCommitRequest {
    use m::offset_commit_request as o;
    let offset = i64::try_from(position.offset.0).expect("checked when the batch was handed in");
    let partition = o::OffsetCommitRequestPartition::default()
        .with_partition_index(INPUT_PARTITION)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::from_string(position.metadata())));
    let topic = o::OffsetCommitRequestTopic::default()
        .with_name(positions_topic())
        .with_partitions(vec![partition]);
    m::OffsetCommitRequest::default()
        .with_group_id(ids.group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// Asks for the offsets of partitions at these moments: -1 the end, -2 the beginning, else the first
/// record that is not older. The end is that of what is committed.
pub(crate) fn offsets<'a>(
    partitions: impl Iterator<Item = (&'a str, i32, i64)>,
) -> m::ListOffsetsRequest {
    use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for (name, index, moment) in partitions {
        let partition =
            ListOffsetsPartition::default().with_partition_index(index).with_timestamp(moment);
        match topics.iter_mut().find(|topic| *topic.name.0 == *name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                ListOffsetsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    m::ListOffsetsRequest::default().with_isolation_level(READ_COMMITTED).with_topics(topics)
}

/// Asks for what is committed from these offsets on; an answer without records comes after
/// `wait_ms`.
pub(crate) fn fetch<'a>(
    partitions: impl Iterator<Item = (&'a str, i32, i64)>,
    wait_ms: u32,
) -> m::FetchRequest {
    use m::fetch_request::{FetchPartition, FetchTopic};
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (name, index, offset) in partitions {
        let partition = FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(FETCH_BYTES);
        match topics.iter_mut().find(|topic| *topic.topic.0 == *name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                FetchTopic::default().with_topic(topic_name(name)).with_partitions(vec![partition]),
            ),
        }
    }
    m::FetchRequest::default()
        .with_max_wait_ms(milliseconds(wait_ms))
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics)
}
