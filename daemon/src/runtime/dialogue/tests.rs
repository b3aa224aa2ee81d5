//! A connection as a value: bytes in, bytes out, and a log that is only pretended.

use core::sync::atomic::Ordering;

use super::*;
use crate::runtime::keeper::settle_due;
use tributary_core::log::Clock;
use tributary_core::time::Timestamp;

/// MQTT 5, clean start, client `a`.
const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a";
/// QoS 1, topic `t`, packet identifier 7, payload `x`.
const PUBLISH: &[u8] = b"\x32\x07\0\x01t\0\x07\0x";

fn moment() -> Moment {
    Moment { now: Instant(1_000), wall: Timestamp(1_800_000_000_000), is_set: true }
}

/// A client that is inside.
fn inside() -> (Arc<Shared>, Dialogue) {
    let shared = Arc::new(Shared {
        ingest: Arc::new(Ingest::new(Offset(0))),
        hub: Arc::default(),
        clocks: Arc::new(Mutex::new(Clocks::resume(None, moment()))),
        settings: Settings::default(),
    });
    let mut dialogue = Dialogue::new(Arc::clone(&shared), moment(), Visit::unchecked());
    let mut out = Vec::new();
    let progress = dialogue.handle_bytes(moment(), CONNECT, &mut out);
    assert_eq!(progress.used, CONNECT.len());
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
    shared.ingest.set_closed(Some(Closed::Failed));
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
    shared.ingest.set_closed(Some(Closed::Failed));
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

#[test]
fn time_off_that_is_counted_late_ends_no_session_before_its_time() {
    // MQTT 5, client `a`; its session lasts ten seconds.
    const LASTING: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\0\x0a\0\x01a";
    let noon = 1_800_000_000_000;
    let last = Clock { wall: Timestamp(noon), age: Age(5_000), trusted: true };
    let at = |ms: u64, wall: i64| Moment {
        now: Instant(ms),
        wall: Timestamp(wall),
        is_set: wall >= noon,
    };
    // The machine was off for an hour and does not know it.
    let clocks = Arc::new(Mutex::new(Clocks::resume(Some(last), at(0, 0))));
    let shared = Arc::new(Shared {
        ingest: Arc::new(Ingest::new(Offset(0))),
        hub: Arc::default(),
        clocks: Arc::clone(&clocks),
        settings: Settings::default(),
    });
    let mut dialogue = Dialogue::new(Arc::clone(&shared), at(1_000, 1_000), Visit::unchecked());
    let mut out = Vec::new();
    dialogue.handle_bytes(at(1_000, 1_000), LASTING, &mut out);
    dialogue.leave(at(2_000, 2_000));
    let set = |ms: u64| at(ms, noon + 3_600_000 + i64::try_from(ms).expect("it is small"));
    assert!(lock(&clocks).stepped(set(3_000)).is_some());
    for (ms, sessions) in [(3_000, 1), (11_999, 1), (12_000, 0)] {
        assert!(settle_due(&shared, set(ms), &mut shared.ingest.desk()));
        assert_eq!(shared.hub.sessions(10).len(), sessions, "after {ms} ms");
    }
}
