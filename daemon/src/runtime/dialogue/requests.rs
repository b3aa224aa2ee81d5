//! PUBLISH, SUBSCRIBE and UNSUBSCRIBE: from the client to desk and hub.

use std::sync::Arc;

use core::num::NonZeroU16;

use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_mqtt::codec::publish::Publish;
use tributary_mqtt::codec::subscribe::Subscribe;
use tributary_mqtt::codec::unsubscribe::Unsubscribe;
use tributary_mqtt::subscriptions::Subscription;
use tributary_mqtt::{Reason, Session, Version};

use super::turn::Turn;
use super::{Dialogue, Held};
use crate::lines::shown;
use crate::runtime::clock::Moment;
use crate::runtime::hub::{Asking, Granted, Owned};
use crate::runtime::ingest::{Closed, NotTaken};
use crate::runtime::sessions::Change;
use crate::sync::lock;

/// Topic filters of one SUBSCRIBE; those behind are refused. (Clients that subscribe to much send a few
/// dozen.) Each may become a change of a thousand bytes, all of them in one step.
const REQUESTS_MAX: usize = 1_024;
/// The first byte of a SUBSCRIBE.
const SUBSCRIBE: u8 = 0x82;

impl Dialogue {
    /// Whether what comes next has to wait: a SUBSCRIBE, until all is durable that its client published before.
    /// Subscriptions are to what is not durable yet, and would select that as well: it would come as something new,
    /// and what is kept of it without RETAIN, and where nothing that is kept was asked for.
    pub(super) fn comes_early(&mut self, bytes: &[u8]) -> bool {
        if bytes.first() == Some(&SUBSCRIBE) {
            self.awaited = self.appended;
        }
        self.is_left_unread()
    }

    /// Whether its client is not read: a packet of it waits, or what it published before.
    pub(super) fn is_left_unread(&self) -> bool {
        self.is_held() || self.awaited > self.shared.ingest.durable()
    }

    pub(super) fn publish(
        &mut self,
        session: &mut Session,
        turn: &mut Turn<'_>,
        publish: &Publish<'_>,
        out: &mut Vec<u8>,
    ) {
        let id = publish.delivery.packet_id();
        let event = session.event(publish, turn.moment.wall);
        // Nothing is ever acknowledged that is not stored: MQTT 5 has a word for it; a connection of
        // MQTT 3.1.1 ends (MQTT-3.3.5-2 of 3.1.1 leaves the choice). At QoS 0 it is dropped.
        if !self.guest.may_publish(event.client, event.topic) {
            let topic = shown(event.topic);
            tracing::debug!(client = shown(event.client), topic, "a client may not publish this");
            return self.refuse(session, Reason::NotAuthorized, id, out);
        }
        match leave(session, turn, (&event, id)) {
            Ok(Some(offset)) => self.note_appended(session, offset, id),
            Ok(None) => self.held = Some(Box::new(Held { event: Owned::of(&event), id })),
            Err(reason) => self.refuse(session, reason, id, out),
        }
    }

    /// Tries again to leave the publish that is held.
    pub fn retry(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let Some(held) = self.held.take() else { return };
        let id = held.id;
        let (shared, session) = (Arc::clone(&self.shared), Arc::clone(&self.session));
        let session = &mut *lock(&session);
        // Its client has come again by another connection, and sends it again there.
        if session.is_over() {
            return;
        }
        let mut turn = Turn::new(&shared, moment);
        match leave(session, &mut turn, (&held.event.event(), id)) {
            Ok(Some(offset)) => self.note_appended(session, offset, id),
            Ok(None) => self.held = Some(held),
            Err(reason) => self.refuse(session, reason, id, out),
        }
        turn.end_and_commit(&self.wake);
        // It was our disk that was slow, not the client.
        session.handle_unread(moment.now);
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
        let has_room = turn.desk().has_room_for_changes();
        let mut asking = Asking::at(shared.ingest.durable());
        let mut answer = Vec::new();
        let mut guest = self.guest.clone();
        let mut requests = 0..REQUESTS_MAX;
        session.answer_subscribe(subscribe, &mut answer, |filter, wanted| {
            requests.next().ok_or(Reason::QuotaExceeded)?;
            if !guest.may_subscribe(&name, filter) {
                let filter = shown(filter);
                tracing::debug!(
                    client = shown(&name),
                    filter,
                    "a client may not subscribe to this"
                );
                return Err(Reason::NotAuthorized);
            }
            if member.lasting && !has_room {
                return Err(Reason::QuotaExceeded);
            }
            let granted = shared.hub.subscribe(member.key, filter, wanted, &mut asking)?;
            if member.lasting {
                let noted = note_subscription(&name, turn, (filter, wanted), granted);
                member.noted = noted.unwrap_or(member.noted);
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

/// Leaves for the log what it is to know of a subscription; the last change, if there is any.
fn note_subscription(
    name: &str,
    turn: &mut Turn<'_>,
    (filter, wanted): (&str, Subscription),
    granted: Granted,
) -> Option<u64> {
    let identifier = wanted.identifier.map_or(0, core::num::NonZeroU32::get);
    let options = wanted.options.to_byte();
    let mut noted = None;
    if !granted.is_known {
        if filter.starts_with("$share/") {
            turn.shared.hub.note_group(filter, turn.desk());
        }
        let subscribed = Change::Subscribed { filter, options, identifier };
        noted = Some(turn.change(name, &subscribed));
    }
    if let Some(Offset(below)) = granted.owed_below {
        let searching = Change::Searching { filter, options, identifier, below };
        noted = Some(turn.change(name, &searching));
    }
    noted
}

/// Leaves a publish at the desk. `None`: it has to wait. Where there is no room to keep it MQTT 5 is told; else
/// it is not kept.
///
/// # Errors
/// Why it is refused.
fn leave(
    session: &Session,
    turn: &mut Turn<'_>,
    (event, id): (&Event<'_>, Option<NonZeroU16>),
) -> Result<Option<Offset>, Reason> {
    let shared = turn.shared;
    // Who holds the desk is the only one who fills that room.
    turn.desk();
    let is_kept = event.retain && shared.has_room_for(event, turn.moment);
    if event.retain && !is_kept && session.version() == Version::V5 && id.is_some() {
        shared.hub.note_unretained(turn.moment.now, event);
        return Err(Reason::QuotaExceeded);
    }
    match turn.append(&Event { retain: is_kept, ..*event }) {
        Ok(offset) => {
            if event.retain && !is_kept {
                shared.hub.note_unretained(turn.moment.now, event);
            }
            Ok(Some(offset))
        }
        Err(not_taken) if waits(session, not_taken) => Ok(None),
        Err(not_taken) => Err(reason(not_taken)),
    }
}

/// Whether a publish that is not taken waits for it, and its client is not read. A full log tells
/// those who can be told.
fn waits(session: &Session, not_taken: NotTaken) -> bool {
    let told = session.version() == Version::V5;
    matches!(not_taken, NotTaken::Busy) || not_taken == NotTaken::Closed(Closed::Full) && !told
}

const fn reason(not_taken: NotTaken) -> Reason {
    match not_taken {
        NotTaken::Closed(Closed::Failed) => Reason::ImplementationSpecific,
        NotTaken::Closed(Closed::Stopping) => Reason::ServerShuttingDown,
        NotTaken::Closed(Closed::Full) | NotTaken::Busy => Reason::QuotaExceeded,
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
