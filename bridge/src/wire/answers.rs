//! Answers as values: only what the replicator acts on.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::Decodable;

use super::{Address, Code, Malformed, Reply, Versions, shape};
use crate::batch::Producer;
use crate::limits::PARTITIONS_MAX;
use crate::settings::{INPUT_PARTITION, POSITIONS_TOPIC};

/// An error code, or what was asked for.
pub(crate) type Outcome<T> = Result<T, Code>;

/// What a cluster consists of, as far as it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) brokers: BTreeMap<i32, Address>,
    pub(crate) controller: i32,
    /// For each topic the leaders of its partitions by index, -1 where there is none.
    pub(crate) topics: BTreeMap<String, Outcome<Vec<i32>>>,
    /// What tells a topic from one of the same name that was deleted (KIP-516), where the broker says.
    pub(crate) ids: BTreeMap<String, u128>,
}

/// What one partition's part of a fetch brought.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) code: Code,
    /// Where the partition ends; what lies behind the first undecided transaction is not told yet.
    pub(crate) end: u64,
    /// Producer and first offset of each aborted transaction that reaches into the records.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Record batches, one behind the other; the last one may be cut off.
    pub(crate) records: Bytes,
}

/// The offset of a partition that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct LookedUp {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) code: Code,
    /// `None`: there is no such record.
    pub(crate) offset: Option<u64>,
}

/// What became of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) code: Code,
    /// The broker's words.
    pub(crate) message: Option<String>,
    /// The places of records that are to blame, where the broker tells (KIP-467).
    pub(crate) blamed: Vec<usize>,
    /// Who leads the partition, if another broker does (KIP-951).
    pub(crate) leader: Option<(i32, Address)>,
}

/// What was asked for, and 35 where the broker knows only older requests (KIP-511).
pub(crate) fn versions(reply: Reply) -> Result<Outcome<Versions>, Malformed> {
    const UNSUPPORTED_VERSION: [u8; 2] = 35_i16.to_be_bytes();
    if reply.body.starts_with(&UNSUPPORTED_VERSION) {
        return Ok(Err(Code(35)));
    }
    let answer: m::ApiVersionsResponse = decode(reply)?;
    if answer.error_code != 0 {
        return Ok(Err(Code(answer.error_code)));
    }
    let feature = answer.finalized_features.iter().find(|f| &*f.name == "transaction.version");
    let ranges =
        answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
    Ok(Ok(Versions {
        ranges: ranges.collect(),
        transaction_version: feature.map_or(0, |feature| feature.max_version_level),
    }))
}

/// Whether the mechanism is taken; else those that are.
pub(crate) fn handshaken(reply: Reply) -> Result<Result<(), (Code, Vec<String>)>, Malformed> {
    let answer: m::SaslHandshakeResponse = decode(reply)?;
    match answer.error_code {
        0 => Ok(Ok(())),
        code => {
            let mechanisms = answer.mechanisms.iter().map(ToString::to_string).collect();
            Ok(Err((Code(code), mechanisms)))
        }
    }
}

/// One message of the broker in an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(crate) code: Code,
    /// The broker's words.
    pub(crate) message: Option<String>,
    pub(crate) bytes: Bytes,
    /// How long it holds; 0: as long as the connection (KIP-368).
    pub(crate) lifetime_ms: u64,
}

pub(crate) fn authenticated(reply: Reply) -> Result<Authenticated, Malformed> {
    let answer: m::SaslAuthenticateResponse = decode(reply)?;
    Ok(Authenticated {
        code: Code(answer.error_code),
        message: answer.error_message.map(|text| text.to_string()),
        bytes: answer.auth_bytes,
        lifetime_ms: u64::try_from(answer.session_lifetime_ms).unwrap_or(0),
    })
}

pub(crate) fn metadata(reply: Reply) -> Result<Cluster, Malformed> {
    let answer: m::MetadataResponse = decode(reply)?;
    let brokers = answer.brokers.iter().filter_map(|broker| {
        Some((broker.node_id.0, Address::advertised(&broker.host, broker.port)?))
    });
    let mut cluster = Cluster {
        brokers: brokers.collect(),
        controller: answer.controller_id.0,
        topics: BTreeMap::new(),
        ids: BTreeMap::new(),
    };
    for topic in &answer.topics {
        let name = topic.name.as_ref().ok_or(Malformed)?.0.to_string();
        if !topic.topic_id.is_nil() {
            cluster.ids.insert(name.clone(), topic.topic_id.as_u128());
        }
        let leaders = match topic.error_code {
            0 => Ok(leaders(&topic.partitions)?),
            code => Err(Code(code)),
        };
        cluster.topics.insert(name, leaders);
    }
    Ok(cluster)
}

/// Partitions may come in any order, but there is one for each index.
fn leaders(
    partitions: &[m::metadata_response::MetadataResponsePartition],
) -> Result<Vec<i32>, Malformed> {
    if partitions.len() > PARTITIONS_MAX {
        return Err(Malformed);
    }
    let mut leaders = vec![-1; partitions.len()];
    for partition in partitions {
        let index = usize::try_from(partition.partition_index).map_err(|_| Malformed)?;
        *leaders.get_mut(index).ok_or(Malformed)? = partition.leader_id.0;
    }
    Ok(leaders)
}

pub(crate) fn coordinator(reply: Reply) -> Result<Outcome<Address>, Malformed> {
    let batched = reply.version >= 4;
    let answer: m::FindCoordinatorResponse = decode(reply)?;
    let (code, host, port) = if batched {
        let first = answer.coordinators.into_iter().next().ok_or(Malformed)?;
        (first.error_code, first.host, first.port)
    } else {
        (answer.error_code, answer.host, answer.port)
    };
    match code {
        0 => Address::advertised(&host, port).ok_or(Malformed).map(Ok),
        code => Ok(Err(Code(code))),
    }
}

pub(crate) fn created(reply: Reply) -> Result<Code, Malformed> {
    let answer: m::CreateTopicsResponse = decode(reply)?;
    answer.topics.first().map(|topic| Code(topic.error_code)).ok_or(Malformed)
}

/// A topic, and its settings by name.
pub(crate) type Described = (String, Outcome<BTreeMap<String, String>>);

pub(crate) fn topic_settings(reply: Reply) -> Result<Vec<Described>, Malformed> {
    let answer: m::DescribeConfigsResponse = decode(reply)?;
    let described = answer.results.into_iter().map(|topic| {
        let settings = topic.configs.into_iter();
        let settings = settings.filter_map(|it| Some((it.name.to_string(), it.value?.to_string())));
        let found = if topic.error_code == 0 {
            Ok(settings.collect())
        } else {
            Err(Code(topic.error_code))
        };
        (topic.resource_name.to_string(), found)
    });
    Ok(described.collect())
}

pub(crate) fn new_producer(reply: Reply) -> Result<Outcome<Producer>, Malformed> {
    let answer: m::InitProducerIdResponse = decode(reply)?;
    let producer = Producer::new(answer.producer_id.0, answer.producer_epoch);
    match answer.error_code {
        0 if producer.id >= 0 && producer.epoch >= 0 => Ok(Ok(producer)),
        0 => Err(Malformed),
        code => Ok(Err(Code(code))),
    }
}

/// The committed offset and its metadata; `None` if there is none.
pub(crate) fn position(reply: Reply) -> Result<Outcome<Option<(u64, String)>>, Malformed> {
    let grouped = reply.version >= 8;
    let answer: m::OffsetFetchResponse = decode(reply)?;
    let (code, found) = if grouped {
        let group = answer.groups.into_iter().next().ok_or(Malformed)?;
        let mut topics = group.topics.into_iter().filter(|t| &**t.name == POSITIONS_TOPIC);
        let mut partitions = topics.next().map(|t| t.partitions).unwrap_or_default().into_iter();
        let found = partitions.find(|p| p.partition_index == INPUT_PARTITION);
        (group.error_code, found.map(|p| (p.error_code, p.committed_offset, p.metadata)))
    } else {
        let mut topics = answer.topics.into_iter().filter(|t| &**t.name == POSITIONS_TOPIC);
        let mut partitions = topics.next().map(|t| t.partitions).unwrap_or_default().into_iter();
        let found = partitions.find(|p| p.partition_index == INPUT_PARTITION);
        (answer.error_code, found.map(|p| (p.error_code, p.committed_offset, p.metadata)))
    };
    if code != 0 {
        return Ok(Err(Code(code)));
    }
    match found.ok_or(Malformed)? {
        (0, -1, _) => Ok(Ok(None)),
        (0, offset, metadata) => {
            let offset = u64::try_from(offset).map_err(|_| Malformed)?;
            Ok(Ok(Some((offset, metadata.unwrap_or_default().to_string()))))
        }
        (code, ..) => Ok(Err(Code(code))),
    }
}

/// The one error that keeps the partitions from being added, and its topic: the other partitions
/// then say 55, "not attempted".
pub(crate) fn partitions_added(reply: Reply) -> Result<(Code, Option<String>), Malformed> {
    const NOT_ATTEMPTED: i16 = 55;
    let answer: m::AddPartitionsToTxnResponse = decode(reply)?;
    let topics = answer.results_by_topic_v3_and_below;
    if topics.is_empty() {
        return Err(Malformed);
    }
    let mut found = (Code::GOOD, None);
    for topic in topics {
        for partition in topic.results_by_partition {
            let code = Code(partition.partition_error_code);
            if code != Code::GOOD && [Code::GOOD, Code(NOT_ATTEMPTED)].contains(&found.0) {
                found = (code, Some(topic.name.0.to_string()));
            }
        }
    }
    Ok(found)
}

/// An answer that is an error code.
pub(crate) fn plain(reply: Reply) -> Result<Code, Malformed> {
    let answer: m::AddOffsetsToTxnResponse = decode(reply)?;
    Ok(Code(answer.error_code))
}

pub(crate) fn position_committed(reply: Reply) -> Result<Code, Malformed> {
    let answer: m::TxnOffsetCommitResponse = decode(reply)?;
    let topic = answer.topics.iter().find(|t| &**t.name == POSITIONS_TOPIC).ok_or(Malformed)?;
    let partition = topic.partitions.iter().find(|p| p.partition_index == INPUT_PARTITION);
    partition.map(|p| Code(p.error_code)).ok_or(Malformed)
}

pub(crate) fn offset_committed(reply: Reply) -> Result<Code, Malformed> {
    let answer: m::OffsetCommitResponse = decode(reply)?;
    let topic = answer.topics.iter().find(|t| &**t.name == POSITIONS_TOPIC).ok_or(Malformed)?;
    let partition = topic.partitions.iter().find(|p| p.partition_index == INPUT_PARTITION);
    partition.map(|p| Code(p.error_code)).ok_or(Malformed)
}

/// The producer with which the next transaction runs, where the answer names one.
pub(crate) fn ended(reply: Reply) -> Result<Outcome<Option<Producer>>, Malformed> {
    let answer: m::EndTxnResponse = decode(reply)?;
    let producer = Producer::new(answer.producer_id.0, answer.producer_epoch);
    match answer.error_code {
        0 => Ok(Ok((producer.id >= 0 && producer.epoch >= 0).then_some(producer))),
        code => Ok(Err(Code(code))),
    }
}

pub(crate) fn produced(reply: Reply) -> Result<Vec<Produced>, Malformed> {
    let answer: m::ProduceResponse = decode(reply)?;
    let endpoints: BTreeMap<i32, Address> = answer
        .node_endpoints
        .iter()
        .filter_map(|node| Some((node.node_id.0, Address::advertised(&node.host, node.port)?)))
        .collect();
    let mut found = Vec::new();
    for topic in answer.responses {
        for partition in topic.partition_responses {
            let places = partition.record_errors.iter().map(|error| error.batch_index);
            let blamed = places.filter_map(|place| usize::try_from(place).ok()).collect();
            let first = partition.record_errors.into_iter().next();
            let leader = partition.current_leader.leader_id.0;
            let leader = endpoints.get(&leader).map(|address| (leader, address.clone()));
            let of_record = first.and_then(|error| error.batch_index_error_message);
            found.push(Produced {
                topic: topic.name.0.to_string(),
                partition: partition.index,
                code: Code(partition.error_code),
                message: of_record.or(partition.error_message).map(|text| text.to_string()),
                blamed,
                leader,
            });
        }
    }
    Ok(found)
}

/// What was read of each partition, or why nothing was of any.
pub(crate) fn fetched(reply: Reply) -> Result<Outcome<Vec<Fetched>>, Malformed> {
    let answer: m::FetchResponse = decode(reply)?;
    if answer.error_code != 0 {
        return Ok(Err(Code(answer.error_code)));
    }
    let mut found = Vec::new();
    for topic in answer.responses {
        for partition in topic.partitions {
            let aborted = partition.aborted_transactions.unwrap_or_default();
            found.push(Fetched {
                topic: topic.topic.0.to_string(),
                partition: partition.partition_index,
                code: Code(partition.error_code),
                end: u64::try_from(partition.high_watermark).unwrap_or(0),
                aborted: aborted.iter().map(|it| (it.producer_id.0, it.first_offset)).collect(),
                records: partition.records.unwrap_or_default(),
            });
        }
    }
    Ok(Ok(found))
}

pub(crate) fn looked_up(reply: Reply) -> Result<Vec<LookedUp>, Malformed> {
    let answer: m::ListOffsetsResponse = decode(reply)?;
    let mut found = Vec::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            found.push(LookedUp {
                topic: topic.name.0.to_string(),
                partition: partition.partition_index,
                code: Code(partition.error_code),
                offset: u64::try_from(partition.offset).ok(),
            });
        }
    }
    Ok(found)
}

fn decode<T: Decodable>(reply: Reply) -> Result<T, Malformed> {
    let Reply { api, version, mut body, .. } = reply;
    shape::check(api, version, &body)?;
    T::decode(&mut body, version).map_err(|_| Malformed)
}
