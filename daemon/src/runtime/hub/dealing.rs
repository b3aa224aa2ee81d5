//! Shared subscriptions: a message goes to the member whose turn it is, or waits in the log.

use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_core::time::Age;
use tributary_mqtt::subscriptions::Grant;

use super::mailbox::{Message, Outgoing};
use super::{Key, Members, Target};

impl Members {
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
        let message = Arc::new(Message::of(event, offset, age));
        self.put_shared(key, &message, &late)
            || !late.is_empty() && self.put_shared(key, &message, &[])
    }

    /// Gives a message to the member of a group whose turn it is, but not to those who may not
    /// read it. Whether somebody took it.
    pub(super) fn put_shared(&mut self, id: Key, message: &Arc<Message>, denied: &[Key]) -> bool {
        let Some(group) = self.groups.get_mut(&id) else { return true };
        let mut taken = None;
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
            let denied = denied.into();
            if connection.mailbox.put(Outgoing { group: Some(id), denied, ..outgoing }) {
                client.figures.delivered += 1;
                taken = Some(index);
                break;
            }
        }
        if let Some(index) = taken {
            group.turn = (index + 1) % group.members.len();
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
