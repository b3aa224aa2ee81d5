//! From the opening of a connection to the answer to its CONNECT.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::limits::CLIENT_ID_BYTES_MAX;

use super::{Kept, Settings, Will, reasons};
use crate::codec::Version;
use crate::codec::connack::{ConnAck, connack_reason};
use crate::codec::connect::Connect;
use crate::codec::malformed::Malformed;
use crate::codec::property::{Carrier, Properties, Property};
use crate::codec::reason::Reason;
use crate::limits;

/// What a CONNECT asks for, until the driver has decided.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) version: Version,
    pub(super) keep_alive_s: u16,
    pub(super) session_expiry_s: u32,
    pub(super) receive_maximum: Option<NonZeroU16>,
    pub(super) packet_bytes_max: u32,
    pub(super) topic_alias_max: u16,
    /// Answers may have Reason Strings (MQTT 5.0, 3.1.2.11.7).
    pub(super) problem_information: bool,
    pub(super) will: Option<Box<Will>>,
}

/// How a client is welcomed.
#[derive(Debug, Default)]
pub struct Welcome<'a> {
    /// Its identifier if it came without one, unique among the clients and of at most
    /// [`limits::ASSIGNED_ID_BYTES_MAX`] bytes.
    pub assigned: Option<&'a str>,
    /// What is left of its session from before, if there is one.
    pub kept: Option<Kept>,
    /// The session outlives the connection: steps of QoS 2 wait until they are durable.
    pub lasting: bool,
}

impl Wishes {
    /// What the client asks for, if this server can serve it.
    pub(super) fn new(connect: &Connect<'_>) -> Result<Self, Malformed> {
        let mut wishes = Self {
            version: connect.version,
            keep_alive_s: connect.keep_alive_s,
            session_expiry_s: match (connect.version, connect.clean_start) {
                // Until the client begins a new one (3.1.1, 3.1.2.4).
                (Version::V31 | Version::V311, false) => u32::MAX,
                _ => 0,
            },
            receive_maximum: None,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            topic_alias_max: 0,
            problem_information: true,
            will: None,
        };
        for property in connect.properties.iter() {
            match property {
                Property::SessionExpiry(seconds) => wishes.session_expiry_s = seconds,
                Property::ReceiveMaximum(maximum) => wishes.receive_maximum = Some(maximum),
                Property::TopicAliasMaximum(maximum) => wishes.topic_alias_max = maximum,
                Property::RequestProblemInformation(wanted) => {
                    wishes.problem_information = wanted;
                }
                Property::MaximumPacketSize(bytes) => wishes.packet_bytes_max = bytes.get(),
                Property::AuthenticationMethod(_) => {
                    return Err(Malformed::new(Reason::BadAuthenticationMethod, "MQTT-4.12.0-1"));
                }
                _ => {}
            }
        }
        check_client_id(connect)?;
        if let Some(will) = &connect.will {
            wishes.will = Some(Box::new(Will::new(will)));
        }
        if wishes.packet_bytes_max < limits::CLIENT_PACKET_BYTES_MIN {
            return Err(Malformed::new(Reason::ImplementationSpecific, "MQTT-3.1.2-24"));
        }
        Ok(wishes)
    }

    /// Seconds of keep-alive that hold: a 3.1.1 client cannot be told another number.
    pub(super) fn granted_keep_alive_s(&self, settings: &Settings) -> u16 {
        let max = settings.keep_alive_max_s;
        let is_above = self.keep_alive_s == 0 || self.keep_alive_s > max;
        if self.version == Version::V5 && max != 0 && is_above { max } else { self.keep_alive_s }
    }

    /// Appends the CONNACK that welcomes the client.
    pub(super) fn encode_welcome(
        &self,
        settings: &Settings,
        (assigned, session_present): (Option<&str>, bool),
        out: &mut Vec<u8>,
    ) {
        let mut bytes = Vec::new();
        if self.version == Version::V5 {
            self.announce(settings, assigned, |property| property.encode(&mut bytes));
        }
        let properties = Properties::new(Carrier::ConnAck, &bytes)
            .expect("each property above belongs to CONNACK and stands there once");
        let reason = Reason::Success;
        ConnAck { session_present, reason, properties }.encode(self.version, out);
    }

    fn announce(
        &self,
        settings: &Settings,
        assigned: Option<&str>,
        mut say: impl FnMut(Property<'_>),
    ) {
        if self.session_expiry_s > settings.session_expiry_max_s {
            say(Property::SessionExpiry(settings.session_expiry_max_s));
        }
        say(Property::ReceiveMaximum(settings.unacked_max));
        if let Some(bytes) = NonZeroU32::new(settings.packet_bytes_max) {
            say(Property::MaximumPacketSize(bytes));
        }
        if let Some(client_id) = assigned {
            say(Property::AssignedClientIdentifier(client_id));
        }
        if settings.topic_alias_max != 0 {
            say(Property::TopicAliasMaximum(settings.topic_alias_max));
        }
        let keep_alive_s = self.granted_keep_alive_s(settings);
        if keep_alive_s != self.keep_alive_s {
            say(Property::ServerKeepAlive(keep_alive_s));
        }
    }
}

fn check_client_id(connect: &Connect<'_>) -> Result<(), Malformed> {
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err(Malformed::new(Reason::ClientIdNotValid, "MQTT-3.1.3-8"));
    }
    // A session that is to be found again needs a name (3.1.1); MQTT 5 tells the assigned one.
    let is_nameless = connect.client_id.is_empty() && !connect.clean_start;
    if connect.version != Version::V5 && is_nameless {
        return Err(Malformed::new(Reason::ClientIdNotValid, "MQTT-3.1.3-8 (3.1.1)"));
    }
    Ok(())
}

/// Appends the CONNACK that turns a client away, with what MQTT 5 can be told.
pub(super) fn encode_refusal(version: Version, reason: Reason, told: &[u8], out: &mut Vec<u8>) {
    let told = if version == Version::V5 { told } else { &[] };
    let (reason, properties) =
        (connack_reason(reason), reasons::properties(Carrier::ConnAck, told));
    ConnAck { session_present: false, reason, properties }.encode(version, out);
}
