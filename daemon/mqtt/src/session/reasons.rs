//! Reason Strings: what a refusal or an end is about, for people who read a client's log (MQTT 5.0,
//! 3.4.2.2.2 and 3.14.2.2.3). They are short: each packet with one fits every client
//! ([`CLIENT_PACKET_BYTES_MIN`](crate::limits::CLIENT_PACKET_BYTES_MIN)).

use alloc::format;
use alloc::vec::Vec;

use crate::codec::property::{Carrier, Properties, Property};
use crate::codec::reason::Reason;

/// Why a publish was not taken, encoded for its PUBACK or PUBREC; empty where the reason code says all.
pub(super) fn of_refusal(reason: Reason) -> Vec<u8> {
    encoded(match reason {
        Reason::NotAuthorized => "this topic may not be published to",
        Reason::QuotaExceeded => "there is no room at the moment",
        Reason::ImplementationSpecific => "the log cannot be written",
        _ => return Vec::new(),
    })
}

/// Why a client is not let in, encoded for its CONNACK; empty where the reason code says all.
pub(super) fn of_turning_away(reason: Reason) -> Vec<u8> {
    encoded(match reason {
        Reason::NotAuthorized => "who you are, or your will's topic, is not allowed here",
        Reason::ClientIdNotValid => "the client identifier must be the user's name",
        Reason::ConnectionRateExceeded => "too many wrong passwords: wait",
        Reason::ServerBusy => "many are logging in: try again",
        Reason::QuotaExceeded => "there is no room for another session",
        _ => return Vec::new(),
    })
}

/// Why a filter was not granted, encoded for the SUBACK; empty where the reason code says all.
pub(super) fn of_denial(reason: Reason) -> Vec<u8> {
    encoded(match reason {
        Reason::NotAuthorized => "nothing that a filter selects may be read",
        Reason::QuotaExceeded => "there is no room for another subscription",
        _ => return Vec::new(),
    })
}

/// The rule that a client has broken, encoded for its DISCONNECT.
pub(super) fn of_breach(statement: &str) -> Vec<u8> {
    encoded(&format!("see {statement} of MQTT 5.0"))
}

/// What was encoded here, as the properties of a packet.
pub(super) fn properties(carrier: Carrier, encoded: &[u8]) -> Properties<'_> {
    Properties::new(carrier, encoded)
        .expect("a Reason String belongs to answers and farewells, and stands there once")
}

fn encoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Property::ReasonString(text).encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLIENT_PACKET_BYTES_MIN;

    #[test]
    fn every_client_takes_them() {
        // Fixed header, packet identifier, reason code, length of the properties.
        const AROUND: usize = 2 + 2 + 1 + 1;
        let reasons =
            [Reason::NotAuthorized, Reason::QuotaExceeded, Reason::ImplementationSpecific];
        for bytes in reasons.map(of_refusal) {
            assert!(bytes.len() > 3 && AROUND + bytes.len() <= CLIENT_PACKET_BYTES_MIN as usize);
        }
        let refused =
            [Reason::ClientIdNotValid, Reason::ConnectionRateExceeded, Reason::ServerBusy];
        for bytes in reasons.into_iter().chain(refused).map(of_turning_away) {
            assert!(AROUND + bytes.len() <= CLIENT_PACKET_BYTES_MIN as usize);
        }
        let breach = of_breach("MQTT-3.1.3-8 (3.1.1)");
        assert!(AROUND + breach.len() <= CLIENT_PACKET_BYTES_MIN as usize);
    }
}
