//! Retained messages that are owed to subscriptions of a client: what a start has to look for again.
//!
//! At least once at QoS 1. At QoS 2 once for each subscription: what got an identifier since it asked does not come again
//! by its search. By the search of another subscription it does, as it would have without a restart.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Messages of one client that are remembered as having got an identifier at QoS 2 while others were still owed: those
/// beyond may come again after a crash.
const BROUGHT_MAX: usize = 10_000;

/// The searches of one client that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searches {
    /// By topic filter.
    filters: BTreeMap<String, Search>,
}

/// A search for retained messages on behalf of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// QoS and options with which it was asked for, as in a SUBSCRIBE of MQTT 5.
    pub options: u8,
    /// The subscription's identifier then; 0: none.
    pub identifier: u32,
    /// It is for what stands below this offset.
    pub below: u64,
    /// The change that began it.
    pub number: u64,
    /// At QoS 2: places of messages that it brought the client, or that are under way by it.
    pub brought: BTreeSet<u64>,
}

impl Searches {
    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The filters that are searched for, in the order in which that was asked for.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&str, &Search)> {
        let all = self.filters.iter().map(|(filter, search)| (filter.as_str(), search));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(_, search)| search.number);
        all
    }

    /// A subscription asks, perhaps once more: all is owed to it again.
    pub(super) fn begin(&mut self, filter: &str, search: Search) {
        self.filters.insert(filter.to_owned(), search);
    }

    /// A subscription is no more.
    pub(super) fn end(&mut self, filter: &str) {
        self.filters.remove(filter);
    }

    /// A message got an identifier at QoS 2 on behalf of a subscription; of earlier versions nobody knows of which.
    pub(super) fn note_brought(&mut self, filter: Option<&str>, offset: u64) {
        let brought: usize = self.filters.values().map(|search| search.brought.len()).sum();
        if brought >= BROUGHT_MAX {
            return;
        }
        let is_meant = |known: &str| filter.is_none_or(|filter| filter == known);
        for (_, search) in self.filters.iter_mut().filter(|(known, _)| is_meant(known)) {
            search.brought.insert(offset);
        }
    }
}
