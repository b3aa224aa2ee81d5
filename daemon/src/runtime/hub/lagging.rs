//! Who lags behind, and whose turn it is: to be read for from the log, or to be looked for among retained messages.

use std::sync::Arc;

use tributary_core::Offset;
use tributary_mqtt::session::InFlight;

use super::client::Client;
use super::mailbox::Mailbox;
use super::scanning::LOOKS_MAX;
use super::{Hub, Key, Members, Target};

/// What has to be read from the log for somebody. Who is served may go, and come back, at any moment
/// meanwhile: what was found is for the connection that it was looked for.
#[derive(Clone, Debug)]
pub struct Work {
    pub(super) target: Target,
    /// Of a client: its connection's.
    pub(super) mailbox: Option<Arc<Mailbox>>,
    /// A message that is under way already, or all that comes.
    pub again: Option<InFlight>,
    /// From here on.
    pub from: Offset,
}

/// What the fan-out is to do next beside handing out what becomes durable.
#[derive(Clone, Debug)]
pub enum Next {
    /// To read from the log.
    Read(Work),
    /// To ask again at once: it was looked for retained messages, and that is not over.
    Search,
    /// To wait.
    Wait,
}

impl Hub {
    /// What to do next for those who lag behind, one after the other; the log can be read up to `end`.
    pub fn next_work(&self, end: Offset) -> Next {
        let mut members = self.lock();
        let mut looks = LOOKS_MAX;
        let from = members.served;
        let behind = members.lagging.iter().filter(|target| Some(**target) > from);
        let before = members.lagging.iter().filter(|target| Some(**target) <= from);
        let targets: Vec<Target> = behind.chain(before).copied().collect();
        for target in targets {
            let work = members.work_for(target, end, &mut looks);
            if work.is_some() || looks == 0 {
                members.served = Some(target);
                return work.map_or(Next::Search, Next::Read);
            }
        }
        Next::Wait
    }

    /// Whether anybody waits for what becomes durable from `end` on: as it comes, or because its place is where
    /// events are that are not durable yet.
    pub fn is_awaited(&self, end: Offset) -> bool {
        let members = self.lock();
        let lag_of = |target: &Target| match target {
            Target::Client(key) => members.sessions.get(key)?.lag,
            Target::Group(id) => members.groups.get(id)?.lag,
        };
        members.live > 0 || members.lagging.iter().filter_map(lag_of).any(|from| from > end)
    }
}

impl Members {
    /// The client for whom something was looked for, while it has the connection that it had then, and is due the
    /// same.
    pub(super) fn served_by<'w>(&mut self, work: &'w Work) -> Option<(&mut Client, &'w Mailbox)> {
        let (Target::Client(key), Some(mailbox)) = (work.target, &work.mailbox) else {
            return None;
        };
        let client = self.sessions.get_mut(&key)?;
        let has_it = client.connection.as_ref().is_some_and(|c| Arc::ptr_eq(&c.mailbox, mailbox));
        let is_due = work.again.is_none_or(|entry| client.resend.front() == Some(&entry));
        (has_it && is_due).then_some((&mut **client, &**mailbox))
    }

    fn work_for(&mut self, target: Target, end: Offset, looks: &mut usize) -> Option<Work> {
        match target {
            Target::Client(key) => {
                self.serve_scans(key, looks);
                let client = self.sessions.get_mut(&key);
                let Some((client, mailbox)) = client.and_then(|client| {
                    let mailbox = Arc::clone(&client.connection.as_ref()?.mailbox);
                    Some((client, mailbox))
                }) else {
                    self.lagging.remove(&target);
                    return None;
                };
                if !mailbox.is_empty() {
                    return None;
                }
                if let Some(entry) = client.resend.front() {
                    let (again, from) = (Some(*entry), entry.offset);
                    return Some(Work { target, mailbox: Some(mailbox), again, from });
                }
                if !client.left_over.is_empty() {
                    client.serve_left_over();
                    return None;
                }
                if let Some(from) = client.lag {
                    return (from <= end).then_some(Work {
                        target,
                        mailbox: Some(mailbox),
                        again: None,
                        from,
                    });
                }
                if client.scans.is_empty() {
                    self.lagging.remove(&target);
                    if let Some(client) = self.sessions.get(&key) {
                        self.settle_more(client);
                    }
                }
                None
            }
            Target::Group(id) => {
                let Some(group) = self.groups.get(&id) else {
                    self.lagging.remove(&target);
                    return None;
                };
                let from = group.lag.filter(|from| *from <= end)?;
                let free = |key: &Key| {
                    self.sessions.get(key).is_some_and(|client| {
                        client.lag.is_none()
                            && client.connection.as_ref().is_some_and(|c| c.mailbox.is_empty())
                    })
                };
                let any = group
                    .members
                    .iter()
                    .any(|(key, wanted)| group.may_take(*wanted, from) && free(key));
                any.then_some(Work { target, mailbox: None, again: None, from })
            }
        }
    }

    /// A client says when it has room, as long as something waits for it, or for a group of which it is a member.
    pub(super) fn settle_more(&self, client: &Client) {
        if let Some(connection) = &client.connection {
            let mut groups = client.filters.keys().filter_map(|filter| self.group_of(filter));
            let waits = client.is_behind() || groups.any(|group| group.lag.is_some());
            connection.mailbox.set_more(waits);
        }
    }
}
