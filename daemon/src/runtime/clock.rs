//! What time it is, as far as this gateway can know.
//!
//! A small gateway has no clock at boot. The age clock only runs forward: time since boot, carried
//! over restarts by the log; time spent off is added once the wall clock can be trusted. The wall
//! clock is trusted when it is not before anything that was trusted earlier, nor before the build.

use serde::{Deserialize, Serialize};
use tributary_core::log::Clock;
use tributary_core::time::{Age, Instant, Timestamp};

/// No correct clock shows a time before this software existed: 2026-01-01 00:00 UTC.
const WALL_MIN: Timestamp = Timestamp(1_767_225_600_000);
/// A wall clock that is this much off the age clock has stepped.
const STEP_MS: i64 = 2_000;

/// One reading of the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the machine was booted, time asleep included: what deadlines are kept on.
    pub now: Instant,
    /// What the wall clock shows.
    pub wall: Timestamp,
}

/// A moment on both clocks, for correcting the times of events from before the clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The age clock.
    pub age: u64,
    /// The wall clock at that moment.
    pub wall: i64,
    /// Whether the wall clock could be trusted.
    pub trusted: bool,
}

impl Anchor {
    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_else(|_| unreachable!("three numbers"))
    }
}

/// The two clocks of this run.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    age_at_boot: i64,
    trusted_min: Timestamp,
    anchor: Anchor,
}

impl Clocks {
    /// Goes on from the last clock that the log knows.
    #[must_use]
    pub fn resume(last: Option<Clock>, moment: Moment) -> Self {
        let (wall, boot) = (moment.wall, moment.now.0);
        let last = last.unwrap_or(Clock { wall: WALL_MIN, age: Age(0), trusted: false });
        let trusted_min = if last.trusted { last.wall.max(WALL_MIN) } else { WALL_MIN };
        let trusted = wall >= trusted_min;
        let off_ms = if trusted && last.trusted { (wall.0 - last.wall.0).max(0) } else { 0 };
        let age = last.age.0.saturating_add_signed(off_ms);
        Self {
            age_at_boot: age.cast_signed() - boot.cast_signed(),
            trusted_min,
            anchor: Anchor { age, wall: wall.0, trusted },
        }
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self, moment: Moment) -> Clock {
        let Moment { now, wall } = moment;
        let age = Age((now.0.cast_signed() + self.age_at_boot).max(0).cast_unsigned());
        Clock { wall, age, trusted: wall >= self.trusted_min }
    }

    /// A new anchor if the wall clock was set since the last one.
    pub fn stepped(&mut self, moment: Moment) -> Option<Anchor> {
        let now = self.now(moment);
        let expected = self.anchor.wall + (now.age.0.cast_signed() - self.anchor.age.cast_signed());
        if (now.wall.0 - expected).abs() < STEP_MS && now.trusted == self.anchor.trusted {
            return None;
        }
        self.anchor = Anchor { age: now.age.0, wall: now.wall.0, trusted: now.trusted };
        Some(self.anchor)
    }

    /// The anchor of this run.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }
}
