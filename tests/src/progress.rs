//! Long runs that show that they live.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Instant;

/// How often it is told.
const EVERY: Duration = Duration::from_secs(10);

/// How far a run has come: told on standard error now and then, also from a test, whose output cargo
/// would keep back.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    wanted: u64,
    done: AtomicU64,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Progress {
    /// Nothing is done of so many.
    #[must_use]
    pub fn new(what: &'static str, wanted: u64) -> Self {
        let begun = Instant::now();
        Self { what, wanted, done: AtomicU64::new(0), begun, told: Mutex::new(begun) }
    }

    /// How many are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many there shall be.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// So many more are done.
    pub fn add(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        // Whoever finds another one telling leaves it to that one.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() < EVERY {
            return;
        }
        *told = Instant::now();
        let line = line(self.what, done, self.wanted, self.begun.elapsed());
        // A terminal that is gone does not end the run.
        std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
    }
}

fn line(what: &str, done: u64, wanted: u64, passed: Duration) -> String {
    let ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    let tenths = done.saturating_mul(10_000) / ms;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let left_s = wanted.saturating_sub(done).saturating_mul(ms) / done.max(1) / 1000;
    let (minutes, seconds) = (left_s / 60, left_s % 60);
    format!("{done} of {wanted} {what}, {whole}.{tenth} a second, {minutes} min {seconds} s left\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_far_it_is_how_fast_and_how_long_it_takes() {
        let passed = Duration::from_secs(20);
        let told = line("cuts", 4_000, 100_000, passed);
        assert_eq!(told, "4000 of 100000 cuts, 200.0 a second, 8 min 0 s left\n");
        let told = line("cuts", 100_100, 100_000, passed);
        assert_eq!(told, "100100 of 100000 cuts, 5005.0 a second, 0 min 0 s left\n");
        assert_eq!(
            line("cuts", 0, 0, Duration::ZERO),
            "0 of 0 cuts, 0.0 a second, 0 min 0 s left\n"
        );
    }
}
