//! Events that tell their number, and whose every byte depends on it.

use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_tests::power::Random;

/// Appends the event of a number to the body of a frame.
pub fn encode_event(number: u64, payload_bytes: usize, base: Timestamp, body: &mut Vec<u8>) {
    let mut payload = vec![0; payload_bytes];
    Random::new(number).fill(&mut payload);
    let topic = format!("t/{number}/{payload_bytes}");
    let event = Event {
        topic: &topic,
        payload: &payload,
        client: "c",
        time: Timestamp(base.0 - i64::try_from(number % 3).expect("small")),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    };
    let begin = body.len();
    body.resize(begin + record::encoded_len(&event, base), 0);
    record::encode(&event, base, &mut body[begin..]);
}

/// The number of an event, whose every byte is checked.
pub fn number_of(event: &Event<'_>) -> u64 {
    let mut parts = event.topic.split('/').skip(1);
    let mut part = || parts.next().expect("two numbers");
    let number = part().parse().expect("a number");
    let mut payload = vec![0; part().parse().expect("a number")];
    Random::new(number).fill(&mut payload);
    assert!(event.payload == payload, "event {number} has other bytes");
    assert_eq!((event.client, event.qos, event.origin), ("c", Qos::AtLeastOnce, Origin::Device));
    number
}
