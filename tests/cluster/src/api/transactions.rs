//! `InitProducerId`, `AddPartitionsToTxn`, `AddOffsetsToTxn`, `EndTxn`: permissions, the right
//! coordinator, and errors in the terms of the version; what they mean is the coordinator's.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, TransactionalId,
};

use super::{Ask, code};
use crate::Permission;
use crate::cluster::State;
use crate::coordinator::{Client, InitProducer, Participant, Producer};

/// First versions that know error 90; 47 before.
const INIT_KNOWS_FENCED_FROM: i16 = 4;
const OTHERS_KNOW_FENCED_FROM: i16 = 2;

/// The first version of `EndTxn` that changes the epoch.
const END_BUMPS_FROM: i16 = 5;

/// The first version of `AddPartitionsToTxn` that carries several transactions.
const BATCHED_FROM: i16 = 4;

pub(super) fn init_producer_id(
    state: &mut State,
    ask: Ask,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let result = match &request.transactional_id {
        None => Ok(Producer { id: state.transactions.producer_ids.take(), epoch: 0 }),
        Some(id) => init_transactional(state, ask, (id, request)),
    };
    let result = result.map_err(|error| fenced(error, ask.version >= INIT_KNOWS_FENCED_FROM));
    let producer = result.unwrap_or(Producer { id: -1, epoch: -1 });
    InitProducerIdResponse::default()
        .with_error_code(code(&result))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
}

fn init_transactional(
    state: &mut State,
    ask: Ask,
    (id, request): (&TransactionalId, &InitProducerIdRequest),
) -> Result<Producer, Error> {
    check(state, ask, id)?;
    state.warm_producer_ids()?;
    let expected = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let expected = match (expected.id, expected.epoch) {
        (-1, -1) => None,
        (0.., 0..) => Some(expected),
        _ => return Err(Error::InvalidRequest),
    };
    let init = InitProducer { id: &id.0, timeout_ms: request.transaction_timeout_ms, expected };
    state.transactions.init_producer(state.now, init)
}

pub(super) fn add_partitions(
    state: &mut State,
    ask: Ask,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let answer = AddPartitionsToTxnResponse::default();
    if ask.version < BATCHED_FROM {
        let producer = Producer {
            id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let caller = (&request.v3_and_below_transactional_id, producer);
        let results = add_topics(state, ask, (caller, &request.v3_and_below_topics));
        return answer.with_results_by_topic_v3_and_below(results);
    }
    let transactions = request.transactions.iter().map(|transaction| {
        let producer =
            Producer { id: transaction.producer_id.0, epoch: transaction.producer_epoch };
        let caller = (&transaction.transactional_id, producer);
        AddPartitionsToTxnResult::default()
            .with_transactional_id(transaction.transactional_id.clone())
            .with_topic_results(add_topics(state, ask, (caller, &transaction.topics)))
    });
    answer.with_results_by_transaction(transactions.collect())
}

type Caller<'a> = (&'a TransactionalId, Producer);

/// Adds all partitions or none: where some are refused, the others are answered 55.
fn add_topics(
    state: &mut State,
    ask: Ask,
    (caller, topics): (Caller<'_>, &[AddPartitionsToTxnTopic]),
) -> Vec<AddPartitionsToTxnTopicResult> {
    let places = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|&partition| (topic.name.0.as_str(), partition))
    });
    let refusals: Vec<_> = places.clone().map(|place| refusal(state, place)).collect();
    let common = if refusals.iter().any(Option::is_some) {
        Err(Error::OperationNotAttempted)
    } else {
        let participants =
            places.map(|(topic, partition)| Participant::Partition(topic.to_owned(), partition));
        add(state, ask, (caller, participants.collect()))
    };
    let mut refusals = refusals.into_iter();
    let mut partition_answer = |index: i32| {
        let error = refusals.next().flatten().map_or_else(|| code(&common), |error| error.code());
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(index)
            .with_partition_error_code(error)
    };
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let partitions = topic.partitions.iter().map(|&index| partition_answer(index));
        answers.push(
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect()),
        );
    }
    answers
}

fn refusal(state: &State, (topic, partition): (&str, i32)) -> Option<Error> {
    if !state.access.allows(&Permission::WriteTopic(topic.to_owned())) {
        return Some(Error::TopicAuthorizationFailed);
    }
    state.partition(topic, partition).err()
}

pub(super) fn add_offsets(
    state: &mut State,
    ask: Ask,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let group = request.group_id.0.to_string();
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let caller = (&request.transactional_id, producer);
    let result = check(state, ask, &request.transactional_id).and_then(|()| {
        if !state.access.allows(&Permission::ReadGroup(group.clone())) {
            return Err(Error::GroupAuthorizationFailed);
        }
        add(state, ask, (caller, BTreeSet::from([Participant::Group(group)])))
    });
    AddOffsetsToTxnResponse::default().with_error_code(code(&result))
}

fn add(
    state: &mut State,
    ask: Ask,
    ((id, producer), participants): (Caller<'_>, BTreeSet<Participant>),
) -> Result<(), Error> {
    check(state, ask, id)?;
    state
        .transactions
        .add(state.now, (&id.0, producer, Client::V0), &participants)
        .map_err(|error| fenced(error, ask.version >= OTHERS_KNOW_FENCED_FROM))
}

pub(super) fn end(state: &mut State, ask: Ask, request: &EndTxnRequest) -> EndTxnResponse {
    let bumps = ask.version >= END_BUMPS_FROM;
    let client = if bumps { Client::V2 } else { Client::V0 };
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let id = &request.transactional_id;
    let result = check(state, ask, id)
        .and_then(|()| {
            state.transactions.end(state.now, (&id.0, producer, client), request.committed)
        })
        .map_err(|error| fenced(error, ask.version >= OTHERS_KNOW_FENCED_FROM));
    let answer = EndTxnResponse::default().with_error_code(code(&result));
    match result {
        Ok(next) if bumps => {
            answer.with_producer_id(next.id.into()).with_producer_epoch(next.epoch)
        }
        _ => answer,
    }
}

/// The caller may use the id, and asks its coordinator.
fn check(state: &State, ask: Ask, TransactionalId(id): &TransactionalId) -> Result<(), Error> {
    if !state.access.allows(&Permission::WriteTransactionalId(id.to_string())) {
        return Err(Error::TransactionalIdAuthorizationFailed);
    }
    if id.is_empty() {
        return Err(Error::InvalidRequest);
    }
    state.check_coordinator(id, ask.broker)
}

const fn fenced(error: Error, known: bool) -> Error {
    match error {
        Error::ProducerFenced if !known => Error::InvalidProducerEpoch,
        error => error,
    }
}
