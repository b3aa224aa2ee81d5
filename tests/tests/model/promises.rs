//! What clients are promised: a model that knows topics, subscriptions and what was acknowledged, and nothing of log,
//! mailboxes and cursors.
//!
//! It follows the gateway packet by packet. What was not committed when the gateway crashed never was.

use core::num::NonZeroU16;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::codec::subscribe::RetainHandling;

use crate::client::Sent;

/// First levels of topics, each of which may be readable or not.
pub(crate) const AREAS: [&str; 3] = ["a", "b", "c"];

/// What the gateway knows.
#[derive(Clone, Default)]
struct State {
    sessions: BTreeMap<usize, BTreeMap<&'static str, Qos>>,
    /// By topic, the message that is kept.
    retained: BTreeMap<&'static str, usize>,
    /// QoS 2: what became an event under an identifier.
    taken: BTreeSet<(usize, NonZeroU16)>,
}

/// A message that became an event.
struct Event {
    payload: String,
    topic: &'static str,
    qos: Qos,
    publisher: usize,
    /// How often it did: at QoS 1 a publisher may send again.
    times: u32,
    /// Publishes that were processed before it became one the last time.
    before: usize,
    is_lost: bool,
    /// It could not be read for a while: it may come late.
    was_denied: bool,
    shares: BTreeMap<usize, Share>,
    groups: BTreeMap<&'static str, Group>,
}

/// What an event is for one client, beside shared subscriptions.
struct Share {
    is_own: bool,
    /// It has to come.
    is_owed: bool,
    at: (Qos, Qos),
    /// How often it came, at each quality of service.
    copies: [u32; 3],
    /// At QoS 1 it may come again: a connection was lost since.
    may_repeat: bool,
    kept: Kept,
}

/// What it is for the client as a retained message.
#[derive(Default)]
struct Kept {
    /// How often it may come.
    most: u32,
    is_owed: bool,
    copies: [u32; 3],
}

/// Those who share it.
struct Group {
    members: BTreeSet<usize>,
    is_owed: bool,
    may_repeat: bool,
    qos: Qos,
    trace: Trace,
    copies: u32,
}

/// Whether the gateway knows which member had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trace {
    Kept,
    /// A member has left, perhaps for good: known until a crash.
    Fading,
    /// Its members get it at different qualities of service, or there was a crash.
    Lost,
}

impl Group {
    fn repeats(&self, qos: Qos) -> bool {
        self.may_repeat && (self.trace == Trace::Lost || qos == Qos::AtLeastOnce)
    }
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
}

impl Default for Share {
    fn default() -> Self {
        Self {
            is_own: false,
            is_owed: false,
            at: (Qos::ExactlyOnce, Qos::AtMostOnce),
            copies: [0; 3],
            may_repeat: false,
            kept: Kept::default(),
        }
    }
}

impl Share {
    fn widen(&mut self, qos: Qos) {
        self.at = (self.at.0.min(qos), self.at.1.max(qos));
    }

    fn excuse(&mut self) {
        (self.is_owed, self.kept.is_owed) = (false, false);
    }
}

/// Counts one more copy: how many there were that it has to answer for. Those that came again at QoS 1 do
/// not count for one that does not.
fn count(copies: &mut [u32; 3], qos: Qos) -> u32 {
    let own = &mut copies[usize::from(qos as u8)];
    *own += 1;
    if qos == Qos::AtLeastOnce { copies.iter().sum() } else { *own }
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
fn shared(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/")?.split_once('/').map(|(_, inner)| inner)
}

impl Promises {
    /// What may be read from now on.
    pub(crate) fn put_rules(&mut self, readable: BTreeSet<&'static str>) {
        self.readable = readable;
        for event in &mut self.events {
            if !is_readable(&self.readable, event.topic) {
                event.excuse_all();
                event.was_denied = true;
            }
        }
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        let first = filter.split('/').next().unwrap_or_default();
        self.readable.iter().any(|area| first == "#" || first == "+" || first == *area)
    }

    /// A client comes. Whether there is a session for it.
    pub(crate) fn connect(&mut self, client: usize, clean_start: bool) -> bool {
        let present = self.state.sessions.contains_key(&client) && !clean_start;
        if !present {
            self.end_session(client);
            self.state.sessions.insert(client, BTreeMap::new());
        }
        present
    }

    /// A client's connection is gone.
    pub(crate) fn lose(&mut self, client: usize, lasting: bool) {
        for event in &mut self.events {
            if let Some(share) = event.shares.get_mut(&client) {
                (share.may_repeat, share.kept.is_owed) = (true, false);
            }
            let groups = event.groups.values_mut().filter(|group| group.members.contains(&client));
            for group in groups {
                (group.may_repeat, group.trace) = (true, group.trace.max(Trace::Fading));
            }
        }
        if !lasting {
            self.end_session(client);
        }
    }

    fn end_session(&mut self, client: usize) {
        self.state.sessions.remove(&client);
        self.state.taken.retain(|(other, _)| *other != client);
        self.events.iter_mut().for_each(|event| event.excuse(client, None));
    }

    /// A message is on its way to the gateway.
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
            self.events.push(Event {
                payload: sent.payload.clone(),
                topic: sent.topic,
                qos: sent.qos,
                publisher: client,
                times: 0,
                before: 0,
                is_lost: false,
                was_denied: false,
                shares: BTreeMap::new(),
                groups: BTreeMap::new(),
            });
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
        event.times += 1;
        event.before = self.publishes;
        self.publishes += 1;
        event.was_denied |= !is_readable;
        for (client, filters) in &self.state.sessions {
            event.meet(*client, filters, is_readable);
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
        ensure!(*index < self.durable_events, "{} is not durable", self.events[*index].payload);
        Ok(())
    }

    /// A client asks for a subscription: the answer.
    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        (filter, qos, handling): (&'static str, Qos, RetainHandling),
    ) -> u8 {
        let selected = shared(filter).unwrap_or(filter);
        if !self.may_subscribe(selected) {
            return 0x87;
        }
        let filters = self.state.sessions.entry(client).or_default();
        let is_new = filters.insert(filter, qos).is_none();
        for event in self.events.iter_mut().filter(|event| selects(selected, event.topic)) {
            let is_pending = event.before >= self.durable_publishes;
            if shared(filter).is_some() {
                event.join(filter, (client, qos), is_pending, is_new);
            } else if is_pending || !is_new {
                let share = event.shares.entry(client).or_default();
                share.is_own |= is_pending;
                share.widen(event.qos.min(qos));
                share.is_owed &= event.qos.min(qos) > Qos::AtMostOnce;
            }
        }
        let wanted = match handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && shared(filter).is_none() {
            self.promise_kept(client, (filter, qos));
        }
        qos as u8
    }

    fn promise_kept(&mut self, client: usize, (filter, qos): (&str, Qos)) {
        let (now, durable) = (&self.state.retained, &self.durable.retained);
        let before = durable.iter().filter(|(topic, index)| now.get(*topic) != Some(*index));
        for (topic, index) in now.iter().chain(before) {
            if selects(filter, topic) {
                let event = &mut self.events[*index];
                let qos = event.qos.min(qos);
                let share = event.shares.entry(client).or_default();
                share.widen(qos);
                share.kept.most += 1;
                let is_last = now.get(topic) == Some(index);
                let comes = is_last && qos > Qos::AtMostOnce && is_readable(&self.readable, topic);
                // What is not durable yet comes as it comes, once it is, if nothing ends the connection.
                share.kept.is_owed |= comes && durable.get(topic) == Some(index);
            }
        }
    }

    /// A client ends a subscription.
    pub(crate) fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let known = self.state.sessions.get_mut(&client).and_then(|all| all.remove(filter));
        if known.is_some() {
            let selected = shared(filter).unwrap_or(filter);
            let selected = self.events.iter_mut().filter(|event| selects(selected, event.topic));
            selected.for_each(|event| event.excuse(client, Some(filter)));
        }
    }

    /// All that was processed so far is durable.
    pub(crate) fn commit(&mut self) {
        self.durable = self.state.clone();
        self.durable_events = self.events.len();
        self.durable_publishes = self.publishes;
    }

    /// The gateway is gone, with all that was not committed. `lasting`: whose sessions last.
    pub(crate) fn crash(&mut self, lasting: &[bool]) {
        self.state = self.durable.clone();
        for event in self.events.iter_mut().skip(self.durable_events) {
            event.is_lost = true;
            event.excuse_all();
        }
        // It was published again, and that is lost: what it was owed for then is not known.
        let (from, again) = (self.durable_publishes, &mut self.events[..self.durable_events]);
        again.iter_mut().filter(|event| event.before >= from).for_each(Event::excuse_all);
        self.durable_events = self.events.len();
        self.durable_publishes = self.publishes;
        for group in self.events.iter_mut().flat_map(|event| event.groups.values_mut()) {
            // Of a session that did not last, or had ended, nothing is known.
            let all_last = group.members.iter().all(|client| lasting[*client]);
            if !all_last || group.trace == Trace::Fading {
                group.trace = Trace::Lost;
            }
            // What one of them would get at QoS 2 is not dealt again.
            group.is_owed &= group.qos == Qos::AtLeastOnce && group.trace == Trace::Kept;
        }
        for (client, lasts) in lasting.iter().enumerate() {
            self.lose(client, *lasts);
        }
        self.durable = self.state.clone();
    }

    /// A message has come to a client.
    pub(crate) fn hear(
        &mut self,
        client: usize,
        (payload, qos, retain): (&str, Qos, bool),
    ) -> Result<bool> {
        if payload.is_empty() {
            return Ok(false);
        }
        let index = *self.by_payload.get(payload).context("it was never published")?;
        let event = &mut self.events[index];
        ensure!(!event.is_lost && index < self.durable_events, "{payload} is not durable");
        ensure!(
            is_readable(&self.readable, event.topic),
            "{payload} on {} may not be read",
            event.topic
        );
        let is_first = event.take(client, qos, retain)?;
        let is_shared = event.groups.values().any(|group| group.members.contains(&client));
        if is_first && !is_shared && event.times == 1 && !event.may_be_late(client) {
            let key = (client, event.publisher, event.topic, qos as u8);
            let before = self.newest.insert(key, index);
            ensure!(
                before.is_none_or(|before| before < index),
                "{payload} comes behind {before:?}"
            );
        }
        Ok(is_shared)
    }

    /// Everybody has come and has answered everything: what is missing?
    pub(crate) fn finish(&self) -> Result<()> {
        for event in &self.events {
            for (client, share) in &event.shares {
                let has_kept = share.kept.copies != [0; 3];
                let heard = share.copies != [0; 3] || has_kept;
                let kept = has_kept || !share.kept.is_owed;
                ensure!(
                    (heard || !share.is_owed) && kept,
                    "{} has not come to {client}",
                    event.payload
                );
            }
            for (filter, group) in &event.groups {
                let heard = group.copies > 0 || !group.is_owed;
                ensure!(heard, "{} has come to nobody of {filter}", event.payload);
            }
        }
        Ok(())
    }
}

fn is_readable(readable: &BTreeSet<&'static str>, topic: &str) -> bool {
    topic.split('/').next().is_some_and(|area| readable.contains(area))
}

impl Event {
    /// It could not be read for a while, or is now subscribed to at another quality of service: at QoS 0
    /// it was not for a client that was away.
    fn may_be_late(&self, client: usize) -> bool {
        self.was_denied || self.shares.get(&client).is_some_and(|share| share.at.0 != share.at.1)
    }

    /// It is published while a client has these subscriptions.
    fn meet(&mut self, client: usize, filters: &BTreeMap<&'static str, Qos>, is_readable: bool) {
        let own = filters.iter().filter(|(filter, _)| shared(filter).is_none());
        let own = own.filter(|(filter, _)| selects(filter, self.topic));
        if let Some(qos) = own.map(|(_, qos)| *qos).max() {
            let qos = qos.min(self.qos);
            let share = self.shares.entry(client).or_default();
            share.is_own = true;
            share.is_owed |= is_readable && qos > Qos::AtMostOnce;
            share.widen(qos);
        }
        for (&filter, &qos) in filters {
            if shared(filter).is_some_and(|inner| selects(inner, self.topic)) {
                self.join(filter, (client, qos), false, true);
                if let Some(group) = self.groups.get_mut(filter) {
                    group.is_owed = is_readable && self.qos > Qos::AtMostOnce;
                }
            }
        }
        // One at QoS 0 may be the one whose turn it is, and be away when its message leaves.
        let groups = self.groups.values_mut().filter(|group| group.qos == Qos::AtMostOnce);
        groups.for_each(|group| group.is_owed = false);
    }

    fn join(
        &mut self,
        filter: &'static str,
        (client, qos): (usize, Qos),
        late: bool,
        is_new: bool,
    ) {
        let qos = qos.min(self.qos);
        if self.groups.contains_key(filter) || late || is_new {
            let group = self.groups.entry(filter).or_insert(Group {
                members: BTreeSet::new(),
                is_owed: false,
                may_repeat: false,
                qos,
                trace: Trace::Kept,
                copies: 0,
            });
            group.members.insert(client);
            group.may_repeat |= late;
            if group.qos != qos {
                group.trace = Trace::Lost;
            }
            group.qos = group.qos.min(qos);
            group.is_owed &= qos > Qos::AtMostOnce;
        }
    }

    /// A client's subscription, or its session, has ended.
    fn excuse(&mut self, client: usize, filter: Option<&'static str>) {
        if filter.is_none_or(|filter| shared(filter).is_none())
            && let Some(share) = self.shares.get_mut(&client)
        {
            share.excuse();
            share.widen(Qos::AtMostOnce);
        }
        for (name, group) in &mut self.groups {
            if group.members.contains(&client) && filter.is_none_or(|filter| filter == *name) {
                (group.is_owed, group.trace) = (false, group.trace.max(Trace::Fading));
            }
        }
    }

    fn excuse_all(&mut self) {
        self.shares.values_mut().for_each(Share::excuse);
        self.groups.values_mut().for_each(|group| group.is_owed = false);
    }

    /// It has come to a client. Whether for the first time, and as it came.
    fn take(&mut self, client: usize, qos: Qos, retain: bool) -> Result<bool> {
        let (payload, times) = (self.payload.clone(), self.times);
        let share = self.shares.entry(client).or_default();
        let may_repeat = share.may_repeat && qos == Qos::AtLeastOnce;
        if retain {
            let count = count(&mut share.kept.copies, qos);
            ensure!(
                count <= share.kept.most || may_repeat,
                "{payload} comes {count} times to {client} as kept"
            );
            return Ok(false);
        }
        let copies = count(&mut share.copies, qos);
        let is_first = share.copies.iter().sum::<u32>() == 1;
        let is_own = share.is_own;
        let fits = is_own && share.at.0 <= qos && qos <= share.at.1;
        let groups = self.groups.values_mut().filter(|group| group.members.contains(&client));
        let groups: Vec<&mut Group> = groups.collect();
        ensure!(fits || !groups.is_empty(), "{payload} comes to {client} at {qos:?}");
        let most = (u32::from(is_own) + u32::try_from(groups.len())?) * times;
        let group_repeats = groups.iter().any(|group| group.repeats(qos));
        let repeats = may_repeat || group_repeats;
        ensure!(copies <= most || repeats, "{payload} comes {copies} times to {client} at {qos:?}");
        for group in groups {
            group.copies += 1;
        }
        let all: u32 = self.groups.values().map(|group| group.copies).sum();
        let alone = self.groups.len() == 1 && !self.shares.values().any(|share| share.is_own);
        let fits = !alone || all <= times || group_repeats;
        ensure!(fits, "{payload} comes to more than one of those who share it, at {qos:?}");
        Ok(is_first)
    }
}
