//! DISCONNECT and AUTH (MQTT 5.0, 3.14 and 3.15).

use alloc::vec::Vec;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// One side takes its leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Always `Success` in 3.1.1.
    pub reason: Reason,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// A step of an enhanced authentication; not in 3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Where the exchange stands.
    pub reason: Reason,
    /// Method and data.
    pub properties: Properties<'a>,
}

/// MQTT 5.0, table 3-13. Who may send which is the session's business.
const DISCONNECT_ALLOWED: [Reason; 29] = [
    Reason::Success,
    Reason::DisconnectWithWill,
    Reason::Unspecified,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::ServerBusy,
    Reason::ServerShuttingDown,
    Reason::KeepAliveTimeout,
    Reason::SessionTakenOver,
    Reason::TopicFilterInvalid,
    Reason::TopicNameInvalid,
    Reason::ReceiveMaximumExceeded,
    Reason::TopicAliasInvalid,
    Reason::PacketTooLarge,
    Reason::MessageRateTooHigh,
    Reason::QuotaExceeded,
    Reason::AdministrativeAction,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::SharedSubscriptionsNotSupported,
    Reason::ConnectionRateExceeded,
    Reason::MaximumConnectTime,
    Reason::SubscriptionIdsNotSupported,
    Reason::WildcardsNotSupported,
];

const AUTH_ALLOWED: [Reason; 3] =
    [Reason::Success, Reason::ContinueAuthentication, Reason::Reauthenticate];

impl<'a> Disconnect<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if version == Version::V311 {
            reader.end()?;
        }
        let (reason, properties) =
            reason_and_properties(Carrier::Disconnect, &DISCONNECT_ALLOWED, &mut reader)?
                .ok_or(Malformed::packet("MQTT-3.14.2-1"))?;
        Ok(Self { reason, properties })
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match version {
            Version::V311 => out.extend_from_slice(&[0xE0, 0]),
            Version::V5 => encode(0xE0, self.reason, self.properties, out),
        }
    }
}

impl<'a> Auth<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (reason, properties) =
            reason_and_properties(Carrier::Auth, &AUTH_ALLOWED, &mut reader)?
                .ok_or(Malformed::packet("MQTT-3.15.2-1"))?;
        Ok(Self { reason, properties })
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(0xF0, self.reason, self.properties, out);
    }
}

/// Both may be left out (MQTT 5.0, 3.14.2.1 and 3.15.2.1). `None`: the reason is not allowed.
fn reason_and_properties<'a>(
    carrier: Carrier,
    allowed: &[Reason],
    reader: &mut Reader<'a>,
) -> Result<Option<(Reason, Properties<'a>)>, Malformed> {
    if reader.is_empty() {
        return Ok(Some((Reason::Success, Properties::NONE)));
    }
    let Some(reason) = Reason::decode(reader.byte()?, allowed) else { return Ok(None) };
    if reader.is_empty() {
        return Ok(Some((reason, Properties::NONE)));
    }
    let properties = Properties::decode(carrier, Version::V5, reader)?;
    reader.end()?;
    Ok(Some((reason, properties)))
}

fn encode(first_byte: u8, reason: Reason, properties: Properties<'_>, out: &mut Vec<u8>) {
    if properties != Properties::NONE {
        writer::packet(out, first_byte, |out| {
            out.push(reason as u8);
            properties.encode(Version::V5, out);
        });
    } else if reason != Reason::Success {
        out.extend_from_slice(&[first_byte, 1, reason as u8]);
    } else {
        out.extend_from_slice(&[first_byte, 0]);
    }
}
