//! What the log knows of records that were refused: the events behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_bridge::Undeliverable;
use tributary_core::Offset;
use tributary_core::log::{Item, ReadMedia, Reader};

use super::{Feed, Present};
use crate::io::crc::crc32c;
use crate::replicate::letter::Letter;
use crate::replicate::table::Table;

impl<M: ReadMedia> Feed<M> {
    /// The table in force where the fold stands.
    pub(in crate::replicate) fn table(&self) -> Option<Arc<Table>> {
        self.fold.judge.as_ref().map(|judge| Arc::clone(judge.table()))
    }

    /// The letters of events whose records were refused, which were selected under a table, each with the
    /// number of its route. One that is gone from the log has none.
    pub fn letters(
        &mut self,
        log_id: u64,
        (refused, table): (&[Undeliverable], &Table),
        present: &Present,
    ) -> Vec<(u32, Letter)> {
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
}
