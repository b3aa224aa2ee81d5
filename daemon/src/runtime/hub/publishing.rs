//! Messages that are kept, and those that are due at some time: wills, and the ends of sessions.

use core::mem::take;
use core::sync::atomic::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tributary_core::Offset;
use tributary_core::record::{Event, decode};
use tributary_core::time::{Age, Instant, Timestamp};

use super::client::Client;
use super::group::held_for;
use super::mailbox::Message;
use super::retained::Retained;
use super::room::without_room;
use super::{Hub, Key, Members, Target};
use crate::lines::shown;
use crate::runtime::clock::Anchor;
use crate::runtime::ingest::Desk;
use crate::runtime::sessions::{Change, RetainedState, Searches, State, StoredWill};
use crate::sync::lock;

/// A will that is to be published now.
#[derive(Clone, Debug)]
pub struct DueWill {
    /// Whose.
    pub client: Box<str>,
    /// What.
    pub will: StoredWill<'static>,
}

/// One client as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The client id.
    pub client: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Seconds for which the session outlives the connection.
    pub expiry_s: u32,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// It reads the log from here on for itself.
    pub reads_from: Option<u64>,
    /// Events that it published since the start.
    pub published: u64,
    /// Messages given to it since the start.
    pub delivered: u64,
    /// Messages that it did not get, since the start.
    pub dropped: u64,
}

impl Hub {
    /// Whether an event can be kept for new subscriptions; all below `durable` is durable. What is over `now`
    /// takes no room; `anchor` corrects ages.
    pub fn has_room_for(
        &self,
        event: &Event<'_>,
        durable: Offset,
        (now, anchor): (Age, &Anchor),
    ) -> bool {
        let properties = event.properties.0.len();
        let bytes = event.topic.len() + event.payload.len() + properties + event.client.len();
        if event.payload.is_empty() {
            return true;
        }
        let retained = &mut self.lock().retained;
        // What is removed makes room as soon as that is durable.
        retained.settle(durable);
        retained.forget_over(now, anchor);
        retained.has_room(event.topic, bytes)
    }

    /// Gives up what is kept for new subscriptions and is of no use any more.
    pub fn forget_over(&self, now: Age, anchor: &Anchor) {
        self.lock().retained.forget_over(now, anchor);
    }

    /// An event is not kept for new subscriptions: there is no room.
    pub fn note_unretained(&self, now: Instant, event: &Event<'_>) {
        Self::count(&self.counters.unretained, 1);
        if let Some(left_out) = lock(&self.unretained).admit(now) {
            let topic = shown(event.topic);
            tracing::warn!(topic, left_out, "no room for more retained messages: this is not kept");
        }
    }

    /// An event that is to be kept is in the log; all below `durable` is durable.
    pub fn retain(&self, event: &Event<'_>, (offset, age): (Offset, Age), durable: Offset) {
        let message = Arc::new(Message::of(event, offset, age));
        self.lock().retained.note(message, durable);
    }

    /// Keeps a message that is not in the log, and hands it out: the daemon's own.
    pub fn announce(&self, event: &Event<'_>, age: Age) {
        let mut members = self.lock();
        let message = Arc::new(Message::of(event, Offset(0), age));
        members.retained.keep(&message);
        members.hand_out(&message, &self.counters);
    }

    /// Messages that are kept.
    pub fn retained(&self) -> usize {
        self.lock().retained.len()
    }

    /// When the next will or end of a session is due.
    pub fn next_due(&self) -> Option<Age> {
        self.lock().due.first().map(|(age, _)| *age)
    }

    /// Resolves when that may have changed.
    pub async fn timers_changed(&self) {
        self.timers.notified().await;
    }

    /// Ends the sessions whose time is over; the wills that are due can be
    /// [taken](Hub::take_will) afterwards.
    pub fn handle_due(&self, age: Age, desk: &mut Desk<'_>) {
        let mut members = self.lock();
        members.tell_left(desk);
        while let Some((due, key)) = members.due.first().copied()
            && due <= age
        {
            members.due.pop_first();
            members.note_due(key, None);
            members.handle_due(key, age, desk);
            // What it was dealt and has not acknowledged may be for another.
            self.work.notify_one();
        }
    }

    /// The session of a client is about to end: its will is due.
    pub fn hasten_will(&self, name: &str) {
        let mut members = self.lock();
        let Some(key) = members.key_of(name) else { return };
        if members.sessions.get(&key).is_some_and(|client| !client.is_connected()) {
            members.publish_will_alone(key);
        }
    }

    /// Whether the session that a client left a will in goes on. It is its last one: before a client comes again,
    /// what it left behind [is taken](Hub::take_will_of).
    pub fn goes_on(&self, due: &DueWill) -> bool {
        self.lock().key_of(&due.client).is_some()
    }

    /// Takes a will that is to be published now.
    pub fn take_will(&self) -> Option<DueWill> {
        self.lock().take_will(0)
    }

    /// The same of one client.
    pub fn take_will_of(&self, name: &str) -> Option<DueWill> {
        let mut members = self.lock();
        let index = members.wills.iter().position(|due| &*due.client == name)?;
        members.take_will(index)
    }

    /// Puts back a will that could not be left for the log.
    pub fn put_will_back(&self, due: DueWill) {
        let mut members = self.lock();
        members.bytes += due.will.bytes();
        members.note_will_waits(&due.client, true);
        members.wills.push_front(due);
    }

    /// Wills that are to be published now.
    pub fn wills(&self) -> usize {
        self.lock().wills.len()
    }

    /// Tells the log how far the clients that are connected have come, so that little is sent
    /// again after a crash: those that were given messages, and those that the log moved on without
    /// by `stale` events.
    pub fn note_progress(&self, desk: &mut Desk<'_>, stale: u64) {
        let mut members = self.lock();
        let position = members.position_at(desk);
        members.note_groups(desk, stale);
        let Members { sessions, group_names, groups, .. } = &mut *members;
        for client in sessions.values_mut().filter(|client| client.lasting) {
            let Some(connection) = &client.connection else { continue };
            // A session that is at work is looked at next time.
            let Ok(session) = connection.session.try_lock() else { continue };
            if session.keep().is_none() {
                continue;
            }
            if client.scans.is_noted && !client.is_owed_retained(session.in_flight()) {
                client.scans.is_noted = false;
                desk.change(&client.name, &Change::Found);
            }
            let waiting = connection.mailbox.oldest(true);
            let shared = held_for(client, group_names, groups);
            let places = [session.oldest_in_flight(), waiting, client.lag, shared];
            let cursor = places.into_iter().flatten().min().unwrap_or(position).min(position);
            let beyond = cursor.0.saturating_sub(client.cursor_noted.0);
            let served = client.figures.delivered != client.delivered_noted;
            if beyond > 0 && (served || beyond >= stale) {
                client.cursor_noted = cursor;
                client.delivered_noted = client.figures.delivered;
                desk.change(&client.name, &Change::Progress { cursor: cursor.0 });
            }
        }
    }

    /// What the log remembers, at the start; `anchor` corrects the ages that it has.
    pub fn restore(&self, mut state: State, now: Age, anchor: &Anchor) {
        let mut members = self.lock();
        for retained in core::mem::take(&mut state.retained).into_values() {
            self.restore_retained(&mut members.retained, &retained, (now, anchor));
        }
        let mut present = BTreeSet::new();
        let were_here: Vec<bool> =
            state.clients.values().map(|client| client.left.is_none()).collect();
        let restored = |(name, client): (String, _)| Client::restored(&name, client, (now, anchor));
        let searches: Vec<Searches> =
            state.clients.values_mut().map(|client| take(&mut client.searches)).collect();
        let clients: Vec<Client> = state.clients.into_iter().map(restored).collect();
        let without_room = without_room(&clients);
        for (index, client) in clients.into_iter().enumerate() {
            if without_room.contains(&index) {
                members.end_at_start(client);
                continue;
            }
            let key = members.restore_client(client);
            if let Some(key) = key {
                members.search_again(key, &searches[index]);
            }
            present.extend(key.filter(|_| were_here[index]));
        }
        members.untold = present.iter().copied().collect();
        let Members { sessions, groups, lagging, untold_groups, .. } = &mut *members;
        for (id, group) in groups {
            let known = state.groups.get(&*group.shared).copied();
            untold_groups.extend(known.is_none().then_some(*id));
            group.go_on(known.map(Offset), &present, sessions);
            lagging.insert(Target::Group(*id));
        }
        drop(members);
        self.timers.notify_one();
    }

    fn restore_retained(
        &self,
        all: &mut Retained,
        retained: &RetainedState,
        (now, anchor): (Age, &Anchor),
    ) {
        let Some(event) = decode(&mut &retained.record[..], Timestamp(0)) else { return };
        let message = Message::of(&event, Offset(retained.offset), Age(retained.age));
        if message.ends(anchor).is_some_and(|ends| ends <= now) {
            return;
        }
        if all.has_room(event.topic, message.bytes()) {
            all.keep(&Arc::new(message));
        } else {
            // A start is one moment.
            self.note_unretained(Instant(0), &event);
        }
    }

    /// The clients that are connected or whose sessions last: the first `max` by name.
    pub fn sessions(&self, max: usize) -> Vec<SessionStatus> {
        let members = self.lock();
        let mut all: Vec<&Client> = members.sessions.values().map(AsRef::as_ref).collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        let status = |client: &&Client| SessionStatus {
            client: client.name.to_string(),
            connected: client.is_connected(),
            expiry_s: client.expiry_s,
            subscriptions: client.filters.len(),
            reads_from: client.lag.map(|lag| lag.0),
            published: client.published(),
            delivered: client.figures.delivered,
            dropped: client.figures.dropped,
        };
        all.iter().take(max).map(status).collect()
    }

    /// Sessions, connected or not, and subscriptions.
    pub fn totals(&self) -> (usize, usize) {
        let members = self.lock();
        let filters = members.sessions.values().map(|client| client.filters.len()).sum();
        (members.sessions.len(), filters)
    }

    /// Messages given to clients since the start.
    pub fn delivered(&self) -> u64 {
        self.counters.delivered.load(Ordering::Relaxed)
    }
}

impl Members {
    fn restore_client(&mut self, client: Client) -> Option<Key> {
        if !client.lasting {
            self.publish_will(client);
            return None;
        }
        let (key, due) = (self.new_key(), client.due());
        self.bytes += client.bytes();
        let filters: Vec<_> =
            client.filters.iter().map(|(filter, entry)| (filter.clone(), entry.wanted)).collect();
        self.names.insert(client.name.clone(), key);
        self.sessions.insert(key, Box::new(client));
        for (filter, wanted) in filters {
            self.restore_filter(&filter, key, wanted);
        }
        self.note_due(key, due);
        self.note_place(key);
        Some(key)
    }

    /// There is no room for a session: the log is told with the first of what is due.
    fn end_at_start(&mut self, client: Client) {
        tracing::warn!(
            client = &*client.name,
            "what sessions take is too much: this one, away for longest, has ended"
        );
        if client.will.is_none() {
            self.ended.push(client.name.clone());
        }
        self.publish_will(client);
    }

    /// Tells the log that those who were connected have left by now: else each start would have their time
    /// begin anew, and a gateway that starts often would never end their sessions. Before that, where those go on
    /// who share a subscription: of an earlier version's log only that they were connected tells it.
    fn tell_left(&mut self, desk: &mut Desk<'_>) {
        let position = self.position_at(desk);
        for id in core::mem::take(&mut self.untold_groups) {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let change = group.tell(position);
            desk.change(&group.shared, &change);
        }
        for name in core::mem::take(&mut self.ended) {
            desk.change(&name, &Change::Ended);
        }
        for key in core::mem::take(&mut self.untold) {
            let Some(client) = self.sessions.get(&key) else { continue };
            let Some(left) = client.left else { continue };
            let (expiry_s, will_due) = (client.expiry_s, client.will_due.map(|due| due.0));
            desk.change(&client.name, &Change::Left { age: left.0, expiry_s, will_due });
        }
    }

    fn handle_due(&mut self, key: Key, age: Age, desk: &mut Desk<'_>) {
        let Some(client) = self.sessions.get(&key).filter(|client| !client.is_connected()) else {
            return;
        };
        let (Some(left), will_due) = (client.left, client.will_due) else { return };
        let ends = Age(left.0.saturating_add(u64::from(client.expiry_s) * 1_000));
        if client.expiry_s != u32::MAX && ends <= age {
            let Some(client) = self.remove(key) else { return };
            self.end(client, desk);
            return;
        }
        if will_due.is_some_and(|due| due <= age) {
            self.publish_will_alone(key);
        }
        self.note_due(key, Some(ends.max(Age(age.0 + 1))));
    }

    /// The will of a client that is away is due, and its session goes on.
    fn publish_will_alone(&mut self, key: Key) {
        let taken = self.with_client(key, |client| {
            client.will_due = None;
            client.will.take().map(|will| (client.name.clone(), *will))
        });
        if let Some((client, will)) = taken.flatten() {
            self.push_will(DueWill { client, will });
            self.note_place(key);
        }
    }

    fn take_will(&mut self, index: usize) -> Option<DueWill> {
        let due = self.wills.remove(index)?;
        self.bytes -= due.will.bytes();
        self.note_will_waits(&due.client, false);
        Some(due)
    }

    pub(super) fn note_will_waits(&mut self, name: &str, waits: bool) {
        let key = self.key_of(name);
        if let Some(client) = key.and_then(|key| self.sessions.get_mut(&key)) {
            client.will_waits = waits;
        }
    }
}
