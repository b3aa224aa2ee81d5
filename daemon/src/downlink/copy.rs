//! A command in the stream of commands: the event as it stands in the input, with two user properties in
//! front that name its place there.
//!
//! No record's headers can pass for them: the properties that name the record come before those.

use tributary_core::Offset;
use tributary_core::properties::{Properties, Property};
use tributary_core::record::{self, Event};
use tributary_core::time::Timestamp;

use crate::properties::user;

/// The log whose event it is.
const LOG: &str = "tributary.log";
/// Its offset in the input.
const OFFSET: &str = "tributary.offset";

/// A command of a log's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied<'a> {
    /// The log.
    pub log_id: u64,
    /// The offset in its input.
    pub offset: Offset,
    /// The event as it is there.
    pub event: Event<'a>,
}

impl<'a> Copied<'a> {
    /// The record to append, relative to `base`.
    #[must_use]
    pub fn encode(&self, base: Timestamp) -> Vec<u8> {
        let mut properties = Vec::new();
        let (log, offset) = (format!("{:016x}", self.log_id), self.offset.to_string());
        for (name, value) in [(LOG, log), (OFFSET, offset)] {
            user(&mut properties, name, &value);
        }
        properties.extend_from_slice(self.event.properties.0);
        let copy = Event { properties: Properties(&properties), ..self.event };
        let mut record = vec![0; record::encoded_len(&copy, base)];
        record::encode(&copy, base, &mut record);
        record
    }

    /// What an event of the stream was; `None`: it is none of ours.
    #[must_use]
    pub fn read(copy: &Event<'a>) -> Option<Self> {
        let mut all = copy.properties.iter();
        let mut front = 0;
        let mut named = |wanted: &str| match all.next() {
            Some(Property::User(name, value)) if name == wanted => {
                front += 5 + name.len() + value.len();
                Some(value)
            }
            _ => None,
        };
        let log_id = u64::from_str_radix(named(LOG)?, 16).ok()?;
        let offset = Offset(named(OFFSET)?.parse().ok()?);
        let event = Event { properties: Properties(&copy.properties.0[front..]), ..*copy };
        Some(Self { log_id, offset, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_core::record::{Origin, Qos};

    #[test]
    fn a_copy_is_the_event_again_and_knows_its_place() {
        let forged = b"\x26\0\x10tributary.offset\0\x017";
        let event = Event {
            topic: "cmd/1",
            payload: b"on",
            client: "kafka/commands",
            time: Timestamp(1_500),
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: Origin::Downlink,
            packet_id: None,
            properties: Properties(forged),
        };
        assert_eq!(Copied::read(&event), None);
        let copied = Copied { log_id: 0xAB, offset: Offset(12), event };
        let record = copied.encode(Timestamp(1_000));
        let read = record::decode(&mut record.as_slice(), Timestamp(1_000)).expect("a record");
        assert_eq!(Copied::read(&read), Some(copied));
    }
}
