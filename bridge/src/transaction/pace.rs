//! How much a transaction may carry, by the measured rate of the link.
//!
//! An open transaction holds up the readers of its partitions, and one that outlives its time-out
//! is lost: a slow link gets small ones, a fast one gets full ones.

use tributary_core::time::Instant;

use crate::settings::{BatchLimits, Settings};

/// The smallest budget; and a first record may always exceed it.
pub(super) const LEAST_BYTES: usize = 16 * 1024;
/// The budget before anything was measured: 8 s at 64 kbit/s, so that the first transaction ends in its time there, too.
const FIRST_BYTES: usize = 64 * 1024;

/// The next budget is at most so many times the last: one transaction may have met a lull.
const GROWTH: usize = 16;
/// A full transaction that took so long was held up by the link.
const LONG_MS: u64 = 1000;
/// So many times the limit on such a link. Of each transaction two round trips carry nothing, and what waits to be sent is
/// needed at once only where sending is quick.
const LONG_FACTOR: usize = 2;

/// The budget of the next transaction.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: BatchLimits,
    /// How long a transaction should take: a third of its time-out.
    target_ms: u64,
    bytes: usize,
    /// The largest budget, on this link.
    most: usize,
    records: usize,
    /// Bytes a second that the link has carried, as sent.
    rate: Option<u64>,
}

/// What a transaction tells of the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// When it began.
    pub(crate) begun: Instant,
    /// Its bytes, as budgets count them: before compression.
    pub(crate) bytes: usize,
    /// Its bytes as they were sent.
    pub(crate) wire: usize,
}

impl Pace {
    pub(crate) fn new(settings: &Settings) -> Self {
        let limits = settings.batch;
        Self {
            limits,
            target_ms: u64::from(settings.transaction_timeout_ms / 3),
            bytes: FIRST_BYTES.min(limits.transaction_bytes),
            most: limits.transaction_bytes,
            records: limits.records,
            rate: None,
        }
    }

    /// The limits of the next batch.
    pub(crate) fn limits(&self) -> BatchLimits {
        BatchLimits { transaction_bytes: self.bytes, records: self.records, ..self.limits }
    }

    /// Bytes a second that the link carries, as far as transactions have shown.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// A transaction was committed.
    pub(crate) fn committed(&mut self, now: Instant, measure: Measure) {
        let Measure { begun, bytes, wire } = measure;
        let elapsed_ms = now.ms_since(begun).max(1);
        // Small transactions measure round trips: what was carried once fades slowly.
        let kept = self.rate.unwrap_or(0) / 8 * 7;
        self.rate = Some((wire as u64 * 1000 / elapsed_ms).max(kept));
        let in_target = bytes as u64 * self.target_ms / elapsed_ms;
        let in_target = usize::try_from(in_target).unwrap_or(usize::MAX);
        // A small transaction measures round trips, not the link: it is no reason to shrink.
        let floor = if elapsed_ms <= self.target_ms { self.bytes } else { LEAST_BYTES };
        if bytes * 2 >= self.limits.transaction_bytes {
            let factor = if elapsed_ms >= LONG_MS { LONG_FACTOR } else { 1 };
            self.most = self.limits.transaction_bytes.saturating_mul(factor);
        }
        let grown = in_target.clamp(floor, self.bytes.saturating_mul(GROWTH));
        self.bytes = self.capped(grown);
        self.records = self.records.saturating_mul(2).min(self.limits.records);
    }

    /// A transaction was lost. If refused batches were being divided, the next one has fewer
    /// records, so that what is to be found in it is found in its time.
    pub(crate) fn lost(&mut self, was_divided: bool) {
        self.bytes = self.capped(self.bytes / 2);
        if was_divided {
            self.records = (self.records / 8).max(1);
        }
    }

    fn capped(&self, bytes: usize) -> usize {
        bytes.max(LEAST_BYTES).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(&Settings::new("gw", 1, vec![("kafka".to_owned(), 9092)]))
    }

    #[test]
    fn a_fast_link_soon_has_full_transactions() {
        let mut pace = pace();
        for turn in 0..5 {
            let begun = Instant(turn * 1000);
            let bytes = pace.limits().transaction_bytes;
            pace.committed(begun.plus_ms(100), Measure { begun, bytes, wire: bytes / 2 });
        }
        assert_eq!(pace.limits().transaction_bytes, 4 * 1024 * 1024);
    }

    #[test]
    fn a_long_link_has_larger_ones_for_as_long_as_it_is_long() {
        let mut pace = pace();
        let in_5_s = (16 << 20) / 3;
        let turns = [(100, 1 << 20), (1240, 4 << 20), (3750, in_5_s), (800, 4 << 20)];
        for (turn, (elapsed_ms, expected)) in (0..).zip(turns) {
            let begun = Instant(turn * 10_000);
            let bytes = pace.limits().transaction_bytes;
            pace.committed(begun.plus_ms(elapsed_ms), Measure { begun, bytes, wire: bytes });
            let next = pace.limits().transaction_bytes;
            assert_eq!(next, expected, "turn {turn}");
        }
    }

    #[test]
    fn a_slow_link_has_what_it_carries_in_the_target_time() {
        let mut pace = pace();
        // 10,000 bytes a second: 50,000 in 5 s.
        let begun = Instant(0);
        pace.committed(Instant(26_000), Measure { begun, bytes: 260_000, wire: 130_000 });
        assert_eq!(pace.rate(), Some(5_000));
        assert_eq!(pace.limits().transaction_bytes, 50_000);
        pace.lost(false);
        assert_eq!(pace.limits().transaction_bytes, 25_000);
        for _ in 0..9 {
            pace.lost(false);
        }
        assert_eq!(pace.limits().transaction_bytes, LEAST_BYTES);
    }

    #[test]
    fn what_could_not_be_found_in_time_is_looked_for_among_fewer() {
        let mut pace = pace();
        for _ in 0..9 {
            pace.lost(true);
        }
        assert_eq!(pace.limits().records, 1);
        pace.committed(Instant(10), Measure { begun: Instant(0), bytes: 9, wire: 9 });
        assert_eq!(pace.limits().records, 2);
    }

    #[test]
    fn a_small_transaction_says_nothing_about_the_link() {
        let mut pace = pace();
        pace.committed(Instant(400), Measure { begun: Instant(0), bytes: 200, wire: 200 });
        assert_eq!(pace.limits().transaction_bytes, FIRST_BYTES);
    }
}
