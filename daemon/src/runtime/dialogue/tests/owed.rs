//! Retained messages that are owed to a subscription: what the log knows of it, and what a start does then.

use super::handing_out::{begin_again, lasting, note};
use super::*;
use crate::runtime::sessions::Change;

/// All below `r`.
fn want(qos: Qos) -> Vec<u8> {
    let mut packet = b"\x82\x09\0\x01\0\0\x03r/#".to_vec();
    packet.push(qos as u8);
    packet
}

/// So many retained messages at this quality of service, below `r`.
fn kept(state: &mut State, (prefix, qos): (&str, Qos), count: u64) {
    for number in 0..count {
        let topic = format!("r/{prefix}{number}");
        let event = Event { topic: &topic, retain: true, ..event(qos) };
        state.apply_event(state.applied.offset, &event, Age(0));
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    topic: String,
    retain: bool,
    qos: u8,
    id: [u8; 2],
}

fn parse(out: &[u8]) -> Vec<Came> {
    let (mut at, mut came) = (0, Vec::new());
    while at < out.len() {
        let (head, body) = (out[at], &out[at + 2..at + 2 + usize::from(out[at + 1])]);
        if head & 0xF0 == 0x30 {
            let end = 2 + usize::from(body[1]);
            let topic = String::from_utf8(body[2..end].to_vec()).expect("a topic");
            let qos = head >> 1 & 3;
            let id = if qos > 0 { [body[end], body[end + 1]] } else { [0; 2] };
            came.push(Came { topic, retain: head & 1 == 1, qos, id });
        }
        at += 2 + body.len();
    }
    came
}

/// What comes to a client until nothing does: what is sent again is read one by one.
fn hear(client: &mut Dialogue, shared: &Shared, state: &mut State) -> Vec<Came> {
    let (end, mut out) = (shared.ingest.durable(), Vec::new());
    for _ in 0..AT_ONCE + 20 {
        match shared.hub.next_work(end) {
            Next::Read(work) if work.again.is_some() => shared.hub.send_again(&work, None),
            Next::Read(work) => shared.hub.caught_up(&work, end, end),
            Next::Search | Next::Wait => {}
        }
        client.handle_wake(moment(), &mut out);
        settle(shared, state);
    }
    client.handle_wake(moment(), &mut out);
    parse(&out)
}

/// Comes, or comes back, and subscribes.
fn come(shared: &Arc<Shared>, state: &mut State, request: &[u8]) -> (Dialogue, Vec<Came>) {
    let (mut client, mut out) = enter(shared, &lasting('a'), moment());
    settle(shared, state);
    client.handle_wake(moment(), &mut out);
    assert_eq!(out[0], 0x20, "{out:x?}");
    client.handle_bytes(moment(), request, &mut out);
    let mut came = parse(&out);
    came.extend(hear(&mut client, shared, state));
    (client, came)
}

fn topics(came: &[Came]) -> Vec<&str> {
    assert!(came.iter().all(|came| came.retain), "{came:?}");
    came.iter().map(|came| came.topic.as_str()).collect()
}

/// The client has these: at QoS 2 it completes them.
fn acknowledge(client: &mut Dialogue, (shared, state): (&Shared, &mut State), came: &[Came]) {
    for Came { qos, id: [high, low], .. } in came {
        let out = &mut Vec::new();
        if *qos == 1 {
            client.handle_bytes(moment(), &[0x40, 2, *high, *low], out);
            continue;
        }
        client.handle_bytes(moment(), &[0x50, 2, *high, *low], out);
        settle(shared, state);
        client.handle_wake(moment(), out);
        client.handle_bytes(moment(), &[0x70, 2, *high, *low], out);
    }
    settle(shared, state);
}

fn owes(state: &State) -> bool {
    !state.clients["a"].searches.is_empty()
}

#[test]
fn what_is_not_acknowledged_is_looked_for_again_by_the_next_run() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 3);
    let shared = begin_again(&state, 3);
    let (mut client, came) = come(&shared, &mut state, &want(Qos::AtLeastOnce));
    assert_eq!(topics(&came), ["r/0", "r/1", "r/2"]);
    acknowledge(&mut client, (&shared, &mut state), &came[..2]);
    note(&shared, &mut state);
    assert!(owes(&state));
    let shared = begin_again(&state, 3);
    let (mut client, came) = come(&shared, &mut state, b"");
    assert_eq!(topics(&came), ["r/0", "r/1", "r/2"], "at least once");
    acknowledge(&mut client, (&shared, &mut state), &came);
    note(&shared, &mut state);
    assert!(!owes(&state));
    let shared = begin_again(&state, 3);
    assert_eq!(come(&shared, &mut state, b"").1, []);
}

/// It goes, and the daemon ends in order, or does not.
#[test]
fn what_did_not_come_before_its_client_went_is_owed_by_the_next_run() {
    for count in [2, 3] {
        let mut state = State::default();
        kept(&mut state, ("", Qos::AtLeastOnce), 3);
        let shared = begin_again(&state, 3);
        let (mut client, came) = come(&shared, &mut state, &want(Qos::AtLeastOnce));
        acknowledge(&mut client, (&shared, &mut state), &came[..count]);
        client.leave(moment());
        settle(&shared, &mut state);
        assert_eq!(owes(&state), count < 3);
        let shared = begin_again(&state, 3);
        let came = come(&shared, &mut state, b"").1;
        assert_eq!(came.len(), if count < 3 { 3 } else { 0 });
    }
}

/// It goes and comes back without a restart: each once, and the log is told when all has come.
#[test]
fn who_comes_back_gets_the_rest_once() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 3);
    let shared = begin_again(&state, 3);
    let (mut client, came) = come(&shared, &mut state, &want(Qos::AtLeastOnce));
    acknowledge(&mut client, (&shared, &mut state), &came[..1]);
    client.leave(moment());
    let (mut client, came) = come(&shared, &mut state, b"");
    assert_eq!(topics(&came), ["r/1", "r/2"]);
    note(&shared, &mut state);
    assert!(owes(&state));
    acknowledge(&mut client, (&shared, &mut state), &came);
    note(&shared, &mut state);
    assert!(!owes(&state));
}

#[test]
fn what_came_at_qos_2_does_not_come_again_and_what_did_not_does() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::ExactlyOnce), 4);
    let shared = begin_again(&state, 4);
    let (mut client, came) = come(&shared, &mut state, &want(Qos::ExactlyOnce));
    assert_eq!(topics(&came), ["r/0", "r/1", "r/2", "r/3"]);
    acknowledge(&mut client, (&shared, &mut state), &came[..2]);
    note(&shared, &mut state);
    // What is under way the log knows: nothing else is owed.
    assert!(!owes(&state));
    let shared = begin_again(&state, 4);
    assert_eq!(topics(&come(&shared, &mut state, b"").1), ["r/2", "r/3"]);
}

/// The log was not told yet that all was found.
#[test]
fn a_search_that_is_begun_anew_passes_over_what_came_at_qos_2() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::ExactlyOnce), 4);
    let shared = begin_again(&state, 4);
    let (mut client, came) = come(&shared, &mut state, &want(Qos::ExactlyOnce));
    acknowledge(&mut client, (&shared, &mut state), &came[..2]);
    assert!(owes(&state));
    let shared = begin_again(&state, 4);
    let (mut client, again) = come(&shared, &mut state, b"");
    assert_eq!(again, came[2..], "with their identifiers");
    acknowledge(&mut client, (&shared, &mut state), &again);
    let shared = begin_again(&state, 4);
    let (_, came) = come(&shared, &mut state, b"");
    assert_eq!(came, []);
    note(&shared, &mut state);
    assert!(!owes(&state));
}

/// As many as may be under way at once, and a SUBSCRIBE with two filters of which each selects all of them.
const AT_ONCE: u64 = 128;
const BOTH: &[u8] = b"\x82\x0f\0\x01\0\0\x03r/#\x02\0\x03r/+\x02";

/// What comes over as many starts as there may be something; and how often each, if that is the same for all.
fn hear_the_rest(state: &mut State, mut all: Vec<Came>) -> Option<usize> {
    for _ in 0..5 {
        let shared = begin_again(state, AT_ONCE);
        let (mut client, came) = come(&shared, state, b"");
        acknowledge(&mut client, (&shared, state), &came);
        all.extend(came);
    }
    let mut count = std::collections::BTreeMap::<&str, usize>::new();
    for topic in topics(&all) {
        *count.entry(topic).or_default() += 1;
    }
    let times = all.len() / 128;
    (count.len() == 128 && count.values().all(|of_one| *of_one == times)).then_some(times)
}

#[test]
fn each_of_two_subscriptions_gets_what_it_is_owed_over_a_crash() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::ExactlyOnce), AT_ONCE);
    let shared = begin_again(&state, AT_ONCE);
    let (mut client, came) = come(&shared, &mut state, BOTH);
    assert_eq!(came.len(), 128, "all of one, and none of the other");
    // The identifiers that are free go to others.
    acknowledge(&mut client, (&shared, &mut state), &came[..20]);
    note(&shared, &mut state);
    assert!(owes(&state));
    assert_eq!(hear_the_rest(&mut state, came[..20].to_vec()), Some(2));
}

/// One of them is ended meanwhile, or asks again.
#[test]
fn what_one_subscription_brought_is_still_owed_to_another() {
    let (end, again) = (b"\xa2\x08\0\x02\0\0\x03r/#", &want(Qos::ExactlyOnce));
    for (request, times) in [(&end[..], 2), (again, 3)] {
        let mut state = State::default();
        kept(&mut state, ("", Qos::ExactlyOnce), AT_ONCE);
        let shared = begin_again(&state, AT_ONCE);
        let (mut client, came) = come(&shared, &mut state, BOTH);
        assert_eq!(came.len(), 128);
        client.handle_bytes(moment(), request, &mut Vec::new());
        settle(&shared, &mut state);
        assert!(owes(&state));
        assert_eq!(hear_the_rest(&mut state, Vec::new()), Some(times), "{request:x?}");
    }
}

/// It asks for all of them once more, and gets none before the crash.
#[test]
fn who_asks_again_is_owed_all_again() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::ExactlyOnce), 2);
    let shared = begin_again(&state, 2);
    let (mut client, came) = come(&shared, &mut state, &want(Qos::ExactlyOnce));
    acknowledge(&mut client, (&shared, &mut state), &came);
    client.handle_bytes(moment(), &want(Qos::ExactlyOnce), &mut Vec::new());
    settle(&shared, &mut state);
    let shared = begin_again(&state, 2);
    assert_eq!(topics(&come(&shared, &mut state, b"").1), ["r/0", "r/1"]);
}

#[test]
fn what_may_have_come_at_qos_0_does_not_come_again() {
    let mut state = State::default();
    kept(&mut state, ("often", Qos::AtMostOnce), 1);
    kept(&mut state, ("surely", Qos::AtLeastOnce), 1);
    let shared = begin_again(&state, 2);
    let (_, came) = come(&shared, &mut state, &want(Qos::AtLeastOnce));
    assert_eq!(topics(&came), ["r/often0", "r/surely0"]);
    let shared = begin_again(&state, 2);
    assert_eq!(topics(&come(&shared, &mut state, b"").1), ["r/surely0"]);
}

/// The message that came behind it is one that comes as it comes.
#[test]
fn what_is_newer_than_the_subscription_is_not_looked_for() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 2);
    let shared = begin_again(&state, 2);
    come(&shared, &mut state, &want(Qos::AtLeastOnce));
    kept(&mut state, ("", Qos::AtLeastOnce), 1);
    let shared = begin_again(&state, 3);
    assert_eq!(topics(&come(&shared, &mut state, b"").1), ["r/1"]);
}

#[test]
fn who_unsubscribes_is_owed_nothing() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 2);
    let shared = begin_again(&state, 2);
    let (mut client, _) = come(&shared, &mut state, &want(Qos::AtLeastOnce));
    client.handle_bytes(moment(), b"\xa2\x08\0\x02\0\0\x03r/#", &mut Vec::new());
    settle(&shared, &mut state);
    assert!(!owes(&state));
    let shared = begin_again(&state, 2);
    assert_eq!(come(&shared, &mut state, b"").1, []);
}

/// What a device does that comes each day and finds nothing, or wants it at QoS 0.
#[test]
fn who_is_owed_nothing_costs_no_change() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 1);
    let subscribed = |taken: &Taken| -> Vec<bool> {
        let changes = taken.changes.iter().flat_map(|batch| read_batch(batch.body()));
        changes.map(|(_, noted)| matches!(noted.change, Change::Subscribed { .. })).collect()
    };
    for request in [handing_out::WANT, &want(Qos::AtMostOnce)] {
        let shared = begin_again(&state, 1);
        let (mut client, _) = come(&shared, &mut state.clone(), b"");
        client.handle_bytes(moment(), request, &mut Vec::new());
        assert_eq!(subscribed(&shared.ingest.take()), [true]);
        client.handle_bytes(moment(), request, &mut Vec::new());
        shared.hub.note_progress(&mut shared.ingest.desk(), u64::MAX);
        assert_eq!(subscribed(&shared.ingest.take()), [false; 0]);
    }
}

/// More than a SUBSCRIBE looks at, and nothing found among them so far.
#[test]
fn a_search_that_is_not_over_is_owed() {
    let mut state = State::default();
    kept(&mut state, ("", Qos::AtLeastOnce), 1_500);
    kept(&mut state, ("z/", Qos::AtLeastOnce), 1);
    let shared = begin_again(&state, 1_501);
    let (mut client, _) = come(&shared, &mut state, b"");
    client.handle_bytes(moment(), b"\x82\x0b\0\x01\0\0\x05+/z/+\x01", &mut Vec::new());
    settle(&shared, &mut state);
    assert!(owes(&state));
    let shared = begin_again(&state, 1_501);
    assert_eq!(topics(&come(&shared, &mut state, b"").1), ["r/z/0"]);
}
