//! What ends a session, how long the next one waits, and where it resumes.

use tributary_bridge::{Halt, Hint, Output, Position, Said, State, Talk as _};
use tributary_core::Offset;

use crate::broker::{Fault, World};
use crate::key::{
    ADD_OFFSETS, ADD_PARTITIONS, API_VERSIONS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID,
    OFFSET_FETCH, PRODUCE, TXN_OFFSET_COMMIT,
};

/// What is not answered is asked of Kafka, by a session that has fenced the one that asked.
#[test]
fn an_unanswered_commit_is_settled_by_a_new_session() {
    for version in [0, 2] {
        for (fault, resumed) in [(Fault::SilentSuccess, 3), (Fault::Silence, 0)] {
            let mut world = World::live(version);
            world.fault(END_TXN, [fault]);
            world.ship("hot", 0..3);
            assert_eq!(world.committed(), None);
            world.forget();
            // What was committed is claimed, and Kafka knows no position if it was not.
            world.local.hint.as_mut().unwrap().high = Offset(if resumed == 0 { 0 } else { 3 });
            world.pass_ms(20_000);
            assert_eq!(world.replicator.status().counters.sessions, 2);
            assert_eq!(world.resumed(), Some(resumed));
            let seen = world.seen();
            assert_eq!(seen[0], "ApiVersions v3");
            let init = seen.iter().position(|text| text.starts_with("InitProducerId"));
            let fetch = seen.iter().position(|text| text.starts_with("OffsetFetch"));
            assert!(init < fetch && init.is_some(), "{seen:?}");
            world.ship("hot", resumed..4);
            assert_eq!(world.committed(), Some(4));
        }
    }
}

#[test]
fn a_connection_lost_in_a_transaction_ends_the_session() {
    for version in [0, 2] {
        for api in [ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT, END_TXN] {
            if (version, api) == (2, ADD_PARTITIONS) {
                continue;
            }
            let mut world = World::live(version);
            world.fault(api, [Fault::Silence]);
            world.ship("hot", 0..3);
            world.cut();
            assert!(world.back_off_ms() <= 100, "{api}");
            assert_eq!(world.conns.len(), 0, "every connection is closed");
            world.pass_ms(100);
            assert_eq!(world.resumed(), Some(0));
            world.ship("hot", 0..3);
            assert_eq!(world.committed(), Some(3));
        }
    }
}

#[test]
fn a_changed_transaction_version_is_an_alarm_and_no_storm() {
    for api in [ADD_PARTITIONS, ADD_OFFSETS, PRODUCE, TXN_OFFSET_COMMIT, END_TXN] {
        let mut world = World::live(0);
        world.fault(api, [Fault::Code(35)]);
        world.ship("hot", 0..3);
        assert!(world.back_off_ms() >= 30_000, "{api}");
        let error = world.replicator.status().last_error.clone().unwrap();
        assert!(error.contains("transaction.version was changed"), "{error}");
        assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")) || api == END_TXN);
        // The new version is read before anything else is sent.
        world.broker.transaction_version = 2;
        world.pass_ms(60_000);
        world.ship("hot", 0..3);
        assert!(world.seen().contains(&"Produce v12 hot-0 epoch 2 seq 0 x3".to_owned()));
    }
}

#[test]
fn a_fenced_session_gives_way() {
    for (api, code) in [(PRODUCE, 47), (TXN_OFFSET_COMMIT, 47), (END_TXN, 47), (END_TXN, 90)] {
        let mut world = World::live(2);
        world.fault(api, [Fault::Code(code)]);
        world.ship("hot", 0..3);
        assert!((2500..=5000).contains(&world.back_off_ms()));
        assert_eq!(world.replicator.status().counters.fenced, 1);
        assert_eq!(world.committed(), None);
    }
}

#[test]
fn an_error_that_leaves_something_open_ends_the_session() {
    let cases = [
        (PRODUCE, [7, 20, 45, 48, 49, 120, -1].as_slice()),
        (TXN_OFFSET_COMMIT, &[49, 120, 22, 25]),
        (END_TXN, &[48, 49, 52, 59, 7]),
    ];
    for (api, codes) in cases {
        for code in codes {
            let mut world = World::live(2);
            world.fault(api, [Fault::Code(*code)]);
            world.ship("hot", 0..3);
            assert!(world.back_off_ms() <= 100, "{api} {code}");
            assert_eq!(world.conns.len(), 0);
            world.pass_ms(100);
            world.ship("hot", 0..3);
            assert_eq!(world.committed(), Some(3));
        }
    }
}

#[test]
fn what_kafka_refuses_waits_and_is_named() {
    for (code, name) in [
        (29, "TOPIC_AUTHORIZATION_FAILED (29)"),
        (32, "INVALID_TIMESTAMP (32)"),
        (76, "UNSUPPORTED_COMPRESSION_TYPE (76)"),
    ] {
        let mut world = World::live(2);
        world.fault(PRODUCE, [Fault::Code(code)]);
        world.ship("hot", 4..9);
        let refused = world.replicator.status().refused.clone().expect("a refusal");
        assert_eq!(refused.subject, "topic hot");
        assert_eq!((refused.partition, refused.offsets), (Some(0), Some((Offset(4), Offset(8)))));
        assert_eq!(refused.error, name);
        assert_eq!(
            refused.to_string(),
            format!("Kafka refuses topic hot-0, offsets 4 to 8: {name}")
        );
        // A topic is tried again soon at first.
        let least_ms = if code == 29 { 2_000 } else { 30_000 };
        assert!(world.back_off_ms() >= least_ms);
        world.pass_ms(60_000);
        assert!(world.replicator.status().refused.is_some(), "until it goes on");
        world.ship("hot", 4..9);
        assert_eq!(world.replicator.status().refused, None);
    }
}

/// Whoever reads its partitions would wait for its time-out.
#[test]
fn a_refused_transaction_is_aborted_before_the_long_wait() {
    for version in [0, 2] {
        let mut world = World::live(version);
        world.fault(PRODUCE, [Fault::Code(76)]);
        world.ship("hot", 0..3);
        assert_eq!(world.seen().last().map(String::as_str), Some("InitProducerId v4"));
        let waits_ms = world.back_off_ms();
        assert!(waits_ms >= 30_000);
        let changes = world.changes;
        world.pass_ms(waits_ms - 1);
        assert_eq!((world.seen(), world.changes), (vec![], changes), "it rests");
        world.pass_ms(1);
        assert_eq!(world.seen(), ["OffsetFetch v9"]);
        world.ship("hot", 0..3);
        assert_eq!(world.committed(), Some(3));
    }
}

#[test]
fn what_goes_wrong_after_a_refusal_makes_the_wait_no_shorter() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Code(76)]);
    world.fault(INIT_PRODUCER_ID, [Fault::Code(7)]);
    world.ship("hot", 0..3);
    assert!(world.back_off_ms() >= 30_000);
    world.down = vec![1, 2];
    world.tick();
    assert_eq!(world.replicator.status().state, State::Offline);
    world.down.clear();
    world.forget();
    world.pass_ms(1000);
    assert_eq!(world.seen().last().map(String::as_str), Some("InitProducerId v4"));
    assert!(world.back_off_ms() >= 29_000);
    world.pass_ms(60_000);
    assert_eq!(world.seen(), ["OffsetFetch v9"]);
}

#[test]
fn a_missing_right_to_the_identity_is_named() {
    let identity = "tributary.gw.0000000000001234.normal";
    for (api, code, subject) in [
        (FIND_COORDINATOR, 53, format!("transactional id {identity}")),
        (INIT_PRODUCER_ID, 53, format!("transactional id {identity}")),
        (OFFSET_FETCH, 30, format!("group {identity}")),
        (OFFSET_FETCH, 29, "topic tributary.positions".to_owned()),
    ] {
        let mut world = World::new(2);
        world.fault(api, [Fault::Code(code)]);
        world.settle();
        assert_eq!(world.replicator.status().refused.clone().unwrap().subject, subject);
        assert!(world.back_off_ms() >= 30_000);
    }
}

#[test]
fn coordinators_that_load_or_move_are_followed() {
    let mut world = World::new(2);
    // As on a fresh cluster, whose internal topics are made on first use.
    world.fault(FIND_COORDINATOR, [Fault::Code(15)]);
    world.fault(INIT_PRODUCER_ID, [14, 14, 51].map(Fault::Code));
    world.fault(OFFSET_FETCH, [Fault::Code(14), Fault::Code(16)]);
    world.settle();
    world.pass_ms(2000);
    assert_eq!(world.replicator.status().state, State::Live);
    assert_eq!(world.replicator.status().counters.sessions, 1);
    world.ship("hot", 0..1);
    world.forget();
    world.fault(TXN_OFFSET_COMMIT, [Fault::Code(16)]);
    world.fault(END_TXN, [Fault::Code(16)]);
    world.broker.coordinator = 2;
    world.ship("hot", 0..3);
    world.pass_ms(2000);
    assert_eq!(world.committed(), Some(3));
    let at_new =
        |name: &str| world.broker.seen.iter().any(|s| s.port == 2 && s.text.starts_with(name));
    assert!(at_new("TxnOffsetCommit") && at_new("EndTxn"));
    assert_eq!(world.replicator.status().counters.sessions, 1);
}

/// A pause that is over is no deadline, even if what comes next has to wait for something else.
#[test]
fn waiting_is_idle() {
    for (api, code) in [(TXN_OFFSET_COMMIT, 16), (END_TXN, 16), (PRODUCE, 6)] {
        let mut world = World::live(2);
        world.fault(api, [Fault::Code(code)]);
        world.fault(FIND_COORDINATOR, [Fault::Late]);
        world.broker.coordinator = 2;
        world.broker.topics.insert("hot".to_owned(), vec![2]);
        world.slow = vec![2];
        world.ship("hot", 0..3);
        // `tick` sees to it that no deadline stays.
        world.pass_ms(1000);
        world.release();
        world.pass_ms(1000);
        assert_eq!((world.committed(), world.opening.len()), (None, 1), "{api}");
        world.open();
        world.pass_ms(1000);
        assert_eq!(world.committed(), Some(3), "{api}");
    }
}

#[test]
fn a_transaction_that_outlives_its_time_out_ends_the_session() {
    let mut world = World::live(2);
    world.fault(END_TXN, (0..10_000).map(|_| Fault::Code(51)));
    world.ship("hot", 0..3);
    world.pass_ms(14_900);
    assert_eq!(world.replicator.status().counters.sessions, 1);
    assert!(world.replicator.status().counters.retries < 200, "no hammering");
    world.pass_ms(100);
    world.broker.faults.clear();
    let error = world.replicator.status().last_error.clone().unwrap();
    assert!(error.contains("the transaction up to 3 took longer"), "{error}");
    world.pass_ms(200);
    assert_eq!(world.resumed(), Some(0));
}

#[test]
fn an_unstable_position_is_waited_for_but_not_for_ever() {
    let mut world = World::new(2);
    world.fault(OFFSET_FETCH, (0..5).map(|_| Fault::Code(88)));
    world.settle();
    world.pass_ms(1000);
    assert_eq!(world.resumed(), Some(0));

    let mut world = World::new(2);
    world.fault(OFFSET_FETCH, (0..1000).map(|_| Fault::Code(88)));
    world.settle();
    world.pass_ms(44_000);
    assert_eq!(world.replicator.status().state, State::Starting);
    world.pass_ms(3_000);
    let state = world.replicator.status().state.clone();
    assert!(state == State::Halted(Halt::HangingTransaction));
    assert_eq!((world.conns.len(), world.replicator.poll_timeout()), (0, None));

    // It was waited for; what was decided is done at once, and Kafka is told first.
    world.local.overruled = Some(world.replicator.status().said.clone());
    let low = Position { offset: Offset(9), ..world.local.hint.clone().expect("one").low };
    world.local.hint = Some(Hint { low, high: Offset(9) });
    world.replicator.handle_decided(world.now);
    world.settle();
    assert_eq!(world.resumed(), Some(9));
    assert_eq!(world.broker.committed.clone().map(|(offset, _)| offset), Some(9));
}

#[test]
fn a_blocked_transactional_id_is_an_alarm() {
    let mut world = World::new(2);
    world.fault(INIT_PRODUCER_ID, (0..1000).map(|_| Fault::Code(51)));
    world.settle();
    world.pass_ms(46_000);
    let error = world.replicator.status().last_error.clone().unwrap();
    assert!(error.contains("the transactional id stays blocked"), "{error}");
    assert!(world.back_off_ms() >= 28_000);
}

#[test]
fn a_position_of_somebody_else_halts() {
    for (committed, words) in [
        ((5, "v1,00000bad,x"), "identity"),
        ((5, "something else"), "identity"),
        ((5, "v1,0000abcd,x"), "identity"),
    ] {
        let mut world = World::new(2);
        world.broker.committed = Some((committed.0, committed.1.to_owned()));
        world.settle();
        let State::Halted(halt) = world.replicator.status().state.clone() else {
            panic!("{:?}", world.replicator.status());
        };
        assert!(halt.to_string().starts_with(words), "{halt}");
        assert_eq!((world.conns.len(), world.replicator.poll_timeout()), (0, None));
    }
}

#[test]
fn a_halted_lane_goes_on_where_it_was_decided_and_kafka_is_told_first() {
    let mut world = World::new(2);
    world.broker.committed = Some((5, "something else".to_owned()));
    world.settle();
    let said = world.replicator.status().said.clone();
    assert_eq!(said, Said::Position(Offset(5), "something else".to_owned()));
    world.local.overruled = Some(said);
    let low = Position { offset: Offset(9), ..world.local.hint.clone().expect("one").low };
    world.local.hint = Some(Hint { low, high: Offset(9) });
    world.replicator.handle_decided(world.now);
    world.settle();
    assert_eq!(world.resumed(), Some(9));
    assert_eq!(world.broker.committed.clone().map(|(offset, _)| offset), Some(9));
    world.ship_new("hot", 9..11);
    assert_eq!(world.committed(), Some(11));
}

#[test]
fn the_account_comes_back_with_the_position() {
    let mut world = World::new(2);
    world.broker.committed = Some((7, "v1,0000abcd,a=1,b=2".to_owned()));
    world.local.hint.as_mut().unwrap().high = Offset(64);
    world.settle();
    let Some(Output::Resumed(position)) = world.told.first() else {
        panic!("{:?}", world.told);
    };
    assert_eq!((position.offset, position.account.as_str()), (Offset(7), "a=1,b=2"));
    world.ship_new("hot", 7..9);
    assert_eq!(world.told.len(), 2, "claimed up to 64 already: {:?}", world.told);
}

#[test]
fn bootstrap_brokers_take_turns() {
    let mut world = World::with(2, |settings| {
        settings.bootstrap = [4, 3, 1].map(|port| ("kafka".to_owned(), port)).to_vec();
    });
    world.down = vec![3, 4];
    world.settle();
    assert_eq!(world.replicator.status().state, State::Offline);
    world.tick();
    assert_eq!(world.changes, 2, "connecting and offline are told once");
    world.pass_ms(1000);
    assert_eq!(world.connects, [4, 3, 1]);
    assert_eq!(world.replicator.status().state, State::Live);
}

#[test]
fn a_cluster_is_found_again_by_brokers_that_were_seen() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Silence]);
    world.ship("hot", 0..1);
    world.down = vec![1];
    world.broker.coordinator = 2;
    world.broker.topics.insert("hot".to_owned(), vec![2]);
    world.cut();
    world.pass_ms(1000);
    assert_eq!(world.replicator.status().state, State::Live);
    world.ship("hot", 0..1);
    assert_eq!(world.committed(), Some(1));
}

#[test]
fn a_broker_that_never_answers_is_left() {
    let mut world = World::new(2);
    world.fault(API_VERSIONS, [Fault::Silence]);
    world.settle();
    world.pass_ms(15_100);
    assert_eq!(world.replicator.status().state, State::Live);
    let error = world.replicator.status().last_error.clone().unwrap();
    assert_eq!(error, "kafka:1 has not answered ApiVersions for 15000 ms");
}

#[test]
fn brokers_of_two_transaction_versions_are_not_mixed() {
    let mut world = World::live(2);
    world.broker.topics.insert("hot".to_owned(), vec![2]);
    world.fault(PRODUCE, [Fault::Code(6)]);
    world.ship("hot", 0..3);
    // The new leader does not know of the feature yet.
    world.broker.transaction_version = 0;
    world.pass_ms(60);
    let error = world.replicator.status().last_error.clone().unwrap();
    assert_eq!(error, "brokers disagree about transaction.version");
    assert!(!world.broker.seen.iter().any(|s| s.port == 2 && s.text.starts_with("Produce")));
}

/// A lane that is refused for longer than Kafka remembers its position has ended no transaction: when somebody puts it
/// right it goes on, and nobody has to decide anything.
#[test]
fn what_is_refused_for_longer_than_kafka_remembers_leaves_nothing_in_doubt() {
    for (version, refuses) in [(0, ADD_PARTITIONS), (2, PRODUCE)] {
        let mut world = World::live(version);
        for _ in 0..3 {
            world.fault(refuses, [Fault::Code(29)]);
            world.keep_hint();
            world.ship("hot", 1..3);
            world.keep_hint();
            assert!(world.replicator.status().refused.is_some());
            world.pass_ms(600_000);
        }
        world.keep_hint();
        world.fault(refuses, [Fault::Code(29)]);
        world.ship("hot", 1..3);
        world.keep_hint();
        world.broker.committed = None;
        world.pass_ms(600_000);
        assert_eq!(world.replicator.status().state, State::Live);
        world.ship("hot", 1..3);
        assert_eq!(world.committed(), Some(3));
    }
}

#[test]
fn behind_a_transaction_without_an_end_nothing_is_claimed_before_all_else_is_there() {
    for version in [0, 2] {
        let mut world = World::live(version);
        world.fault(PRODUCE, [Fault::Silence]);
        world.ship("hot", 1..3);
        assert_eq!(world.told, [Output::Claim(Offset(3))], "at once, as long as all is well");
        world.keep_hint();
        world.cut();
        world.pass_ms(1_000);
        world.keep_hint();
        world.fault(PRODUCE, [Fault::Late]);
        world.claims = false;
        world.ship("hot", 1..3);
        world.replicator.handle_claimed(world.now, Offset(1));
        world.settle();
        assert!(!world.told.contains(&Output::Claim(Offset(3))), "{:?}", world.told);
        world.release();
        assert!(world.told.contains(&Output::Claim(Offset(3))), "{:?}", world.told);
        assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")));
        world.replicator.handle_claimed(world.now, Offset(3));
        world.settle();
        assert_eq!(world.committed(), Some(3));
        world.claims = true;
        world.forget();
        world.fault(PRODUCE, [Fault::Late]);
        world.ship("hot", 3..4);
        assert_eq!(world.told, [Output::Claim(Offset(4))], "all is well again");
    }
}
