//! Topics: made, found, described, and withheld.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DescribeConfigsRequest, FindCoordinatorRequest, MetadataRequest,
};
use tributary_cluster::{Fault, FaultKind, Permission, Settings, TopicSettings};

use crate::support::{
    B1, ID, ORIGIN_MS, POSITIONS, Session, Speaks, Stamp, TOPIC, World, batch, produce_request,
    text, values,
};

fn creatable(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(text(name).into())
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

fn create(world: &mut World, topic: CreatableTopic) -> i16 {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    world.call(B1, 7, &request).topics[0].error_code
}

fn produce(world: &mut World, topic: &str, records: bytes::Bytes) -> (i16, i64) {
    let answer = world.call(B1, 9, &produce_request(None, (topic, 0), records));
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.log_append_time_ms)
}

#[test]
fn topics_are_made_where_that_is_permitted() {
    let mut world = World::new(Settings::default());
    let metadata = MetadataRequest::default()
        .with_topics(Some(vec![
            MetadataRequestTopic::default().with_name(Some(text("new").into())),
        ]))
        .with_allow_auto_topic_creation(true);
    assert_eq!(world.call(B1, 12, &metadata).topics[0].error_code, 3, "never by itself");
    world.cluster.deny(Permission::CreateTopics);
    assert_eq!(create(&mut world, creatable("new", 3)), 29);
    world.cluster.allow(&Permission::CreateTopics);
    assert_eq!(create(&mut world, creatable("new", 0)), 37);
    assert_eq!(create(&mut world, creatable("new", 1025)), 37);
    assert_eq!(create(&mut world, creatable("a b", 1)), 17);
    assert_eq!(create(&mut world, creatable("new", 1).with_replication_factor(2)), 38);
    assert_eq!(create(&mut world, creatable("new", 3)), 0);
    assert_eq!(create(&mut world, creatable("new", 3)), 36);
    let answer = world.call(B1, 12, &metadata);
    assert_eq!(answer.topics[0].error_code, 0);
    assert_eq!(answer.topics[0].partitions.len(), 3);
    let by_id =
        MetadataRequestTopic::default().with_name(None).with_topic_id(answer.topics[0].topic_id);
    let by_id = MetadataRequest::default().with_topics(Some(vec![by_id]));
    assert_eq!(world.call(B1, 12, &by_id).topics[0].name, Some(text("new").into()));
}

#[test]
fn a_topic_follows_its_settings_and_tells_them() {
    let mut world = World::new(Settings::default());
    let config = |name, value| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let configs = vec![
        config("message.timestamp.type", "LogAppendTime"),
        config("max.message.bytes", "200"),
        config("retention.ms", "1000"),
    ];
    assert_eq!(create(&mut world, creatable("own", 1).with_configs(configs)), 0);
    world.wait_ms(5);
    let ahead = Stamp { time_ms: i64::MAX - 10, ..Stamp::PLAIN };
    assert_eq!(produce(&mut world, "own", batch(ahead, &["a", "b"])), (0, ORIGIN_MS + 5));
    let stamps: Vec<_> =
        world.cluster.read_committed("own", 0).iter().map(|record| record.timestamp.0).collect();
    assert_eq!(stamps, [ORIGIN_MS + 5; 2]);
    assert_eq!(produce(&mut world, "own", batch(Stamp::PLAIN, &["x"; 30])).0, 10);

    let resource =
        DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text("own"));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(None)]);
    let answer = world.call(B1, 4, &request);
    let told: Vec<_> = answer.results[0]
        .configs
        .iter()
        .map(|config| (config.name.as_str(), config.value.as_ref().expect("set").as_str()))
        .collect();
    let expected = [
        ("message.timestamp.type", "LogAppendTime"),
        ("max.message.bytes", "200"),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    assert_eq!(told, expected);
    world.cluster.deny(Permission::DescribeTopicConfigs("own".to_owned()));
    assert_eq!(world.call(B1, 4, &request).results[0].error_code, 29);
}

#[test]
fn each_missing_permission_has_its_answer() {
    let name = |name: &str| name.to_owned();
    let mut world = World::new(Settings::default());
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    let find = |key_type| {
        FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![text(ID)])
    };
    world.cluster.deny(Permission::DescribeGroup(name(ID)));
    world.cluster.deny(Permission::DescribeTransactionalId(name(ID)));
    assert_eq!(world.call(B1, 4, &find(0)).coordinators[0].error_code, 30);
    assert_eq!(world.call(B1, 4, &find(1)).coordinators[0].error_code, 53);
    assert_eq!(world.call(B1, 4, &find(2)).coordinators[0].error_code, 42);

    world.cluster.deny(Permission::WriteTransactionalId(name(ID)));
    assert_eq!(session.init(&mut world, 1000).error_code, 53);
    assert_eq!(session.produce(&mut world, 0, &["a"]).0, 53);
    assert_eq!(session.commit_offset(&mut world, 1), 53);
    assert_eq!(session.end_as(&mut world, true).error_code, 53);
    world.cluster.allow(&Permission::WriteTransactionalId(name(ID)));

    world.cluster.deny(Permission::WriteTopic(name(TOPIC)));
    assert_eq!(session.produce(&mut world, 0, &["a"]).0, 29);
    assert_eq!(session.add_partition(&mut world, 0), 29);
    world.cluster.allow(&Permission::WriteTopic(name(TOPIC)));

    world.cluster.deny(Permission::ReadTopic(name(POSITIONS)));
    assert_eq!(session.commit_offset(&mut world, 1), 29);
    world.cluster.allow(&Permission::ReadTopic(name(POSITIONS)));

    world.cluster.deny(Permission::ReadGroup(name(ID)));
    assert_eq!(session.commit_offset(&mut world, 1), 30);
    assert_eq!(session.add_offsets(&mut world), 30);
    world.cluster.allow(&Permission::ReadGroup(name(ID)));

    world.cluster.deny(Permission::DescribeTopic(name(TOPIC)));
    let request = MetadataRequest::default().with_topics(Some(vec![
        MetadataRequestTopic::default().with_name(Some(text(TOPIC).into())),
    ]));
    assert_eq!(world.call(B1, 12, &request).topics[0].error_code, 29);
    let listed = world.call(B1, 12, &MetadataRequest::default().with_topics(None)).topics;
    assert!(listed.iter().all(|topic| topic.name != Some(text(TOPIC).into())));
    session.transact(&mut world, &["a"], 1);
}

#[test]
fn a_transactional_batch_needs_the_id_of_its_request() {
    let mut world = World::new(Settings::default());
    let session = Session::open(&mut world, ID, Speaks::V2);
    let records = batch(session.stamp(0), &["a"]);
    assert_eq!(produce(&mut world, TOPIC, records).0, 53);
}

#[test]
fn the_cluster_is_full_at_its_limit_and_not_before() {
    let one = batch(Stamp::PLAIN, &["a"]).len();
    let mut world = World::new(Settings { log_bytes_max: 2 * one, ..Settings::default() });
    assert_eq!(produce(&mut world, TOPIC, batch(Stamp::PLAIN, &["a"])).0, 0);
    assert_eq!(produce(&mut world, TOPIC, batch(Stamp::PLAIN, &["b"])).0, 0);
    assert_eq!(produce(&mut world, TOPIC, batch(Stamp::PLAIN, &["c"])).0, 56);
    world.cluster.trim(TOPIC, 0, 1).expect("it exists");
    assert_eq!(values(&world.cluster.read_uncommitted(TOPIC, 0)), ["b"]);
    assert_eq!(produce(&mut world, TOPIC, batch(Stamp::PLAIN, &["c"])).0, 0);
    world.cluster.delete_topic(TOPIC).expect("it exists");
    world.cluster.create_topic(TOPIC, TopicSettings::default()).expect("it is gone");
    assert_eq!(produce(&mut world, TOPIC, batch(Stamp::PLAIN, &["d"])).0, 0);
}

#[test]
fn produce_without_acks_is_silent_and_closes_on_an_error() {
    let mut world = World::new(Settings::default());
    let records = batch(Stamp::PLAIN, &["a"]);
    let request = produce_request(None, (TOPIC, 0), records.clone()).with_acks(0);
    assert_eq!(world.try_call(B1, 9, &request), Err(crate::support::Lost::Silent));
    assert_eq!(world.cluster.end_offset(TOPIC, 0), Some(1));
    let request = produce_request(None, ("missing", 0), records.clone()).with_acks(0);
    assert_eq!(world.try_call(B1, 9, &request), Err(crate::support::Lost::Closed));
    let request = produce_request(None, (TOPIC, 0), records).with_acks(2);
    let answer = world.call(B1, 9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 21);
}

#[test]
fn requests_of_a_connection_are_answered_in_order() {
    let mut world = World::new(Settings::default());
    world.cluster.inject(Fault::next(ApiKey::Metadata, FaultKind::DelayAnswer(50)));
    world.send(B1, 12, &MetadataRequest::default());
    world.send(B1, 9, &produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["a"])));
    assert_eq!(world.cluster.end_offset(TOPIC, 0), Some(0), "it waits its turn");
    assert_eq!(world.take_bytes(B1), Err(crate::support::Lost::Silent));
    world.wait_ms(50);
    let correlations = [1, 2].map(|_| world.take_bytes(B1).expect("an answer")[..4].to_vec());
    assert_eq!(correlations, [[0, 0, 0, 1], [0, 0, 0, 2]]);
}
