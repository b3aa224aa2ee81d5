//! CONNACK (MQTT 5.0, 3.2).

use alloc::vec::Vec;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// The server's answer to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server has kept an earlier session. Never with a failure (MQTT-3.2.2-6).
    pub session_present: bool,
    /// Success, or why not. 3.1.1 tells only six of them apart.
    pub reason: Reason,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// Indexed by the return codes of 3.1.1 (3.1.1, table 3.1).
const RETURN_CODES: [Reason; 6] = [
    Reason::Success,
    Reason::UnsupportedProtocolVersion,
    Reason::ClientIdNotValid,
    Reason::ServerUnavailable,
    Reason::BadUserNameOrPassword,
    Reason::NotAuthorized,
];

/// MQTT 5.0, table 3-1.
const ALLOWED: [Reason; 22] = [
    Reason::Success,
    Reason::Unspecified,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecific,
    Reason::UnsupportedProtocolVersion,
    Reason::ClientIdNotValid,
    Reason::BadUserNameOrPassword,
    Reason::NotAuthorized,
    Reason::ServerUnavailable,
    Reason::ServerBusy,
    Reason::Banned,
    Reason::BadAuthenticationMethod,
    Reason::TopicNameInvalid,
    Reason::PacketTooLarge,
    Reason::QuotaExceeded,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::ConnectionRateExceeded,
];

/// How a CONNACK spells that a client is turned away.
pub(crate) fn connack_reason(reason: Reason) -> Reason {
    reason.among(&ALLOWED)
}

impl<'a> ConnAck<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let session_present = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::packet("MQTT-3.2.2-1")),
        };
        let code = reader.byte()?;
        let reason = match version {
            Version::V31 | Version::V311 => RETURN_CODES.get(usize::from(code)).copied(),
            Version::V5 => Reason::decode(code, &ALLOWED),
        };
        let reason = reason.ok_or(Malformed::packet("MQTT-3.2.2-8"))?;
        if session_present && reason != Reason::Success {
            return Err(Malformed::protocol("MQTT-3.2.2-6"));
        }
        let properties = Properties::decode(Carrier::ConnAck, version, &mut reader)?;
        reader.end()?;
        Ok(Self { session_present, reason, properties })
    }

    /// Appends the packet. A reason that 3.1.1 does not know becomes "server unavailable".
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let code = match version {
            Version::V5 => self.reason as u8,
            Version::V31 | Version::V311 => return_code(self.reason),
        };
        writer::packet(out, 0x20, |out| {
            // In 3.1 that byte is reserved.
            let is_present = self.session_present && version != Version::V31;
            out.extend_from_slice(&[u8::from(is_present), code]);
            self.properties.encode(version, out);
        });
    }
}

const fn return_code(reason: Reason) -> u8 {
    match reason {
        Reason::Success => 0,
        Reason::UnsupportedProtocolVersion => 1,
        Reason::ClientIdNotValid => 2,
        Reason::BadUserNameOrPassword => 4,
        Reason::NotAuthorized | Reason::Banned | Reason::BadAuthenticationMethod => 5,
        _ => 3,
    }
}
