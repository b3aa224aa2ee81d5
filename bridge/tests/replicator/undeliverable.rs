//! Records that Kafka will never take: found inside of the transaction, kept, and left out of it.

use tributary_bridge::{Output, Partitioner, PushError, Record, Undeliverable};
use tributary_core::Offset;
use tributary_core::time::Timestamp;

use crate::broker::{Fault, World, push};
use crate::key::{PRODUCE, TXN_OFFSET_COMMIT};

const OF_ALL: [i16; 4] = [2, 10, 18, 87];

fn buried(world: &World) -> Vec<u64> {
    let of = |output: &Output| match output {
        Output::Bury(refused) => refused.iter().map(|one| one.offset.0).collect(),
        _ => Vec::new(),
    };
    world.told.iter().flat_map(of).collect()
}

/// The batches that were sent: `0 x3`, by their sequence in the transaction; and the other requests
/// of its end.
fn sent(world: &mut World) -> Vec<String> {
    let (mut first, mut all) = (None, Vec::new());
    for text in world.seen() {
        if let Some((_, batch)) = text.split_once(" seq ") {
            let (sequence, count) = batch.split_once(' ').expect("a count");
            let sequence: i32 = sequence.parse().expect("a number");
            let at = sequence - *first.get_or_insert(sequence);
            all.push(format!("{at} {count}"));
        } else if text.starts_with("TxnOffsetCommit") || text.starts_with("EndTxn") {
            all.push(text.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    all
}

#[test]
fn the_record_to_blame_is_found_and_the_others_are_taken_once() {
    for version in [0, 2] {
        for code in OF_ALL {
            let mut world = World::live(version);
            let again = usize::from(code == 2);
            world.fault(PRODUCE, vec![Fault::Code(code); 2 + again]);
            world.ship("hot", 1..5);
            assert_eq!(buried(&world), [1], "{code}");
            assert_eq!(world.committed(), Some(5));
            // The first record is the largest: it bears the evidence of the batch.
            let lone = ["0 x1"].repeat(1 + again);
            let parts = [&["0 x4", "TxnOffsetCommit"], lone.as_slice()].concat();
            let rest = ["0 x3", "TxnOffsetCommit", "EndTxn"];
            assert_eq!(sent(&mut world), [&parts, rest.as_slice()].concat(), "{code}");
            let (_, metadata) = world.broker.committed.clone().expect("a position");
            assert!(metadata.ends_with("n=5 buried"), "{metadata}");
            let counters = world.replicator.status().counters;
            assert_eq!((counters.records, counters.undeliverable), (3, 1));
            // The next one goes on where Kafka is.
            world.ship("hot", 5..7);
            assert_eq!(world.committed(), Some(7));
        }
    }
}

#[test]
fn records_that_the_broker_names_need_not_be_looked_for() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Blames(&[0, 2, 99])]);
    world.ship("hot", 1..5);
    let Some(Output::Bury(refused)) = world.told.iter().find(|o| matches!(o, Output::Bury(_)))
    else {
        panic!("{:?}", world.told)
    };
    let expected = Undeliverable {
        offset: Offset(1),
        route: 1,
        topic: "hot".into(),
        partition: 0,
        error: "INVALID_RECORD (87): no key".to_owned(),
    };
    assert_eq!((refused.len(), &refused[0]), (2, &expected));
    assert_eq!(world.committed(), Some(5));
    let sent = sent(&mut world);
    assert_eq!(sent, ["0 x4", "TxnOffsetCommit", "0 x2", "TxnOffsetCommit", "EndTxn"]);
}

/// What follows moves up by the records that were left out, not by the times that they were named.
#[test]
fn a_record_that_the_broker_names_twice_is_one() {
    let mut world = World::with(2, |settings| settings.batch.batch_bytes = 200);
    world.settle();
    world.ship("hot", 0..1);
    world.forget();
    world.fault(PRODUCE, [Fault::Blames(&[0, 2, 2]), Fault::Code(45)]);
    world.ship("hot", 1..9);
    assert_eq!((buried(&world), world.committed()), (vec![1, 3], Some(9)));
    let sent = sent(&mut world);
    let (first, again) = (["0 x5", "5 x3", "TxnOffsetCommit"], ["0 x3", "3 x3"]);
    let end = ["TxnOffsetCommit", "EndTxn"];
    assert_eq!(sent, [&first[..], &again, &end].concat());
}

/// A transaction passes it, alone or with others, under a claim as any record.
#[test]
fn a_record_that_no_batch_may_hold_is_kept_and_never_sent() {
    for version in [0, 2] {
        for alone in [false, true] {
            let mut world = World::live(version);
            let mut batch = world.replicator.begin_batch();
            let value = vec![b'x'; 900_000];
            let large = Record {
                topic: "hot",
                partition: Partitioner::Gateway,
                offset: Offset(2),
                route: 7,
                timestamp: Timestamp(1_700_000_000_000),
                key: None,
                value: &value,
                headers: &[],
            };
            if !alone {
                push(&mut batch, "hot", 1).expect("it has room");
            }
            assert_eq!(batch.push(&large), Err(PushError::TooLarge));
            batch.leave_out(&large);
            assert_eq!((batch.is_empty(), batch.len()), (false, 2 - usize::from(alone)));
            world.wanted = false;
            world.hand_in(batch, 3);
            let Some(Output::Bury(refused)) =
                world.told.iter().find(|output| matches!(output, Output::Bury(_)))
            else {
                panic!("{:?}", world.told)
            };
            let [Undeliverable { offset: Offset(2), route: 7, partition: 0, error, .. }] =
                refused.as_slice()
            else {
                panic!("{refused:?}")
            };
            assert!(error.starts_with("MESSAGE_TOO_LARGE (10): not sent"), "{error}");
            assert!(world.told.contains(&Output::Claim(Offset(3))), "{:?}", world.told);
            assert_eq!(world.committed(), Some(3));
            let counters = world.replicator.status().counters;
            assert_eq!((counters.records, counters.undeliverable), (1 - u64::from(alone), 1));
            let expected: &[&str] = if alone { &[] } else { &["0 x1"] };
            let end = ["TxnOffsetCommit", "TxnOffsetCommit", "EndTxn"];
            assert_eq!(sent(&mut world), [expected, &end].concat());
            world.ship("hot", 3..5);
            assert_eq!(world.committed(), Some(5));
        }
    }
}

#[test]
fn a_batch_that_is_too_large_as_a_whole_is_divided_and_nothing_is_left_out() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Code(10)]);
    world.ship("hot", 1..5);
    assert_eq!((buried(&world), world.committed()), (vec![], Some(5)));
}

#[test]
fn nothing_is_committed_before_what_is_left_out_is_kept() {
    for version in [0, 2] {
        let mut world = World::live(version);
        world.buries = false;
        world.fault(PRODUCE, [Fault::Code(87)]);
        world.ship("hot", 1..2);
        assert_eq!(buried(&world), [1]);
        assert!(!world.seen().iter().any(|text| text.starts_with("EndTxn")));
        world.bury();
        world.settle();
        let seen = world.seen();
        assert!(
            seen[0].starts_with("TxnOffsetCommit") && seen[1].starts_with("EndTxn"),
            "{seen:?}"
        );
        assert_eq!(world.committed(), Some(2), "a transaction of nothing but the position");
    }
}

#[test]
fn what_cannot_be_kept_is_an_alarm_and_nothing_is_committed() {
    let mut world = World::live(2);
    world.buries = false;
    world.fault(PRODUCE, [Fault::Code(87)]);
    world.ship("hot", 1..2);
    world.replicator.handle_buried(world.now, Err("the disk is full".to_owned()));
    assert!(world.back_off_ms() >= 30_000);
    assert_eq!(world.committed(), None);
    assert_eq!(world.replicator.status().last_error.as_deref(), Some("the disk is full"));
    // All of it is done again, and a late word about the old one does no harm.
    world.buries = true;
    world.pass_ms(60_000);
    world.bury();
    world.fault(PRODUCE, [Fault::Code(87)]);
    world.ship("hot", 1..2);
    assert_eq!(world.committed(), Some(2));
}

#[test]
fn a_refusal_of_the_position_leaves_no_record_out() {
    for code in OF_ALL {
        let mut world = World::live(2);
        world.fault(TXN_OFFSET_COMMIT, [Fault::Code(code)]);
        world.ship("hot", 1..5);
        assert_eq!((buried(&world), world.committed()), (vec![], None), "{code}");
        assert!(world.replicator.status().refused.is_some());
    }
}

/// Kafka refuses what is older or newer than its topic's settings say: it gets the time of sending.
#[test]
fn a_time_that_the_topic_does_not_take_is_replaced_by_that_of_sending() {
    for version in [0, 2] {
        let mut world = World::live(version);
        world.wall = Some(Timestamp(1_800_000_000_000));
        world.fault(PRODUCE, [Fault::Code(32)]);
        world.ship("hot", 1..4);
        assert_eq!((world.committed(), world.replicator.status().counters.restamped), (Some(4), 3));
        assert_eq!(sent(&mut world)[..3], ["0 x3", "TxnOffsetCommit", "0 x3"]);
        // From now on at once.
        world.ship("hot", 4..6);
        let produce = world.broker.seen.iter().find(|seen| seen.text.starts_with("Produce"));
        let body = produce.expect("a batch").body.clone();
        let time = 1_800_000_000_000_i64.to_be_bytes();
        assert!(body.windows(16).any(|at| at[..8] == time && at[8..] == time), "base and largest");
        assert_eq!(world.committed(), Some(6));
    }
}

#[test]
fn a_clock_that_is_wrong_waits_and_is_named() {
    let mut world = World::live(2);
    world.wall = Some(Timestamp(2_200_000_000_000));
    world.fault(PRODUCE, [Fault::Code(32), Fault::Code(32)]);
    world.ship("hot", 1..4);
    assert_eq!((world.committed(), buried(&world)), (None, vec![]));
    let refused = world.replicator.status().refused.clone().expect("a refusal");
    assert!(refused.error.starts_with("INVALID_TIMESTAMP (32): the clock of this"), "{refused}");
    assert!(world.back_off_ms() >= 30_000);
}
