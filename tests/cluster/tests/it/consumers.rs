//! What consumers see, over the wire and through the direct readers.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, OffsetCommitRequest};
use kafka_protocol::records::RecordBatchDecoder;
use tributary_cluster::{Position, Settings, TopicSettings};

use crate::support::{
    B1, ID, Lost, ORIGIN_MS, POSITIONS, Session, Speaks, Stamp, TOPIC, World, batch, fetch_offset,
    produce_request, text, values,
};

const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;

fn fetch_request(offset: i64, isolation: i8) -> FetchRequest {
    let partition =
        FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic =
        FetchTopic::default().with_topic(text(TOPIC).into()).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_isolation_level(isolation)
        .with_topics(vec![topic])
}

fn fetch(world: &mut World, offset: i64, isolation: i8) -> PartitionData {
    let answer = world.call(B1, 12, &fetch_request(offset, isolation));
    answer.responses[0].partitions[0].clone()
}

/// The values of a consumer that follows the list of aborted transactions, by the codec's decoder.
fn consume(world: &mut World, isolation: i8) -> Vec<String> {
    let data = fetch(world, 0, isolation);
    let mut aborted = data.aborted_transactions.clone().unwrap_or_default();
    let mut records = data.records.expect("never null");
    let sets = RecordBatchDecoder::decode_all(&mut records).expect("sound batches");
    let mut skipping = Vec::new();
    let mut values = Vec::new();
    for record in sets.iter().flat_map(|set| &set.records) {
        aborted.retain(|next| {
            let begins = next.first_offset <= record.offset;
            if begins {
                skipping.push(next.producer_id.0);
            }
            !begins
        });
        if record.control {
            skipping.retain(|id| *id != record.producer_id);
        } else if !skipping.contains(&record.producer_id) {
            let value = record.value.clone().expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    values
}

fn plain(world: &mut World, value: &str) {
    let request = produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &[value]));
    let answer = world.call(B1, 9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn read_committed_sees_what_is_decided_and_committed() {
    for speaks in [Speaks::V0, Speaks::V2] {
        let mut world = World::new(Settings::default());
        let mut one = Session::open(&mut world, "one", speaks);
        let mut two = Session::open(&mut world, "two", speaks);
        one.register(&mut world);
        two.register(&mut world);
        assert_eq!(one.produce(&mut world, 0, &["a1", "a2"]), (0, 0));
        assert_eq!(two.produce(&mut world, 0, &["b1"]), (0, 2));
        plain(&mut world, "c");
        assert_eq!(one.end(&mut world, false), 0);
        assert_eq!(two.produce(&mut world, 0, &["b2"]), (0, 5));
        one.register(&mut world);
        assert_eq!(one.produce(&mut world, 0, &["a3"]), (0, 6));
        assert_eq!(one.end(&mut world, true), 0);

        assert_eq!(world.cluster.stable_offset(TOPIC, 0), Some(2), "two is undecided");
        assert!(world.cluster.read_committed(TOPIC, 0).is_empty());
        assert!(consume(&mut world, COMMITTED).is_empty());
        let all = ["a1", "a2", "b1", "c", "b2", "a3"];
        assert_eq!(values(&world.cluster.read_uncommitted(TOPIC, 0)), all);
        assert_eq!(consume(&mut world, UNCOMMITTED), all);

        assert_eq!(two.end(&mut world, true), 0);
        let committed = ["b1", "c", "b2", "a3"];
        assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), committed);
        assert_eq!(consume(&mut world, COMMITTED), committed);
        let data = fetch(&mut world, 0, COMMITTED);
        assert_eq!((data.high_watermark, data.last_stable_offset), (9, 9));
        assert_eq!(data.aborted_transactions.expect("asked for").len(), 1);
        assert_eq!(fetch(&mut world, 5, COMMITTED).aborted_transactions, Some(Vec::new()));
        assert_eq!(fetch(&mut world, 0, UNCOMMITTED).aborted_transactions, None);
    }
}

#[test]
fn records_come_as_they_were_produced() {
    let mut world = World::new(Settings::default());
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a", "b"], 1);
    let records = world.cluster.read_committed(TOPIC, 0);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(records[1].timestamp.0, ORIGIN_MS + 1);
    assert_eq!(records[1].key, None);
    assert_eq!(records[1].headers, [("h".into(), Some("1".into()))]);
}

#[test]
fn fetch_waits_for_bytes_and_not_for_ever() {
    let mut world = World::new(Settings::default());
    let request = fetch_request(0, COMMITTED).with_max_wait_ms(500);
    assert_eq!(world.try_call(B1, 12, &request), Err(Lost::Silent));
    world.wait_ms(499);
    assert_eq!(world.take_bytes(B1), Err(Lost::Silent));
    world.wait_ms(1);
    assert!(world.take_bytes(B1).is_ok());

    world.send(B1, 12, &request);
    let other = world.cluster.connect(B1).expect("it is up");
    let produce = produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["a"]));
    let frame = crate::support::frame(1, 9, &produce);
    world.cluster.handle_bytes(world.now, other, &frame);
    let mut answered = Vec::new();
    while let Some(tributary_cluster::Output::Bytes { conn, .. }) = world.cluster.poll_output() {
        answered.push(conn);
    }
    assert_eq!(answered.len(), 2, "the produce, and the fetch that waited for it");
}

#[test]
fn fetch_says_where_there_is_nothing_to_read() {
    let mut world = World::new(Settings::default());
    plain(&mut world, "a");
    plain(&mut world, "b");
    world.cluster.trim(TOPIC, 0, 1).expect("it exists");
    for (offset, error) in [(0, 1), (1, 0), (2, 0), (3, 1), (-1, 1)] {
        assert_eq!(fetch(&mut world, offset, UNCOMMITTED).error_code, error, "offset {offset}");
    }
    let mut request = fetch_request(1, UNCOMMITTED);
    for (epoch, error) in [(0, 0), (1, 75), (-1, 0)] {
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let answer = world.call(B1, 12, &request);
        assert_eq!(answer.responses[0].partitions[0].error_code, error);
    }
    world.cluster.stop_broker(B1);
    world.cluster.start_broker(B1);
    assert_eq!(world.take_bytes(B1), Err(Lost::Closed));
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let answer = world.call(B1, 12, &request);
    assert_eq!(answer.responses[0].partitions[0].error_code, 74);
    let request = fetch_request(1, UNCOMMITTED).with_session_id(5);
    assert_eq!(world.call(B1, 12, &request).error_code, 70);
}

#[test]
fn fetch_gives_whole_batches_within_its_limits() {
    let mut world = World::new(Settings::default());
    for value in ["a", "b", "c"] {
        plain(&mut world, value);
    }
    let one = batch(Stamp::PLAIN, &["a"]).len();
    let sizes = [(1, one), (2 * one, 2 * one), (3 * one - 1, 2 * one), (3 * one, 3 * one)];
    for (limit, given) in sizes {
        let mut request = fetch_request(0, UNCOMMITTED);
        request.topics[0].partitions[0].partition_max_bytes = i32::try_from(limit).expect("small");
        let answer = world.call(B1, 12, &request);
        let records = answer.responses[0].partitions[0].records.as_ref().expect("never null");
        assert_eq!(records.len(), given);
    }
}

#[test]
fn offsets_are_found_by_time_and_place() {
    let mut world = World::new(Settings::default());
    for (value, ms) in [("a", 10), ("b", 30), ("c", 20)] {
        let stamp = Stamp { time_ms: ORIGIN_MS + ms, ..Stamp::PLAIN };
        world.call(B1, 9, &produce_request(None, (TOPIC, 0), batch(stamp, &[value])));
    }
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    assert_eq!(session.produce(&mut world, 0, &["open"]), (0, 3));
    let cases = [
        (-1, UNCOMMITTED, (4, -1)),
        (-1, COMMITTED, (3, -1)),
        (-2, COMMITTED, (0, -1)),
        (-3, COMMITTED, (1, ORIGIN_MS + 30)),
        (ORIGIN_MS + 10, COMMITTED, (0, ORIGIN_MS + 10)),
        (ORIGIN_MS + 11, COMMITTED, (1, ORIGIN_MS + 30)),
        (ORIGIN_MS + 31, COMMITTED, (-1, -1)),
    ];
    for (time, isolation, expected) in cases {
        let partition = ListOffsetsPartition::default().with_timestamp(time);
        let topic = ListOffsetsTopic::default()
            .with_name(text(TOPIC).into())
            .with_partitions(vec![partition.with_current_leader_epoch(-1)]);
        let request =
            ListOffsetsRequest::default().with_isolation_level(isolation).with_topics(vec![topic]);
        let answer = world.call(B1, 7, &request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset, found.timestamp), (0, expected.0, expected.1));
    }
}

#[test]
fn an_expired_position_looks_like_none() {
    let mut world = World::new(Settings { offsets_retention_ms: 60_000, ..Settings::default() });
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    world.wait_ms(59_999);
    let position = Position { offset: 1, metadata: "v1".to_owned() };
    assert_eq!(world.cluster.committed_position(ID, POSITIONS, 0), Some(position));
    assert_eq!(fetch_offset(&mut world, ID, true).1, 1);
    assert_eq!(session.commit_offset(&mut world, 2), 0);
    world.wait_ms(1);
    assert_eq!(fetch_offset(&mut world, ID, false).1, 1, "kept while it may be changed");
    assert_eq!(session.end(&mut world, false), 0);
    assert_eq!(world.cluster.committed_position(ID, POSITIONS, 0), None);
    assert_eq!(fetch_offset(&mut world, ID, true), (0, -1, String::new()));
}

#[test]
fn an_aborted_position_changes_nothing() {
    for speaks in [Speaks::V0, Speaks::V2] {
        let mut world = World::new(Settings::default());
        let mut session = Session::open(&mut world, ID, speaks);
        session.transact(&mut world, &["a"], 1);
        session.register(&mut world);
        assert_eq!(session.commit_offset(&mut world, 2), 0);
        assert_eq!(session.end(&mut world, false), 0);
        assert_eq!(fetch_offset(&mut world, ID, true).1, 1);
    }
}

#[test]
fn a_consumer_without_a_group_membership_may_commit() {
    let mut world = World::new(Settings::default());
    let commit = |generation, member: &str, metadata: &str| {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(5)
            .with_committed_metadata(Some(text(metadata)));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text(POSITIONS).into())
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(text(ID).into())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(member))
            .with_topics(vec![topic])
    };
    let mut answer = |request: OffsetCommitRequest| {
        world.call(B1, 8, &request).topics[0].partitions[0].error_code
    };
    assert_eq!(answer(commit(3, "", "")), 22);
    assert_eq!(answer(commit(3, "member", "")), 25);
    assert_eq!(answer(commit(-1, "", &"x".repeat(4097))), 12);
    assert_eq!(answer(commit(-1, "", "m")), 0);
    assert_eq!(fetch_offset(&mut world, ID, true), (0, 5, "m".to_owned()));
    world.cluster.forget_group(ID);
    assert_eq!(fetch_offset(&mut world, ID, true).1, -1);
}

#[test]
fn a_deleted_topic_keeps_its_positions() {
    let mut world = World::new(Settings::default());
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    assert_eq!(session.produce(&mut world, 0, &["b"]).0, 0);
    world.cluster.delete_topic(TOPIC).expect("it exists");
    world.cluster.create_topic(TOPIC, TopicSettings::default()).expect("it is gone");
    assert_eq!(session.end(&mut world, true), 0, "markers of what is gone go nowhere");
    assert_eq!(fetch_offset(&mut world, ID, true).1, 1);
}
