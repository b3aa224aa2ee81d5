//! How clients come and go.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::time::Age;
use tributary_mqtt::Session;
use tributary_mqtt::session::{InFlight, Kept, Phase};

use super::client::{Client, Connected};
use super::group::held_for;
use super::mailbox::{Ending, Mailbox, Outgoing};
use super::publishing::DueWill;
use super::rare::Rare;
use super::{Hub, Key, Members, SESSIONS_MAX, Target};
use crate::door::Guest;
use crate::runtime::ingest::{Desk, Ingest};
use crate::runtime::sessions::{Change, StoredWill};
use crate::sync::lock;

/// Who comes.
pub struct Ask<'a> {
    /// The client id.
    pub name: &'a str,
    /// Nothing of an earlier session is wanted.
    pub clean_start: bool,
    /// Seconds for which the session shall outlive the connection.
    pub expiry_s: u32,
    /// What the client leaves behind.
    pub will: Option<StoredWill<'static>>,
    /// What it may do.
    pub guest: &'a Guest,
    /// The connection's protocol.
    pub session: &'a Arc<Mutex<Session>>,
    /// Wakes the connection.
    pub wake: &'a Arc<Notify>,
}

/// Why a client has not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// A connection has its client id: it came in since the one before was [taken over](Hub::take_over).
    Taken,
    /// There are too many sessions, or what they take is too much for one more will.
    Full,
}

/// A client that has come.
#[derive(Debug)]
pub struct Entered {
    /// Its session.
    pub key: Key,
    /// What waits for it.
    pub mailbox: Arc<Mailbox>,
    /// What is left of its session from before, if there is one.
    pub kept: Option<Kept>,
    /// It may be told so when this change is durable.
    pub change: Option<u64>,
}

impl Hub {
    /// Ends the connection that has a client id, if there is one. Takes that connection's session
    /// and the desk.
    pub fn take_over(&self, name: &str, age: Age, ingest: &Ingest) {
        loop {
            let members = self.lock();
            let Some(key) = members.key_of(name) else { return };
            let client = members.sessions.get(&key);
            let connection = client.and_then(|client| client.connection.as_ref());
            let Some(Connected { mailbox, session, .. }) = connection else { return };
            let (mailbox, session) = (Arc::clone(mailbox), Arc::clone(session));
            drop(members);
            let mut farewell = Vec::new();
            let mut session = lock(&session);
            session.take_over(&mut farewell);
            self.leave(key, &mailbox, &mut session, (age, &mut ingest.desk()));
            drop(session);
            mailbox.end(Ending::TakenOver(farewell));
        }
    }

    /// A connection gets a client id.
    ///
    /// # Errors
    /// Another has it, or there are too many sessions.
    pub fn enter(&self, ask: &Ask<'_>, desk: &mut Desk<'_>) -> Result<Entered, NotEntered> {
        let mut members = self.lock();
        let known = members.key_of(ask.name);
        let client = known.and_then(|key| members.sessions.get(&key));
        if client.is_some_and(|client| client.is_connected()) {
            return Err(NotEntered::Taken);
        }
        let resumed = known.filter(|_| !ask.clean_start);
        let is_full = known.is_none() && members.sessions.len() >= SESSIONS_MAX;
        if !members.has_room_for_will(ask.will.as_ref(), resumed)
            || is_full && !members.make_room(desk, &self.counters)
        {
            return Err(NotEntered::Full);
        }
        let mut was_noted = false;
        if let Some(key) = known
            && resumed.is_none()
            && let Some(before) = members.remove(key)
        {
            was_noted = before.noted;
            members.publish_will(before);
            self.timers.notify_one();
        }
        let key = resumed.unwrap_or_else(|| members.begin(ask.name, desk.next()));
        let lasting = ask.expiry_s > 0;
        let mailbox = Arc::new(Mailbox::new(Arc::clone(ask.wake), Arc::clone(&self.work)));
        members.connections += 1;
        let connected = Connected {
            mailbox: Arc::clone(&mailbox),
            session: Arc::clone(ask.session),
            guest: ask.will.is_some().then(|| Box::new(ask.guest.clone())),
        };
        let next = desk.next();
        let kept = members.with_client(key, |client| {
            was_noted |= client.noted;
            client.connection = Some(connected);
            client.lasting = lasting;
            client.noted = lasting || ask.will.is_some();
            client.expiry_s = ask.expiry_s;
            (client.left, client.will_due) = (None, None);
            client.will = ask.will.clone().map(Box::new);
            client.away_until = next;
            client.resend = resends(&client.kept);
            client.serve_left_over();
            (resumed.is_some()).then(|| client.kept.clone())
        });
        members.note_place(key);
        members.note_due(key, None);
        let lags = |client: &Client| client.lag.is_some() || !client.resend.is_empty();
        let (lags, noted) = members
            .sessions
            .get(&key)
            .map_or((false, false), |client| (lags(client), client.noted));
        if lags {
            mailbox.set_more(true);
            members.lagging.insert(Target::Client(key));
        }
        drop(members);
        self.work.notify_one();
        Self::count(&self.counters.connects, 1);
        let change = if noted {
            let (fresh, expiry_s) = (resumed.is_none(), ask.expiry_s);
            let begun = Change::Begun { fresh, expiry_s, will: ask.will.clone() };
            Some(desk.change(ask.name, &begun))
        } else {
            was_noted.then(|| desk.change(ask.name, &Change::Ended))
        };
        Ok(Entered { key, mailbox, kept: kept.flatten(), change })
    }

    /// A connection has ended, or its client id has gone to another: what lasts is kept.
    pub fn leave(
        &self,
        key: Key,
        mailbox: &Arc<Mailbox>,
        session: &mut Session,
        (age, desk): (Age, &mut Desk<'_>),
    ) {
        let mut members = self.lock();
        let same = |connected: &Connected| Arc::ptr_eq(&connected.mailbox, mailbox);
        let client = members.sessions.get(&key);
        if !client.and_then(|client| client.connection.as_ref()).is_some_and(same) {
            return;
        }
        let will_wanted = session.take_will().is_some();
        let (kept, expiry_s) = (session.keep(), session.expiry_s());
        // It was allowed at the CONNECT; the rules may have changed.
        let will_lost =
            kept.is_some() && !will_wanted || client.is_some_and(|client| client.is_will_denied());
        members.connections -= 1;
        let position = members.position_at(desk);
        let unsent = mailbox.oldest(false);
        let waiting = mailbox.drain();
        members.with_client(key, |client| {
            client.figures.published = client.published();
            client.connection = None;
            let lag = client.lag.unwrap_or(position);
            client.lag = Some(unsent.map_or(lag, |unsent| unsent.min(lag)));
            client.left = Some(age);
            if let Some(kept) = kept {
                client.kept = kept;
                client.expiry_s = expiry_s;
                client.lasting = expiry_s > 0 && client.lasting;
            }
            client.will.take_if(|_| will_lost);
            client.will_due = client.will.as_ref().map(|will| {
                let delay_s = will.delay_s.min(client.expiry_s);
                Age(age.0.saturating_add(u64::from(delay_s) * 1_000))
            });
        });
        members.pass_on(key, waiting);
        let groups = members.groups_of(key);
        members.note_left(key, age, desk);
        members.note_groups_of(key, &groups, desk);
        drop(members);
        self.timers.notify_one();
        self.work.notify_one();
    }
}

/// What was under way and has to be sent again.
fn resends(kept: &Kept) -> Rare<InFlight> {
    kept.in_flight.iter().filter(|entry| entry.phase != Phase::Received).copied().collect()
}

impl Members {
    fn begin(&mut self, name: &str, next: Offset) -> Key {
        let key = self.new_key();
        self.names.insert(name.into(), key);
        self.sessions.insert(key, Box::new(Client::new(name, next)));
        key
    }

    /// What was to be sent to a client that has left: shared messages go to another member.
    fn pass_on(&mut self, key: Key, waiting: std::collections::VecDeque<Outgoing>) {
        for outgoing in waiting {
            let passed = outgoing.group.is_some_and(|group| {
                let Some(message) = &outgoing.message else { return true };
                let message = Arc::clone(message);
                self.put_shared(group, &message, &outgoing.denied)
            });
            if !passed && (outgoing.retained || outgoing.group.is_some()) {
                self.with_client(key, |client| client.left_over.push_back(outgoing));
            }
        }
    }

    /// Tells the log that a client has left; a session that does not last ends.
    fn note_left(&mut self, key: Key, age: Age, desk: &mut Desk<'_>) {
        let Some(client) = self.sessions.get_mut(&key) else { return };
        if !client.lasting {
            let Some(client) = self.remove(key) else { return };
            self.end(client, desk);
            return;
        }
        if client.scans.is_noted && !client.is_owed_retained(client.kept.in_flight.iter()) {
            client.scans.is_noted = false;
            desk.change(&client.name, &Change::Found);
        }
        let shared = held_for(client, &self.group_names, &self.groups);
        let places = client.oldest_unacked().into_iter().chain(client.lag).chain(shared);
        let cursor = places.min().unwrap_or(Offset(0));
        desk.change(&client.name, &Change::Progress { cursor: cursor.0 });
        let left = Change::Left {
            age: age.0,
            expiry_s: client.expiry_s,
            will_due: client.will_due.map(|due| due.0),
        };
        desk.change(&client.name, &left);
        let due = client.due();
        self.note_due(key, due);
        self.note_place(key);
    }

    /// The session has ended: its will is due.
    pub(super) fn publish_will(&mut self, client: Client) {
        let Client { name, will, .. } = client;
        if let Some(will) = will {
            self.push_will(DueWill { client: name, will: *will });
        }
    }
}
