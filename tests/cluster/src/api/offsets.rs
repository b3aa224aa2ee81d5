//! Committed offsets: `TxnOffsetCommit`, `OffsetCommit`, `OffsetFetch`, for groups without members.

use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Ask, Outcome, code, text};
use crate::cluster::State;
use crate::coordinator::{Client, Committed, Participant, Producer};
use crate::limits::OFFSET_METADATA_BYTES_MAX;
use crate::{Kafka, Permission};

/// The first version of `TxnOffsetCommit` that registers the group by committing.
const REGISTERS_FROM: i16 = 5;
/// The first version of `TxnOffsetCommit` that knows error 120.
const KNOWS_ABORTABLE_FROM: i16 = 4;
/// The first version of `OffsetFetch` that asks for several groups.
const BATCHED_FROM: i16 = 8;

type Place = (String, i32);

/// What one partition of a commit asks, or why it is refused.
type Wanted = Result<(Place, Committed), Error>;

pub(super) fn commit_in_transaction(
    state: &mut State,
    ask: Ask,
    request: &TxnOffsetCommitRequest,
) -> Outcome {
    let wanted: Vec<Vec<Wanted>> = request
        .topics
        .iter()
        .map(|topic| {
            let offsets = topic.partitions.iter();
            let asked = offsets.map(|partition| Asked {
                place: (topic.name.0.to_string(), partition.partition_index),
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
            });
            asked.map(|asked| want(state, asked)).collect()
        })
        .collect();
    let accepted = wanted.iter().flatten().flatten().cloned().collect();
    let result = take(state, ask, (request, accepted));
    let hold_until = ask.arrived.plus_ms(state.settings.concurrent_hold_ms);
    let concurrent = result == Err(Error::ConcurrentTransactions);
    if concurrent && ask.version >= REGISTERS_FROM && state.now < hold_until {
        return Outcome::Wait(hold_until);
    }
    let topics = request.topics.iter().zip(wanted).map(|(topic, wanted)| {
        let partitions = topic.partitions.iter().zip(wanted).map(|(partition, wanted)| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(&wanted.and(result)))
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect()).into()
}

/// Takes the accepted offsets into the transaction.
fn take(
    state: &mut State,
    ask: Ask,
    (request, accepted): (&TxnOffsetCommitRequest, Vec<(Place, Committed)>),
) -> Result<(), Error> {
    let (id, group) = (request.transactional_id.0.as_str(), request.group_id.0.as_str());
    if !state.access.allows(&Permission::WriteTransactionalId(id.to_owned())) {
        return Err(Error::TransactionalIdAuthorizationFailed);
    }
    check_group(state, ask, group)?;
    if accepted.is_empty() {
        return Ok(());
    }
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let client = if ask.version >= REGISTERS_FROM { Client::V2 } else { Client::V0 };
    state.enter_transaction((id, producer, client), Participant::Group(group.to_owned())).map_err(
        |error| match error {
            Error::TransactionAbortable if ask.version < KNOWS_ABORTABLE_FROM => {
                Error::InvalidTxnState
            }
            error => error,
        },
    )?;
    if ask.version >= 3 {
        check_member(state.settings.kafka, request.generation_id, &request.member_id)?;
    }
    state.groups.commit_pending(group, producer, accepted)?;
    state.changed(0);
    Ok(())
}

/// A commit outside of any transaction, as a consumer that assigned its partitions itself sends.
pub(super) fn commit(
    state: &mut State,
    ask: Ask,
    request: &OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group = request.group_id.0.as_str();
    let allowed = check_group(state, ask, group).and_then(|()| {
        check_member(
            state.settings.kafka,
            request.generation_id_or_member_epoch,
            &request.member_id,
        )
    });
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let asked = Asked {
                place: (topic.name.0.to_string(), partition.partition_index),
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
            };
            let taken = allowed
                .and_then(|()| want(state, asked))
                .and_then(|wanted| state.groups.commit(group, vec![wanted]));
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code(&taken)),
            );
        }
        topics.push(
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    OffsetCommitResponse::default().with_topics(topics)
}

struct Asked<'a> {
    place: Place,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&'a StrBytes>,
}

/// Judges one partition of a commit. An offset of -1 is accepted, as brokers do.
fn want(state: &State, asked: Asked<'_>) -> Wanted {
    let Asked { place, offset, leader_epoch, metadata } = asked;
    if !state.access.allows(&Permission::ReadTopic(place.0.clone())) {
        return Err(Error::TopicAuthorizationFailed);
    }
    state.partition(&place.0, place.1)?;
    let metadata = metadata.map_or_else(String::new, ToString::to_string);
    if metadata.len() > OFFSET_METADATA_BYTES_MAX {
        return Err(Error::OffsetMetadataTooLarge);
    }
    Ok((place, Committed { offset, leader_epoch, metadata, at: state.now }))
}

fn check_group(state: &State, ask: Ask, group: &str) -> Result<(), Error> {
    if !state.access.allows(&Permission::ReadGroup(group.to_owned())) {
        return Err(Error::GroupAuthorizationFailed);
    }
    if group.is_empty() {
        return Err(Error::InvalidGroupId);
    }
    state.check_coordinator(group, ask.broker)
}

/// No group has members: only who claims to be none may commit.
fn check_member(kafka: Kafka, generation: i32, member: &str) -> Result<(), Error> {
    match (generation, member, kafka) {
        (..0, "", _) => Ok(()),
        (_, "", Kafka::V4_1_2(_)) => Err(Error::IllegalGeneration),
        _ => Err(Error::UnknownMemberId),
    }
}

pub(super) fn fetch(state: &State, ask: Ask, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    if ask.version < BATCHED_FROM {
        return fetch_one(state, ask, request);
    }
    let groups = request.groups.iter().map(|group| {
        let name = group.group_id.0.as_str();
        let topics = group.topics.as_ref().map(|topics| {
            let asked = topics.iter().map(|topic| (&topic.name.0, &topic.partition_indexes));
            asked.map(|(name, partitions)| (name.to_string(), partitions.clone())).collect()
        });
        let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
        let asked = (name, topics, request.require_stable);
        match found(state, ask, asked) {
            Err(error) => answer.with_error_code(error.code()),
            Ok(topics) => answer.with_topics(topics.into_iter().map(batched_topic).collect()),
        }
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn fetch_one(state: &State, ask: Ask, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.as_ref().map(|topics| {
        let asked = topics.iter().map(|topic| (&topic.name.0, &topic.partition_indexes));
        asked.map(|(name, partitions)| (name.to_string(), partitions.clone())).collect()
    });
    let asked = (request.group_id.0.as_str(), topics, request.require_stable);
    match found(state, ask, asked) {
        Err(error) => OffsetFetchResponse::default().with_error_code(error.code()),
        Ok(topics) => OffsetFetchResponse::default()
            .with_topics(topics.into_iter().map(single_topic).collect()),
    }
}

type Asking<'a> = (&'a str, Option<Vec<(String, Vec<i32>)>>, bool);

/// The offsets of one topic, as they are answered.
type Found = (String, Vec<(i32, Result<Committed, Error>)>);

/// What a group has committed; -1 where it has not.
fn found(
    state: &State,
    ask: Ask,
    (group, topics, stable): Asking<'_>,
) -> Result<Vec<Found>, Error> {
    if !state.access.allows(&Permission::DescribeGroup(group.to_owned())) {
        return Err(Error::GroupAuthorizationFailed);
    }
    state.check_coordinator(group, ask.broker)?;
    let topics = topics.unwrap_or_else(|| by_topic(state.groups.places(group)));
    let look = |place: Place| {
        if !state.access.allows(&Permission::DescribeTopic(place.0.clone())) {
            return Err(Error::TopicAuthorizationFailed);
        }
        let committed = state.groups.fetch(state.now, group, (&place, stable))?;
        Ok(committed.cloned().unwrap_or_else(|| none(state)))
    };
    let answer = |(topic, partitions): (String, Vec<i32>)| {
        let offsets = partitions.into_iter().map(|index| (index, look((topic.clone(), index))));
        let offsets = offsets.collect();
        (topic, offsets)
    };
    Ok(topics.into_iter().map(answer).collect())
}

fn none(state: &State) -> Committed {
    Committed { offset: -1, leader_epoch: -1, metadata: String::new(), at: state.now }
}

fn by_topic(places: Vec<Place>) -> Vec<(String, Vec<i32>)> {
    let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
    for (topic, partition) in places {
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(partition),
            _ => topics.push((topic, vec![partition])),
        }
    }
    topics
}

fn batched_topic((topic, offsets): Found) -> OffsetFetchResponseTopics {
    let partitions = offsets.into_iter().map(|(index, result)| {
        let answer = OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_error_code(code(&result));
        match result {
            Ok(committed) => answer
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(&committed.metadata))),
            Err(_) => answer.with_committed_offset(-1).with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopics::default()
        .with_name(text(&topic).into())
        .with_partitions(partitions.collect())
}

/// The same in the words of the older versions; leader epochs exist from 5 on and are ignored
/// before.
fn single_topic((topic, offsets): Found) -> OffsetFetchResponseTopic {
    let partitions = offsets.into_iter().map(|(index, result)| {
        let answer = OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(code(&result));
        match result {
            Ok(committed) => answer
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(&committed.metadata))),
            Err(_) => answer.with_committed_offset(-1).with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopic::default()
        .with_name(text(&topic).into())
        .with_partitions(partitions.collect())
}
