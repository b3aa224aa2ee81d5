//! What the fold knows of records that were refused: the events behind them, and their account.

use std::collections::BTreeMap;

use tributary_bridge::Undeliverable;
use tributary_core::Offset;
use tributary_core::log::{Item, ReadMedia, Reader};

use super::{Feed, Present};
use crate::io::crc::crc32c;
use crate::replicate::judge::Judge;
use crate::replicate::letter::Letter;

impl<M: ReadMedia> Feed<M> {
    /// The letters of events whose records were refused, each with the number of its route. One that
    /// is gone from the log has none.
    pub fn letters(
        &mut self,
        log_id: u64,
        refused: &[Undeliverable],
        present: &Present,
    ) -> Vec<(u32, Letter)> {
        let Some(table) = self.fold.judge.as_ref().map(Judge::table) else { return Vec::new() };
        let mut due: BTreeMap<Offset, Vec<&Undeliverable>> = BTreeMap::new();
        for one in refused {
            due.entry(one.offset).or_default().push(one);
        }
        let mut letters = Vec::new();
        let Some((first, _)) = due.first_key_value() else { return letters };
        let mut reader = Reader::new(*first, crc32c);
        while due.range(reader.next_offset()..).next().is_some()
            && let Ok(Some(chunk)) = reader.read(&self.log, present.end, &mut self.buffer)
        {
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                let trusted = frame.clock().trusted;
                for (offset, event) in frame {
                    for one in due.remove(&offset).unwrap_or_default() {
                        let route = table.routes.iter().find(|entry| entry.id == one.route);
                        letters.extend(route.map(|entry| {
                            let why = (entry.rule.name.as_str(), one);
                            (one.route, Letter::new(log_id, (&event, trusted), why))
                        }));
                    }
                }
            }
        }
        letters
    }

    /// Of the records that were handed in last those of these routes are not delivered, but kept as
    /// dead letters, or lost.
    pub fn count_buried(&mut self, kept: &[u32], lost: &[u32]) {
        for route in kept.iter().chain(lost) {
            self.fold.account.of(*route).delivered -= 1;
        }
        for route in kept {
            self.fold.account.of(*route).dead_lettered += 1;
        }
        for route in lost {
            self.fold.account.of(*route).lost += 1;
        }
    }
}
