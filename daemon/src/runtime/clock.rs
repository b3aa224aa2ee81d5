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

/// Outages of which ages that were read meanwhile are still corrected; the oldest goes first.
const OUTAGES_MAX: usize = 16;

/// A moment on both clocks, for correcting the times of events from before the clock was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The age clock.
    pub age: u64,
    /// The wall clock at that moment.
    pub wall: i64,
    /// Whether the wall clock could be trusted.
    pub trusted: bool,
    /// What was added late to the age clock, oldest first; behind them there are empty ones.
    outages: [Outage; OUTAGES_MAX],
    /// The last moment before outages that are not added yet.
    before: Option<Before>,
}

/// Time off that was added to the age clock when something had been read from it since: the younger for
/// that is what bears an age from `from` to `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The first age that was read, and did not have it.
    pub from: u64,
    /// The last one.
    pub until: u64,
    /// How long it was, in milliseconds.
    pub ms: u64,
}

/// The last moment on both clocks that could be trusted, of a run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    age: u64,
    wall: i64,
}

/// The end of an anchor's record. Before there was one it was not known.
#[derive(Default, Serialize, Deserialize)]
struct Rest {
    outages: Vec<Outage>,
    before: Option<Before>,
}

impl Anchor {
    /// A moment, where no time off is to be added.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::default().at(clock)
    }

    /// The same log's anchor at another moment.
    #[must_use]
    pub fn at(self, clock: Clock) -> Self {
        let Clock { wall, age, trusted } = clock;
        Self { age: age.0, wall: wall.0, trusted, ..self }
    }

    /// The age by which to look for what came in at this time or later; the log may have read another one then, see
    /// [`Self::as_read`].
    #[must_use]
    pub fn age_at(&self, wall: Timestamp) -> Age {
        Age(self.age.saturating_add_signed(wall.0.saturating_sub(self.wall)))
    }

    /// When it was on the wall clock of this anchor, at an age that was read in this run or before.
    #[must_use]
    pub fn wall_at(&self, age: Age) -> Timestamp {
        let age = self.counted(age).0;
        Timestamp(self.wall - (self.age.cast_signed() - age.cast_signed()))
    }

    /// An age that was read in this run or before, by the age clock as it is since time off was
    /// added.
    #[must_use]
    pub fn counted(&self, age: Age) -> Age {
        let is_meanwhile = |outage: &&Outage| (outage.from..=outage.until).contains(&age.0);
        let added = self.outages().find(is_meanwhile).map_or(0, |outage| outage.ms);
        Age(age.0.saturating_add(added))
    }

    /// For how long before `now` an age was that was read in this run or before.
    #[must_use]
    pub fn ms_before(&self, now: Age, age: Age) -> u64 {
        now.0.saturating_sub(self.counted(age).0)
    }

    /// The other way round: what bears an age below the answer is from before `age`.
    #[must_use]
    pub fn as_read(&self, age: Age) -> Age {
        let is_meanwhile = |outage: &&Outage| {
            age.0 > outage.from && age.0.saturating_sub(outage.ms) <= outage.until
        };
        let read = |outage: &Outage| Age(age.0.saturating_sub(outage.ms).max(outage.from));
        self.outages().find(is_meanwhile).map_or(age, read)
    }

    /// What was added late, oldest first.
    pub fn outages(&self) -> impl Iterator<Item = &Outage> {
        self.outages.iter().filter(|outage| outage.ms > 0)
    }

    /// Time off was added. Ages that nobody can have read need no correction.
    fn note(&mut self, outage: Outage) {
        if outage.from > outage.until || outage.ms == 0 {
            return;
        }
        if self.outages().count() == OUTAGES_MAX {
            self.outages[0] = Outage::default();
        }
        // The empty ones go to the end.
        self.outages.sort_by_key(|outage| outage.ms == 0);
        if let Some(free) = self.outages.iter_mut().find(|outage| outage.ms == 0) {
            *free = outage;
        }
    }

    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let outages: Vec<Outage> = self.outages().copied().collect();
        let rest = Rest { outages, before: self.before };
        let is_plain = rest.outages.is_empty() && rest.before.is_none();
        let begun = postcard::to_allocvec(&(self.age, self.wall, self.trusted));
        begun
            .and_then(|body| if is_plain { Ok(body) } else { postcard::to_extend(&rest, body) })
            .unwrap_or_else(|_| unreachable!("a few numbers"))
    }

    /// Reads the body of a control record, of earlier versions too; of later ones what is known here.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let ((age, wall, trusted), rest) = postcard::take_from_bytes(body).ok()?;
        let Rest { outages, before } = match rest {
            [] => Rest::default(),
            rest => postcard::take_from_bytes(rest).ok()?.0,
        };
        let clock = Clock { wall: Timestamp(wall), age: Age(age), trusted };
        let mut anchor = Self { before, ..Self::new(clock) };
        for outage in outages {
            anchor.note(outage);
        }
        Some(anchor)
    }
}

/// The two clocks of this run.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    age_at_boot: i64,
    trusted_min: Timestamp,
    /// Whether it was ever said to be set in this run.
    is_set: bool,
    /// Since when the wall clock keeps step with the time since boot.
    steady_since: Instant,
    /// As the log is to know it.
    anchor: Anchor,
    /// The log does not know yet what the anchor says of outages.
    is_news: bool,
    /// The outage that was added when this run was under way.
    late: Option<Outage>,
}

impl Clocks {
    /// Goes on from the last clock and the last anchor that the log knows.
    #[must_use]
    pub fn resume(last: Option<Clock>, anchor: Option<Anchor>, moment: Moment) -> Self {
        let begun = last.map_or(0, |last| last.age.0.saturating_add(1));
        let last = last.unwrap_or(Clock { wall: WALL_MIN, age: Age(0), trusted: false });
        let trusted_min = if last.trusted { last.wall.max(WALL_MIN) } else { WALL_MIN };
        let known = anchor.unwrap_or_default();
        // As long as the outage before the last run is not added, the last run's clock tells nothing new.
        let end = Before { age: last.age.0, wall: last.wall.0 };
        let before = known.before.or(last.trusted.then_some(end));
        // What this run reads first is later than all that was read before.
        let mut clocks = Self {
            age_at_boot: begun.cast_signed() - moment.now.0.cast_signed(),
            trusted_min,
            is_set: moment.is_set,
            steady_since: moment.now,
            anchor: Anchor { before, ..known },
            is_news: false,
            late: None,
        };
        // Nothing was read in this run yet.
        clocks.add_time_off(moment, last.age);
        clocks.late = None;
        clocks.anchor = clocks.anchor_at(moment);
        clocks.is_news = clocks.anchor.before != known.before;
        clocks
    }

    /// A log opens at an age behind all that it has seen: a new one not at 0, and others behind what was dropped. What
    /// comes in from now on bears no age below that, and would count as younger than it is for as long as this clock
    /// was behind.
    pub fn go_on_from(&mut self, opened: Age, moment: Moment) {
        let behind = opened.0.saturating_sub(self.now(moment).age.0);
        self.age_at_boot += behind.cast_signed();
        self.anchor = self.anchor_at(moment);
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
        self.anchor.ms_before(self.now(moment).age, age)
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
        if !self.add_time_off(moment, now.age) && !has_stepped && now.trusted == trusted {
            return None;
        }
        self.anchor = self.anchor_at(moment);
        self.is_news = false;
        Some(self.anchor)
    }

    /// What the log has to know before anything else of this run, as long as it does not: the moment before an
    /// outage, or that there is none any more.
    #[must_use]
    pub fn news(&self) -> Option<Anchor> {
        self.is_news.then_some(self.anchor)
    }

    /// The log knows it.
    pub fn settle_news(&mut self) {
        self.is_news = false;
    }

    /// The anchor of this run.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The outage that was added to the age clock when this run was under way.
    #[must_use]
    pub fn late_outage(&self) -> Option<Outage> {
        self.late
    }

    fn anchor_at(&self, moment: Moment) -> Anchor {
        self.anchor.at(self.now(moment))
    }

    fn is_steady(&self, now: Instant) -> bool {
        now.ms_since(self.steady_since) >= STEADY_MS
    }

    /// Adds the time that the machine was off, if it can be known by now; whether it was any. Ages up to `read`
    /// were read without it. What came in between two outages counts as younger than both: how long each was
    /// nobody knows.
    fn add_time_off(&mut self, moment: Moment, read: Age) -> bool {
        let Some(before) = self.anchor.before else { return false };
        let age = self.now(moment).age.0;
        let run_ms = age.saturating_sub(before.age).cast_signed();
        let off_ms = (moment.wall.0 - run_ms - before.wall).max(0);
        let is_sane = moment.wall >= WALL_MIN;
        let is_plausible = off_ms <= OFF_MS_MAX;
        if !(is_sane && (self.is_set && is_plausible || self.is_steady(moment.now))) {
            return false;
        }
        self.anchor.before = None;
        let (from, until) = (before.age.saturating_add(1), read.0);
        let outage = Outage { from, until, ms: off_ms.cast_unsigned() };
        self.anchor.note(outage);
        self.late = Some(outage);
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
        let mut clocks = Clocks::resume(Some(last(1_000)), None, moment(10, 5_000, false));
        let at_boot = clocks.now(moment(10, 5_000, false));
        assert_eq!((at_boot.age, at_boot.trusted), (Age(1_001), false), "a boot in 1970");
        // A minute later NTP says that an hour has passed.
        let set = moment(60_010, NOON + 3_600_000, true);
        let anchor = clocks.stepped(set).expect("a step");
        assert_eq!(anchor.age, 1_000 + HOUR, "off for an hour but a minute, on for that minute");
        assert!(anchor.trusted);
        // What came in at the boot came in a minute ago, and what came before it an hour ago.
        assert_eq!(anchor.wall_at(at_boot.age), Timestamp(NOON + 3_540_000));
        assert_eq!(anchor.wall_at(Age(999)), Timestamp(NOON - 1));
        assert_eq!(clocks.stepped(moment(60_020, NOON + 3_600_010, true)), None, "added once");
        for (age, ms) in [(999, HOUR + 1), (1_000, HOUR), (1_001, 60_000), (60_001, 1_000)] {
            assert_eq!(clocks.ms_since(Age(age), set), ms, "read as {age}");
        }
        assert_eq!(clocks.ms_since(Age(1_000 + HOUR), set), 0, "read now");
        for (age, read) in [(900, 900), (1_002, 1_001), (HOUR - 60_000, 1_001), (HOUR, 60_001)] {
            assert_eq!(anchor.as_read(Age(age)), Age(read), "before {age}");
        }
        assert_eq!(anchor.as_read(Age(HOUR + 70_000)), Age(HOUR + 70_000));
    }

    #[test]
    fn what_comes_in_at_once_is_as_old_as_the_opening_of_the_log() {
        let start = moment(10, NOON, false);
        for last in [None, Some(last(1_000))] {
            let mut clocks = Clocks::resume(last, None, start);
            let at = clocks.now(start).age;
            // What the log opened at is never ahead of it by more than what it dropped.
            for (opened, expected) in
                [(at, at), (Age(at.0 + 7), Age(at.0 + 7)), (at, Age(at.0 + 7))]
            {
                clocks.go_on_from(opened, start);
                assert_eq!(clocks.now(start).age, expected);
            }
            assert_eq!(clocks.stepped(moment(20, NOON + 10, false)), None);
            let set = moment(30, NOON + 3_600_000, true);
            clocks.stepped(set).expect("a step");
            let all = last.map_or(at.0 + 7 + 20, |last| last.age.0 + HOUR);
            assert_eq!(clocks.now(set).age, Age(all), "time off is what is left of it");
        }
    }

    #[test]
    fn a_jump_to_2040_and_back_makes_nothing_older() {
        let mut clocks = Clocks::resume(Some(last(1_000)), None, moment(10, NOON + YEARS, false));
        for (now, wall) in [(20, NOON + YEARS + 10), (30, NOON + 30), (HOUR, NOON + 3_600_000)] {
            clocks.stepped(moment(now, wall, false));
            assert_eq!(clocks.now(moment(now, wall, false)).age, Age(991 + now));
        }
        // Nor does the network when it is wrong by years.
        let wrong = moment(2 * HOUR, NOON + YEARS, true);
        clocks.stepped(wrong);
        assert_eq!(clocks.now(wrong).age, Age(991 + 2 * HOUR));
    }

    #[test]
    fn a_steady_clock_is_believed_after_a_day() {
        let boot = moment(0, NOON + 7_200_000, false);
        let mut clocks = Clocks::resume(Some(last(0)), None, boot);
        let after = |hours: u64| {
            moment(hours * HOUR, NOON + 7_200_000 + (hours * HOUR).cast_signed(), false)
        };
        clocks.stepped(after(23));
        assert_eq!(clocks.now(after(23)).age, Age(23 * HOUR + 1));
        clocks.stepped(after(24));
        assert_eq!(clocks.now(after(24)).age, Age(26 * HOUR), "two hours off");
    }

    #[test]
    fn a_run_in_2040_does_not_take_the_trust_from_all_that_follow() {
        let in_2040 = Some(Clock { wall: Timestamp(NOON + YEARS), age: Age(0), trusted: true });
        let clocks = Clocks::resume(in_2040, None, moment(0, NOON, false));
        assert!(!clocks.now(moment(1, NOON + 1, false)).trusted, "which is right?");
        let set = Clocks::resume(in_2040, None, moment(0, NOON, true));
        assert!(set.now(moment(1, NOON + 1, false)).trusted, "the network knows");
        let next_day = moment(24 * HOUR, NOON + 24 * 3_600_000, false);
        assert!(clocks.now(next_day).trusted, "nobody knows better");
    }

    /// What the log knows at the end of a run, if something was written last at `moment`.
    fn end(clocks: &mut Clocks, moment: Moment) -> (Option<Clock>, Option<Anchor>) {
        let anchor = clocks.stepped(moment).or(clocks.news()).unwrap_or(clocks.anchor());
        (Some(clocks.now(moment)), Anchor::decode(&anchor.encode()))
    }

    #[test]
    fn what_came_in_before_an_outage_was_added_is_not_older_for_it_after_a_restart() {
        let mut clocks = Clocks::resume(Some(last(1_000)), None, moment(0, 0, false));
        let early = clocks.now(moment(10_000, 10_000, false)).age;
        // The network tells of an hour off; a minute later the process starts again.
        let set = moment(20_000, NOON + 3_620_000, true);
        clocks.stepped(set).expect("a step");
        let late = moment(80_000, NOON + 3_680_000, true);
        let (last, anchor) = end(&mut clocks, late);
        let again = moment(81_000, NOON + 3_681_000, true);
        let mut clocks = Clocks::resume(last, anchor, again);
        assert_eq!(clocks.stepped(again), None, "nothing has stepped");
        assert_eq!(clocks.ms_since(early, again), 71_000);
        assert_eq!(clocks.ms_since(Age(1_000), again), HOUR + 81_000, "from before the outage");
        assert_eq!(clocks.ms_since(clocks.now(late).age, again), 1_000);
        assert_eq!(clocks.late_outage(), None, "it was added before this run");
    }

    #[test]
    fn what_comes_in_at_once_comes_in_behind_the_outage() {
        let mut clocks = Clocks::resume(Some(last(1_000)), None, moment(0, 0, false));
        let at_once = clocks.now(moment(0, 0, false)).age;
        let set = moment(0, NOON + 3_600_000, true);
        clocks.stepped(set).expect("a step");
        assert_eq!((clocks.ms_since(at_once, set), clocks.ms_since(Age(1_000), set)), (0, HOUR));
        // And where the clock is set at the start nothing has come in without it.
        let clocks = Clocks::resume(Some(last(1_000)), None, set);
        assert_eq!(
            (clocks.anchor().outages().count(), clocks.now(set).age),
            (0, Age(1_000 + HOUR))
        );
    }

    #[test]
    fn an_outage_is_not_forgotten_when_the_next_comes_before_the_clock_is_set() {
        for wall in [0, NOON] {
            // Two hours off, a minute on with a clock that nobody has set, and an hour off.
            let on = |ms: u64| moment(ms, wall + ms.cast_signed(), false);
            let mut clocks = Clocks::resume(Some(last(1_000)), None, on(0));
            let between = clocks.now(on(30_000)).age;
            let (last, anchor) = end(&mut clocks, on(60_000));
            let mut clocks = Clocks::resume(last, anchor, on(0));
            assert_eq!(clocks.news(), None, "the log knows");
            let early = clocks.now(on(5_000)).age;
            let set = moment(10_000, NOON + 3 * 3_600_000 + 70_000, true);
            clocks.stepped(set).expect("a step");
            assert_eq!(clocks.ms_since(Age(1_000), set), 3 * HOUR + 70_000);
            let between = clocks.ms_since(between, set);
            assert_eq!(
                between, 40_001,
                "as if it was not off again, and a millisecond at the start"
            );
            assert_eq!(clocks.ms_since(early, set), 5_000);
        }
    }

    #[test]
    fn a_steady_clock_in_1970_is_not_believed() {
        let mut clocks = Clocks::resume(Some(last(0)), None, moment(0, 0, false));
        let day = moment(30 * HOUR, 30 * 3_600_000, false);
        clocks.stepped(day);
        let set = moment(31 * HOUR, NOON + 40 * 3_600_000, true);
        clocks.stepped(set).expect("a step");
        assert_eq!(clocks.ms_since(Age(0), set), 40 * HOUR, "nine hours off");
    }

    #[test]
    fn anchors_of_earlier_versions_are_read_and_the_outages_of_one_are_bounded() {
        let clock = Clock { wall: Timestamp(NOON), age: Age(300), trusted: true };
        let old = postcard::to_allocvec(&(300_u64, NOON, true)).expect("a few numbers");
        assert_eq!(Anchor::decode(&old), Some(Anchor::new(clock)));
        assert_eq!(Anchor::new(clock).encode(), old);
        let mut anchor = Anchor { before: Some(Before { age: 7, wall: -1 }), ..Anchor::new(clock) };
        for number in 1..=20 {
            anchor.note(Outage { from: number * 100, until: number * 100 + 9, ms: 50 });
        }
        assert_eq!(anchor.outages().count(), OUTAGES_MAX);
        assert_eq!(anchor.outages().next().map(|outage| outage.from), Some(500));
        assert_eq!(anchor.counted(Age(2_009)), Age(2_059));
        let body = anchor.encode();
        assert_eq!(Anchor::decode(&body), Some(anchor));
        for cut in 0..body.len() {
            assert!(Anchor::decode(&body[..cut]).is_none() || cut == old.len());
        }
    }
}
