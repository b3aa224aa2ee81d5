//! Being let in, again in time, and not; being asked for quiet; a link that comes back.

use tributary_bridge::{Credentials, Output, State, Talk as _};

use crate::broker::{Fault, World};
use crate::key::{PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE};

const LOGIN: [&str; 3] = ["ApiVersions v3", "SaslHandshake v1 PLAIN", "SaslAuthenticate v2"];

fn world() -> World {
    World::with(2, |settings| settings.authenticate = true)
}

fn let_in_by(world: &mut World, password: &str) {
    let (username, password) = ("gw".to_owned(), password.into());
    world.credentials = Some(Ok(Credentials::Plain { username, password }));
}

/// Why the last session ended.
fn error(world: &World) -> &str {
    world.replicator.status().last_error.as_deref().unwrap_or_default()
}

#[test]
fn a_login_comes_before_all_but_the_greeting() {
    let mut world = world();
    world.settle();
    assert_eq!(world.replicator.status().state, State::Live);
    let seen = world.seen();
    assert_eq!(seen[..3], LOGIN);
    assert_eq!(seen.iter().filter(|text| text.starts_with("Sasl")).count(), 2, "{seen:?}");
    world.ship_new("hot", 0..3);
    assert_eq!(world.committed(), Some(3));
}

/// KIP-368: before the lifetime ends, on the same connection, and only when there is something to say.
#[test]
fn a_login_is_repeated_before_its_lifetime_ends() {
    let mut world = world();
    world.broker.lifetime_ms = 10_000;
    world.settle();
    world.ship_new("hot", 0..1);
    world.forget();
    world.pass_ms(8_400);
    world.ship("hot", 1..2);
    assert_eq!(world.committed(), Some(2));
    let seen = world.seen();
    assert!(seen.iter().all(|text| !text.starts_with("Sasl")), "{seen:?}");

    // 85 per cent of ten seconds have passed: the next request is preceded by a login.
    world.pass_ms(200);
    assert_eq!(world.seen(), [""; 0], "an idle connection says nothing");
    world.ship("hot", 2..3);
    assert_eq!(world.committed(), Some(3));
    let seen = world.seen();
    assert_eq!(seen[..2], LOGIN[1..]);
    assert!(seen[2].starts_with("Produce"), "{seen:?}");
    // Hours later, long after the lifetime: the broker takes a login even then.
    world.pass_ms(7_200_000);
    world.ship("hot", 3..4);
    assert_eq!(world.committed(), Some(4));
    assert_eq!(world.connects, [0; 0], "always the same connection");
    assert_eq!(world.replicator.status().counters.sessions, 1);
}

#[test]
fn who_is_not_let_in_says_so_waits_longer_each_time_and_then_gets_in() {
    let mut world = world();
    let_in_by(&mut world, "wrong");
    world.settle();
    assert_eq!(
        error(&world),
        "Kafka refuses user gw by PLAIN: SASL_AUTHENTICATION_FAILED (58): invalid credentials"
    );
    assert!(world.replicator.status().refused.is_some());
    assert!((2_000..=4_000).contains(&world.back_off_ms()), "{}", world.back_off_ms());
    world.tick();
    assert_eq!(world.logins, [false, true], "what was refused is not shown again");
    assert!((4_000..=8_000).contains(&world.back_off_ms()), "{}", world.back_off_ms());
    let_in_by(&mut world, "pencil");
    world.tick();
    assert_eq!(world.replicator.status().state, State::Live);
    world.ship_new("hot", 0..1);
    assert_eq!(world.replicator.status().refused, None);
}

#[test]
fn a_mechanism_that_is_not_taken_names_those_that_are() {
    for (code, words) in [
        (33, "UNSUPPORTED_SASL_MECHANISM (33): it takes GSSAPI"),
        (34, "ILLEGAL_SASL_STATE (34): this listener has no SASL"),
    ] {
        let mut world = world();
        world.fault(SASL_HANDSHAKE, [Fault::Code(code)]);
        world.settle();
        assert!(error(&world).ends_with(words), "{}", error(&world));
    }
}

#[test]
fn a_broker_without_sasl_is_refused_clearly() {
    let mut world = world();
    world.broker.offered.insert(SASL_AUTHENTICATE, 0);
    world.settle();
    assert!(error(&world).contains("lacks SaslAuthenticate 1"), "{}", error(&world));
}

#[test]
fn credentials_that_cannot_be_had_are_asked_for_again_soon() {
    let mut world = world();
    world.credentials = Some(Err("the secret in /x cannot be used".to_owned()));
    world.settle();
    assert_eq!(error(&world), "the secret in /x cannot be used");
    let_in_by(&mut world, "pencil");
    world.tick();
    assert_eq!(world.replicator.status().state, State::Live);
}

#[test]
fn credentials_that_never_come_end_the_session() {
    let mut world = world();
    world.credentials = None;
    world.settle();
    world.pass_ms(15_000);
    assert!(error(&world).contains("no credentials for kafka:1"), "{}", error(&world));
}

#[test]
fn a_login_that_is_not_answered_ends_the_session() {
    let mut world = world();
    world.fault(SASL_AUTHENTICATE, [Fault::Silence]);
    world.settle();
    world.pass_ms(15_000);
    assert!(error(&world).contains("has not answered SaslAuthenticate"), "{}", error(&world));
}

/// KIP-219: a broker that throttles has muted the connection; what is sent meanwhile waits there.
#[test]
fn a_broker_that_asks_for_quiet_gets_it() {
    let mut world = World::live(2);
    world.broker.throttle_ms = 3_000;
    // A topic that is not known yet is looked up first.
    world.broker.topics.insert("new".to_owned(), vec![1]);
    world.ship("new", 1..2);
    assert_eq!(world.seen(), ["Metadata v12 hot new tributary.positions"]);
    world.broker.throttle_ms = 0;
    world.ship("new", 1..2);
    assert_eq!(world.seen(), [""; 0]);
    world.pass_ms(2_999);
    assert_eq!(world.seen(), [""; 0]);
    world.pass_ms(1);
    assert_eq!(world.committed(), Some(2));
    assert_eq!(world.replicator.status().counters.throttled_ms, 3_000);
}

#[test]
fn no_broker_is_believed_to_want_quiet_for_long() {
    let mut world = World::live(2);
    world.broker.topics.insert("new".to_owned(), vec![1]);
    world.broker.throttle_ms = i32::MAX;
    world.ship("new", 1..2);
    world.broker.throttle_ms = 0;
    world.ship("new", 1..2);
    world.pass_ms(59_999);
    assert_eq!(world.committed(), None);
    // The transaction has run out of time meanwhile.
    world.pass_ms(61_000);
    world.ship("new", 1..2);
    assert_eq!(world.committed(), Some(2));
}

#[test]
fn a_link_that_comes_back_ends_the_longest_wait() {
    let mut world = World::live(2);
    world.fault(PRODUCE, [Fault::Silence]);
    world.ship("hot", 1..2);
    world.down = vec![1, 2];
    world.cut_all();
    for _ in 0..12 {
        world.tick();
    }
    let waiting = world.replicator.poll_timeout().expect("a session to come");
    assert!(waiting.ms_since(world.now) >= 5_000, "the wait is at its longest");
    world.down.clear();
    world.replicator.handle_link_returned(world.now);
    world.settle();
    world.pass_ms(1_000);
    assert_eq!(world.replicator.status().state, State::Live);
}

#[test]
fn a_link_that_comes_back_frees_what_hangs() {
    // A connection that is being opened: the next SYN may be seconds away.
    let mut world = World::new(2);
    world.slow = vec![1];
    world.settle();
    world.pass_ms(100);
    world.slow.clear();
    world.replicator.handle_link_returned(world.now);
    world.settle();
    world.pass_ms(1_000);
    assert_eq!(world.replicator.status().state, State::Live);

    // An answer that is overdue; one that is not is waited for.
    for (waited_ms, sessions) in [(1_900, 1), (2_100, 2)] {
        let mut world = World::live(2);
        world.fault(PRODUCE, [Fault::Silence]);
        world.ship("hot", 1..2);
        world.pass_ms(waited_ms);
        world.replicator.handle_link_returned(world.now);
        world.settle();
        world.pass_ms(800);
        assert_eq!(world.replicator.status().counters.sessions, sessions);
    }
}

#[test]
fn a_link_that_comes_back_does_not_shorten_what_an_operator_has_to_mend() {
    let mut world = world();
    let_in_by(&mut world, "wrong");
    world.settle();
    let until = world.back_off_ms();
    world.replicator.handle_link_returned(world.now);
    world.settle();
    assert_eq!(world.back_off_ms(), until);
    assert!(world.told.iter().all(|output| !matches!(output, Output::Resumed(_))));
}
