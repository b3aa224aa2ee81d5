//! How long to wait for the next session.

use tributary_core::time::Instant;

use crate::failure::Failure;

const FIRST_MS: u64 = 100;
const MAX_MS: u64 = 10_000;
/// Spread of the first try after a link has come back.
const RETURN_MS: u64 = 750;
/// Two clones that fence each other must not keep a cluster busy. Doubles up to [`LONG_MS`]: one of them
/// gets the time that its transaction takes, and the other finds out from its position.
const FENCED_MS: u64 = 5_000;
/// A password may be new in one place and old in the other for a moment; and accounts are locked after
/// too many tries. Doubles up to [`LONG_MS`].
const UNAUTHENTICATED_MS: u64 = 4_000;
/// What only an operator can put right.
const LONG_MS: u64 = 60_000;
/// A topic that is refused for a while is one that its lane goes on without. Doubles up to [`LONG_MS`].
const REFUSED_TOPIC_MS: u64 = 4_000;

/// Waits that grow from failure to failure, spread so that a fleet does not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    /// How many of them were fences.
    fences: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, fences: 0, random: seed }
    }

    /// A transaction was committed: the way is good.
    pub(crate) fn reset(&mut self) {
        (self.failures, self.fences) = (0, 0);
    }

    /// When the session after this failure begins.
    pub(crate) fn next(&mut self, now: Instant, failure: &Failure) -> Instant {
        let base_ms = match failure {
            Failure::Unreachable(_) | Failure::Ended(_) => {
                (FIRST_MS << self.failures.min(16)).min(MAX_MS)
            }
            Failure::Unauthenticated(_) => {
                (UNAUTHENTICATED_MS << self.failures.min(16)).min(LONG_MS)
            }
            Failure::Refused(refusal) if refusal.topic.is_some() => {
                (REFUSED_TOPIC_MS << self.failures.min(16)).min(LONG_MS)
            }
            Failure::Fenced(_) => {
                self.fences = self.fences.saturating_add(1);
                (FENCED_MS << (self.fences - 1).min(16)).min(LONG_MS)
            }
            Failure::Alarm(_) | Failure::Refused(_) | Failure::Halt(_) => LONG_MS,
        };
        self.failures = self.failures.saturating_add(1);
        // Between half and all of it.
        now.plus_ms(base_ms / 2 + self.random() % (base_ms / 2 + 1))
    }

    /// When the next session begins because a link has come back: soon, but a fleet whose links come
    /// back together is spread. What fails then is tried again soon too.
    pub(crate) fn after_return(&mut self, now: Instant) -> Instant {
        self.failures = 0;
        now.plus_ms(self.random() % RETURN_MS)
    }

    /// `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_a_commit() {
        let mut backoff = Backoff::new(7);
        let ended = Failure::Ended(String::new());
        let mut wait = || backoff.next(Instant(0), &ended).0;
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let waited = wait();
            assert!((expected / 2..=expected).contains(&waited), "{waited} of {expected}");
        }
        backoff.reset();
        assert!(backoff.next(Instant(0), &ended).0 <= 100);
    }

    #[test]
    fn whom_a_broker_does_not_let_in_waits_longer_each_time() {
        let refusal = crate::status::Refusal {
            subject: String::new(),
            topic: None,
            partition: None,
            offsets: None,
            error: String::new(),
        };
        let failure = Failure::Unauthenticated(refusal);
        let mut backoff = Backoff::new(7);
        for expected in [4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let waited = backoff.next(Instant(0), &failure).0;
            assert!((expected / 2..=expected).contains(&waited), "{waited} of {expected}");
        }
    }

    #[test]
    fn who_is_fenced_leaves_the_other_more_time_each_time() {
        let fenced = Failure::Fenced(String::new());
        let mut backoff = Backoff::new(7);
        for _ in 0..5 {
            backoff.next(Instant(0), &Failure::Ended(String::new()));
        }
        for expected in [5_000, 10_000, 20_000, 40_000, 60_000] {
            let waited = backoff.next(Instant(0), &fenced).0;
            assert!((expected / 2..=expected).contains(&waited), "{waited} of {expected}");
        }
        backoff.reset();
        assert!(backoff.next(Instant(0), &fenced).0 <= 5_000);
    }

    #[test]
    fn gateways_do_not_come_back_in_step() {
        let fenced = Failure::Fenced(String::new());
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|seed| Backoff::new(seed).next(Instant(0), &fenced)).collect();
        assert!(waits.len() > 40, "{waits:?}");
    }
}
