//! What the hub keeps of those who come and go.

use std::sync::{Arc, Mutex};

use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};
use tributary_mqtt::Settings;

use crate::door::Visit;
use crate::runtime::clock::{Clocks, Moment};
use crate::runtime::dialogue::{Dialogue, Shared};
use crate::runtime::ingest::Ingest;

/// MQTT 5, a session of an hour, client `a`.
const CONNECT: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\0\0\x0e\x10\0\x01a";

#[test]
fn who_comes_and_goes_is_due_once() {
    let moment = |ms| Moment { now: Instant(ms), wall: Timestamp(1_800_000_000_000), is_set: true };
    let shared = Arc::new(Shared {
        ingest: Arc::new(Ingest::new(Offset(0))),
        hub: Arc::default(),
        clocks: Arc::new(Mutex::new(Clocks::resume(None, None, moment(0)))),
        settings: Settings::default(),
    });
    for ms in 1..100 {
        let visit = Visit::unchecked();
        let mut dialogue = Dialogue::new(Arc::clone(&shared), moment(1_000 * ms), visit);
        dialogue.handle_bytes(moment(1_000 * ms), CONNECT, &mut Vec::new());
        assert_eq!(shared.hub.lock().due.len(), 0, "who is here is not due");
        dialogue.leave(moment(1_000 * ms + 500));
        assert_eq!(shared.hub.lock().due.len(), 1);
    }
}
