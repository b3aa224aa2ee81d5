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
        let mut disconnect = Self { reason: Reason::Success, properties: Properties::NONE };
        // Both may be left out, and the properties alone (MQTT 5.0, 3.14.2.1 and 3.14.2.2.1).
        if version == Version::V5 && !reader.is_empty() {
            disconnect.reason = Reason::decode(reader.byte()?, &DISCONNECT_ALLOWED)
                .ok_or(Malformed::packet("MQTT-3.14.2-1"))?;
            if !reader.is_empty() {
                disconnect.properties =
                    Properties::decode(Carrier::Disconnect, version, &mut reader)?;
            }
        }
        reader.end()?;
        Ok(disconnect)
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let is_plain = self.properties == Properties::NONE;
        if version != Version::V5 || (is_plain && self.reason == Reason::Success) {
            out.extend_from_slice(&[0xE0, 0]);
        } else if is_plain {
            out.extend_from_slice(&[0xE0, 1, self.reason as u8]);
        } else {
            writer::packet(out, 0xE0, |out| {
                out.push(self.reason as u8);
                self.properties.encode(version, out);
            });
        }
    }
}

impl<'a> Auth<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut auth = Self { reason: Reason::Success, properties: Properties::NONE };
        // Both may be left out together (MQTT 5.0, 3.15.2.1).
        if !reader.is_empty() {
            auth.reason = Reason::decode(reader.byte()?, &AUTH_ALLOWED)
                .ok_or(Malformed::packet("MQTT-3.15.2-1"))?;
            auth.properties = Properties::decode(Carrier::Auth, Version::V5, &mut reader)?;
            if !auth.properties.names_a_method() {
                return Err(Malformed::protocol("3.15.2.2.2"));
            }
        }
        reader.end()?;
        Ok(auth)
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, out: &mut Vec<u8>) {
        writer::packet(out, 0xF0, |out| {
            if self.reason != Reason::Success || self.properties != Properties::NONE {
                out.push(self.reason as u8);
                self.properties.encode(Version::V5, out);
            }
        });
    }
}
