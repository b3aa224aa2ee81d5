//! Events for a log that a lane ships from in virtual time.

use tributary_core::log::Clock;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos, encode, encoded_len};
use tributary_core::time::{Age, Timestamp};

/// The wall time when virtual time begins, as a simulated cluster has it: 2026-01-01.
pub const WALL_AT_ORIGIN: Timestamp = Timestamp(1_767_225_600_000);

/// Both clocks after so many milliseconds.
#[must_use]
pub const fn clock(now: u64) -> Clock {
    Clock { wall: Timestamp(WALL_AT_ORIGIN.0 + now.cast_signed()), age: Age(now), trusted: true }
}

/// What the event with a number holds.
#[must_use]
pub fn payload(number: u64) -> String {
    format!("reading {number:0100}")
}

/// The record of that event: the body of a frame of its own.
#[must_use]
pub fn reading(number: u64, clock: Clock) -> Vec<u8> {
    let payload = payload(number);
    let event = Event {
        topic: "plant",
        payload: payload.as_bytes(),
        client: "press",
        time: clock.wall,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    };
    let mut body = vec![0; encoded_len(&event, clock.wall)];
    encode(&event, clock.wall, &mut body);
    body
}
