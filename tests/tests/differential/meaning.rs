//! What a packet says, whatever the order in which its properties stand.

use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connack::ConnAck;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::disconnect::{Auth, Disconnect};
use tributary_mqtt::codec::property::Properties;
use tributary_mqtt::codec::publish::Publish;

const NONE: Properties<'static> = Properties::NONE;

/// What kind of packet it is.
pub(crate) const fn kind(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

/// The same text for two packets that say the same.
pub(crate) fn meaning(packet: &Packet<'_>) -> String {
    let kind = kind(packet);
    match packet {
        Packet::Connect(connect) => {
            let will = connect
                .will
                .map(|will| (LastWill { properties: NONE, ..will }, sorted(will.properties)));
            let rest = Connect { properties: NONE, will: None, ..*connect };
            format!("{kind} {rest:?} {:?} {will:?}", sorted(connect.properties))
        }
        Packet::ConnAck(connack) => {
            let rest = ConnAck { properties: NONE, ..*connack };
            format!("{kind} {rest:?} {:?}", sorted(connack.properties))
        }
        Packet::Publish(publish) => {
            let rest = Publish { properties: NONE, ..*publish };
            format!("{kind} {rest:?} {:?}", sorted(publish.properties))
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            let rest = Ack { properties: NONE, ..*ack };
            format!("{kind} {rest:?} {:?}", sorted(ack.properties))
        }
        Packet::Subscribe(subscribe) => {
            let requests: Vec<_> = subscribe.requests.iter().collect();
            format!(
                "{kind} {} {:?} {requests:?}",
                subscribe.packet_id,
                sorted(subscribe.properties)
            )
        }
        Packet::SubAck(suback) => {
            format!(
                "{kind} {} {:?} {:?}",
                suback.packet_id,
                sorted(suback.properties),
                suback.reasons.bytes()
            )
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<_> = unsubscribe.filters.iter().collect();
            format!(
                "{kind} {} {:?} {filters:?}",
                unsubscribe.packet_id,
                sorted(unsubscribe.properties)
            )
        }
        Packet::UnsubAck(unsuback) => {
            format!(
                "{kind} {} {:?} {:?}",
                unsuback.packet_id,
                sorted(unsuback.properties),
                unsuback.reasons.bytes()
            )
        }
        Packet::PingReq | Packet::PingResp => kind.to_owned(),
        Packet::Disconnect(disconnect) => {
            let rest = Disconnect { properties: NONE, ..*disconnect };
            format!("{kind} {rest:?} {:?}", sorted(disconnect.properties))
        }
        Packet::Auth(auth) => {
            let rest = Auth { properties: NONE, ..*auth };
            format!("{kind} {rest:?} {:?}", sorted(auth.properties))
        }
    }
}

/// By identifier; those with the same one in their order.
fn sorted(properties: Properties<'_>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = properties
        .iter()
        .map(|property| {
            let mut bytes = Vec::new();
            property.encode(&mut bytes);
            bytes
        })
        .collect();
    all.sort_by_key(|bytes| bytes[0]);
    all
}
