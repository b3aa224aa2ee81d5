//! CONNECT (MQTT 5.0, 3.1): the first packet of every connection, and what tells the version.

use alloc::vec::Vec;

use tributary_core::record::Qos;
use tributary_core::topic::{self, TopicError};

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::{Reader, variable};
use super::reason::Reason;
use super::{Version, writer};

/// A client introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What it speaks.
    pub version: Version,
    /// Clean Session (3.1.1) or Clean Start (5): the client wants nothing of an earlier session.
    pub clean_start: bool,
    /// Seconds; 0: none.
    pub keep_alive_s: u16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Empty if the server shall choose.
    pub client_id: &'a str,
    /// What to publish when the connection ends without DISCONNECT.
    pub will: Option<LastWill<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will as it stands in a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWill<'a> {
    /// Quality of service.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Without wildcards, not empty.
    pub topic: &'a str,
    /// What to publish.
    pub payload: &'a [u8],
}

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

impl<'a> Connect<'a> {
    /// Reads what follows the fixed header.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let version = version(&mut reader)?;
        let flags = reader.byte()?;
        check_flags(flags, version)?;
        let keep_alive_s = reader.two_bytes()?;
        let properties = Properties::decode(Carrier::Connect, version, &mut reader)?;
        let client_id = reader.text()?;
        let will = match flags & WILL {
            0 => None,
            _ => Some(LastWill::decode(flags, version, &mut reader)?),
        };
        let user_name = if flags & USER_NAME == 0 { None } else { Some(reader.text()?) };
        let password = if flags & PASSWORD == 0 { None } else { Some(reader.binary()?) };
        reader.end()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            clean_start,
            keep_alive_s,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    /// Appends the packet.
    ///
    /// # Panics
    /// If a string, the will's payload or the password has more than 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        writer::packet(out, 0x10, |out| {
            let (name, level): (&[u8], _) = match self.version {
                Version::V31 => (b"MQIsdp", 3),
                Version::V311 => (b"MQTT", 4),
                Version::V5 => (b"MQTT", 5),
            };
            writer::binary(out, name);
            out.push(level);
            out.push(self.flags());
            out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
            self.properties.encode(self.version, out);
            writer::binary(out, self.client_id.as_bytes());
            if let Some(will) = &self.will {
                will.properties.encode(self.version, out);
                writer::binary(out, will.topic.as_bytes());
                writer::binary(out, will.payload);
            }
            if let Some(user_name) = self.user_name {
                writer::binary(out, user_name.as_bytes());
            }
            if let Some(password) = self.password {
                writer::binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3;
            flags |= if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.user_name.is_some() { USER_NAME } else { 0 };
        flags | if self.password.is_some() { PASSWORD } else { 0 }
    }
}

impl<'a> LastWill<'a> {
    fn decode(flags: u8, version: Version, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let properties = Properties::decode(Carrier::Will, version, reader)?;
        let topic = reader.text()?;
        topic::check_name(topic).map_err(|error| {
            let statement = match error {
                TopicError::WildcardInName => "MQTT-4.7.0-1",
                _ => "MQTT-4.7.3-1",
            };
            Malformed::new(Reason::TopicNameInvalid, statement)
        })?;
        let qos = match (flags >> 3) & 0b11 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(Malformed::packet("MQTT-3.1.2-12")),
        };
        let payload = reader.binary()?;
        Ok(Self { qos, retain: flags & WILL_RETAIN != 0, properties, topic, payload })
    }
}

/// In which version a client reads a refusal, if the packet that `bytes` begin with is a CONNECT
/// of MQTT at all. A version above ours is told so in the newest that we speak; a bridge of
/// Mosquitto, which sets the highest bit, in 3.1.1.
pub(crate) fn announced_version(bytes: &[u8]) -> Option<Version> {
    let (first, after) = bytes.split_first()?;
    if *first != 0x10 {
        return None;
    }
    let (_, digits) = variable(after).ok()??;
    let mut reader = Reader::new(after.get(digits..)?);
    let name = reader.binary().ok()?;
    let level = reader.byte().ok()?;
    match (name, level) {
        (b"MQTT", 5..0x80) => Some(Version::V5),
        (b"MQTT", _) => Some(Version::V311),
        (b"MQIsdp", _) => Some(Version::V31),
        _ => None,
    }
}

/// Protocol name and version, together as all that exist have them.
fn version(reader: &mut Reader<'_>) -> Result<Version, Malformed> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Malformed::new(Reason::UnsupportedProtocolVersion, "MQTT-3.1.2-1"));
    }
    match (name, reader.byte()?) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        _ => Err(Malformed::new(Reason::UnsupportedProtocolVersion, "MQTT-3.1.2-2")),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Malformed> {
    let will_qos = (flags >> 3) & 0b11;
    if flags & 1 != 0 && version != Version::V31 {
        return Err(Malformed::packet("MQTT-3.1.2-3"));
    }
    if flags & WILL == 0 && will_qos != 0 {
        return Err(Malformed::packet("MQTT-3.1.2-11"));
    }
    if flags & WILL == 0 && flags & WILL_RETAIN != 0 {
        return Err(Malformed::packet("MQTT-3.1.2-13"));
    }
    if version != Version::V5 && flags & USER_NAME == 0 && flags & PASSWORD != 0 {
        return Err(Malformed::packet("MQTT-3.1.2-22 (3.1.1)"));
    }
    Ok(())
}
