//! What the lanes of a gateway share: the link, its budgets, and how far each of them is.
//!
//! A value: lanes tell it what they did and ask whether they may begin another transaction. A lane
//! with a backlog takes the link; those below it get a trickle meanwhile. Budgets are kept as debts:
//! a transaction is sent at the speed of the link, and the next one begins when it is paid for.

use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

use super::table::Moved;
use crate::config::{LANES, Lane};

/// What may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second, all lanes together.
    pub bandwidth: Option<u64>,
    /// Bytes a month (UTC). When they are used up only the high lane goes on.
    pub monthly: Option<u64>,
}

/// Bytes that were sent in a month.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Spent {
    /// Months since 1970-01.
    pub month: u32,
    /// Bytes.
    pub bytes: u64,
}

/// How a lane stands, for the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// All below is in Kafka, or was not selected.
    pub settled: Offset,
    /// Whether it has more to send than one transaction carries.
    pub is_saturated: bool,
    /// Bytes that it has handed to connections since it began.
    pub bytes_sent: u64,
}

/// What a lane may know of the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// How far each lane is.
    pub settled: [Offset; LANES],
    /// Whether a lane of higher priority has a backlog.
    pub yields: bool,
    /// No transaction is to begin before.
    pub not_before: Option<Instant>,
    /// Whether the month's bytes are used up, for this lane.
    pub is_spent: bool,
    /// What was sent this month, all lanes together.
    pub spent: Spent,
    /// Bytes of a transaction that the bandwidth pays for in a few seconds.
    pub transaction_bytes_max: Option<usize>,
}

impl View {
    /// Whether nothing but the link bounds what is sent.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        !self.yields
            && !self.is_spent
            && self.not_before.is_none()
            && self.transaction_bytes_max.is_none()
    }
}

/// The shared state.
#[derive(Debug, Default)]
pub struct Traffic {
    limits: Limits,
    news: [News; LANES],
    /// When all that was sent is paid for, in microseconds of the clock.
    paid_us: u64,
    spent: Spent,
}

/// A transaction may cost so much of the bandwidth, in seconds: others wait meanwhile.
const TRANSACTION_S: u64 = 5;
/// The smallest limit of a transaction: below, overhead takes over.
const TRANSACTION_BYTES_MIN: u64 = 4 << 10;

impl View {
    /// Whether the lane that a route has left has not shipped all of it yet.
    #[must_use]
    pub fn is_before(&self, moved: &Moved) -> bool {
        self.settled[moved.from.index()].0 < moved.left
    }
}

impl Traffic {
    /// As it was left: what was sent this month, and how far the lanes are as the log knows.
    #[must_use]
    pub fn new(limits: Limits, spent: Spent, settled: [Offset; LANES]) -> Self {
        let news = settled.map(|settled| News { settled, ..News::default() });
        Self { limits, news, paid_us: 0, spent }
    }

    /// Takes note of how a lane stands.
    pub fn tell(&mut self, now: Instant, wall: Timestamp, lane: Lane, news: News) {
        let before = core::mem::replace(&mut self.news[lane.index()], news);
        let sent = news.bytes_sent.saturating_sub(before.bytes_sent);
        let month = month_of(wall);
        if month != self.spent.month {
            self.spent = Spent { month, bytes: 0 };
        }
        self.spent.bytes += sent;
        if let Some(cost_us) =
            self.limits.bandwidth.and_then(|rate| (sent * 1_000_000).checked_div(rate))
        {
            self.paid_us = self.paid_us.max(now.0 * 1_000) + cost_us;
        }
    }

    /// A lane begins anew, or has ended: what it had is nobody's backlog any more.
    pub fn reset(&mut self, lane: Lane) {
        let News { settled, .. } = self.news[lane.index()];
        self.news[lane.index()] = News { settled, ..News::default() };
    }

    /// What a lane may do now.
    #[must_use]
    pub fn view(&self, now: Instant, wall: Timestamp, lane: Lane) -> View {
        let above = &self.news[..lane.index()];
        let is_spent = lane != Lane::High
            && self.spent.month == month_of(wall)
            && self.limits.monthly.is_some_and(|most| self.spent.bytes >= most);
        let bytes =
            self.limits.bandwidth.map(|rate| (rate * TRANSACTION_S).max(TRANSACTION_BYTES_MIN));
        View {
            settled: self.settled(),
            yields: above.iter().any(|news| news.is_saturated),
            not_before: Some(Instant(self.paid_us.div_ceil(1_000))).filter(|at| *at > now),
            is_spent,
            spent: self.spent,
            transaction_bytes_max: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        }
    }

    /// How far each lane is.
    #[must_use]
    pub fn settled(&self) -> [Offset; LANES] {
        self.news.map(|news| news.settled)
    }

    /// What was sent this month, all lanes together.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }
}

/// Months since 1970-01 of a moment (proleptic Gregorian calendar, UTC).
#[must_use]
pub fn month_of(wall: Timestamp) -> u32 {
    // Howard Hinnant's `civil_from_days`: years that begin in March, eras of 400 years.
    let days = wall.0.div_euclid(86_400_000) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153 + 2;
    let months = (era * 400 + year - 1_970) * 12 + month;
    u32::try_from(months).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T00:00:00Z.
    const WALL: Timestamp = Timestamp(1_795_910_400_000);

    fn sent(bytes_sent: u64) -> News {
        News { bytes_sent, ..News::default() }
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        let day = |days: i64| month_of(Timestamp(days * 86_400_000));
        assert_eq!([day(0), day(30), day(31), day(58), day(59)], [0, 0, 1, 1, 2]);
        // 2000-02-29, 2000-03-01, 2023-12-31, 2024-01-01.
        assert_eq!([day(11_016), day(11_017), day(19_722), day(19_723)], [361, 362, 647, 648]);
        assert_eq!(month_of(WALL), (2026 - 1970) * 12 + 10);
    }

    #[test]
    fn a_transaction_is_paid_for_before_the_next() {
        let limits = Limits { bandwidth: Some(1_000), monthly: None };
        let mut traffic = Traffic::new(limits, Spent::default(), Default::default());
        assert_eq!(traffic.view(Instant(0), WALL, Lane::Bulk).not_before, None);
        traffic.tell(Instant(500), WALL, Lane::Normal, sent(2_000));
        let view = traffic.view(Instant(600), WALL, Lane::High);
        assert_eq!(view.not_before, Some(Instant(2_500)));
        assert_eq!(view.transaction_bytes_max, Some(5_000));
        assert_eq!(traffic.view(Instant(2_500), WALL, Lane::High).not_before, None);
        // What was not used is not saved up.
        traffic.tell(Instant(60_000), WALL, Lane::Normal, sent(3_000));
        assert_eq!(
            traffic.view(Instant(60_000), WALL, Lane::High).not_before,
            Some(Instant(61_000))
        );
    }

    #[test]
    fn a_month_that_is_used_up_leaves_the_high_lane() {
        let limits = Limits { bandwidth: None, monthly: Some(1_000) };
        let spent = Spent { month: month_of(WALL), bytes: 900 };
        let mut traffic = Traffic::new(limits, spent, Default::default());
        assert!(!traffic.view(Instant(0), WALL, Lane::Bulk).is_spent);
        traffic.tell(Instant(0), WALL, Lane::Bulk, sent(100));
        let is_spent = |wall, lane| traffic.view(Instant(0), wall, lane).is_spent;
        assert!(is_spent(WALL, Lane::Bulk) && is_spent(WALL, Lane::Normal));
        assert!(!is_spent(WALL, Lane::High));
        assert!(!is_spent(Timestamp(WALL.0 + 3 * 86_400_000), Lane::Bulk), "December");
    }

    #[test]
    fn lanes_below_a_backlog_yield() {
        let mut traffic = Traffic::default();
        traffic.tell(Instant(0), WALL, Lane::Normal, News { is_saturated: true, ..sent(1) });
        let yields = |traffic: &Traffic, lane| traffic.view(Instant(0), WALL, lane).yields;
        let three = [Lane::High, Lane::Normal, Lane::Bulk];
        assert_eq!(three.map(|lane| yields(&traffic, lane)), [false, false, true]);
        traffic.reset(Lane::Normal);
        assert!(!yields(&traffic, Lane::Bulk));
    }
}
