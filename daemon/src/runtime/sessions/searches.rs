//! Retained messages that are owed to subscriptions of a client: what a start has to look for again.
//!
//! At least once at QoS 1. At QoS 2 once: what came at QoS 2 since a subscription asked does not come again
//! by its search, nor does what is under way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Messages that are remembered as having come at QoS 2 while others were still owed: those beyond may
/// come again after a crash.
const CAME_MAX: usize = 10_000;

/// The searches of one client that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searches {
    /// By topic filter.
    filters: BTreeMap<String, Search>,
    /// At QoS 2: places of messages that have come meanwhile, with the number of the change that told it.
    came: BTreeMap<u64, u64>,
}

/// A search for retained messages on behalf of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// QoS and options with which it was asked for, as in a SUBSCRIBE of MQTT 5.
    pub options: u8,
    /// The subscription's identifier then; 0: none.
    pub identifier: u32,
    /// It is for what stands below this offset.
    pub below: u64,
    /// The change that began it.
    pub number: u64,
}

impl Searches {
    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The filters that are searched for, in the order in which that was asked for.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&str, Search)> {
        let all = self.filters.iter().map(|(filter, search)| (filter.as_str(), *search));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(_, search)| search.number);
        all
    }

    /// Places of what has come at QoS 2 since a search was asked for.
    pub fn came_since(&self, search: Search) -> impl Iterator<Item = u64> {
        let since = self.came.iter().filter(move |(_, number)| **number > search.number);
        since.map(|(offset, _)| *offset)
    }

    /// A subscription asks, perhaps once more.
    pub(super) fn begin(&mut self, filter: &str, search: Search) {
        self.filters.insert(filter.to_owned(), search);
    }

    /// A subscription is no more.
    pub(super) fn end(&mut self, filter: &str) {
        if self.filters.remove(filter).is_some() && self.filters.is_empty() {
            self.came.clear();
        }
    }

    /// A message has come at QoS 2.
    pub(super) fn note_came(&mut self, offset: u64, number: u64) {
        let has_room = self.came.len() < CAME_MAX || self.came.contains_key(&offset);
        if !self.is_empty() && has_room {
            self.came.insert(offset, number);
        }
    }
}
