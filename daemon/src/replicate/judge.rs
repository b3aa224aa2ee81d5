//! Which routes of a table select an event, and the keys of the records that they make of it.

use core::ops::Range;

use tributary_core::record::Event;
use tributary_core::topic;
use tributary_rules::{Scratch, Set, Truth, VerifyError};

use super::table::{Entry, Table};

/// The longest key, in bytes; a longer one counts as none.
const KEY_BYTES_MAX: usize = 4096;

/// A routing table ready to judge events. Allocates nothing per event once it is warm.
pub(super) struct Judge {
    table: Table,
    programs: Set<Vec<u8>>,
    scratch: Box<Scratch>,
    verdict: Verdict,
}

/// What was found of the event that was judged last.
#[derive(Default)]
struct Verdict {
    /// Selecting routes by their place in the table, each with its key's place in `keys`; `None`:
    /// the key is NULL.
    selected: Vec<(usize, Option<Range<usize>>)>,
    undecided: Vec<usize>,
    keys: Vec<u8>,
}

impl Judge {
    /// For a table read from the log.
    ///
    /// # Errors
    /// If its programs do not verify: they were written by another version.
    pub(super) fn new(table: Table) -> Result<Self, VerifyError> {
        let programs = Set::verify(table.programs.clone())?;
        let scratch = Box::new(Scratch::new());
        Ok(Self { table, programs, scratch, verdict: Verdict::default() })
    }

    /// The table.
    #[must_use]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Finds the routes among `candidates` that select the event; `addressed`: it was selected
    /// before, and is for the route of this name alone.
    pub(super) fn judge(
        &mut self,
        event: &Event<'_>,
        addressed: Option<&str>,
        candidates: impl Fn(&Entry) -> bool,
    ) {
        let Verdict { selected, undecided, keys } = &mut self.verdict;
        selected.clear();
        undecided.clear();
        keys.clear();
        let mut evaluation = self.programs.evaluate(event, &mut self.scratch);
        for (index, entry) in self.table.routes.iter().enumerate() {
            let heard = addressed.map_or_else(
                || entry.rule.from.as_deref().is_none_or(|f| topic::matches(f, event.topic)),
                |name| entry.rule.name == name,
            );
            if !heard || !candidates(entry) {
                continue;
            }
            let truth = addressed.map_or_else(|| evaluation.test(index), |_| Truth::True);
            match truth {
                Truth::False => {}
                Truth::Null(_) => undecided.push(index),
                Truth::True if entry.rule.key.is_none() => {
                    let begin = keys.len();
                    keys.extend_from_slice(event.topic.as_bytes());
                    selected.push((index, Some(begin..keys.len())));
                }
                Truth::True => {
                    let begin = keys.len();
                    keys.resize(begin + KEY_BYTES_MAX, 0);
                    let key = evaluation.key(index, &mut keys[begin..]).ok();
                    let length = key.map(<[u8]>::len);
                    keys.truncate(begin + length.unwrap_or(0));
                    selected.push((index, length.map(|length| begin..begin + length)));
                }
            }
        }
    }

    /// The routes that select the event just judged: their place in the table, what they say, and
    /// the record's key.
    pub(super) fn selected(&self) -> impl Iterator<Item = (usize, &Entry, Option<&[u8]>)> {
        self.verdict.selected.iter().map(|(index, key)| {
            let key = key.clone().map(|range| &self.verdict.keys[range]);
            (*index, &self.table.routes[*index], key)
        })
    }

    /// The routes whose condition could not be told for the event just judged.
    pub(super) fn undecided(&self) -> impl Iterator<Item = &Entry> {
        self.verdict.undecided.iter().map(|index| &self.table.routes[*index])
    }
}
