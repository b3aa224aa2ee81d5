//! The group coordinator, as far as groups without members need one: committed offsets, and
//! offsets whose transaction is undecided.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::Instant;

use super::transactions::Producer;
use crate::limits::{GROUP_PARTITIONS_MAX, GROUPS_MAX};

/// A topic and a partition of it.
type Place = (String, i32);

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    /// When it was committed: it expires so long after.
    pub(crate) at: Instant,
}

/// All groups.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    retention_ms: u64,
    groups: BTreeMap<String, Group>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    committed: BTreeMap<Place, Committed>,
    /// By producer id.
    pending: BTreeMap<i64, Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    epoch: i16,
    offsets: BTreeMap<Place, Committed>,
}

impl Groups {
    /// Offsets vanish `retention_ms` after their commit, as those of a group without members do.
    pub(crate) const fn new(retention_ms: u64) -> Self {
        Self { retention_ms, groups: BTreeMap::new() }
    }

    /// Whether the producer has undecided offsets here in this very epoch.
    pub(crate) fn has_open(&self, group: &str, producer: Producer) -> bool {
        self.groups
            .get(group)
            .and_then(|group| group.pending.get(&producer.id))
            .is_some_and(|pending| pending.epoch == producer.epoch)
    }

    /// Takes offsets that count when the producer's transaction is committed.
    pub(crate) fn commit_pending(
        &mut self,
        name: &str,
        producer: Producer,
        offsets: Vec<(Place, Committed)>,
    ) -> Result<(), Error> {
        let group = self.make(name, offsets.len())?;
        let pending = group
            .pending
            .entry(producer.id)
            .or_insert_with(|| Pending { epoch: producer.epoch, offsets: BTreeMap::new() });
        pending.epoch = producer.epoch;
        pending.offsets.extend(offsets);
        Ok(())
    }

    /// Takes offsets that count at once.
    pub(crate) fn commit(
        &mut self,
        name: &str,
        offsets: Vec<(Place, Committed)>,
    ) -> Result<(), Error> {
        self.make(name, offsets.len())?.committed.extend(offsets);
        Ok(())
    }

    /// The marker of the producer's transaction has come.
    pub(crate) fn mark(&mut self, group: &str, producer_id: i64, commit: bool) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(pending) = group.pending.remove(&producer_id)
            && commit
        {
            group.committed.extend(pending.offsets);
        }
    }

    /// The committed offset, unless it has expired. With `stable`, 88 while an undecided
    /// transaction may change it.
    pub(crate) fn fetch(
        &self,
        now: Instant,
        group: &str,
        (place, stable): (&Place, bool),
    ) -> Result<Option<&Committed>, Error> {
        let Some(group) = self.groups.get(group) else { return Ok(None) };
        let undecided = group.pending.values().any(|pending| pending.offsets.contains_key(place));
        if stable && undecided {
            return Err(Error::UnstableOffsetCommit);
        }
        let lives =
            |committed: &&Committed| undecided || now.ms_since(committed.at) < self.retention_ms;
        Ok(group.committed.get(place).filter(lives))
    }

    /// Every place of the group that has a committed or an undecided offset.
    pub(crate) fn places(&self, group: &str) -> Vec<Place> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let pending = group.pending.values().flat_map(|pending| pending.offsets.keys());
        let mut places: Vec<_> = group.committed.keys().chain(pending).cloned().collect();
        places.sort();
        places.dedup();
        places
    }

    /// The group and all its offsets vanish.
    pub(crate) fn forget(&mut self, group: &str) {
        self.groups.remove(group);
    }

    fn make(&mut self, name: &str, more: usize) -> Result<&mut Group, Error> {
        if !self.groups.contains_key(name) && self.groups.len() >= GROUPS_MAX {
            return Err(Error::PolicyViolation);
        }
        let group = self.groups.entry(name.to_owned()).or_default();
        let pending = group.pending.values().map(|pending| pending.offsets.len());
        if group.committed.len() + pending.sum::<usize>() + more > GROUP_PARTITIONS_MAX {
            return Err(Error::PolicyViolation);
        }
        Ok(group)
    }
}
