//! Sessions and wills: how long they last, and when they are due.

use std::collections::{BTreeMap, BTreeSet};

use tributary_core::record::Qos;

use super::{Promises, Subscription, Trace};
use crate::client::Sent;

/// What the gateway knows of a client.
#[derive(Clone, Default)]
pub(super) struct Session {
    pub(super) filters: BTreeMap<&'static str, Subscription>,
    /// Seconds for which it outlives its connection; `u32::MAX`: for ever.
    expiry_s: u32,
    /// When its connection was lost, if it was.
    left: Option<u64>,
}

/// A will as its client has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) sent: Sent,
    pub(crate) delay_s: u32,
}

#[derive(Clone)]
pub(super) struct PendingWill {
    will: Will,
    /// When it is to be published; nothing as long as its client is there.
    due: Option<u64>,
}

impl Session {
    /// When it ends.
    fn end(&self) -> Option<u64> {
        let left = self.left.filter(|_| self.expiry_s != u32::MAX)?;
        Some(left + u64::from(self.expiry_s) * 1_000)
    }
}

impl Promises {
    /// A client connects. Whether there is a session for it.
    pub(crate) fn connect(
        &mut self,
        (client, is_clean): (usize, bool),
        (expiry_s, will): (u32, Option<Will>),
    ) -> bool {
        // With the session ends the wait of its will.
        if is_clean && let Some(before) = self.state.wills.get_mut(&client) {
            before.due = Some(self.time.now);
        }
        self.keep();
        // What it left behind comes before what it begins, and does not wait for room.
        self.publish_due(|whose| whose == client);
        let present = self.state.sessions.contains_key(&client) && !is_clean;
        if !present {
            self.end_session(client);
        }
        let session = self.state.sessions.entry(client).or_default();
        (session.expiry_s, session.left) = (expiry_s, None);
        let before = match will {
            Some(will) => self.state.wills.insert(client, PendingWill { will, due: None }),
            None => self.state.wills.remove(&client),
        };
        // Who comes in time has no will.
        self.wills.1 += u64::from(before.is_some());
        present
    }

    /// A client's connection is gone. Whether it took its leave.
    pub(crate) fn lose(&mut self, client: usize, took_leave: bool) {
        if took_leave {
            self.wills.1 += u64::from(self.state.wills.remove(&client).is_some());
        }
        self.part(client);
        self.keep();
    }

    fn part(&mut self, client: usize) {
        for event in &mut self.events {
            if let Some(share) = event.shares.get_mut(&client) {
                share.may_repeat = true;
            }
            let groups = event.groups.values_mut();
            for group in groups.filter(|group| group.members.contains_key(&client)) {
                (group.may_repeat, group.trace) = (true, group.trace.max(Trace::Fading));
            }
        }
        let now = self.time.now;
        let Some(session) = self.state.sessions.get_mut(&client) else { return };
        if session.left.is_some() {
            return;
        }
        session.left = Some(now);
        if let Some(will) = self.state.wills.get_mut(&client) {
            let wait_s = will.will.delay_s.min(session.expiry_s);
            will.due = Some(now + u64::from(wait_s) * 1_000);
        }
    }

    /// What is due happens: sessions end, wills are published.
    pub(super) fn keep(&mut self) {
        let now = self.time.now;
        let ended = |session: &Session| session.end().is_some_and(|end| end <= now);
        let over = self.state.sessions.iter().filter(|(_, session)| ended(session));
        let over: Vec<usize> = over.map(|(client, _)| *client).collect();
        for client in over {
            self.end_session(client);
        }
        if !self.holds {
            self.publish_due(|_| true);
        }
    }

    fn publish_due(&mut self, is_meant: impl Fn(usize) -> bool) {
        let now = self.time.now;
        let is_due = |will: &PendingWill| will.due.is_some_and(|due| due <= now);
        let due = self.state.wills.iter().filter(|(_, will)| is_due(will));
        let due = due.map(|(client, _)| *client).filter(|client| is_meant(*client));
        for client in due.collect::<Vec<_>>() {
            if let Some(PendingWill { will, .. }) = self.state.wills.remove(&client) {
                self.wills.0 += 1;
                self.publish(client, None, &will.sent);
            }
        }
    }

    fn end_session(&mut self, client: usize) {
        self.state.sessions.remove(&client);
        self.state.taken.retain(|(other, _)| *other != client);
        self.events.iter_mut().for_each(|event| event.excuse(client, None));
    }

    /// The gateway has failed: who was there is not any more.
    pub(super) fn fail(&mut self) {
        // Of a session that does not last, or has ended, nothing is known.
        let lasts = |client: &usize| {
            self.state.sessions.get(client).is_some_and(|session| session.expiry_s > 0)
        };
        for group in self.events.iter_mut().flat_map(|event| event.groups.values_mut()) {
            let all_last = group.members.keys().all(lasts);
            if !all_last || group.trace == Trace::Fading {
                group.trace = Trace::Lost;
            }
            // What one of them would get at QoS 2 is not dealt again.
            group.is_owed &= group.qos == Qos::AtLeastOnce && !group.is_mixed && all_last;
        }
        let known = self.events.iter().flat_map(|event| event.shares.keys());
        let clients: BTreeSet<usize> = self.state.sessions.keys().chain(known).copied().collect();
        for client in clients {
            self.part(client);
        }
        self.keep();
    }
}
