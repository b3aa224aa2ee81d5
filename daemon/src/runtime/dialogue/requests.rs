//! PUBLISH, SUBSCRIBE and UNSUBSCRIBE: from the client to desk and hub.

use tributary_mqtt::codec::publish::Publish;
use tributary_mqtt::codec::subscribe::Subscribe;
use tributary_mqtt::codec::unsubscribe::Unsubscribe;
use tributary_mqtt::{Reason, Session, Version};

use super::turn::Turn;
use super::{Dialogue, Held, reason, waits};
use crate::runtime::hub::{Asking, Owned};
use crate::runtime::sessions::Change;

/// Topic filters of one SUBSCRIBE; those behind are refused. (Clients that subscribe to much send a few
/// dozen.) Each may become a change of a thousand bytes, all of them in one step.
const REQUESTS_MAX: usize = 1_024;
/// Topics of the daemon's own: nobody else publishes there (MQTT 5.0, 4.7.2).
const OWN_TOPICS: &str = "$SYS/";

impl Dialogue {
    pub(super) fn publish(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        publish: &Publish<'_>,
        out: &mut Vec<u8>,
    ) {
        let id = publish.delivery.packet_id();
        let mut event = session.event(publish, turn.moment.wall);
        if event.topic.starts_with(OWN_TOPICS) {
            return self.refuse(session, Reason::NotAuthorized, id, out);
        }
        // Nothing is ever acknowledged that is not stored: MQTT 5 has a word for it; a connection of
        // MQTT 3.1.1 ends (MQTT-3.3.5-2 of 3.1.1 leaves the choice). At QoS 0 it is dropped.
        if !self.guest.may_publish(event.client, event.topic) {
            return self.refuse(session, Reason::NotAuthorized, id, out);
        }
        let shared = turn.shared;
        if event.retain && !shared.hub.has_room_for(&event, shared.ingest.durable()) {
            turn.shared.hub.note_unretained(&event);
            if session.version() == Version::V5 && id.is_some() {
                return self.refuse(session, Reason::QuotaExceeded, id, out);
            }
            event.retain = false;
        }
        match turn.append(&event) {
            Ok(offset) => self.note_appended(session, offset, id),
            Err(not_taken) if waits(session, not_taken) => {
                self.held = Some(Box::new(Held { event: Owned::of(&event), id }));
            }
            Err(not_taken) => self.refuse(session, reason(not_taken), id, out),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        subscribe: &Subscribe<'_>,
        out: &mut Vec<u8>,
    ) {
        let Some(member) = &mut self.member else { return };
        let name: Box<str> = session.client_id().into();
        let shared = turn.shared;
        let mut asking = Asking::at(shared.ingest.durable());
        let mut answer = Vec::new();
        let mut guest = self.guest.clone();
        let mut requests = 0..REQUESTS_MAX;
        session.answer_subscribe(subscribe, &mut answer, |filter, wanted| {
            requests.next().ok_or(Reason::QuotaExceeded)?;
            if !guest.may_subscribe(&name, filter) {
                return Err(Reason::NotAuthorized);
            }
            let is_known = shared.hub.subscribe(member.key, filter, wanted, &mut asking)?;
            if member.lasting && !is_known {
                let identifier = wanted.identifier.map_or(0, core::num::NonZeroU32::get);
                let options = wanted.options.to_byte();
                let subscribed = Change::Subscribed { filter, options, identifier };
                member.noted = turn.change(&name, &subscribed);
            }
            Ok(())
        });
        answer_after(session, &answer, (member.noted, shared.ingest.durable_change()), out);
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Vec<u8>,
    ) {
        let Some(member) = &mut self.member else { return };
        let name: Box<str> = session.client_id().into();
        let shared = turn.shared;
        let mut answer = Vec::new();
        session.answer_unsubscribe(unsubscribe, &mut answer, |filter| {
            let known = shared.hub.unsubscribe(member.key, filter);
            if known && member.lasting {
                member.noted = turn.change(&name, &Change::Unsubscribed { filter });
            }
            known
        });
        answer_after(session, &answer, (member.noted, shared.ingest.durable_change()), out);
    }
}

/// Sends an answer, once the last change of the client's subscriptions is durable: also where nothing was
/// to be changed, since that may be so by one that is still on its way.
fn answer_after(
    session: &mut Session,
    answer: &[u8],
    (noted, durable): (u64, u64),
    out: &mut Vec<u8>,
) {
    if noted > durable {
        session.hold_answer(answer, noted);
    } else {
        out.extend_from_slice(answer);
    }
}
