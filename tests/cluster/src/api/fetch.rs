//! Fetch and `ListOffsets`: what consumers ask. Sessions of Fetch (KIP-227) are declined, which
//! makes clients ask in full each time.

use bytes::Bytes;
use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use tributary_core::time::Timestamp;

use super::{Ask, Outcome};
use crate::Permission;
use crate::cluster::State;
use crate::limits::FETCH_BYTES_MAX;
use crate::log::{Partition, Upto};

/// A place in time instead of a time (`ListOffsetsRequest`).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIMESTAMP: i64 = -3;

pub(super) fn fetch(state: &State, ask: Ask, request: &FetchRequest) -> Outcome {
    if request.session_id != 0 {
        let error = Error::FetchSessionIdNotFound.code();
        return FetchResponse::default().with_error_code(error).into();
    }
    let upto = upto(request.isolation_level);
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES_MAX);
    let (mut bytes, mut failed) = (0, false);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let data = match readable(state, ask, (&topic.topic, asked)) {
                Ok(partition) => read(partition, asked, (upto, left)),
                Err(error) => {
                    failed = true;
                    unreadable(asked, error)
                }
            };
            let length = data.records.as_ref().map_or(0, Bytes::len);
            bytes += length;
            left = left.saturating_sub(length);
            partitions.push(data);
        }
        topics.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions),
        );
    }
    let enough = bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
    let until = ask.arrived.plus_ms(u64::try_from(request.max_wait_ms).unwrap_or(0));
    if enough || failed || state.now >= until {
        FetchResponse::default().with_responses(topics).into()
    } else {
        Outcome::Wait(until)
    }
}

pub(super) fn list_offsets(
    state: &State,
    ask: Ask,
    request: &ListOffsetsRequest,
) -> ListOffsetsResponse {
    let upto = upto(request.isolation_level);
    let topics = request.topics.iter().map(|topic| {
        let answers = topic.partitions.iter().map(|asked| {
            let found = look_up(state, ask, (&topic.name, asked, upto));
            offset_answer(asked.partition_index, ask, found)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(answers.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn look_up(
    state: &State,
    ask: Ask,
    (topic, asked, upto): (&str, &ListOffsetsPartition, Upto),
) -> Result<((i64, i64), i32), Error> {
    if !state.access.allows(&Permission::DescribeTopic(topic.to_owned())) {
        return Err(Error::TopicAuthorizationFailed);
    }
    let partition = state.led_partition(topic, asked.partition_index, ask.broker)?;
    check_epoch(partition, asked.current_leader_epoch)?;
    Ok((find(partition, asked, upto)?, partition.leader_epoch))
}

const fn upto(isolation_level: i8) -> Upto {
    if isolation_level == 1 { Upto::Stable } else { Upto::End }
}

fn readable<'a>(
    state: &'a State,
    ask: Ask,
    (topic, asked): (&str, &FetchPartition),
) -> Result<&'a Partition, Error> {
    if !state.access.allows(&Permission::ReadTopic(topic.to_owned())) {
        return Err(Error::TopicAuthorizationFailed);
    }
    let partition = state.led_partition(topic, asked.partition, ask.broker)?;
    check_epoch(partition, asked.current_leader_epoch)?;
    let offsets = partition.start()..=partition.end(Upto::End);
    if offsets.contains(&asked.fetch_offset) { Ok(partition) } else { Err(Error::OffsetOutOfRange) }
}

/// A client that knows of an older or a newer leader is told so (KIP-320); -1 knows none.
fn check_epoch(partition: &Partition, known: i32) -> Result<(), Error> {
    match known {
        ..0 => Ok(()),
        known if known < partition.leader_epoch => Err(Error::FencedLeaderEpoch),
        known if known > partition.leader_epoch => Err(Error::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn read(
    partition: &Partition,
    asked: &FetchPartition,
    (upto, left): (Upto, usize),
) -> PartitionData {
    let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
    let none = left == 0;
    let records =
        if none { Bytes::new() } else { partition.read(asked.fetch_offset, upto, bytes_max) };
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(partition.end(Upto::End))
        .with_last_stable_offset(partition.end(Upto::Stable))
        .with_log_start_offset(partition.start())
        .with_records(Some(records));
    if upto == Upto::End {
        return data.with_aborted_transactions(None);
    }
    let aborted = partition.aborted_from(asked.fetch_offset).map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(aborted.producer_id.into())
            .with_first_offset(aborted.first)
    });
    data.with_aborted_transactions(Some(aborted.collect()))
}

fn unreadable(asked: &FetchPartition, error: Error) -> PartitionData {
    PartitionData::default()
        .with_partition_index(asked.partition)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
        .with_records(Some(Bytes::new()))
}

/// The offset for a time, and the time found there; both -1 where there is none.
fn find(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    upto: Upto,
) -> Result<(i64, i64), Error> {
    Ok(match asked.timestamp {
        LATEST => (partition.end(upto), -1),
        EARLIEST => (partition.start(), -1),
        LARGEST_TIMESTAMP => partition.largest_timestamp().unwrap_or((-1, -1)),
        ..0 => return Err(Error::UnsupportedVersion),
        time => partition
            .offset_at(Timestamp(time))
            .filter(|&(offset, _)| offset < partition.end(upto))
            .map_or((-1, -1), |(offset, Timestamp(ms))| (offset, ms)),
    })
}

fn offset_answer(
    partition: i32,
    ask: Ask,
    found: Result<((i64, i64), i32), Error>,
) -> ListOffsetsPartitionResponse {
    let error = super::code(&found);
    let ((offset, timestamp), epoch) = found.unwrap_or(((-1, -1), -1));
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(partition)
        .with_error_code(error)
        .with_offset(offset)
        .with_timestamp(timestamp);
    if ask.version >= 4 { answer.with_leader_epoch(epoch) } else { answer }
}
