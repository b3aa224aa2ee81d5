//! Traces: what a client sends, what the driver answers, and the bytes that leave.

mod connecting;
mod ending;
mod exactly_once;
mod hostile;
mod publishing;
mod subscribing;

use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::time::{Instant, Timestamp};

use super::{Close, Effect, Session, Settings, Welcome};
use crate::codec::Version::{V5, V311};
use crate::codec::connect::{Connect, LastWill};
use crate::codec::disconnect::Disconnect;
use crate::codec::property::{Carrier, Properties, Property};
use crate::codec::publish::{Delivery, Publish};
use crate::codec::reason::Reason;
use crate::codec::{Packet, Version};

const START: Instant = Instant(1_000_000);
const TIME: Timestamp = Timestamp(1_700_000_000_000);

/// A connection with what was sent on it.
struct Connection {
    session: Session,
    out: Vec<u8>,
    now: Instant,
}

impl Connection {
    fn opened(settings: &Settings) -> Self {
        Self { session: Session::new(START, settings), out: Vec::new(), now: START }
    }

    /// A connection that was accepted.
    fn accepted(connect: &Connect<'_>) -> Self {
        Self::accepted_with(&Settings::default(), connect)
    }

    fn accepted_with(settings: &Settings, connect: &Connect<'_>) -> Self {
        let mut connection = Self::opened(settings);
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        assert_eq!(connection.handle(&bytes), Effect::Connect(*connect));
        connection.session.accept(connection.now, Welcome::default(), &mut connection.out);
        connection.out.clear();
        connection
    }

    /// Hands in one packet, all of which is used.
    fn handle<'a>(&mut self, bytes: &'a [u8]) -> Effect<'a> {
        let step = self.session.handle_bytes(self.now, bytes, &mut self.out);
        assert_eq!(step.used, bytes.len());
        step.effect
    }

    /// Hands in a packet that is not answered by the driver.
    fn send(&mut self, packet: &Packet<'_>) -> Option<Close> {
        match self.handle(&encoded(self.session.version(), packet)) {
            Effect::Close(close) => Some(close),
            _ => None,
        }
    }

    /// What has left since the last call.
    fn sent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    fn pass_ms(&mut self, ms: u64) -> Effect<'static> {
        self.now = self.now.plus_ms(ms);
        self.session.handle_timeout(self.now, &mut self.out)
    }
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

const fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).expect("test ids are not 0")
}

const fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        properties: Properties::NONE,
        client_id: "press",
        will: None,
        user_name: None,
        password: None,
    }
}

const fn will() -> LastWill<'static> {
    LastWill {
        qos: tributary_core::record::Qos::AtLeastOnce,
        retain: false,
        properties: Properties::NONE,
        topic: "plant/press/state",
        payload: b"gone",
    }
}

const fn publish(delivery: Delivery) -> Publish<'static> {
    Publish {
        delivery,
        retain: false,
        topic: "é/b",
        properties: Properties::NONE,
        payload: b"21.5",
    }
}

const fn at_least_once(packet_id: u16) -> Publish<'static> {
    publish(Delivery::AtLeastOnce { packet_id: id(packet_id), dup: false })
}

/// Encodes properties for [`checked`].
fn properties(list: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for property in list {
        property.encode(&mut bytes);
    }
    bytes
}

fn checked(carrier: Carrier, bytes: &[u8]) -> Properties<'_> {
    Properties::new(carrier, bytes).expect("the test's properties are allowed")
}

/// What [`Connection::send`] gives.
#[expect(clippy::unnecessary_wraps, reason = "compared with what may be nothing")]
fn close(reason: Reason, statement: &'static str) -> Option<Close> {
    Some(Close { reason, statement })
}

/// A PUBACK (0x40) or PUBREC (0x50) of MQTT 5 that says why.
fn refusal(first: u8, packet_id: u8, reason: Reason, text: &str) -> Vec<u8> {
    let properties = properties(&[Property::ReasonString(text)]);
    let length = u8::try_from(properties.len()).expect("they are short");
    let head = [first, 4 + length, 0, packet_id, reason as u8, length];
    [&head[..], &properties].concat()
}

/// A DISCONNECT of MQTT 5 that names the rule that was broken.
fn break_off(reason: Reason, statement: &str) -> Vec<u8> {
    let text = alloc::format!("see {statement} of MQTT 5.0");
    let properties = properties(&[Property::ReasonString(&text)]);
    let properties = checked(Carrier::Disconnect, &properties);
    encoded(V5, &Packet::Disconnect(Disconnect { reason, properties }))
}

/// A DISCONNECT of MQTT 5.
fn disconnect(reason: Reason) -> Vec<u8> {
    encoded(V5, &Packet::Disconnect(Disconnect { reason, properties: Properties::NONE }))
}
