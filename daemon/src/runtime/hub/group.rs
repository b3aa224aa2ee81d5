//! Shared subscriptions (MQTT 5.0, 4.8.2): of each message one member gets one copy.

use tributary_core::Offset;
use tributary_mqtt::subscriptions::Subscription;

use super::Key;

/// Those who share a filter under a name.
#[derive(Debug)]
pub(super) struct Group {
    /// The filter without its prefix.
    pub(super) filter: Box<str>,
    pub(super) members: Vec<(Key, Subscription)>,
    /// Who is next.
    pub(super) turn: usize,
    /// Messages from here on wait in the log: nobody could take them.
    pub(super) lag: Option<Offset>,
    /// Messages below were dealt by an opening before: at QoS 2 they are not dealt again.
    pub(super) dealt_before: Offset,
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

    pub(super) fn join(&mut self, key: Key, wanted: Subscription) {
        match self.members.iter_mut().find(|(other, _)| *other == key) {
            Some(member) => member.1 = wanted,
            None => self.members.push((key, wanted)),
        }
    }

    /// Whether it was a member.
    pub(super) fn part(&mut self, key: Key) -> bool {
        let count = self.members.len();
        self.members.retain(|(other, _)| *other != key);
        self.turn = 0;
        count != self.members.len()
    }
}

/// Name and filter of `$share/<name>/<filter>`.
pub(super) fn split(filter: &str) -> Option<(&str, &str)> {
    let (name, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    let valid = !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty();
    valid.then_some((name, filter))
}
