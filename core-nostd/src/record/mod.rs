//! One event, as the parts of the daemon hand it to each other.

mod encoding;

pub use encoding::{decode, encode, encoded_len};

use core::num::NonZeroU16;

use crate::properties::Properties;
use crate::time::Timestamp;

/// MQTT's quality of service at which the event was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An MQTT client of ours.
    Device = 0,
    /// Another broker that we subscribe to.
    Source = 1,
    /// The central cluster.
    Downlink = 2,
    /// A rule's output.
    Rule = 3,
    /// The stream of dead letters: an event of before, on its way to Kafka once more.
    Replay = 8,
}

/// One accepted publish. Borrowed from the socket's or the log reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// MQTT topic: valid UTF-8, without wildcards, not empty.
    pub topic: &'a str,
    /// As the device sent it.
    pub payload: &'a [u8],
    /// MQTT client id of the publisher.
    pub client: &'a str,
    /// When it arrived, on the wall clock of that moment.
    pub time: Timestamp,
    /// The publisher's quality of service.
    pub qos: Qos,
    /// MQTT's RETAIN flag.
    pub retain: bool,
    /// Who brought it.
    pub origin: Origin,
    /// Of a publish at QoS 2, the packet identifier: it tells a retransmission after a crash.
    pub packet_id: Option<NonZeroU16>,
    /// MQTT 5 properties that travel with the event.
    pub properties: Properties<'a>,
}
