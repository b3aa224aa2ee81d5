//! Who is there and what do they speak: Metadata, `FindCoordinator`, `ApiVersions`.

use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse,
};
use uuid::Uuid;

use super::{Ask, text};
use crate::cluster::{State, Topic, is_topic_name};
use crate::log::Partition;
use crate::{BrokerId, Kafka, Permission, TransactionVersion};

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;

/// The first version of `FindCoordinator` that asks for several keys.
const BATCHED_FROM: i16 = 4;

pub(super) fn metadata(state: &State, ask: Ask, request: &MetadataRequest) -> MetadataResponse {
    let everything =
        request.topics.as_ref().is_none_or(|topics| ask.version == 0 && topics.is_empty());
    let topics = if everything {
        let visible = state.topics().filter(|(name, _)| may_describe(state, name));
        visible.map(|(name, topic)| described(name, topic)).collect()
    } else {
        let asked = request.topics.iter().flatten();
        asked.map(|topic| topic_answer(state, ask, topic)).collect()
    };
    let brokers = state.brokers_up().map(|broker| {
        let (host, port) = state.address(broker);
        MetadataResponseBroker::default()
            .with_node_id(broker.0.into())
            .with_host(text(host))
            .with_port(i32::from(port))
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(state.cluster_id())))
        .with_controller_id(state.brokers_up().next().map_or(-1, |broker| broker.0).into())
        .with_topics(topics)
}

fn topic_answer(state: &State, ask: Ask, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    let Some(name) = asked.name.as_ref().filter(|_| asked.topic_id.is_nil()) else {
        return topic_by_id(state, ask, asked.topic_id);
    };
    let name = name.0.as_str();
    let refused = |error: Error| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(text(name).into()))
    };
    if !is_topic_name(name) {
        refused(Error::InvalidTopicException)
    } else if !may_describe(state, name) {
        refused(Error::TopicAuthorizationFailed)
    } else {
        state.topic(name).map_or_else(refused, |topic| described(name, topic))
    }
}

fn topic_by_id(state: &State, ask: Ask, id: Uuid) -> MetadataResponseTopic {
    let visible = state.topics().filter(|(name, _)| may_describe(state, name));
    let found = visible.into_iter().find(|(_, topic)| topic.id == id && !id.is_nil());
    found.map_or_else(
        || {
            let name = if ask.version >= 12 { None } else { Some(text("").into()) };
            MetadataResponseTopic::default()
                .with_error_code(Error::UnknownTopicId.code())
                .with_name(name)
                .with_topic_id(id)
        },
        |(name, topic)| described(name, topic),
    )
}

fn may_describe(state: &State, topic: &str) -> bool {
    state.access.allows(&Permission::DescribeTopic(topic.to_owned()))
}

fn described(name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions);
    MetadataResponseTopic::default()
        .with_name(Some(text(name).into()))
        .with_topic_id(topic.id)
        .with_partitions(partitions.map(|(index, partition)| placed(index, partition)).collect())
}

fn placed(index: i32, partition: &Partition) -> MetadataResponsePartition {
    let leader = partition.leader.map_or(-1, |broker| broker.0);
    let error = if leader < 0 { Error::LeaderNotAvailable.code() } else { 0 };
    let replicas: Vec<_> = partition.leader.iter().map(|broker| broker.0.into()).collect();
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(leader.into())
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(replicas.clone())
        .with_isr_nodes(replicas)
}

pub(super) fn find_coordinator(
    state: &mut State,
    ask: Ask,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if ask.version >= BATCHED_FROM {
        let keys = request.coordinator_keys.iter();
        let answers = keys.map(|key| {
            let found = coordinator(state, key, request.key_type);
            let (broker, host, port) = located(state, found);
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(super::code(&found))
                .with_node_id(broker.into())
                .with_host(text(host))
                .with_port(port)
        });
        return FindCoordinatorResponse::default().with_coordinators(answers.collect());
    }
    let found = coordinator(state, &request.key, request.key_type);
    let (broker, host, port) = located(state, found);
    FindCoordinatorResponse::default()
        .with_error_code(super::code(&found))
        .with_node_id(broker.into())
        .with_host(text(host))
        .with_port(port)
}

fn coordinator(state: &mut State, key: &str, kind: i8) -> Result<BrokerId, Error> {
    let (permission, refusal) = match kind {
        KEY_GROUP => (Permission::DescribeGroup(key.to_owned()), Error::GroupAuthorizationFailed),
        KEY_TRANSACTION => (
            Permission::DescribeTransactionalId(key.to_owned()),
            Error::TransactionalIdAuthorizationFailed,
        ),
        _ => return Err(Error::InvalidRequest),
    };
    if !state.access.allows(&permission) {
        return Err(refusal);
    }
    state.warm_coordinator(kind == KEY_TRANSACTION)?;
    state.coordinator(key).ok_or(Error::CoordinatorNotAvailable)
}

fn located(state: &State, found: Result<BrokerId, Error>) -> (i32, &str, i32) {
    match found {
        Ok(broker) => {
            let (host, port) = state.address(broker);
            (broker.0, host, i32::from(port))
        }
        Err(_) => (-1, "", -1),
    }
}

pub(super) fn api_versions(
    state: &State,
    ask: Ask,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    if ask.version < 3 {
        return ApiVersionsResponse::default().with_api_keys(offered(state));
    }
    let names = [&request.client_software_name, &request.client_software_version];
    if !names.iter().all(|name| is_software_name(name)) {
        return ApiVersionsResponse::default().with_error_code(Error::InvalidRequest.code());
    }
    let answer = ApiVersionsResponse::default()
        .with_api_keys(offered(state))
        .with_finalized_features_epoch(state.features_epoch());
    let Kafka::V4_1_2(level) = state.settings.kafka else { return answer };
    let supported = SupportedFeatureKey::default()
        .with_name(text("transaction.version"))
        .with_min_version(0)
        .with_max_version(2);
    // A feature at level 0 is absent.
    let finalized = (level != TransactionVersion::V0).then(|| {
        let level = if level == TransactionVersion::V1 { 1 } else { 2 };
        FinalizedFeatureKey::default()
            .with_name(text("transaction.version"))
            .with_max_version_level(level)
            .with_min_version_level(level)
    });
    answer
        .with_supported_features(vec![supported])
        .with_finalized_features(finalized.into_iter().collect())
}

/// 35, with the versions of `ApiVersions` alone.
pub(super) fn unknown_api_versions(state: &State) -> ApiVersionsResponse {
    let keys = offered(state).into_iter().filter(|key| key.api_key == ApiKey::ApiVersions as i16);
    ApiVersionsResponse::default()
        .with_error_code(Error::UnsupportedVersion.code())
        .with_api_keys(keys.collect())
}

fn offered(state: &State) -> Vec<ApiVersion> {
    let all = crate::wire::all_offered(state.settings.kafka).iter();
    let version = |api: ApiKey, min: i16, max: i16| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    };
    all.map(|(api, versions)| version(*api, *versions.start(), *versions.end())).collect()
}

/// Letters, digits, dots and hyphens, the last two not at the ends (KIP-511).
fn is_software_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last())
}
