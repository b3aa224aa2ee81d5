//! What a connection does with bytes: everything between socket and session that never waits.

use std::sync::{Arc, Mutex};

use core::num::NonZeroU16;

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::time::{Age, Instant};
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::session::{Delivered, Message};
use tributary_mqtt::{Effect, Reason, Session, Settings, Version};

use super::clock::{Clocks, Moment};
use super::hub::{Ending, Hub, Key, Mailbox, Owned};
use super::ingest::{Closed, Desk, Ingest, NotTaken};
use crate::io::files::random_u64;
use crate::sync::lock;

/// Bytes for the client that may wait in memory before nothing more is read from it.
const OUT_BYTES_MAX: usize = 64 << 10;

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

/// A session and its place among the others.
pub struct Dialogue {
    session: Session,
    shared: Arc<Shared>,
    member: Option<(Key, Arc<Mailbox>)>,
    wake: Arc<Notify>,
    /// A publish that was read and could not be left at the desk yet.
    held: Option<(Owned, Option<NonZeroU16>)>,
    /// Everything of this client below is wanted durable.
    appended: Offset,
    /// The session wants no more, or the client has gone.
    closed: bool,
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
    pub fn new(shared: Arc<Shared>, moment: Moment) -> Self {
        let session = Session::new(moment.now, &shared.settings);
        let wake = Arc::new(Notify::new());
        Self { session, shared, member: None, wake, held: None, appended: Offset(0), closed: false }
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
        let reads = self.held.is_none() && self.session.wants_packet();
        self.session.poll_timeout().filter(|_| reads)
    }

    /// Whether a publish waits for room at the desk.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether bytes may be handed in.
    #[must_use]
    pub fn wants_bytes(&self, out: &[u8]) -> bool {
        !self.closed
            && self.held.is_none()
            && self.session.wants_packet()
            && out.len() < OUT_BYTES_MAX
    }

    /// Deals with as many packets of `bytes` as can be dealt with now.
    pub fn handle_bytes(&mut self, moment: Moment, bytes: &[u8], out: &mut Vec<u8>) -> Progress {
        let shared = Arc::clone(&self.shared);
        let mut desk: Option<Desk<'_>> = None;
        let mut used = 0;
        let mut wants_more = false;
        while self.wants_bytes(out) {
            let step = self.session.handle_bytes(moment.now, &bytes[used..], out);
            used += step.used;
            match step.effect {
                Effect::Incomplete => {
                    wants_more = true;
                    break;
                }
                Effect::None | Effect::Acknowledged => {}
                Effect::Connect(connect) => self.welcome(moment.now, &connect, out),
                Effect::Publish(publish) => {
                    let id = publish.delivery.packet_id();
                    let event = self.session.event(&publish, moment.wall);
                    let desk = desk.get_or_insert_with(|| shared.ingest.desk());
                    match desk.append(&event) {
                        Ok(offset) => self.note_appended(offset, id),
                        Err(not_taken) if self.waits(not_taken) => {
                            self.held = Some((Owned::of(&event), id));
                        }
                        Err(NotTaken::Closed(closed)) => self.refuse(closed, id, out),
                        Err(NotTaken::Busy) => unreachable!("it waits"),
                    }
                }
                Effect::Subscribe(subscribe) => {
                    if let Some((key, _)) = &self.member {
                        self.session.answer_subscribe(&subscribe, out, |filter, wanted| {
                            shared.hub.subscribe(*key, filter, wanted, shared.ingest.durable())
                        });
                    }
                }
                Effect::Unsubscribe(unsubscribe) => {
                    if let Some((key, _)) = &self.member {
                        self.session.answer_unsubscribe(&unsubscribe, out, |filter| {
                            shared.hub.unsubscribe(*key, filter)
                        });
                    }
                }
                Effect::Close(_) => self.closed = true,
            }
        }
        let left = desk.map_or(0, |mut desk| {
            desk.wake(&self.wake);
            desk.leave()
        });
        Progress { used, wants_more, left }
    }

    /// Tries again to leave the publish that is held.
    pub fn retry(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let Some((owned, id)) = self.held.take() else { return };
        let shared = Arc::clone(&self.shared);
        let mut desk = shared.ingest.desk();
        match desk.append(&owned.event()) {
            Ok(offset) => {
                desk.wake(&self.wake);
                self.note_appended(offset, id);
            }
            Err(not_taken) if self.waits(not_taken) => self.held = Some((owned, id)),
            Err(NotTaken::Closed(closed)) => self.refuse(closed, id, out),
            Err(NotTaken::Busy) => unreachable!("it waits"),
        }
        // It was our disk that was slow, not the client.
        self.session.handle_unread(moment.now);
    }

    /// Sends what has become possible: PUBACKs and messages; ends what is to end.
    pub fn handle_wake(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let waited = !self.session.wants_packet();
        self.session.handle_durable(self.shared.ingest.durable(), out);
        if waited {
            self.session.handle_unread(moment.now);
        }
        let Some((_, mailbox)) = &self.member else { return };
        let mailbox = Arc::clone(mailbox);
        let age = lock(&self.shared.clocks).now(moment).age;
        while !self.closed && out.len() < OUT_BYTES_MAX {
            let Some(outgoing) = mailbox.next() else { break };
            let waited_s = seconds(outgoing.message.age, age);
            let message = Message { event: outgoing.message.event(), waited_s };
            match self.session.deliver(&message, outgoing.grant(), out) {
                Delivered::Busy | Delivered::NotConnected => break,
                Delivered::Sent | Delivered::TooLarge | Delivered::Expired => mailbox.sent(),
            }
        }
        match mailbox.ending() {
            Some(Ending::TakenOver) => {
                self.session.take_over(out);
                self.closed = true;
            }
            // What the client was promised an answer for is answered first.
            Some(Ending::ShuttingDown) if self.is_settled() => {
                self.session.shut_down(out);
                self.closed = true;
            }
            Some(Ending::ShuttingDown) | None => {}
        }
    }

    /// The deadline has come.
    pub fn handle_timeout(&mut self, moment: Moment, out: &mut Vec<u8>) {
        if let Effect::Close(_) = self.session.handle_timeout(moment.now, out) {
            self.closed = true;
        }
    }

    /// The connection has ended: leaves the hub. Gives the will, if it is to be published.
    pub fn leave(&mut self) -> Option<tributary_mqtt::session::Will> {
        if let Some((key, _)) = self.member.take() {
            self.shared.hub.leave(self.session.client_id(), key);
        }
        self.session.take_will()
    }

    fn is_settled(&self) -> bool {
        self.held.is_none() && self.shared.ingest.durable() >= self.appended
    }

    fn welcome(&mut self, now: Instant, connect: &Connect<'_>, out: &mut Vec<u8>) {
        let assigned = connect.client_id.is_empty().then(assigned_id);
        let assigned = match assigned.transpose() {
            Ok(assigned) => assigned,
            Err(error) => {
                tracing::error!(%error, "no random number for a client id");
                self.session.refuse(Reason::ServerUnavailable, out);
                self.closed = true;
                return;
            }
        };
        self.session.accept(now, assigned.as_deref(), out);
        let (key, mailbox) = self.shared.hub.enter(self.session.client_id(), &self.wake);
        self.member = Some((key, mailbox));
    }

    fn note_appended(&mut self, offset: Offset, id: Option<NonZeroU16>) {
        self.appended = offset.plus(1);
        if let Some(id) = id {
            self.session.handle_appended(offset, id);
        }
    }

    /// Whether a publish that is not taken waits for it, and its client is not read. A full log
    /// tells those who can be told.
    fn waits(&self, not_taken: NotTaken) -> bool {
        let told = self.session.version() == Version::V5;
        matches!(not_taken, NotTaken::Busy) || not_taken == NotTaken::Closed(Closed::Full) && !told
    }

    fn refuse(&mut self, closed: Closed, id: Option<NonZeroU16>, out: &mut Vec<u8>) {
        self.shared.ingest.note_refused();
        let reason = match closed {
            Closed::Failed => Reason::ImplementationSpecific,
            Closed::Full => Reason::QuotaExceeded,
            Closed::Stopping => Reason::ServerShuttingDown,
        };
        if let Some(id) = id
            && let Effect::Close(_) = self.session.handle_refused(id, reason, out)
        {
            self.closed = true;
        }
    }
}

fn seconds(since: Age, until: Age) -> u32 {
    u32::try_from(until.0.saturating_sub(since.0) / 1_000).unwrap_or(u32::MAX)
}

fn assigned_id() -> std::io::Result<String> {
    Ok(format!("auto-{:016x}", random_u64()?))
}
