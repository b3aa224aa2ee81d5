//! Subscriptions, shared and not, and the retained messages that they bring.

use tributary_core::Offset;
use tributary_mqtt::codec::subscribe::RetainHandling;
use tributary_mqtt::subscriptions::Subscription;
use tributary_mqtt::{Reason, Subscriptions};

use super::client::Entry;
use super::group::{self, Group};
use super::scanning::{LOOKS_MAX, Scan};
use super::{Hub, Key, Members, Target};

/// Members of one group.
const GROUP_MEMBERS_MAX: usize = 10_000;
/// Shared subscriptions of one client.
const SHARED_MAX: usize = 1_000;

/// A subscription that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// There was the very same one.
    pub is_known: bool,
    /// The log has to know that retained messages below this offset are owed to it.
    pub owed_below: Option<Offset>,
}

/// What the filters of one SUBSCRIBE have in common.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// All below is durable: the subscriptions are to what is not.
    durable: Offset,
    /// Topics with retained messages that may still be looked at for it at once.
    pub(super) looks: usize,
}

impl Asking {
    /// Nothing was looked at yet.
    #[must_use]
    pub const fn at(durable: Offset) -> Self {
        Self { durable, looks: LOOKS_MAX }
    }
}

impl Hub {
    /// Enters a subscription.
    ///
    /// # Errors
    /// The reason for the SUBACK.
    pub fn subscribe(
        &self,
        key: Key,
        filter: &str,
        wanted: Subscription,
        asking: &mut Asking,
    ) -> Result<Granted, Reason> {
        let mut members = self.lock();
        // The fan-out may have come further since the caller has looked.
        let durable = asking.durable.max(members.position);
        let was_silent = members.live == 0;
        let shared = filter.starts_with("$share/");
        members.check_room(key, filter)?;
        if shared {
            members.join(filter, key, wanted)?;
        } else {
            members.subscriptions.insert(filter, Target::Client(key), wanted)?;
        }
        let known = members.with_client(key, |client| {
            let known = client.filters.get(filter);
            let (since, search) = known.map_or((durable, 0), |known| (known.since, known.search));
            client.put_filter(filter, Entry { wanted, since, search })
        });
        let known = known.flatten();
        if was_silent && members.live > 0 {
            members.position = durable;
            members.heard_from = Some(durable);
            self.work.notify_one();
        } else if members.position < durable {
            // What the fan-out has yet to hand out may come as a retained message, too.
            members.read_for_itself(key);
            self.work.notify_one();
        }
        members.hold_groups(durable);
        if shared && members.group_of(filter).is_some_and(|group| group.lag.is_some()) {
            members.with_client(key, |client| client.ask_for_more());
            self.work.notify_one();
        }
        let is_known = known.is_some_and(|known| known.wanted == wanted);
        let mut granted = Granted { is_known, owed_below: None };
        // A shared subscription gets none (MQTT 5.0, 4.8.2).
        if wants_retained(wanted, known.is_none()) && !shared {
            members.retained.settle(durable);
            members.search(key, Scan::new(filter, wanted, durable));
            let found = members.serve_scans(key, &mut asking.looks);
            let owes = members.begins_to_owe(key, filter, found);
            granted.owed_below = owes.then_some(durable);
            if asking.looks == 0 {
                // The fan-out looks for the rest.
                self.work.notify_one();
            }
        }
        Ok(granted)
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(&self, key: Key, filter: &str) -> bool {
        let mut members = self.lock();
        let known = members.with_client(key, |client| {
            let known = client.take_filter(filter);
            known.inspect(|known| client.scans.end(known.search)).is_some()
        });
        if known != Some(true) {
            return false;
        }
        if !members.part(filter, key) {
            members.subscriptions.remove(filter, &Target::Client(key));
        }
        true
    }
}

const fn wants_retained(wanted: Subscription, is_new: bool) -> bool {
    match wanted.options.retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => is_new,
        RetainHandling::DoNotSend => false,
    }
}

impl Members {
    /// Enters a subscription again after a start.
    pub(super) fn restore_filter(&mut self, filter: &str, key: Key, wanted: Subscription) {
        let entered = if filter.starts_with("$share/") {
            self.join(filter, key, wanted)
        } else {
            self.subscriptions.insert(filter, Target::Client(key), wanted)
        };
        if let Err(reason) = entered {
            tracing::error!(filter, ?reason, "a subscription of a session cannot be entered again");
        }
    }

    fn join(&mut self, filter: &str, key: Key, wanted: Subscription) -> Result<(), Reason> {
        let (name, inner) = group::split(filter).ok_or(Reason::TopicFilterInvalid)?;
        let named = (Box::from(name), Box::from(inner));
        let shared = |client: &super::Client| {
            client.filters.keys().filter(|filter| filter.starts_with("$share/")).count()
        };
        if self.sessions.get(&key).is_some_and(|client| shared(client) >= SHARED_MAX) {
            return Err(Reason::QuotaExceeded);
        }
        let group = match self.group_names.get(&named).copied() {
            Some(group) => group,
            None => self.found_group(filter, named, wanted)?,
        };
        let Some(group) = self.groups.get_mut(&group) else { return Ok(()) };
        if group.members.len() >= GROUP_MEMBERS_MAX {
            return Err(Reason::QuotaExceeded);
        }
        group.join(key, wanted);
        Ok(())
    }

    fn found_group(
        &mut self,
        shared: &str,
        named: (Box<str>, Box<str>),
        wanted: Subscription,
    ) -> Result<Key, Reason> {
        let group = self.new_key();
        let any = Subscription { identifier: None, ..wanted };
        self.subscriptions.insert(&named.1, Target::Group(group), any)?;
        let filter = named.1.clone();
        self.group_names.insert(named, group);
        self.groups.insert(group, Group::new(shared.into(), filter));
        Ok(group)
    }

    /// The group that a shared subscription belongs to.
    pub(super) fn group_of(&self, filter: &str) -> Option<&Group> {
        self.groups.get(&self.group_key(filter)?)
    }

    pub(super) fn group_key(&self, filter: &str) -> Option<Key> {
        let (name, inner) = group::split(filter)?;
        self.group_names.get(&(Box::from(name), Box::from(inner))).copied()
    }

    /// A client that gets messages as they come reads them from the log, from where the fan-out is: each for
    /// those subscriptions that held then.
    fn read_for_itself(&mut self, key: Key) {
        let position = self.position;
        if self.sessions.get(&key).is_some_and(|client| client.is_live()) {
            self.with_client(key, |client| {
                client.lag = Some(position);
                client.ask_for_more();
            });
            self.lagging.insert(Target::Client(key));
        }
    }

    /// Ends a shared subscription. Whether it was one.
    pub(super) fn part(&mut self, filter: &str, key: Key) -> bool {
        let Some((name, inner)) = group::split(filter) else { return false };
        let named = (Box::from(name), Box::from(inner));
        let Some(&id) = self.group_names.get(&named) else { return false };
        let Some(group) = self.groups.get_mut(&id) else { return false };
        let had = self.sessions.get(&key).into_iter().flat_map(|client| client.had());
        group.part(key, had);
        if group.members.is_empty() {
            self.groups.remove(&id);
            self.group_names.remove(&named);
            Subscriptions::remove(&mut self.subscriptions, inner, &Target::Group(id));
        }
        true
    }
}
