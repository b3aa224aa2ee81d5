//! Sessions against a scripted broker: what is sent, in which order, and what follows an answer.

use tributary_bridge::{ConnId, Output, State, Talk as _};
use tributary_core::Offset;

use crate::broker::{Fault, World};
use crate::key::{
    ADD_OFFSETS, ADD_PARTITIONS, END_TXN, INIT_PRODUCER_ID, OFFSET_FETCH, PRODUCE,
    TXN_OFFSET_COMMIT,
};

#[test]
fn a_session_of_transaction_version_2_sends_this_and_nothing_else() {
    let mut world = World::new(2);
    world.settle();
    assert_eq!(
        world.seen(),
        [
            "ApiVersions v3",
            "FindCoordinator v4 transaction",
            "FindCoordinator v4 group",
            "Metadata v12 tributary.positions",
            "InitProducerId v4",
            "OffsetFetch v9",
            // Kafka knew no position: it gets one before it gets a record.
            "TxnOffsetCommit v5 0 v1,0000abcd,",
            "EndTxn v5 epoch 1",
        ]
    );
    world.ship("hot", 0..3);
    assert_eq!(world.seen(), ["Metadata v12 hot tributary.positions"]);
    world.ship("hot", 0..3);
    assert_eq!(
        world.seen(),
        [
            "Produce v12 hot-0 epoch 2 seq 0 x3",
            "TxnOffsetCommit v5 3 v1,0000abcd,n=3",
            "EndTxn v5 epoch 2",
        ]
    );
    assert_eq!(world.committed(), Some(3));
    assert_eq!(world.broker.committed, Some((3, "v1,0000abcd,n=3".to_owned())));
}

#[test]
fn a_first_transaction_that_is_interrupted_leaves_nothing_in_doubt() {
    for version in [0, 2] {
        let mut world = World::live(version);
        world.fault(PRODUCE, [Fault::Silence]);
        world.ship("hot", 0..3);
        // The claim that the driver made durable for it.
        world.local.hint.as_mut().expect("a lane has a hint").high = Offset(3);
        world.cut();
        world.pass_ms(1000);
        world.ship("hot", 0..3);
        assert_eq!(world.committed(), Some(3));
    }
}

#[test]
fn a_session_below_transaction_version_2_registers_first_and_keeps_below_its_requests() {
    for version in [0, 1] {
        let mut world = World::live(version);
        world.ship("hot", 0..3);
        assert_eq!(
            world.seen(),
            [
                "AddPartitionsToTxn v3 hot-0",
                "AddOffsetsToTxn v3",
                "Produce v11 hot-0 epoch 1 seq 0 x3",
                "TxnOffsetCommit v4 3 v1,0000abcd,n=3",
                "EndTxn v4 epoch 1",
            ]
        );
        assert_eq!(world.replicator.status().transaction_version, Some(version));
    }
}

#[test]
fn an_old_broker_is_spoken_to_in_its_versions() {
    let mut world = World::new(0);
    let old =
        [(0, 8), (3, 9), (9, 7), (10, 2), (19, 5), (22, 3), (24, 1), (25, 1), (26, 1), (28, 3)];
    world.broker.offered.extend(old);
    world.settle();
    world.ship_new("hot", 0..1);
    assert_eq!(
        world.seen(),
        [
            "ApiVersions v3",
            "FindCoordinator v2 transaction",
            "FindCoordinator v2 group",
            "Metadata v9 tributary.positions",
            "InitProducerId v3",
            "OffsetFetch v7",
            "AddOffsetsToTxn v1",
            "TxnOffsetCommit v3 0 v1,0000abcd,",
            "EndTxn v1 epoch 1",
            "Metadata v9 hot tributary.positions",
            "AddPartitionsToTxn v1 hot-0",
            "AddOffsetsToTxn v1",
            "Produce v8 hot-0 epoch 1 seq 0 x1",
            "TxnOffsetCommit v3 1 v1,0000abcd,n=1",
            "EndTxn v1 epoch 1",
        ]
    );
}

#[test]
fn a_broker_that_cannot_keep_the_promise_is_refused_by_name() {
    let cases = [
        (OFFSET_FETCH, 6, "lacks OffsetFetch 7"),
        (TXN_OFFSET_COMMIT, 2, "lacks TxnOffsetCommit 3"),
        (INIT_PRODUCER_ID, -1, "lacks InitProducerId 3"),
    ];
    for (api, version, words) in cases {
        let mut world = World::new(0);
        world.broker.offered.insert(api, version);
        world.settle();
        let refused = world.replicator.status().refused.clone().expect("a refusal");
        assert!(refused.error.contains(words), "{refused}");
        assert!(world.back_off_ms() >= 30_000);
        assert_eq!(world.seen(), ["ApiVersions v3"]);
    }
}

#[test]
fn nothing_is_committed_before_every_answer_is_good() {
    for version in [0, 2] {
        for held in [PRODUCE, TXN_OFFSET_COMMIT] {
            let mut world = World::live(version);
            world.fault(held, [Fault::Late]);
            world.ship("hot", 0..3);
            assert!(!world.replicator.is_idle());
            assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")));
            world.release();
            assert!(world.seen().last().is_some_and(|text| text.starts_with("EndTxn")));
            assert_eq!(world.committed(), Some(3));
        }
    }
}

#[test]
fn nothing_is_committed_before_the_claim_that_covers_it_is_durable() {
    let mut world = World::live(2);
    world.claims = false;
    world.ship("hot", 0..3);
    assert_eq!(world.told, [Output::Claim(Offset(3))]);
    world.replicator.handle_claimed(world.now, Offset(2));
    world.settle();
    assert_eq!(world.told.last(), Some(&Output::Claim(Offset(3))), "asked for again");
    assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")));
    world.replicator.handle_claimed(world.now, Offset(50));
    world.settle();
    assert_eq!(world.committed(), Some(3));
    world.forget();
    world.ship("hot", 3..50);
    assert!(!world.told.contains(&Output::Claim(Offset(50))), "covered by the stride");
    world.forget();
    world.replicator.handle_claimed(world.now, Offset(50));
    world.ship("hot", 50..51);
    assert_eq!(world.told, [Output::Claim(Offset(51))]);
}

#[test]
fn concurrent_transactions_is_followed_by_the_same_bytes_after_five_milliseconds() {
    let cases = [
        (0, ADD_PARTITIONS),
        (0, ADD_OFFSETS),
        (2, PRODUCE),
        (2, TXN_OFFSET_COMMIT),
        (0, END_TXN),
        (2, END_TXN),
    ];
    for (version, api) in cases {
        let mut world = World::live(version);
        world.fault(api, [Fault::Code(51)]);
        world.ship("hot", 0..3);
        let key = kafka_protocol::messages::ApiKey::try_from(api).unwrap();
        let name = format!("{key:?} ");
        let first = world.broker.seen.iter().find(|seen| seen.text.starts_with(&name)).cloned();
        assert_eq!(world.committed(), None);
        world.forget();
        let before = world.now;
        world.tick();
        assert_eq!(world.now.ms_since(before), 5);
        let again = world.broker.seen.iter().find(|seen| seen.text.starts_with(&name)).cloned();
        assert_eq!(first, again);
        assert_eq!(world.committed(), Some(3), "{name}");
        assert_eq!(world.replicator.status().counters.sessions, 1);
    }
}

#[test]
fn batches_behind_a_postponed_one_are_sent_again_in_order() {
    let mut world = World::with(2, |settings| settings.batch.batch_bytes = 200);
    world.settle();
    world.ship("hot", 0..1);
    world.forget();
    // The first is postponed, so the others miss one before them.
    world.fault(PRODUCE, [51, 45, 45].map(Fault::Code));
    world.ship("hot", 0..14);
    let first = world.seen();
    let produced: Vec<&String> = first.iter().filter(|s| s.starts_with("Produce")).collect();
    assert!(produced.len() >= 3, "{first:?}");
    world.fault(PRODUCE, (3..produced.len()).map(|_| Fault::Code(0)));
    world.forget();
    world.tick();
    let again = world.seen();
    assert_eq!(again[..3], produced.iter().take(3).map(|s| (*s).clone()).collect::<Vec<_>>());
    assert_eq!(world.committed(), Some(14));
}

/// A broker that takes a batch although the one before it is missing has lost the order.
#[test]
fn a_batch_taken_out_of_order_ends_the_session() {
    let mut world = World::with(2, |settings| settings.batch.batch_bytes = 200);
    world.settle();
    world.ship("hot", 0..1);
    world.forget();
    world.fault(PRODUCE, [51, 0].map(Fault::Code));
    world.ship("hot", 0..8);
    let error = world.replicator.status().last_error.clone().unwrap();
    assert_eq!(error, "batches of hot were taken out of order");
    assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")));
    world.pass_ms(100);
    world.ship("hot", 0..8);
    assert_eq!(world.committed(), Some(8));
}

/// The partition may know as little of the next session's producer: then it happens again, unless
/// one batch waits for the other.
#[test]
fn a_topic_that_lost_the_order_gets_one_batch_at_a_time_until_some_are_taken() {
    let mut world = World::with(0, |settings| settings.batch.batch_bytes = 200);
    let requests = |world: &mut World| {
        let seen = world.seen();
        world.forget();
        seen.iter().filter(|text| text.starts_with("Produce")).count()
    };
    world.settle();
    world.ship("hot", 0..1);
    world.forget();
    world.fault(PRODUCE, [51, 0].map(Fault::Code));
    world.ship("hot", 0..8);
    assert!(requests(&mut world) >= 2);
    world.pass_ms(100);
    world.fault(PRODUCE, [51].map(Fault::Code));
    world.ship("hot", 0..8);
    assert_eq!(requests(&mut world), 1, "the others wait for the first");
    world.tick();
    assert_eq!(world.committed(), Some(8));
    world.forget();
    world.fault(PRODUCE, [Fault::Silence]);
    world.ship("hot", 8..16);
    assert!(requests(&mut world) >= 2, "now the partition knows the producer");
}

#[test]
fn sequences_begin_anew_under_a_new_epoch_and_go_on_under_the_old_one() {
    let mut world = World::live(2);
    world.ship("hot", 0..3);
    // The next transaction has another producer id altogether.
    world.broker.producer = (2000, -1);
    world.ship("hot", 3..5);
    world.ship("hot", 5..6);
    let produced: Vec<_> =
        world.seen().into_iter().filter(|text| text.starts_with("Produce")).collect();
    assert_eq!(
        produced,
        [
            "Produce v12 hot-0 epoch 2 seq 0 x3",
            "Produce v12 hot-0 epoch 3 seq 0 x2",
            "Produce v12 hot-0 epoch 0 seq 0 x1",
        ]
    );
    let mut world = World::live(0);
    world.ship("hot", 0..3);
    world.ship("hot", 3..5);
    let produced = world.seen().into_iter().rfind(|text| text.starts_with("Produce"));
    assert_eq!(produced.as_deref(), Some("Produce v11 hot-0 epoch 1 seq 3 x2"));
}

#[test]
fn a_batch_of_an_earlier_session_is_not_taken() {
    let mut world = World::live(2);
    let mut batch = world.replicator.begin_batch();
    crate::broker::push(&mut batch, "hot", 0).unwrap();
    world.fault(PRODUCE, [Fault::Silence]);
    world.ship("hot", 0..1);
    world.cut();
    world.pass_ms(1000);
    assert_eq!(world.replicator.status().state, State::Live);
    world.forget();
    world.hand_in(batch, 1);
    assert_eq!(world.seen(), [""; 0]);
    world.ship("hot", 0..1);
    assert_eq!(world.committed(), Some(1));
}

#[test]
fn brokers_that_close_idle_connections_are_forgiven() {
    let mut world = World::live(2);
    world.ship("hot", 0..3);
    world.forget();
    for conn in core::mem::take(&mut world.conns).into_keys() {
        world.replicator.handle_closed(world.now, conn, "idle");
    }
    world.settle();
    assert_eq!((world.connects.len(), world.replicator.poll_timeout()), (0, None), "all is quiet");
    world.ship("hot", 3..4);
    assert_eq!(world.committed(), Some(4));
    assert_eq!(world.replicator.status().counters.sessions, 1);
}

#[test]
fn a_stopped_replicator_closes_everything_and_stays_quiet() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Silence]);
    world.ship("hot", 0..3);
    world.replicator.stop();
    world.settle();
    assert_eq!(world.conns.len(), 0);
    assert_eq!(world.replicator.poll_timeout(), None);
    world.replicator.handle_connected(world.now, ConnId(1));
    world.replicator.handle_bytes(world.now, ConnId(1), b"late");
    world.replicator.handle_timeout(world.now.plus_ms(1_000_000));
    assert_eq!(world.replicator.poll_output(), None);
    assert_eq!(world.replicator.status().state, State::Offline);
}

#[test]
fn counters_count_what_was_committed() {
    let mut world = World::live(0);
    world.ship("hot", 0..3);
    world.ship("hot", 3..5);
    let counters = world.replicator.status().counters;
    assert_eq!((counters.transactions, counters.records, counters.sessions), (3, 5, 1));
    assert!(counters.bytes_sent > 500, "{counters:?}");
}
