//! What waits to be sent to one connection, and what others may do to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use core::num::{NonZeroU16, NonZeroU32};
use core::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};
use tributary_mqtt::subscriptions::Grant;

use super::Key;
use super::client::Share;
use crate::runtime::clock::Anchor;
use crate::sync::lock;

/// Messages that wait in memory for one client. What comes above QoS 0 when there are as many is
/// read from the log later; at QoS 0 it is dropped and counted.
pub const OUTBOX_MESSAGES_MAX: usize = 1_000;
/// The same in bytes.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// An event that outlives the buffer that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    topic: Box<str>,
    payload: Box<[u8]>,
    client: Box<str>,
    properties: Box<[u8]>,
    time: Timestamp,
    qos: Qos,
    retain: bool,
    origin: Origin,
    packet_id: Option<NonZeroU16>,
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
            packet_id: event.packet_id,
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
            packet_id: self.packet_id,
            properties: Properties(&self.properties),
        }
    }

    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len() + self.client.len()
    }
}

/// A message for subscribers, shared by all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    event: Owned,
    /// Its place in the log.
    pub offset: Offset,
    /// The age clock when it came in, for its expiry.
    pub age: Age,
}

impl Message {
    /// Copies an event.
    #[must_use]
    pub fn of(event: &Event<'_>, offset: Offset, age: Age) -> Self {
        Self { event: Owned::of(event), offset, age }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        self.event.event()
    }

    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.event.bytes()
    }

    /// The age clock when it is of no use any more, if it ends; `anchor` corrects ages.
    pub(super) fn ends(&self, anchor: &Anchor) -> Option<Age> {
        let life_ms = self.event().properties.life_ms()?;
        Some(Age(anchor.counted(self.age).0.saturating_add(life_ms)))
    }
}

/// One message on its way to one client.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What. `None`: it cannot be found any more.
    pub message: Option<Arc<Message>>,
    /// It is under way already, with this identifier.
    pub again: Option<NonZeroU16>,
    /// It is a retained message for a new subscription.
    pub retained: bool,
    /// Of such a one that is not under way yet: the filter of that subscription.
    pub found_by: Option<Arc<str>>,
    /// The group that it was for, if its subscription is shared.
    pub(super) group: Option<Key>,
    /// Members of the group that may not read it.
    pub(super) denied: Box<[Key]>,
    pub(super) qos: Qos,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Box<[NonZeroU32]>,
}

impl Outgoing {
    pub(super) fn new(message: Arc<Message>, grant: Grant<'_>) -> Self {
        Self {
            message: Some(message),
            again: None,
            retained: false,
            found_by: None,
            group: None,
            denied: Box::default(),
            qos: grant.qos,
            retain_as_published: grant.retain_as_published,
            identifiers: grant.identifiers.into(),
        }
    }

    /// What is under way already; without a share it cannot be found any more.
    pub(super) fn again(message: Option<Arc<Message>>, share: Option<Share>) -> Self {
        let share = share.unwrap_or_default();
        Self {
            message,
            again: None,
            retained: false,
            found_by: None,
            group: None,
            denied: Box::default(),
            qos: share.qos,
            retain_as_published: share.retain_as_published,
            identifiers: share.identifiers.into(),
        }
    }

    /// How it was granted.
    #[must_use]
    pub fn grant(&self) -> Grant<'_> {
        Grant {
            qos: self.qos,
            retain_as_published: self.retain_as_published,
            identifiers: &self.identifiers,
        }
    }

    /// Its place in the log, if it is to be read from there again when it does not leave: what goes at QoS 0
    /// is not, and may not be in the log.
    pub(super) fn owed_at(&self) -> Option<Offset> {
        let message = self.message.as_ref()?;
        (message.event().qos.min(self.qos) > Qos::AtMostOnce).then_some(message.offset)
    }

    fn bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.bytes())
    }
}

/// Why a connection is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Another connection has its client id; these bytes are left to be written.
    TakenOver(Vec<u8>),
    /// The daemon stops.
    ShuttingDown,
}

/// What others may do to a connection.
#[derive(Debug)]
pub struct Mailbox {
    /// Woken when events are durable, messages wait or the connection is to end.
    pub wake: Arc<Notify>,
    /// Told when there is room for more from the log.
    pub(super) wants_more: Arc<Notify>,
    /// Events that came from the connection.
    published: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    ending: Option<Ending>,
    /// More waits in the log.
    has_more: bool,
}

impl Mailbox {
    pub(super) fn new(wake: Arc<Notify>, wants_more: Arc<Notify>) -> Self {
        Self { wake, wants_more, published: AtomicU64::new(0), inner: Mutex::default() }
    }

    /// An event has come from the connection.
    pub fn note_published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Events that have come from it.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Takes the next message to send.
    pub fn take(&self) -> Option<Outgoing> {
        let mut inner = self.lock();
        let taken = inner.queue.pop_front();
        if let Some(taken) = &taken {
            inner.bytes -= taken.bytes();
        }
        if inner.queue.is_empty() && inner.has_more {
            self.wants_more.notify_one();
        }
        taken
    }

    /// Puts the message that was taken last back.
    pub fn put_back(&self, outgoing: Outgoing) {
        let mut inner = self.lock();
        inner.bytes += outgoing.bytes();
        inner.queue.push_front(outgoing);
    }

    /// Whether the connection is to end.
    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    pub(super) fn end(&self, ending: Ending) {
        self.lock().ending.get_or_insert(ending);
        self.wake.notify_one();
    }

    /// Whether there was room.
    pub(super) fn put(&self, outgoing: Outgoing) -> bool {
        let mut inner = self.lock();
        let bytes = outgoing.bytes();
        let full = inner.queue.len() >= OUTBOX_MESSAGES_MAX
            || inner.bytes + bytes > OUTBOX_BYTES_MAX && !inner.queue.is_empty();
        if full {
            return false;
        }
        inner.bytes += bytes;
        inner.queue.push_back(outgoing);
        drop(inner);
        self.wake.notify_one();
        true
    }

    /// More waits in the log, or does not.
    pub(super) fn set_more(&self, has_more: bool) {
        self.lock().has_more = has_more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Whether a retained message for a new subscription waits.
    pub(super) fn has_retained(&self) -> bool {
        self.lock().queue.iter().any(|outgoing| outgoing.retained)
    }

    /// Takes all that was not sent.
    pub(super) fn drain(&self) -> VecDeque<Outgoing> {
        let mut inner = self.lock();
        inner.bytes = 0;
        core::mem::take(&mut inner.queue)
    }

    /// The oldest place in the log of a message that waits and is owed, with or without what is shared with
    /// others.
    pub(super) fn oldest(&self, shared: bool) -> Option<Offset> {
        let inner = self.lock();
        let places = inner
            .queue
            .iter()
            .filter(|out| !out.retained && out.again.is_none() && (shared || out.group.is_none()));
        places.filter_map(Outgoing::owed_at).min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}
