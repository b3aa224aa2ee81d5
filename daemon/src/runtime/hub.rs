//! Who is connected, who subscribed to what, and what waits to be sent to whom.
//!
//! Invariant: a client id belongs to at most one connection (MQTT-3.1.4-3); a newcomer takes it.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use core::num::NonZeroU32;

use crate::sync::lock;
use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};
use tributary_mqtt::subscriptions::{Grant, Subscription};
use tributary_mqtt::{Reason, Subscriptions};

/// Messages that wait for one client; above it they are dropped and counted.
pub const OUTBOX_MESSAGES_MAX: usize = 1_000;
/// Bytes that wait for one client; above it messages are dropped and counted.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// Names one connection; never used twice.
pub type Key = u64;

/// An event that outlives the buffer that it came in.
#[derive(Clone, Debug)]
pub struct Owned {
    topic: Box<str>,
    payload: Box<[u8]>,
    client: Box<str>,
    properties: Box<[u8]>,
    time: Timestamp,
    qos: Qos,
    retain: bool,
    origin: Origin,
}

impl Owned {
    /// Copies an event.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        Self {
            topic: event.topic.into(),
            payload: event.payload.into(),
            client: event.client.into(),
            properties: event.properties.0.into(),
            time: event.time,
            qos: event.qos,
            retain: event.retain,
            origin: event.origin,
        }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        Event {
            topic: &self.topic,
            payload: &self.payload,
            client: &self.client,
            time: self.time,
            qos: self.qos,
            retain: self.retain,
            origin: self.origin,
            properties: Properties(&self.properties),
        }
    }

    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// A message for subscribers, shared by all of them.
#[derive(Debug)]
pub struct Message {
    event: Owned,
    /// The age clock when it came in, for its expiry.
    pub age: Age,
}

impl Message {
    /// The event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        self.event.event()
    }
}

/// One message on its way to one client.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What.
    pub message: Arc<Message>,
    qos: Qos,
    retain_as_published: bool,
    identifiers: Box<[NonZeroU32]>,
}

impl Outgoing {
    /// How it was granted.
    #[must_use]
    pub fn grant(&self) -> Grant<'_> {
        Grant {
            qos: self.qos,
            retain_as_published: self.retain_as_published,
            identifiers: &self.identifiers,
        }
    }
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Another connection has its client id.
    TakenOver,
    /// The daemon stops.
    ShuttingDown,
}

/// What others may do to a connection.
#[derive(Debug)]
pub struct Mailbox {
    /// Woken when events are durable, messages wait or the connection is to end.
    pub wake: Arc<Notify>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    ending: Option<Ending>,
}

impl Mailbox {
    /// The next message to send, which stays until [`Mailbox::sent`].
    pub fn next(&self) -> Option<Outgoing> {
        self.lock().queue.front().cloned()
    }

    /// The message that was next is dealt with.
    pub fn sent(&self) {
        let mut inner = self.lock();
        if let Some(sent) = inner.queue.pop_front() {
            inner.bytes -= sent.message.event.bytes();
        }
    }

    /// Whether the connection is to end.
    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    fn end(&self, ending: Ending) {
        self.lock().ending.get_or_insert(ending);
        self.wake.notify_one();
    }

    /// Whether there was room.
    fn put(&self, outgoing: Outgoing) -> bool {
        let mut inner = self.lock();
        let bytes = outgoing.message.event.bytes();
        if inner.queue.len() >= OUTBOX_MESSAGES_MAX || inner.bytes + bytes > OUTBOX_BYTES_MAX {
            return false;
        }
        inner.bytes += bytes;
        inner.queue.push_back(outgoing);
        drop(inner);
        self.wake.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
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
}

/// All clients.
#[derive(Debug, Default)]
pub struct Hub {
    members: Mutex<Members>,
    next_key: AtomicU64,
    /// Told when there is a first subscriber.
    audience: Notify,
    /// What happened so far.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Members {
    clients: HashMap<Box<str>, Key>,
    connections: HashMap<Key, Arc<Mailbox>>,
    subscriptions: Subscriptions<Key>,
    /// The durable end when the first subscriber came.
    heard_from: Offset,
}

impl Hub {
    /// A connection has a client's name; an earlier one with the same name ends.
    pub fn enter(&self, client: &str, wake: &Arc<Notify>) -> (Key, Arc<Mailbox>) {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox { wake: Arc::clone(wake), inner: Mutex::default() });
        let mut members = self.lock();
        if let Some(former) = members.clients.insert(client.into(), key)
            && let Some(mailbox) = members.connections.get(&former)
        {
            mailbox.end(Ending::TakenOver);
        }
        members.connections.insert(key, Arc::clone(&mailbox));
        drop(members);
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        (key, mailbox)
    }

    /// A connection has ended: nothing is left of it.
    pub fn leave(&self, client: &str, key: Key) {
        let mut members = self.lock();
        members.subscriptions.remove_all(&key);
        members.connections.remove(&key);
        if members.clients.get(client) == Some(&key) {
            members.clients.remove(client);
        }
    }

    /// Enters a subscription to what is not below `durable`, the durable end.
    ///
    /// # Errors
    /// The reason for the SUBACK.
    pub fn subscribe(
        &self,
        key: Key,
        filter: &str,
        wanted: Subscription,
        durable: Offset,
    ) -> Result<(), Reason> {
        let mut members = self.lock();
        let was_silent = members.subscriptions.is_empty();
        members.subscriptions.insert(filter, key, wanted)?;
        if was_silent {
            members.heard_from = durable;
            self.audience.notify_one();
        }
        Ok(())
    }

    /// Where the first subscriber began to listen, once there is one.
    pub async fn audience(&self) -> Offset {
        loop {
            if let Some(offset) = self.heard_from() {
                return offset;
            }
            self.audience.notified().await;
        }
    }

    fn heard_from(&self) -> Option<Offset> {
        let members = self.lock();
        (!members.subscriptions.is_empty()).then_some(members.heard_from)
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(&self, key: Key, filter: &str) -> bool {
        self.lock().subscriptions.remove(filter, &key)
    }

    /// Whether anybody has subscribed.
    pub fn is_anyone_listening(&self) -> bool {
        !self.lock().subscriptions.is_empty()
    }

    /// Puts an event into the outboxes of all who subscribed to it.
    pub fn distribute(&self, event: &Event<'_>, age: Age) {
        let members = self.lock();
        let publisher = members.clients.get(event.client);
        let mut shared = None;
        members.subscriptions.for_each_match(event.topic, publisher, |key, grant| {
            let Some(mailbox) = members.connections.get(key) else { return };
            let message =
                shared.get_or_insert_with(|| Arc::new(Message { event: Owned::of(event), age }));
            let put = mailbox.put(Outgoing {
                message: Arc::clone(message),
                qos: grant.qos,
                retain_as_published: grant.retain_as_published,
                identifiers: grant.identifiers.into(),
            });
            let counter = if put { &self.counters.delivered } else { &self.counters.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Has all connections end.
    pub fn shut_down(&self) {
        for mailbox in self.lock().connections.values() {
            mailbox.end(Ending::ShuttingDown);
        }
    }

    /// Connections with a client.
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }
}
