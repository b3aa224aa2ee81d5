//! What a device would publish: a reading that follows from its offset, and the rule that filters it.

use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;
#[cfg(feature = "rules")]
use tributary_rules::{Scratch, Set};

/// Bytes of a reading as a record, at most.
pub(crate) const READING_BYTES: usize = 80;
const TOPIC: &str = "plant/press-1/telemetry";
const PAYLOAD_BYTES: usize = 33;
/// What the rule compares with.
#[cfg(feature = "rules")]
const HOT: u64 = 70;

#[cfg(feature = "rules")]
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/program.bin"));

/// The device.
pub(crate) struct Readings;

impl Readings {
    /// The reading at an offset, as a record.
    pub(crate) fn encode(offset: Offset, into: &mut [u8; READING_BYTES]) -> &[u8] {
        let payload = payload(offset);
        let event = event(&payload);
        let length = record::encoded_len(&event, Timestamp(0));
        record::encode(&event, Timestamp(0), &mut into[..length]);
        &into[..length]
    }

    /// Whether an event is the reading at its offset.
    pub(crate) fn is(offset: Offset, found: &Event<'_>) -> bool {
        *found == event(&payload(offset))
    }
}

fn event(payload: &[u8]) -> Event<'_> {
    Event {
        topic: TOPIC,
        payload,
        client: "",
        time: Timestamp(0),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    }
}

fn temperature(offset: Offset) -> u64 {
    60 + offset.0 % 20
}

/// `{"temperature":71,"n":0000000123}`, with leading blanks in place of zeros.
fn payload(offset: Offset) -> [u8; PAYLOAD_BYTES] {
    let mut payload = *b"{\"temperature\":  ,\"n\":          }";
    for (end, mut number) in [(17, temperature(offset)), (32, offset.0)] {
        let mut at = end;
        while at == end || number > 0 {
            at -= 1;
            payload[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    payload
}

/// The rule.
#[cfg(feature = "rules")]
pub(crate) struct Filter {
    set: Set<&'static [u8]>,
    scratch: Scratch,
}

#[cfg(feature = "rules")]
impl Filter {
    pub(crate) fn new() -> Self {
        let Ok(set) = Set::verify(PROGRAM) else { panic!("the program is of this version") };
        Self { set, scratch: Scratch::new() }
    }

    /// Whether it selects the reading; it must be right.
    pub(crate) fn selects(&mut self, offset: Offset, event: &Event<'_>) -> bool {
        let selected = self.set.evaluate(event, &mut self.scratch).test(0).passes();
        assert!(selected == (temperature(offset) > HOT), "the rule judges as it should");
        selected
    }
}

/// Without rules everything is selected.
#[cfg(not(feature = "rules"))]
pub(crate) struct Filter;

#[cfg(not(feature = "rules"))]
impl Filter {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) fn selects(&mut self, _: Offset, _: &Event<'_>) -> bool {
        true
    }
}
