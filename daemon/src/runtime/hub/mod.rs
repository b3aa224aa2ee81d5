//! Who is connected, whose session lasts, who subscribed to what, and what waits to be sent to whom.
//!
//! Queued messages are not copies: a session remembers a place in the log, and what lies between it
//! and the durable end is its queue. So it costs no memory, survives what the log survives, and
//! ends where the log ends: what was evicted from there is lost for it, and counted.
//!
//! Invariant: a client id belongs to at most one connection (MQTT-3.1.4-3); a newcomer takes it.
//! Order of locks: a session's own, the desk, the hub, a mailbox.

mod client;
mod dealing;
mod entering;
mod group;
mod lagging;
mod mailbox;
mod publishing;
mod rare;
mod retained;
mod room;
mod scanning;
mod serving;
mod subscribing;
mod time_off;

pub use entering::{Ask, Entered, NotEntered};
pub use lagging::{Next, Work};
pub use mailbox::{
    Ending, Mailbox, Message, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX, Outgoing, Owned,
};
pub use publishing::{DueWill, SessionStatus};
pub use retained::RETAINED_BYTES_MAX;
pub use room::SESSION_BYTES_MAX;
pub use subscribing::{Asking, Granted};

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::time::Age;
use tributary_mqtt::Subscriptions;

use crate::lines::Pace;
use crate::sync::lock;
use client::Client;
use group::Group;
use retained::Retained;

/// Sessions. Who comes when there are as many ends one whose client is away; where all are there it is refused.
pub const SESSIONS_MAX: usize = 50_000;

/// Names one session; never used twice.
pub type Key = u64;

/// Who a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Client(Key),
    Group(Key),
}

/// Counters of the MQTT side since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were accepted by the protocol.
    pub connects: AtomicU64,
    /// Messages that a slow subscriber did not get.
    pub dropped: AtomicU64,
    /// Messages put into outboxes.
    pub delivered: AtomicU64,
    /// Events that were gone from the log before a session had read them.
    pub missed: AtomicU64,
    /// Messages that were to be retained and are not: there was no room.
    pub unretained: AtomicU64,
    /// Sessions that were ended to make room for new ones.
    pub displaced: AtomicU64,
}

/// The counters of the MQTT side as they stand, for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Connections that were accepted by the protocol.
    pub connects: u64,
    /// Messages put into outboxes.
    pub delivered: u64,
    /// Messages that a slow subscriber did not get.
    pub dropped: u64,
    /// Events that were gone from the log before a session had read them: for each session all that may have been for it.
    pub missed: u64,
    /// Messages that were to be retained and are not: there was no room.
    pub unretained: u64,
    /// Sessions that were ended to make room for new ones.
    pub displaced: u64,
}

impl Counters {
    /// As they stand.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            connects: read(&self.connects),
            delivered: read(&self.delivered),
            dropped: read(&self.dropped),
            missed: read(&self.missed),
            unretained: read(&self.unretained),
            displaced: read(&self.displaced),
        }
    }
}

/// All clients.
#[derive(Debug, Default)]
pub struct Hub {
    members: Mutex<Members>,
    /// Told when the fan-out has something to do beside what becomes durable.
    work: Arc<Notify>,
    /// Told when a will or the end of a session may be due.
    timers: Notify,
    /// Lines about messages that are not retained.
    unretained: Mutex<Pace>,
    /// What happened so far.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Members {
    names: HashMap<Box<str>, Key>,
    /// Boxed: half of a table's places are free.
    sessions: HashMap<Key, Box<Client>>,
    next_key: Key,
    connections: usize,
    subscriptions: Subscriptions<Target>,
    groups: HashMap<Key, Group>,
    /// By name and filter.
    group_names: BTreeMap<(Box<str>, Box<str>), Key>,
    retained: Retained,
    /// Wills and ends of sessions, by the age clock.
    due: BTreeSet<(Age, Key)>,
    /// Those whose clients are away, in the order in which they make room.
    away: BTreeSet<(bool, Age, Key)>,
    /// What subscriptions and wills take.
    bytes: usize,
    /// Their connections ended with the run before, and the log does not know when.
    untold: Vec<Key>,
    /// The log does not know how far they have dealt.
    untold_groups: Vec<Key>,
    /// There was no room for their sessions at the start, and the log does not know.
    ended: Vec<Box<str>>,
    /// The time off of before this run was counted.
    off_counted: bool,
    /// Wills to be published now.
    wills: VecDeque<DueWill>,
    /// Sessions and groups that read the log for themselves.
    lagging: BTreeSet<Target>,
    /// Up to here the fan-out has handed out.
    position: Offset,
    /// Clients that get messages as they come.
    live: usize,
    /// Who was served from the log last.
    served: Option<Target>,
    /// Where the fan-out has to begin, after nobody was live.
    heard_from: Option<Offset>,
}

impl Hub {
    /// Has all connections end.
    pub fn shut_down(&self) {
        for client in self.lock().sessions.values() {
            if let Some(connection) = &client.connection {
                connection.mailbox.end(Ending::ShuttingDown);
            }
        }
    }

    /// Has all connections look again at what holds for them.
    pub fn wake_all(&self) {
        for client in self.lock().sessions.values() {
            if let Some(connection) = &client.connection {
                connection.mailbox.wake.notify_one();
            }
        }
    }

    /// Connections with a client.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl Members {
    fn new_key(&mut self) -> Key {
        self.next_key += 1;
        self.next_key
    }

    fn key_of(&self, name: &str) -> Option<Key> {
        self.names.get(name).copied()
    }

    /// Changes a client in a way that may make it live, or end that.
    fn with_client<T>(&mut self, key: Key, change: impl FnOnce(&mut Client) -> T) -> Option<T> {
        let client = self.sessions.get_mut(&key)?;
        let (was_live, bytes) = (client.is_live(), client.bytes());
        let changed = change(client);
        let is_live = client.is_live();
        self.bytes = self.bytes - bytes + client.bytes();
        match (was_live, is_live) {
            (false, true) => self.live += 1,
            (true, false) => self.no_more_live(),
            _ => {}
        }
        Some(changed)
    }

    /// Whether the fan-out has to begin anew somewhere: what it is still reading is for nobody who is there.
    fn is_read_anew(&self) -> bool {
        self.heard_from.is_some()
    }

    /// One client less gets events as they come.
    fn no_more_live(&mut self) {
        self.live -= 1;
        self.hold_groups(self.position);
    }

    /// While nobody is live the fan-out reads nothing: what comes from `position` on waits in the log
    /// for those who share subscriptions, too.
    fn hold_groups(&mut self, position: Offset) {
        if self.live > 0 {
            return;
        }
        for (id, group) in self.groups.iter_mut().filter(|(_, group)| group.lag.is_none()) {
            group.lag = Some(position);
            self.lagging.insert(Target::Group(*id));
        }
    }

    /// Removes a session and all that belongs to it.
    fn remove(&mut self, key: Key) -> Option<Client> {
        let filters: Vec<Box<str>> = self.sessions.get(&key)?.filters.keys().cloned().collect();
        self.deal_unacked(key);
        for filter in &filters {
            self.part(filter, key);
        }
        let client = self.sessions.remove(&key)?;
        self.free_room(key, &client);
        if client.is_live() {
            self.no_more_live();
        }
        if self.names.get(&client.name) == Some(&key) {
            self.names.remove(&client.name);
        }
        self.subscriptions.remove_all(&Target::Client(key));
        Some(*client)
    }
}

#[cfg(test)]
mod tests;
