//! The fold: what is remembered of a client after each of its steps.

use core::num::NonZeroU16;

use super::*;
use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};

const fn event(packet_id: u16) -> Event<'static> {
    Event {
        topic: "a",
        payload: b"1",
        client: "press",
        time: Timestamp(5),
        qos: Qos::ExactlyOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: NonZeroU16::new(packet_id),
        properties: Properties::NONE,
    }
}

/// Folds steps that are numbered from 1 on.
fn fold(state: &mut State, steps: &[(u64, Change<'_>)]) {
    for (at, change) in steps {
        let number = state.applied.change.max(1);
        state.apply_change(number, Noted { client: "press", at: *at, change: change.clone() });
    }
}

const fn begun(fresh: bool) -> Change<'static> {
    Change::Begun { fresh, expiry_s: 60, will: None }
}

#[test]
fn changes_survive_the_log() {
    let will = Event { properties: Properties(&[1, 1]), ..event(0) };
    let changes = [
        Change::Begun { fresh: true, expiry_s: 9, will: Some(StoredWill::of(&will, 4)) },
        Change::Subscribed { filter: "a/+", options: 1, identifier: 300 },
        Change::Reserved { packet_id: 7, offset: u64::MAX, retained: true },
        Change::Left { age: 3, expiry_s: 9, will_due: Some(4) },
        Change::Ended,
        Change::Dealt { cursor: 300 },
        Change::Searching { filter: "a/+", options: 1, identifier: 300, below: 70_000 },
        Change::Found,
        Change::Brought { packet_id: 7, offset: u64::MAX, filter: "a/+" },
    ];
    let mut batch = Batch::new(41);
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(batch.push("press", Offset(100 + index as u64), change), 41 + index as u64);
    }
    assert_eq!(batch.last(), 49);
    let body = batch.body();
    let read: Vec<_> = read_batch(body).collect();
    assert_eq!(read.len(), changes.len());
    for (index, (number, noted)) in read.into_iter().enumerate() {
        assert_eq!((number, noted.client), (41 + index as u64, "press"));
        assert_eq!((noted.at, noted.change), (100 + index as u64, changes[index].clone()));
    }
    for cut in 0..body.len() {
        assert!(read_batch(&body[..cut]).count() < changes.len());
    }
}

/// As they stand in the logs of this version.
#[test]
fn changes_are_written_as_ever() {
    for (change, expected) in [
        (Change::Dealt { cursor: 300 }, &b"\x0b\xac\x02"[..]),
        (
            Change::Searching { filter: "a/+", options: 1, identifier: 300, below: 70_000 },
            b"\x0c\x03a/+\x01\xac\x02\xf0\xa2\x04",
        ),
        (Change::Found, b"\x0d"),
        (Change::Brought { packet_id: 300, offset: 7, filter: "a" }, b"\x0e\xac\x02\x07\x01a"),
    ] {
        let mut batch = Batch::new(41);
        batch.push("press", Offset(5), &change);
        let expected = [b"\x29\0\0\0\0\0\0\0\x05press\x05", expected].concat();
        assert_eq!(batch.body(), expected, "{change:?}");
    }
}

#[test]
fn what_is_looked_for_is_remembered_until_it_was_found_or_is_not_wanted() {
    let subscribed = |filter| Change::Subscribed { filter, options: 2, identifier: 0 };
    let searching = |filter| Change::Searching { filter, options: 2, identifier: 0, below: 5 };
    let filters = |state: &State| {
        let all = state.clients["press"].searches.in_order().into_iter();
        all.map(|(filter, _)| filter.to_owned()).collect::<Vec<_>>()
    };
    let mut state = State::default();
    fold(&mut state, &[(5, begun(true)), (5, searching("x")), (5, subscribed("b"))]);
    assert_eq!(filters(&state), [""; 0], "it is not subscribed to");
    fold(&mut state, &[(5, searching("b")), (5, subscribed("a")), (5, searching("a"))]);
    assert_eq!(filters(&state), ["b", "a"]);
    let known = state.clone();
    fold(&mut state, &[(5, Change::Unsubscribed { filter: "b" }), (5, begun(false))]);
    assert_eq!(filters(&state), ["a"]);
    fold(&mut state, &[(5, Change::Found)]);
    assert_eq!(filters(&state), [""; 0]);
    state = known;
    fold(&mut state, &[(5, begun(true))]);
    assert_eq!(filters(&state), [""; 0]);
}

#[test]
fn what_got_an_identifier_at_qos_2_is_remembered_for_the_subscription_that_brought_it() {
    let (options, identifier, below) = (2, 0, 5);
    let searching = |filter| Change::Searching { filter, options, identifier, below };
    let subscribed = |filter| Change::Subscribed { filter, options, identifier };
    let brought = |packet_id, offset, filter| Change::Brought { packet_id, offset, filter };
    let all = |state: &State| -> Vec<(String, Vec<u64>)> {
        let searches = &state.clients["press"].searches;
        let of_one = |search: &Search| search.brought.iter().copied().collect();
        let all = searches.in_order().into_iter();
        all.map(|(filter, search)| (filter.to_owned(), of_one(search))).collect()
    };
    let of = |filter: &str, offsets: &[u64]| (filter.to_owned(), offsets.to_vec());
    let mut state = State::default();
    fold(&mut state, &[(5, begun(true)), (5, subscribed("a")), (5, brought(1, 0, "a"))]);
    assert_eq!(all(&state), [], "nothing is owed");
    fold(&mut state, &[(5, subscribed("+")), (5, searching("a")), (5, searching("+"))]);
    fold(&mut state, &[(5, brought(1, 0, "a")), (5, brought(2, 0, "+")), (5, brought(3, 1, "a"))]);
    assert_eq!(all(&state), [of("a", &[0, 1]), of("+", &[0])]);
    assert_eq!(state.clients["press"].in_flight.len(), 3);
    fold(&mut state, &[(5, Change::Completed { packet_id: 1 })]);
    assert_eq!(all(&state), [of("a", &[0, 1]), of("+", &[0])]);
    fold(&mut state, &[(5, searching("a"))]);
    assert_eq!(all(&state), [of("+", &[0]), of("a", &[])], "all are asked for again");
    // As an earlier version told it.
    fold(&mut state, &[(5, Change::Reserved { packet_id: 4, offset: 2, retained: true })]);
    assert_eq!(all(&state), [of("+", &[0, 2]), of("a", &[2])]);
    fold(&mut state, &[(5, Change::Unsubscribed { filter: "+" })]);
    assert_eq!(all(&state), [of("a", &[2])]);
    fold(&mut state, &[(5, Change::Found)]);
    assert_eq!(all(&state), []);
}

#[test]
fn an_identifier_is_remembered_from_its_event_to_its_release() {
    let mut state = State::default();
    fold(&mut state, &[(0, begun(true))]);
    state.apply_event(0, &event(7), Age(0));
    assert_eq!(state.clients["press"].unreleased.get(&7), Some(&0));
    // In the log the events of a commit come before its changes: 7 is used again meanwhile.
    state.apply_event(1, &event(7), Age(0));
    fold(&mut state, &[(1, Change::Released { packet_id: 7 })]);
    assert_eq!(state.clients["press"].unreleased.get(&7), Some(&1));
    fold(&mut state, &[(2, Change::Released { packet_id: 7 })]);
    assert!(state.clients["press"].unreleased.is_empty());
}

#[test]
fn a_new_session_forgets_what_came_before_it_and_keeps_what_comes_behind() {
    let mut state = State::default();
    let subscribed = Change::Subscribed { filter: "a", options: 1, identifier: 0 };
    fold(&mut state, &[(0, begun(true)), (0, subscribed)]);
    state.apply_event(0, &event(1), Age(0));
    state.apply_event(1, &event(2), Age(0));
    fold(&mut state, &[(1, begun(false))]);
    assert_eq!(state.clients["press"].filters.len(), 1);
    fold(&mut state, &[(1, begun(true))]);
    let client = &state.clients["press"];
    assert!(client.filters.is_empty());
    assert_eq!(client.unreleased.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn what_is_over_is_not_sent_again_though_the_cursor_is_behind() {
    let mut state = State::default();
    let reserved = |packet_id, offset| Change::Reserved { packet_id, offset, retained: false };
    fold(
        &mut state,
        &[
            (10, begun(true)),
            (12, reserved(1, 10)),
            (12, reserved(2, 11)),
            (12, Change::Received { packet_id: 1 }),
            (12, Change::Completed { packet_id: 1 }),
            (12, Change::Received { packet_id: 2 }),
        ],
    );
    let client = &state.clients["press"];
    assert_eq!(client.over.iter().collect::<Vec<_>>(), [&10]);
    assert_eq!((client.in_flight.len(), client.in_flight[0].received), (1, true));
    fold(&mut state, &[(12, Change::Progress { cursor: 11 })]);
    assert!(state.clients["press"].over.is_empty());
    assert_eq!(state.clients["press"].cursor, 11);
}

#[test]
fn where_a_group_is_stays_as_long_as_somebody_shares_it() {
    const SHARED: &str = "$share/g/a";
    let mut state = State::default();
    let subscribed = Change::Subscribed { filter: SHARED, options: 1, identifier: 0 };
    fold(&mut state, &[(0, begun(true)), (0, subscribed)]);
    for (number, cursor) in [(10, 3), (11, 5)] {
        let change = Change::Dealt { cursor };
        state.apply_change(number, Noted { client: SHARED, at: 9, change });
    }
    assert_eq!(state.clients.len(), 1, "a group is no client");
    state.take_touched();
    state.forget_groups();
    assert_eq!(
        (state.groups.get(SHARED).copied(), state.take_touched().groups.len()),
        (Some(5), 0)
    );
    fold(&mut state, &[(9, Change::Unsubscribed { filter: SHARED })]);
    state.forget_groups();
    assert_eq!((state.groups.len(), state.take_touched().groups.len()), (0, 1));
}

#[test]
fn what_was_folded_in_is_not_folded_in_again() {
    let mut state = State::default();
    let steps = [(0, begun(true)), (0, Change::Ended)];
    fold(&mut state, &steps);
    assert!(state.clients.is_empty());
    state.apply_change(1, Noted { client: "press", at: 0, change: begun(true) });
    assert!(state.clients.is_empty());
    state.apply_event(0, &Event { retain: true, ..event(1) }, Age(0));
    state.apply_event(1, &Event { retain: true, payload: b"", ..event(2) }, Age(0));
    state.apply_event(0, &Event { retain: true, ..event(1) }, Age(0));
    assert!(state.retained.is_empty());
}
