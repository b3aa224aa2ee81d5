//! Follows what a reader brings, item by item.

use std::collections::BTreeMap;

use tributary_core::Offset;
use tributary_core::log::{Chunk, GapCause, Item};

use super::events::number_of;
use super::model::{KINDS, Model};

/// Follows what a reader brings.
pub struct Check {
    pub next: u64,
    pub seen: BTreeMap<u64, u64>,
    in_force: [Option<Vec<u8>>; 3],
    checks_controls: bool,
    evicted_below: u64,
}

impl Check {
    pub fn new(next: u64) -> Self {
        let (seen, in_force) = (BTreeMap::new(), Default::default());
        Self { next, seen, in_force, checks_controls: true, evicted_below: u64::MAX }
    }

    /// A reader that is under way: what was in force was told before.
    pub fn seek(&mut self, model: &Model, oldest: u64) {
        self.checks_controls = false;
        self.evicted_below = oldest.max(model.trimmed);
    }

    pub fn take(&mut self, chunk: Chunk<'_>, model: &Model) {
        for item in chunk {
            match item {
                Item::Control(control) => {
                    if let Some(kind) = KINDS.iter().position(|kind| *kind == control.kind) {
                        self.in_force[kind] = Some(control.body.to_vec());
                    }
                }
                Item::Gap { range, cause } => self.pass_gap(&range, cause, model),
                Item::Events(events) => {
                    let wall = events.clock().wall;
                    for (offset, event) in events {
                        assert_eq!(offset.0, self.next, "offsets are dense");
                        self.next += 1;
                        assert!(event.time.0 <= wall.0, "times are relative to the frame's");
                        self.seen.insert(offset.0, number_of(&event));
                        self.check_in_force(offset.0, model);
                    }
                }
            }
        }
    }

    pub fn pass_gap(&mut self, range: &core::ops::Range<Offset>, cause: GapCause, model: &Model) {
        assert_eq!(range.start.0, self.next, "a gap begins where the last event ended");
        // An empty one: what was lost held control records alone.
        self.next = range.end.0;
        let lost = model.acknowledged.range(range.start.0..range.end.0);
        for (offset, _) in lost {
            assert_eq!(cause, GapCause::Evicted, "offset {offset} was acknowledged");
            assert!(*offset < self.evicted_below, "offset {offset} is still there");
        }
    }

    pub fn check_in_force(&self, offset: u64, model: &Model) {
        // What was not decided yet may be one or the other.
        if !self.checks_controls || offset >= model.next {
            return;
        }
        for (kind, found) in self.in_force.iter().enumerate() {
            assert_eq!(found.as_ref(), model.in_force(kind, offset), "{:?}", KINDS[kind]);
        }
    }
}
