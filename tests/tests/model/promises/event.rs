//! A message that became an event: who gets it, how, and what came of it.

use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use tributary_core::record::Qos;

use super::time::Time;
use super::{Subscription, selects, shared};
use crate::client::{Heard, Sent};

/// Of the time for which something waits for room in a full log no more counts, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// A message that became an event.
pub(super) struct Event {
    pub(super) sent: Sent,
    pub(super) publisher: usize,
    /// When it did: at QoS 1 a publisher may send again.
    pub(super) born: Vec<u64>,
    /// When it was committed, and by how much it may be told older than it is: it may have waited for room.
    pub(super) written: Vec<(u64, u64)>,
    /// Publishes that were processed before it became one the last time.
    pub(super) before: usize,
    pub(super) is_lost: bool,
    /// The gateway has crashed since.
    pub(super) has_crashed: bool,
    /// It could not be read for a while: it may come late.
    pub(super) was_denied: bool,
    pub(super) shares: BTreeMap<usize, Share>,
    pub(super) groups: BTreeMap<&'static str, Group>,
}

/// What an event is for one client.
pub(super) struct Share {
    /// By a subscription that is not shared.
    pub(super) is_own: bool,
    /// It has to come.
    pub(super) is_owed: bool,
    pub(super) at: (Qos, Qos),
    /// How often it came, at each quality of service.
    copies: [u32; 3],
    /// At QoS 1 it may come again: a connection was lost since.
    pub(super) may_repeat: bool,
    comes: Comes,
    pub(super) names: Names,
    pub(super) kept: Kept,
}

/// How its RETAIN may come.
#[derive(Clone, Copy, Default)]
struct Comes {
    /// As it was published.
    as_published: bool,
    /// As 0.
    as_new: bool,
}

/// What a client has called the subscriptions that select an event.
#[derive(Default)]
pub(super) struct Names {
    /// By filter: since it was published.
    must: BTreeMap<&'static str, u32>,
    may: BTreeSet<u32>,
}

/// What it is for the client as a retained message.
#[derive(Default)]
pub(super) struct Kept {
    /// How often it may come.
    pub(super) most: u32,
    pub(super) is_owed: bool,
    copies: [u32; 3],
    /// What the client called the subscriptions for which it may come; 0: nothing.
    pub(super) names: BTreeSet<u32>,
}

/// Those who share it.
pub(super) struct Group {
    /// With what they have called their subscription, now and before; 0: nothing.
    pub(super) members: BTreeMap<usize, BTreeSet<u32>>,
    pub(super) is_owed: bool,
    pub(super) may_repeat: bool,
    pub(super) qos: Qos,
    /// Its members get it at different qualities of service.
    pub(super) is_mixed: bool,
    pub(super) trace: Trace,
    pub(super) copies: u32,
}

/// Whether the gateway knows which member had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trace {
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

impl Default for Share {
    fn default() -> Self {
        Self {
            is_own: false,
            is_owed: false,
            at: (Qos::ExactlyOnce, Qos::AtMostOnce),
            copies: [0; 3],
            may_repeat: false,
            comes: Comes::default(),
            names: Names::default(),
            kept: Kept::default(),
        }
    }
}

impl Share {
    pub(super) fn widen(&mut self, qos: Qos) {
        self.at = (self.at.0.min(qos), self.at.1.max(qos));
    }

    fn excuse(&mut self) {
        (self.is_owed, self.kept.is_owed) = (false, false);
    }

    /// It may come with RETAIN as a subscription has it.
    fn come_by(&mut self, wanted: Subscription) {
        let Subscription { retain_as_published, .. } = wanted;
        self.comes.as_published |= retain_as_published;
        self.comes.as_new |= !retain_as_published;
    }

    /// It has come to the client before.
    fn was_heard(&self) -> bool {
        (self.copies, self.kept.copies) != ([0; 3], [0; 3])
    }
}

impl Names {
    /// These select it as it is published.
    fn meet(&mut self, own: &[(&'static str, Subscription)], is_again: bool) {
        let names: BTreeMap<_, _> = own.iter().map(|(filter, own)| (*filter, own.name)).collect();
        self.may.extend(names.values());
        if is_again {
            self.must.retain(|filter, name| names.get(filter) == Some(name));
        } else {
            self.must = names;
        }
        self.must.retain(|_, name| *name != 0);
    }

    /// A subscription is made, perhaps in the place of another.
    pub(super) fn change(&mut self, filter: &str, name: u32) {
        self.may.insert(name);
        if self.must.get(filter) != Some(&name) {
            self.must.remove(filter);
        }
    }

    /// A subscription is not there any more; without a filter: none is.
    fn part(&mut self, filter: Option<&str>) {
        match filter {
            Some(filter) => drop(self.must.remove(filter)),
            None => self.must.clear(),
        }
    }

    /// Whether an event may come with these.
    fn fits(&self, names: &[u32]) -> bool {
        let count = |wanted: u32| names.iter().filter(|name| **name == wanted).count();
        let wanted = |name: u32| self.must.values().filter(|must| **must == name).count();
        self.must.values().all(|name| count(*name) >= wanted(*name))
            && names.iter().all(|name| self.may.contains(name))
    }
}

/// Counts one more copy: how many there were that it has to answer for. Those that came again at QoS 1 do
/// not count for one that does not.
fn count(copies: &mut [u32; 3], qos: Qos) -> u32 {
    let own = &mut copies[usize::from(qos as u8)];
    *own += 1;
    if qos == Qos::AtLeastOnce { copies.iter().sum() } else { *own }
}

impl Event {
    pub(super) fn new(sent: &Sent, publisher: usize) -> Self {
        Self {
            sent: sent.clone(),
            publisher,
            born: Vec::new(),
            written: Vec::new(),
            before: 0,
            is_lost: false,
            has_crashed: false,
            was_denied: false,
            shares: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    fn times(&self) -> u32 {
        u32::try_from(self.born.len()).unwrap_or(u32::MAX)
    }

    /// Whether a subscription of a client selects it.
    pub(super) fn is_for(&self, client: usize, filter: &str, wanted: Subscription) -> bool {
        let is_local = wanted.no_local && self.publisher == client;
        !is_local && selects(filter, self.sent.topic)
    }

    /// It came more than once, could not be read for a while, or is now subscribed to at another quality of
    /// service: at QoS 0 it was not for a client that was away.
    pub(super) fn may_be_late(&self, client: usize) -> bool {
        let differs = self.shares.get(&client).is_some_and(|share| share.at.0 != share.at.1);
        self.born.len() > 1 || self.was_denied || differs
    }

    /// It is published while a client has these subscriptions.
    pub(super) fn meet(
        &mut self,
        client: usize,
        filters: &BTreeMap<&'static str, Subscription>,
        is_readable: bool,
    ) {
        let own = filters.iter().filter(|(filter, _)| shared(filter).is_none());
        let own: Vec<(&'static str, Subscription)> = own
            .filter(|(filter, wanted)| self.is_for(client, filter, **wanted))
            .map(|(filter, wanted)| (*filter, *wanted))
            .collect();
        if let Some(qos) = own.iter().map(|(_, wanted)| wanted.qos).max() {
            let qos = qos.min(self.sent.qos);
            let share = self.shares.entry(client).or_default();
            share.names.meet(&own, share.is_own);
            for (_, wanted) in &own {
                share.come_by(*wanted);
            }
            share.is_own = true;
            share.is_owed |= is_readable && qos > Qos::AtMostOnce;
            share.widen(qos);
        }
        for (&filter, &wanted) in filters {
            if shared(filter).is_some_and(|inner| selects(inner, self.sent.topic)) {
                self.join(filter, (client, wanted), false, true);
                if let Some(group) = self.groups.get_mut(filter) {
                    group.is_owed = is_readable && self.sent.qos > Qos::AtMostOnce;
                }
            }
        }
        // One at QoS 0 may be the one whose turn it is, and be away when its message leaves.
        let groups = self.groups.values_mut().filter(|group| group.qos == Qos::AtMostOnce);
        groups.for_each(|group| group.is_owed = false);
    }

    pub(super) fn join(
        &mut self,
        filter: &'static str,
        (client, wanted): (usize, Subscription),
        late: bool,
        is_new: bool,
    ) {
        let qos = wanted.qos.min(self.sent.qos);
        if self.groups.contains_key(filter) || late || is_new {
            self.shares.entry(client).or_default().come_by(wanted);
            let group = self.groups.entry(filter).or_insert(Group {
                members: BTreeMap::new(),
                is_owed: false,
                may_repeat: false,
                qos,
                is_mixed: false,
                trace: Trace::Kept,
                copies: 0,
            });
            group.members.entry(client).or_default().insert(wanted.name);
            group.may_repeat |= late;
            if group.qos != qos {
                (group.is_mixed, group.trace) = (true, Trace::Lost);
            }
            group.qos = group.qos.min(qos);
            group.is_owed &= qos > Qos::AtMostOnce;
        }
    }

    /// A subscription that selects it is made, or replaced, after it was published.
    pub(super) fn change(
        &mut self,
        (client, filter): (usize, &'static str),
        (wanted, before): (Subscription, Option<Subscription>),
        is_pending: bool,
    ) {
        let is_local = self.publisher == client;
        let changes = before.is_some_and(|before| before.no_local != wanted.no_local);
        let comes = self.is_for(client, filter, wanted);
        if let Some(share) = self.shares.get_mut(&client) {
            share.names.change(filter, wanted.name);
            share.come_by(wanted);
            // It waits for a subscription, and one in its place does not want it.
            if is_local && changes {
                share.excuse();
                share.names.part(Some(filter));
                share.widen(Qos::AtMostOnce);
            }
        }
        if comes && (is_pending || before.is_some()) {
            let qos = self.sent.qos.min(wanted.qos);
            let share = self.shares.entry(client).or_default();
            share.names.change(filter, wanted.name);
            share.come_by(wanted);
            share.is_own |= is_pending || is_local && changes;
            share.widen(qos);
            share.is_owed &= qos > Qos::AtMostOnce;
        }
    }

    /// A client's subscription, or its session, has ended.
    pub(super) fn excuse(&mut self, client: usize, filter: Option<&'static str>) {
        if let Some(share) = self.shares.get_mut(&client) {
            share.names.part(filter);
            share.comes.as_new = true;
            if filter.is_none_or(|filter| shared(filter).is_none()) {
                share.excuse();
                share.widen(Qos::AtMostOnce);
            }
        }
        for (name, group) in &mut self.groups {
            if let Some(names) = group.members.get_mut(&client)
                && filter.is_none_or(|filter| filter == *name)
            {
                names.insert(0);
                (group.is_owed, group.trace) = (false, group.trace.max(Trace::Fading));
            }
        }
    }

    pub(super) fn excuse_all(&mut self) {
        self.shares.values_mut().for_each(Share::excuse);
        self.groups.values_mut().for_each(|group| group.is_owed = false);
    }

    /// What may be left of its time: seconds, from when it was published the last time and before; nothing
    /// if it does not end.
    fn left_s(&self, time: &Time) -> Option<Vec<RangeInclusive<u32>>> {
        let expiry_s = self.sent.expiry_s?;
        let seconds = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        let left = self.born.iter().zip(&self.written).map(|(born, (written, older))| {
            let ((_, most), (least, _)) = (time.waited(*born), time.waited(*written));
            let most = most + older;
            let least_s = expiry_s.saturating_sub(seconds(most.div_ceil(1_000)));
            least_s..=expiry_s.saturating_sub(seconds(least / 1_000))
        });
        Some(left.collect())
    }

    /// It waited for room in a full log until `now`, the last time or each time that it was published. What waits
    /// together is as old as the first of it, and no more than a minute of that counts.
    pub(super) fn note_waited(&mut self, now: u64, was_known: bool) {
        let begun = if was_known { self.written.len().saturating_sub(1) } else { 0 };
        self.written.iter_mut().skip(begun).for_each(|written| *written = (now, WAIT_MS_MAX));
    }

    /// Whether its time may be over.
    pub(super) fn may_be_over(&self, time: &Time) -> bool {
        let left = self.left_s(time);
        left.is_some_and(|left| left.last().is_some_and(|left| *left.start() == 0))
    }

    /// How much of its time is left must be told, and nothing that is over may come, unless it was under
    /// way before.
    fn check_time(&self, client: usize, heard: &Heard, time: &Time) -> Result<()> {
        let Some(left) = self.left_s(time) else {
            ensure!(heard.expiry_s.is_none(), "{} has no end", heard.payload);
            return Ok(());
        };
        let told = heard.expiry_s.filter(|told| left.iter().any(|left| left.contains(told)));
        ensure!(told.is_some(), "{}: {:?} s left of {left:?}", heard.payload, heard.expiry_s);
        // At QoS 2 it may be under way since before a crash, which nobody knows.
        let was_under_way = self.has_crashed && heard.qos == Qos::ExactlyOnce;
        let was_heard = self.shares.get(&client).is_some_and(Share::was_heard);
        ensure!(told != Some(0) || was_under_way || was_heard, "{} is over", heard.payload);
        Ok(())
    }

    /// With what a client called its subscriptions. `is_kept`: it may have come as a retained message.
    fn check_names(&self, client: usize, heard: &Heard, is_kept: bool) -> Result<()> {
        let Some(share) = self.shares.get(&client) else { return Ok(()) };
        let names = &heard.identifiers[..];
        // At QoS 2 it may have had its identifier before a connection was lost, and was not sent.
        let is_again = share.was_heard() || share.may_repeat && heard.qos == Qos::ExactlyOnce;
        let alone = |known: &BTreeSet<u32>| match names {
            [] => known.contains(&0),
            [name] => known.contains(name),
            _ => false,
        };
        let groups = || self.groups.values().filter_map(|group| group.members.get(&client));
        let any = |name: &u32| {
            let own = share.names.may.contains(name) || share.kept.names.contains(name);
            own || groups().any(|known| known.contains(name))
        };
        // Of what comes again it is not known by which way it came.
        let again = |known: &BTreeSet<u32>| {
            known.contains(&0) || names.iter().any(|name| known.contains(name))
        };
        let fits = share.is_own && share.names.fits(names)
            || groups().any(alone)
            || is_again && names.iter().all(any) && groups().any(again)
            || is_kept && (is_again || alone(&share.kept.names));
        ensure!(fits, "{} comes to {client} by {names:?}", heard.payload);
        Ok(())
    }

    /// It has come to a client. Whether for the first time, and as it came.
    pub(super) fn take(&mut self, client: usize, heard: &Heard, time: &Time) -> Result<bool> {
        let Heard { qos, retain, .. } = *heard;
        let (payload, times) = (self.sent.payload.clone(), self.times());
        self.check_time(client, heard, time)?;
        let share = self.shares.entry(client).or_default();
        let is_own = share.is_own;
        let as_published = share.comes.as_published && self.sent.retain;
        let is_kept = retain && share.kept.most > 0;
        let as_new = share.comes.as_new || !self.sent.retain;
        let fits = is_kept || if retain { as_published } else { as_new };
        ensure!(fits, "{payload} comes to {client} with retain {retain}");
        self.check_names(client, heard, is_kept)?;
        let groups = self.groups.values_mut().filter(|group| group.members.contains_key(&client));
        let groups: Vec<&mut Group> = groups.collect();
        let share = self.shares.entry(client).or_default();
        let most = (u32::from(is_own) + u32::try_from(groups.len())?) * times;
        let may_repeat = share.may_repeat && qos == Qos::AtLeastOnce;
        if is_kept {
            // Or it is one that came as it was published.
            let most = share.kept.most + if as_published { most } else { 0 };
            let count = count(&mut share.kept.copies, qos);
            ensure!(
                count <= most || may_repeat,
                "{payload} comes {count} times to {client} as kept"
            );
            for group in groups.into_iter().filter(|_| as_published) {
                group.copies += 1;
            }
            return Ok(false);
        }
        let copies = count(&mut share.copies, qos);
        // One that was taken for a retained message may have been this.
        let is_first = share.copies.iter().sum::<u32>() == 1 && share.kept.copies == [0; 3];
        let fits = is_own && share.at.0 <= qos && qos <= share.at.1;
        let (at, by) = (share.at, self.publisher);
        ensure!(
            fits || !groups.is_empty(),
            "{payload} of {by} comes to {client} at {qos:?}, own {is_own}: {at:?}"
        );
        let group_repeats = groups.iter().any(|group| group.repeats(qos));
        let repeats = may_repeat || group_repeats;
        ensure!(copies <= most || repeats, "{payload} comes {copies} times to {client} at {qos:?}");
        for group in groups {
            group.copies += 1;
        }
        let all: u32 = self.groups.values().map(|group| group.copies).sum();
        let alone = self.groups.len() == 1
            && !self.shares.values().any(|share| share.is_own || share.kept.most > 0);
        let fits = !alone || all <= times || group_repeats;
        ensure!(fits, "{payload} comes to more than one of those who share it, at {qos:?}");
        Ok(is_first)
    }

    /// Everybody has come and has answered everything: is something missing?
    pub(super) fn finish(&mut self, time: &Time) -> Result<()> {
        if self.may_be_over(time) {
            self.excuse_all();
        }
        let payload = &self.sent.payload;
        for (client, share) in &self.shares {
            let has_kept = share.kept.copies != [0; 3];
            let heard = share.copies != [0; 3] || has_kept;
            let kept = has_kept || !share.kept.is_owed;
            ensure!((heard || !share.is_owed) && kept, "{payload} has not come to {client}");
        }
        for (filter, group) in &self.groups {
            let heard = group.copies > 0 || !group.is_owed;
            ensure!(heard, "{payload} has come to nobody of {filter}");
        }
        Ok(())
    }
}
