//! Who subscribed to what: a tree of topic levels.
//!
//! Invariants: a client has at most one subscription for a filter (MQTT-3.8.4-3); what its
//! subscriptions take is bounded; no branch of the tree is without a subscription, and none is
//! deeper than [`limits::FILTER_LEVELS_MAX`], so that walking it by recursion is safe.

mod node;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::num::NonZeroU32;

use tributary_core::record::Qos;

use crate::codec::reason::Reason;
use crate::codec::subscribe::Options;
use crate::limits;
use node::Node;

/// What was granted for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// With the granted quality of service.
    pub options: Options,
    /// What the client called it.
    pub identifier: Option<NonZeroU32>,
}

/// How a message goes to one client: all its matching subscriptions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The highest that was granted.
    pub qos: Qos,
    /// RETAIN is passed on as it was published.
    pub retain_as_published: bool,
    /// What the client called its matching subscriptions.
    pub identifiers: &'a [NonZeroU32],
}

/// The subscriptions of all clients; `K` names a client.
#[derive(Clone, Debug)]
pub struct Subscriptions<K> {
    tree: Node<K>,
    clients: BTreeMap<K, Client>,
}

/// What one client has subscribed to.
#[derive(Clone, Debug, Default)]
struct Client {
    filters: BTreeSet<Box<str>>,
    cost: usize,
}

impl<K: Clone + Ord> Subscriptions<K> {
    /// Nobody has subscribed.
    #[must_use]
    pub const fn new() -> Self {
        Self { tree: Node::new(), clients: BTreeMap::new() }
    }

    /// Whether nobody has subscribed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Enters a subscription, in the place of an earlier one of `key` with the same filter, which
    /// must be valid.
    ///
    /// # Errors
    /// `TopicFilterInvalid` if the filter has more than [`limits::FILTER_LEVELS_MAX`] levels,
    /// `QuotaExceeded` if the client's subscriptions would take more than
    /// [`limits::SUBSCRIPTION_BYTES_MAX`].
    pub fn insert(
        &mut self,
        filter: &str,
        key: K,
        subscription: Subscription,
    ) -> Result<(), Reason> {
        if filter.split('/').nth(limits::FILTER_LEVELS_MAX).is_some() {
            return Err(Reason::TopicFilterInvalid);
        }
        let known = self.clients.get(&key);
        if !known.is_some_and(|client| client.filters.contains(filter)) {
            let cost = known.map_or(0, |client| client.cost) + cost(filter);
            if cost > limits::SUBSCRIPTION_BYTES_MAX {
                return Err(Reason::QuotaExceeded);
            }
            let client = self.clients.entry(key.clone()).or_default();
            client.filters.insert(filter.into());
            client.cost = cost;
        }
        self.tree.insert(filter.split('/'), key, subscription);
        Ok(())
    }

    /// Whether there was such a subscription; there is none now.
    pub fn remove(&mut self, filter: &str, key: &K) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        if !client.filters.remove(filter) {
            return false;
        }
        client.cost -= cost(filter);
        if client.filters.is_empty() {
            self.clients.remove(key);
        }
        self.tree.remove(filter.split('/'), key)
    }

    /// Removes all subscriptions of `key`.
    pub fn remove_all(&mut self, key: &K) {
        let Some(client) = self.clients.remove(key) else { return };
        for filter in client.filters {
            self.tree.remove(filter.split('/'), key);
        }
    }

    /// Calls `each` once for every client with a subscription that selects `topic`, in the order
    /// of the keys. `publisher` does not get its own message by a No Local subscription
    /// (MQTT-3.8.3-3).
    ///
    /// Of the two ways to serve overlapping subscriptions (MQTT 5.0, 3.3.4), this is the one with a
    /// single copy: at the highest quality of service of them all (MQTT-3.3.4-2), with all their
    /// identifiers (MQTT-3.3.4-4), and with RETAIN as published if one of them wants that.
    pub fn for_each_match(
        &self,
        topic: &str,
        publisher: Option<&K>,
        mut each: impl FnMut(&K, Grant<'_>),
    ) {
        let mut found: Vec<(&K, &Subscription)> = Vec::new();
        self.tree.visit(topic.split('/'), !topic.starts_with('$'), &mut |key, subscription| {
            if !(subscription.options.no_local && publisher == Some(key)) {
                found.push((key, subscription));
            }
        });
        found.sort_by_key(|&(key, _)| key);
        let mut identifiers = Vec::new();
        for client in found.chunk_by(|(left, _), (right, _)| left == right) {
            identifiers.clear();
            identifiers
                .extend(client.iter().filter_map(|(_, subscription)| subscription.identifier));
            let mut grant = Grant {
                qos: Qos::AtMostOnce,
                retain_as_published: false,
                identifiers: &identifiers,
            };
            for (_, subscription) in client {
                grant.qos = grant.qos.max(subscription.options.qos);
                grant.retain_as_published |= subscription.options.retain_as_published;
            }
            if let [(key, _), ..] = client {
                each(key, grant);
            }
        }
    }
}

impl<K: Clone + Ord> Default for Subscriptions<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// About what a filter takes in memory, in bytes.
#[must_use]
pub fn cost(filter: &str) -> usize {
    filter.len() + limits::SUBSCRIPTION_LEVEL_BYTES * filter.split('/').count()
}
