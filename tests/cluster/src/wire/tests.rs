//! Every request in every version that is offered: its shape is known to the byte, and there is an
//! answer that can be encoded.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, CreateTopicsRequest,
    DescribeConfigsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tributary_core::time::Instant;

use super::*;
use crate::{BrokerId, Cluster, Output, Settings, TopicSettings, TransactionVersion};

/// Topics of the cluster: led by the broker that is asked, by another, and by none.
const TOPICS: [&str; 3] = ["one", "two", "missing"];
const KAFKA: Kafka = Kafka::V4_1_2(TransactionVersion::V2);

/// Whether the oldest versions are known to brokers and not to the codec.
const CODEC_PRODUCE_FROM: i16 = 3;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn cluster() -> Cluster {
    let settings = Settings { kafka: KAFKA, brokers: 2, ..Settings::default() };
    let mut cluster = Cluster::new(settings);
    for topic in &TOPICS[..2] {
        cluster.create_topic(topic, TopicSettings::default()).expect("the cluster is new");
    }
    cluster
}

/// Checks the shape of a request in every version, and that it is answered.
fn check<R: Request>(make: impl Fn(i16) -> R) {
    check_shape(make, |api, version, body| {
        assert!(is_answered((api, version), body), "{api:?} {version}");
    });
}

/// Checks the shape of a request in every version, and more of its body.
fn check_shape<R: Request>(make: impl Fn(i16) -> R, more: impl Fn(ApiKey, i16, &[u8])) {
    let api = ApiKey::try_from(R::KEY).expect("known");
    let versions = offered(KAFKA, api).expect("offered");
    for version in versions {
        if api == ApiKey::Produce && version < CODEC_PRODUCE_FROM {
            continue;
        }
        let mut body = BytesMut::new();
        make(version).encode(&mut body, version).expect("a request");
        let shape = shape::of(api).expect("known");
        assert_eq!(shape::check(&body, shape, version), Some(body.len()), "{api:?} {version}");
        for length in 0..body.len() {
            assert_eq!(shape::check(&body[..length], shape, version), None, "{api:?} {version}");
        }
        more(api, version, &body);
    }
}

fn is_answered((api, version): (ApiKey, i16), body: &[u8]) -> bool {
    let mut head = BytesMut::new();
    head.put_i16(api as i16);
    head.put_i16(version);
    head.put_i32(1);
    head.put_i16(-1);
    if api.request_header_version(version) >= 2 {
        head.put_u8(0);
    }
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(head.len() + body.len()).expect("small"));
    frame.put_slice(&head);
    frame.put_slice(body);
    let mut cluster = cluster();
    let conn = cluster.connect(BrokerId(1)).expect("it is up");
    cluster.handle_bytes(Instant(0), conn, &frame);
    matches!(cluster.poll_output(), Some(Output::Bytes { .. }))
}

#[test]
fn produce() {
    check(|_| {
        let data = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"x")));
        let topics = TOPICS.map(|topic| {
            TopicProduceData::default()
                .with_name(text(topic).into())
                .with_partition_data(vec![data.clone(), data.clone().with_index(1)])
        });
        ProduceRequest::default()
            .with_transactional_id(Some(text("id").into()))
            .with_acks(-1)
            .with_topic_data(topics.into())
    });
}

#[test]
fn fetch() {
    for isolation in [0, 1] {
        check(|version| {
            let partition = FetchPartition::default().with_partition_max_bytes(100);
            let topics = TOPICS.map(|topic| {
                FetchTopic::default()
                    .with_topic(text(topic).into())
                    .with_partitions(vec![partition.clone(), partition.clone().with_partition(1)])
            });
            let request = FetchRequest::default()
                .with_max_bytes(100)
                .with_isolation_level(isolation)
                .with_topics(topics.into());
            if version < 7 {
                return request;
            }
            let forgotten = ForgottenTopic::default()
                .with_topic(text("gone").into())
                .with_partitions(vec![1, 2]);
            request.with_forgotten_topics_data(vec![forgotten])
        });
    }
}

#[test]
fn list_offsets() {
    check(|_| {
        let partitions = [-1, -2, -3, -9, 5].map(|time| {
            ListOffsetsPartition::default().with_timestamp(time).with_current_leader_epoch(-1)
        });
        let topics = TOPICS.map(|topic| {
            ListOffsetsTopic::default()
                .with_name(text(topic).into())
                .with_partitions(partitions.clone().into())
        });
        ListOffsetsRequest::default().with_topics(topics.into())
    });
}

#[test]
fn metadata() {
    check(|_| {
        let names =
            TOPICS.map(|topic| MetadataRequestTopic::default().with_name(Some(text(topic).into())));
        MetadataRequest::default().with_topics(Some(names.into()))
    });
    check(|version| {
        // Version 0 has no null: an empty list asks for everything.
        let all = if version == 0 { Some(Vec::new()) } else { None };
        MetadataRequest::default().with_topics(all)
    });
}

#[test]
fn offset_commit() {
    check(|_| {
        let partition =
            OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("m")));
        let topics = TOPICS.map(|topic| {
            OffsetCommitRequestTopic::default()
                .with_name(text(topic).into())
                .with_partitions(vec![partition.clone(), partition.clone().with_partition_index(1)])
        });
        OffsetCommitRequest::default()
            .with_group_id(text("group").into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.into())
    });
}

#[test]
fn offset_fetch() {
    for everything in [false, true] {
        check(|version| {
            if version < 8 {
                let topics = TOPICS.map(|topic| {
                    OffsetFetchRequestTopic::default()
                        .with_name(text(topic).into())
                        .with_partition_indexes(vec![0, 1])
                });
                // Version 1 has no null.
                let topics = if everything && version > 1 { None } else { Some(topics.into()) };
                let request = OffsetFetchRequest::default().with_group_id(text("group").into());
                return request.with_topics(topics).with_require_stable(version == 7);
            }
            let topics = TOPICS.map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(text(topic).into())
                    .with_partition_indexes(vec![0, 1])
            });
            let topics = if everything { None } else { Some(topics.into()) };
            let groups = ["group", "other"].map(|group| {
                OffsetFetchRequestGroup::default()
                    .with_group_id(text(group).into())
                    .with_topics(topics.clone())
            });
            OffsetFetchRequest::default().with_groups(groups.into()).with_require_stable(true)
        });
    }
}

#[test]
fn find_coordinator() {
    check(|version| {
        let request = FindCoordinatorRequest::default();
        match version {
            0..4 => request.with_key(text("group")),
            _ => request.with_coordinator_keys(vec![text("group"), text("other")]),
        }
    });
}

#[test]
fn api_versions() {
    for name in ["script", "no name"] {
        check(|version| {
            let request = ApiVersionsRequest::default();
            if version < 3 {
                return request;
            }
            request.with_client_software_name(text(name)).with_client_software_version(text("1"))
        });
    }
}

#[test]
fn create_topics() {
    check(|_| {
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![1.into()]);
        let config = CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("1")));
        let topic = |name| {
            CreatableTopic::default()
                .with_name(text(name).into())
                .with_num_partitions(1)
                .with_replication_factor(-1)
                .with_configs(vec![config.clone()])
        };
        let assigned = topic("assigned").with_assignments(vec![assignment.clone()]);
        CreateTopicsRequest::default().with_topics(vec![topic("new"), topic("one"), assigned])
    });
}

#[test]
fn init_producer_id() {
    for id in [None, Some(text("id").into())] {
        check(|version| {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(id.clone())
                .with_transaction_timeout_ms(1000);
            match version {
                0..3 => request,
                _ => request.with_producer_id((-1).into()).with_producer_epoch(-1),
            }
        });
    }
}

#[test]
fn add_partitions_to_txn() {
    check(|version| {
        let topics = TOPICS.map(|topic| {
            AddPartitionsToTxnTopic::default()
                .with_name(text(topic).into())
                .with_partitions(vec![0, 1])
        });
        let request = AddPartitionsToTxnRequest::default();
        if version < 4 {
            return request
                .with_v3_and_below_transactional_id(text("id").into())
                .with_v3_and_below_topics(topics.into());
        }
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(text("id").into())
            .with_topics(topics.into());
        request.with_transactions(vec![transaction])
    });
}

#[test]
fn add_offsets_to_txn() {
    check(|_| {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(text("id").into())
            .with_group_id(text("group").into())
    });
}

#[test]
fn end_txn() {
    check(|_| EndTxnRequest::default().with_transactional_id(text("id").into()));
}

#[test]
fn txn_offset_commit() {
    check(|_| {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_committed_metadata(Some(text("m")));
        let topics = TOPICS.map(|topic| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(text(topic).into())
                .with_partitions(vec![partition.clone(), partition.clone().with_partition_index(1)])
        });
        TxnOffsetCommitRequest::default()
            .with_transactional_id(text("id").into())
            .with_group_id(text("group").into())
            .with_topics(topics.into())
    });
}

#[test]
fn describe_configs() {
    for keys in [None, Some(vec![text("max.message.bytes"), text("other")])] {
        check(|_| {
            let resources = TOPICS.map(|topic| {
                DescribeConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(topic))
                    .with_configuration_keys(keys.clone())
            });
            DescribeConfigsRequest::default().with_resources(resources.into())
        });
    }
}

#[test]
fn logins() {
    check(|_| SaslHandshakeRequest::default().with_mechanism(text("PLAIN")));
    let bytes = b"\0gw\0pencil".to_vec();
    // Without a handshake before it, it ends the connection.
    let make = |_| SaslAuthenticateRequest::default().with_auth_bytes(bytes.clone().into());
    check_shape(make, |api, version, body| {
        assert!(!is_answered((api, version), body), "{version}");
    });
}
