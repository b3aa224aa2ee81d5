//! Shared subscriptions: a message goes to the member whose turn it is, or waits in the log.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_core::time::Age;
use tributary_mqtt::subscriptions::Grant;

use super::mailbox::{Message, Outgoing};
use super::{Hub, Key, Members, Target};
use crate::runtime::ingest::Desk;

impl Hub {
    /// Tells the log from where on a group deals, before it is told of a member.
    pub fn note_group(&self, filter: &str, desk: &mut Desk<'_>) {
        let mut members = self.lock();
        let position = members.position_at(desk);
        let id = members.group_key(filter);
        if let Some(group) = id.and_then(|id| members.groups.get_mut(&id)) {
            let change = group.tell(position);
            desk.change(&group.shared, &change);
        }
    }
}

impl Members {
    /// Where the fan-out is; while it is for nobody, at the end.
    pub(super) fn position_at(&self, desk: &Desk<'_>) -> Offset {
        if self.live > 0 { self.position } else { desk.next() }
    }

    /// Tells the log how far the groups have come that have dealt something, or that the log moved on without by
    /// `stale` events.
    pub(super) fn note_groups(&mut self, desk: &mut Desk<'_>, stale: u64) {
        let position = self.position_at(desk);
        let Self { groups, sessions, .. } = self;
        // One may be a member of many.
        let mut unacked: HashMap<Key, Option<Offset>> = HashMap::new();
        for group in groups.values_mut() {
            // Their filters may be long.
            if desk.is_crowded() {
                break;
            }
            let owing: Vec<Key> = group.owing.keys().copied().collect();
            for key in owing {
                let look = || sessions.get(&key).and_then(|client| client.oldest_unacked());
                group.settle(key, *unacked.entry(key).or_insert_with(look));
            }
            if let Some(change) = group.tell_news(position, stale) {
                desk.change(&group.shared, &change);
            }
        }
    }

    /// Tells the log how far those groups have come of which a client was a member that has left: should the
    /// daemon end now, they go on there.
    pub(super) fn note_groups_of(&mut self, key: Key, groups: &[Key], desk: &mut Desk<'_>) {
        let position = self.position_at(desk);
        let unacked = self.sessions.get(&key).and_then(|client| client.oldest_unacked());
        for id in groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.settle(key, unacked);
            if let Some(change) = group.tell_news(position, u64::MAX) {
                desk.change(&group.shared, &change);
            }
        }
    }

    /// The groups of which a client is a member.
    pub(super) fn groups_of(&self, key: Key) -> Vec<Key> {
        let filters = self.sessions.get(&key).into_iter().flat_map(|client| client.filters.keys());
        filters.filter_map(|filter| self.group_key(filter)).collect()
    }

    /// The session of a client ends: what it was sent at QoS 1 and has not acknowledged is for those with whom it
    /// shares subscriptions. The log has it.
    pub(super) fn deal_unacked(&mut self, key: Key) {
        let Some(client) = self.sessions.get(&key) else { return };
        let unacked = client.kept.in_flight.iter().filter(|it| !it.exactly_once && !it.retained);
        let unacked: BTreeSet<u64> = unacked.map(|it| it.offset.0).collect();
        if unacked.is_empty() {
            return;
        }
        for id in self.groups_of(key) {
            let (position, group) = (self.position, self.groups.get_mut(&id));
            if group.is_some_and(|group| group.deal_again(key, &unacked, position)) {
                self.lagging.insert(Target::Group(id));
                self.ask_members(id);
            }
        }
    }

    /// An event of the log for a group that lags behind. `false`: no member has room for it.
    pub(super) fn catch_group_up(
        &mut self,
        key: Key,
        offset: Offset,
        event: &Event<'_>,
        age: Age,
    ) -> bool {
        let Some(group) = self.groups.get(&key) else { return true };
        let (sessions, due) = (&self.sessions, (offset, event.qos));
        if !tributary_core::topic::matches(&group.filter, event.topic)
            || group.passes_over(offset)
            || group.has_had(offset, sessions)
            || group.may_have_dealt(due)
        {
            return true;
        }
        // They get it only where others want it more and cannot take it.
        let late = group.late(due, sessions);
        if late.len() == group.members.len() {
            return true;
        }
        let may_be_late = !late.is_empty() && !group.is_again(offset);
        let message = Arc::new(Message::of(event, offset, age));
        self.put_shared(key, &message, &late) || may_be_late && self.put_shared(key, &message, &[])
    }

    /// Gives a message to the member of a group whose turn it is, but not to those who may not
    /// read it. Whether somebody took it.
    pub(super) fn put_shared(&mut self, id: Key, message: &Arc<Message>, denied: &[Key]) -> bool {
        let Some(group) = self.groups.get_mut(&id) else { return true };
        let (mut taken, mut owed) = (None, None);
        for (index, key, wanted) in group.in_turn().filter(|(_, key, _)| !denied.contains(key)) {
            let Some(client) = self.sessions.get_mut(&key) else { continue };
            let Some(connection) = client.connection.as_ref().filter(|_| client.lag.is_none())
            else {
                continue;
            };
            let grant = Grant {
                qos: wanted.options.qos,
                retain_as_published: wanted.options.retain_as_published,
                identifiers: wanted.identifier.as_slice(),
            };
            let outgoing = Outgoing::new(Arc::clone(message), grant);
            let outgoing = Outgoing { group: Some(id), denied: denied.into(), ..outgoing };
            let owed_at = outgoing.owed_at();
            if connection.mailbox.put(outgoing) {
                client.figures.delivered += 1;
                owed = owed_at.map(|offset| (key, offset));
                taken = Some(index);
                break;
            }
        }
        if let Some(index) = taken {
            group.turn = (index + 1) % group.members.len();
        }
        if let Some((key, offset)) = owed {
            group.owe(key, offset);
        }
        taken.is_some()
    }

    /// Nobody can take what comes from `offset` on: it waits in the log.
    pub(super) fn hold_group(&mut self, id: Key, offset: Offset) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.lag = Some(offset);
        self.lagging.insert(Target::Group(id));
        self.ask_members(id);
    }

    /// Something waits for a group, or does not any more: its members say when they have room.
    pub(super) fn ask_members(&self, id: Key) {
        let members = self.groups.get(&id).into_iter().flat_map(|group| &group.members);
        members.filter_map(|(key, _)| self.sessions.get(key)).for_each(|it| self.settle_more(it));
    }
}
