//! Bad days: brokers that go, leaders and coordinators that move, requests and answers that are
//! lost, markers that never come.

use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, MetadataRequest};
use tributary_cluster::{BrokerId, Fault, FaultKind, FaultRates, Settings};

use crate::support::{
    B1, ID, Lost, Session, Speaks, Stamp, TOPIC, World, batch, fetch_offset, init_request,
    produce_request, text, values,
};

const B2: BrokerId = BrokerId(2);
const B3: BrokerId = BrokerId(3);

fn three_brokers() -> World {
    World::new(Settings { brokers: 3, ..Settings::default() })
}

fn find(world: &mut World, broker: BrokerId) -> (i16, i32) {
    let request =
        FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(ID)]);
    let answer = world.call(broker, 4, &request);
    (answer.coordinators[0].error_code, answer.coordinators[0].node_id.0)
}

#[test]
fn only_the_leader_takes_records_and_the_others_name_it() {
    let mut world = three_brokers();
    assert_eq!(world.cluster.leader(TOPIC, 0), Some(B1));
    assert_eq!(world.cluster.leader(TOPIC, 1), Some(B2));
    world.cluster.set_address(B2, "two", 92);
    let request = produce_request(None, (TOPIC, 1), batch(Stamp::PLAIN, &["a"]));
    let answer = world.call(B1, 10, &request);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.current_leader.leader_id.0), (6, 2));
    let named = &answer.node_endpoints[0];
    assert_eq!((named.node_id.0, named.host.as_str(), named.port), (2, "two", 92));
    assert_eq!(world.call(B2, 10, &request).responses[0].partition_responses[0].error_code, 0);

    world.cluster.move_leader(TOPIC, 1, B3).expect("it is up");
    assert_eq!(world.call(B2, 10, &request).responses[0].partition_responses[0].error_code, 6);
    assert_eq!(world.call(B3, 10, &request).responses[0].partition_responses[0].base_offset, 1);
    let answer = world.call(B1, 12, &MetadataRequest::default().with_topics(None));
    let topic = answer.topics.iter().find(|topic| topic.name == Some(text(TOPIC).into()));
    let partition = &topic.expect("it is listed").partitions[1];
    assert_eq!((partition.leader_id.0, partition.leader_epoch), (3, 1));
    assert_eq!(world.cluster.move_leader("missing", 0, B1).expect_err("3").code(), 3);
    assert_eq!(world.cluster.move_leader(TOPIC, 0, BrokerId(4)).expect_err("8").code(), 8);
}

#[test]
fn only_the_coordinator_answers_and_it_may_move() {
    let mut world = three_brokers();
    for broker in [B3, B2] {
        world.cluster.move_coordinator(ID, broker);
        assert_eq!(find(&mut world, B1), (0, broker.0));
        assert_eq!(world.call(B1, 4, &init_request(ID, 1000)).error_code, 16);
        assert_eq!(world.call(broker, 4, &init_request(ID, 1000)).error_code, 0);
    }
}

#[test]
fn what_a_stopped_broker_led_moves_to_the_next() {
    let mut world = three_brokers();
    world.cluster.move_coordinator(ID, B1);
    let request = produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["a"]));
    assert_eq!(world.call(B1, 9, &request).responses[0].partition_responses[0].error_code, 0);
    world.cluster.stop_broker(B1);
    assert_eq!(world.take_bytes(B1), Err(Lost::Closed));
    assert_eq!(world.cluster.connect(B1), None);
    assert_eq!(world.cluster.leader(TOPIC, 0), Some(B2));
    assert_ne!(find(&mut world, B2).1, 1);
    let answer = world.call(B2, 9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1, "the log went along");
    let brokers = world.call(B2, 12, &MetadataRequest::default()).brokers;
    assert_eq!(brokers.iter().map(|broker| broker.node_id.0).collect::<Vec<_>>(), [2, 3]);
    world.cluster.start_broker(B1);
    assert_eq!(find(&mut world, B1), (0, 1));
}

#[test]
fn a_cluster_without_brokers_waits() {
    let mut world = World::new(Settings::default());
    world.cluster.stop_broker(B1);
    assert_eq!((world.cluster.leader(TOPIC, 0), world.cluster.coordinator(ID)), (None, None));
    world.cluster.start_broker(B1);
    assert_eq!(
        (world.cluster.leader(TOPIC, 0), world.cluster.coordinator(ID)),
        (Some(B1), Some(B1))
    );
}

#[test]
fn markers_are_sent_again_after_a_restart() {
    let mut world = World::new(Settings { marker_delay_ms: 100, ..Settings::default() });
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    world.wait_ms(99);
    world.cluster.stop_broker(B1);
    assert_eq!(world.take_bytes(B1), Err(Lost::Closed));
    world.cluster.start_broker(B1);
    world.wait_ms(99);
    assert_eq!(fetch_offset(&mut world, ID, true).0, 88);
    world.wait_ms(1);
    assert_eq!(fetch_offset(&mut world, ID, true), (0, 1, "v1".to_owned()));
}

/// Whether an ordered fault applied the request, and what the client saw.
fn struck(kind: FaultKind) -> (bool, Result<i16, Lost>, World) {
    let mut world = World::new(Settings::default());
    world.cluster.inject(Fault { api: Some(ApiKey::Produce), after: 1, count: 1, kind });
    let request = produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["a"]));
    assert!(world.try_call(B1, 9, &request).is_ok(), "one passes first");
    assert!(world.try_call(B1, 12, &MetadataRequest::default()).is_ok(), "another kind");
    let answer = world.try_call(B1, 9, &request);
    let answer = answer.map(|answer| answer.responses[0].partition_responses[0].error_code);
    (world.cluster.end_offset(TOPIC, 0) == Some(2), answer, world)
}

#[test]
fn each_fault_does_what_it_says() {
    let cases = [
        (FaultKind::DropRequest, false, Lost::Silent),
        (FaultKind::DropAnswer, true, Lost::Silent),
        (FaultKind::CutBefore, false, Lost::Closed),
        (FaultKind::CutAfter, true, Lost::Closed),
    ];
    let request = produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["a"]));
    for (kind, applied, lost) in cases {
        let (was_applied, answer, mut world) = struck(kind);
        assert_eq!((was_applied, answer), (applied, Err(lost)), "{kind:?}");
        assert!(world.try_call(B1, 9, &request).is_ok(), "only one is struck");
    }
    for (kind, applied) in
        [(FaultKind::DelayRequest(10), false), (FaultKind::DelayAnswer(10), true)]
    {
        let (was_applied, answer, mut world) = struck(kind);
        assert_eq!((was_applied, answer), (applied, Err(Lost::Silent)), "{kind:?}");
        world.wait_ms(10);
        assert!(world.take_bytes(B1).is_ok());
        assert_eq!(world.cluster.end_offset(TOPIC, 0), Some(2));
    }
}

/// How many of 1 000 requests each random fault hits, by what the client sees.
fn storm(seed: u64) -> [usize; 3] {
    let mut world = World::new(Settings { seed, ..Settings::default() });
    world.cluster.set_fault_rates(FaultRates {
        drop_request: 500,
        drop_answer: 500,
        cut_before: 500,
        cut_after: 500,
        delay: 500,
        delay_ms_max: 20,
    });
    let mut counts = [0; 3];
    for _ in 0..1000 {
        let outcome = match world.try_call(B1, 12, &MetadataRequest::default()) {
            Ok(_) => 0,
            Err(Lost::Silent) => 1,
            Err(Lost::Closed) => 2,
        };
        counts[outcome] += 1;
        world.disconnect(B1);
    }
    counts
}

#[test]
fn random_faults_follow_the_seed_and_their_rates() {
    let counts = storm(1);
    assert_eq!(counts, storm(1));
    assert_ne!(counts, storm(2));
    let [answered, silent, closed] = counts;
    assert!((650..850).contains(&answered), "{counts:?}");
    assert!((100..200).contains(&silent), "{counts:?}");
    assert!((60..140).contains(&closed), "{counts:?}");
}

/// KAFKA-20734.
#[test]
fn a_lost_marker_hangs_its_partition_for_ever() {
    let mut world = World::new(Settings::default());
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    world.cluster.lose_group_marker(ID);
    session.transact(&mut world, &["a"], 1);
    world.wait_ms(3_600_000);
    assert_eq!(fetch_offset(&mut world, ID, true).0, 88);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a"]);

    let mut other = Session::open(&mut world, "other", Speaks::V2);
    world.cluster.lose_partition_marker(TOPIC, 0);
    other.transact(&mut world, &["b"], 1);
    let mut third = Session::open(&mut world, "third", Speaks::V2);
    third.transact(&mut world, &["c"], 1);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a"]);
    assert_eq!(values(&world.cluster.read_uncommitted(TOPIC, 0)), ["a", "b", "c"]);
}
