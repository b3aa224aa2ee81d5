//! Time off that is counted late, when the clock is known at last.

use std::collections::BTreeSet;

use tributary_core::time::Age;

use super::{Hub, Key};
use crate::runtime::clock::Outage;

impl Hub {
    /// When time off was added to the age clock in the middle of this run: who left in this run
    /// left behind it, so that no session ends and no will is published before its time. The log
    /// knows by the anchor, so the next run does, too.
    pub fn count_time_off(&self, outage: &Outage) {
        let Outage { from, until, ms } = *outage;
        let mut members = self.lock();
        if members.off_counted {
            return;
        }
        members.off_counted = true;
        let later = |age: Age| Age(age.0.saturating_add(ms));
        let left = |age: Option<Age>| age.filter(|age| (from..=until).contains(&age.0));
        let sessions = members.sessions.iter();
        let moved: BTreeSet<Key> = sessions
            .filter(|(_, client)| left(client.left).is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in moved {
            let Some(client) = members.sessions.get_mut(&key) else { continue };
            let Some(left) = client.left.map(later) else { continue };
            client.left = Some(left);
            client.will_due = client.will_due.map(later);
            let due = client.due();
            members.note_due(key, due);
            members.note_place(key);
        }
        drop(members);
        self.timers.notify_one();
    }
}
