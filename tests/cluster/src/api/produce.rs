//! Produce: who may write, into which transaction, and what becomes of each batch.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};

use super::{Ask, Outcome, text};
use crate::cluster::State;
use crate::coordinator::{Client, Participant, Producer};
use crate::log::{Append, Appended, Header, Partition, Record, parse_produced, peek_produced};
use crate::{BrokerId, Permission};

/// The first version that registers partitions by writing to them.
const REGISTERS_FROM: i16 = 12;
/// The first version that knows error 120.
const KNOWS_ABORTABLE_FROM: i16 = 11;
/// The first version whose answer names the leader.
const NAMES_LEADER_FROM: i16 = 10;
/// The first version whose answer names records.
const BLAMES_FROM: i16 = 8;

/// One partition's part of a request, on its way.
struct Part<'a> {
    topic: &'a str,
    partition: i32,
    records: Bytes,
    header: Result<Header, Error>,
}

pub(super) fn produce(state: &mut State, ask: Ask, request: &ProduceRequest) -> Outcome {
    let mut parts = parts(state, ask, request);
    enter_transactions(state, ask, (request.transactional_id.as_ref(), &mut parts));
    let concurrent = |part: &Part<'_>| part.header == Err(Error::ConcurrentTransactions);
    let hold_until = ask.arrived.plus_ms(state.settings.concurrent_hold_ms);
    if ask.version >= REGISTERS_FROM && parts.iter().any(concurrent) && state.now < hold_until {
        return Outcome::Wait(hold_until);
    }
    let results: Vec<_> = parts.iter().map(|part| append(state, ask, part)).collect();
    if request.acks == 0 {
        let failed = results.iter().any(Result::is_err);
        return if failed { Outcome::Close } else { Outcome::Silent };
    }
    answer(state, ask, (&parts, results)).into()
}

/// The parts of a request, each as far as it can be judged by its own header.
fn parts<'a>(state: &State, ask: Ask, request: &'a ProduceRequest) -> Vec<Part<'a>> {
    let topics = request.topic_data.iter();
    let all = topics.flat_map(|topic| topic.partition_data.iter().map(move |data| (topic, data)));
    let part = |topic: &'a str, partition, records: Option<Bytes>| {
        let records = records.unwrap_or_default();
        let header = check(state, ask, (request, topic, partition))
            .and_then(|()| peek_produced(&records))
            .and_then(|header| match &request.transactional_id {
                None if header.is_transactional() => Err(Error::TransactionalIdAuthorizationFailed),
                _ => Ok(header),
            });
        Part { topic, partition, records, header }
    };
    all.map(|(topic, data)| part(&topic.name, data.index, data.records.clone())).collect()
}

fn check(
    state: &State,
    ask: Ask,
    (request, topic, partition): (&ProduceRequest, &str, i32),
) -> Result<(), Error> {
    if !matches!(request.acks, -1..=1) {
        return Err(Error::InvalidRequiredAcks);
    }
    if let Some(TransactionalId(id)) = &request.transactional_id
        && !state.access.allows(&Permission::WriteTransactionalId(id.to_string()))
    {
        return Err(Error::TransactionalIdAuthorizationFailed);
    }
    if !state.access.allows(&Permission::WriteTopic(topic.to_owned())) {
        return Err(Error::TopicAuthorizationFailed);
    }
    state.led_partition(topic, partition, ask.broker).map(|_| ())
}

/// Registers each transactional batch, or asks whether it is. Where that fails, the part fails.
fn enter_transactions(
    state: &mut State,
    ask: Ask,
    (id, parts): (Option<&TransactionalId>, &mut [Part<'_>]),
) {
    let Some(TransactionalId(id)) = id else { return };
    let client = if ask.version >= REGISTERS_FROM { Client::V2 } else { Client::V0 };
    for part in parts {
        let Ok(header) = part.header else { continue };
        if !header.is_transactional() {
            continue;
        }
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        let into = Participant::Partition(part.topic.to_owned(), part.partition);
        if let Err(error) = state.enter_transaction((id, producer, client), into) {
            part.header = Err(for_version(error, ask.version));
        }
    }
}

/// Older clients are told an error that they know and retry.
fn for_version(error: Error, version: i16) -> Error {
    match error {
        Error::ConcurrentTransactions if version < REGISTERS_FROM => Error::NotEnoughReplicas,
        Error::TransactionAbortable if version < KNOWS_ABORTABLE_FROM => Error::InvalidTxnState,
        error => error,
    }
}

/// Why a batch is refused, and the places of the records that are to blame, where that is known
/// (KIP-467).
struct Refusal {
    error: Error,
    blamed: Vec<i32>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, blamed: Vec::new() }
    }
}

fn append(state: &mut State, ask: Ask, part: &Part<'_>) -> Result<Appended, Refusal> {
    part.header?;
    let topic = state.topic(part.topic)?.settings;
    if part.records.len() > topic.batch_bytes_max {
        return Err(Error::MessageTooLarge.into());
    }
    let batch = parse_produced(&part.records)?;
    if topic.compacted {
        let keyless = |(place, record): (i32, Result<Record, _>)| {
            record.is_ok_and(|record| record.key.is_none()).then_some(place)
        };
        let blamed: Vec<i32> = (0..).zip(batch.records()).filter_map(keyless).collect();
        if !blamed.is_empty() {
            return Err(Refusal { error: Error::InvalidRecord, blamed });
        }
    }
    if state.log_bytes() + part.records.len() > state.settings.log_bytes_max {
        return Err(Error::KafkaStorageError.into());
    }
    let how = Append {
        wall: state.wall(),
        log_append_time: topic.log_append_time,
        from_zero: ask.version >= REGISTERS_FROM && batch.header.is_transactional(),
    };
    let appended = state.partition_mut(part.topic, part.partition)?.append(batch, how)?;
    state.changed(appended.bytes);
    Ok(appended)
}

fn answer(
    state: &State,
    ask: Ask,
    (parts, results): (&[Part<'_>], Vec<Result<Appended, Refusal>>),
) -> ProduceResponse {
    let mut topics: Vec<TopicProduceResponse> = Vec::new();
    let mut leaders = BTreeSet::new();
    for (part, result) in parts.iter().zip(results) {
        let mut answer = PartitionProduceResponse::default().with_index(part.partition);
        match result {
            Ok(appended) => {
                answer.base_offset = appended.base_offset;
                answer.log_append_time_ms = appended.log_append_time;
                let partition = state.partition(part.topic, part.partition);
                answer.log_start_offset = partition.map_or(-1, Partition::start);
            }
            Err(Refusal { error, blamed }) => {
                answer.error_code = error.code();
                if ask.version >= BLAMES_FROM {
                    answer.record_errors = blamed.into_iter().map(blame).collect();
                }
                (answer.base_offset, answer.log_append_time_ms) = (-1, -1);
                answer.log_start_offset = -1;
                if error == Error::NotLeaderOrFollower && ask.version >= NAMES_LEADER_FROM {
                    answer.current_leader = leader(state, part);
                    leaders.extend(Some(answer.current_leader.leader_id.0).filter(|&id| id > 0));
                }
            }
        }
        match topics.last_mut() {
            Some(topic) if topic.name.0.as_str() == part.topic => {
                topic.partition_responses.push(answer);
            }
            _ => topics.push(
                TopicProduceResponse::default()
                    .with_name(text(part.topic).into())
                    .with_partition_responses(vec![answer]),
            ),
        }
    }
    let endpoints = leaders.into_iter().map(|id| endpoint(state, BrokerId(id))).collect();
    ProduceResponse::default().with_responses(topics).with_node_endpoints(endpoints)
}

fn blame(place: i32) -> BatchIndexAndErrorMessage {
    let words = "Compacted topic cannot accept message without key";
    BatchIndexAndErrorMessage::default()
        .with_batch_index(place)
        .with_batch_index_error_message(Some(text(words)))
}

/// The leader that a client should have asked (KIP-951).
fn leader(state: &State, part: &Part<'_>) -> LeaderIdAndEpoch {
    let partition = state.partition(part.topic, part.partition);
    let (leader, epoch) =
        partition.map_or((None, -1), |partition| (partition.leader, partition.leader_epoch));
    LeaderIdAndEpoch::default()
        .with_leader_id(leader.map_or(-1, |broker| broker.0).into())
        .with_leader_epoch(epoch)
}

fn endpoint(state: &State, broker: BrokerId) -> NodeEndpoint {
    let (host, port) = state.address(broker);
    NodeEndpoint::default()
        .with_node_id(broker.0.into())
        .with_host(text(host))
        .with_port(i32::from(port))
}
