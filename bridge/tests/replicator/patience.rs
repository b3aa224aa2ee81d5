//! What the link does not carry in the usual time, and cannot be made smaller.

use tributary_bridge::{Partitioner, Record, State};
use tributary_core::Offset;
use tributary_core::time::Timestamp;

use crate::broker::{Fault, World};
use crate::key::{INIT_PRODUCER_ID, PRODUCE};

/// Ships records of 75,000 bytes that two routes make of one event. The link takes longer than usual: no answer
/// comes.
fn ship_large(world: &mut World, offset: u64) {
    assert!(world.wanted, "{:?}", world.replicator.status());
    world.wanted = false;
    let mut batch = world.replicator.begin_batch();
    batch.reserve(["hot"; 2].into_iter(), 75_000).expect("it is the first");
    let value = vec![b'x'; 75_000];
    for route in 1..3 {
        let record = Record {
            topic: "hot",
            partition: Partitioner::Gateway,
            offset: Offset(offset),
            route,
            timestamp: Timestamp(1_700_000_000_000),
            key: None,
            value: &value,
            headers: &[],
        };
        batch.push(&record).expect("it has room");
    }
    world.fault(PRODUCE, [Fault::Late]);
    world.hand_in(batch, offset + 1);
}

/// The session ends, and what was on its way with it; the next one begins.
fn lose(world: &mut World, after_ms: u64) {
    let sessions = world.replicator.status().counters.sessions;
    world.pass_ms(after_ms - 1);
    assert_eq!(world.replicator.status().counters.sessions, sessions, "before its time");
    world.pass_ms(1);
    assert_ne!(world.replicator.status().state, State::Live, "it is waited for longer");
    world.broker.late.clear();
    world.pass_ms(20_000);
    assert_eq!(world.replicator.status().state, State::Live);
}

/// The time-out of transactions that the last session has asked for.
fn asked_ms(world: &World) -> i32 {
    let mut seen = world.broker.seen.iter().rev();
    let body = &seen.find(|seen| seen.text.starts_with("InitProducerId")).expect("one").body;
    let id_bytes = usize::from(body[0]) - 1;
    i32::from_be_bytes(*body[1 + id_bytes..].first_chunk().expect("four bytes"))
}

#[test]
fn an_event_that_takes_longer_is_carried_and_then_all_is_as_before() {
    for version in [0, 2] {
        let mut world = World::live(version);
        ship_large(&mut world, 0);
        lose(&mut world, 15_000);
        assert_eq!(asked_ms(&world), 30_000);
        ship_large(&mut world, 0);
        lose(&mut world, 30_000);
        ship_large(&mut world, 0);
        world.pass_ms(50_000);
        world.release();
        assert_eq!((world.committed(), asked_ms(&world)), (Some(1), 60_000));
        for offset in 1..9 {
            world.ship("hot", offset..offset + 1);
        }
        world.fault(PRODUCE, [Fault::Silence]);
        world.ship("hot", 9..10);
        world.cut();
        world.pass_ms(1_000);
        assert_eq!((world.committed(), asked_ms(&world)), (Some(9), 15_000));
    }
}

#[test]
fn a_cluster_that_permits_no_longer_transactions_gets_what_it_permits() {
    let mut world = World::live(2);
    ship_large(&mut world, 0);
    world.fault(INIT_PRODUCER_ID, [Fault::Code(50)]);
    lose(&mut world, 15_000);
    let asked = world.broker.seen.iter().filter(|seen| seen.text.starts_with("InitProducerId"));
    assert_eq!((asked.count(), asked_ms(&world)), (2, 15_000), "at once");
    assert_eq!(world.replicator.status().refused, None);
    ship_large(&mut world, 0);
    lose(&mut world, 15_000);
    assert_eq!(asked_ms(&world), 15_000);
}

/// A gateway on a link that comes and goes notices that as soon as ever.
#[test]
fn a_small_transaction_is_not_waited_for_any_longer() {
    let mut world = World::live(2);
    for _ in 0..3 {
        world.fault(PRODUCE, [Fault::Late]);
        world.ship("hot", 0..9);
        lose(&mut world, 15_000);
        assert_eq!(asked_ms(&world), 15_000);
    }
}
