//! What time it is, as far as this gateway can know.
//!
//! A small gateway has no clock at boot, or one that is years off. The age clock only runs forward:
//! time since boot, carried over restarts by the log. Time spent off is added once the wall clock
//! is *confirmed*: the system has set it by the network, or it has kept step with the time since
//! boot for a day. So a boot in 1970 or a jump to 2040 and back makes nothing older.
//!
//! The wall clock is trusted when it is confirmed, or not before anything that was trusted earlier,
//! nor before this software.

use serde::{Deserialize, Serialize};
use tributary_core::log::Clock;
use tributary_core::time::{Age, Instant, Timestamp};

/// No correct clock shows a time before this software existed: 2026-01-01 00:00 UTC.
const WALL_MIN: Timestamp = Timestamp(1_767_225_600_000);
/// A wall clock that is this much off the age clock has stepped.
const STEP_MS: i64 = 2_000;
/// A wall clock that was not set for so long is right, or nobody knows better.
const STEADY_MS: u64 = 24 * 3_600_000;
/// Longer outages than this are believed only of a steady clock.
const OFF_MS_MAX: i64 = 60 * 24 * 3_600_000;

/// One reading of the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the machine was booted, time asleep included: what deadlines are kept on.
    pub now: Instant,
    /// What the wall clock shows.
    pub wall: Timestamp,
    /// Whether the system says that it was set by the network since the boot; `false` also where
    /// nobody has looked.
    pub is_set: bool,
}

/// A moment on both clocks, for correcting the times of events from before the clock was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The age clock.
    pub age: u64,
    /// The wall clock at that moment.
    pub wall: i64,
    /// Whether the wall clock could be trusted.
    pub trusted: bool,
    /// The time off that was added to the age clock in this run, 0 if none was; not in the record.
    #[serde(skip)]
    pub off_ms: u64,
    /// Ages of this run from before it was added: first and last.
    #[serde(skip)]
    pub off_from: u64,
    /// See there.
    #[serde(skip)]
    pub off_until: u64,
}

impl Anchor {
    /// When it was on the wall clock of this anchor, at an age that was read in this run or before.
    #[must_use]
    pub fn wall_at(&self, age: Age) -> Timestamp {
        let age = self.counted(age).0;
        Timestamp(self.wall - (self.age.cast_signed() - age.cast_signed()))
    }

    /// An age that was read in this run or before, by the age clock as it is since time off was
    /// added: what is of this run is younger than that.
    fn counted(&self, age: Age) -> Age {
        // Added at the start, it is in every age of this run.
        let is_late = self.off_from < self.off_until;
        let is_from_before = is_late && (self.off_from..=self.off_until).contains(&age.0);
        if is_from_before { Age(age.0.saturating_add(self.off_ms)) } else { age }
    }

    /// The other way round: what bears an age below the answer is from before `age`.
    #[must_use]
    pub fn as_read(&self, age: Age) -> Age {
        let read = age.0.saturating_sub(self.off_ms);
        let is_late = self.off_from < self.off_until;
        let is_from_before = is_late && age.0 > self.off_from && read <= self.off_until;
        if is_from_before { Age(read.max(self.off_from)) } else { age }
    }

    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_else(|_| unreachable!("a few numbers"))
    }
}

/// The two clocks of this run.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    age_at_boot: i64,
    trusted_min: Timestamp,
    /// The last trusted moment before this run, as long as the time off is not added.
    before: Option<Before>,
    /// Whether it was ever said to be set in this run.
    is_set: bool,
    /// Since when the wall clock keeps step with the time since boot.
    steady_since: Instant,
    anchor: Anchor,
}

/// The end of the last run, and when this one began.
#[derive(Clone, Copy, Debug)]
struct Before {
    wall: Timestamp,
    resumed: Instant,
    age: Age,
}

impl Clocks {
    /// Goes on from the last clock that the log knows.
    #[must_use]
    pub fn resume(last: Option<Clock>, moment: Moment) -> Self {
        let last = last.unwrap_or(Clock { wall: WALL_MIN, age: Age(0), trusted: false });
        let trusted_min = if last.trusted { last.wall.max(WALL_MIN) } else { WALL_MIN };
        let before = Before { wall: last.wall, resumed: moment.now, age: last.age };
        let mut clocks = Self {
            age_at_boot: last.age.0.cast_signed() - moment.now.0.cast_signed(),
            trusted_min,
            before: last.trusted.then_some(before),
            is_set: moment.is_set,
            steady_since: moment.now,
            anchor: Anchor::default(),
        };
        clocks.add_time_off(moment);
        clocks.anchor = clocks.anchor_at(moment);
        clocks
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self, moment: Moment) -> Clock {
        let Moment { now, wall, .. } = moment;
        let age = Age((now.0.cast_signed() + self.age_at_boot).max(0).cast_unsigned());
        let known = wall >= self.trusted_min || self.is_set || self.is_steady(now);
        Clock { wall, age, trusted: wall >= WALL_MIN && known }
    }

    /// How long ago an age was that was read in this run or before.
    #[must_use]
    pub fn ms_since(&self, age: Age, moment: Moment) -> u64 {
        self.now(moment).age.0.saturating_sub(self.anchor.counted(age).0)
    }

    /// To be called again and again. A new anchor if the wall clock was set, or the time spent off
    /// was added, since the last one.
    pub fn stepped(&mut self, moment: Moment) -> Option<Anchor> {
        let Anchor { age, wall, trusted, .. } = self.anchor;
        self.is_set |= moment.is_set;
        let now = self.now(moment);
        let expected = wall + (now.age.0.cast_signed() - age.cast_signed());
        let has_stepped = (now.wall.0 - expected).abs() >= STEP_MS;
        if has_stepped {
            self.steady_since = moment.now;
        }
        if !self.add_time_off(moment) && !has_stepped && now.trusted == trusted {
            return None;
        }
        self.anchor = self.anchor_at(moment);
        Some(self.anchor)
    }

    /// The anchor of this run.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    fn anchor_at(&self, moment: Moment) -> Anchor {
        let Clock { wall, age, trusted } = self.now(moment);
        Anchor { age: age.0, wall: wall.0, trusted, ..self.anchor }
    }

    fn is_steady(&self, now: Instant) -> bool {
        now.ms_since(self.steady_since) >= STEADY_MS
    }

    /// Adds the time that the machine was off, if it can be known by now; whether it was any.
    fn add_time_off(&mut self, moment: Moment) -> bool {
        let Some(before) = self.before else { return false };
        let run_ms = moment.now.ms_since(before.resumed).cast_signed();
        let off_ms = (moment.wall.0 - run_ms - before.wall.0).max(0);
        let is_plausible = moment.wall >= WALL_MIN && off_ms <= OFF_MS_MAX;
        if !(self.is_set && is_plausible || self.is_steady(moment.now)) {
            return false;
        }
        self.before = None;
        self.anchor.off_from = before.age.0;
        self.anchor.off_until = self.now(moment).age.0;
        self.anchor.off_ms = off_ms.cast_unsigned();
        self.age_at_boot += off_ms;
        off_ms > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;
    const YEARS: i64 = 14 * 365 * 24 * 3_600_000;

    fn moment(now: u64, wall: i64, is_set: bool) -> Moment {
        Moment { now: Instant(now), wall: Timestamp(wall), is_set }
    }

    fn last(age: u64) -> Clock {
        Clock { wall: Timestamp(NOON), age: Age(age), trusted: true }
    }

    #[test]
    fn time_off_is_added_when_the_network_has_set_the_clock() {
        let mut clocks = Clocks::resume(Some(last(1_000)), moment(10, 5_000, false));
        let at_boot = clocks.now(moment(10, 5_000, false));
        assert_eq!((at_boot.age, at_boot.trusted), (Age(1_000), false), "a boot in 1970");
        // A minute later NTP says that an hour has passed.
        let set = moment(60_010, NOON + 3_600_000, true);
        let anchor = clocks.stepped(set).expect("a step");
        assert_eq!(anchor.age, 1_000 + HOUR, "off for an hour but a minute, on for that minute");
        assert!(anchor.trusted);
        // What came in at the boot came in a minute ago, and what came before it an hour ago.
        assert_eq!(anchor.wall_at(at_boot.age), Timestamp(NOON + 3_540_000));
        assert_eq!(anchor.wall_at(Age(999)), Timestamp(NOON - 1));
        assert_eq!(clocks.stepped(moment(60_020, NOON + 3_600_010, true)), None, "added once");
        for (age, ms) in [(999, HOUR + 1), (1_000, 60_000), (60_000, 1_000), (61_000, 0)] {
            assert_eq!(clocks.ms_since(Age(age), set), ms, "read as {age}");
        }
        assert_eq!(clocks.ms_since(Age(1_000 + HOUR), set), 0, "read now");
        for (age, read) in [(900, 900), (1_001, 1_000), (HOUR - 60_000, 1_000), (HOUR, 60_000)] {
            assert_eq!(anchor.as_read(Age(age)), Age(read), "before {age}");
        }
        assert_eq!(anchor.as_read(Age(HOUR + 70_000)), Age(HOUR + 70_000));
    }

    #[test]
    fn a_jump_to_2040_and_back_makes_nothing_older() {
        let mut clocks = Clocks::resume(Some(last(1_000)), moment(10, NOON + YEARS, false));
        for (now, wall) in [(20, NOON + YEARS + 10), (30, NOON + 30), (HOUR, NOON + 3_600_000)] {
            clocks.stepped(moment(now, wall, false));
            assert_eq!(clocks.now(moment(now, wall, false)).age, Age(990 + now));
        }
        // Nor does the network when it is wrong by years.
        let wrong = moment(2 * HOUR, NOON + YEARS, true);
        clocks.stepped(wrong);
        assert_eq!(clocks.now(wrong).age, Age(990 + 2 * HOUR));
    }

    #[test]
    fn a_steady_clock_is_believed_after_a_day() {
        let boot = moment(0, NOON + 7_200_000, false);
        let mut clocks = Clocks::resume(Some(last(0)), boot);
        let after = |hours: u64| {
            moment(hours * HOUR, NOON + 7_200_000 + (hours * HOUR).cast_signed(), false)
        };
        clocks.stepped(after(23));
        assert_eq!(clocks.now(after(23)).age, Age(23 * HOUR));
        clocks.stepped(after(24));
        assert_eq!(clocks.now(after(24)).age, Age(26 * HOUR), "two hours off");
    }

    #[test]
    fn a_run_in_2040_does_not_take_the_trust_from_all_that_follow() {
        let in_2040 = Some(Clock { wall: Timestamp(NOON + YEARS), age: Age(0), trusted: true });
        let clocks = Clocks::resume(in_2040, moment(0, NOON, false));
        assert!(!clocks.now(moment(1, NOON + 1, false)).trusted, "which is right?");
        let set = Clocks::resume(in_2040, moment(0, NOON, true));
        assert!(set.now(moment(1, NOON + 1, false)).trusted, "the network knows");
        let next_day = moment(24 * HOUR, NOON + 24 * 3_600_000, false);
        assert!(clocks.now(next_day).trusted, "nobody knows better");
    }
}
