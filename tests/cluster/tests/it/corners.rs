//! What real brokers answered in the corners of the transaction protocol, row by row: Apache Kafka
//! 3.9.2 at transaction version 0, and 4.x at transaction version 2.

use kafka_protocol::messages::FindCoordinatorRequest;
use tributary_cluster::{Kafka, Settings, TransactionVersion};

use crate::support::{
    B1, ID, ORIGIN_MS, POSITIONS, Session, Speaks, Stamp, TOPIC, World, batch, commit_offset_as,
    fetch_offset, produce_request, text, values,
};

const BOTH: [Speaks; 2] = [Speaks::V0, Speaks::V2];

/// Markers take 20 ms, so that what comes between can be seen.
fn settings(speaks: Speaks) -> Settings {
    let kafka = match speaks {
        Speaks::V0 => Kafka::V3_9_2,
        Speaks::V2 => Kafka::V4_1_2(TransactionVersion::V2),
    };
    Settings { kafka, marker_delay_ms: 20, ..Settings::default() }
}

fn world(speaks: Speaks) -> World {
    World::new(settings(speaks))
}

/// A session with an open transaction: one record in partition 0, position 7.
fn open_transaction(world: &mut World, speaks: Speaks) -> Session {
    let mut session = Session::open(world, ID, speaks);
    session.register(world);
    assert_eq!(session.produce(world, 0, &["a"]), (0, 0));
    assert_eq!(session.commit_offset(world, 7), 0);
    session
}

#[test]
fn a_fresh_cluster_refuses_the_first_find_coordinator_and_init_producer_id() {
    for speaks in BOTH {
        let mut world = World::new(Settings { cold_start: true, ..settings(speaks) });
        for key_type in [0, 1] {
            let request = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![text(ID)]);
            assert_eq!(world.call(B1, 4, &request).coordinators[0].error_code, 15);
            assert_eq!(world.call(B1, 4, &request).coordinators[0].error_code, 0);
        }
        let init = crate::support::init_request(ID, 1000);
        assert_eq!(world.call(B1, 4, &init).error_code, 14);
        assert_eq!(world.call(B1, 4, &init).error_code, 0);
    }
}

#[test]
fn a_batch_sent_again_is_recognised() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        let again = batch(session.stamp(0), &["a", "b"]);
        assert_eq!(session.produce(&mut world, 0, &["a", "b"]), (0, 0));
        assert_eq!(session.produce(&mut world, 0, &["c"]), (0, 2));
        assert_eq!(session.send_batch(&mut world, 0, again), (0, 0));
        assert_eq!(world.cluster.end_offset(TOPIC, 0), Some(3));
    }
}

#[test]
fn the_last_five_batches_are_remembered() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        let mut batches = Vec::new();
        for value in ["a", "b", "c", "d", "e", "f"] {
            batches.push(batch(session.stamp(0), &[value]));
            assert_eq!(session.produce(&mut world, 0, &[value]).0, 0);
        }
        let again: Vec<_> =
            batches.into_iter().map(|batch| session.send_batch(&mut world, 0, batch)).collect();
        assert_eq!(again, [(45, -1), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    }
}

#[test]
fn sequences_have_no_gap_and_begin_at_0_in_a_new_epoch() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut session = open_transaction(&mut world, speaks);
        session.sequences[0] = 2;
        assert_eq!(session.produce(&mut world, 0, &["b"]).0, 45);
        session.sequences[0] = 1;
        assert_eq!(session.produce(&mut world, 0, &["b"]).0, 0, "nothing is poisoned");

        let mut next = Session::open(&mut world, ID, speaks);
        next.register(&mut world);
        next.sequences[0] = 1;
        assert_eq!(next.produce(&mut world, 0, &["c"]).0, 45);
        next.sequences[0] = 0;
        assert_eq!(next.produce(&mut world, 0, &["c"]).0, 0);
    }
}

#[test]
fn positions_are_unstable_while_a_transaction_is_open_and_until_its_markers_are_written() {
    for speaks in BOTH {
        let mut world = world(speaks);
        assert_eq!(fetch_offset(&mut world, ID, true), (0, -1, String::new()));
        let mut session = open_transaction(&mut world, speaks);
        assert_eq!(fetch_offset(&mut world, ID, true).0, 88);
        assert_eq!(fetch_offset(&mut world, ID, false), (0, -1, String::new()));
        assert_eq!(session.end(&mut world, true), 0);
        assert_eq!(fetch_offset(&mut world, ID, true).0, 88);
        world.wait_ms(20);
        assert_eq!(fetch_offset(&mut world, ID, true), (0, 7, "v1".to_owned()));
    }
}

#[test]
fn a_repeated_end_is_answered_51_until_the_markers_are_written_then_0() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let session = open_transaction(&mut world, speaks);
        let first = session.end_as(&mut world, true);
        assert_eq!(first.error_code, 0);
        assert_eq!(session.end_as(&mut world, true).error_code, 51);
        world.wait_ms(20);
        let again = session.end_as(&mut world, true);
        assert_eq!(again.error_code, 0);
        assert_eq!(
            (again.producer_id, again.producer_epoch),
            (first.producer_id, first.producer_epoch)
        );
        assert_eq!(session.end_as(&mut world, false).error_code, 48, "abort after commit");
    }
}

#[test]
fn nothing_can_be_committed_with_nothing_in_it() {
    for (speaks, abort) in [(Speaks::V0, 48), (Speaks::V2, 0)] {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        let (_, epoch) = session.producer;
        assert_eq!(session.end(&mut world, true), 48);
        assert_eq!(session.end(&mut world, false), abort);
        assert_eq!(session.producer.1, epoch + i16::from(abort == 0), "an abort bumps the epoch");
    }
}

#[test]
fn a_new_session_fences_the_old_one() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut old = open_transaction(&mut world, speaks);
        assert_eq!(old.init(&mut world, 60_000).error_code, 51);
        world.wait_ms(20);
        let new = old.init(&mut world, 60_000);
        assert_eq!((new.error_code, new.producer_epoch), (0, old.producer.1 + 2));

        assert_eq!(old.produce(&mut world, 0, &["late"]).0, 47);
        assert_eq!(old.commit_offset(&mut world, 8), 47);
        assert_eq!(old.end_as(&mut world, true).error_code, 90);
        assert_eq!(old.add_partition(&mut world, 0), 90);
        assert_eq!(old.init_own(&mut world).error_code, 90);
        assert!(world.cluster.read_committed(TOPIC, 0).is_empty());
        assert_eq!(values(&world.cluster.read_uncommitted(TOPIC, 0)), ["a"]);
    }
}

#[test]
fn versions_that_do_not_register_need_to() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let session = Session::open(&mut world, ID, speaks);
        let records = batch(session.stamp(0), &["a"]);
        assert_eq!(session.send_batch_as(&mut world, 11, (0, records)).0, 120);
        let request = session.commit_request((POSITIONS, 0), 1);
        assert_eq!(commit_offset_as(&mut world, 4, &request), 120);
    }
}

#[test]
fn a_session_of_version_0_works_on_a_cluster_of_version_2() {
    let mut world = world(Speaks::V2);
    let mut session = Session::open(&mut world, ID, Speaks::V0);
    session.transact(&mut world, &["a"], 1);
    session.transact(&mut world, &["b"], 2);
    world.wait_ms(20);
    assert_eq!(values(&world.cluster.read_committed(TOPIC, 0)), ["a", "b"]);
    assert_eq!(fetch_offset(&mut world, ID, true).1, 2);
}

#[test]
fn offsets_are_judged_by_topic_and_member_alone() {
    for (speaks, stale) in [(Speaks::V0, 25), (Speaks::V2, 22)] {
        let mut world = world(speaks);
        let session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        let version = if speaks == Speaks::V0 { 4 } else { 5 };
        let mut commit = |request| commit_offset_as(&mut world, version, &request);
        let request = session.commit_request((POSITIONS, 0), 1);
        assert_eq!(commit(session.commit_request(("missing", 0), 1)), 3);
        assert_eq!(commit(session.commit_request((POSITIONS, 1), 1)), 3);
        assert_eq!(commit(request.clone().with_generation_id(0)), stale);
        let member = request.clone().with_generation_id(5).with_member_id(text("x"));
        assert_eq!(commit(member), 25);
        assert_eq!(commit(session.commit_request((POSITIONS, 0), -1)), 0, "accepted silently");
        assert_eq!(commit(request), 0);
    }
}

#[test]
fn the_timeout_of_a_transaction_has_a_limit() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let session = Session::open(&mut world, ID, speaks);
        for (timeout_ms, error) in [(900_001, 50), (0, 50), (-1, 50), (900_000, 0)] {
            assert_eq!(session.init(&mut world, timeout_ms).error_code, error);
        }
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_at_the_next_sweep() {
    for (speaks, end) in [(Speaks::V0, 90), (Speaks::V2, 48)] {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        let answer = session.init(&mut world, 1000);
        session.adopt(answer.producer_id.0, answer.producer_epoch);
        session.register(&mut world);
        assert_eq!(session.produce(&mut world, 0, &["a"]).0, 0);
        world.wait_ms(9_000);
        assert_eq!(session.produce(&mut world, 0, &["b"]).0, 0, "swept every 10 s");
        assert!(world.cluster.poll_timeout().is_some_and(|at| at.0 == 10_000));
        world.wait_ms(1_000);
        world.wait_ms(20);
        assert_eq!(session.produce(&mut world, 0, &["c"]).0, 47);
        assert_eq!(session.end(&mut world, true), end);
        assert!(world.cluster.read_committed(TOPIC, 0).is_empty());
    }
}

#[test]
fn an_idle_transactional_id_is_forgotten_and_its_position_is_not() {
    for speaks in BOTH {
        let mut world =
            World::new(Settings { transactional_id_expiration_ms: 60_000, ..settings(speaks) });
        let mut session = Session::open(&mut world, ID, speaks);
        session.transact(&mut world, &["a"], 1);
        world.wait_ms(60_000);
        assert_eq!(session.produce(&mut world, 0, &["b"]).0, 49);
        assert_eq!(session.commit_offset(&mut world, 2), 49);
        assert_eq!(fetch_offset(&mut world, ID, true).1, 1);
        let next = Session::open(&mut world, ID, speaks);
        assert_ne!(next.producer.0, session.producer.0);
        assert_eq!(next.producer.1, 0);
    }
}

#[test]
fn bad_batches_are_refused_and_poison_nothing() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        let good = batch(session.stamp(0), &["a"]);
        let mut crc = good.to_vec();
        crc[20] ^= 1;
        assert_eq!(session.send_batch(&mut world, 0, crc.into()).0, 2);
        let count = recounted(&good, 2);
        assert_eq!(session.send_batch(&mut world, 0, count).0, 87);
        let rest = recounted(&batch(session.stamp(0), &["a", "b"]), 1);
        assert_eq!(session.send_batch(&mut world, 0, rest).0, 87);
        let twice = [&good[..], &good[..]].concat();
        assert_eq!(session.send_batch(&mut world, 0, twice.into()).0, 87);
        let large = "x".repeat(1_048_588);
        assert_eq!(session.produce(&mut world, 0, &[&large]).0, 10);
        let ahead = Stamp { time_ms: ORIGIN_MS + 3_700_000, ..session.stamp(0) };
        assert_eq!(session.send_batch(&mut world, 0, batch(ahead, &["a"])).0, 32);
        let unknown = Stamp { producer: (999_999, 0), ..session.stamp(1) };
        let version = if speaks == Speaks::V0 { 11 } else { 12 };
        let unknown = (1, batch(unknown, &["a"]));
        assert_eq!(session.send_batch_as(&mut world, version, unknown).0, 49);
        let missing = produce_request(Some(ID), ("missing", 0), good.clone());
        let answer = world.call(B1, version, &missing);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 3);

        assert_eq!(session.send_batch(&mut world, 0, good), (0, 0));
        assert_eq!(session.end(&mut world, true), 0);
    }
}

#[test]
fn a_partition_itself_refuses_an_older_epoch_and_a_stranger_in_a_transaction() {
    for speaks in BOTH {
        let mut world = world(speaks);
        let mut session = Session::open(&mut world, ID, speaks);
        session.register(&mut world);
        assert_eq!(session.produce(&mut world, 0, &["a"]).0, 0);
        let mut plain = |producer, sequence| {
            let stamp = Stamp { producer, sequence, ..Stamp::PLAIN };
            let request = produce_request(None, (TOPIC, 0), batch(stamp, &["p"]));
            world.call(B1, 9, &request).responses[0].partition_responses[0].error_code
        };
        let (id, epoch) = session.producer;
        assert_eq!(plain((id, epoch), 1), 48);
        assert_eq!(plain((5000, 1), 0), 0);
        assert_eq!(plain((5000, 0), 0), 47);
        assert_eq!(plain((5000, 2), 1), 45);
        assert_eq!(plain((5000, 2), 0), 0);
    }
}

/// The batch with another record count in its header, and a matching last offset and CRC.
fn recounted(batch: &[u8], count: u8) -> bytes::Bytes {
    let mut bytes = batch.to_vec();
    bytes[26] = count - 1;
    bytes[60] = count;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
