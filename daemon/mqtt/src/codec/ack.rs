//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, 3.4 to 3.7).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// A step of a delivery. Which one, the packet's type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// That of the PUBLISH.
    pub packet_id: NonZeroU16,
    /// Always `Success` in 3.1.1.
    pub reason: Reason,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// The four packets that are built alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PUBACK.
    Acknowledged,
    /// PUBREC.
    Received,
    /// PUBREL.
    Release,
    /// PUBCOMP.
    Complete,
}

impl Kind {
    const fn first_byte(self) -> u8 {
        match self {
            Self::Acknowledged => 0x40,
            Self::Received => 0x50,
            Self::Release => 0x62,
            Self::Complete => 0x70,
        }
    }

    const fn allowed(self) -> &'static [Reason] {
        match self {
            Self::Acknowledged | Self::Received => &[
                Reason::Success,
                Reason::NoMatchingSubscribers,
                Reason::Unspecified,
                Reason::ImplementationSpecific,
                Reason::NotAuthorized,
                Reason::TopicNameInvalid,
                Reason::PacketIdInUse,
                Reason::QuotaExceeded,
                Reason::PayloadFormatInvalid,
            ],
            Self::Release | Self::Complete => &[Reason::Success, Reason::PacketIdNotFound],
        }
    }

    const fn statement(self) -> &'static str {
        match self {
            Self::Acknowledged => "MQTT-3.4.2-1",
            Self::Received => "MQTT-3.5.2-1",
            Self::Release => "MQTT-3.6.2-1",
            Self::Complete => "MQTT-3.7.2-1",
        }
    }
}

/// How a PUBACK spells that a publish was not taken.
pub(crate) fn puback_reason(reason: Reason) -> Reason {
    reason.among(Kind::Acknowledged.allowed())
}

impl<'a> Ack<'a> {
    /// It went well.
    #[must_use]
    pub const fn success(packet_id: NonZeroU16) -> Self {
        Self { packet_id, reason: Reason::Success, properties: Properties::NONE }
    }

    /// Reads what follows the fixed header.
    pub(super) fn decode(kind: Kind, body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut ack = Self::success(reader.packet_id()?);
        // Reason code and properties may be left out (MQTT 5.0, 3.4.2.1).
        if version == Version::V5 && !reader.is_empty() {
            ack.reason = Reason::decode(reader.byte()?, kind.allowed())
                .ok_or(Malformed::packet(kind.statement()))?;
            if !reader.is_empty() {
                ack.properties =
                    Properties::decode(Carrier::Acknowledgement, version, &mut reader)?;
            }
        }
        reader.end()?;
        Ok(ack)
    }

    /// Appends the packet, as short as it can be.
    ///
    /// # Panics
    /// On a failure in 3.1.1, which cannot spell it: it would say that all went well.
    pub(super) fn encode(&self, kind: Kind, version: Version, out: &mut Vec<u8>) {
        assert!(version == Version::V5 || !self.reason.is_failure(), "3.1.1 has no failures");
        let [high, low] = self.packet_id.get().to_be_bytes();
        let first_byte = kind.first_byte();
        if version != Version::V5 || self.is_plain() {
            out.extend_from_slice(&[first_byte, 2, high, low]);
        } else if self.properties == Properties::NONE {
            out.extend_from_slice(&[first_byte, 3, high, low, self.reason as u8]);
        } else {
            writer::packet(out, first_byte, |out| {
                out.extend_from_slice(&[high, low, self.reason as u8]);
                self.properties.encode(version, out);
            });
        }
    }

    fn is_plain(&self) -> bool {
        self.reason == Reason::Success && self.properties == Properties::NONE
    }
}
