//! Messages to the client.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::{Delivered, Message, Session};
use crate::subscriptions::Grant;

impl Session {
    /// Sends a message to the client, at the lower of its and the granted quality of service.
    pub fn deliver(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        out: &mut Vec<u8>,
    ) -> Delivered {
        if !self.is_connected() {
            return Delivered::NotConnected;
        }
        self.outbound.deliver(message, grant, self.version, out)
    }

    /// Sends a message that has its identifier: it was [reserved](Delivered::Reserved) and that is
    /// durable now, or it was under way on an earlier connection ([`Session::unsent`]). `TooLarge`,
    /// too, where nothing is to be sent under that identifier any more. What is not sent is to be
    /// [withdrawn](Session::withdraw).
    pub fn deliver_reserved(
        &mut self,
        packet_id: NonZeroU16,
        message: (&Message<'_>, Grant<'_>),
        out: &mut Vec<u8>,
    ) -> Delivered {
        if !self.is_connected() {
            return Delivered::NotConnected;
        }
        self.outbound.deliver_reserved(packet_id, message, self.version, out)
    }

    /// Whether a message above QoS 0 would find the client [busy](Delivered::Busy).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.outbound.is_busy()
    }
}
