//! What reaches whom: live, from the log, as a retained message, by a shared subscription.

use super::*;
use crate::runtime::hub::Next;

/// QoS 1 to `t`, of whom there may be several.
pub(super) const SHARE: &[u8] = b"\x82\x10\0\x02\0\0\x0a$share/g/t\x01";
/// QoS 1 to `t`.
pub(super) const WANT: &[u8] = b"\x82\x07\0\x01\0\0\x01t\x01";

/// MQTT 5, a session that lasts, of this client.
pub(super) fn lasting(name: char) -> Vec<u8> {
    let mut packet = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a\0\x01".to_vec();
    packet.push(u8::try_from(name).expect("a letter"));
    packet
}

/// Comes, or comes back, and subscribes.
fn come_with(shared: &Arc<Shared>, name: char, requests: &[u8]) -> Dialogue {
    let (mut dialogue, mut out) = enter(shared, &lasting(name), moment());
    commit(shared);
    dialogue.handle_wake(moment(), &mut out);
    dialogue.handle_bytes(moment(), requests, &mut out);
    commit(shared);
    dialogue.handle_wake(moment(), &mut out);
    dialogue
}

fn new() -> Arc<Shared> {
    shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))))
}

/// Events to `t` at QoS 1, which are durable.
fn publish(shared: &Shared, count: usize) {
    for _ in 0..count {
        shared.ingest.desk().append(&event(Qos::AtLeastOnce)).expect("there is room");
    }
    commit(shared);
}

/// As the fan-out does that reads them.
fn distribute(shared: &Shared, offsets: Range<u64>) {
    shared.hub.listened_from();
    for offset in offsets {
        shared.hub.distribute(Offset(offset), &event(Qos::AtLeastOnce), Age(0));
    }
}

/// What has to be read next from the log, if anything.
fn next_read(hub: &Hub) -> Option<Work> {
    match hub.next_work(Offset(u64::MAX)) {
        Next::Read(work) => Some(work),
        Next::Search | Next::Wait => None,
    }
}

fn end_at(offset: u64) -> End {
    let (offset, oldest) = (Offset(offset), Offset(0));
    End { offset, sequence: 0, segment: 0, at: 4096, oldest }
}

/// What a client gets; it acknowledges nothing.
fn taken(dialogue: &mut Dialogue) -> usize {
    let mut out = Vec::new();
    dialogue.handle_wake(moment(), &mut out);
    let (mut at, mut messages) = (0, 0);
    while at < out.len() {
        messages += usize::from(out[at] & 0xF0 == 0x30);
        at += 2 + usize::from(out[at + 1]);
    }
    messages
}

#[test]
fn what_the_daemon_tells_of_itself_sends_no_session_back() {
    let shared = new();
    let client = &mut come_with(&shared, 'a', WANT);
    let request = b"\x82\x0c\0\x03\0\0\x06$SYS/#\x01";
    client.handle_bytes(moment(), request, &mut Vec::new());
    commit(&shared);
    publish(&shared, 3);
    distribute(&shared, 0..3);
    assert_eq!(taken(client), 3);
    let told = Event { topic: "$SYS/uptime", origin: Origin::Rule, ..event(Qos::AtMostOnce) };
    shared.hub.announce(&told, Age(0));
    client.leave(moment());
    assert_eq!(shared.hub.sessions(1)[0].reads_from, Some(3));
}

/// Before anything is in the log, too.
#[test]
fn what_the_daemon_tells_of_itself_is_there_for_who_subscribes() {
    let shared = new();
    let told = Event {
        topic: "$SYS/uptime",
        origin: Origin::Rule,
        retain: true,
        ..event(Qos::AtMostOnce)
    };
    shared.hub.announce(&told, Age(0));
    let (mut client, mut out) = enter(&shared, &lasting('a'), moment());
    commit(&shared);
    client.handle_wake(moment(), &mut out);
    client.handle_bytes(moment(), b"\x82\x0c\0\x03\0\0\x06$SYS/#\x01", &mut out);
    commit(&shared);
    out.clear();
    client.handle_wake(moment(), &mut out);
    assert!(out.ends_with(b"\0\x0b$SYS/uptime\0x"), "{out:x?}");
}

/// Its identifier is ours, and not known to its session yet.
#[test]
fn who_goes_before_it_was_let_in_has_gone() {
    let shared = new();
    let nameless = b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\0\x3c\0\0";
    let (mut dialogue, _) = enter(&shared, nameless, moment());
    assert_eq!(shared.hub.connections(), 1);
    dialogue.leave(moment());
    assert_eq!(shared.hub.connections(), 0);
    assert!(!shared.hub.sessions(9)[0].connected);
}

/// The last member goes while the log is read for the group.
#[test]
fn a_group_whose_last_member_goes_waits_in_the_log() {
    let shared = new();
    come_with(&shared, 'a', SHARE).leave(moment());
    publish(&shared, 3);
    let hub = &shared.hub;
    let mut client = come_with(&shared, 'a', b"");
    let own = next_read(hub).expect("its own");
    hub.caught_up(&own, Offset(3), Offset(3));
    let work = next_read(hub).expect("the group's");
    assert_eq!(work.from, Offset(0));
    for offset in 0..3 {
        assert!(hub.catch_up(&work, Offset(offset), &event(Qos::AtLeastOnce), Age(0)));
    }
    client.leave(moment());
    hub.caught_up(&work, Offset(3), Offset(3));
    publish(&shared, 2);
    client = come_with(&shared, 'a', b"");
    while taken(&mut client) > 0 {}
    let mut read_from = Vec::new();
    while let Some(work) = next_read(hub) {
        read_from.push(work.from);
        hub.caught_up(&work, Offset(5), Offset(5));
        taken(&mut client);
    }
    assert!(read_from.iter().filter(|from| **from <= Offset(3)).count() >= 2, "{read_from:?}");
}

/// The log is told how far everybody has come, and what a start would know of that.
pub(super) fn note(shared: &Shared, state: &mut State) {
    shared.hub.note_progress(&mut shared.ingest.desk(), u64::MAX);
    settle(shared, state);
}

/// Comes to a group and subscribes, with what a start would know of that.
fn join(shared: &Arc<Shared>, name: char, state: &mut State) -> Dialogue {
    let (mut dialogue, mut out) = enter(shared, &lasting(name), moment());
    note(shared, state);
    dialogue.handle_wake(moment(), &mut out);
    dialogue.handle_bytes(moment(), SHARE, &mut out);
    note(shared, state);
    dialogue.handle_wake(moment(), &mut out);
    dialogue
}

/// A daemon that has ended at `next`, and knows this when it begins again.
pub(super) fn begin_again(state: &State, next: u64) -> Arc<Shared> {
    let clocks = Clocks::resume(None, None, moment());
    let shared = Arc::new(Shared {
        ingest: Arc::new(Ingest::new(Offset(next))),
        hub: Arc::default(),
        clocks: Arc::new(Mutex::new(clocks)),
        settings: Settings::default(),
    });
    shared.ingest.number_changes_from(state.applied.change);
    shared.hub.restore(state.clone(), clocks.now(moment()).age, &clocks.anchor());
    shared
}

/// What comes to a client from its mailbox is acknowledged. How many that were.
fn acknowledged(client: &mut Dialogue) -> usize {
    let mut out = Vec::new();
    client.handle_wake(moment(), &mut out);
    let (mut at, mut messages) = (0, 0);
    while at < out.len() {
        if out[at] & 0xF0 == 0x30 {
            let puback = [0x40, 2, out[at + 5], out[at + 6]];
            client.handle_bytes(moment(), &puback, &mut Vec::new());
            messages += 1;
        }
        at += 2 + usize::from(out[at + 1]);
    }
    messages
}

/// Where what has to be read for a client, and for its group, begins.
fn read_from(shared: &Shared, end: u64) -> Vec<u64> {
    let mut from = Vec::new();
    while let Some(work) = next_read(&shared.hub) {
        from.push(work.from.0);
        shared.hub.caught_up(&work, Offset(end), Offset(end));
    }
    from
}

#[test]
fn a_group_goes_on_where_it_was_whoever_stays_away() {
    const GROUP: &str = "$share/g/t";
    let (shared, mut state) = (new(), State::default());
    let (mut a, mut b) = (join(&shared, 'a', &mut state), join(&shared, 'b', &mut state));
    assert_eq!(state.groups[GROUP], 0);
    publish(&shared, 4);
    distribute(&shared, 0..4);
    assert_eq!((taken(&mut a), acknowledged(&mut b)), (2, 2));
    // Something of it may not have come to the one.
    note(&shared, &mut state);
    assert_eq!(state.groups[GROUP], 0);
    // It was there, and stays away; what it was dealt is dealt to the other.
    let shared = begin_again(&state, 4);
    assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
    let mut b = join(&shared, 'b', &mut state);
    let own = next_read(&shared.hub).expect("its own");
    shared.hub.caught_up(&own, Offset(4), Offset(4));
    let work = next_read(&shared.hub).expect("the group's");
    assert_eq!(work.from, Offset(0));
    for offset in 0..4 {
        assert!(shared.hub.catch_up(&work, Offset(offset), &event(Qos::AtLeastOnce), Age(0)));
    }
    shared.hub.caught_up(&work, Offset(4), Offset(4));
    note(&shared, &mut state);
    assert_eq!(state.groups[GROUP], 0, "nothing of it is acknowledged");
    assert_eq!(acknowledged(&mut b), 4);
    note(&shared, &mut state);
    assert_eq!(state.groups[GROUP], 4);
    // From then on it is over, at each start; until it goes on.
    for _ in 0..2 {
        let shared = begin_again(&state, 4);
        assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
        let _b = join(&shared, 'b', &mut state);
        assert!(read_from(&shared, 4).iter().all(|from| *from == 4));
    }
}

/// Who joins a group later has no part in where it is.
#[test]
fn what_waits_for_a_group_waits_whoever_joins_it_before_a_crash() {
    let (shared, mut state) = (new(), State::default());
    join(&shared, 'a', &mut state).leave(moment());
    note(&shared, &mut state);
    assert!(state.clients["a"].left.is_some());
    publish(&shared, 3);
    let _b = join(&shared, 'b', &mut state);
    let shared = begin_again(&state, 3);
    assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
    let _b = join(&shared, 'b', &mut state);
    assert_eq!(read_from(&shared, 3), [3, 0]);
}

/// Each time a filter of any length is told.
#[test]
fn how_far_groups_have_dealt_is_told_later_where_too_much_waits() {
    let (shared, mut state) = (new(), State::default());
    let mut a = join(&shared, 'a', &mut state);
    publish(&shared, 2);
    distribute(&shared, 0..2);
    assert_eq!(acknowledged(&mut a), 2);
    let filter = &"x".repeat(60_000);
    while !shared.ingest.is_crowded() {
        shared.ingest.desk().change("b", &Change::Unsubscribed { filter });
    }
    note(&shared, &mut state);
    assert_eq!(state.groups["$share/g/t"], 0);
    note(&shared, &mut state);
    assert_eq!(state.groups["$share/g/t"], 2);
}

/// An earlier version has told nothing of where its groups were.
#[test]
fn a_group_of_an_earlier_version_goes_on_where_its_members_were_and_from_then_on_by_itself() {
    let (shared, mut state) = (new(), State::default());
    let (mut a, mut b) = (join(&shared, 'a', &mut state), join(&shared, 'b', &mut state));
    publish(&shared, 4);
    distribute(&shared, 0..4);
    assert_eq!((taken(&mut a), acknowledged(&mut b)), (2, 2));
    note(&shared, &mut state);
    state.groups.clear();
    let shared = begin_again(&state, 4);
    assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
    fold(&mut state, &shared.ingest.take());
    assert_eq!(state.groups["$share/g/t"], 0, "and not where the other is");
    assert!(state.clients.values().all(|client| client.left.is_some()));
}

/// Its member was there before it was one.
#[test]
fn a_group_of_an_earlier_version_gets_nothing_from_before_it_was_one() {
    let (shared, mut state) = (new(), State::default());
    let (mut a, mut out) = enter(&shared, &lasting('a'), moment());
    note(&shared, &mut state);
    a.handle_wake(moment(), &mut out);
    publish(&shared, 2);
    a.handle_bytes(moment(), SHARE, &mut out);
    note(&shared, &mut state);
    assert_eq!((state.clients["a"].cursor, state.groups.remove("$share/g/t")), (0, Some(2)));
    let shared = begin_again(&state, 2);
    assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
    fold(&mut state, &shared.ingest.take());
    assert_eq!(state.groups["$share/g/t"], 2);
}

/// Has those who listen change in the middle of what is read.
struct Meanwhile<'a>(&'a dyn Fn());

impl Kept for Meanwhile<'_> {
    fn read(
        &self,
        _: Range<Offset>,
        _: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        (self.0)();
        None
    }
}

#[test]
fn who_comes_while_something_older_is_read_gets_none_of_it() {
    let shared = new();
    let first = core::cell::RefCell::new(Some(come_with(&shared, 'a', WANT)));
    let second = core::cell::RefCell::new(None);
    publish(&shared, 10);
    let change = || {
        if let Some(mut first) = first.borrow_mut().take() {
            first.leave(moment());
            *second.borrow_mut() = Some(come_with(&shared, 'b', WANT));
        }
    };
    let mut fanout = Fanout::new(Arc::clone(&shared.hub), Meanwhile(&change));
    fanout.turn(&Unreadable, End { oldest: Offset(5), ..end_at(10) });
    let second = second.borrow();
    assert!(second.is_some(), "it has come");
    let of_b = shared.hub.sessions(9).into_iter().find(|session| session.client == "b");
    let of_b = of_b.expect("it has a session");
    assert_eq!((of_b.delivered, of_b.dropped), (0, 0));
}

/// It was read for further than the fan-out is.
#[test]
fn who_has_read_further_than_others_gets_nothing_twice() {
    let shared = new();
    come_with(&shared, 'a', WANT).leave(moment());
    publish(&shared, 3);
    let (_a, hub) = (come_with(&shared, 'a', b""), &shared.hub);
    let work = next_read(hub).expect("what it missed");
    for offset in 0..6 {
        assert!(hub.catch_up(&work, Offset(offset), &event(Qos::AtLeastOnce), Age(0)));
    }
    let _b = come_with(&shared, 'b', WANT);
    hub.caught_up(&work, Offset(6), Offset(6));
    let of_a = hub.sessions(9).into_iter().find(|session| session.client == "a");
    assert_eq!(of_a.expect("it has a session").reads_from, Some(6));
}

#[test]
fn a_message_reaches_a_new_subscriber_once_retained_or_live() {
    let shared = new();
    let retained = Event { retain: true, ..event(Qos::AtLeastOnce) };
    let mut a = come_with(&shared, 'a', WANT);
    shared.hub.listened_from();
    let leave = || {
        let mut desk = shared.ingest.desk();
        let offset = desk.append(&retained).expect("there is room");
        shared.hub.retain(&retained, (offset, Age(0)), shared.ingest.durable());
        offset
    };
    // One that the fan-out has not come to, and one that it has handed out before the next one subscribes.
    let first = leave();
    commit(&shared);
    let mut b = come_with(&shared, 'b', WANT);
    shared.hub.distribute(first, &retained, Age(0));
    shared.hub.set_position(Offset(1));
    assert_eq!(taken(&mut a), 1);
    taken(&mut b);
    while let Some(work) = next_read(&shared.hub) {
        assert_eq!(work.from, Offset(0));
        shared.hub.catch_up(&work, first, &retained, Age(0));
        shared.hub.caught_up(&work, Offset(1), Offset(1));
        taken(&mut b);
    }
    let of_b = shared.hub.sessions(9).into_iter().find(|session| session.client == "b");
    assert_eq!(of_b.expect("it has a session").delivered, 1);
}

/// What waits for a group is asked for when a member has room, whoever else has caught up.
#[test]
fn who_has_room_is_served_the_rest_of_what_its_group_is_due() {
    let shared = new();
    come_with(&shared, 'a', SHARE).leave(moment());
    publish(&shared, 1_500);
    let (mut client, hub) = (come_with(&shared, 'a', b""), &shared.hub);
    let own = next_read(hub).expect("its own");
    hub.caught_up(&own, Offset(1_500), Offset(1_500));
    let work = next_read(hub).expect("the group's");
    let has_room =
        |offset: &u64| hub.catch_up(&work, Offset(*offset), &event(Qos::AtLeastOnce), Age(0));
    let served = (0..1_500).take_while(has_room).count() as u64;
    assert!(served < 1_500);
    hub.caught_up(&work, Offset(served), Offset(1_500));
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let mut is_asked = || core::pin::pin!(hub.work()).poll(&mut context).is_ready();
    while is_asked() {}
    // As many as may be under way, again and again.
    for _ in 0..20 {
        let mut out = Vec::new();
        client.handle_wake(moment(), &mut out);
        let mut at = 0;
        while at < out.len() {
            if out[at] & 0xF0 == 0x30 {
                let puback = [0x40, 2, out[at + 5], out[at + 6]];
                client.handle_bytes(moment(), &puback, &mut Vec::new());
            }
            at += 2 + usize::from(out[at + 1]);
        }
    }
    assert!(is_asked(), "{served} were served, and nobody asks for more");
}

#[test]
fn what_is_sent_again_keeps_to_what_the_client_can_take_now() {
    let shared = new();
    let mut client = come_with(&shared, 'a', WANT);
    publish(&shared, 3);
    distribute(&shared, 0..3);
    assert_eq!(taken(&mut client), 3);
    client.leave(moment());
    // Receive Maximum: one.
    let one = b"\x10\x16\0\x04MQTT\x05\0\0\x3c\x08\x11\0\0\0\x0a\x21\0\x01\0\x01a";
    let (mut client, mut out) = enter(&shared, one, moment());
    commit(&shared);
    client.handle_wake(moment(), &mut out);
    let mut sent = 0;
    while let Some(work) = next_read(&shared.hub) {
        if work.again.is_some() {
            shared.hub.send_again(&work, Some((&event(Qos::AtLeastOnce), Age(0))));
        } else {
            shared.hub.caught_up(&work, Offset(3), Offset(3));
        }
        sent += taken(&mut client);
    }
    assert_eq!(sent, 1);
}

/// The fan-out would look for it again and again, for as long as the log holds.
#[test]
fn whose_place_is_not_durable_yet_is_waited_for() {
    let shared = new();
    let hub = &shared.hub;
    let mut client = come_with(&shared, 'a', b"");
    shared.ingest.desk().append(&event(Qos::AtLeastOnce)).expect("there is room");
    client.leave(moment());
    let _client = enter(&shared, &lasting('a'), moment());
    let (durable, next) = (Offset(0), Offset(1));
    assert!(matches!(hub.next_work(durable), Next::Wait) && hub.is_awaited(durable));
    let Next::Read(work) = hub.next_work(next) else { panic!("it is durable") };
    hub.caught_up(&work, next, next);
    assert!(matches!(hub.next_work(next), Next::Wait) && !hub.is_awaited(next));
}

/// Its requests wait unread while its output is full.
#[test]
fn who_is_slow_to_take_what_it_wants_is_not_silent() {
    let shared = new();
    let (mut client, out) = (come_with(&shared, 'a', WANT), vec![0; OUT_BYTES_MAX]);
    let begun = client.deadline().expect("its keep-alive");
    let later = Moment { now: begun, ..moment() };
    assert!(!client.wants_bytes(&out));
    client.handle_taken(later);
    assert_eq!(client.deadline(), Some(begun.plus_ms(begun.ms_since(moment().now))));
}

/// At QoS 0 there is no PUBACK to wait for, and at QoS 1 not everybody waits.
#[test]
fn what_a_client_published_before_it_subscribed_is_nothing_new_to_it() {
    // To `t`, with RETAIN: `x`.
    const KEPT: &[u8] = b"\x31\x05\0\x01t\0x";
    const SUBACK: &[u8] = &[0x90, 4, 0, 1, 0, 0];
    // What is kept is asked for, or not.
    for (options, brings) in [(0x00, KEPT), (0x20, &[])] {
        let (shared, mut dialogue) = inside();
        let request = [b"\x82\x07\0\x01\0\0\x01t", &[options][..]].concat();
        let mut out = Vec::new();
        let packets = [KEPT, &request].concat();
        let progress = dialogue.handle_bytes(moment(), &packets, &mut out);
        let left_unread = Progress { used: KEPT.len(), wants_more: false, left: 1 };
        assert_eq!((progress, &out[..]), (left_unread, &[][..]));
        // Meanwhile it is us who do not read.
        assert_eq!((dialogue.wants_bytes(&out), dialogue.deadline()), (false, None));
        commit(&shared);
        dialogue.handle_wake(moment(), &mut out);
        assert!(dialogue.wants_bytes(&out) && dialogue.deadline().is_some());
        dialogue.handle_bytes(moment(), &request, &mut out);
        dialogue.handle_wake(moment(), &mut out);
        assert_eq!(out, [SUBACK, brings].concat());
        // It gets as it comes what is behind that.
        assert_eq!(shared.hub.listened_from(), Some(Some(Offset(1))));
    }
}

/// So many messages at QoS 1 have come.
fn messages(dialogue: &mut Dialogue) -> usize {
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    dialogue.handle_wake(moment(), &mut out);
    while at < out.len() {
        count += usize::from(out[at] == 0x32);
        at += 2 + usize::from(out[at + 1]);
    }
    count
}

#[test]
fn what_a_member_has_not_acknowledged_is_for_another_when_its_session_ends() {
    let (shared, wanted) = (new(), event(Qos::AtLeastOnce));
    let [mut first, mut second] = ['a', 'b'].map(|name| come_with(&shared, name, SHARE));
    publish(&shared, 4);
    distribute(&shared, 0..4);
    assert_eq!((messages(&mut first), messages(&mut second)), (2, 2));
    first.leave(moment());
    assert!(next_read(&shared.hub).is_none(), "it may come back");
    assert!(settle_due(&shared, at(10_000), &mut shared.ingest.desk()));
    let work = next_read(&shared.hub).expect("the group's");
    assert_eq!(work.from, Offset(0));
    // What the other one was dealt itself does not come to it again; what comes now is new to it.
    publish(&shared, 1);
    for offset in 0..5 {
        assert!(shared.hub.catch_up(&work, Offset(offset), &wanted, Age(0)));
    }
    shared.hub.caught_up(&work, Offset(5), Offset(5));
    assert_eq!(messages(&mut second), 3);
    second.leave(moment());
    assert!(settle_due(&shared, at(20_000), &mut shared.ingest.desk()));
    assert!(next_read(&shared.hub).is_none(), "nobody is a member any more");
}

/// At QoS 0 it may have come to somebody already, so who has room at QoS 0 does not help.
#[test]
fn what_is_dealt_again_waits_for_who_may_have_it() {
    const AT_MOST_ONCE: &[u8] = b"\x82\x10\0\x02\0\0\x0a$share/g/t\0";
    let (shared, wanted) = (new(), event(Qos::AtLeastOnce));
    let [mut first, mut second] = ['a', 'b'].map(|name| come_with(&shared, name, SHARE));
    let mut third = come_with(&shared, 'c', AT_MOST_ONCE);
    publish(&shared, 3);
    distribute(&shared, 0..3);
    let counts = [&mut first, &mut second, &mut third].map(taken);
    assert_eq!(counts, [1, 1, 1]);
    first.leave(moment());
    second.leave(at(5_000));
    assert!(settle_due(&shared, at(10_000), &mut shared.ingest.desk()));
    assert!(next_read(&shared.hub).is_none(), "it would be read for nobody again and again");
    let mut second = come_with(&shared, 'b', b"");
    taken(&mut second);
    let mut served = Vec::new();
    while let Some(again) = next_read(&shared.hub) {
        if again.from == Offset(0) && shared.hub.catch_up(&again, again.from, &wanted, Age(0)) {
            served.push(again.from);
        }
        shared.hub.caught_up(&again, Offset(3), Offset(3));
    }
    assert_eq!((served.len(), taken(&mut second)), (1, 1));
}

/// A member may have the same message under way by a subscription of its own; another one had it for the group.
#[test]
fn what_a_member_has_by_a_subscription_of_its_own_is_for_nobody_else() {
    let (shared, wanted) = (new(), event(Qos::AtLeastOnce));
    let mut first = come_with(&shared, 'a', &[SHARE, WANT].concat());
    let mut second = come_with(&shared, 'b', SHARE);
    publish(&shared, 2);
    distribute(&shared, 0..2);
    assert_eq!((messages(&mut first), messages(&mut second)), (3, 1));
    first.leave(moment());
    assert!(settle_due(&shared, at(10_000), &mut shared.ingest.desk()));
    let work = next_read(&shared.hub).expect("the group's");
    for offset in 0..2 {
        assert!(shared.hub.catch_up(&work, Offset(offset), &wanted, Age(0)));
    }
    shared.hub.caught_up(&work, Offset(2), Offset(2));
    assert_eq!(messages(&mut second), 1, "the one that the other was dealt");
}
