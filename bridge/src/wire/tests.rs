//! What the walk before decoding lets through, and what it stops.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;

/// What a reader is answered, and who commits an offset outside of transactions.
fn read(api: Api, version: i16) -> Bytes {
    use m::fetch_response as f;
    let mut out = BytesMut::new();
    if api == Api::ListOffsets {
        let partition = m::list_offsets_response::ListOffsetsPartitionResponse::default();
        let topic = m::list_offsets_response::ListOffsetsTopicResponse::default()
            .with_partitions(vec![partition; 2]);
        let answer = m::ListOffsetsResponse::default().with_topics(vec![topic]);
        answer.encode(&mut out, version).expect("the version is known");
        return out.freeze();
    }
    if api == Api::OffsetCommit {
        let partition = m::offset_commit_response::OffsetCommitResponsePartition::default();
        let topic = m::offset_commit_response::OffsetCommitResponseTopic::default()
            .with_partitions(vec![partition; 2]);
        let answer = m::OffsetCommitResponse::default().with_topics(vec![topic]);
        answer.encode(&mut out, version).expect("the version is known");
        return out.freeze();
    }
    let mut partition = f::PartitionData::default()
        .with_aborted_transactions(Some(vec![f::AbortedTransaction::default(); 2]))
        .with_records(Some(Bytes::from_static(b"records")));
    if version >= 12 {
        partition = partition
            .with_diverging_epoch(f::EpochEndOffset::default().with_epoch(3))
            .with_current_leader(f::LeaderIdAndEpoch::default().with_leader_epoch(3))
            .with_snapshot_id(f::SnapshotId::default().with_epoch(3));
    }
    let topic = f::FetchableTopicResponse::default().with_partitions(vec![partition; 2]);
    let answer = m::FetchResponse::default().with_responses(vec![topic]);
    answer.encode(&mut out, version).expect("the version is known");
    out.freeze()
}

/// An answer with every array filled, in every version that is sent.
fn encoded(api: Api, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    let text = |text: &'static str| StrBytes::from_static_str(text);
    match api {
        Api::ApiVersions => m::ApiVersionsResponse::default()
            .with_api_keys(vec![m::api_versions_response::ApiVersion::default(); 3])
            .with_supported_features(vec![
                m::api_versions_response::SupportedFeatureKey::default();
                2
            ])
            .with_finalized_features_epoch(5)
            .with_finalized_features(vec![
                m::api_versions_response::FinalizedFeatureKey::default()
                    .with_name(text("transaction.version"))
                    .with_max_version_level(2),
            ])
            .with_zk_migration_ready(true)
            .with_unknown_tagged_fields([(9, Bytes::from_static(b"new"))].into())
            .encode(&mut out, version),
        Api::Metadata => metadata().encode(&mut out, version),
        Api::FindCoordinator if version >= 4 => m::FindCoordinatorResponse::default()
            .with_coordinators(vec![
                m::find_coordinator_response::Coordinator::default()
                    .with_host(text("kafka"))
                    .with_port(9092)
                    .with_error_message(Some(text("fine"))),
            ])
            .encode(&mut out, version),
        Api::FindCoordinator => m::FindCoordinatorResponse::default()
            .with_host(text("kafka"))
            .with_port(9092)
            .with_error_message(Some(text("fine")))
            .encode(&mut out, version),
        Api::Produce => produced(version).encode(&mut out, version),
        Api::OffsetFetch => position(version).encode(&mut out, version),
        Api::CreateTopics => m::CreateTopicsResponse::default()
            .with_topics(vec![
                m::create_topics_response::CreatableTopicResult::default()
                    .with_error_message(Some(text("fine")))
                    .with_topic_config_error_code(if version >= 5 { 7 } else { 0 }),
            ])
            .encode(&mut out, version),
        Api::DescribeConfigs => described().encode(&mut out, version),
        Api::InitProducerId => m::InitProducerIdResponse::default().encode(&mut out, version),
        Api::AddPartitionsToTxn => m::AddPartitionsToTxnResponse::default()
            .with_results_by_topic_v3_and_below(vec![
                m::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult::default()
                    .with_results_by_partition(vec![
 m::add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult::default(); 2]),
            ])
            .encode(&mut out, version),
        Api::Fetch | Api::ListOffsets | Api::OffsetCommit => return read(api, version),
        Api::SaslHandshake | Api::SaslAuthenticate => return login(api, version),
        Api::AddOffsetsToTxn => m::AddOffsetsToTxnResponse::default().encode(&mut out, version),
        Api::EndTxn => m::EndTxnResponse::default().encode(&mut out, version),
        Api::TxnOffsetCommit => m::TxnOffsetCommitResponse::default()
            .with_topics(vec![
                m::txn_offset_commit_response::TxnOffsetCommitResponseTopic::default()
                    .with_partitions(vec![
                        m::txn_offset_commit_response::TxnOffsetCommitResponsePartition::default();
                        2
                    ]),
            ])
            .encode(&mut out, version),
    }
    .expect("representable");
    out.freeze()
}

fn described() -> m::DescribeConfigsResponse {
    use m::describe_configs_response as d;
    let text = |text: &'static str| StrBytes::from_static_str(text);
    let synonym = d::DescribeConfigsSynonym::default().with_name(text("a")).with_value(None);
    let setting = d::DescribeConfigsResourceResult::default()
        .with_name(text("retention.ms"))
        .with_value(Some(text("604800000")))
        .with_config_source(5)
        .with_synonyms(vec![synonym]);
    let topic = d::DescribeConfigsResult::default()
        .with_error_message(Some(text("fine")))
        .with_resource_name(text("hot"))
        .with_configs(vec![setting.clone(), setting.with_value(None)]);
    m::DescribeConfigsResponse::default().with_results(vec![topic])
}

fn metadata() -> m::MetadataResponse {
    let text = |text: &'static str| StrBytes::from_static_str(text);
    m::MetadataResponse::default()
        .with_brokers(vec![
            m::metadata_response::MetadataResponseBroker::default()
                .with_host(text("kafka"))
                .with_rack(Some(text("r"))),
        ])
        .with_cluster_id(Some(text("id")))
        .with_topics(vec![
            m::metadata_response::MetadataResponseTopic::default()
                .with_name(Some(m::TopicName(text("hot"))))
                .with_partitions(vec![
                    m::metadata_response::MetadataResponsePartition::default()
                        .with_replica_nodes(vec![m::BrokerId(1), m::BrokerId(2)])
                        .with_isr_nodes(vec![m::BrokerId(1)])
                        .with_offline_replicas(vec![m::BrokerId(2)]),
                ]),
        ])
}

fn login(api: Api, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    let text = |text: &'static str| StrBytes::from_static_str(text);
    let encoded = if api == Api::SaslHandshake {
        m::SaslHandshakeResponse::default()
            .with_mechanisms(vec![text("PLAIN"), text("OAUTHBEARER")])
            .encode(&mut out, version)
    } else {
        m::SaslAuthenticateResponse::default()
            .with_error_message(Some(text("fine")))
            .with_auth_bytes(Bytes::from_static(b"r=x"))
            .with_session_lifetime_ms(9)
            .encode(&mut out, version)
    };
    encoded.expect("an answer of this version");
    out.freeze()
}

fn produced(version: i16) -> m::ProduceResponse {
    use m::produce_response as p;
    let mut partition = p::PartitionProduceResponse::default();
    let mut response = m::ProduceResponse::default();
    if version >= 8 {
        let error = p::BatchIndexAndErrorMessage::default()
            .with_batch_index_error_message(Some(StrBytes::from_static_str("bad")));
        partition = partition.with_record_errors(vec![error]);
    }
    if version >= 10 {
        partition = partition
            .with_current_leader(p::LeaderIdAndEpoch::default().with_leader_id(m::BrokerId(2)));
        let endpoint = p::NodeEndpoint::default().with_host(StrBytes::from_static_str("kafka"));
        response = response.with_node_endpoints(vec![endpoint]);
    }
    let topic = p::TopicProduceResponse::default().with_partition_responses(vec![partition]);
    response.with_responses(vec![topic])
}

fn position(version: i16) -> m::OffsetFetchResponse {
    use m::offset_fetch_response as f;
    let name = m::TopicName(StrBytes::from_static_str("tributary.positions"));
    let metadata = Some(StrBytes::from_static_str("v1,0000abcd,x"));
    if version >= 8 {
        let partition = f::OffsetFetchResponsePartitions::default().with_metadata(metadata);
        let topic = f::OffsetFetchResponseTopics::default()
            .with_name(name)
            .with_partitions(vec![partition]);
        let group = f::OffsetFetchResponseGroup::default().with_topics(vec![topic]);
        m::OffsetFetchResponse::default().with_groups(vec![group])
    } else {
        let partition = f::OffsetFetchResponsePartition::default().with_metadata(metadata);
        let topic =
            f::OffsetFetchResponseTopic::default().with_name(name).with_partitions(vec![partition]);
        m::OffsetFetchResponse::default().with_topics(vec![topic])
    }
}

fn every_version() -> impl Iterator<Item = (Api, i16)> {
    let apis = Api::required(Dialect::Explicit).iter().copied();
    let others = [
        Api::ApiVersions,
        Api::CreateTopics,
        Api::DescribeConfigs,
        Api::SaslHandshake,
        Api::SaslAuthenticate,
        Api::Fetch,
        Api::ListOffsets,
        Api::OffsetCommit,
    ];
    apis.chain(others).flat_map(|api| {
        let (least, most) = api.versions(Dialect::Explicit);
        let implicit = api.versions(Dialect::Implicit);
        (least..=most.max(implicit.1)).map(move |version| (api, version))
    })
}

#[test]
fn the_walk_ends_where_the_codec_ends() {
    let mut checked = 0;
    for (api, version) in every_version() {
        let body = encoded(api, version);
        assert_eq!(shape::check(api, version, &body), Ok(()), "{api:?} {version}");
        for end in 0..body.len() {
            assert!(shape::check(api, version, &body[..end]).is_err(), "{api:?} {version} {end}");
        }
        let longer = [&body[..], &[0]].concat();
        assert!(shape::check(api, version, &longer).is_err(), "{api:?} {version}");
        checked += 1;
    }
    assert_eq!(checked, 63);
}

/// Where it stands differs from answer to answer.
#[test]
fn the_throttle_time_is_found_in_every_answer_that_has_one() {
    for (api, version) in every_version() {
        let mut body = encoded(api, version).to_vec();
        assert_eq!(shape::throttle_ms(api, version, &body), 0, "{api:?} {version}");
        let places = 0..body.len().saturating_sub(3);
        let found = places.filter(|&at| {
            let kept = body[at..at + 4].to_vec();
            body[at..at + 4].copy_from_slice(&1234_i32.to_be_bytes());
            let found = shape::throttle_ms(api, version, &body) == 1234;
            body[at..at + 4].copy_from_slice(&kept);
            found
        });
        let expected = usize::from(!matches!(api, Api::SaslHandshake | Api::SaslAuthenticate));
        assert_eq!(found.count(), expected, "{api:?} {version}");
    }
    let mut body = BytesMut::new();
    let answer = produced(11).with_throttle_time_ms(1234);
    answer.encode(&mut body, 11).expect("an answer of this version");
    assert_eq!(shape::throttle_ms(Api::Produce, 11, &body), 1234);
    assert_eq!(shape::throttle_ms(Api::Produce, 11, &body[1..]), 0);
}

/// Eight bytes must not make the codec ask for gigabytes.
#[test]
fn a_count_that_nothing_follows_is_stopped() {
    // ApiVersions 3: error 0, then a compact array of 2^32 - 2 elements.
    let bomb = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(shape::check(Api::ApiVersions, 3, &bomb), Err(Malformed));
    // Produce 7: an array of i32::MAX elements.
    let bomb = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(shape::check(Api::Produce, 7, &bomb), Err(Malformed));
    // EndTxn 3: a number of tagged fields.
    let bomb = [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(shape::check(Api::EndTxn, 3, &bomb), Err(Malformed));
}

#[test]
fn elements_are_limited_even_where_they_follow() {
    let count = 70_000;
    let answer = m::ApiVersionsResponse::default()
        .with_api_keys(vec![m::api_versions_response::ApiVersion::default(); count]);
    let mut body = BytesMut::new();
    answer.encode(&mut body, 3).unwrap();
    assert_eq!(shape::check(Api::ApiVersions, 3, &body), Err(Malformed));
}

#[test]
fn a_known_tag_must_fill_the_size_it_states() {
    // ApiVersions 3 with the features' epoch (tag 1, 8 bytes) said to be 7 bytes long.
    let body = [0, 0, 1, 0, 0, 0, 0, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(shape::check(Api::ApiVersions, 3, &body), Err(Malformed));
}

#[test]
fn a_version_is_chosen_within_what_both_sides_may() {
    let versions =
        |range| Versions { ranges: [(Api::Produce as i16, range)].into(), transaction_version: 0 };
    let choose = |range, dialect| versions(range).choose(Api::Produce, dialect);
    assert_eq!(choose((0, 13), Dialect::Explicit), Some(11));
    assert_eq!(choose((0, 13), Dialect::Implicit), Some(12));
    assert_eq!(choose((0, 9), Dialect::Explicit), Some(9));
    assert_eq!(choose((0, 11), Dialect::Implicit), None);
    assert_eq!(choose((0, 6), Dialect::Explicit), None);
    assert_eq!(choose((12, 13), Dialect::Explicit), None);
    assert_eq!(versions((0, 9)).choose(Api::EndTxn, Dialect::Explicit), None);
}
