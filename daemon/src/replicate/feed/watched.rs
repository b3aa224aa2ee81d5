//! The log as a lane reads it: what a device does not give out now may still be there.
//!
//! To a reader of the log a page that cannot be read is damaged, and what was in it is gone. A lane tells
//! Kafka so, for ever. So it waits first: a disk that was reset, or a cable that was loose, comes back.

use core::cell::RefCell;

use tributary_core::log::{Geometry, Noted, ReadMedia};
use tributary_core::time::Age;

/// So long what cannot be read is tried again before it counts as damaged.
pub(super) const PATIENCE_MS: u64 = 10 * 60_000;
/// What cannot be read soon behind that is not waited for again: a card has many bad places.
const CALM_MS: u64 = 60_000;
/// And tried so often.
const RETRY_MS: u64 = 1_000;
/// As much counts as waited between two looks: the clock may go ahead by all that the machine was off.
const LOOK_MS_MAX: u64 = 10_000;

/// A log, and why it was not read.
#[derive(Debug)]
pub(super) struct Watched<M> {
    media: M,
    failure: RefCell<Option<String>>,
}

impl<M> Watched<M> {
    pub(super) const fn new(media: M) -> Self {
        Self { media, failure: RefCell::new(None) }
    }

    /// Why something could not be read since the last question.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.failure.take()
    }
}

impl<M: ReadMedia> ReadMedia for Watched<M> {
    type Error = M::Error;

    fn geometry(&self) -> Geometry {
        self.media.geometry()
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), M::Error> {
        self.media.read(segment, at, into).inspect_err(|error| {
            self.failure.borrow_mut().get_or_insert_with(|| error.to_string());
        })
    }

    fn noted(&self) -> Option<Noted> {
        self.media.noted()
    }
}

/// How long a device was waited for.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waited_ms: u64,
    looked: Option<Age>,
    /// What cannot be read, and why, while that is waited for.
    why: Option<String>,
}

impl Patience {
    /// Something could not be read. Whether it is to be waited for.
    pub(super) fn waits(&mut self, now: Age, why: &str) -> bool {
        if self.looked.is_none() {
            tracing::error!("{why}: it is tried again");
        }
        self.waited_ms = self.waited_ms.saturating_add(self.since_ms(now).min(LOOK_MS_MAX));
        self.looked = Some(now);
        let waits = self.waited_ms < PATIENCE_MS;
        if !waits && self.why.is_some() {
            tracing::error!("{why}: what cannot be read counts as damaged from now on");
        }
        self.why = waits.then(|| why.to_owned());
        waits
    }

    /// Why nothing is to be read yet: who fails is not asked at each occasion.
    pub(super) fn rests(&self, now: Age) -> Option<&String> {
        self.why.as_ref().filter(|_| self.since_ms(now) < RETRY_MS)
    }

    /// All could be read.
    pub(super) fn calm(&mut self, now: Age) {
        if self.waited_ms < PATIENCE_MS || self.since_ms(now) >= CALM_MS {
            *self = Self::default();
        }
    }

    fn since_ms(&self, now: Age) -> u64 {
        self.looked.map_or(0, |looked| now.0.saturating_sub(looked.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: &str = "a cable is loose";

    #[test]
    fn a_device_is_waited_for_once_and_not_for_each_of_its_bad_places() {
        let mut patience = Patience::default();
        let mut now = Age(7);
        while patience.waits(now, WHY) {
            assert!(patience.rests(Age(now.0 + 1)).is_some());
            now.0 += 2_000;
            assert!(patience.rests(now).is_none());
        }
        assert_eq!(now.0, 7 + PATIENCE_MS);
        patience.calm(now);
        assert!(!patience.waits(Age(now.0 + 1), WHY), "the next bad place");
        assert!(patience.rests(Age(now.0 + 2)).is_none());
        patience.calm(Age(now.0 + 1 + CALM_MS));
        assert!(patience.waits(Age(now.0 + 2 * CALM_MS), WHY));
    }

    #[test]
    fn a_clock_that_goes_ahead_ends_no_patience() {
        let mut patience = Patience::default();
        assert!(patience.waits(Age(1), WHY));
        assert!(patience.waits(Age(1 + 10 * PATIENCE_MS), WHY));
    }
}
