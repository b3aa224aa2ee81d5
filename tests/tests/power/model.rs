//! What a log has promised, kept beside it.
//!
//! The model knows for each offset what was acknowledged, and what may have been written since. An
//! opening decides: what can be read then was promised, and what cannot never was.

use std::collections::BTreeMap;

use tributary_core::log::ControlKind;

/// What the snapshot of a segment holds.
pub const KINDS: [ControlKind; 3] = [ControlKind::Routes, ControlKind::Anchor, ControlKind::Hint];

/// The newest body of each of [`KINDS`].
pub type InForce = [Option<Vec<u8>>; 3];

/// What was promised.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The number of the event at each offset; those that are missing below `next` are lost.
    pub acknowledged: BTreeMap<u64, u64>,
    pub next: u64,
    /// Numbers of events that were written at an offset, and not acknowledged.
    pub maybe: BTreeMap<u64, Vec<u64>>,
    /// By kind: offsets and bodies of all control records, the newest last.
    pub controls: [Vec<(u64, Vec<u8>)>; 3],
    pub maybe_controls: [Vec<(u64, Vec<u8>)>; 3],
    pub claimed: u64,
    /// The highest offset that is named outside of the log.
    pub floor: u64,
    pub maybe_claimed: u64,
    pub trimmed: u64,
    pub maybe_trimmed: u64,
    pub generations: Vec<(u32, u64)>,
    /// Where each segment began.
    pub bases: BTreeMap<u64, u64>,
    /// How many segments were begun before the newest.
    pub sequence: u64,
    /// Whether an opening was cut, which may have begun a segment unseen.
    pub may_have_rolled: bool,
    /// Whether a device failed while the log was opened: what nobody was told of may be lost, in
    /// the middle too.
    pub may_have_failed: bool,
}

impl Model {
    /// A segment is begun at an offset.
    pub fn next_segment(&mut self, base: u64) {
        self.sequence += 1;
        self.bases.insert(self.sequence, base);
    }

    pub fn note_maybe(&mut self, begin: u64, numbers: core::ops::Range<u64>) {
        for (offset, number) in (begin..).zip(numbers) {
            self.maybe.entry(offset).or_default().push(number);
        }
    }

    pub fn note_control(&mut self, kind: usize, at: u64, body: &[u8]) {
        self.maybe_controls[kind].push((at, body.to_vec()));
        if KINDS[kind] == ControlKind::Hint {
            self.maybe_claimed = self.maybe_claimed.max(claim_of(body));
        }
    }

    pub fn acknowledge(&mut self, next: u64) {
        for (offset, numbers) in core::mem::take(&mut self.maybe) {
            let [.., last] = numbers[..] else { unreachable!("one at least") };
            self.acknowledged.insert(offset, last);
        }
        for (acknowledged, maybe) in self.controls.iter_mut().zip(&mut self.maybe_controls) {
            acknowledged.append(maybe);
        }
        self.next = next;
        self.claimed = self.claimed.max(self.maybe_claimed);
        self.maybe_claimed = self.claimed;
        self.trimmed = self.trimmed.max(self.maybe_trimmed);
    }

    /// What a reader was shown is a promise, too: a large frame makes those before it durable.
    pub fn show(&mut self, seen: &BTreeMap<u64, u64>) {
        for (offset, number) in seen {
            match self.maybe.get(offset) {
                Some(numbers) => {
                    assert_eq!(numbers.last(), Some(number));
                    self.acknowledged.insert(*offset, *number);
                    self.next = self.next.max(offset + 1);
                }
                None => assert_eq!(self.acknowledged.get(offset), Some(number)),
            }
        }
    }

    /// What was acknowledged at these offsets may be there or not.
    pub fn doubt(&mut self, offsets: core::ops::Range<u64>) {
        for offset in offsets {
            if let Some(number) = self.acknowledged.remove(&offset) {
                self.maybe.entry(offset).or_default().push(number);
            }
        }
    }

    /// Whether these control records can be in force: nothing that was promised is forgotten.
    pub fn check_in_force(&self, found: &InForce) {
        for (kind, found) in found.iter().enumerate() {
            let known = self.controls[kind].last().map(|(_, body)| body);
            let is_newer = |body| self.maybe_controls[kind].iter().any(|(_, maybe)| maybe == body);
            let holds = found.as_ref() == known || found.as_ref().is_some_and(is_newer);
            assert!(
                holds,
                "an old {:?} is in force: {:?} and not {:?} or {:?}",
                KINDS[kind], found, known, self.maybe_controls[kind]
            );
        }
    }

    /// An opening has found these control records in force.
    pub fn adopt(&mut self, found: &InForce) {
        for (kind, found) in found.iter().enumerate() {
            let (known, maybe) = (&mut self.controls[kind], &mut self.maybe_controls[kind]);
            if let Some(newer) = maybe.iter().position(|(_, maybe)| Some(maybe) == found.as_ref()) {
                known.extend(maybe.drain(..=newer));
            }
            if KINDS[kind] == ControlKind::Hint
                && let Some(body) = found
            {
                self.claimed = self.claimed.max(claim_of(body));
            }
        }
    }

    /// What an opening can read decides.
    pub fn decide(&mut self, oldest: u64, end: u64, seen: &BTreeMap<u64, u64>) {
        for (offset, number) in self.acknowledged.range(oldest..) {
            assert_eq!(seen.get(offset), Some(number), "offset {offset} was acknowledged");
        }
        for (offset, number) in seen.range(..self.next) {
            if self.maybe.get(offset).is_some_and(|maybe| maybe.contains(number)) {
                self.acknowledged.insert(*offset, *number);
            }
        }
        let mut last = self.next.max(oldest);
        for (offset, number) in seen.range(self.next..) {
            let written = self.maybe.get(offset).is_some_and(|maybe| maybe.contains(number));
            assert!(written, "nobody has written {number} to offset {offset}");
            let is_next = (*offset).max(oldest) == last;
            assert!(is_next || self.may_have_failed, "a hole in what was written last");
            last = last.max(offset + 1);
            self.acknowledged.insert(*offset, *number);
        }
        let claimed = self.claimed.max(self.maybe_claimed).max(self.floor).max(self.next);
        let is_dense = end <= last.max(claimed);
        assert!(is_dense || self.may_have_failed, "offsets up to {end} are lost without need");
        self.next = end;
        self.may_have_failed = false;
        self.maybe.clear();
        self.maybe_controls.iter_mut().for_each(Vec::clear);
        self.maybe_claimed = self.claimed;
    }

    /// The highest offset that may be the oldest that is kept.
    pub fn kept_from(&self, sequence: u64, segments: u32) -> u64 {
        let newest = self.bases.keys().last().copied().unwrap_or(0).max(sequence);
        // A device that fails costs an opening one more.
        let unseen = u64::from(self.may_have_rolled) + u64::from(self.may_have_failed);
        let first = (newest + unseen + 1).saturating_sub(u64::from(segments));
        let unknown = if first > newest { u64::MAX } else { 0 };
        let base = self.bases.get(&first).copied().unwrap_or(unknown);
        base.max(self.trimmed).max(self.maybe_trimmed)
    }

    /// The newest control records that hold at an offset, acknowledged or not.
    pub fn newest_at(&self, offset: u64) -> InForce {
        [0, 1, 2].map(|kind| {
            let mut all =
                self.maybe_controls[kind].iter().rev().chain(self.controls[kind].iter().rev());
            Some(all.find(|(at, _)| *at <= offset)?.1.clone())
        })
    }

    /// The control record that holds at an offset.
    pub fn in_force(&self, kind: usize, offset: u64) -> Option<&Vec<u8>> {
        let known = &self.controls[kind];
        let count = known.partition_point(|(at, _)| *at <= offset);
        Some(&known[..count].last()?.1)
    }
}

fn claim_of(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().expect("made by us"))
}
