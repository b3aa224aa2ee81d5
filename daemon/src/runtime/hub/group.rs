//! Shared subscriptions (MQTT 5.0, 4.8.2): of each message one member gets one copy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tributary_core::Offset;
use tributary_core::record::Qos;
use tributary_mqtt::subscriptions::Subscription;

use super::Key;
use super::client::Client;
use crate::runtime::sessions::Change;

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
    /// Of what stands below this, only `again` is still to be dealt: members had it at QoS 1, and their sessions ended.
    pub(super) again_below: Offset,
    pub(super) again: BTreeSet<u64>,
    /// Members that were dealt something that may not have come to them.
    pub(super) owing: BTreeMap<Key, Owing>,
    /// The log knows that all below is dealt with; `None`: no session that lasts was a member, it need not know.
    pub(super) noted: Option<Offset>,
    /// Something was dealt since that was noted.
    pub(super) has_dealt: bool,
}

/// What a member was dealt that may not have come to it.
#[derive(Debug)]
pub(super) struct Owing {
    /// Nothing of it is older.
    oldest: Offset,
    /// Places of it: what the member has under way by subscriptions of its own is not among it.
    dealt: BTreeSet<u64>,
}

/// Of what a member was dealt and acknowledges late, so much is remembered, the newest.
const DEALT_MAX: usize = 4_096;

impl Group {
    /// Nobody is a member yet.
    pub(super) const fn new(shared: Box<str>, filter: Box<str>) -> Self {
        Self {
            shared,
            filter,
            members: Vec::new(),
            turn: 0,
            lag: None,
            dealt_before: Offset(0),
            had: BTreeSet::new(),
            again_below: Offset(0),
            again: BTreeSet::new(),
            owing: BTreeMap::new(),
            noted: None,
            has_dealt: false,
        }
    }

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

    /// Whether somebody has had this message as a member.
    pub(super) fn has_had(&self, offset: Offset, sessions: &HashMap<Key, Box<Client>>) -> bool {
        let has_had = |(key, _): &(Key, Subscription)| {
            sessions.get(key).is_some_and(|client| {
                let was_member = self.since(client).is_some_and(|since| since <= offset);
                was_member && client.has_had(offset)
            })
        };
        self.had.contains(&offset.0) || self.members.iter().any(has_had)
    }

    /// The session of a member has ended, which had not acknowledged these: others get what of it was dealt to it (MQTT
    /// 5.0, 4.8.2). `position` is where the fan-out is. Whether there is something.
    pub(super) fn deal_again(
        &mut self,
        key: Key,
        unacked: &BTreeSet<u64>,
        position: Offset,
    ) -> bool {
        let Some(owing) = self.owing.get(&key) else { return false };
        let mut dealt = unacked.intersection(&owing.dealt).peekable();
        let Some(oldest) = dealt.peek().copied().filter(|_| self.members.len() > 1) else {
            return false;
        };
        let lag = self.lag.unwrap_or(position);
        self.lag = Some(lag.min(Offset(*oldest)));
        self.again_below = self.again_below.max(lag);
        self.again.extend(dealt);
        true
    }

    /// Whether a message was dealt before: at QoS 0 it is not for anybody, since it may have come to one of them.
    pub(super) fn is_again(&self, offset: Offset) -> bool {
        offset < self.again_below
    }

    /// Whether a message was dealt, and is not to be dealt again.
    pub(super) fn passes_over(&self, offset: Offset) -> bool {
        self.is_again(offset) && !self.again.contains(&offset.0)
    }

    /// Whether a member may be dealt what waits at `from`. At QoS 0 it is not, what others had before, as long as there is
    /// anybody who wants more: reading it for this one would come to nothing, again and again.
    pub(super) fn may_take(&self, wanted: Subscription, from: Offset) -> bool {
        let wants_more = |it: Subscription| it.options.qos != Qos::AtMostOnce;
        !self.again.contains(&from.0)
            || wants_more(wanted)
            || !self.members.iter().any(|(_, other)| wants_more(*other))
    }

    /// Whether an opening before may have dealt a message to somebody who gets it once.
    pub(super) fn may_have_dealt(&self, (offset, qos): (Offset, Qos)) -> bool {
        let at_qos_2 =
            |(_, wanted): &(Key, Subscription)| wanted.options.qos.min(qos) == Qos::ExactlyOnce;
        offset < self.dealt_before && self.members.iter().any(at_qos_2)
    }

    /// Members for whom it is too late: at QoS 0 a message is for those who were there when it came, and it may have
    /// come to them before a restart.
    pub(super) fn late(
        &self,
        (offset, qos): (Offset, Qos),
        sessions: &HashMap<Key, Box<Client>>,
    ) -> Vec<Key> {
        let is_new = !self.is_again(offset);
        let is_here =
            |client: &Client| is_new && client.is_connected() && offset >= client.away_until;
        let is_late = |(key, wanted): &&(Key, Subscription)| {
            wanted.options.qos.min(qos) == Qos::AtMostOnce
                && !sessions.get(key).is_some_and(|client| is_here(client))
        };
        self.members.iter().filter(is_late).map(|(key, _)| *key).collect()
    }

    pub(super) fn join(&mut self, key: Key, wanted: Subscription) {
        match self.members.iter_mut().find(|(other, _)| *other == key) {
            Some(member) => member.1 = wanted,
            None => self.members.push((key, wanted)),
        }
    }

    /// A member was dealt a message that is to come to it.
    pub(super) fn owe(&mut self, key: Key, offset: Offset) {
        self.has_dealt = true;
        let nothing = Owing { oldest: offset, dealt: BTreeSet::new() };
        let owing = self.owing.entry(key).or_insert(nothing);
        owing.oldest = offset.min(owing.oldest);
        owing.dealt.insert(offset.0);
        if owing.dealt.len() > DEALT_MAX {
            owing.dealt.pop_first();
        }
    }

    /// All that a member was dealt has come to it, but perhaps for what is not older than `unacked`.
    pub(super) fn settle(&mut self, key: Key, unacked: Option<Offset>) {
        let Some(owing) = self.owing.get_mut(&key) else { return };
        match unacked {
            // It may be one of its own.
            Some(unacked) => {
                owing.oldest = unacked.max(owing.oldest);
                owing.dealt = owing.dealt.split_off(&unacked.0);
            }
            None => drop(self.owing.remove(&key)),
        }
    }

    /// All below is dealt with; `position` is where the fan-out is.
    fn place(&self, position: Offset) -> Offset {
        let places = self.owing.values().map(|owing| owing.oldest).chain(self.lag);
        places.min().unwrap_or(position)
    }

    /// What the log is to know of its place, at any rate.
    pub(super) fn tell(&mut self, position: Offset) -> Change<'static> {
        let place = self.place(position);
        self.noted = Some(place);
        self.has_dealt = !self.owing.is_empty();
        Change::Dealt { cursor: place.0 }
    }

    /// The same, if something was dealt, or it has moved on by `stale` events without.
    pub(super) fn tell_news(&mut self, position: Offset, stale: u64) -> Option<Change<'static>> {
        let beyond = self.place(position).0.saturating_sub(self.noted?.0);
        (beyond > 0 && (self.has_dealt || beyond >= stale)).then(|| self.tell(position))
    }

    /// Where it goes on after a start, if the log has `known` that, and who was `present` when the run before
    /// ended.
    pub(super) fn go_on(
        &mut self,
        known: Option<Offset>,
        present: &BTreeSet<Key>,
        sessions: &HashMap<Key, Box<Client>>,
    ) {
        // Nothing is for it from before it was one.
        let place = |key: &Key| {
            let client = sessions.get(key)?;
            Some(client.lag?.max(self.since(client)?))
        };
        let (here, away): (Vec<Key>, Vec<Key>) =
            self.members.iter().map(|(key, _)| *key).partition(|key| present.contains(key));
        // Versions before did not tell. What a member had that was here may not have been acknowledged; nothing
        // was dealt to those who had left before.
        let unsure = here.iter().filter_map(place).min();
        let furthest = here.iter().chain(&away).filter_map(place).max();
        let lag = known.or(unsure).or(furthest);
        let dealt_before = furthest.unwrap_or_default();
        (self.lag, self.dealt_before) = (lag, dealt_before);
        // What it passes over then is news.
        self.has_dealt = lag.is_some_and(|lag| lag < dealt_before);
        self.noted = known;
    }

    /// A member leaves it, which had these at QoS 2.
    pub(super) fn part(&mut self, key: Key, had: impl Iterator<Item = Offset>) {
        self.members.retain(|(other, _)| *other != key);
        self.owing.remove(&key);
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
