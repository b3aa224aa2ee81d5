//! How long a transaction may take where it cannot be made smaller.
//!
//! Its time-out is short, so that nobody waits long behind a gateway that is gone; but what the link does not carry in
//! that time would be tried for ever, and nothing behind it sent. So the time is doubled where a transaction that is as
//! small as can be was lost by it, until one is committed; and it is short again after a while. It holds for answers,
//! too: what is sent behind a large batch waits for it.

use tributary_core::time::Instant;

use super::Transaction;
use super::pace::LEAST_BYTES;
use crate::settings::Settings;

/// The longest time; Kafka's `transaction.max.timeout.ms` is 15 minutes by default.
const MOST_MS: u32 = 600_000;
/// What is smaller than this was not held up by a link that is slow, but by one that is gone.
const SLOW_BYTES: usize = 2 * 1024;
/// After so many transactions that needed no more than the usual time it is enough again.
const COMMITS_CALM: u32 = 8;

/// How long transactions, and answers, may take.
#[derive(Debug)]
pub(crate) struct Patience {
    /// As it is set, of transactions and of answers.
    usual_ms: (u32, u32),
    /// How often it is doubled, and how often it may be.
    doublings: u32,
    doublings_max: u32,
    /// Transactions since one needed it.
    calm: u32,
}

impl Patience {
    pub(crate) fn new(settings: &Settings) -> Self {
        let usual_ms = (settings.transaction_timeout_ms, settings.request_timeout_ms);
        let least_ms = usual_ms.0.min(usual_ms.1).max(1);
        let doublings_max = MOST_MS.div_ceil(least_ms).next_power_of_two().ilog2();
        Self { usual_ms, doublings: 0, doublings_max, calm: 0 }
    }

    /// The longest time of a transaction.
    pub(crate) fn transaction_ms(&self) -> u32 {
        self.doubled(self.usual_ms.0)
    }

    /// The longest time of an answer.
    pub(crate) fn request_ms(&self) -> u32 {
        self.doubled(self.usual_ms.1)
    }

    /// A transaction that began at this moment was committed.
    pub(crate) fn committed(&mut self, now: Instant, begun: Instant) {
        let usual_ms = self.usual_ms.0.min(self.usual_ms.1);
        let is_calm = now.ms_since(begun) <= u64::from(usual_ms);
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if self.calm >= COMMITS_CALM {
            (self.doublings, self.calm) = (0, 0);
        }
    }

    /// A transaction was lost.
    pub(crate) fn lost(&mut self, now: Instant, transaction: &Transaction) {
        let all_ms = self.transaction_ms().min(self.request_ms());
        let bytes = transaction.measure().wire;
        let is_least = transaction.is_of_one_event() || bytes <= LEAST_BYTES;
        let is_late = now.ms_since(transaction.begun) >= u64::from(all_ms);
        if is_late && is_least && bytes >= SLOW_BYTES {
            self.doublings = (self.doublings + 1).min(self.doublings_max);
            self.calm = 0;
        }
    }

    /// The cluster does not permit so long a transaction. Whether a shorter one is to be tried.
    pub(crate) fn refused(&mut self) -> bool {
        let is_longer = self.doublings > 0;
        self.doublings = self.doublings.saturating_sub(1);
        self.doublings_max = self.doublings;
        is_longer
    }

    fn doubled(&self, usual_ms: u32) -> u32 {
        usual_ms.saturating_mul(1 << self.doublings).min(MOST_MS.max(usual_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_what_the_cluster_permits_and_is_soon_as_usual() {
        let settings = Settings::new("gw", 1, vec![("kafka".to_owned(), 9092)]);
        let mut patience = Patience::new(&settings);
        assert!(!patience.refused(), "the usual time");
        let mut patience = Patience { doublings: 6, ..Patience::new(&settings) };
        assert_eq!((patience.doublings_max, patience.transaction_ms()), (6, MOST_MS));
        assert!(patience.refused());
        assert_eq!((patience.transaction_ms(), patience.request_ms()), (480_000, 480_000));
        assert_eq!(patience.doublings_max, 5);
        for (elapsed_ms, commits) in [(100, COMMITS_CALM - 1), (20_000, 1), (100, COMMITS_CALM - 1)]
        {
            for _ in 0..commits {
                patience.committed(Instant(elapsed_ms), Instant(0));
            }
        }
        assert_eq!(patience.transaction_ms(), 480_000);
        patience.committed(Instant(100), Instant(0));
        assert_eq!((patience.transaction_ms(), patience.request_ms()), (15_000, 15_000));
    }
}
