//! A client as it knows itself: its connection, what it has under way, and what it holds.

use core::num::NonZeroU16;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tributary::runtime::clock::Moment;
use tributary::runtime::dialogue::Dialogue;
use tributary_core::record::Qos;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::disconnect::Disconnect;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::{Delivery, Publish};
use tributary_mqtt::codec::{Decoded, Packet, decode};
use tributary_mqtt::{Reason, Version};
use tributary_tests::wire::{checked, connect_5, encoded, id};

use crate::promises::Will;

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Away,
    /// CONNECT was sent.
    Greeting,
    Here,
}

/// What came to a client, beside answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Welcome {
        present: bool,
    },
    Message(Heard),
    Granted(Vec<u8>),
    Acknowledged(NonZeroU16),
    /// There was no room for it.
    Refused(NonZeroU16),
    Released(NonZeroU16),
}

/// A message as it came to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) payload: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Seconds until it is of no use any more.
    pub(crate) expiry_s: Option<u32>,
    /// What the client called the subscriptions that it came by.
    pub(crate) identifiers: Vec<u32>,
}

/// A message that is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) topic: &'static str,
    pub(crate) payload: String,
    pub(crate) retain: bool,
    pub(crate) qos: Qos,
    /// Seconds after which it is of no use any more.
    pub(crate) expiry_s: Option<u32>,
    /// PUBREC has come.
    pub(crate) received: bool,
}

pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    /// Seconds for which its session outlives its connections.
    pub(crate) expiry_s: u32,
    /// Messages above QoS 0 that it takes at once: the receive maximum.
    room: NonZeroU16,
    /// Acknowledges at once.
    prompt: bool,
    wire: Option<Dialogue>,
    unsent: Vec<u8>,
    input: Vec<u8>,
    answers: Vec<u8>,
    last_id: u16,
    pub(crate) under_way: BTreeMap<NonZeroU16, Sent>,
    held: BTreeSet<NonZeroU16>,
    /// It wants a session that knows nothing.
    pub(crate) is_clean: bool,
}

impl Client {
    pub(crate) fn new(name: &'static str, expiry_s: u32, rng: &mut Rng) -> Self {
        Self {
            name,
            stage: Stage::Away,
            expiry_s,
            room: NonZeroU16::MIN.saturating_add([0, 1, 5, u16::MAX][rng.usize(..4)]),
            prompt: rng.bool(),
            wire: None,
            unsent: Vec::new(),
            input: Vec::new(),
            answers: Vec::new(),
            last_id: 0,
            under_way: BTreeMap::new(),
            held: BTreeSet::new(),
            is_clean: false,
        }
    }

    /// From now on it answers at once.
    pub(crate) fn be_prompt(&mut self) {
        self.prompt = true;
    }

    /// Sends a CONNECT over a new connection; the one from before, if there is one. Who has forgotten
    /// everything asks for a clean start until it is welcomed.
    pub(crate) fn greet(&mut self, wire: Dialogue, will: Option<&Will>) -> Option<Dialogue> {
        let clean_start = self.is_clean;
        if clean_start {
            self.forget();
        }
        let before = self.wire.replace(wire);
        (self.stage, self.input, self.answers) = (Stage::Greeting, Vec::new(), Vec::new());
        let expiry = Property::SessionExpiry(self.expiry_s);
        let properties = encoded(&[expiry, Property::ReceiveMaximum(self.room)]);
        let connect = connect_5(self.name, checked(Carrier::Connect, &properties));
        self.unsent.clear();
        let said = will.map(|will| encoded(&said_of(will))).unwrap_or_default();
        let will = will.map(|Will { sent, .. }| LastWill {
            qos: sent.qos,
            retain: sent.retain,
            properties: checked(Carrier::Will, &said),
            topic: sent.topic,
            payload: sent.payload.as_bytes(),
        });
        self.send(&Packet::Connect(Connect { clean_start, keep_alive_s: 0, will, ..connect }));
        before
    }

    /// The connection is gone.
    pub(crate) fn lose(&mut self) -> Option<Dialogue> {
        (self.stage, self.input, self.answers) = (Stage::Away, Vec::new(), Vec::new());
        self.unsent.clear();
        self.wire.take()
    }

    /// Takes its leave, or has its will published all the same. Whether the gateway has heard it.
    pub(crate) fn depart(&mut self, moment: Moment, reason: Reason) -> bool {
        let properties = Properties::NONE;
        self.send(&Packet::Disconnect(Disconnect { reason, properties }));
        let unsent = core::mem::take(&mut self.unsent);
        let Some(mut wire) = self.lose() else { return false };
        let mut out = Vec::new();
        if wire.wants_bytes(&out) {
            wire.handle_bytes(moment, &unsent, &mut out);
        }
        let was_heard = wire.is_closed();
        wire.leave(moment);
        was_heard
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(Version::V5, &mut self.unsent);
    }

    /// Publishes; above QoS 0 until it is acknowledged.
    pub(crate) fn publish(&mut self, sent: Sent) -> Option<NonZeroU16> {
        if sent.qos == Qos::AtMostOnce {
            self.send_message(None, &sent, false);
            return None;
        }
        self.last_id = self.last_id % 60_000 + 1;
        let id = id(self.last_id);
        self.send_message(Some(id), &sent, false);
        self.under_way.insert(id, sent);
        Some(id)
    }

    pub(crate) fn send_message(&mut self, id: Option<NonZeroU16>, sent: &Sent, dup: bool) {
        let delivery = match id {
            None => Delivery::AtMostOnce,
            Some(packet_id) if sent.qos == Qos::AtLeastOnce => {
                Delivery::AtLeastOnce { packet_id, dup }
            }
            Some(packet_id) => Delivery::ExactlyOnce { packet_id, dup },
        };
        let Sent { topic, ref payload, retain, .. } = *sent;
        let said: Vec<_> = sent.expiry_s.map(Property::MessageExpiry).into_iter().collect();
        let said = encoded(&said);
        let (properties, payload) = (checked(Carrier::Publish, &said), payload.as_bytes());
        self.send(&Packet::Publish(Publish { delivery, retain, topic, properties, payload }));
    }

    /// Sends the acknowledgements that wait.
    pub(crate) fn answer(&mut self) {
        self.unsent.append(&mut self.answers);
    }

    /// Hands its bytes to the gateway, and takes what comes back, until nothing does.
    pub(crate) fn turn(&mut self, moment: Moment) -> Result<Vec<Came>> {
        let mut came = Vec::new();
        while let Some(wire) = &mut self.wire {
            let mut out = Vec::new();
            if !self.unsent.is_empty() && wire.wants_bytes(&out) {
                let progress = wire.handle_bytes(moment, &self.unsent, &mut out);
                self.unsent.drain(..progress.used);
            }
            wire.handle_wake(moment, &mut out);
            ensure!(!wire.is_closed(), "{} is turned out: {out:02x?}", self.name);
            if out.is_empty() {
                break;
            }
            self.input.extend(out);
            self.hear(&mut came)?;
        }
        Ok(came)
    }

    fn hear(&mut self, came: &mut Vec<Came>) -> Result<()> {
        let input = core::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Ok(Decoded::Packet(packet, used)) = decode(rest, Some(Version::V5), u32::MAX) {
            rest = &rest[used..];
            let answer = self.take(&packet, came).with_context(|| format!("{packet:?}"))?;
            if let Some(answer) = answer {
                let answers = if self.prompt { &mut self.unsent } else { &mut self.answers };
                answer.encode(Version::V5, answers);
            }
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn take(
        &mut self,
        packet: &Packet<'_>,
        came: &mut Vec<Came>,
    ) -> Result<Option<Packet<'static>>> {
        match packet {
            Packet::ConnAck(connack) => {
                ensure!(!connack.reason.is_failure());
                (self.stage, self.is_clean) = (Stage::Here, false);
                came.push(Came::Welcome { present: connack.session_present });
            }
            Packet::Publish(publish) => return self.take_message(publish, came),
            Packet::PubAck(ack) => {
                self.under_way.remove(&ack.packet_id).context("nothing was under way")?;
                came.push(answered(ack)?);
            }
            Packet::PubRec(ack) if ack.reason.is_failure() => {
                self.under_way.remove(&ack.packet_id).context("nothing was under way")?;
                came.push(answered(ack)?);
            }
            Packet::PubRec(ack) => {
                let sent = self.under_way.get_mut(&ack.packet_id).context("nothing under way")?;
                if !core::mem::replace(&mut sent.received, true) {
                    came.push(Came::Acknowledged(ack.packet_id));
                }
                return Ok(Some(Packet::PubRel(Ack::success(ack.packet_id))));
            }
            Packet::PubComp(ack) => {
                self.under_way.remove(&ack.packet_id);
                came.push(Came::Released(ack.packet_id));
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                return Ok(Some(Packet::PubComp(Ack::success(ack.packet_id))));
            }
            Packet::SubAck(suback) => {
                came.push(Came::Granted(
                    suback.reasons.iter().map(|reason| reason as u8).collect(),
                ));
            }
            Packet::UnsubAck(_) => {}
            other => bail!("nobody asked for {other:?}"),
        }
        Ok(None)
    }

    fn take_message(
        &mut self,
        publish: &Publish<'_>,
        came: &mut Vec<Came>,
    ) -> Result<Option<Packet<'static>>> {
        let payload = core::str::from_utf8(publish.payload)?.to_owned();
        let mut expiry_s = None;
        let mut identifiers = Vec::new();
        for property in publish.properties.iter() {
            match property {
                Property::MessageExpiry(seconds) => expiry_s = Some(seconds),
                Property::SubscriptionIdentifier(name) => identifiers.push(name.get()),
                other => bail!("nobody said {other:?}"),
            }
        }
        let retain = publish.retain;
        let message = |qos| Came::Message(Heard { payload, qos, retain, expiry_s, identifiers });
        match publish.delivery {
            Delivery::AtMostOnce => came.push(message(Qos::AtMostOnce)),
            Delivery::AtLeastOnce { packet_id, .. } => {
                came.push(message(Qos::AtLeastOnce));
                return Ok(Some(Packet::PubAck(Ack::success(packet_id))));
            }
            Delivery::ExactlyOnce { packet_id, dup } => {
                let is_new = self.held.insert(packet_id);
                ensure!(is_new || dup, "an identifier that is held names another message");
                if is_new {
                    came.push(message(Qos::ExactlyOnce));
                }
                return Ok(Some(Packet::PubRec(Ack::success(packet_id))));
            }
        }
        Ok(None)
    }

    /// Its session is a new one: it knows nothing of what was.
    pub(crate) fn forget(&mut self) {
        self.under_way.clear();
        self.held.clear();
    }
}

/// What a PUBACK says, or a PUBREC that refuses.
fn answered(ack: &Ack<'_>) -> Result<Came> {
    match ack.reason {
        Reason::QuotaExceeded => Ok(Came::Refused(ack.packet_id)),
        reason => {
            ensure!(!reason.is_failure(), "{reason:?}");
            Ok(Came::Acknowledged(ack.packet_id))
        }
    }
}

/// The properties of a will.
fn said_of(will: &Will) -> Vec<Property<'static>> {
    let expiry = will.sent.expiry_s.map(Property::MessageExpiry);
    let delay = (will.delay_s > 0).then_some(Property::WillDelay(will.delay_s));
    expiry.into_iter().chain(delay).collect()
}
