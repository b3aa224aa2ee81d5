//! One level of the tree. Its branches are kept sorted: found by halving, and small in memory.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::str::Split;

use super::Subscription;

/// What is subscribed at one place of the tree, and what lies below it.
#[derive(Clone, Debug)]
pub(super) struct Node<K> {
    /// Filters that end here.
    here: Entries<K>,
    /// Filters that end here with `#`: this level and everything below it.
    below: Entries<K>,
    /// The branch of `+`.
    any: Option<Box<Node<K>>>,
    /// The branches of names, sorted.
    named: Vec<(Box<str>, Box<Node<K>>)>,
}

/// Sorted by key.
type Entries<K> = Vec<(K, Subscription)>;

impl<K: Ord> Node<K> {
    pub(super) const fn new() -> Self {
        Self { here: Vec::new(), below: Vec::new(), any: None, named: Vec::new() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty() && self.any.is_none() && self.named.is_empty()
    }

    /// Enters a subscription, in the place of an earlier one with the same key.
    pub(super) fn insert(&mut self, levels: Split<'_, char>, key: K, subscription: Subscription) {
        let entries = self.entries(levels);
        match entries.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(index) => entries[index].1 = subscription,
            Err(index) => entries.insert(index, (key, subscription)),
        }
    }

    fn entries(&mut self, levels: Split<'_, char>) -> &mut Entries<K> {
        let mut node = self;
        for level in levels {
            node = match level {
                "#" => return &mut node.below,
                "+" => node.any.get_or_insert_with(|| Box::new(Self::new())),
                name => node.branch(name),
            };
        }
        &mut node.here
    }

    fn branch(&mut self, name: &str) -> &mut Self {
        let index = match self.find(name) {
            Ok(index) => index,
            Err(index) => {
                self.named.insert(index, (name.into(), Box::new(Self::new())));
                index
            }
        };
        &mut self.named[index].1
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.named.binary_search_by(|(other, _)| (**other).cmp(name))
    }

    /// Removes a subscription and the branches that it leaves bare. Whether it was there.
    pub(super) fn remove(&mut self, mut levels: Split<'_, char>, key: &K) -> bool {
        match levels.next() {
            None => remove(&mut self.here, key),
            Some("#") => remove(&mut self.below, key),
            Some("+") => {
                let Some(any) = &mut self.any else { return false };
                let removed = any.remove(levels, key);
                self.any.take_if(|any| any.is_empty());
                removed
            }
            Some(name) => {
                let Ok(index) = self.find(name) else { return false };
                let removed = self.named[index].1.remove(levels, key);
                if self.named[index].1.is_empty() {
                    self.named.remove(index);
                }
                removed
            }
        }
    }

    /// Calls `each` with every subscription that selects the topic of which `levels` are left.
    /// A topic that begins with `$` is not for wildcards in the first level (MQTT-4.7.2-1).
    pub(super) fn visit<'a>(
        &'a self,
        mut levels: Split<'_, char>,
        wildcards: bool,
        each: &mut impl FnMut(&'a K, &'a Subscription),
    ) {
        if wildcards {
            self.below.iter().for_each(|(key, subscription)| each(key, subscription));
        }
        let Some(level) = levels.next() else {
            self.here.iter().for_each(|(key, subscription)| each(key, subscription));
            return;
        };
        if let Ok(index) = self.find(level) {
            self.named[index].1.visit(levels.clone(), true, each);
        }
        if wildcards && let Some(any) = &self.any {
            any.visit(levels, true, each);
        }
    }
}

fn remove<K: Ord>(entries: &mut Entries<K>, key: &K) -> bool {
    let found = entries.binary_search_by(|(other, _)| other.cmp(key));
    found.is_ok_and(|index| {
        entries.remove(index);
        true
    })
}
