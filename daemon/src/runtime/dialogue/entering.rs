//! From a CONNECT to its answer, which waits until the log knows what the session is to remember.

use tributary_core::time::Instant;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::session::Welcome;
use tributary_mqtt::{Reason, Session};

use super::turn::Turn;
use super::{Dialogue, Entering, Member};
use crate::io::files::random_u64;
use crate::runtime::delivering::Delivering;
use crate::runtime::hub::{Ask, Entered, NotEntered};
use crate::runtime::keeper::{settle_due, settle_wills_of};
use crate::runtime::sessions::StoredWill;

impl Dialogue {
    pub(super) fn welcome(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        connect: &Connect<'_>,
        out: &mut Vec<u8>,
    ) {
        let assigned = connect.client_id.is_empty().then(assigned_id).transpose();
        let assigned = assigned.inspect_err(|error| {
            tracing::error!(%error, "no random number for a client id");
        });
        let Ok(assigned) = assigned else {
            return self.turn_away(session, Reason::ServerUnavailable, out);
        };
        let name = assigned.as_deref().unwrap_or(connect.client_id);
        let (shared, moment) = (turn.shared, turn.moment);
        let (age, hub) = (shared.age(moment), &shared.hub);
        let will = session
            .will()
            .map(|will| StoredWill::of(&will.event(moment.wall), will.delay_s()).into_owned());
        let ask = Ask {
            name,
            clean_start: connect.clean_start,
            expiry_s: session.expiry_s(),
            will,
            guest: &self.guest,
            session: &self.session,
            wake: &self.wake,
        };
        let lasting = ask.expiry_s > 0;
        if (lasting || ask.will.is_some()) && !turn.desk().has_room_for_changes() {
            return self.turn_away(session, Reason::QuotaExceeded, out);
        }
        // Of several who come at once each takes over from the one before.
        let entered = loop {
            // Nobody's session and the desk at once.
            turn.leave_desk();
            hub.take_over(name, age, &shared.ingest);
            // What an earlier connection left behind comes before what this one begins.
            let desk = turn.desk();
            if ask.clean_start {
                hub.hasten_will(name);
            }
            if !settle_due(shared, moment, desk) {
                settle_wills_of(shared, moment, name, desk);
            }
            match hub.enter(&ask, turn.desk()) {
                Ok(entered) => break entered,
                Err(NotEntered::Taken) => {}
                Err(NotEntered::Full) => {
                    return self.turn_away(session, Reason::QuotaExceeded, out);
                }
            }
        };
        let Entered { key, mailbox, kept, change } = entered;
        let delivering = Delivering::default();
        self.member = Some(Member { key, mailbox, lasting, delivering, noted: 0 });
        let entering = Entering { change: change.unwrap_or(0), assigned, kept };
        match change {
            Some(_) => {
                turn.wait();
                self.entering = Some(Box::new(entering));
            }
            None => self.accept(session, turn.moment.now, entering, out),
        }
    }

    pub(super) fn accept(
        &self,
        session: &mut Session,
        now: Instant,
        entering: Entering,
        out: &mut Vec<u8>,
    ) {
        let Entering { assigned, kept, .. } = entering;
        let lasting = self.member.as_ref().is_some_and(|member| member.lasting);
        if session.is_deciding() {
            session.accept(now, Welcome { assigned: assigned.as_deref(), kept, lasting }, out);
        }
    }

    pub(super) fn turn_away(&mut self, session: &mut Session, reason: Reason, out: &mut Vec<u8>) {
        session.refuse(reason, out);
        self.closed = true;
    }
}

fn assigned_id() -> std::io::Result<String> {
    Ok(format!("auto-{:016x}", random_u64()?))
}
