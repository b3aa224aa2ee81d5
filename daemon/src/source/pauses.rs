//! How long to wait before a broker is tried again.

/// The first pause, in milliseconds.
const FIRST_MS: u64 = 250;
/// The longest pause, in milliseconds.
const MAX_MS: u64 = 30_000;
/// A connection that has lasted so long was a good one, in milliseconds.
const GOOD_MS: u64 = 10_000;

/// Pauses that grow from failure to failure, spread so that a fleet does not come back in step.
#[derive(Debug)]
pub struct Pauses {
    failures: u32,
    random: u64,
}

impl Pauses {
    /// Nothing has failed yet; `seed` decides about the spread.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// A connection has failed that had lasted `lasted_ms`: so many milliseconds until the next.
    pub fn next_ms(&mut self, lasted_ms: u64) -> u64 {
        if lasted_ms >= GOOD_MS {
            self.failures = 0;
        }
        let whole = (FIRST_MS << self.failures.min(16)).min(MAX_MS);
        self.failures = self.failures.saturating_add(1);
        // An xorshift generator (Marsaglia, 2003): good enough to be spread by.
        self.random = self.random.max(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        whole / 2 + self.random % (whole / 2 + 1)
    }

    /// A link has come back: what failed without it does not count.
    pub const fn forget(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew_after_a_good_connection() {
        let mut pauses = Pauses::new(7);
        for whole in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let pause = pauses.next_ms(0);
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        }
        assert!(pauses.next_ms(GOOD_MS) <= 250);
        assert!(pauses.next_ms(0) > 249);
        pauses.forget();
        assert!(pauses.next_ms(0) <= 250);
    }

    #[test]
    fn gateways_do_not_come_back_in_step() {
        let mut all: Vec<u64> = (0..50)
            .map(|seed| {
                let mut pauses = Pauses::new(seed);
                (0..8).map(|_| pauses.next_ms(0)).sum()
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 40, "{all:?}");
    }
}
