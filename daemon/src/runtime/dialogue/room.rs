//! What a connection holds in memory, and what becomes of that where others need the room.

use tributary_mqtt::Reason;

use super::{Dialogue, Held};
use crate::sync::lock;

impl Dialogue {
    /// Whether it is room at the desk that is waited for: for a publish, or for what comes next.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some() || self.shared.ingest.is_crowded()
    }

    /// Bytes that it holds, beside what was not handed in: a CONNECT whose password is being verified, a
    /// publish that waits for room, and topics behind aliases, beyond what is everybody's.
    #[must_use]
    pub fn holds_bytes(&self) -> usize {
        let applicant = self.applicant.as_ref().map_or(0, |applicant| applicant.bytes());
        applicant + self.held.as_ref().map_or(0, |held| held.bytes()) + self.alias_bytes()
    }

    /// Whether that may be given up, by [turning the client out](Self::turn_out): not what waits for us alone.
    #[must_use]
    pub fn may_be_turned_out(&self) -> bool {
        self.applicant.is_some() || self.alias_bytes() > 0
    }

    fn alias_bytes(&self) -> usize {
        if self.closed { 0 } else { lock(&self.session).alias_bytes_beyond() }
    }

    /// The connection is to end: others need the room that it takes, for a packet that has not come to its end,
    /// for a CONNECT whose password is being verified, or for topics behind aliases.
    pub fn turn_out(&mut self, out: &mut Vec<u8>) {
        let session = &mut *lock(&self.session);
        if session.is_deciding() {
            session.refuse(Reason::ServerBusy, out);
        } else {
            session.turn_out(out);
        }
        self.applicant = None;
        self.closed = true;
    }
}

impl Held {
    fn bytes(&self) -> usize {
        let event = self.event.event();
        event.topic.len() + event.payload.len() + event.client.len() + event.properties.0.len()
    }
}
