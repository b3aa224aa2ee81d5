//! Who subscribed to what: a tree of topic levels.
//!
//! Invariant: a key has at most one subscription for a filter (MQTT-3.8.4-3). No branch of the
//! tree is without a subscription, and none is deeper than [`crate::limits::FILTER_LEVELS_MAX`].

use core::num::NonZeroU32;

use tributary_core::record::Qos;

use crate::codec::reason::Reason;
use crate::codec::subscribe::Options;

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
    root: Option<K>,
}

impl<K: Clone + Ord> Subscriptions<K> {
    /// Nobody has subscribed.
    #[must_use]
    pub const fn new() -> Self {
        Self { root: None }
    }

    /// Whether nobody has subscribed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Enters a subscription, in the place of an earlier one of `key` with the same filter.
    ///
    /// # Errors
    /// `TopicFilterInvalid` if the filter has too many levels.
    pub fn insert(
        &mut self,
        filter: &str,
        key: K,
        subscription: Subscription,
    ) -> Result<(), Reason> {
        todo!()
    }

    /// Whether there was such a subscription; there is none now.
    pub fn remove(&mut self, filter: &str, key: &K) -> bool {
        todo!()
    }

    /// Removes all subscriptions of `key`.
    pub fn remove_all(&mut self, key: &K) {
        todo!()
    }

    /// Calls `each` once for every client with a subscription that selects `topic`, in the order
    /// of the keys. `publisher` does not get its own message by a No Local subscription.
    pub fn for_each_match(
        &self,
        topic: &str,
        publisher: Option<&K>,
        each: impl FnMut(&K, Grant<'_>),
    ) {
        todo!()
    }
}

impl<K: Clone + Ord> Default for Subscriptions<K> {
    fn default() -> Self {
        Self::new()
    }
}
