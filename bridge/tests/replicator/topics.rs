//! Topics: looking them up, making them, following their leaders.

use tributary_bridge::{PushError, State};

use crate::broker::{Fault, World, push};
use crate::key::{CREATE_TOPICS, METADATA, PRODUCE};

#[test]
fn missing_topics_are_made_where_permitted() {
    let mut world = World::new(2);
    world.broker.topics.clear();
    world.settle();
    world.pass_ms(200);
    assert!(world.seen().contains(&"CreateTopics v5 tributary.positions 4".to_owned()));
    world.ship("new", 0..1);
    world.pass_ms(200);
    assert!(world.seen().contains(&"CreateTopics v5 new -1".to_owned()));
    world.ship("new", 0..1);
    assert_eq!(world.committed(), Some(1));
    assert_eq!(world.replicator.status().counters.sessions, 1);
}

#[test]
fn a_topic_that_must_not_be_made_is_named_and_waited_for() {
    let mut world = World::live(2);
    world.fault(CREATE_TOPICS, [Fault::Code(29)]);
    world.ship("new", 0..1);
    let refused = world.replicator.status().refused.clone().expect("a refusal");
    assert_eq!(
        refused.to_string(),
        "Kafka refuses to make the topic new, which does not exist: TOPIC_AUTHORIZATION_FAILED (29)"
    );
    assert!((2_000..=4_000).contains(&world.back_off_ms()));
    world.broker.topics.insert("new".to_owned(), vec![1]);
    world.pass_ms(60_000);
    world.ship_new("new", 0..1);
    assert_eq!(world.committed(), Some(1));
}

#[test]
fn a_topic_without_the_right_to_see_it_is_named() {
    let mut world = World::live(2);
    world.fault(METADATA, [Fault::Code(29)]);
    world.ship("secret", 0..1);
    let refused = world.replicator.status().refused.clone().expect("a refusal");
    assert_eq!(refused.subject, "topic secret");
    assert_eq!((refused.topic.as_deref(), world.replicator.status().refusals), (Some("secret"), 1));
    // Often at first, then seldom.
    for (refusals, most_ms) in [(2, 8_000), (3, 16_000), (4, 32_000), (5, 60_000), (6, 60_000)] {
        world.pass_ms(60_000);
        world.fault(METADATA, [Fault::Code(29)]);
        world.ship("secret", 0..1);
        assert_eq!(world.replicator.status().refusals, refusals);
        assert!((most_ms / 2..=most_ms).contains(&world.back_off_ms()), "{}", world.back_off_ms());
    }
}

#[test]
fn a_name_that_no_topic_can_have_is_refused_without_asking() {
    for name in ["", &"x".repeat(250), &"ü".repeat(40_000)] {
        let mut world = World::live(0);
        world.ship(name, 0..1);
        let refused = world.replicator.status().refused.clone().expect("a refusal");
        assert_eq!(refused.error, "INVALID_TOPIC_EXCEPTION (17)");
        assert_eq!(world.seen(), [""; 0]);
    }
}

#[test]
fn a_topic_made_meanwhile_by_somebody_else_is_as_good() {
    let mut world = World::live(2);
    world.fault(CREATE_TOPICS, [Fault::Code(36)]);
    world.ship("new", 0..1);
    world.broker.topics.insert("new".to_owned(), vec![1]);
    world.pass_ms(200);
    world.ship("new", 0..1);
    assert_eq!(world.committed(), Some(1));
}

#[test]
fn records_before_one_of_a_refused_topic_are_shipped() {
    for name in ["secret", ""] {
        let mut world = World::live(2);
        world.fault(METADATA, [Fault::Code(29)]);
        let mut batch = world.replicator.begin_batch();
        assert_eq!(push(&mut batch, "hot", 0), Ok(()));
        assert_eq!(push(&mut batch, name, 1), Err(PushError::UnknownTopic));
        world.wanted = false;
        world.hand_in(batch, 1);
        assert_eq!(world.committed(), Some(1));
        assert!(world.replicator.status().refused.is_some());
    }
}

#[test]
fn records_before_one_of_an_unknown_topic_are_shipped_and_then_it_is_looked_up() {
    let mut world = World::live(2);
    let mut batch = world.replicator.begin_batch();
    assert_eq!(push(&mut batch, "hot", 0), Ok(()));
    assert_eq!(push(&mut batch, "new", 1), Err(PushError::UnknownTopic));
    world.wanted = false;
    world.broker.topics.insert("new".to_owned(), vec![1]);
    world.hand_in(batch, 1);
    assert_eq!(world.committed(), Some(1));
    assert!(world.wanted);
    world.ship("new", 1..2);
    assert_eq!(world.committed(), Some(2));
}

#[test]
fn a_batch_follows_its_leader_with_the_same_bytes() {
    for version in [0, 2] {
        for code in [3, 5, 6, 19, 74, 75] {
            let mut world = World::live(version);
            world.fault(PRODUCE, [Fault::Code(code)]);
            world.broker.topics.insert("hot".to_owned(), vec![2]);
            world.ship("hot", 0..3);
            world.pass_ms(1000);
            assert_eq!(world.committed(), Some(3), "{code}");
            let produced: Vec<_> =
                world.broker.seen.iter().filter(|s| s.text.starts_with("Produce")).collect();
            assert_eq!((produced[0].port, produced[1].port), (1, 2));
            assert_eq!(produced[0].body, produced[1].body);
        }
    }
}

#[test]
fn a_leader_that_an_answer_names_need_not_be_looked_for() {
    let mut world = World::live(2);
    world.broker.leader = Some(2);
    world.fault(PRODUCE, [Fault::Code(6)]);
    world.ship("hot", 0..3);
    world.pass_ms(1000);
    assert_eq!(world.committed(), Some(3));
    let seen: Vec<_> = world.broker.seen.iter().map(|seen| (seen.port, &*seen.text)).collect();
    let ports = seen.iter().filter(|(_, text)| text.starts_with("Produce")).map(|(port, _)| *port);
    assert_eq!(ports.collect::<Vec<_>>(), [1, 2]);
    assert!(!seen.iter().any(|(_, text)| text.starts_with("Metadata")), "{seen:?}");
}

#[test]
fn a_partition_without_a_leader_is_waited_for() {
    let mut world = World::new(2);
    world.broker.topics.insert("hot".to_owned(), vec![0]);
    world.settle();
    world.ship_new("hot", 0..3);
    world.pass_ms(2000);
    assert!(!world.replicator.is_idle());
    world.broker.topics.insert("hot".to_owned(), vec![1]);
    world.pass_ms(2000);
    assert_eq!(world.committed(), Some(3));
    assert_eq!(world.replicator.status().counters.sessions, 1);
}

#[test]
fn the_topics_of_a_session_are_looked_up_at_the_start_of_the_next() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Code(48)]);
    world.ship("hot", 0..1);
    world.pass_ms(100);
    assert_eq!(world.replicator.status().state, State::Live);
    world.forget();
    world.ship("hot", 0..1);
    assert!(!world.seen().iter().any(|text| text.starts_with("Metadata")));
    assert_eq!(world.committed(), Some(1));
}

#[test]
fn what_is_known_of_topics_is_renewed_now_and_then() {
    let mut world = World::live(2);
    world.ship("hot", 0..1);
    assert!(!world.seen().iter().any(|text| text.starts_with("Metadata")));
    world.pass_ms(300_000);
    world.ship("hot", 1..2);
    assert!(world.seen().iter().any(|text| text.starts_with("Metadata")));
}

/// Ten thousand partitions, of three replicas each, are told in one answer.
#[test]
fn many_topics_of_many_partitions_are_looked_up_at_once() {
    const TOPICS: u64 = 200;
    let mut world = World::live(2);
    for at in 0..TOPICS {
        let name = format!("t{at}");
        world.broker.topics.insert(name.clone(), vec![1; 50]);
        world.ship_new(&name, at..at + 1);
    }
    world.pass_ms(300_000);
    world.forget();
    world.ship("t0", TOPICS..TOPICS + 1);
    world.ship("t1", TOPICS + 1..TOPICS + 2);
    let asked = world.seen().into_iter().find(|text| text.starts_with("Metadata"));
    assert!(asked.is_some_and(|text| text.split(' ').count() as u64 > TOPICS));
    assert_eq!(world.committed(), Some(TOPICS + 2));
    let status = world.replicator.status();
    assert_eq!((status.counters.sessions, status.last_error.as_deref()), (1, None));
}
