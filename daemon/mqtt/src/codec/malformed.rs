//! What is wrong with a packet.

use core::fmt;

use super::reason::Reason;

/// A packet that breaks a rule of MQTT: what to answer, and which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The reason code that MQTT 5 gives to it.
    pub reason: Reason,
    /// The normative statement of MQTT 5.0 ("MQTT-3.3.1-4"), or the section where the rule has no
    /// statement of its own ("3.3.2.1"). Rules of 3.1.1 alone end in "(3.1.1)".
    pub statement: &'static str,
}

impl Malformed {
    pub(crate) const fn new(reason: Reason, statement: &'static str) -> Self {
        Self { reason, statement }
    }

    /// The packet cannot be parsed.
    pub(crate) const fn packet(statement: &'static str) -> Self {
        Self::new(Reason::MalformedPacket, statement)
    }

    /// The packet says what it may not.
    pub(crate) const fn protocol(statement: &'static str) -> Self {
        Self::new(Reason::ProtocolError, statement)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.reason, self.statement)
    }
}

impl core::error::Error for Malformed {}
