//! Shared subscriptions (MQTT 5.0, 4.8.2): of each message one member gets one copy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tributary_core::Offset;
use tributary_mqtt::subscriptions::Subscription;

use super::Key;
use super::client::Client;

/// Those who share a filter under a name.
#[derive(Debug)]
pub(super) struct Group {
    /// The filter as its members have it.
    pub(super) shared: Box<str>,
    /// The filter without its prefix.
    pub(super) filter: Box<str>,
    pub(super) members: Vec<(Key, Subscription)>,
    /// Who is next.
    pub(super) turn: usize,
    /// Messages from here on wait in the log: nobody could take them.
    pub(super) lag: Option<Offset>,
    /// Messages below were dealt by an opening before: at QoS 2 they are not dealt again.
    pub(super) dealt_before: Offset,
    /// From `lag` on, what members had at QoS 2 that are members no more.
    pub(super) had: BTreeSet<u64>,
}

impl Group {
    /// The members, beginning with the one whose turn it is.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (usize, Key, Subscription)> {
        let count = self.members.len();
        (0..count).map(move |step| {
            let index = (self.turn + step) % count;
            let (key, wanted) = self.members[index];
            (index, key, wanted)
        })
    }

    /// From where on it has a member, if its session is one.
    pub(super) fn since(&self, client: &Client) -> Option<Offset> {
        client.filters.get(&self.shared).map(|entry| entry.since)
    }

    pub(super) fn join(&mut self, key: Key, wanted: Subscription) {
        match self.members.iter_mut().find(|(other, _)| *other == key) {
            Some(member) => member.1 = wanted,
            None => self.members.push((key, wanted)),
        }
    }

    /// A member leaves it, which had these at QoS 2.
    pub(super) fn part(&mut self, key: Key, had: impl Iterator<Item = Offset>) {
        self.members.retain(|(other, _)| *other != key);
        self.turn = 0;
        if let Some(lag) = self.lag {
            self.had.extend(had.filter(|offset| *offset >= lag).map(|offset| offset.0));
        }
    }
}

/// Where the messages begin that wait for those with whom a client shares subscriptions. Until they are
/// dealt the log has to know of them by the members' cursors.
pub(super) fn held_for(
    client: &Client,
    names: &BTreeMap<(Box<str>, Box<str>), Key>,
    groups: &HashMap<Key, Group>,
) -> Option<Offset> {
    let shared = client.filters.keys().filter_map(|filter| split(filter));
    let ids = shared.filter_map(|(name, filter)| names.get(&(name.into(), filter.into())));
    ids.filter_map(|id| groups.get(id)?.lag).min()
}

/// Name and filter of `$share/<name>/<filter>`.
pub(super) fn split(filter: &str) -> Option<(&str, &str)> {
    let (name, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    let valid = !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty();
    valid.then_some((name, filter))
}
