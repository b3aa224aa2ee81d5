//! From the log to the clients: as events become durable, and for those who lag behind.

use std::sync::Arc;

use core::ops::Range;

use tributary_core::Offset;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Age;
use tributary_mqtt::subscriptions::Grant;

use super::lagging::Work;
use super::mailbox::{Message, Outgoing};
use super::{Counters, Hub, Key, Members, Target};

impl Hub {
    /// Resolves when there may be work beside what becomes durable.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// If anybody gets events as they come: where the fan-out has to go on, if not where it is.
    pub fn listened_from(&self) -> Option<Option<Offset>> {
        let mut members = self.lock();
        (members.live > 0).then(|| members.heard_from.take())
    }

    /// Hands out a durable event to all who get them as they come.
    pub fn distribute(&self, offset: Offset, event: &Event<'_>, age: Age) {
        let mut members = self.lock();
        if members.is_read_anew() {
            return;
        }
        members.position = offset.plus(1);
        members.distribute(offset, event, age, &self.counters);
    }

    /// The fan-out has come to this place.
    pub fn set_position(&self, position: Offset) {
        let mut members = self.lock();
        if members.is_read_anew() {
            return;
        }
        members.position = position;
        members.hold_groups(position);
    }

    /// A message that is under way already was found, or is not there any more.
    pub fn send_again(&self, work: &Work, found: Option<(&Event<'_>, Age)>) {
        let Some(entry) = work.again else { return };
        let mut members = self.lock();
        if members.served_by(work).is_none() {
            return;
        }
        let message = match found {
            Some((event, age)) => Some(Arc::new(Message::of(event, entry.offset, age))),
            // That looks at every retained message.
            None => members.retained.find(entry.offset).cloned(),
        };
        let Some((client, mailbox)) = members.served_by(work) else { return };
        let share = message.as_ref().map(|message| client.share_again(&entry, &message.event()));
        if share.is_none() {
            client.figures.dropped += 1;
            Self::count(&self.counters.missed, 1);
        }
        let mut outgoing = Outgoing::again(message, share);
        outgoing.again = Some(entry.packet_id);
        outgoing.retained = entry.retained;
        if mailbox.put(outgoing) {
            client.resend.pop_front();
        }
    }

    /// An event for somebody who lags behind. `false`: there is no room for it, or nobody any more.
    pub fn catch_up(&self, work: &Work, offset: Offset, event: &Event<'_>, age: Age) -> bool {
        let mut members = self.lock();
        match work.target {
            Target::Group(group) => members.catch_group_up(group, offset, event, age),
            Target::Client(_) => {
                let Some((client, mailbox)) = members.served_by(work) else { return false };
                let Some(share) = client.share_of(offset, event) else { return true };
                let message = Arc::new(Message::of(event, offset, age));
                let grant = Grant {
                    qos: share.qos,
                    retain_as_published: share.retain_as_published,
                    identifiers: &share.identifiers,
                };
                if !mailbox.put(Outgoing::new(message, grant)) {
                    return false;
                }
                // Should it go now, what waits in its mailbox and what is behind are still its due.
                client.lag = Some(offset.plus(1));
                client.figures.delivered += 1;
                Self::count(&self.counters.delivered, 1);
                true
            }
        }
    }

    /// The client `name` may not read what was dealt to it as a member of a group: another gets
    /// it. If none may, or none has room, it is dropped and counted.
    pub fn deal_again(&self, outgoing: &Outgoing, name: &str) {
        let (Some(group), Some(message)) = (outgoing.group, &outgoing.message) else { return };
        let mut members = self.lock();
        let denied: Vec<Key> =
            outgoing.denied.iter().copied().chain(members.key_of(name)).collect();
        if !members.put_shared(group, message, &denied) {
            Self::count(&self.counters.dropped, 1);
        }
    }

    /// Somebody who lags behind was served up to `next`. `end` is the durable end; who has come to
    /// where the fan-out is gets events as they come from now on.
    pub fn caught_up(&self, work: &Work, next: Offset, end: Offset) {
        let mut members = self.lock();
        let goal = if members.live > 0 { members.position } else { end };
        // Who has read further than the fan-out waits for it: else it would get the same once more.
        let mut lag = (next != goal).then_some(next);
        match work.target {
            Target::Group(group) => {
                // While nobody is live the fan-out reads for nobody.
                lag = lag.or_else(|| (members.live == 0).then_some(next));
                if let Some(group) = members.groups.get_mut(&group) {
                    group.lag = lag;
                    group.had = group.had.split_off(&next.0);
                    group.again = group.again.split_off(&next.0);
                }
                members.ask_members(group);
            }
            Target::Client(key) => {
                if members.served_by(work).is_none() {
                    return;
                }
                let was_silent = members.live == 0;
                members.with_client(key, |client| client.lag = lag);
                if was_silent && members.live > 0 {
                    members.position = end;
                    members.heard_from = Some(end);
                }
            }
        }
        if lag.is_none() && !members.is_searching(work.target) {
            members.lagging.remove(&work.target);
            if let Target::Client(key) = work.target
                && let Some(client) = members.sessions.get(&key)
            {
                members.settle_more(client);
            }
        }
    }

    /// Events that somebody wanted are not there any more, but for those that were `kept` elsewhere.
    pub fn note_missed(&self, work: &Work, range: &Range<Offset>, kept: u64) {
        let count = range.end.0.saturating_sub(range.start.0).saturating_sub(kept);
        if count == 0 {
            return;
        }
        if let Target::Client(_) = work.target {
            let mut members = self.lock();
            let Some((client, _)) = members.served_by(work) else { return };
            let (name, first) = (&*client.name, range.start.0);
            tracing::warn!(
                client = name,
                first,
                count,
                "events left the log before this client's session had read them"
            );
            client.figures.dropped += count;
            client.lag = Some(range.end);
        }
        Self::count(&self.counters.missed, count);
    }

    /// Events are not there any more when those who get them as they come are to have them. Which
    /// of them a subscription would have selected nobody knows: each that held counts them all. How many
    /// that makes.
    pub fn note_missed_live(&self, range: &Range<Offset>) -> u64 {
        let mut missed = 0;
        let mut members = self.lock();
        if range.is_empty() || members.is_read_anew() {
            return missed;
        }
        for client in members.sessions.values_mut().filter(|client| client.is_live()) {
            let since = client.filters.values().map(|entry| entry.since).min();
            let first = range.start.max(since.unwrap_or(range.end));
            let count = range.end.0.saturating_sub(first.0);
            client.figures.dropped += count;
            missed += count;
        }
        drop(members);
        Self::count(&self.counters.missed, missed);
        missed
    }
}

impl Members {
    fn distribute(&mut self, offset: Offset, event: &Event<'_>, age: Age, counters: &Counters) {
        let mut shared: Option<Arc<Message>> = None;
        let mut groups: Vec<Key> = Vec::new();
        let Self { names, sessions, subscriptions, lagging, live, .. } = self;
        // What comes from elsewhere bears a name that may be a client's.
        let publisher = names.get(event.client).filter(|_| event.origin == Origin::Device);
        let publisher = publisher.map(|key| Target::Client(*key));
        subscriptions.for_each_match(event.topic, publisher.as_ref(), |target, grant| {
            let message = shared.get_or_insert_with(|| Arc::new(Message::of(event, offset, age)));
            let key = match target {
                Target::Client(key) => key,
                Target::Group(group) => return groups.push(*group),
            };
            let Some(client) = sessions.get_mut(key).filter(|client| client.is_live()) else {
                return;
            };
            let Some(connection) = &client.connection else { return };
            if connection.mailbox.put(Outgoing::new(Arc::clone(message), grant)) {
                client.figures.delivered += 1;
                Hub::count(&counters.delivered, 1);
            } else if event.qos.min(grant.qos) == Qos::AtMostOnce {
                client.figures.dropped += 1;
                Hub::count(&counters.dropped, 1);
            } else {
                // From here on it reads the log for itself.
                client.lag = Some(offset);
                connection.mailbox.set_more(true);
                lagging.insert(*target);
                *live -= 1;
            }
        });
        let Some(message) = shared else { return };
        for group in groups {
            let is_read = self.groups.get(&group).is_some_and(|group| group.lag.is_some());
            if is_read || self.put_shared(group, &message, &[]) {
                continue;
            }
            if event.origin == Origin::Rule {
                // What the daemon tells of itself is in no log.
                Hub::count(&counters.dropped, 1);
            } else {
                self.hold_group(group, offset);
            }
        }
        // The last of them may just have begun to read for itself.
        self.hold_groups(offset.plus(1));
    }

    /// Hands out a message that is not in the log, at QoS 0.
    pub(super) fn hand_out(&mut self, message: &Message, counters: &Counters) {
        self.distribute(message.offset, &message.event(), message.age, counters);
    }
}
