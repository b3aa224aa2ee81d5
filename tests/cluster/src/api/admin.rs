//! `CreateTopics` and `DescribeConfigs`.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
};

use super::{Ask, text};
use crate::cluster::{State, is_topic_name};
use crate::limits::{TIMESTAMP_AHEAD_MS_MAX, TOPIC_PARTITIONS_MAX};
use crate::{Permission, TopicSettings};

const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

/// The first versions of an answer that name the topic's id and its settings.
const NAMES_SETTINGS_FROM: i16 = 5;
const NAMES_ID_FROM: i16 = 7;

const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const BATCH_BYTES_MAX: &str = "max.message.bytes";
const TIMESTAMP_AHEAD: &str = "message.timestamp.after.max.ms";
const LOG_APPEND_TIME: &str = "LogAppendTime";
const CREATE_TIME: &str = "CreateTime";

pub(super) fn create_topics(
    state: &mut State,
    ask: Ask,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let mut answers = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let result = if seen.insert(&topic.name) {
            create(state, topic, request.validate_only)
        } else {
            Err(Error::InvalidRequest)
        };
        let mut answer = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(super::code(&result));
        if let Ok(settings) = result
            && ask.version >= NAMES_SETTINGS_FROM
        {
            answer = answer
                .with_num_partitions(i32::from(settings.partitions))
                .with_replication_factor(1)
                .with_configs(Some(Vec::new()));
        }
        if let Ok(made) = state.topic(&topic.name)
            && answer.error_code == 0
            && ask.version >= NAMES_ID_FROM
        {
            answer.topic_id = made.id;
        }
        answers.push(answer);
    }
    CreateTopicsResponse::default().with_topics(answers)
}

fn create(
    state: &mut State,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<TopicSettings, Error> {
    let name = topic.name.0.as_str();
    if !state.access.allows(&Permission::CreateTopics) {
        return Err(Error::TopicAuthorizationFailed);
    }
    if !is_topic_name(name) {
        return Err(Error::InvalidTopicException);
    }
    if state.topic(name).is_ok() {
        return Err(Error::TopicAlreadyExists);
    }
    let (partitions, replicas) = if topic.assignments.is_empty() {
        (topic.num_partitions, topic.replication_factor)
    } else {
        (i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX), -1)
    };
    let brokers = i16::try_from(state.settings.brokers).unwrap_or(i16::MAX);
    if replicas != -1 && !(1..=brokers).contains(&replicas) {
        return Err(Error::InvalidReplicationFactor);
    }
    let partitions = match partitions {
        -1 => Ok(1),
        partitions => u16::try_from(partitions),
    };
    let partitions = partitions
        .ok()
        .filter(|partitions| (1..=TOPIC_PARTITIONS_MAX).contains(partitions))
        .ok_or(Error::InvalidPartitions)?;
    let settings = TopicSettings { partitions, ..TopicSettings::default() };
    let settings = topic.configs.iter().try_fold(settings, configure)?;
    if !validate_only {
        state.create_topic(name, settings)?;
    }
    Ok(settings)
}

/// Applies one setting. Those that change nothing here are accepted and forgotten.
fn configure(
    mut settings: TopicSettings,
    config: &CreatableTopicConfig,
) -> Result<TopicSettings, Error> {
    let value = config.value.as_ref().ok_or(Error::InvalidConfig)?;
    match config.name.as_str() {
        TIMESTAMP_TYPE => {
            settings.log_append_time = match value.as_str() {
                LOG_APPEND_TIME => true,
                CREATE_TIME => false,
                _ => return Err(Error::InvalidConfig),
            };
        }
        BATCH_BYTES_MAX => {
            settings.batch_bytes_max = value.parse().map_err(|_| Error::InvalidConfig)?;
        }
        _ => {}
    }
    Ok(settings)
}

pub(super) fn describe_configs(
    state: &State,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match configs(state, resource) {
            Ok(configs) => answer.with_configs(configs),
            Err(error) => answer.with_error_code(error.code()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn configs(
    state: &State,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Error> {
    if resource.resource_type != RESOURCE_TOPIC {
        return Err(Error::InvalidRequest);
    }
    let name = resource.resource_name.as_str();
    if !state.access.allows(&Permission::DescribeTopicConfigs(name.to_owned())) {
        return Err(Error::TopicAuthorizationFailed);
    }
    let settings = state.topic(name)?.settings;
    let default = TopicSettings::default();
    let stamp = if settings.log_append_time { LOG_APPEND_TIME } else { CREATE_TIME };
    let all = [
        (TIMESTAMP_TYPE, stamp.to_owned(), settings.log_append_time),
        (
            BATCH_BYTES_MAX,
            settings.batch_bytes_max.to_string(),
            settings.batch_bytes_max != default.batch_bytes_max,
        ),
        (TIMESTAMP_AHEAD, TIMESTAMP_AHEAD_MS_MAX.to_string(), false),
    ];
    let keys = resource.configuration_keys.as_ref();
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
    let described = all.into_iter().filter(|(name, ..)| wanted(name));
    Ok(described
        .map(|(name, value, is_set)| {
            DescribeConfigsResourceResult::default()
                .with_name(text(name))
                .with_value(Some(text(&value)))
                .with_config_source(if is_set { SOURCE_TOPIC } else { SOURCE_DEFAULT })
        })
        .collect())
}
