//! Offsets that are gone before they were judged: evicted, or damaged.
//!
//! Where the log is gone, so are the routing tables that stood there: what a route has lost is told
//! by the table that holds behind the gap. So a gap is noted first, and counted when that table was
//! read; until then the fold's position stays in front of it.

use core::ops::Range;

use serde::{Deserialize, Serialize};
use tributary_bridge::{BatchBuilder, Partitioner, PushError, Record};
use tributary_core::Offset;

use super::{Filled, Fold, Present, Step};
use crate::config::Lane;
use crate::replicate::mapping::Origin;
use crate::replicate::table::{Entry, Table};

/// In place of a route's number: the record tells of a gap.
pub(in crate::replicate) const GAP_ROUTE: u32 = 0;

impl Fold {
    /// Passes over offsets that are gone. The records before them go first, so that those of one
    /// transaction were selected, and are counted, under one table.
    pub(super) fn lose(
        &mut self,
        range: &Range<Offset>,
        from: (&Origin, &Present),
        batch: &mut BatchBuilder,
    ) -> Step {
        if range.is_empty() {
            return Step::On;
        }
        if self.reading_back {
            return match self.lose_back(range, from, batch) {
                Step::On => self.pass(range.end.min(self.at)),
                other => other,
            };
        }
        if !batch.is_empty() {
            self.turns = true;
            return Step::Stop(Filled::Paused);
        }
        self.note_gone(range);
        self.pass(range.end)
    }

    /// Notes a gap; what is gone is counted once the table behind it is known.
    pub(super) fn note_gone(&mut self, range: &Range<Offset>) {
        if !range.is_empty() {
            let first = self.gone.as_ref().map_or(range.start, |gone| gone.start);
            self.gone = Some(first..range.end);
        }
    }

    /// Counts what is gone under the table in force: none comes with what is behind it.
    pub(super) fn settle_gone(
        &mut self,
        origin: &Origin,
        present: &Present,
        batch: &mut BatchBuilder,
    ) -> Step {
        if self.gone.is_some()
            && let Some(judge) = self.judge.take()
        {
            let step = self.count_gone(judge.table(), (origin, present), batch);
            self.judge = Some(judge);
            return step;
        }
        Step::On
    }

    /// Counts what is gone while routes are read back, for those, and tells of it.
    fn lose_back(
        &mut self,
        range: &Range<Offset>,
        (origin, present): (&Origin, &Present),
        batch: &mut BatchBuilder,
    ) -> Step {
        self.lay_out();
        let (at, lane) = (self.at, self.lane);
        let end = range.end.min(at).0;
        let Some(judge) = &self.judge else { return Step::On };
        let mut account = self.account.clone();
        let mut told = Vec::new();
        let routes = judge.table().routes.iter().filter(|it| it.rule.lane == lane);
        for entry in routes.filter(|entry| entry.since == at.0) {
            let first = range.start.0.max(entry.begin);
            if first < end {
                account.of(entry.id).lost += end - first;
                told.push(Told { route: entry.rule.name.clone(), first, end });
            }
        }
        let step = tell((origin, lane, range.start), told, (present, batch));
        if matches!(step, Step::On) {
            self.account = account;
        }
        step
    }

    /// Counts what is gone for the routes of the table that holds behind it, and tells of it in the
    /// transaction that passes it.
    pub(super) fn count_gone(
        &mut self,
        table: &Table,
        (origin, present): (&Origin, &Present),
        batch: &mut BatchBuilder,
    ) -> Step {
        let Some(gone) = self.gone.clone() else { return Step::On };
        let mut account = self.account.clone();
        // Where a look back stood; its table is gone too, so that it cannot go on.
        let back = account.backfill.take();
        let met: Vec<bool> = table.routes.iter().map(|it| account.knows(it.id)).collect();
        account.adopt(table, self.lane);
        let mut told = Vec::new();
        for (entry, met) in table.routes.iter().zip(met) {
            let Range { start: first, end } = lost(entry, self.lane, (met, back), &gone);
            if first < end {
                account.of(entry.id).lost += end - first;
                told.push(Told { route: entry.rule.name.clone(), first, end });
            }
        }
        let step = tell((origin, self.lane, gone.start), told, (present, batch));
        if matches!(step, Step::On) {
            (self.account, self.gone) = (account, None);
        }
        step
    }
}

/// The record of a gap.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::replicate) struct GapTold {
    pub(in crate::replicate) gateway: String,
    pub(in crate::replicate) lane: String,
    /// Its id in hexadecimal digits.
    pub(in crate::replicate) log: String,
    pub(in crate::replicate) routes: Vec<Told>,
}

/// What a route has lost, for who reads the topic of gaps.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::replicate) struct Told {
    pub(in crate::replicate) route: String,
    pub(in crate::replicate) first: u64,
    pub(in crate::replicate) end: u64,
}

/// Tells the topic of gaps, if there is one. What is gone counts once that is in a batch.
fn tell(
    whose: (&Origin, Lane, Offset),
    routes: Vec<Told>,
    into: (&Present, &mut BatchBuilder),
) -> Step {
    let Some(topic) = whose.0.gaps.as_ref().filter(|_| !routes.is_empty()) else {
        return Step::On;
    };
    match push(topic, whose, routes, into) {
        Ok(()) | Err(PushError::TooLarge) => Step::On,
        Err(PushError::Full | PushError::UnknownTopic) => Step::Stop(Filled::HandIn),
    }
}

/// Puts a record of what is gone into the batch.
fn push(
    topic: &str,
    (origin, lane, first): (&Origin, Lane, Offset),
    routes: Vec<Told>,
    (present, batch): (&Present, &mut BatchBuilder),
) -> Result<(), PushError> {
    let (gateway, log) = (origin.gateway.clone(), format!("{:016x}", origin.log_id));
    let told = GapTold { gateway, lane: lane.name().to_owned(), log, routes };
    let value = serde_json::to_string(&told).unwrap_or_else(|_| unreachable!("plain values"));
    batch.reserve(core::iter::once(topic), value.len() + origin.gateway.len())?;
    batch.push(&Record {
        topic,
        partition: Partitioner::Gateway,
        offset: first,
        route: GAP_ROUTE,
        timestamp: present.clock.wall,
        key: Some(origin.gateway.as_bytes()),
        value: value.as_bytes(),
        headers: &[],
    })
}

/// The offsets that a route has lost in a lane with those that are gone. `met`: the account knows
/// the route, `back`: where it was read back to.
fn lost(
    entry: &Entry,
    lane: Lane,
    (met, back): (bool, Option<Offset>),
    gone: &Range<Offset>,
) -> Range<u64> {
    let Range { start: Offset(start), end: Offset(end) } = *gone;
    let moved = entry.moved.map_or((0, None), |moved| (moved.at, Some(moved)));
    let (first, end) = match moved {
        (at, _) if entry.rule.lane == lane => (entry.begin.max(at), end),
        // It was in this lane for a part of it.
        (_, Some(moved)) if moved.from == lane && met => (entry.begin, end.min(moved.left)),
        _ => return 0..0,
    };
    let from = match (entry.since, met) {
        // It is read back up to its table, which is there.
        (since, _) if since >= gone.end.0 => return 0..0,
        // Its table is gone, and with it what was to be read back.
        (since, true) if since >= start => back.map_or(start, |Offset(back)| back),
        (since, false) if since >= start => 0,
        _ => start,
    };
    first.max(from)..end
}

#[cfg(test)]
pub(super) mod tests {
    use tributary_bridge::{Replicator, Settings};
    use tributary_core::log::{Clock, End};
    use tributary_core::time::Instant;

    use super::*;
    use crate::config::{Route, Start};
    use crate::replicate::account::Account;
    use crate::replicate::judge::Judge;
    use crate::replicate::mapping::Texts;
    use crate::replicate::table::Wanted;
    use crate::replicate::traffic::View;
    use crate::runtime::clock::Anchor;

    fn wanted(routes: &[(&str, Lane)]) -> Wanted {
        wanted_from(None, routes)
    }

    fn wanted_from(start: Option<Start>, routes: &[(&str, Lane)]) -> Wanted {
        let route =
            |&(topic, lane): &(&str, Lane)| Route { start, lane, ..Route::everything(topic) };
        Wanted::compile(&routes.iter().map(route).collect::<Vec<_>>(), true).expect("they compile")
    }

    pub(in crate::replicate::feed) fn present() -> Present {
        let end = End { offset: Offset(0), sequence: 0, segment: 0, at: 0, oldest: Offset(0) };
        let (clock, anchor) = (Clock::default(), Anchor::default());
        Present { end, oldest: Offset(0), clock, anchor, traffic: View::default() }
    }

    fn batch() -> BatchBuilder {
        let settings = Settings::new("gw", 7, vec![("kafka".to_owned(), 9092)]);
        Replicator::new(Instant(0), settings, 1).begin_batch()
    }

    pub(in crate::replicate::feed) fn fold(lane: Lane, account: &str, at: u64) -> Fold {
        Fold {
            lane,
            asides: Vec::new(),
            edge: None,
            waits_for: None,
            turns: false,
            judge: None,
            damaged: None,
            at: Offset(at),
            account: Account::parse(account).expect("an account"),
            reading_back: false,
            counted: false,
            gone: None,
            texts: Texts::default(),
        }
    }

    /// What each of the two first routes has lost in a lane by a gap, and in front of it.
    fn lost(lane: Lane, account: &str, gone: Range<u64>, table: &Table) -> [u64; 2] {
        let mut fold = fold(lane, account, gone.end);
        fold.note_gone(&(Offset(gone.start)..Offset(gone.end)));
        let origin = Origin::new("gw", 7, None);
        for _ in 0..2 {
            let step = fold.count_gone(table, (&origin, &present()), &mut batch());
            assert!(matches!(step, Step::On));
        }
        [1, 2].map(|id| fold.account.counts(id).lost)
    }

    #[test]
    fn what_left_the_log_before_any_table_was_read_is_counted_once() {
        let first = Table::none().succeed(&wanted(&[("a", Lane::Normal)]), Offset(0), Offset(0));
        assert_eq!(lost(Lane::Normal, "", 0..40, &first), [40, 0]);
        assert_eq!(lost(Lane::Normal, "1.5.7.0;", 10..40, &first), [7 + 30, 0]);
        assert_eq!(lost(Lane::High, "", 0..40, &first), [0, 0], "another lane's");
    }

    #[test]
    fn routes_that_began_in_a_gap_have_lost_their_share_of_it() {
        let first = Table::none().succeed(&wanted(&[("a", Lane::Normal)]), Offset(0), Offset(0));
        let both = wanted(&[("a", Lane::Normal), ("b", Lane::Normal)]);
        let second = first.succeed(&both, Offset(20), Offset(0));
        assert_eq!(lost(Lane::Normal, "1.0.0.0;", 10..40, &second), [30, 20]);
        assert_eq!(lost(Lane::Normal, "1.0.0.0;", 10..20, &second), [10, 0]);
    }

    #[test]
    fn a_gap_is_counted_under_the_table_behind_it() {
        let first = Table::none().succeed(&wanted(&[("a", Lane::Normal)]), Offset(0), Offset(0));
        let both = wanted(&[("a", Lane::Normal), ("b", Lane::Normal)]);
        let second = first.succeed(&both, Offset(20), Offset(0));
        let mut fold = fold(Lane::Normal, "1.0.0.0;", 10);
        fold.judge = Judge::new(first).ok();
        let origin = Origin::new("gw", 7, None);
        let step = fold.lose(&(Offset(10)..Offset(40)), (&origin, &present()), &mut batch());
        assert!(matches!(step, Step::On));
        fold.judge = Judge::new(second).ok();
        assert!(matches!(fold.settle_gone(&origin, &present(), &mut batch()), Step::On));
        assert_eq!([1, 2].map(|id| fold.account.counts(id).lost), [30, 20]);
    }

    #[test]
    fn what_is_gone_where_a_route_reads_back_is_told_before_it_counts() {
        let first = Table::none().succeed(&wanted(&[("a", Lane::Normal)]), Offset(0), Offset(0));
        let both = [("a", Lane::Normal), ("b", Lane::Normal)];
        let both = wanted_from(Some(Start::Oldest), &both);
        let second = first.succeed(&both, Offset(50), Offset(0));
        let mut fold = fold(Lane::Normal, "1.32.0.0;", 50);
        fold.judge = Judge::new(second).ok();
        fold.reading_back = true;
        fold.account.backfill = Some(Offset(10));
        let gone = Offset(10)..Offset(40);
        let origin = Origin::new("gw", 7, Some("gaps".to_owned()));
        // No topic is known yet: the batch has to be handed in first.
        let step = fold.lose(&gone, (&origin, &present()), &mut batch());
        assert!(matches!(step, Step::Stop(Filled::HandIn)));
        assert_eq!((fold.account.counts(2).lost, fold.account.backfill), (0, Some(Offset(10))));
        let untold = Origin::new("gw", 7, None);
        let step = fold.lose(&gone, (&untold, &present()), &mut batch());
        assert!(matches!(step, Step::On));
        assert_eq!([1, 2].map(|id| fold.account.counts(id).lost), [0, 30]);
        assert_eq!(fold.account.backfill, Some(Offset(40)));
    }

    #[test]
    fn each_lane_has_lost_its_part_of_a_route_that_moved_in_a_gap() {
        let first = Table::none().succeed(&wanted(&[("a", Lane::Normal)]), Offset(0), Offset(0));
        let moved = first.succeed(&wanted(&[("a", Lane::High)]), Offset(20), Offset(0));
        assert_eq!(lost(Lane::Normal, "1.0.0.0;", 10..40, &moved), [10, 0]);
        assert_eq!(lost(Lane::High, "", 0..40, &moved), [20, 0]);
    }
}
