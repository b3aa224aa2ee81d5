//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.10 and 3.11).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::{Reason, Reasons};
use super::subscribe::check_filter;
use super::{Version, writer};

/// A client ends subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// What the UNSUBACK will name.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Filters<'a>,
}

/// The checked topic filters of an UNSUBSCRIBE, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a>(&'a [u8]);

/// The server's answer to an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// One for each filter, in order; empty in 3.1.1.
    pub reasons: Reasons<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(Carrier::Unsubscribe, version, &mut reader)?;
        let filters = Filters::new(reader.rest())?;
        Ok(Self { packet_id, properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        writer::packet(out, 0xA2, |out| {
            writer::packet_id(out, self.packet_id);
            self.properties.encode(version, out);
            out.extend_from_slice(self.filters.0);
        });
    }

    /// Appends the UNSUBACK with one reason code for each filter; in 3.1.1 without them.
    pub(crate) fn encode_answer(
        &self,
        version: Version,
        reasons: impl Iterator<Item = Reason>,
        out: &mut Vec<u8>,
    ) {
        writer::packet(out, 0xB0, |out| {
            writer::packet_id(out, self.packet_id);
            Properties::NONE.encode(version, out);
            let start = out.len();
            out.extend(reasons.map(|reason| reason as u8));
            if version != Version::V5 {
                out.truncate(start);
            }
        });
    }
}

impl<'a> Filters<'a> {
    /// Checks encoded filters.
    ///
    /// # Errors
    /// Names the rule that they break.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.is_empty() {
            return Err(Malformed::protocol("MQTT-3.10.3-2"));
        }
        while !reader.is_empty() {
            check_filter(reader.text()?)?;
        }
        Ok(Self(bytes))
    }

    /// Appends one filter as [`Filters::new`] reads it.
    ///
    /// # Panics
    /// If the filter has more than 65,535 bytes.
    pub fn encode(filter: &str, out: &mut Vec<u8>) {
        writer::binary(out, filter.as_bytes());
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || reader.text().ok())
    }
}

/// MQTT 5.0, table 3-9.
const ALLOWED: [Reason; 7] = [
    Reason::Success,
    Reason::NoSubscriptionExisted,
    Reason::Unspecified,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::TopicFilterInvalid,
    Reason::PacketIdInUse,
];

impl<'a> UnsubAck<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8], version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if version != Version::V5 {
            reader.end()?;
            return Ok(Self { packet_id, properties: Properties::NONE, reasons: Reasons::NONE });
        }
        let properties = Properties::decode(Carrier::Acknowledgement, version, &mut reader)?;
        let reasons = Reasons::of_unsuback(reader.rest())?;
        Ok(Self { packet_id, properties, reasons })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        writer::packet(out, 0xB0, |out| {
            writer::packet_id(out, self.packet_id);
            self.properties.encode(version, out);
            out.extend_from_slice(self.reasons.bytes());
        });
    }
}

impl<'a> Reasons<'a> {
    /// Checks the reason codes of an UNSUBACK of MQTT 5.
    ///
    /// # Errors
    /// If one is not allowed there, or there is none.
    pub fn of_unsuback(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::some(bytes, &ALLOWED).ok_or(Malformed::packet("MQTT-3.11.3-2"))
    }
}
