//! Which routes of a table select an event, and the keys of the records that they make of it.

use std::sync::Arc;

use core::ops::Range;

use tributary_core::record::Event;
use tributary_core::topic;
use tributary_rules::{Scratch, Set, Truth, VerifyError};

use super::table::{Entry, Table};
use crate::config::Template;

/// The longest key, in bytes; a longer one counts as none.
const KEY_BYTES_MAX: usize = 4096;

/// A routing table ready to judge events. Allocates nothing per event once it is warm.
pub(super) struct Judge {
    table: Arc<Table>,
    /// Of the routes whose topics name levels.
    templates: Vec<Option<Template>>,
    programs: Set<Vec<u8>>,
    scratch: Box<Scratch>,
    heard: Heard,
    verdict: Verdict,
}

/// The topic of the event before, and which routes hear it: devices speak in runs.
#[derive(Default)]
struct Heard {
    topic: String,
    by: Vec<bool>,
}

/// What was found of the event that was judged last.
#[derive(Default)]
struct Verdict {
    selected: Vec<Selecting>,
    undecided: Vec<usize>,
    keys: Vec<u8>,
    topics: String,
}

/// A route that selects the event.
struct Selecting {
    /// Its place in the table.
    index: usize,
    /// The key's place in `keys`; `None`: it is NULL.
    key: Option<Range<usize>>,
    /// The topic's place in `topics`; `None`: the route's own.
    topic: Option<Range<usize>>,
}

/// What a route makes of an event.
pub(super) struct Selected<'a> {
    pub(super) entry: &'a Entry,
    pub(super) key: Option<&'a [u8]>,
    pub(super) topic: &'a str,
    /// Whether the topic was made for the event.
    pub(super) is_made: bool,
}

impl Judge {
    /// For a table read from the log.
    ///
    /// # Errors
    /// If its programs do not verify: they were written by another version.
    pub(super) fn new(table: Table) -> Result<Self, VerifyError> {
        let programs = Set::verify(table.programs.clone())?;
        let scratch = Box::new(Scratch::new());
        let template = |entry: &Entry| Template::of(&entry.rule.topic);
        let templates = table.routes.iter().map(template).collect();
        let (heard, verdict) = (Heard::default(), Verdict::default());
        let table = Arc::new(table);
        Ok(Self { table, templates, programs, scratch, heard, verdict })
    }

    /// The table.
    #[must_use]
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Finds the routes among `candidates` that select the event; `addressed`: it was selected
    /// before, and is for the route of this name alone. `admits` says whether a route may make a topic.
    pub(super) fn judge(
        &mut self,
        event: &Event<'_>,
        addressed: Option<&str>,
        candidates: impl Fn(&Entry) -> bool,
        admits: impl Fn(&Entry, &str) -> bool,
    ) {
        let Verdict { selected, undecided, keys, topics } = &mut self.verdict;
        selected.clear();
        undecided.clear();
        keys.clear();
        topics.clear();
        self.heard.listen(&self.table, event.topic);
        let mut evaluation = self.programs.evaluate(event, &mut self.scratch);
        for (index, entry) in self.table.routes.iter().enumerate() {
            let heard =
                addressed.map_or_else(|| self.heard.by[index], |name| entry.rule.name == name);
            if !heard || !candidates(entry) {
                continue;
            }
            let truth = addressed.map_or_else(|| evaluation.test(index), |_| Truth::True);
            match truth {
                Truth::False => continue,
                Truth::Null(_) => {
                    undecided.push(index);
                    continue;
                }
                Truth::True => {}
            }
            let mut topic = None;
            if let Some(template) = &self.templates[index] {
                let begin = topics.len();
                if !template.render(event.topic, topics) {
                    undecided.push(index);
                    continue;
                }
                if !admits(entry, &topics[begin..]) {
                    topics.truncate(begin);
                    topics.push_str(&template.overflow());
                }
                topic = Some(begin..topics.len());
            }
            let begin = keys.len();
            let key = if entry.rule.key.is_none() {
                keys.extend_from_slice(event.topic.as_bytes());
                Some(begin..keys.len())
            } else {
                keys.resize(begin + KEY_BYTES_MAX, 0);
                let key = evaluation.key(index, &mut keys[begin..]).ok();
                let length = key.map(<[u8]>::len);
                keys.truncate(begin + length.unwrap_or(0));
                length.map(|length| begin..begin + length)
            };
            selected.push(Selecting { index, key, topic });
        }
    }

    /// The routes that select the event just judged.
    pub(super) fn selected(&self) -> impl Iterator<Item = Selected<'_>> {
        self.verdict.selected.iter().map(|Selecting { index, key, topic }| {
            let entry = &self.table.routes[*index];
            let made = topic.clone().map(|range| &self.verdict.topics[range]);
            Selected {
                entry,
                key: key.clone().map(|range| &self.verdict.keys[range]),
                topic: made.unwrap_or(&entry.rule.topic),
                is_made: made.is_some(),
            }
        })
    }

    /// The routes whose condition, or topic, could not be told for the event just judged.
    pub(super) fn undecided(&self) -> impl Iterator<Item = &Entry> {
        self.verdict.undecided.iter().map(|index| &self.table.routes[*index])
    }
}

impl Heard {
    fn listen(&mut self, table: &Table, topic: &str) {
        if self.topic == topic && self.by.len() == table.routes.len() {
            return;
        }
        topic.clone_into(&mut self.topic);
        let hears = |entry: &Entry| {
            entry.rule.from.as_deref().is_none_or(|from| topic::matches(from, topic))
        };
        self.by.clear();
        self.by.extend(table.routes.iter().map(hears));
    }
}
