//! The properties of MQTT 5 (2.2.2): checked once, then kept as the bytes that they came in.

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::topic::{TopicError, check_name};

use super::malformed::Malformed;
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01: whether the payload is UTF-8 text.
    PayloadFormatText(bool),
    /// 0x02: seconds after which the message is of no use any more.
    MessageExpiry(u32),
    /// 0x03: MIME type of the payload.
    ContentType(&'a str),
    /// 0x08: where an answer is expected.
    ResponseTopic(&'a str),
    /// 0x09: what an answer must carry.
    CorrelationData(&'a [u8]),
    /// 0x0B: the number that a client gave to its subscription, up to 268,435,455.
    SubscriptionIdentifier(NonZeroU32),
    /// 0x11: seconds for which the session outlives its connection; `u32::MAX`: for ever.
    SessionExpiry(u32),
    /// 0x12: the client identifier that the server chose.
    AssignedClientIdentifier(&'a str),
    /// 0x13: the keep-alive in seconds that the server demands; 0: none.
    ServerKeepAlive(u16),
    /// 0x15: how to authenticate.
    AuthenticationMethod(&'a str),
    /// 0x16: what the method exchanges.
    AuthenticationData(&'a [u8]),
    /// 0x17: whether reason strings and user properties are welcome on any packet.
    RequestProblemInformation(bool),
    /// 0x18: seconds between the end of the connection and the will.
    WillDelay(u32),
    /// 0x19: whether the server may send response information.
    RequestResponseInformation(bool),
    /// 0x1A: what response topics are made from.
    ResponseInformation(&'a str),
    /// 0x1C: another server to use.
    ServerReference(&'a str),
    /// 0x1F: the reason, for people.
    ReasonString(&'a str),
    /// 0x21: QoS 1 and 2 publishes that may be under way to the sender of this.
    ReceiveMaximum(NonZeroU16),
    /// 0x22: the highest topic alias that the sender of this accepts.
    TopicAliasMaximum(u16),
    /// 0x23: a number in the topic's place.
    TopicAlias(NonZeroU16),
    /// 0x24: whether the server takes QoS 1 (`true`) or only 0. For 2 the property is absent.
    MaximumQos1(bool),
    /// 0x25: whether the server keeps retained messages.
    RetainAvailable(bool),
    /// 0x26: a name and value of the application's own; may repeat.
    User(&'a str, &'a str),
    /// 0x27: the largest packet in bytes that the sender of this accepts.
    MaximumPacketSize(NonZeroU32),
    /// 0x28: whether the server takes wildcards in subscriptions.
    WildcardSubscriptionAvailable(bool),
    /// 0x29: whether the server takes subscription identifiers.
    SubscriptionIdentifiersAvailable(bool),
    /// 0x2A: whether the server takes shared subscriptions.
    SharedSubscriptionAvailable(bool),
}

/// The places where properties stand; each allows its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// CONNECT.
    Connect,
    /// The will in a CONNECT.
    Will,
    /// CONNACK.
    ConnAck,
    /// PUBLISH.
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Acknowledgement,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

/// A checked sequence of properties, without the length in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    /// Bit `n` is set when a property with identifier `n` is there.
    present: u64,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const NONE: Self = Self { bytes: &[], present: 0 };

    /// Checks encoded properties as they may stand in `carrier`.
    ///
    /// # Errors
    /// Names the rule that they break (MQTT 5.0, 2.2.2.2).
    pub fn new(carrier: Carrier, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let allowed = allowed(carrier);
        let mut present = 0;
        while !reader.is_empty() {
            let (id, property) = read(&mut reader)?;
            let bit = 1 << id;
            if allowed & bit == 0 {
                return Err(Malformed::packet("2.2.2.2"));
            }
            if present & bit != 0 && !may_repeat(carrier, property) {
                return Err(Malformed::protocol("2.2.2.2"));
            }
            present |= bit;
        }
        if present & set(&[0x15, 0x16]) == set(&[0x16]) {
            return Err(Malformed::protocol("3.1.2.11.10"));
        }
        Ok(Self { bytes, present })
    }

    /// A length and as many bytes of properties; 3.1.1 has none.
    pub(super) fn decode(
        carrier: Carrier,
        version: Version,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Malformed> {
        if version != Version::V5 {
            return Ok(Self::NONE);
        }
        match reader.variable()? {
            0 => Ok(Self::NONE),
            length => Self::new(carrier, reader.take(length as usize)?),
        }
    }

    /// Appends the length and the properties; for 3.1.1 nothing.
    pub(super) fn encode(self, version: Version, out: &mut Vec<u8>) {
        if version == Version::V5 {
            writer::variable(out, self.bytes.len());
            out.extend_from_slice(self.bytes);
        }
    }

    /// Bytes that [`Properties::encode`] appends.
    pub(super) const fn encoded_bytes(self, version: Version) -> usize {
        match version {
            Version::V31 | Version::V311 => 0,
            Version::V5 => writer::variable_bytes(self.bytes.len()) + self.bytes.len(),
        }
    }

    /// As they are encoded.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// In the order in which they were sent.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || read(&mut reader).ok().map(|(_, property)| property))
    }

    /// Whether there is an authentication method.
    pub(super) const fn names_a_method(self) -> bool {
        self.present & set(&[0x15]) != 0
    }

    /// The topic alias of a PUBLISH.
    #[must_use]
    pub fn topic_alias(self) -> Option<NonZeroU16> {
        if self.present & set(&[0x23]) == 0 {
            return None;
        }
        self.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias),
            _ => None,
        })
    }

    /// The subscription identifier of a SUBSCRIBE, or the first one of a PUBLISH.
    #[must_use]
    pub fn subscription_identifier(self) -> Option<NonZeroU32> {
        if self.present & set(&[0x0B]) == 0 {
            return None;
        }
        self.iter().find_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }
}

/// One bit for each identifier. All are below 64.
const fn set(mut ids: &[u8]) -> u64 {
    let mut bits = 0;
    while let [id, rest @ ..] = ids {
        bits |= 1 << *id;
        ids = rest;
    }
    bits
}

/// The identifiers that may stand in `carrier` (MQTT 5.0, table 2-4).
const fn allowed(carrier: Carrier) -> u64 {
    const MESSAGE: u64 = set(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x26]);
    match carrier {
        Carrier::Connect => set(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]),
        Carrier::Will => MESSAGE | set(&[0x18]),
        Carrier::ConnAck => set(&[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
            0x28, 0x29, 0x2A,
        ]),
        Carrier::Publish => MESSAGE | set(&[0x0B, 0x23]),
        Carrier::Acknowledgement => set(&[0x1F, 0x26]),
        Carrier::Subscribe => set(&[0x0B, 0x26]),
        Carrier::Unsubscribe => set(&[0x26]),
        Carrier::Disconnect => set(&[0x11, 0x1C, 0x1F, 0x26]),
        Carrier::Auth => set(&[0x15, 0x16, 0x1F, 0x26]),
    }
}

const fn may_repeat(carrier: Carrier, property: Property<'_>) -> bool {
    match property {
        Property::User(..) => true,
        Property::SubscriptionIdentifier(_) => matches!(carrier, Carrier::Publish),
        _ => false,
    }
}

/// Takes one property with its identifier, and checks its value.
fn read<'a>(reader: &mut Reader<'a>) -> Result<(u8, Property<'a>), Malformed> {
    // The identifier is a variable byte integer; all that exist take one byte.
    let id = reader.byte()?;
    let property = match id {
        0x01 => Property::PayloadFormatText(flag(reader, "3.3.2.3.2")?),
        0x02 => Property::MessageExpiry(reader.four_bytes()?),
        0x03 => Property::ContentType(reader.text()?),
        0x08 => Property::ResponseTopic(response_topic(reader)?),
        0x09 => Property::CorrelationData(reader.binary()?),
        0x0B => Property::SubscriptionIdentifier(
            NonZeroU32::new(reader.variable()?).ok_or(Malformed::protocol("3.8.2.1.2"))?,
        ),
        0x11 => Property::SessionExpiry(reader.four_bytes()?),
        0x12 => Property::AssignedClientIdentifier(reader.text()?),
        0x13 => Property::ServerKeepAlive(reader.two_bytes()?),
        0x15 => Property::AuthenticationMethod(reader.text()?),
        0x16 => Property::AuthenticationData(reader.binary()?),
        0x17 => Property::RequestProblemInformation(flag(reader, "3.1.2.11.7")?),
        0x18 => Property::WillDelay(reader.four_bytes()?),
        0x19 => Property::RequestResponseInformation(flag(reader, "3.1.2.11.6")?),
        0x1A => Property::ResponseInformation(reader.text()?),
        0x1C => Property::ServerReference(reader.text()?),
        0x1F => Property::ReasonString(reader.text()?),
        0x21 => Property::ReceiveMaximum(
            NonZeroU16::new(reader.two_bytes()?).ok_or(Malformed::protocol("3.1.2.11.3"))?,
        ),
        0x22 => Property::TopicAliasMaximum(reader.two_bytes()?),
        0x23 => Property::TopicAlias(
            NonZeroU16::new(reader.two_bytes()?)
                .ok_or(Malformed::new(Reason::TopicAliasInvalid, "MQTT-3.3.2-8"))?,
        ),
        0x24 => Property::MaximumQos1(flag(reader, "3.2.2.3.4")?),
        0x25 => Property::RetainAvailable(flag(reader, "3.2.2.3.5")?),
        0x26 => Property::User(reader.text()?, reader.text()?),
        0x27 => Property::MaximumPacketSize(
            NonZeroU32::new(reader.four_bytes()?).ok_or(Malformed::protocol("3.1.2.11.4"))?,
        ),
        0x28 => Property::WildcardSubscriptionAvailable(flag(reader, "3.2.2.3.11")?),
        0x29 => Property::SubscriptionIdentifiersAvailable(flag(reader, "3.2.2.3.12")?),
        0x2A => Property::SharedSubscriptionAvailable(flag(reader, "3.2.2.3.13")?),
        _ => return Err(Malformed::packet("2.2.2.2")),
    };
    Ok((id, property))
}

/// A byte that is 0 or 1.
fn flag(reader: &mut Reader<'_>, statement: &'static str) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::protocol(statement)),
    }
}

fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let topic = reader.text()?;
    check_name(topic).map_err(|error| {
        Malformed::protocol(match error {
            TopicError::WildcardInName => "MQTT-3.3.2-14",
            _ => "MQTT-4.7.3-1",
        })
    })?;
    Ok(topic)
}

impl Property<'_> {
    /// Appends the property as it stands in a packet.
    ///
    /// # Panics
    /// If a string has more than 65,535 bytes, or a subscription identifier is above 268,435,455.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::PayloadFormatText(flag) => byte(out, 0x01, flag),
            Self::MessageExpiry(seconds) => four_bytes(out, 0x02, seconds),
            Self::ContentType(text) => string(out, 0x03, text),
            Self::ResponseTopic(text) => string(out, 0x08, text),
            Self::CorrelationData(bytes) => binary(out, 0x09, bytes),
            Self::SubscriptionIdentifier(identifier) => {
                out.push(0x0B);
                writer::variable(out, identifier.get() as usize);
            }
            Self::SessionExpiry(seconds) => four_bytes(out, 0x11, seconds),
            Self::AssignedClientIdentifier(text) => string(out, 0x12, text),
            Self::ServerKeepAlive(seconds) => two_bytes(out, 0x13, seconds),
            Self::AuthenticationMethod(text) => string(out, 0x15, text),
            Self::AuthenticationData(bytes) => binary(out, 0x16, bytes),
            Self::RequestProblemInformation(flag) => byte(out, 0x17, flag),
            Self::WillDelay(seconds) => four_bytes(out, 0x18, seconds),
            Self::RequestResponseInformation(flag) => byte(out, 0x19, flag),
            Self::ResponseInformation(text) => string(out, 0x1A, text),
            Self::ServerReference(text) => string(out, 0x1C, text),
            Self::ReasonString(text) => string(out, 0x1F, text),
            Self::ReceiveMaximum(maximum) => two_bytes(out, 0x21, maximum.get()),
            Self::TopicAliasMaximum(maximum) => two_bytes(out, 0x22, maximum),
            Self::TopicAlias(alias) => two_bytes(out, 0x23, alias.get()),
            Self::MaximumQos1(flag) => byte(out, 0x24, flag),
            Self::RetainAvailable(flag) => byte(out, 0x25, flag),
            Self::User(name, value) => {
                string(out, 0x26, name);
                writer::binary(out, value.as_bytes());
            }
            Self::MaximumPacketSize(bytes) => four_bytes(out, 0x27, bytes.get()),
            Self::WildcardSubscriptionAvailable(flag) => byte(out, 0x28, flag),
            Self::SubscriptionIdentifiersAvailable(flag) => byte(out, 0x29, flag),
            Self::SharedSubscriptionAvailable(flag) => byte(out, 0x2A, flag),
        }
    }
}

fn byte(out: &mut Vec<u8>, id: u8, flag: bool) {
    out.extend_from_slice(&[id, u8::from(flag)]);
}

fn two_bytes(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend_from_slice(&value.to_be_bytes());
}

fn four_bytes(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend_from_slice(&value.to_be_bytes());
}

fn string(out: &mut Vec<u8>, id: u8, text: &str) {
    binary(out, id, text.as_bytes());
}

fn binary(out: &mut Vec<u8>, id: u8, bytes: &[u8]) {
    out.push(id);
    writer::binary(out, bytes);
}
