//! Whether a client is let in: asked at the door, and answered there, at once or when its password
//! is verified.

use std::sync::Arc;

use tributary_mqtt::Session;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::{Decoded, Packet, decode};

use super::Dialogue;
use super::turn::Turn;
use crate::door::{Admission, Ticket};
use crate::runtime::clock::Moment;

/// A client that waits for its password to be verified.
pub(super) struct Applicant {
    ticket: Arc<Ticket>,
    /// Its CONNECT.
    packet: Box<[u8]>,
}

impl Applicant {
    /// What is kept for it: its packet, and of that the will again in the session, and name and password in the ticket.
    pub(super) const fn bytes(&self) -> usize {
        2 * self.packet.len()
    }
}

impl Dialogue {
    /// Decides about a client, or has its password verified.
    pub(super) fn consider(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        (connect, packet): (&Connect<'_>, &[u8]),
        out: &mut Vec<u8>,
    ) {
        let Some(visit) = &self.visit else { return };
        match visit.admit(turn.moment.now, connect, &self.wake) {
            Admission::Waiting(ticket) => {
                self.applicant = Some(Box::new(Applicant { ticket, packet: packet.into() }));
            }
            answer => self.answer(session, turn, (connect, answer), out),
        }
    }

    /// The verification of a password is done: answers the CONNECT that waited for it.
    pub(super) fn hear_verdict(
        &mut self,
        session: &mut Session,
        moment: Moment,
        out: &mut Vec<u8>,
    ) {
        let (Some(visit), Some(applicant)) = (&self.visit, self.applicant.take()) else { return };
        let decoded = decode(&applicant.packet, None, u32::MAX);
        let Ok(Decoded::Packet(Packet::Connect(connect), _)) = decoded else {
            unreachable!("it was decoded before");
        };
        match visit.poll(moment.now, &applicant.ticket, &connect) {
            None => self.applicant = Some(applicant),
            // It came too late: the client was told that the server is not available.
            Some(_) if self.closed || !session.is_deciding() => {}
            Some(answer) => {
                let shared = Arc::clone(&self.shared);
                let mut turn = Turn::new(&shared, moment);
                self.answer(session, &mut turn, (&connect, answer), out);
                turn.end_and_commit(&self.wake);
            }
        }
    }

    fn answer(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        (connect, answer): (&Connect<'_>, Admission),
        out: &mut Vec<u8>,
    ) {
        match answer {
            Admission::Welcome(guest) => {
                self.guest = guest;
                self.visit = None;
                self.welcome(session, turn, connect, out);
            }
            Admission::Turned(reason) => self.turn_away(session, reason, out),
            Admission::Waiting(_) => unreachable!("who waits is not answered"),
        }
    }
}
