//! What topics have taught by what they refuse: settings that we may not be allowed to read.

use std::collections::{BTreeMap, BTreeSet};

use crate::transaction::Lesson;

/// The smallest bound of a batch; one record may always exceed it.
const BATCH_BYTES_MIN: usize = 512;
/// After so many transactions a topic gets larger batches again: its setting may have been changed.
const TRANSACTIONS_TO_GROW: u32 = 32;

/// What is known of topics.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    /// Those that have refused the time of a record.
    pub(crate) send_time: BTreeSet<String>,
    /// Those that took a batch although the one before it was refused, as a partition does that knows
    /// nothing of the producer: their batches are sent one at a time until some are taken in order.
    pub(crate) disordered: BTreeSet<String>,
    bounds: BTreeMap<String, Bound>,
}

/// How large the batches of a topic are made.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// Before compression.
    bytes: usize,
    /// Transactions that were taken with it.
    taken: u32,
}

impl Lessons {
    /// The topics that take only smaller batches, in bytes before compression.
    pub(crate) fn batch_bytes(&self) -> impl Iterator<Item = (String, usize)> {
        self.bounds.iter().map(|(topic, bound)| (topic.clone(), bound.bytes))
    }

    /// Takes note of a lesson. Whether that changes anything.
    pub(crate) fn learn(&mut self, lesson: &Lesson, batch_bytes_max: usize) -> bool {
        let topic = &*lesson.topic;
        if lesson.disordered {
            self.disordered.insert(topic.to_owned());
        } else if lesson.fits > 0 {
            self.disordered.remove(topic);
        }
        let is_restamped = lesson.restamped > 0 && self.send_time.insert(topic.to_owned());
        let Some(too_large) = lesson.too_large else {
            return self.grow(lesson, batch_bytes_max) || is_restamped;
        };
        // What was taken, then. A part of a batch may be small because a record beside it was large:
        // that says little.
        let bytes = lesson.fits.clamp(too_large / 4, too_large).max(BATCH_BYTES_MIN);
        self.bounds.insert(topic.to_owned(), Bound { bytes, taken: 0 });
        true
    }

    /// A topic with smaller batches has taken some.
    fn grow(&mut self, lesson: &Lesson, batch_bytes_max: usize) -> bool {
        let Some(bound) = self.bounds.get_mut(&*lesson.topic).filter(|_| lesson.fits > 0) else {
            return false;
        };
        bound.taken += 1;
        if bound.taken < TRANSACTIONS_TO_GROW {
            return false;
        }
        *bound = Bound { bytes: bound.bytes + bound.bytes / 4, taken: 0 };
        if bound.bytes >= batch_bytes_max {
            self.bounds.remove(&*lesson.topic);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 900_000;

    fn lesson(fits: usize, too_large: Option<usize>) -> Lesson {
        Lesson { topic: "hot".into(), restamped: 0, fits, too_large, disordered: false }
    }

    fn bound(lessons: &Lessons) -> Option<usize> {
        lessons.batch_bytes().next().map(|(_, bytes)| bytes)
    }

    #[test]
    fn batches_are_as_small_as_those_that_were_taken() {
        let mut lessons = Lessons::default();
        assert!(!lessons.learn(&lesson(800_000, None), MOST));
        assert!(lessons.learn(&lesson(450_000, Some(900_000)), MOST));
        assert_eq!(bound(&lessons), Some(450_000));
        assert!(lessons.learn(&lesson(100, Some(400_000)), MOST));
        assert_eq!(bound(&lessons), Some(100_000), "one large record says little");
        lessons.learn(&lesson(0, Some(2)), MOST);
        assert_eq!(bound(&lessons), Some(BATCH_BYTES_MIN));
    }

    #[test]
    fn batches_grow_slowly_until_the_topic_is_as_others() {
        let mut lessons = Lessons::default();
        lessons.learn(&lesson(675_000, Some(900_000)), MOST);
        assert_eq!(bound(&lessons), Some(675_000));
        for _ in 1..TRANSACTIONS_TO_GROW {
            assert!(!lessons.learn(&lesson(90_000, None), MOST));
        }
        assert!(lessons.learn(&lesson(90_000, None), MOST));
        assert_eq!(bound(&lessons), Some(843_750));
        for _ in 0..TRANSACTIONS_TO_GROW {
            lessons.learn(&lesson(90_000, None), MOST);
        }
        assert_eq!(bound(&lessons), None);
    }
}
