//! The machine's clocks.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tributary_core::time::{Instant, Timestamp};

use crate::runtime::clock::Moment;

/// Wall time; before 1970 it is negative.
#[must_use]
pub fn wall() -> Timestamp {
    let ms = |d: core::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    })
}

/// Milliseconds since the machine was booted, time asleep included.
#[must_use]
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let ms = now.tv_sec.saturating_mul(1_000) + now.tv_nsec / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

/// Both clocks, and whether the wall clock is known to be set.
#[must_use]
pub fn moment_looked_at() -> Moment {
    Moment { is_set: is_set(), ..moment() }
}

/// Whether the system's time service says that it has set the clock since the boot. It says so by
/// a file in RAM (systemd-timesyncd, and what follows its example: systemd-timesyncd.service(8)).
fn is_set() -> bool {
    Path::new("/run/systemd/timesync/synchronized").exists()
}

/// Both clocks.
#[must_use]
pub fn moment() -> Moment {
    Moment { now: now(), wall: wall(), is_set: false }
}

/// How long some work takes.
pub fn nanoseconds_of(work: impl FnOnce()) -> u64 {
    let begun = std::time::Instant::now();
    work();
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The clock that deadlines are kept on.
#[must_use]
pub fn now() -> Instant {
    Instant(boot_ms())
}

/// Microseconds of a clock that only runs forward, for how long something took.
#[must_use]
pub fn micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let us = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1_000;
    u64::try_from(us).unwrap_or(0)
}
