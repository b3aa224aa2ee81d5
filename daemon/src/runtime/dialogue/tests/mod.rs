//! A connection as a value: bytes in, bytes out, and a log that is only pretended.

mod handing_out;
mod owed;

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::*;
use crate::door::tests::{door, listener, rules};
use crate::runtime::commands::Kept;
use crate::runtime::fanout::Fanout;
use crate::runtime::hub::{Next, RETAINED_BYTES_MAX, Work};
use crate::runtime::ingest::{CHANGES_WAITING_BYTES_MAX, Closed, Taken};
use crate::runtime::keeper::{Keeper, settle_due};
use crate::runtime::sessions::{Batch, RetainedState, State, read_batch};
use tributary_core::log::{Clock, End, Geometry, ReadMedia};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_mqtt::limits::TOPIC_ALIAS_BYTES_FREE;

/// MQTT 5, clean start, client `a`.
const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a";
/// QoS 1, topic `t`, packet identifier 7, payload `x`.
const PUBLISH: &[u8] = b"\x32\x07\0\x01t\0\x07\0x";
/// To `t`, at QoS 0.
const SUBSCRIBE: &[u8] = b"\x82\x07\0\x01\0\0\x01t\0";
const NOON: i64 = 1_800_000_000_000;

fn moment() -> Moment {
    Moment { now: Instant(1_000), wall: Timestamp(NOON), is_set: true }
}

/// MQTT 5, client `a`; its session lasts ten seconds, and its will (topic `w`) waits for two.
const WITH_WILL: &[u8] = b"\x10\x1f\0\x04MQTT\x05\x04\0\x3c\x05\x11\0\0\0\x0a\0\x01a\
    \x05\x18\0\0\0\x02\0\x01w\0\x01x";

fn shared(clocks: Arc<Mutex<Clocks>>) -> Arc<Shared> {
    Arc::new(Shared {
        ingest: Arc::new(Ingest::new(Offset(0))),
        hub: Arc::default(),
        clocks,
        settings: Settings::default(),
    })
}

/// So many milliseconds after the start.
fn at(ms: i64) -> Moment {
    let Moment { now, wall, is_set } = moment();
    let passed = u64::try_from(ms).expect("it is positive");
    Moment { now: Instant(now.0 + passed), wall: Timestamp(wall.0 + ms), is_set }
}

/// A client comes at a moment; what it is told at once.
fn enter(shared: &Arc<Shared>, packet: &[u8], moment: Moment) -> (Dialogue, Vec<u8>) {
    let mut dialogue = Dialogue::new(Arc::clone(shared), moment, Visit::unchecked());
    let mut out = Vec::new();
    let progress = dialogue.handle_bytes(moment, packet, &mut out);
    assert_eq!(progress.used, packet.len());
    (dialogue, out)
}

/// A client that is inside.
fn inside() -> (Arc<Shared>, Dialogue) {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    let (mut dialogue, mut out) = enter(&shared, CONNECT, moment());
    commit(&shared);
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!(out[0], 0x20, "{out:x?}");
    assert_eq!(shared.hub.counters.connects.load(Ordering::Relaxed), 1);
    (shared, dialogue)
}

fn commit(shared: &Shared) {
    let end = shared.ingest.desk().next();
    shared.ingest.committed(end, shared.ingest.take());
}

#[test]
fn who_waits_for_a_log_that_has_failed_is_told() {
    let (shared, mut dialogue) = inside();
    let mut out = Vec::new();
    dialogue.handle_bytes(moment(), PUBLISH, &mut out);
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!((&out[..], dialogue.is_closed()), (&[][..], false));
    shared.ingest.close(Closed::Failed);
    shared.ingest.take().give_up();
    dialogue.handle_wake(moment(), &mut out);
    assert!(dialogue.is_closed());
    // DISCONNECT, implementation specific error: no PUBACK before it.
    assert_eq!(out[..3], [0xE0, 0x01, 0x83], "{out:x?}");
}

#[test]
fn who_waits_for_nothing_may_stay_when_the_log_fails() {
    let (shared, mut dialogue) = inside();
    let mut out = Vec::new();
    dialogue.handle_bytes(moment(), PUBLISH, &mut out);
    commit(&shared);
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!(out[..4], [0x40, 0x02, 0, 7], "{out:x?}");
    shared.ingest.close(Closed::Failed);
    out.clear();
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!((&out[..], dialogue.is_closed()), (&[][..], false));
    // What it publishes now is refused at once.
    dialogue.handle_bytes(moment(), PUBLISH, &mut out);
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!((out[0], &out[2..5]), (0x40, &[0, 7, 0x83][..]), "{out:x?}");
    assert!(out.ends_with(b"the log cannot be written"), "{out:x?}");
    let sessions = shared.hub.sessions(10);
    assert_eq!((sessions[0].client.as_str(), sessions[0].published), ("a", 1));
}

/// The machine was off for an hour and does not know it. With the moment that it is so many
/// milliseconds after the boot.
fn after_an_hour_off() -> (Arc<Shared>, Arc<Mutex<Clocks>>, impl Fn(u64, i64) -> Moment) {
    let last = Clock { wall: Timestamp(NOON), age: Age(5_000), trusted: true };
    let at = |ms: u64, wall: i64| Moment {
        now: Instant(ms),
        wall: Timestamp(wall),
        is_set: wall >= NOON,
    };
    let clocks = Arc::new(Mutex::new(Clocks::resume(Some(last), None, at(0, 0))));
    (shared(Arc::clone(&clocks)), clocks, at)
}

#[test]
fn time_off_that_is_counted_late_ends_no_session_before_its_time() {
    // MQTT 5, client `a`; its session lasts ten seconds.
    const LASTING: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a\0\x01a";
    let (shared, clocks, at) = after_an_hour_off();
    let (mut dialogue, _) = enter(&shared, LASTING, at(1_000, 1_000));
    dialogue.leave(at(2_000, 2_000));
    let set = |ms: u64| at(ms, NOON + 3_600_000 + i64::try_from(ms).expect("it is small"));
    assert!(lock(&clocks).stepped(set(3_000)).is_some());
    for (ms, sessions) in [(3_000, 1), (11_999, 1), (12_000, 0)] {
        assert!(settle_due(&shared, set(ms), &mut shared.ingest.desk()));
        assert_eq!(shared.hub.sessions(10).len(), sessions, "after {ms} ms");
    }
}

/// The client was away for longer than its will waits, and nobody has looked meanwhile.
#[test]
fn a_will_that_is_due_does_not_wait_for_who_comes_again() {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    enter(&shared, WITH_WILL, moment()).0.leave(at(1_000));
    enter(&shared, WITH_WILL, at(3_500));
    assert_eq!((shared.ingest.take().events(), shared.hub.wills()), (1, 0));
}

/// A session has ended, its will found no room, and its client is back before there is some.
#[test]
fn what_ended_before_a_client_came_does_not_end_what_it_has_begun() {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    enter(&shared, WITH_WILL, moment()).0.leave(at(1_000));
    shared.ingest.hold(true);
    enter(&shared, WITH_WILL, at(12_000));
    let taken = shared.ingest.take();
    assert_eq!((taken.events(), shared.hub.wills()), (1, 0));
    let mut state = State::default();
    fold(&mut state, &taken);
    assert!(state.clients.contains_key("a"), "a start would not know it");
}

/// The same, and it leaves nothing behind this time: of what the log knows, nothing holds any more.
#[test]
fn a_will_that_waited_while_its_client_came_is_not_published_again_after_a_crash() {
    /// MQTT 5, client `a`, without a session that lasts.
    const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x05\0\0\x3c\0\0\x01a";
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    enter(&shared, WITH_WILL, moment()).0.leave(at(1_000));
    shared.ingest.hold(true);
    let (_client, _) = enter(&shared, CONNECT, at(12_000));
    let taken = shared.ingest.take();
    assert_eq!((taken.events(), shared.hub.wills()), (1, 0));
    let mut state = State::default();
    fold(&mut state, &taken);
    assert!(state.clients.is_empty(), "its will is known, and was published");
}

/// A session that lasts, with a will that is due and finds no room; what the log knows then.
fn with_a_will_that_waits() -> (Arc<Shared>, State) {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    let mut state = State::default();
    enter(&shared, WITH_WILL, moment()).0.leave(at(1_000));
    fold(&mut state, &shared.ingest.take());
    shared.ingest.hold(true);
    assert!(!settle_due(&shared, at(3_500), &mut shared.ingest.desk()));
    (shared, state)
}

/// What it begins goes into the log behind what waits there for room.
#[test]
fn a_client_that_comes_again_has_the_log_forget_no_will_that_waits_for_room() {
    /// MQTT 5, client `a`, whose session lasts ten seconds: begun anew, and the one that it has.
    const ANEW: &[u8] = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\0\x0a\0\x01a";
    const AGAIN: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a\0\x01a";
    for packet in [CONNECT, ANEW, AGAIN, WITH_WILL] {
        let (shared, mut state) = with_a_will_that_waits();
        let (_client, out) = enter(&shared, packet, at(4_000));
        let taken = shared.ingest.take();
        assert_eq!((taken.events(), shared.hub.wills(), &out[..]), (1, 0, &[][..]));
        fold(&mut state, &taken);
        let due = state.clients.get("a").map(|client| client.will_due);
        assert_eq!(due.flatten(), None, "a start would publish it again");
    }
}

#[test]
fn a_session_that_ends_has_the_log_forget_no_will_that_waits_for_room() {
    let (shared, mut state) = with_a_will_that_waits();
    assert!(!settle_due(&shared, at(12_000), &mut shared.ingest.desk()));
    assert_eq!(shared.hub.totals(), (0, 0));
    let taken = shared.ingest.take();
    fold(&mut state, &taken);
    assert!(taken.events() == 1 || state.clients["a"].will.is_some(), "it is lost with a crash");
    shared.ingest.committed(Offset(0), taken);
    shared.ingest.hold(false);
    assert!(settle_due(&shared, at(12_001), &mut shared.ingest.desk()));
    let taken = shared.ingest.take();
    fold(&mut state, &taken);
    assert_eq!((taken.events(), state.clients.len()), (1, 0));
}

/// It waits for the lanes, which may take days.
#[test]
fn in_a_full_log_only_so_many_wait_to_begin_what_lasts() {
    /// MQTT 5, client `c`; its session lasts ten seconds.
    const LASTING: &[u8] = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\0\x0a\0\x01c";
    /// 3.1.1, client `d`; and `b`, with a clean session.
    const OLD_LASTING: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01d";
    const OLD: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01b";
    let (shared, _) = inside();
    let (mut early, mut out) = enter(&shared, LASTING, moment());
    commit(&shared);
    early.handle_wake(moment(), &mut out);
    shared.ingest.hold(true);
    // They come and go, and what they left waits with what the next ones leave.
    let (mut refused, mut came) = (Vec::new(), 0);
    while refused.is_empty() {
        let (mut dialogue, out) = enter(&shared, WITH_WILL, moment());
        assert_eq!(dialogue.is_closed(), !out.is_empty());
        dialogue.leave(moment());
        refused = out;
        came += 1;
        assert!(came < CHANGES_WAITING_BYTES_MAX, "each of them is remembered");
    }
    // CONNACK, quota exceeded.
    assert_eq!((refused[0], refused[3], came > 1_000), (0x20, 0x97, true), "{refused:x?}");
    assert_eq!(enter(&shared, OLD_LASTING, moment()).1, [0x20, 2, 0, 3]);
    out.clear();
    early.handle_bytes(moment(), SUBSCRIBE, &mut out);
    assert_eq!((out[0], out.last()), (0x90, Some(&0x97)), "{out:x?}");
    // Who leaves nothing behind is welcome.
    assert_eq!(enter(&shared, OLD, moment()).1, [0x20, 2, 0, 0]);
    shared.ingest.hold(false);
    commit(&shared);
    let (mut late, mut out) = enter(&shared, WITH_WILL, moment());
    commit(&shared);
    late.handle_wake(moment(), &mut out);
    assert_eq!((out[0], out[3]), (0x20, 0), "{out:x?}");
}

/// What a start knows of what was left for the log.
fn fold(state: &mut State, taken: &Taken) {
    for batch in &taken.changes {
        for (number, noted) in read_batch(batch.body()) {
            state.apply_change(number, noted);
        }
    }
}

/// All that was left for the log is durable; what a start would know of it.
fn settle(shared: &Shared, state: &mut State) {
    let taken = shared.ingest.take();
    fold(state, &taken);
    let end = shared.ingest.desk().next();
    shared.ingest.committed(end, taken);
}

/// The gateway fails again and again, and its client never comes. Whether it shares subscriptions or not.
#[test]
fn who_was_there_when_the_gateway_failed_has_left_once_and_for_all() {
    who_was_there_has_left(SUBSCRIBE);
    who_was_there_has_left(handing_out::SHARE);
}

fn who_was_there_has_left(request: &[u8]) {
    let before = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    let mut state = State::default();
    let (mut dialogue, mut out) = enter(&before, WITH_WILL, moment());
    let taken = before.ingest.take();
    fold(&mut state, &taken);
    before.ingest.committed(Offset(0), taken);
    dialogue.handle_wake(moment(), &mut out);
    dialogue.handle_bytes(moment(), request, &mut out);
    fold(&mut state, &before.ingest.take());
    assert_eq!((state.clients["a"].left, state.clients["a"].filters.len()), (None, 1));
    // Two seconds for the will, and ten for the session.
    for (ms, wills, sessions) in [(1_000, 0, 1), (2_500, 0, 1), (3_500, 1, 1), (11_500, 0, 0)] {
        let clocks = before.clocks.lock().map(|clocks| *clocks).expect("nobody has failed");
        let shared = shared(Arc::new(Mutex::new(clocks)));
        shared.ingest.number_changes_from(state.applied.change);
        shared.hub.restore(state.clone(), shared.age(at(ms)), &clocks.anchor());
        assert!(settle_due(&shared, at(ms), &mut shared.ingest.desk()));
        let taken = shared.ingest.take();
        assert_eq!(taken.events(), wills, "after {ms} ms");
        assert_eq!(shared.hub.sessions(10).len(), sessions, "after {ms} ms");
        fold(&mut state, &taken);
    }
}

#[test]
fn time_off_that_is_counted_late_ends_no_message_before_its_time() {
    // Message Expiry Interval: a minute.
    const MINUTE: &[u8] = &[2, 0, 0, 0, 60];
    let (shared, clocks, at) = after_an_hour_off();
    let mut dialogue = Dialogue::new(Arc::clone(&shared), at(1_000, 1_000), Visit::unchecked());
    let mut out = Vec::new();
    dialogue.handle_bytes(at(1_000, 1_000), CONNECT, &mut out);
    dialogue.handle_bytes(at(1_000, 1_000), SUBSCRIBE, &mut out);
    commit(&shared);
    dialogue.handle_wake(at(1_000, 1_000), &mut out);
    let event = Event { properties: Properties(MINUTE), ..event(Qos::AtMostOnce) };
    // One from before the time off, and one that came in after it.
    let now = lock(&clocks).now(at(2_000, 2_000)).age;
    shared.hub.listened_from();
    for age in [Age(4_000), now] {
        shared.hub.distribute(shared.ingest.durable(), &event, age);
    }
    let set = at(3_000, NOON + 3_600_000 + 3_000);
    assert!(lock(&clocks).stepped(set).is_some());
    out.clear();
    dialogue.handle_wake(set, &mut out);
    assert_eq!(out, b"\x30\x0a\0\x01t\x05\x02\0\0\0\x3bx", "only the one, a second old");
}

/// A log of which nothing can be read.
struct Unreadable;

impl ReadMedia for Unreadable {
    type Error = std::io::Error;

    fn geometry(&self) -> Geometry {
        Geometry { segments: 4, segment_bytes: 64 << 10, page_bytes: 4096 }
    }

    fn read(&self, _: u32, _: u32, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(std::io::ErrorKind::Other.into())
    }
}

#[test]
fn what_is_gone_when_it_is_handed_out_counts_as_missed() {
    let (shared, mut dialogue) = inside();
    let mut fanout = Fanout::new(Arc::clone(&shared.hub), ());
    dialogue.handle_bytes(moment(), SUBSCRIBE, &mut Vec::new());
    // Five were evicted, and five are damaged.
    let (offset, oldest) = (Offset(10), Offset(5));
    fanout.turn(&Unreadable, End { offset, sequence: 0, segment: 0, at: 4096, oldest });
    assert_eq!(shared.hub.counters.missed.load(Ordering::Relaxed), 10);
    assert_eq!(shared.hub.sessions(1)[0].dropped, 10);
    assert!(!fanout.turn(&Unreadable, End { offset, sequence: 0, segment: 0, at: 4096, oldest }));
    assert_eq!(shared.hub.sessions(1)[0].dropped, 10, "each once");
}

/// Keeps commands to `t` at these offsets.
struct KeptAt([u64; 2]);

impl Kept for KeptAt {
    fn read(
        &self,
        offsets: Range<Offset>,
        each: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        let mut kept = self.0.map(Offset).into_iter().filter(|offset| offsets.contains(offset));
        kept.find(|offset| !each(*offset, &event(Qos::AtMostOnce), Age(0)))
    }
}

#[test]
fn commands_among_what_is_gone_are_handed_out_and_not_missed() {
    let (shared, mut dialogue) = inside();
    let mut fanout = Fanout::new(Arc::clone(&shared.hub), KeptAt([3, 7]));
    let mut out = Vec::new();
    dialogue.handle_bytes(moment(), SUBSCRIBE, &mut out);
    let (offset, oldest) = (Offset(10), Offset(5));
    fanout.turn(&Unreadable, End { offset, sequence: 0, segment: 0, at: 4096, oldest });
    assert_eq!(shared.hub.sessions(1)[0].dropped, 8);
    out.clear();
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!(out, b"\x30\x05\0\x01t\0x\x30\x05\0\x01t\0x");
}

/// To `t`, from another client.
fn event(qos: Qos) -> Event<'static> {
    Event {
        topic: "t",
        payload: b"x",
        client: "b",
        time: Timestamp(0),
        qos,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    }
}

/// Its session lasts, and it wants `t` at QoS 1.
fn come(shared: &Arc<Shared>) -> Dialogue {
    const LASTING: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a\0\x01a";
    let (mut dialogue, mut out) = enter(shared, LASTING, moment());
    commit(shared);
    dialogue.handle_wake(moment(), &mut out);
    dialogue.handle_bytes(moment(), b"\x82\x07\0\x01\0\0\x01t\x01", &mut out);
    commit(shared);
    dialogue
}

/// What is read for a client reaches it, or is read again: also if it goes and comes back meanwhile.
#[test]
fn who_goes_while_the_log_is_read_for_it_misses_nothing() {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    come(&shared).leave(moment());
    let event = event(Qos::AtLeastOnce);
    for _ in 0..6 {
        shared.ingest.desk().append(&event).expect("there is room");
    }
    commit(&shared);
    let hub = &shared.hub;
    let catch_up = |work: &Work, offsets: Range<u64>| {
        offsets.filter(|offset| hub.catch_up(work, Offset(*offset), &event, Age(0))).count()
    };
    let reads_from = || hub.sessions(1)[0].reads_from;
    let next = || match hub.next_work(Offset(6)) {
        Next::Read(work) => work,
        other => panic!("something waits for it: {other:?}"),
    };
    let mut client = come(&shared);
    let before = next();
    assert_eq!((before.from, catch_up(&before, 0..3)), (Offset(0), 3));
    client.leave(moment());
    client = come(&shared);
    assert_eq!(catch_up(&before, 3..6), 0, "it is not for the connection that there is now");
    hub.caught_up(&before, Offset(3), Offset(6));
    assert_eq!(reads_from(), Some(0));
    assert_eq!(catch_up(&next(), 0..3), 3);
    client.handle_wake(moment(), &mut Vec::new());
    client.leave(moment());
    assert_eq!(reads_from(), Some(3), "three are under way");
    client = come(&shared);
    let before = next();
    client.leave(moment());
    let _client = come(&shared);
    hub.send_again(&before, Some((&event, Age(0))));
    let now = next();
    assert_eq!((now.again.is_some(), now.from), (true, Offset(0)), "it was not taken for sent");
    hub.send_again(&now, Some((&event, Age(0))));
    assert!(matches!(hub.next_work(Offset(6)), Next::Wait), "it waits in the mailbox");
}

/// Of several connections with one client identifier that come at the same moment one stays (MQTT-3.1.4-3).
#[test]
fn of_those_who_come_at_once_with_one_name_one_stays() {
    const COME: usize = 4;
    for _ in 0..200 {
        let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
        let together = std::sync::Barrier::new(COME);
        let come = || {
            let mut dialogue = Dialogue::new(Arc::clone(&shared), moment(), Visit::unchecked());
            together.wait();
            dialogue.handle_bytes(moment(), CONNECT, &mut Vec::new());
            dialogue
        };
        let mut all: Vec<Dialogue> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COME).map(|_| scope.spawn(come)).collect();
            threads.into_iter().map(|thread| thread.join().expect("nobody panics")).collect()
        });
        assert_eq!(shared.hub.connections(), 1);
        for dialogue in &mut all {
            dialogue.handle_wake(moment(), &mut Vec::new());
        }
        assert_eq!(all.iter().filter(|dialogue| !dialogue.is_closed()).count(), 1);
        for dialogue in &mut all {
            dialogue.leave(moment());
        }
        assert_eq!(shared.hub.connections(), 0);
    }
}

/// SUBSCRIBE to a filter so many times, with these options in turn; packet identifier 1.
fn subscribe_often(filter: &str, times: usize, options: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    for option in options.iter().cycle().take(times) {
        let length = u16::try_from(filter.len()).expect("it is short");
        body.extend(length.to_be_bytes());
        body.extend(filter.as_bytes());
        body.push(*option);
    }
    packet(0x82, &body)
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut rest = body.len();
    while rest >= 128 {
        packet.push(u8::try_from(rest % 128).expect("it is small") | 128);
        rest /= 128;
    }
    packet.push(u8::try_from(rest).expect("it is small"));
    packet.extend(body);
    packet
}

/// MQTT 5, a name of so many bytes; its session lasts ten seconds.
fn lasting(name_bytes: u16) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a".to_vec();
    body.extend(name_bytes.to_be_bytes());
    body.resize(body.len() + usize::from(name_bytes), b'n');
    packet(0x10, &body)
}

/// A client that is inside, with a name as long as may be.
fn inside_at_length() -> (Arc<Shared>, Dialogue) {
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    let (mut dialogue, mut out) = enter(&shared, &lasting(1_024), moment());
    commit(&shared);
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!(out[0], 0x20, "{out:x?}");
    (shared, dialogue)
}

#[test]
fn what_one_packet_may_cost_the_log_is_bounded() {
    let (shared, mut dialogue) = inside_at_length();
    for options in [&[1][..], &[0, 1]] {
        let mut out = Vec::new();
        let packet = subscribe_often("#", 65_534, options);
        assert_eq!(dialogue.handle_bytes(moment(), &packet, &mut out).used, packet.len());
        assert!(out.is_empty(), "the answer waits for the log");
        let taken = shared.ingest.take();
        let bytes: usize = taken.changes.iter().map(Batch::bytes).sum();
        let bound = if options.len() == 1 { 2 << 10 } else { 1_100 << 10 };
        assert!((1..bound).contains(&bytes), "{bytes}");
        shared.ingest.committed(Offset(0), taken);
        dialogue.handle_wake(moment(), &mut out);
        let answers = &out[out.len() - 65_534..];
        let refused = answers.iter().position(|answer| *answer == 0x97);
        assert_eq!(refused, Some(1_024));
        assert!(answers[1_024..].iter().all(|answer| *answer == 0x97));
    }
}

/// Clients send more than the log can take: they are not read meanwhile.
#[test]
fn nobody_is_read_while_too_many_changes_wait() {
    let (shared, mut dialogue) = inside_at_length();
    let other = enter(&shared, CONNECT, moment()).0;
    let packet = subscribe_often("#", 1_024, &[0, 1]).repeat(100);
    let mut out = Vec::new();
    let progress = dialogue.handle_bytes(moment(), &packet, &mut out);
    assert!(progress.used < packet.len() / 10 && !progress.wants_more, "{progress:?}");
    for dialogue in [&dialogue, &other] {
        assert!(dialogue.is_held() && !dialogue.wants_bytes(&[]));
        assert_eq!(dialogue.deadline(), None, "it is us who do not read");
    }
    commit(&shared);
    assert!(!dialogue.is_held() && dialogue.wants_bytes(&[]) && other.wants_bytes(&[]));
}

/// What is known already needs no change, but the one that made it so may still be on its way.
#[test]
fn an_answer_waits_for_what_made_it_true() {
    let (shared, mut dialogue) = inside_at_length();
    let subscribe = subscribe_often("t", 1, &[1]);
    let unsubscribe = b"\xa2\x06\0\x02\0\0\x01t";
    for (packet, answer) in [(&subscribe[..], 0x90), (unsubscribe, 0xB0)] {
        let mut out = Vec::new();
        dialogue.handle_bytes(moment(), packet, &mut out);
        let taken = shared.ingest.take();
        dialogue.handle_bytes(moment(), packet, &mut out);
        dialogue.handle_wake(moment(), &mut out);
        assert_eq!((&out[..], shared.ingest.take().changes.len()), (&[][..], 0));
        shared.ingest.committed(Offset(0), taken);
        dialogue.handle_wake(moment(), &mut out);
        let answers = out.split(|byte| *byte == answer).count() - 1;
        assert_eq!(answers, 2, "{out:x?}");
        out.clear();
        dialogue.handle_bytes(moment(), packet, &mut out);
        assert_eq!(out[0], answer, "it is durable");
    }
}

/// To a topic of its own with a payload of so many bytes, to be kept, at QoS 1; MQTT 3.1.1.
fn publish_kept(number: usize, bytes: usize) -> Vec<u8> {
    let topic = format!("t/{number:04}");
    let mut body = vec![0, u8::try_from(topic.len()).expect("it is short")];
    body.extend(topic.as_bytes());
    body.extend([0, 7]);
    body.resize(body.len() + bytes, b'x');
    packet(0x33, &body)
}

/// MQTT 3.1.1, with a number for a name, and flags and what follows the name.
fn old(number: usize, flags: u8, will: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.extend([flags, 0, 0x3c, 0, 4]);
    body.extend(format!("{number:04}").as_bytes());
    body.extend(will);
    packet(0x10, &body)
}

/// What waited for room at the desk does not get round the room for what is kept.
#[test]
fn what_was_held_is_kept_only_where_there_is_room() {
    const BYTES: usize = 200_000;
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    shared.ingest.hold(true);
    let mut all: Vec<Dialogue> = (0..100)
        .map(|number| {
            let (mut dialogue, mut out) = enter(&shared, &old(number, 2, &[]), moment());
            dialogue.handle_bytes(moment(), &publish_kept(number, BYTES), &mut out);
            assert!(dialogue.is_held());
            dialogue
        })
        .collect();
    shared.ingest.hold(false);
    for _ in 0..100 {
        for dialogue in &mut all {
            dialogue.retry(moment(), &mut Vec::new());
        }
        commit(&shared);
    }
    assert!(all.iter().all(|dialogue| !dialogue.is_held()));
    assert!(shared.has_room_for(&event(Qos::AtMostOnce), moment()));
    assert_eq!(shared.hub.retained(), RETAINED_BYTES_MAX / BYTES);
    let unretained = shared.hub.counters.unretained.load(Ordering::Relaxed);
    assert_eq!(unretained, 100 - shared.hub.retained() as u64);
}

#[test]
fn wills_are_kept_only_where_there_is_room() {
    const BYTES: usize = 60_000;
    let shared = shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))));
    for number in 0..300 {
        let mut will = vec![0, 4];
        will.extend(format!("{number:04}").as_bytes());
        will.extend(u16::try_from(BYTES).expect("it is small").to_be_bytes());
        will.resize(will.len() + BYTES, b'x');
        // Will, to be kept, of a session that is clean.
        let (mut dialogue, _) = enter(&shared, &old(number, 0b10_0110, &will), moment());
        commit(&shared);
        dialogue.handle_wake(moment(), &mut Vec::new());
        dialogue.leave(moment());
        assert!(settle_due(&shared, moment(), &mut shared.ingest.desk()));
        commit(&shared);
    }
    assert!(shared.has_room_for(&event(Qos::AtMostOnce), moment()));
    let kept = shared.hub.retained();
    assert!((270..=RETAINED_BYTES_MAX / BYTES).contains(&kept), "{kept}");
    assert_eq!(shared.hub.counters.unretained.load(Ordering::Relaxed), 300 - kept as u64);
    assert_eq!(shared.ingest.durable(), Offset(300), "they were published");
}

/// A version before may have kept more.
#[test]
fn a_start_keeps_what_there_is_room_for() {
    const BYTES: usize = 200_000;
    let mut state = State::default();
    for number in 0..100 {
        let topic = format!("t/{number}");
        let event = Event { topic: &topic, payload: &vec![0; BYTES], ..event(Qos::AtLeastOnce) };
        state.retained.insert(topic.clone(), RetainedState::of(&event, number, Age(0)));
    }
    let hub = Hub::default();
    hub.restore(state, Age(0), &Clocks::resume(None, None, moment()).anchor());
    assert_eq!(hub.retained(), RETAINED_BYTES_MAX / BYTES);
}

/// A minute.
const ENDS: &[u8] = &[2, 0, 0, 0, 60];

#[test]
fn what_is_over_makes_room_for_what_is_to_be_kept() {
    const BYTES: usize = 200_000;
    let shared = shared_at_noon();
    let payload = vec![0; BYTES];
    let fills = |topic: &str, ms: i64| {
        let event = Event { topic, payload: &payload, retain: true, ..event(Qos::AtLeastOnce) };
        let event = Event { properties: Properties(ENDS), ..event };
        let has_room = shared.has_room_for(&event, at(ms));
        if has_room {
            let offset = shared.ingest.desk().append(&event).expect("there is room");
            shared.hub.retain(&event, (offset, shared.age(at(ms))), shared.ingest.durable());
            commit(&shared);
        }
        has_room
    };
    let count = (0..100).take_while(|number| fills(&format!("t/{number}"), 0)).count();
    assert_eq!(count, RETAINED_BYTES_MAX / BYTES);
    assert!(!fills("new", 59_999));
    assert!(fills("new", 60_000));
    assert_eq!(shared.hub.retained(), 0);
    assert!(shared.has_room_for(&event(Qos::AtMostOnce), at(60_000)));
    assert_eq!(shared.hub.retained(), 1);
}

/// Nothing else is published.
#[test]
fn what_is_over_is_given_up_in_time() {
    let shared = shared_at_noon();
    let mut keeper = Keeper::new(Arc::clone(&shared), moment());
    keeper.turn(moment());
    let told = shared.hub.retained();
    let event = Event { properties: Properties(ENDS), retain: true, ..event(Qos::AtLeastOnce) };
    let age = shared.age(moment());
    shared.hub.retain(&event, (Offset(0), age), Offset(0));
    let anchor = lock(&shared.clocks).anchor();
    shared.hub.has_room_for(&event, Offset(1), (age, &anchor));
    for (ms, left) in [(1_000, 1), (59_000, 1), (60_001, 0)] {
        keeper.turn(at(ms));
        assert_eq!(shared.hub.retained() - told, left, "after {ms} ms");
    }
}

#[test]
fn a_start_keeps_nothing_that_is_over() {
    let mut state = State::default();
    for (number, age) in [1_000, 2_000].into_iter().enumerate() {
        let (topic, properties) = (format!("t/{number}"), Properties(ENDS));
        let event = Event { topic: &topic, properties, ..event(Qos::AtLeastOnce) };
        state.retained.insert(topic.clone(), RetainedState::of(&event, 0, Age(age)));
    }
    let hub = Hub::default();
    let anchor = Clocks::resume(None, None, moment()).anchor();
    hub.restore(state, Age(61_000), &anchor);
    assert_eq!(hub.retained(), 1);
}

/// MQTT 3.1.1, client `a`, whose session lasts.
const LASTING_311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01a";
/// QoS 2, topic `t`, packet identifier 7, payload `x`; for the first time, and again.
const EXACTLY_ONCE: [&[u8]; 2] = [b"\x34\x06\0\x01t\0\x07x", b"\x3c\x06\0\x01t\0\x07x"];
const PUBREC: &[u8] = b"\x50\x02\0\x07";

fn shared_at_noon() -> Arc<Shared> {
    shared(Arc::new(Mutex::new(Clocks::resume(None, None, moment()))))
}

/// Comes with a session that lasts, and is welcomed.
fn come_311(shared: &Arc<Shared>, is_present: bool) -> Dialogue {
    let (mut dialogue, mut out) = enter(shared, LASTING_311, moment());
    // The changes are durable, and the events are not.
    let changes = shared.ingest.take().changes;
    shared.ingest.committed(shared.ingest.durable(), Taken { changes, ..Taken::default() });
    dialogue.handle_wake(moment(), &mut out);
    assert_eq!(out, [0x20, 0x02, u8::from(is_present), 0]);
    dialogue
}

fn heard(dialogue: &mut Dialogue, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    dialogue.handle_bytes(moment(), bytes, &mut out);
    dialogue.handle_wake(moment(), &mut out);
    out
}

#[test]
fn what_waited_for_room_when_its_client_went_is_stored_once_when_it_comes_again() {
    let [first, again] = EXACTLY_ONCE;
    let shared = shared_at_noon();
    let mut dialogue = come_311(&shared, false);
    shared.ingest.hold(true);
    assert_eq!(heard(&mut dialogue, first), b"");
    assert!(dialogue.is_held());
    dialogue.leave(moment());
    let mut dialogue = come_311(&shared, true);
    assert_eq!((heard(&mut dialogue, again), dialogue.is_held()), (vec![], true));
    shared.ingest.hold(false);
    dialogue.retry(moment(), &mut Vec::new());
    assert_eq!(shared.ingest.desk().next(), Offset(1));
    assert_eq!(heard(&mut dialogue, b""), b"");
    commit(&shared);
    assert_eq!(heard(&mut dialogue, b""), PUBREC);
    assert_eq!(heard(&mut dialogue, again), PUBREC);
    assert_eq!(shared.ingest.desk().next(), Offset(1));
}

#[test]
fn what_waited_for_room_when_its_client_was_taken_over_is_not_stored_beside_what_comes_again() {
    let [first, again] = EXACTLY_ONCE;
    let shared = shared_at_noon();
    let mut before = come_311(&shared, false);
    shared.ingest.hold(true);
    heard(&mut before, first);
    let mut dialogue = come_311(&shared, true);
    shared.ingest.hold(false);
    before.retry(moment(), &mut Vec::new());
    heard(&mut dialogue, again);
    assert_eq!(shared.ingest.desk().next(), Offset(1));
}

/// A log that holds makes changes durable and events not.
#[test]
fn a_pubrec_waits_for_its_event_after_its_client_has_come_again_too() {
    let [first, again] = EXACTLY_ONCE;
    let shared = shared_at_noon();
    shared.ingest.desk().append(&event(Qos::AtMostOnce)).expect("there is room");
    commit(&shared);
    let mut dialogue = come_311(&shared, false);
    assert_eq!(heard(&mut dialogue, first), b"");
    dialogue.leave(moment());
    let mut dialogue = come_311(&shared, true);
    assert_eq!(heard(&mut dialogue, again), b"");
    commit(&shared);
    assert_eq!(heard(&mut dialogue, b""), PUBREC);
    assert_eq!(shared.ingest.desk().next(), Offset(2));
}

/// Between its CONNECT and the answer another has come with its name, and the log has failed.
#[test]
fn who_was_taken_over_before_its_answer_is_not_answered_when_the_log_fails() {
    let shared = shared_at_noon();
    let (mut before, _) = enter(&shared, LASTING_311, moment());
    let (mut after, _) = enter(&shared, LASTING_311, moment());
    shared.ingest.close(Closed::Failed);
    shared.ingest.take().give_up();
    assert_eq!((heard(&mut before, b""), before.is_closed()), (vec![], true));
    // Not available.
    assert_eq!((heard(&mut after, b""), after.is_closed()), (b"\x20\x02\0\x03".to_vec(), true));
}

#[test]
fn the_will_of_who_is_taken_over_is_judged_once_more() {
    for (acl, wills) in [("topic write #", 1), ("topic write t", 0)] {
        let listener = listener();
        let door = door(&listener, (None, Some("topic write #")));
        let shared = shared_at_noon();
        let address = core::net::Ipv4Addr::LOCALHOST.into();
        let visit = || Visit::new(Arc::clone(&door), address);
        let mut before = Dialogue::new(Arc::clone(&shared), moment(), visit());
        heard(&mut before, WITH_WILL);
        commit(&shared);
        assert_eq!(heard(&mut before, b"")[..1], [0x20]);
        door.put(rules(&listener, (None, Some(acl))));
        // A clean start: the will does not wait.
        heard(&mut Dialogue::new(Arc::clone(&shared), moment(), visit()), CONNECT);
        assert_eq!((shared.ingest.take().events(), shared.hub.wills()), (wills, 0), "{acl}");
    }
}

#[test]
fn nobody_leaves_a_will_under_the_topics_of_the_daemon() {
    // MQTT 5, clean start, client `a`, will `x` to `$SYS/broker/version`, retained.
    const FORGED: &[u8] = b"\x10\x27\0\x04MQTT\x05\x26\0\x3c\0\0\x01a\
        \0\0\x13$SYS/broker/version\0\x01x";
    let shared = shared_at_noon();
    let (dialogue, out) = enter(&shared, FORGED, moment());
    // Not authorized.
    assert_eq!((out[0], out[3], dialogue.is_closed()), (0x20, 0x87, true), "{out:x?}");
    assert_eq!(shared.hub.connections(), 0);
}

#[test]
fn what_waits_for_room_is_counted() {
    let shared = shared_at_noon();
    let mut dialogue = come_311(&shared, false);
    assert_eq!(dialogue.holds_bytes(), 0);
    shared.ingest.hold(true);
    heard(&mut dialogue, EXACTLY_ONCE[0]);
    // Topic, payload and client identifier.
    assert_eq!(dialogue.holds_bytes(), 3);
    shared.ingest.hold(false);
    dialogue.retry(moment(), &mut Vec::new());
    assert_eq!(dialogue.holds_bytes(), 0);
}

/// As many as it was announced: who holds much by it makes room where others need it.
#[test]
fn long_topics_behind_aliases_are_counted_and_make_room() {
    const BYTES: usize = 20_000;
    let (_, mut dialogue) = inside();
    let mut out = Vec::new();
    for (alias, holds) in
        [(1, BYTES - TOPIC_ALIAS_BYTES_FREE), (2, 2 * BYTES - TOPIC_ALIAS_BYTES_FREE)]
    {
        let properties = [0x23, 0, alias];
        let mut bytes = vec![0x30];
        let length = 2 + BYTES + 1 + properties.len();
        bytes.extend(
            [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]
                .map(|digit| digit.to_le_bytes()[0]),
        );
        bytes.extend(u16::try_from(BYTES).expect("it fits").to_be_bytes());
        bytes.extend(vec![b't'; BYTES]);
        bytes.push(3);
        bytes.extend(properties);
        assert_eq!(dialogue.handle_bytes(moment(), &bytes, &mut out).used, bytes.len());
        assert_eq!((dialogue.holds_bytes(), dialogue.may_be_turned_out()), (holds, true));
        assert!(out.is_empty() && !dialogue.is_closed());
    }
    dialogue.turn_out(&mut out);
    assert_eq!((out[..3].to_vec(), dialogue.is_closed()), (vec![0xE0, 1, 0x97], true));
    assert_eq!((dialogue.holds_bytes(), dialogue.may_be_turned_out()), (0, false));
}

#[test]
fn what_waits_for_a_password_is_counted_and_makes_room() {
    // MQTT 5, clean start, client `a`, user `u`, password `p`.
    const LOGIN: &[u8] = b"\x10\x14\0\x04MQTT\x05\xc2\0\x3c\0\0\x01a\0\x01u\0\x01p";
    let shared = shared_at_noon();
    let door = door(&listener(), (Some(""), None));
    let visit = Visit::new(door, core::net::Ipv4Addr::LOCALHOST.into());
    let mut dialogue = Dialogue::new(Arc::clone(&shared), moment(), visit);
    let mut out = Vec::new();
    dialogue.handle_bytes(moment(), LOGIN, &mut out);
    assert!(dialogue.may_be_turned_out() && out.is_empty());
    assert_eq!(dialogue.holds_bytes(), 2 * LOGIN.len());
    dialogue.turn_out(&mut out);
    // Busy.
    assert_eq!((out[0], out[3], dialogue.is_closed()), (0x20, 0x89, true), "{out:x?}");
    assert_eq!((dialogue.holds_bytes(), dialogue.may_be_turned_out()), (0, false));
}
