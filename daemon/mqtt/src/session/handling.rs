//! What a packet means at this moment: the rules about order, roles and quotas.

use alloc::boxed::Box;
use alloc::vec::Vec;

use tributary_core::record::Qos;
use tributary_core::time::Instant;

use super::connecting::{self, Wishes};
use super::inbound::Arrival;
use super::{Close, Effect, Session, Stage, Step, inbound, reasons};
use crate::codec::connect::{Connect, announced_version};
use crate::codec::disconnect::Disconnect;
use crate::codec::malformed::Malformed;
use crate::codec::property::Property;
use crate::codec::publish::Publish;
use crate::codec::reason::Reason;
use crate::codec::subscribe::suback_reason;
use crate::codec::{Decoded, Packet, Version, decode};
use crate::subscriptions::Subscription;

const SECOND_CONNECT: Malformed = Malformed::protocol("MQTT-3.1.0-2");

impl Session {
    /// Handles the packet that `bytes` begin with.
    pub(super) fn handle_next<'a>(
        &mut self,
        now: Instant,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let version = self.is_connected().then_some(self.version);
        let (packet, used) = match decode(bytes, version, self.settings.packet_bytes_max) {
            Ok(Decoded::Incomplete) => return Step { used: 0, effect: Effect::Incomplete },
            Ok(Decoded::Packet(packet, used)) => (packet, used),
            Err(malformed) => {
                // A second CONNECT is one too many, whatever else is wrong with it.
                let is_second = self.is_connected() && bytes.first() == Some(&0x10);
                let malformed = if is_second { SECOND_CONNECT } else { malformed };
                let effect = self.handle_malformed(malformed, bytes, out);
                return Step { used: bytes.len(), effect };
            }
        };
        self.handle_unread(now);
        if self.holds_back(&packet) {
            return Step { used: 0, effect: Effect::None };
        }
        let effect = match self.handle_packet(packet, out) {
            Ok(effect) => effect,
            Err(malformed) => self.break_off(malformed, out),
        };
        Step { used, effect }
    }

    /// Whether a packet is left unread for now: a publish beyond the Receive Maximum, while others wait for the log.
    /// Clients in wide use do not keep to it; to end their connections would have them publish again what is
    /// on its way. At QoS 2 alone it is the client that has to go on, and what is beyond breaks the protocol.
    fn holds_back(&mut self, packet: &Packet<'_>) -> bool {
        let Packet::Publish(publish) = packet else { return false };
        let is_limited = self.version == Version::V5 && publish.delivery.packet_id().is_some();
        is_limited && self.is_unacked_full() && self.unacked.hold_back()
    }

    /// Before its CONNECT is answered a client is told in a CONNACK, if it understands one
    /// (MQTT-3.1.4-1, MQTT-3.1.2-2); 3.1.1 has one only for the version.
    fn handle_malformed(
        &mut self,
        malformed: Malformed,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        if matches!(self.stage, Stage::Opened)
            && let Some(version) = announced_version(bytes)
        {
            self.version = version;
            let is_version = malformed.reason == Reason::UnsupportedProtocolVersion;
            if version == Version::V5 || is_version {
                connecting::encode_refusal(version, malformed.reason, &[], out);
            }
        }
        self.break_off(malformed, out)
    }

    fn handle_packet<'a>(
        &mut self,
        packet: Packet<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Effect<'a>, Malformed> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish),
            Packet::PubAck(ack) => Ok(match self.outbound.handle_puback(ack.packet_id) {
                Some(over) => Effect::Acknowledged(over),
                None => Effect::None,
            }),
            Packet::PubRec(ack) => Ok(self.handle_pubrec(ack, out)),
            Packet::PubRel(ack) => Ok(self.handle_pubrel(ack.packet_id, out)),
            Packet::PubComp(ack) => Ok(self.handle_pubcomp(ack.packet_id)),
            Packet::Subscribe(subscribe) => {
                self.check_answer(subscribe.requests.iter().count())?;
                Ok(Effect::Subscribe(subscribe))
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.check_answer(unsubscribe.filters.iter().count())?;
                Ok(Effect::Unsubscribe(unsubscribe))
            }
            Packet::PingReq => {
                // A client that pings is idle.
                self.unacked.shrink();
                self.outbound.shrink();
                Packet::PingResp.encode(self.version, out);
                Ok(Effect::None)
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(disconnect),
            Packet::Connect(_) if self.is_connected() => Err(SECOND_CONNECT),
            Packet::Connect(connect) => Ok(self.handle_connect(connect, out)),
            Packet::Auth(_) => Err(Malformed::protocol("4.12.1")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Malformed::protocol("2.1.2"))
            }
        }
    }

    fn handle_connect<'a>(&mut self, connect: Connect<'a>, out: &mut Vec<u8>) -> Effect<'a> {
        self.version = connect.version;
        match Wishes::new(&connect) {
            Ok(mut wishes) => {
                self.client_id = connect.client_id.into();
                self.expiry_asked_s = wishes.session_expiry_s;
                self.expiry_s = wishes.session_expiry_s.min(self.settings.session_expiry_max_s);
                self.will = wishes.will.take().map(|will| Box::new(will.of(connect.client_id)));
                self.stage = Stage::Deciding(Box::new(wishes));
                Effect::Connect(connect)
            }
            Err(Malformed { reason, statement }) => {
                connecting::encode_refusal(self.version, reason, &[], out);
                self.stage = Stage::Closed;
                Effect::Close(Close { reason, statement })
            }
        }
    }

    fn handle_publish<'a>(&mut self, publish: Publish<'a>) -> Result<Effect<'a>, Malformed> {
        if self.version == Version::V5 {
            self.check_publish(&publish)?;
        }
        let Some(packet_id) = publish.delivery.packet_id() else {
            return Ok(Effect::Publish(publish));
        };
        let exactly_once = publish.delivery.qos() == Qos::ExactlyOnce;
        let again = exactly_once && self.unacked.arrival(packet_id) == Arrival::Again;
        if self.version == Version::V5 && self.is_unacked_full() && !again {
            return Err(Malformed::new(Reason::ReceiveMaximumExceeded, "MQTT-3.3.4-7"));
        }
        if exactly_once {
            return self.handle_exactly_once(packet_id, publish);
        }
        self.unacked.handle_published(packet_id);
        Ok(Effect::Publish(publish))
    }

    /// What only MQTT 5 can say, and what it was told in the CONNACK.
    fn check_publish(&mut self, publish: &Publish<'_>) -> Result<(), Malformed> {
        if publish.properties.subscription_identifier().is_some() {
            return Err(Malformed::protocol("MQTT-3.3.4-6"));
        }
        let Some(alias) = publish.properties.topic_alias() else { return Ok(()) };
        inbound::check(alias, self.settings.topic_alias_max)?;
        if !publish.topic.is_empty() {
            self.aliases.set(alias, publish.topic);
            return Ok(());
        }
        match self.aliases.resolve(alias) {
            Some(_) => Ok(()),
            None => Err(Malformed::protocol("3.3.2.3.4")),
        }
    }

    fn handle_disconnect(
        &mut self,
        disconnect: Disconnect<'_>,
    ) -> Result<Effect<'static>, Malformed> {
        for property in disconnect.properties.iter() {
            match property {
                Property::SessionExpiry(seconds) if seconds != 0 && self.expiry_asked_s == 0 => {
                    return Err(Malformed::protocol("3.14.2.2.2"));
                }
                Property::ServerReference(_) => return Err(Malformed::protocol("3.14.2.2.5")),
                Property::SessionExpiry(seconds) => {
                    self.expiry_s = seconds.min(self.settings.session_expiry_max_s);
                }
                _ => {}
            }
        }
        if disconnect.reason == Reason::Success {
            self.will = None;
        }
        self.stage = Stage::Closed;
        Ok(Effect::Close(Close { reason: disconnect.reason, statement: "MQTT-3.14.4-3" }))
    }

    /// What the topics behind the client's aliases take beyond
    /// [what is everybody's](crate::limits::TOPIC_ALIAS_BYTES_FREE). It may set as many as it was announced, whatever
    /// their length; where too many do, they are to be turned out.
    #[must_use]
    pub const fn alias_bytes_beyond(&self) -> usize {
        self.aliases.bytes_beyond()
    }

    /// Why the first of some filters was not granted, if the client wants to be told and takes as much.
    pub(super) fn why_denied(&self, answers: &[Reason]) -> Vec<u8> {
        let denied = answers.iter().find(|reason| reason.is_failure());
        let told = denied.map(|reason| reasons::of_denial(*reason)).unwrap_or_default();
        let fits = self.check_answer(answers.len() + told.len()).is_ok();
        if self.is_told_why && fits { told } else { Vec::new() }
    }

    /// A SUBACK or UNSUBACK with `count` reason codes must not be larger than the client takes.
    fn check_answer(&self, count: usize) -> Result<(), Malformed> {
        // Fixed header, packet identifier, property length.
        const AROUND_BYTES_MAX: usize = 5 + 2 + 1;
        if AROUND_BYTES_MAX + count > self.outbound.packet_bytes_max as usize {
            return Err(Malformed::new(Reason::PacketTooLarge, "MQTT-3.1.2-24"));
        }
        Ok(())
    }
}

/// The answer as SUBACK spells it.
pub(super) fn suback_code(answer: Result<Subscription, Reason>, version: Version) -> Reason {
    match answer.map(|granted| granted.options.qos) {
        Ok(Qos::AtMostOnce) => Reason::Success,
        Ok(Qos::AtLeastOnce) => Reason::GrantedQos1,
        Ok(Qos::ExactlyOnce) => Reason::GrantedQos2,
        Err(reason) => suback_reason(reason, version),
    }
}
