//! What a connection does with bytes: everything between socket and session that never waits.

mod admitting;
mod entering;
mod requests;
mod room;
mod turn;

use std::sync::{Arc, Mutex};

use core::num::NonZeroU16;

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_core::time::{Age, Instant};
use tributary_mqtt::session::{Close, Kept};
use tributary_mqtt::{Effect, Reason, Session, Settings};

use super::clock::{Clocks, Moment};
use super::delivering::Delivering;
use super::hub::{Ending, Hub, Key, Mailbox, Owned};
use super::ingest::Ingest;
use super::sessions::Change;
use crate::door::{Guest, Visit};
use crate::lines::shown;
use crate::sync::lock;
use admitting::Applicant;
pub(super) use turn::Turn;

/// Bytes for the client that may wait in memory before nothing more is read from it.
pub(super) const OUT_BYTES_MAX: usize = 64 << 10;
/// What all connections have in common.
pub struct Shared {
    /// Where events are left.
    pub ingest: Arc<Ingest>,
    /// Who else is there.
    pub hub: Arc<Hub>,
    /// The time, for the expiry of messages.
    pub clocks: Arc<Mutex<Clocks>>,
    /// What clients are allowed.
    pub settings: Settings,
}

impl Shared {
    /// The age clock.
    #[must_use]
    pub fn age(&self, moment: Moment) -> Age {
        lock(&self.clocks).now(moment).age
    }

    /// Whether an event can be kept for new subscriptions.
    #[must_use]
    pub fn has_room_for(&self, event: &Event<'_>, moment: Moment) -> bool {
        let clocks = *lock(&self.clocks);
        let age = clocks.now(moment).age;
        self.hub.has_room_for(event, self.ingest.durable(), (age, &clocks.anchor()))
    }
}

/// A session and its place among the others.
pub struct Dialogue {
    session: Arc<Mutex<Session>>,
    shared: Arc<Shared>,
    /// Until it is welcome.
    visit: Option<Box<Visit>>,
    /// What the client may do, once it is let in.
    guest: Guest,
    /// A CONNECT whose password is being verified.
    applicant: Option<Box<Applicant>>,
    member: Option<Member>,
    wake: Arc<Notify>,
    /// A CONNECT whose answer waits for the log.
    entering: Option<Box<Entering>>,
    /// A publish that was read and could not be left at the desk yet.
    held: Option<Box<Held>>,
    /// Everything of this client below is wanted durable.
    appended: Offset,
    /// Nothing is read of it before all below is durable.
    awaited: Offset,
    /// The session wants no more, or the client has gone.
    closed: bool,
}

/// A publish that waits for room, and its packet identifier.
struct Held {
    event: Owned,
    id: Option<NonZeroU16>,
}

/// A client of the hub.
struct Member {
    key: Key,
    mailbox: Arc<Mailbox>,
    /// The session outlives the connection: its steps go to the log.
    lasting: bool,
    delivering: Delivering,
    /// The last change of its subscriptions that was left for the log.
    noted: u64,
}

struct Entering {
    change: u64,
    assigned: Option<String>,
    kept: Option<Kept>,
}

/// What the bytes that were handed in came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many are done with.
    pub used: usize,
    /// Whether the rest is the begin of a packet, and not waiting for something of ours.
    pub wants_more: bool,
    /// So many events were left at the desk: the caller sees to it that they are committed.
    pub left: usize,
}

impl Dialogue {
    /// For a connection that was just accepted.
    #[must_use]
    pub fn new(shared: Arc<Shared>, moment: Moment, visit: Visit) -> Self {
        let session = Session::new(moment.now, &visit.settings(&shared.settings));
        Self {
            session: Arc::new(Mutex::new(session)),
            shared,
            visit: Some(Box::new(visit)),
            guest: Guest::nobody(),
            applicant: None,
            member: None,
            wake: Arc::new(Notify::new()),
            entering: None,
            held: None,
            appended: Offset(0),
            awaited: Offset(0),
            closed: false,
        }
    }

    /// Who stands at the door, to be told what is known of it before its CONNECT is handed in.
    pub fn visit(&mut self) -> Option<&mut Visit> {
        self.visit.as_deref_mut()
    }

    /// Whether the connection is to be closed, once everything is written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Woken when events are durable, messages wait or the connection is to end.
    #[must_use]
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// When [`Dialogue::handle_timeout`] is to be called. As long as it is us who do not read, no
    /// client is silent for too long.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let session = lock(&self.session);
        let reads = session.is_deciding() || !self.is_left_unread() && session.wants_packet();
        session.poll_timeout().filter(|_| reads)
    }

    /// Whether bytes may be handed in.
    #[must_use]
    pub fn wants_bytes(&self, out: &[u8]) -> bool {
        self.wants(&lock(&self.session), out)
    }

    fn wants(&self, session: &Session, out: &[u8]) -> bool {
        let has_room = out.len() < OUT_BYTES_MAX;
        !self.closed && !self.is_left_unread() && session.wants_packet() && has_room
    }

    /// Deals with as many packets of `bytes` as can be dealt with now.
    pub fn handle_bytes(&mut self, moment: Moment, bytes: &[u8], out: &mut Vec<u8>) -> Progress {
        let (shared, session) = (Arc::clone(&self.shared), Arc::clone(&self.session));
        let session = &mut *lock(&session);
        let mut turn = Turn::new(&shared, moment);
        let mut progress = Progress { used: 0, wants_more: false, left: 0 };
        while self.wants(session, out) {
            let begun = progress.used;
            if self.comes_early(&bytes[begun..]) {
                break;
            }
            let step = session.handle_bytes(moment.now, &bytes[begun..], out);
            progress.used += step.used;
            match step.effect {
                Effect::Incomplete => {
                    progress.wants_more = true;
                    break;
                }
                Effect::None => {}
                Effect::Acknowledged(over) => {
                    if over.exactly_once {
                        let packet_id = over.packet_id.get();
                        self.note(session, &mut turn, &Change::Completed { packet_id });
                    }
                }
                Effect::Connect(connect) => {
                    let packet = &bytes[begun..progress.used];
                    self.consider(session, &mut turn, (&connect, packet), out);
                }
                Effect::Publish(publish) => self.publish(session, &mut turn, &publish, out),
                Effect::Released(id) => {
                    let released = Change::Released { packet_id: id.get() };
                    let change = turn.change(session.client_id(), &released);
                    session.hold_pubcomp(id, change);
                }
                Effect::Received(id) => {
                    let received = Change::Received { packet_id: id.get() };
                    let change = turn.change(session.client_id(), &received);
                    session.hold_pubrel(id, change);
                }
                Effect::Subscribe(subscribe) => {
                    self.subscribe(session, &mut turn, &subscribe, out);
                }
                Effect::Unsubscribe(unsubscribe) => {
                    self.unsubscribe(session, &mut turn, &unsubscribe, out);
                }
                Effect::Close(close) => self.close(session, &close),
            }
        }
        progress.left = turn.end(&self.wake);
        progress
    }

    /// The client takes what it was slow to take, and was not read meanwhile: its silence was ours.
    pub fn handle_taken(&mut self, moment: Moment) {
        lock(&self.session).handle_unread(moment.now);
    }

    /// Sends what has become possible: answers and messages; ends what is to end.
    pub fn handle_wake(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let (shared, session) = (Arc::clone(&self.shared), Arc::clone(&self.session));
        let session = &mut *lock(&session);
        self.hear_verdict(session, moment, out);
        let durable_change = shared.ingest.durable_change();
        if let Some(entering) = self.entering.take_if(|entering| entering.change <= durable_change)
        {
            self.accept(session, moment.now, *entering, out);
        }
        let waited = !session.wants_packet();
        session.handle_durable(shared.ingest.durable(), durable_change, out);
        if waited {
            session.handle_unread(moment.now);
        }
        if shared.ingest.is_failed() && !self.closed {
            self.end_unkept(session, out);
        }
        let is_inside = self.member.is_some() && self.entering.is_none() && !self.closed;
        if is_inside && !self.guest.is_welcome() {
            session.dismiss(out);
            self.closed = true;
        }
        let guest = &mut self.guest;
        let Some(Member { mailbox, lasting, delivering, .. }) = &mut self.member else { return };
        if !self.closed && self.entering.is_none() && !session.owes_answer() {
            let mut turn = Turn::new(&shared, moment);
            delivering.run((session, *lasting, guest), mailbox, &mut turn, out);
            turn.end_and_commit(&self.wake);
        }
        match mailbox.ending() {
            Some(Ending::TakenOver(farewell)) => {
                out.extend_from_slice(&farewell);
                self.closed = true;
            }
            // What the client was promised an answer for is answered first.
            Some(Ending::ShuttingDown) if self.is_settled(session) => {
                session.shut_down(out);
                self.closed = true;
            }
            Some(Ending::ShuttingDown) | None => {}
        }
    }

    /// The log cannot be written any more: what the client waits for will never come, and it is told
    /// so instead of waiting. Who waits for nothing may stay.
    fn end_unkept(&mut self, session: &mut Session, out: &mut Vec<u8>) {
        if self.entering.take_if(|_| session.is_deciding()).is_some() {
            self.turn_away(session, Reason::ServerUnavailable, out);
        } else if !self.is_settled(session) {
            session.fail(out);
            self.closed = true;
        }
    }

    /// The deadline has come.
    pub fn handle_timeout(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let session = Arc::clone(&self.session);
        let session = &mut *lock(&session);
        if let Effect::Close(close) = session.handle_timeout(moment.now, out) {
            self.close(session, &close);
        }
    }

    /// The connection has ended: what lasts of its session is kept, its will is published when it
    /// is due.
    pub fn leave(&mut self, moment: Moment) {
        let Some(Member { key, mailbox, .. }) = self.member.take() else { return };
        let age = self.shared.age(moment);
        let session = &mut *lock(&self.session);
        tracing::debug!(client = shown(session.client_id()), "a client has gone");
        let mut desk = self.shared.ingest.desk();
        self.shared.hub.leave(key, &mailbox, session, (age, &mut desk));
    }

    fn is_settled(&self, session: &Session) -> bool {
        let durable = self.shared.ingest.durable() >= self.appended;
        self.held.is_none() && durable && session.is_settled()
    }

    /// Leaves a change for the log that nobody waits for.
    pub(super) fn note(&self, session: &Session, turn: &mut Turn<'_>, change: &Change<'_>) {
        if self.member.as_ref().is_some_and(|member| member.lasting) {
            turn.desk().change(session.client_id(), change);
        }
    }

    pub(super) fn note_appended(
        &mut self,
        session: &mut Session,
        offset: Offset,
        id: Option<NonZeroU16>,
    ) {
        self.appended = offset.plus(1);
        if let Some(member) = &self.member {
            member.mailbox.note_published();
        }
        if let Some(id) = id {
            session.handle_appended(offset, id);
        }
    }

    pub(super) fn refuse(
        &mut self,
        session: &mut Session,
        reason: Reason,
        id: Option<NonZeroU16>,
        out: &mut Vec<u8>,
    ) {
        self.shared.ingest.note_refused();
        if let Some(id) = id
            && let Effect::Close(close) = session.handle_refused(id, reason, out)
        {
            self.close(session, &close);
        }
    }

    /// The session ends the connection, or its client does.
    fn close(&mut self, session: &Session, &Close { reason, statement }: &Close) {
        let client = shown(session.client_id());
        tracing::debug!(client, ?reason, statement, "a client's connection ends");
        self.closed = true;
    }
}

#[cfg(test)]
mod tests;
