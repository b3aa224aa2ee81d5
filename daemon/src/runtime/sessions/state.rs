//! The fold over changes and events: what a daemon that starts knows of its clients.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tributary_core::record::{Event, Origin, decode, encode, encoded_len};
use tributary_core::time::{Age, Timestamp};

use super::change::{Change, Noted, StoredWill};
use super::searches::{Search, Searches};
use crate::runtime::clock::Anchor;

/// Everything that is remembered of clients and topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By client id.
    pub clients: BTreeMap<String, ClientState>,
    /// By topic.
    pub retained: BTreeMap<String, RetainedState>,
    /// By shared filter: all below was dealt to members, and has come to them or is their own.
    pub groups: BTreeMap<String, u64>,
    /// How far the log was folded in.
    pub applied: Applied,
    time: Time,
    touched: Touched,
}

/// How late it is in the log, as far as it was read in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Time {
    /// The age clock.
    now: u64,
    /// What corrects ages.
    anchor: Anchor,
}

/// What has changed since it was written to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Clients.
    pub clients: BTreeSet<String>,
    /// Topics of retained messages.
    pub topics: BTreeSet<String>,
    /// Shared filters.
    pub groups: BTreeSet<String>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// All events below.
    pub offset: u64,
    /// All changes with numbers below.
    pub change: u64,
}

/// The session of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientState {
    /// Seconds for which it outlives the connection.
    pub expiry_s: u32,
    /// Age clock when the client left, ms; `None`: it was connected.
    pub left: Option<u64>,
    /// What the client leaves behind.
    pub will: Option<StoredWill<'static>>,
    /// Age clock at which that is due, ms; `None` while the client is connected.
    pub will_due: Option<u64>,
    /// Subscriptions by topic filter.
    pub filters: BTreeMap<String, Filter>,
    /// QoS 2, from the client: identifiers that it has not released, with the offset of the event.
    pub unreleased: BTreeMap<u16, u64>,
    /// To the client: messages with an identifier, oldest first.
    pub in_flight: Vec<InFlightState>,
    /// Offsets from the cursor on whose messages are over.
    pub over: BTreeSet<u64>,
    /// All messages below are dealt with, but for those in flight.
    pub cursor: u64,
    /// Retained messages that are still looked for. In the file it stands behind the rest, where there is any.
    #[serde(skip)]
    pub searches: Searches,
}

/// A subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// QoS and options, as in a SUBSCRIBE of MQTT 5.
    pub options: u8,
    /// Its identifier; 0: none.
    pub identifier: u32,
    /// The first offset for which it holds.
    pub since: u64,
}

/// A message under way to a client at QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightState {
    /// Its identifier.
    pub packet_id: u16,
    /// Its place in the log.
    pub offset: u64,
    /// It was a retained message.
    pub retained: bool,
    /// The client has it.
    pub received: bool,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedState {
    /// Its place in the log.
    pub offset: u64,
    /// Age clock when it came, ms.
    pub age: u64,
    /// The event as a record of a frame whose wall time is 0.
    pub record: Vec<u8>,
}

impl RetainedState {
    /// Keeps an event.
    #[must_use]
    pub fn of(event: &Event<'_>, offset: u64, age: Age) -> Self {
        let base = Timestamp(0);
        let mut record = vec![0; encoded_len(event, base)];
        encode(event, base, &mut record);
        Self { offset, age: age.0, record }
    }

    /// The age clock when it is of no use any more, if it ends.
    fn ends(&self, anchor: &Anchor) -> Option<u64> {
        let event = decode(&mut &self.record[..], Timestamp(0))?;
        let life_ms = event.properties.life_ms()?;
        Some(anchor.counted(Age(self.age)).0.saturating_add(life_ms))
    }
}

impl State {
    /// Takes note of an event at `offset`. Those that are in already are passed over.
    pub fn apply_event(&mut self, offset: u64, event: &Event<'_>, age: Age) {
        self.time.now = self.time.now.max(age.0);
        if offset < self.applied.offset {
            return;
        }
        self.applied.offset = offset + 1;
        if let Some(packet_id) = event.packet_id
            && event.origin == Origin::Device
            && let Some(client) = self.clients.get_mut(event.client)
        {
            client.unreleased.insert(packet_id.get(), offset);
            self.touched.clients.insert(event.client.to_owned());
        }
        if event.retain {
            if event.payload.is_empty() {
                self.retained.remove(event.topic);
            } else {
                let retained = RetainedState::of(event, offset, age);
                self.retained.insert(event.topic.to_owned(), retained);
            }
            self.touched.topics.insert(event.topic.to_owned());
        }
    }

    /// Takes note of a change. Those that are in already are passed over.
    pub fn apply_change(&mut self, number: u64, noted: Noted<'_>) {
        if number < self.applied.change {
            return;
        }
        self.applied.change = number + 1;
        let Noted { client: name, at, change } = noted;
        if let Change::Dealt { cursor } = change {
            self.touched.groups.insert(name.to_owned());
            self.groups.insert(name.to_owned(), cursor);
            return;
        }
        self.touched.clients.insert(name.to_owned());
        if matches!(change, Change::Ended) {
            self.clients.remove(name);
            return;
        }
        let fresh = matches!(change, Change::Begun { fresh: true, .. });
        if fresh || !self.clients.contains_key(name) {
            let mut new = ClientState { cursor: at, ..ClientState::default() };
            if let Some(before) = self.clients.get_mut(name) {
                // What came behind it in the same commit belongs to the new session.
                new.unreleased = core::mem::take(&mut before.unreleased);
                new.unreleased.retain(|_, offset| *offset >= at);
            }
            self.clients.insert(name.to_owned(), new);
        }
        if let Some(client) = self.clients.get_mut(name) {
            client.apply((number, at), change);
        }
    }

    /// Takes note of the body of an anchor.
    pub fn apply_anchor(&mut self, body: &[u8]) {
        if let Some(anchor) = Anchor::decode(body) {
            self.time = Time { now: self.time.now.max(anchor.age), anchor };
        }
    }

    /// The age clock, as far as the log tells.
    #[must_use]
    pub const fn now(&self) -> Age {
        Age(self.time.now)
    }

    /// Whether a retained message is of no use any more, by the clocks of the log.
    #[must_use]
    pub fn is_over(&self, retained: &RetainedState) -> bool {
        retained.ends(&self.time.anchor).is_some_and(|ends| ends <= self.time.now)
    }

    /// Forgets retained messages that are of no use any more: looks at all, so after many events.
    pub fn forget_over(&mut self) {
        let retained = self.retained.iter();
        let over = retained.filter(|(_, retained)| self.is_over(retained));
        let over: Vec<String> = over.map(|(topic, _)| topic.clone()).collect();
        for topic in over {
            self.retained.remove(&topic);
            self.touched.topics.insert(topic);
        }
    }

    /// Nobody shares these filters any more: looks at all clients, so after many changes.
    pub fn forget_groups(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let filters = self.clients.values().flat_map(|client| client.filters.keys());
        let shared: BTreeSet<&String> =
            filters.filter(|filter| self.groups.contains_key(*filter)).collect();
        let touched = &mut self.touched.groups;
        self.groups.retain(|filter, _| {
            let is_shared = shared.contains(filter);
            touched.extend((!is_shared).then(|| filter.clone()));
            is_shared
        });
    }

    /// What was touched since the last call.
    pub fn take_touched(&mut self) -> Touched {
        core::mem::take(&mut self.touched)
    }
}

impl ClientState {
    fn apply(&mut self, (number, at): (u64, u64), change: Change<'_>) {
        match change {
            Change::Begun { expiry_s, will, .. } => {
                self.expiry_s = expiry_s;
                (self.left, self.will_due) = (None, None);
                self.will = will.map(StoredWill::into_owned);
            }
            Change::Subscribed { filter, options, identifier } => {
                let since = self.filters.get(filter).map_or(at, |known| known.since);
                self.filters.insert(filter.to_owned(), Filter { options, identifier, since });
            }
            Change::Unsubscribed { filter } => {
                self.filters.remove(filter);
                self.searches.end(filter);
            }
            Change::Released { packet_id } => {
                // One that came later with the same identifier is another message.
                if self.unreleased.get(&packet_id).is_some_and(|offset| *offset < at) {
                    self.unreleased.remove(&packet_id);
                }
            }
            Change::Reserved { packet_id, offset, retained } => {
                if retained {
                    self.searches.note_brought(None, offset);
                }
                self.reserve(packet_id, offset, retained);
            }
            Change::Brought { packet_id, offset, filter } => {
                self.searches.note_brought(Some(filter), offset);
                self.reserve(packet_id, offset, true);
            }
            Change::Received { packet_id } => {
                for entry in &mut self.in_flight {
                    entry.received |= entry.packet_id == packet_id;
                }
            }
            Change::Completed { packet_id } => self.complete(packet_id),
            Change::Progress { cursor } => {
                self.cursor = self.cursor.max(cursor);
                self.over = self.over.split_off(&self.cursor);
            }
            Change::Left { age, expiry_s, will_due } => {
                (self.left, self.expiry_s, self.will_due) = (Some(age), expiry_s, will_due);
                if will_due.is_none() {
                    self.will = None;
                }
            }
            Change::WillPublished => (self.will, self.will_due) = (None, None),
            Change::Searching { filter, options, identifier, below } => {
                if self.filters.contains_key(filter) {
                    let brought = BTreeSet::new();
                    let search = Search { options, identifier, below, number, brought };
                    self.searches.begin(filter, search);
                }
            }
            Change::Found => self.searches = Searches::default(),
            Change::Ended | Change::Dealt { .. } => {}
        }
    }

    fn reserve(&mut self, packet_id: u16, offset: u64, retained: bool) {
        self.complete(packet_id);
        let received = false;
        self.in_flight.push(InFlightState { packet_id, offset, retained, received });
    }

    fn complete(&mut self, packet_id: u16) {
        if let Some(index) = self.in_flight.iter().position(|entry| entry.packet_id == packet_id) {
            let entry = self.in_flight.remove(index);
            if !entry.retained && entry.offset >= self.cursor {
                self.over.insert(entry.offset);
            }
        }
    }
}
