//! SUBSCRIBE and SUBACK (MQTT 5.0, 3.8 and 3.9).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::record::Qos;
use tributary_core::topic::{self, TopicError};

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::{Reason, Reasons};
use super::{Version, writer};

/// A client asks for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// What the SUBACK will name.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub requests: Requests<'a>,
}

/// One topic filter with what is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Valid; may begin with `$share/<name>/`.
    pub filter: &'a str,
    /// How the messages shall come.
    pub options: Options,
}

/// Subscription options (MQTT 5.0, 3.8.3.1). 3.1.1 has only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The highest quality of service to deliver with.
    pub qos: Qos,
    /// The client does not want its own messages back.
    pub no_local: bool,
    /// RETAIN is passed on as it was published, instead of 0.
    pub retain_as_published: bool,
    /// Which retained messages to send for a new subscription.
    pub retain_handling: RetainHandling,
}

/// Which retained messages to send for a new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// All that match.
    Send = 0,
    /// All that match, if the subscription did not exist.
    SendIfNew = 1,
    /// None.
    DoNotSend = 2,
}

impl Options {
    /// What a 3.1.1 client asks for.
    #[must_use]
    pub const fn with_qos(qos: Qos) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }
}

/// The checked topic filters of a SUBSCRIBE, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests<'a> {
    version: Version,
    bytes: &'a [u8],
}

/// The server's answer to a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// One for each request, in order.
    pub reasons: Reasons<'a>,
}

impl<'a> Subscribe<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(Carrier::Subscribe, version, &mut reader)?;
        let requests = Requests::new(version, reader.rest())?;
        Ok(Self { packet_id, properties, requests })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        writer::packet(out, 0x82, |out| {
            writer::packet_id(out, self.packet_id);
            self.properties.encode(version, out);
            out.extend_from_slice(self.requests.bytes);
        });
    }

    /// Appends the SUBACK with one reason code for each request.
    pub(crate) fn encode_answer(
        &self,
        version: Version,
        (properties, reasons): (Properties<'_>, &[Reason]),
        out: &mut Vec<u8>,
    ) {
        writer::packet(out, 0x90, |out| {
            writer::packet_id(out, self.packet_id);
            properties.encode(version, out);
            out.extend(reasons.iter().map(|reason| *reason as u8));
        });
    }
}

impl Request<'_> {
    /// Appends the request as [`Requests::new`] reads it.
    ///
    /// # Panics
    /// If the filter has more than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        writer::binary(out, self.filter.as_bytes());
        out.push(self.options.byte(version));
    }

    /// Whether it asks for a shared subscription (MQTT 5.0, 4.8.2).
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.filter.starts_with(SHARED)
    }
}

const SHARED: &str = "$share/";

impl<'a> Requests<'a> {
    /// Checks encoded requests.
    ///
    /// # Errors
    /// Names the rule that they break.
    pub fn new(version: Version, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.is_empty() {
            return Err(Malformed::protocol("MQTT-3.8.3-2"));
        }
        while !reader.is_empty() {
            check(read(version, &mut reader)?, version)?;
        }
        Ok(Self { version, bytes })
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = Request<'a>> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || read(self.version, &mut reader).ok())
    }
}

fn read<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Request<'a>, Malformed> {
    let filter = reader.text()?;
    let options = Options::decode(version, reader.byte()?)?;
    Ok(Request { filter, options })
}

fn check(request: Request<'_>, version: Version) -> Result<(), Malformed> {
    check_filter(request.filter)?;
    if version == Version::V5
        && let Some(shared) = request.filter.strip_prefix(SHARED)
    {
        let (name, filter) = shared.split_once('/').unwrap_or_default();
        if name.is_empty() || filter.is_empty() || name.contains(['+', '#']) {
            return Err(Malformed::new(Reason::TopicFilterInvalid, "MQTT-4.8.2-2"));
        }
        if request.options.no_local {
            return Err(Malformed::protocol("MQTT-3.8.3-4"));
        }
    }
    Ok(())
}

/// A filter of a SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn check_filter(filter: &str) -> Result<(), Malformed> {
    topic::check_filter(filter).map_err(|error| {
        let statement = match error {
            TopicError::HashNotLast => "MQTT-4.7.1-1",
            TopicError::PlusNotAlone => "MQTT-4.7.1-2",
            _ => "MQTT-4.7.3-1",
        };
        Malformed::new(Reason::TopicFilterInvalid, statement)
    })
}

impl Options {
    /// As one byte, for keeping them.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.byte(Version::V5)
    }

    /// What [`Options::to_byte`] gave.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::decode(Version::V5, byte).ok()
    }

    fn decode(version: Version, byte: u8) -> Result<Self, Malformed> {
        let qos = match byte & 0b11 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(Malformed::protocol("3.8.3.1")),
        };
        if version != Version::V5 {
            return match byte >> 2 {
                0 => Ok(Self::with_qos(qos)),
                _ => Err(Malformed::packet("MQTT-3.8.3-4 (3.1.1)")),
            };
        }
        if byte & 0b1100_0000 != 0 {
            return Err(Malformed::packet("MQTT-3.8.3-5"));
        }
        let retain_handling = match (byte >> 4) & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Malformed::protocol("3.8.3.1")),
        };
        let no_local = byte & 0b100 != 0;
        let retain_as_published = byte & 0b1000 != 0;
        Ok(Self { qos, no_local, retain_as_published, retain_handling })
    }

    const fn byte(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        match version {
            Version::V31 | Version::V311 => qos,
            Version::V5 => {
                qos | (self.no_local as u8) << 2
                    | (self.retain_as_published as u8) << 3
                    | (self.retain_handling as u8) << 4
            }
        }
    }
}

/// MQTT 5.0, table 3-8; 3.1.1 has the first four.
const ALLOWED: [Reason; 12] = [
    Reason::Success,
    Reason::GrantedQos1,
    Reason::GrantedQos2,
    Reason::Unspecified,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::TopicFilterInvalid,
    Reason::PacketIdInUse,
    Reason::QuotaExceeded,
    Reason::SharedSubscriptionsNotSupported,
    Reason::SubscriptionIdsNotSupported,
    Reason::WildcardsNotSupported,
];

/// How a SUBACK spells that a subscription was refused; 3.1.1 has one code for that.
pub(crate) fn suback_reason(reason: Reason, version: Version) -> Reason {
    reason.among(allowed(version))
}

const fn allowed(version: Version) -> &'static [Reason] {
    match version {
        Version::V31 | Version::V311 => ALLOWED.split_at(4).0,
        Version::V5 => &ALLOWED,
    }
}

impl<'a> SubAck<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(Carrier::Acknowledgement, version, &mut reader)?;
        let reasons = Reasons::of_suback(version, reader.rest())?;
        Ok(Self { packet_id, properties, reasons })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        writer::packet(out, 0x90, |out| {
            writer::packet_id(out, self.packet_id);
            self.properties.encode(version, out);
            out.extend_from_slice(self.reasons.bytes());
        });
    }
}

impl<'a> Reasons<'a> {
    /// Checks the reason codes of a SUBACK.
    ///
    /// # Errors
    /// If one is not allowed there, or there is none.
    pub fn of_suback(version: Version, bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::some(bytes, allowed(version)).ok_or(Malformed::packet("MQTT-3.9.3-2"))
    }
}
