//! Transaction versions: what a cluster does that is at another one than its client, what changes
//! while sessions run, and what happens when epochs are used up.

use kafka_protocol::messages::{ApiVersionsRequest, EndTxnRequest};
use tributary_cluster::{Kafka, Settings, TransactionVersion};

use crate::support::{B1, ID, Session, Speaks, TOPIC, World, batch, fetch_offset, text, values};

fn at(version: TransactionVersion) -> Settings {
    Settings { kafka: Kafka::V4_1_2(version), ..Settings::default() }
}

#[test]
fn a_request_of_version_2_wedges_the_id_on_a_cluster_of_version_0() {
    let by_produce: fn(&mut World, &mut Session) -> i16 =
        |world, session| session.produce(world, 0, &["a"]).0;
    let by_offset: fn(&mut World, &mut Session) -> i16 =
        |world, session| session.commit_offset(world, 1);
    let by_end: fn(&mut World, &mut Session) -> i16 = |world, session| session.end(world, false);
    for wedge in [by_produce, by_offset, by_end] {
        let mut world = World::new(at(TransactionVersion::V0));
        let mut session = Session::open(&mut world, ID, Speaks::V2);
        assert_eq!(wedge(&mut world, &mut session), 35);
        for _ in 0..3 {
            world.wait_ms(60_000);
            assert_eq!(session.init(&mut world, 1000).error_code, 51);
        }
        world.cluster.move_coordinator(ID, B1);
        let mut session = Session::open(&mut world, ID, Speaks::V0);
        session.transact(&mut world, &["b"], 1);
        assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["b"]);
    }
}

#[test]
fn version_1_accepts_requests_of_version_2() {
    let mut world = World::new(at(TransactionVersion::V1));
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    assert_eq!(session.producer.1, 1, "the epoch belongs to the next transaction");
    session.transact(&mut world, &["b"], 2);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "b"]);
}

#[test]
fn a_session_lives_through_an_upgrade() {
    let mut world = World::new(at(TransactionVersion::V0));
    let mut session = Session::open(&mut world, ID, Speaks::V0);
    session.register(&mut world);
    assert_eq!(session.produce(&mut world, 0, &["a"]).0, 0);
    world.cluster.set_kafka(Kafka::V4_1_2(TransactionVersion::V2));
    assert_eq!(session.commit_offset(&mut world, 1), 0);
    assert_eq!(session.end(&mut world, true), 0);
    session.speaks = Speaks::V2;
    session.transact(&mut world, &["b"], 2);
    session.speaks = Speaks::V0;
    world.cluster.set_kafka(Kafka::V4_1_2(TransactionVersion::V1));
    session.transact(&mut world, &["c"], 3);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "b", "c"]);
}

/// What real brokers do: the id comes back only at version 2, and with its coordinator reloaded.
#[test]
fn a_downgrade_to_0_under_a_session_of_version_2_wedges_its_id() {
    let mut world = World::new(at(TransactionVersion::V2));
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    world.cluster.set_kafka(Kafka::V4_1_2(TransactionVersion::V0));
    assert_eq!(session.produce(&mut world, 0, &["b"]).0, 35);
    assert_eq!(session.init(&mut world, 1000).error_code, 51);
    world.cluster.move_coordinator(ID, B1);
    assert_eq!(session.init(&mut world, 1000).error_code, 35);
    assert_eq!(session.init(&mut world, 1000).error_code, 51);
    world.cluster.set_kafka(Kafka::V4_1_2(TransactionVersion::V2));
    assert_eq!(session.init(&mut world, 1000).error_code, 51);
    world.cluster.move_coordinator(ID, B1);
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    assert_eq!(fetch_offset(&mut world, ID, true).1, 1);
    session.transact(&mut world, &["b"], 2);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "b"]);
}

#[test]
fn the_producer_id_is_replaced_when_version_2_has_used_up_its_epochs() {
    let mut world = World::new(Settings { epoch_max: 3, ..at(TransactionVersion::V2) });
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    let (first, _) = session.producer;
    let mut last = session.clone();
    for (index, value) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(session.producer, (first, i16::try_from(index).expect("small")));
        last = session.clone();
        session.transact(&mut world, &[value], 1);
    }
    assert_ne!(session.producer.0, first);
    assert_eq!(session.producer.1, 0);
    let again = last.end_as(&mut world, true);
    assert_eq!(again.error_code, 0, "a repeated end still knows the old id");
    assert_eq!((again.producer_id.0, again.producer_epoch), session.producer);
    assert_eq!(last.end_as(&mut world, false).error_code, 48);
    session.transact(&mut world, &["d"], 2);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "b", "c", "d"]);
}

#[test]
fn the_producer_id_is_replaced_when_sessions_have_used_up_its_epochs() {
    let mut world = World::new(Settings { epoch_max: 3, ..at(TransactionVersion::V0) });
    let producers: Vec<_> =
        (0..6).map(|_| Session::open(&mut world, ID, Speaks::V0).producer).collect();
    let (first, second) = (producers[0].0, producers[3].0);
    assert_ne!(first, second);
    let epochs = |id| [(id, 0), (id, 1), (id, 2)];
    assert_eq!(producers, [epochs(first), epochs(second)].concat());

    let last =
        Session { id: ID.to_owned(), speaks: Speaks::V0, producer: (second, 2), sequences: [0, 0] };
    let next = last.init_own(&mut world);
    assert_eq!((next.error_code, next.producer_epoch), (0, 0));
    let again = last.init_own(&mut world);
    assert_eq!((again.error_code, again.producer_id), (0, next.producer_id), "its answer was lost");
}

#[test]
fn the_epoch_of_a_last_marker_is_nobodys() {
    for speaks in [Speaks::V0, Speaks::V2] {
        let mut world = World::new(Settings::default());
        let mut session = Session::open(&mut world, ID, speaks);
        while session.producer.1 < i16::MAX - 1 {
            let answer = session.init(&mut world, 1000);
            session.adopt(answer.producer_id.0, answer.producer_epoch);
        }
        session.register(&mut world);
        assert_eq!(session.produce(&mut world, 0, &["a"]).0, 0);
        world.wait_ms(20_000);
        session.producer.1 = i16::MAX;
        session.sequences = [0, 0];
        assert_eq!(session.produce(&mut world, 0, &["b"]).0, 47);
        assert_eq!(session.add_partition(&mut world, 0), 90);
        assert_eq!(session.end_as(&mut world, false).error_code, 90);
        let next = Session::open(&mut world, ID, speaks);
        assert_eq!(next.producer.1, 0);
    }
}

/// KIP-360: a producer that knows its epoch gets the next one, and again the same one when it asks
/// again because the answer was lost.
#[test]
fn a_producer_that_knows_its_epoch_may_repeat_its_init() {
    for speaks in [Speaks::V0, Speaks::V2] {
        let mut world = World::new(at(TransactionVersion::V2));
        let session = Session::open(&mut world, ID, speaks);
        let next = session.init_own(&mut world);
        assert_eq!((next.error_code, next.producer_epoch), (0, session.producer.1 + 1));
        let again = session.init_own(&mut world);
        assert_eq!((again.error_code, again.producer_epoch), (0, next.producer_epoch));
        let other = Session { producer: (1, 0), ..session.clone() };
        assert_eq!(other.init_own(&mut world).error_code, 90);
    }
}

/// In version 2 the abort that a timeout brought is like one that the client asked for.
#[test]
fn only_version_2_goes_on_after_a_timeout() {
    for (speaks, error) in [(Speaks::V0, 90), (Speaks::V2, 0)] {
        let mut world = World::new(at(TransactionVersion::V2));
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        assert_eq!(session.produce(&mut world, 0, &["a"]).0, 0);
        world.wait_ms(70_000);
        assert_eq!(session.init_own(&mut world).error_code, error);
    }
}

/// The partition does not ask the coordinator while the very transaction is open there.
#[test]
fn a_late_batch_goes_into_the_transaction_whose_marker_is_not_written() {
    let mut world = World::new(Settings { marker_delay_ms: 20, ..at(TransactionVersion::V0) });
    let mut session = Session::open(&mut world, ID, Speaks::V0);
    session.transact(&mut world, &["a"], 1);
    assert_eq!(session.produce(&mut world, 0, &["late"]), (0, 1));
    world.wait_ms(20);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "late"]);
    assert_eq!(session.produce(&mut world, 0, &["later"]).0, 120);
}

#[test]
fn old_versions_are_told_an_older_word_for_fenced() {
    let mut world = World::new(at(TransactionVersion::V0));
    let old = Session::open(&mut world, ID, Speaks::V0);
    let new = Session::open(&mut world, ID, Speaks::V0);
    assert_ne!(old.producer, new.producer);
    let end = EndTxnRequest::default()
        .with_transactional_id(text(ID).into())
        .with_producer_id(old.producer.0.into())
        .with_producer_epoch(old.producer.1);
    assert_eq!(world.call(B1, 1, &end).error_code, 47);
    assert_eq!(world.call(B1, 2, &end).error_code, 90);
}

#[test]
fn version_2_holds_a_request_until_the_markers_are_written() {
    let settings = Settings { marker_delay_ms: 30, ..at(TransactionVersion::V2) };
    let mut world = World::new(settings.clone());
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    let before = world.now;
    assert_eq!(session.produce(&mut world, 0, &["b"]), (0, 2), "after the marker");
    assert_eq!(world.now.ms_since(before), 30);

    let mut world = World::new(Settings { concurrent_hold_ms: 10, ..settings.clone() });
    let mut session = Session::open(&mut world, ID, Speaks::V2);
    session.transact(&mut world, &["a"], 1);
    assert_eq!(session.produce(&mut world, 0, &["b"]).0, 51);
    assert_eq!(session.commit_offset(&mut world, 2), 51);
    let records = batch(session.stamp(0), &["b"]);
    assert_eq!(session.send_batch_as(&mut world, 11, (0, records)).0, 19, "older versions");
}

#[test]
fn the_first_batch_of_an_unknown_producer_begins_at_0_in_version_2() {
    for (speaks, error) in [(Speaks::V0, 0), (Speaks::V2, 45)] {
        let mut world = World::new(at(TransactionVersion::V2));
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        session.sequences[0] = 5;
        assert_eq!(session.produce(&mut world, 0, &["a"]).0, error);
    }
}

#[test]
fn clients_learn_the_finalized_level() {
    let kinds = [
        (Kafka::V3_9_2, 11, false, None),
        (Kafka::V4_1_2(TransactionVersion::V0), 12, true, None),
        (Kafka::V4_1_2(TransactionVersion::V1), 12, true, Some(1)),
        (Kafka::V4_1_2(TransactionVersion::V2), 12, true, Some(2)),
    ];
    for (kafka, produce_max, supported, level) in kinds {
        let mut world = World::new(Settings { kafka, ..Settings::default() });
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("script"))
            .with_client_software_version(text("1.0"));
        let answer = world.call(B1, 3, &request);
        assert_eq!(answer.error_code, 0);
        let produce = answer.api_keys.iter().find(|key| key.api_key == 0).expect("Produce");
        assert_eq!((produce.min_version, produce.max_version), (0, produce_max));
        assert_eq!(!answer.supported_features.is_empty(), supported);
        let finalized = answer.finalized_features.first();
        assert_eq!(finalized.map(|feature| feature.max_version_level), level);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut world = World::new(Settings::default());
    world.send_bytes(B1, &[0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 0, 0]);
    let answer = world.take_bytes(B1).expect("an answer");
    let expected = [
        &[0, 0, 0, 7][..],        // correlation
        &[0, 35],                 // unsupported version
        &[0, 0, 0, 1],            // one kind of request,
        &[0, 18, 0, 0, 0, 4][..], // and its versions
    ];
    assert_eq!(answer, expected.concat());
}

#[test]
fn other_unknown_requests_close_the_connection() {
    let mut world = World::new(Settings { kafka: Kafka::V3_9_2, ..Settings::default() });
    for (api, version) in [(0, 12), (26, 5), (11, 0), (1, 99), (999, 0)] {
        let [a, b] = i16::to_be_bytes(api);
        let [c, d] = i16::to_be_bytes(version);
        world.send_bytes(B1, &[0, 0, 0, 10, a, b, c, d, 0, 0, 0, 7, 0, 0]);
        assert_eq!(world.take_bytes(B1), Err(crate::support::Lost::Closed));
    }
}
