//! How a connection ends: deadlines, farewells, and what is published afterwards.

use alloc::vec::Vec;

use tributary_core::time::Instant;

use super::{Effect, Session, Stage, Will, reasons};
use crate::codec::Version;
use crate::codec::disconnect::Disconnect;
use crate::codec::malformed::Malformed;
use crate::codec::property::Carrier;
use crate::codec::reason::Reason;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why. `Success` and `DisconnectWithWill`: the client has taken its leave.
    pub reason: Reason,
    /// The normative statement of MQTT 5.0, or the section where there is none.
    pub statement: &'static str,
}

impl Session {
    /// When to call [`Session::handle_timeout`]. `None`: not at all, for now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Closed => None,
            _ => self.deadline,
        }
    }

    /// The deadline of [`Session::poll_timeout`] may have passed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<u8>) -> Effect<'static> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Effect::None;
        }
        match self.stage {
            Stage::Connected if self.wants_packet() => {
                self.close(Reason::KeepAliveTimeout, "MQTT-3.1.2-22", out)
            }
            // The client's silence is ours: it is not read.
            Stage::Connected => {
                self.handle_unread(now);
                Effect::None
            }
            Stage::Deciding(_) => {
                self.refuse(Reason::ServerUnavailable, out);
                Effect::Close(Close { reason: Reason::ServerUnavailable, statement: "3.1.4" })
            }
            Stage::Opened | Stage::Closed => self.close(Reason::KeepAliveTimeout, "3.1.4", out),
        }
    }

    /// The driver left bytes unread until `now`: the client's silence is ours, and the keep-alive
    /// begins anew.
    pub fn handle_unread(&mut self, now: Instant) {
        if self.is_connected() {
            let is_limited = self.silence_ms_max != 0;
            self.deadline = is_limited.then(|| now.plus_ms(self.silence_ms_max));
        }
    }

    /// Another connection has come with the same client identifier (MQTT-3.1.4-3): the driver
    /// closes this one.
    pub fn take_over(&mut self, out: &mut Vec<u8>) -> Effect<'static> {
        self.close(Reason::SessionTakenOver, "MQTT-3.1.4-3", out)
    }

    /// The server stops: the driver closes the connection.
    pub fn shut_down(&mut self, out: &mut Vec<u8>) -> Effect<'static> {
        self.close(Reason::ServerShuttingDown, "4.13.1", out)
    }

    /// The client may not be here any more: the driver closes the connection.
    pub fn dismiss(&mut self, out: &mut Vec<u8>) -> Effect<'static> {
        self.close(Reason::NotAuthorized, "4.13.1", out)
    }

    /// There is no room for what the client sends: the driver closes the connection.
    pub fn turn_out(&mut self, out: &mut Vec<u8>) -> Effect<'static> {
        self.close(Reason::QuotaExceeded, "4.13.1", out)
    }

    /// What the client waits for will never be durable: the driver closes the connection.
    pub fn fail(&mut self, out: &mut Vec<u8>) -> Effect<'static> {
        self.close(Reason::ImplementationSpecific, "4.13.1", out)
    }

    /// What to publish now that the connection has ended, however it did; once.
    pub fn take_will(&mut self) -> Option<Will> {
        let was_welcome = !matches!(self.stage, Stage::Opened | Stage::Deciding(_));
        self.stage = Stage::Closed;
        self.will.take().filter(|_| was_welcome).map(|will| will.of(&self.client_id))
    }

    /// Ends the connection, because of what the client has sent: an MQTT 5 client is told which rule
    /// it has broken.
    pub(super) fn break_off(&mut self, malformed: Malformed, out: &mut Vec<u8>) -> Effect<'static> {
        let Malformed { reason, statement } = malformed;
        self.close_with(reason, statement, &reasons::of_breach(statement), out)
    }

    /// Ends the connection. An MQTT 5 client that was welcomed is told why (MQTT-3.14.0-1).
    pub(super) fn close(
        &mut self,
        reason: Reason,
        statement: &'static str,
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        self.close_with(reason, statement, &[], out)
    }

    fn close_with(
        &mut self,
        reason: Reason,
        statement: &'static str,
        properties: &[u8],
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        if self.is_connected() && self.version == Version::V5 {
            let properties = reasons::properties(Carrier::Disconnect, properties);
            Disconnect { reason, properties }.encode(self.version, out);
        }
        self.stage = Stage::Closed;
        Effect::Close(Close { reason, statement })
    }
}
