//! What clients are promised: a model that knows topics, subscriptions, wills, the time and what was acknowledged, and
//! nothing of log, mailboxes and cursors.
//!
//! It follows the gateway packet by packet. What was not committed when the gateway crashed never was.

mod event;
mod sessions;
mod time;

use core::num::NonZeroU16;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::codec::subscribe::RetainHandling;

use crate::client::{Heard, Sent};
use event::{Event, Trace};
pub(crate) use sessions::Will;
use sessions::{PendingWill, Session};
use time::Time;

/// First levels of topics, each of which may be readable or not.
pub(crate) const AREAS: [&str; 3] = ["a", "b", "c"];

/// A subscription as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) qos: Qos,
    pub(crate) handling: RetainHandling,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// The subscription identifier; 0: none.
    pub(crate) name: u32,
}

/// What the gateway knows.
#[derive(Clone, Default)]
struct State {
    sessions: BTreeMap<usize, Session>,
    wills: BTreeMap<usize, PendingWill>,
    /// By topic, the message that is kept.
    retained: BTreeMap<&'static str, usize>,
    /// QoS 2: what became an event under an identifier.
    taken: BTreeSet<(usize, NonZeroU16)>,
}

#[derive(Default)]
pub(crate) struct Promises {
    state: State,
    durable: State,
    durable_events: usize,
    /// Publishes that were processed; those of them that are durable.
    publishes: usize,
    durable_publishes: usize,
    events: Vec<Event>,
    by_payload: BTreeMap<String, usize>,
    by_id: BTreeMap<(usize, NonZeroU16), usize>,
    readable: BTreeSet<&'static str>,
    /// By subscriber, publisher, topic and quality of service, the event that came last for the first time.
    newest: BTreeMap<(usize, usize, &'static str, u8), usize>,
    time: Time,
    /// The log is full and holds.
    holds: bool,
    /// It did since the last commit.
    has_held: bool,
    /// Wills that were published, and those that came to nothing.
    pub(crate) wills: (u64, u64),
}

/// Whether a filter selects a topic.
fn selects(filter: &str, topic: &str) -> bool {
    let (mut levels, mut names) = (filter.split('/'), topic.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            (Some(level), None) => return level == "#",
            _ => return false,
        }
    }
}

/// The filter of a shared subscription.
pub(crate) fn shared(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/")?.split_once('/').map(|(_, inner)| inner)
}

fn is_readable(readable: &BTreeSet<&'static str>, topic: &str) -> bool {
    topic.split('/').next().is_some_and(|area| readable.contains(area))
}

impl Promises {
    /// What may be read from now on.
    pub(crate) fn put_rules(&mut self, readable: BTreeSet<&'static str>) {
        self.readable = readable;
        for event in &mut self.events {
            if !is_readable(&self.readable, event.sent.topic) {
                event.excuse_all();
                event.was_denied = true;
            }
        }
    }

    /// Whether a subscription is granted: not if it can select only what may not be read.
    fn may_subscribe(&self, filter: &str) -> bool {
        let first = filter.split('/').next().unwrap_or_default();
        matches!(first, "#" | "+") && !self.readable.is_empty() || self.readable.contains(first)
    }

    /// So late it is; what is due happens. Whether the gateway knows what time it is.
    pub(crate) fn pass(&mut self, now: u64) {
        self.time.now = now;
        self.keep();
    }

    /// The gateway has been told what time it is.
    pub(crate) fn confirm(&mut self) {
        self.time.confirm();
    }

    /// There is no room for events from now on, wills among them; or there is again, and what is due happens.
    pub(crate) fn hold(&mut self, holds: bool) {
        (self.holds, self.has_held) = (holds, self.has_held || holds);
        self.keep();
    }

    /// Whether a message at QoS 2 became an event under this identifier.
    pub(crate) fn is_taken(&self, client: usize, id: Option<NonZeroU16>) -> bool {
        id.is_some_and(|id| self.state.taken.contains(&(client, id)))
    }

    /// A message is on its way to the gateway, which has room for it.
    pub(crate) fn publish(&mut self, client: usize, id: Option<NonZeroU16>, sent: &Sent) {
        if sent.qos == Qos::ExactlyOnce
            && let Some(id) = id
            && !self.state.taken.insert((client, id))
        {
            return;
        }
        if sent.payload.is_empty() {
            let before = self.state.retained.remove(sent.topic);
            return self.replace(before);
        }
        let known = self.by_payload.get(&sent.payload).copied();
        let index = known.filter(|index| !self.events[*index].is_lost).unwrap_or(self.events.len());
        if index == self.events.len() {
            self.events.push(Event::new(sent, client));
            self.by_payload.insert(sent.payload.clone(), index);
        }
        if let Some(id) = id {
            self.by_id.insert((client, id), index);
        }
        if sent.retain {
            let before = self.state.retained.insert(sent.topic, index);
            self.replace(before.filter(|before| *before != index));
        }
        let is_readable = is_readable(&self.readable, sent.topic);
        let event = &mut self.events[index];
        event.born.push(self.time.now);
        event.written.push((self.time.now, 0));
        event.before = self.publishes;
        self.publishes += 1;
        event.was_denied |= !is_readable;
        for (client, session) in &self.state.sessions {
            event.meet(*client, &session.filters, is_readable);
        }
    }

    /// Another message is retained in place of this one: who has not got it yet never does.
    fn replace(&mut self, retained: Option<usize>) {
        if let Some(event) = retained.map(|index| &mut self.events[index]) {
            event.shares.values_mut().for_each(|share| share.kept.is_owed = false);
        }
    }

    /// A publish was acknowledged.
    pub(crate) fn acknowledge(&self, client: usize, id: NonZeroU16) -> Result<()> {
        let Some(index) = self.by_id.get(&(client, id)) else { return Ok(()) };
        let payload = &self.events[*index].sent.payload;
        ensure!(*index < self.durable_events, "{payload} is not durable");
        Ok(())
    }

    /// A client asks for a subscription: the answer.
    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        (filter, wanted): (&'static str, Subscription),
    ) -> u8 {
        let selected = shared(filter).unwrap_or(filter);
        if !self.may_subscribe(selected) {
            return 0x87;
        }
        let session = self.state.sessions.entry(client).or_default();
        let before = session.filters.insert(filter, wanted);
        for event in self.events.iter_mut().filter(|event| selects(selected, event.sent.topic)) {
            let is_pending = event.before >= self.durable_publishes;
            if shared(filter).is_some() {
                event.join(filter, (client, wanted), is_pending, before.is_none());
            } else {
                event.change((client, filter), (wanted, before), is_pending);
            }
        }
        let wants_kept = match wanted.handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => before.is_none(),
            RetainHandling::DoNotSend => false,
        };
        if wants_kept && shared(filter).is_none() {
            self.promise_kept(client, (filter, wanted));
        }
        wanted.qos as u8
    }

    fn promise_kept(&mut self, client: usize, (filter, wanted): (&str, Subscription)) {
        let (now, durable) = (&self.state.retained, &self.durable.retained);
        let before = durable.iter().filter(|(topic, index)| now.get(*topic) != Some(*index));
        for (topic, index) in now.iter().chain(before) {
            let event = &mut self.events[*index];
            if event.is_for(client, filter, wanted) {
                let qos = event.sent.qos.min(wanted.qos);
                let share = event.shares.entry(client).or_default();
                share.widen(qos);
                share.kept.most += 1;
                share.kept.names.insert(wanted.name);
                let is_last = now.get(topic) == Some(index);
                let comes = is_last && qos > Qos::AtMostOnce && is_readable(&self.readable, topic);
                // What is not durable yet comes as it comes, once it is.
                share.kept.is_owed |= comes && durable.get(topic) == Some(index);
            }
        }
    }

    /// A client ends a subscription.
    pub(crate) fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let session = self.state.sessions.get_mut(&client);
        if session.and_then(|session| session.filters.remove(filter)).is_some() {
            let selected = shared(filter).unwrap_or(filter);
            for event in self.events.iter_mut().filter(|event| selects(selected, event.sent.topic))
            {
                event.excuse(client, Some(filter));
            }
        }
    }

    /// All that was processed so far is durable.
    pub(crate) fn commit(&mut self) {
        if self.publishes > self.durable_publishes {
            self.time.write();
        }
        if core::mem::take(&mut self.has_held) {
            let (from, events) = (self.durable_publishes, self.durable_events);
            for (index, event) in self.events.iter_mut().enumerate() {
                if event.before >= from {
                    event.note_waited(self.time.now, index < events);
                }
            }
        }
        self.durable = self.state.clone();
        self.durable_events = self.events.len();
        self.durable_publishes = self.publishes;
    }

    /// The gateway is gone, with all that was not committed, and is there again `now`. Whether it knows
    /// then what time it is.
    pub(crate) fn crash(&mut self, now: u64, is_known: bool) {
        self.state = self.durable.clone();
        (self.holds, self.has_held) = (false, false);
        for event in self.events.iter_mut().skip(self.durable_events) {
            event.is_lost = true;
            event.excuse_all();
        }
        // It was published again, and that is lost: what it was owed for then is not known.
        let (from, again) = (self.durable_publishes, &mut self.events[..self.durable_events]);
        again.iter_mut().filter(|event| event.before >= from).for_each(Event::excuse_all);
        self.events.iter_mut().for_each(|event| event.has_crashed = true);
        self.durable_events = self.events.len();
        self.durable_publishes = self.publishes;
        self.time.restart(now, is_known);
        self.fail();
    }

    /// A message has come to a client.
    pub(crate) fn hear(&mut self, client: usize, heard: &Heard) -> Result<bool> {
        let payload = &heard.payload;
        if payload.is_empty() {
            return Ok(false);
        }
        let index = *self.by_payload.get(payload).context("it was never published")?;
        let event = &mut self.events[index];
        ensure!(!event.is_lost && index < self.durable_events, "{payload} is not durable");
        let (topic, qos) = (event.sent.topic, heard.qos as u8);
        ensure!(is_readable(&self.readable, topic), "{payload} on {topic} may not be read");
        let is_first = event.take(client, heard, &self.time)?;
        let is_shared = event.groups.values().any(|group| group.members.contains_key(&client));
        if is_first && !is_shared && !event.may_be_late(client) {
            let before = self.newest.insert((client, event.publisher, topic, qos), index);
            ensure!(
                before.is_none_or(|before| before < index),
                "{payload} comes behind {before:?}"
            );
        }
        Ok(is_shared)
    }

    /// Everybody has come and has answered everything: what is missing?
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.events.iter_mut().try_for_each(|event| event.finish(&self.time))
    }
}
