//! Events whose routing table is hidden: damage stands where the segment tells which one is in force.
//!
//! A segment begins with what was in force at the end of the one before, so that one tells. If it is gone,
//! the next table that can be read decides, as it does for what is gone. Without any the events would be
//! passed over, as those are that came in before there was a route: nobody would miss them.

use tributary_bridge::BatchBuilder;
use tributary_core::Offset;
use tributary_core::log::{Control, ControlKind, End, Item, ReadMedia, Reader};

use super::{Feed, Fold, Present, Step};
use crate::io::crc::crc32c;

/// A routing table, and the offset from which on it holds.
type Found = Option<(Offset, Vec<u8>)>;

impl Fold {
    /// Whether damage was passed, and no table is known.
    pub(super) const fn is_blind(&self) -> bool {
        self.damaged.is_some() && self.judge.is_none()
    }
}

impl<M: ReadMedia> Feed<M> {
    /// Puts the table into force that damage has hidden, as far as the log can tell.
    pub(super) fn find_table(&mut self, present: &Present, batch: &mut BatchBuilder) -> Step {
        let at = self.fold.at;
        let found = self.table_before(at, present);
        let found = found.or_else(|| self.table_behind(at, present.end));
        // It is looked for once.
        let damaged = self.fold.damaged.take();
        let Some((holds, body)) = found else { return Step::On };
        tracing::warn!(
            lane = self.fold.lane.name(),
            at = at.0,
            table = holds.0,
            "damage has hidden the routing table in force here: the one that stands nearest is taken"
        );
        // One that holds only later has not begun here.
        let holds = if holds <= at { holds } else { Offset(at.0.saturating_sub(1)) };
        let control = Control { kind: ControlKind::Routes, at: holds, body: &body };
        let step = self.fold.adopt(&control, &self.origin, present, batch);
        // Whoever has to wait for something looks for it again.
        self.fold.damaged = damaged.filter(|_| self.fold.judge.is_none());
        step
    }

    /// The last table that holds at an offset. Each look back reaches twice as far as the one before.
    fn table_before(&mut self, at: Offset, present: &Present) -> Found {
        let mut back: u64 = 1;
        loop {
            let from = Offset(at.0.saturating_sub(back)).max(present.oldest);
            let mut found = None;
            self.tables(from, present.end, &mut |holds, body| {
                let is_before = holds <= at;
                if is_before {
                    found = Some((holds, body.to_vec()));
                }
                is_before
            });
            if found.is_some() || from <= present.oldest {
                return found;
            }
            back = back.saturating_mul(2);
        }
    }

    /// The first table that holds behind an offset.
    fn table_behind(&mut self, at: Offset, end: End) -> Found {
        let mut found = None;
        self.tables(at, end, &mut |holds, body| {
            found = Some((holds, body.to_vec()));
            false
        });
        found
    }

    /// Hands the tables to `each` that stand from the beginning of a segment on, until it has enough.
    fn tables(&mut self, from: Offset, end: End, each: &mut dyn FnMut(Offset, &[u8]) -> bool) {
        let mut reader = Reader::new(from, crc32c);
        while let Ok(Some(chunk)) = reader.read(&self.log, end, &mut self.buffer) {
            for item in chunk {
                if let Item::Control(control) = item
                    && control.kind == ControlKind::Routes
                    && !each(control.at, control.body)
                {
                    return;
                }
            }
        }
    }
}
