//! What is encoded is decoded to the same, for every packet and property of both versions.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;
use tributary_core::record::Qos;

use crate::codec::ack::Ack;
use crate::codec::connack::ConnAck;
use crate::codec::connect::{Connect, LastWill};
use crate::codec::disconnect::{Auth, Disconnect};
use crate::codec::property::{Carrier, Properties, Property};
use crate::codec::publish::{Delivery, Publish};
use crate::codec::reason::{Reason, Reasons};
use crate::codec::subscribe::{Options, Request, Requests, RetainHandling, SubAck, Subscribe};
use crate::codec::unsubscribe::{Filters, UnsubAck, Unsubscribe};
use crate::codec::{Decoded, Packet, Version, decode};

/// What packets are made from.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    kind: u8,
    version: Version,
    id: NonZeroU16,
    bits: u16,
    topic: String,
    text: String,
    data: Vec<u8>,
    filters: Vec<(String, u8)>,
    properties: Vec<(u8, u32, String)>,
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let version = prop_oneof![Just(Version::V311), Just(Version::V5)];
    let filters = prop::collection::vec(("[aé]{1,3}(/[b+])?(/#)?", any::<u8>()), 1..5);
    let property = (0..0x30_u8, any::<u32>(), "[^\0]{0,5}");
    let properties = prop::collection::vec(property, 0..6);
    let data = prop::collection::vec(any::<u8>(), 0..300);
    let texts = ("[aé/ $]{1,9}", "[^\0]{0,9}");
    (0..15_u8, version, any::<NonZeroU16>(), any::<u16>(), texts, data, filters, properties)
        .prop_map(|(kind, version, id, bits, (topic, text), data, filters, properties)| Parts {
            kind,
            version,
            id,
            bits,
            topic,
            text,
            data,
            filters,
            properties,
        })
}

impl Parts {
    /// Hands a packet that is made from the parts to `check`.
    pub(crate) fn with_packet(&self, check: impl FnOnce(Version, Packet<'_>)) {
        let version = self.version;
        let bytes = self.list();
        let will_bytes = self.properties(Carrier::Will);
        let properties_bytes = self.properties(self.carrier());
        let properties = Properties::new(self.carrier(), &properties_bytes).unwrap();
        let will_properties = Properties::new(Carrier::Will, &will_bytes).unwrap();
        let (packet_id, reason) = (self.id, self.reason());
        let ack = Ack { packet_id, reason, properties };
        check(
            version,
            match self.kind {
                0 => Packet::Connect(self.connect(properties, will_properties)),
                1 => {
                    let session_present = reason == Reason::Success && self.bit(0);
                    Packet::ConnAck(ConnAck { session_present, reason, properties })
                }
                2 => Packet::PubAck(ack),
                3 => Packet::PubRec(ack),
                4 => Packet::PubRel(ack),
                5 => Packet::PubComp(ack),
                6 => {
                    let requests = Requests::new(version, &bytes).unwrap();
                    Packet::Subscribe(Subscribe { packet_id, properties, requests })
                }
                7 => {
                    let reasons = Reasons::of_suback(version, &bytes).unwrap();
                    Packet::SubAck(SubAck { packet_id, properties, reasons })
                }
                8 => {
                    let filters = Filters::new(&bytes).unwrap();
                    Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
                }
                9 => {
                    let reasons = match version {
                        Version::V31 | Version::V311 => Reasons::NONE,
                        Version::V5 => Reasons::of_unsuback(&bytes).unwrap(),
                    };
                    Packet::UnsubAck(UnsubAck { packet_id, properties, reasons })
                }
                10 => Packet::PingReq,
                11 => Packet::PingResp,
                12 => Packet::Disconnect(Disconnect { reason, properties }),
                13 if version == Version::V5 => Packet::Auth(auth(reason, properties)),
                _ => Packet::Publish(self.publish(properties)),
            },
        );
    }

    fn connect<'a>(&'a self, properties: Properties<'a>, will: Properties<'a>) -> Connect<'a> {
        let has_user = self.bit(1);
        Connect {
            version: self.version,
            clean_start: self.bit(0),
            keep_alive_s: self.bits,
            properties,
            client_id: &self.text,
            will: self.bit(3).then_some(LastWill {
                qos: self.qos(),
                retain: self.bit(4),
                properties: will,
                topic: &self.topic,
                payload: &self.data,
            }),
            user_name: has_user.then_some(&self.text),
            password: (self.bit(2) && (has_user || self.version == Version::V5))
                .then_some(&self.data),
        }
    }

    fn publish<'a>(&'a self, properties: Properties<'a>) -> Publish<'a> {
        let (packet_id, dup) = (self.id, self.bit(0));
        Publish {
            delivery: match self.qos() {
                Qos::AtMostOnce => Delivery::AtMostOnce,
                Qos::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
                Qos::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
            },
            retain: self.bit(1),
            topic: if properties.topic_alias().is_some() { "" } else { &self.topic },
            properties,
            payload: &self.data,
        }
    }

    fn bit(&self, bit: u16) -> bool {
        self.bits >> bit & 1 != 0
    }

    fn qos(&self) -> Qos {
        [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(self.bits >> 8) % 3]
    }

    /// Topic filters or reason codes.
    fn list(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (filter, byte) in &self.filters {
            match self.kind {
                6 => self.request(filter, *byte).encode(self.version, &mut bytes),
                7 => bytes.push([0, 1, 2, 0x80][usize::from(byte % 4)]),
                9 => bytes.push([0, 0x11, 0x80, 0x87][usize::from(byte % 4)]),
                _ => Filters::encode(filter, &mut bytes),
            }
        }
        bytes
    }

    fn request<'a>(&self, filter: &'a str, bits: u8) -> Request<'a> {
        let plain = Options::with_qos(self.qos());
        let options = match self.version {
            Version::V31 | Version::V311 => plain,
            Version::V5 => Options {
                no_local: bits & 1 != 0,
                retain_as_published: bits & 2 != 0,
                retain_handling: [
                    RetainHandling::Send,
                    RetainHandling::SendIfNew,
                    RetainHandling::DoNotSend,
                ][usize::from(bits / 4) % 3],
                ..plain
            },
        };
        Request { filter, options }
    }

    fn reason(&self) -> Reason {
        let choices: &[Reason] = match (self.kind, self.version) {
            (1, _) => &[Reason::Success, Reason::ClientIdNotValid, Reason::NotAuthorized],
            (_, Version::V311) => &[Reason::Success],
            (2 | 3, _) => &[Reason::Success, Reason::NoMatchingSubscribers, Reason::QuotaExceeded],
            (4 | 5, _) => &[Reason::Success, Reason::PacketIdNotFound],
            (13, _) => &[Reason::Success, Reason::ContinueAuthentication, Reason::Reauthenticate],
            _ => &[Reason::Success, Reason::DisconnectWithWill, Reason::ServerMoved],
        };
        choices[usize::from(self.bits) % choices.len()]
    }

    fn carrier(&self) -> Carrier {
        match self.kind {
            0 => Carrier::Connect,
            1 => Carrier::ConnAck,
            2..=5 | 7 | 9 => Carrier::Acknowledgement,
            6 => Carrier::Subscribe,
            8 => Carrier::Unsubscribe,
            12 => Carrier::Disconnect,
            13 if self.version == Version::V5 => Carrier::Auth,
            _ => Carrier::Publish,
        }
    }

    /// Those of the properties that may stand together in `carrier`.
    fn properties(&self, carrier: Carrier) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (id, number, text) in &self.properties {
            let Some(property) = property(*id, *number, text) else { continue };
            let mut longer = bytes.clone();
            property.encode(&mut longer);
            if self.version == Version::V5 && Properties::new(carrier, &longer).is_ok() {
                bytes = longer;
                expected.push(property);
            }
        }
        let found: Vec<_> = Properties::new(carrier, &bytes).unwrap().iter().collect();
        assert_eq!(found, expected);
        bytes
    }
}

/// A step of an authentication, by a method; without one only the shortest.
fn auth(reason: Reason, properties: Properties<'_>) -> Auth<'_> {
    let is_method = |property| matches!(property, Property::AuthenticationMethod(_));
    if properties.iter().any(is_method) {
        Auth { reason, properties }
    } else {
        Auth { reason: Reason::Success, properties: Properties::NONE }
    }
}

fn property(id: u8, number: u32, text: &str) -> Option<Property<'_>> {
    let flag = number & 1 != 0;
    let short = (number >> 16) as u16;
    let short_not_0 = NonZeroU16::MIN.saturating_add(short);
    Some(match id {
        0x01 => Property::PayloadFormatText(flag),
        0x02 => Property::MessageExpiry(number),
        0x03 => Property::ContentType(text),
        0x08 => Property::ResponseTopic(text),
        0x09 => Property::CorrelationData(text.as_bytes()),
        0x0B => Property::SubscriptionIdentifier(NonZeroU32::new(number >> 4)?),
        0x11 => Property::SessionExpiry(number),
        0x12 => Property::AssignedClientIdentifier(text),
        0x13 => Property::ServerKeepAlive(short),
        0x15 => Property::AuthenticationMethod(text),
        0x16 => Property::AuthenticationData(text.as_bytes()),
        0x17 => Property::RequestProblemInformation(flag),
        0x18 => Property::WillDelay(number),
        0x19 => Property::RequestResponseInformation(flag),
        0x1A => Property::ResponseInformation(text),
        0x1C => Property::ServerReference(text),
        0x1F => Property::ReasonString(text),
        0x21 => Property::ReceiveMaximum(short_not_0),
        0x22 => Property::TopicAliasMaximum(short),
        0x23 => Property::TopicAlias(short_not_0),
        0x24 => Property::MaximumQos1(flag),
        0x25 => Property::RetainAvailable(flag),
        0x26 => Property::User(text, text),
        0x27 => Property::MaximumPacketSize(NonZeroU32::new(number)?),
        0x28 => Property::WildcardSubscriptionAvailable(flag),
        0x29 => Property::SubscriptionIdentifiersAvailable(flag),
        0x2A => Property::SharedSubscriptionAvailable(flag),
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_encoded_is_decoded_to_the_same(parts in parts()) {
        parts.with_packet(|version, packet| {
            let mut bytes = Vec::from(*b"before");
            packet.encode(version, &mut bytes);
            let encoded = &bytes[b"before".len()..];
            let expects = if parts.kind == 0 { None } else { Some(version) };
            let limit = u32::try_from(encoded.len()).unwrap();
            assert_eq!(decode(encoded, expects, limit), Ok(Decoded::Packet(packet, encoded.len())));
            for end in 0..encoded.len() {
                assert_eq!(decode(&encoded[..end], expects, limit), Ok(Decoded::Incomplete));
            }
            bytes.extend_from_slice(b"after");
            let all = decode(&bytes[b"before".len()..], expects, limit);
            assert_eq!(all, Ok(Decoded::Packet(packet, limit as usize)));
        });
    }
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let id = NonZeroU16::new(0x1234).unwrap();
    let properties = [0x23, 0, 1];
    let publish = Publish {
        delivery: Delivery::AtLeastOnce { packet_id: id, dup: true },
        retain: true,
        topic: "é",
        properties: Properties::new(Carrier::Publish, &properties).unwrap(),
        payload: b"on",
    };
    for (version, packet, expected) in [
        (
            Version::V5,
            Packet::Publish(publish),
            &b"\x3B\x0C\0\x02\xC3\xA9\x12\x34\x03\x23\0\x01on"[..],
        ),
        (Version::V311, Packet::Publish(publish), b"\x3B\x08\0\x02\xC3\xA9\x12\x34on"),
        (Version::V5, Packet::PubAck(Ack::success(id)), b"\x40\x02\x12\x34"),
        (Version::V311, Packet::PubRel(Ack::success(id)), b"\x62\x02\x12\x34"),
        (Version::V5, Packet::PingReq, b"\xC0\0"),
    ] {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        assert_eq!(bytes, expected);
    }
}
