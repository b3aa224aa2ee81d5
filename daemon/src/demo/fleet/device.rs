//! One device's side of MQTT `QoS` 1, as a value.
//!
//! A reading keeps its sequence number however often it has to be sent. PUBACKs come in the order
//! of the publishes (MQTT-4.6.0-2), so two numbers hold the whole state: what was acknowledged and
//! what was sent on this connection.

use core::num::NonZeroU16;

use tributary_mqtt::Version;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::property::Properties;
use tributary_mqtt::codec::publish::{Delivery, Publish};

use crate::demo::reading::{Reading, name, topic};

/// Publishes that may wait for their PUBACK.
const WINDOW: usize = 32;
/// The gateway notices a device that is silent for one and a half times this.
const KEEP_ALIVE_S: u16 = 30;

/// A simulated device.
#[derive(Debug)]
pub(super) struct Device {
    number: usize,
    version: Version,
    name: String,
    topic: String,
    /// How often each reading was sent, by sequence number.
    times: Vec<u32>,
    /// All readings below have their PUBACK.
    acknowledged: usize,
    /// The next reading to send on this connection.
    next: usize,
}

/// What became of a device's readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) struct Journal {
    /// The device's number.
    pub(in crate::demo) device: usize,
    /// What it spoke.
    pub(in crate::demo) version: Version,
    /// How often each reading was sent, by sequence number; never 0.
    pub(in crate::demo) times: Vec<u32>,
    /// All readings below have their PUBACK.
    pub(in crate::demo) acknowledged: usize,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) reading: Reading,
    /// Not for the first time.
    pub(super) again: bool,
}

impl Device {
    /// Even numbers speak MQTT 3.1.1, odd ones MQTT 5.
    pub(super) fn new(number: usize) -> Self {
        let version = if number.is_multiple_of(2) { Version::V311 } else { Version::V5 };
        let (name, topic) = (name(number), topic(number));
        Self { number, version, name, topic, times: Vec::new(), acknowledged: 0, next: 0 }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Begins a connection: appends the CONNECT. What was not acknowledged is to be sent again.
    pub(super) fn connect(&mut self, out: &mut Vec<u8>) {
        self.next = self.acknowledged;
        let connect = Connect {
            version: self.version,
            clean_start: false,
            keep_alive_s: KEEP_ALIVE_S,
            properties: Properties::NONE,
            client_id: &self.name,
            will: None,
            user_name: None,
            password: None,
        };
        connect.encode(out);
    }

    /// Appends the next PUBLISH if one of the first `due` readings may be sent now.
    pub(super) fn poll_publish(&mut self, due: usize, out: &mut Vec<u8>) -> Option<Sent> {
        if self.next >= due || self.next - self.acknowledged >= WINDOW {
            return None;
        }
        let reading = Reading { device: self.number, seq: self.next };
        let again = self.next < self.times.len();
        if again {
            self.times[self.next] += 1;
        } else {
            self.times.push(1);
        }
        let payload = reading.payload();
        let publish = Publish {
            delivery: Delivery::AtLeastOnce { packet_id: packet_id(self.next), dup: again },
            retain: false,
            topic: &self.topic,
            properties: Properties::NONE,
            payload: payload.as_bytes(),
        };
        Packet::Publish(publish).encode(self.version, out);
        self.next += 1;
        Some(Sent { reading, again })
    }

    /// A PUBACK arrived. Whether it was the one that had to come next.
    pub(super) fn handle_puback(&mut self, acknowledged: NonZeroU16) -> bool {
        let expected =
            self.acknowledged < self.next && packet_id(self.acknowledged) == acknowledged;
        self.acknowledged += usize::from(expected);
        expected
    }

    /// Whether the first `due` readings are acknowledged.
    pub(super) fn is_done(&self, due: usize) -> bool {
        self.acknowledged >= due
    }

    /// Whether the window has room: only then is there a point in waiting for the next reading.
    pub(super) fn next_if_open(&self) -> Option<usize> {
        (self.next - self.acknowledged < WINDOW).then_some(self.next)
    }

    pub(super) fn into_journal(self) -> Journal {
        let Self { number: device, version, times, acknowledged, .. } = self;
        Journal { device, version, times, acknowledged }
    }
}

/// Unique among the readings of one window.
fn packet_id(seq: usize) -> NonZeroU16 {
    const IDS: usize = u16::MAX as usize;
    const { assert!(WINDOW < IDS) };
    let id = u16::try_from(seq % IDS + 1).ok().and_then(NonZeroU16::new);
    id.expect("1 to 65,535")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(device: &mut Device, due: usize) -> Vec<(usize, bool)> {
        let mut out = Vec::new();
        core::iter::from_fn(|| device.poll_publish(due, &mut out))
            .map(|sent| (sent.reading.seq, sent.again))
            .collect()
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_under_its_number() {
        let mut device = Device::new(0);
        device.connect(&mut Vec::new());
        assert_eq!(send(&mut device, 3), [(0, false), (1, false), (2, false)]);
        assert!(device.handle_puback(packet_id(0)));
        device.connect(&mut Vec::new());
        assert_eq!(send(&mut device, 4), [(1, true), (2, true), (3, false)]);
        assert!(!device.is_done(4));
        assert!((1..4).all(|seq| device.handle_puback(packet_id(seq))));
        assert!(device.is_done(4));
        let journal = device.into_journal();
        assert_eq!((journal.times, journal.acknowledged), (vec![1, 2, 2, 1], 4));
    }

    #[test]
    fn the_window_holds_and_acknowledgements_come_in_order() {
        let mut device = Device::new(1);
        device.connect(&mut Vec::new());
        assert_eq!(send(&mut device, 1_000).len(), WINDOW);
        assert_eq!(device.next_if_open(), None);
        assert!(!device.handle_puback(packet_id(1)), "the first is still missing");
        assert!(device.handle_puback(packet_id(0)));
        assert_eq!(send(&mut device, 1_000), [(WINDOW, false)]);
    }

    #[test]
    fn nothing_is_acknowledged_that_was_not_sent() {
        let mut device = Device::new(1);
        device.connect(&mut Vec::new());
        assert!(!device.handle_puback(packet_id(0)));
    }
}
