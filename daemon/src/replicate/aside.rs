//! A topic that Kafka refuses leaves its lane, so that the others go on without it.
//!
//! From the position at which its lane stands, what goes to that topic is a lane's of its own, until
//! that one has come to the log's end; then it comes back at an offset, as any route that changes
//! its lane. The routing table at the log's end tells of it, for all events from that position on:
//! also for those that older tables judge. Invariant: when an aside comes into force nobody has
//! shipped, nor can still ship, anything that it takes; and it is durable before its home goes on.

use serde::{Deserialize, Serialize};
use tributary_bridge::Position;
use tributary_core::Offset;

use super::account::Account;
use super::table::{Moved, Rule, Table};
use crate::config::{LANES, Lane};
use crate::runtime::hint::{LaneHint, Reached};

/// How many are remembered: those that hold, and those that a lane has still to come to.
const ASIDES_MAX: usize = 32;

/// What goes to a topic, and is another lane's for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The topic, as the routes name it.
    pub topic: String,
    /// The lane that the routing table names.
    pub home: Lane,
    /// The lane that ships it.
    pub lane: Lane,
    /// The first offset that is another lane's.
    pub from: u64,
    /// The first that is not any more; `None`: it is still refused.
    pub until: Option<u64>,
    /// How its routes came into that lane.
    pub moved: Moved,
}

/// What a lane asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detour {
    /// To go on without a topic.
    Leave(Wish),
    /// This lane has come to the end: what it took can go home.
    Return(Lane),
}

/// A topic that a lane wants to go on without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The topic.
    pub topic: String,
    /// The lane.
    pub home: Lane,
    /// Where it stands, with nothing under way.
    pub position: Position,
}

/// How the lanes stand, for who finds one that is free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// How far each is.
    pub settled: [Offset; LANES],
    /// Whether it is at work.
    pub at_work: [bool; LANES],
}

impl Standing {
    fn is_before(&self, lane: Lane, offset: u64) -> bool {
        self.settled[lane.index()].0 < offset
    }
}

impl Aside {
    /// Whether an event at `at` is another lane's.
    fn holds(&self, at: u64) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    fn takes(&self, rule: &Rule) -> bool {
        self.topic == rule.topic && self.home == rule.lane
    }
}

/// The next offset after `at` at which another lane's begins or ends.
pub(super) fn edge(asides: &[Aside], at: Offset) -> Option<Offset> {
    let edges = asides.iter().flat_map(|aside| [Some(aside.from), aside.until]).flatten();
    edges.filter(|edge| *edge > at.0).min().map(Offset)
}

impl Table {
    /// The table as it holds at `at`: each route in the lane that ships it.
    pub(super) fn divert(&mut self, asides: &[Aside], at: u64) {
        for entry in &mut self.routes {
            let holds = |aside: &&Aside| aside.holds(at) && aside.takes(&entry.rule);
            if let Some(aside) = asides.iter().find(holds) {
                entry.rule.lane = aside.lane;
                entry.moved = Some(aside.moved);
            }
        }
        self.asides.clear();
    }

    /// The same at the end of the log.
    #[must_use]
    pub fn at_present(&self) -> Self {
        let mut present = self.clone();
        present.divert(&self.asides, u64::MAX);
        present
    }

    /// From where a lane will read for routes that it has not met yet. What came to it from another lane
    /// begins where that one left it.
    #[must_use]
    pub fn unmet_from(&self, lane: Lane, account: &Account) -> Option<Offset> {
        let is_aside =
            |rule: &Rule| self.asides.iter().any(|it| it.until.is_none() && it.takes(rule));
        let unmet = self.routes.iter().filter(|entry| {
            entry.rule.lane == lane && entry.moved.is_none() && !account.knows(entry.id)
        });
        unmet.filter(|entry| !is_aside(&entry.rule)).map(|entry| Offset(entry.begin)).min()
    }

    /// Whether a lane has anything to ship besides what goes to `topic`, and that can leave it: what is
    /// made of levels of MQTT topics cannot.
    #[must_use]
    pub fn has_others(&self, topic: &str, home: Lane) -> bool {
        let taken = |rule: &Rule| self.asides.iter().any(|it| it.until.is_none() && it.takes(rule));
        let rules = self.routes.iter().map(|entry| &entry.rule);
        let mut rules = rules.filter(|rule| rule.lane == home && !taken(rule));
        rules.clone().any(|rule| rule.topic == topic) && rules.any(|rule| rule.topic != topic)
    }

    /// A lane that can take what a lane wants to go on without.
    #[must_use]
    pub fn free_lane(&self, wish: &Wish, standing: &Standing) -> Option<Lane> {
        let is_free = |lane: &Lane| {
            let at = standing.settled[lane.index()];
            let is_idle = !standing.at_work[lane.index()] && !self.needs(*lane, at);
            is_idle && at <= wish.position.offset
        };
        let is_full = self.asides.len() >= ASIDES_MAX;
        Lane::aside().iter().copied().find(is_free).filter(|_| !is_full)
    }

    /// The table that sends to `lane` what a lane wants to go on without.
    #[must_use]
    pub fn leave(&self, wish: &Wish, lane: Lane, standing: &Standing) -> Self {
        let (topic, home, from) = (wish.topic.clone(), wish.home, wish.position.offset.0);
        let mut next = self.clone();
        // Those that nobody comes by any more.
        let before = |lane, until| standing.is_before(lane, until);
        next.asides.retain(|aside| {
            aside.until.is_none_or(|until| before(aside.lane, until) || before(aside.home, until))
        });
        let moved = Moved { at: from, from: home, left: from };
        // Its routes may have moved on behind that position, into lanes that wait for this one.
        let mut homes = vec![(home, from)];
        for entry in self.routes.iter().filter(|entry| entry.rule.topic == topic) {
            if let Some(on) = entry.moved
                && (on.from, on.left > from) == (home, true)
                && !homes.iter().any(|(known, _)| *known == entry.rule.lane)
            {
                homes.push((entry.rule.lane, on.at));
            }
        }
        next.asides.extend(homes.into_iter().map(|(home, from)| Aside {
            topic: topic.clone(),
            home,
            lane,
            from,
            until: None,
            moved,
        }));
        next
    }

    /// The table in which what `lane` took has gone home at `at`.
    #[must_use]
    pub fn come_back(&self, lane: Lane, at: Offset) -> Self {
        let mut next = self.clone();
        for aside in next.asides.iter_mut().filter(|it| it.lane == lane && it.until.is_none()) {
            aside.until = Some(at.0);
            for entry in next.routes.iter_mut().filter(|entry| aside.takes(&entry.rule)) {
                entry.moved = Some(Moved { at: at.0, from: lane, left: at.0 });
            }
        }
        next
    }

    /// Goes on under other routes from `at` on: a topic that is another lane's stays with that lane.
    pub(super) fn carry_asides(&mut self, before: &Self, at: Offset) {
        let mut carried: Vec<Aside> = Vec::new();
        for rule in self.routes.iter().map(|entry| &entry.rule) {
            let is_new = !before
                .routes
                .iter()
                .any(|it| (&it.rule.topic, it.rule.lane) == (&rule.topic, rule.lane));
            let last = self.asides.iter().rev().find(|aside| aside.topic == rule.topic);
            if let Some(last) = last.filter(|_| is_new)
                && !carried.iter().any(|aside| aside.takes(rule))
            {
                let (home, from, until) = (rule.lane, at.0, None);
                carried.push(Aside { home, from, until, ..last.clone() });
            }
        }
        for aside in self.asides.iter_mut().filter(|aside| aside.until.is_none()) {
            if !self.routes.iter().any(|entry| aside.takes(&entry.rule)) {
                aside.until = Some(at.0);
            }
        }
        self.asides.extend(carried);
    }
}

/// With what a lane begins that takes what another goes on without. `known`: its hint, if it was at
/// work before.
#[must_use]
pub fn beginning(wish: &Wish, lane: Lane, known: Option<LaneHint>) -> LaneHint {
    let Position { offset, account, .. } = &wish.position;
    let left = Account::parse(account).unwrap_or_default();
    let Some(known) = known else {
        let account = left.of_aside(Account::default()).to_string();
        return LaneHint::beginning(lane.name(), Position { account, ..wish.position.clone() });
    };
    // Kafka has its position. From there to here nothing is selected.
    let counted = known.reached.as_ref().map_or(&known.hint.low.account, |to| &to.account);
    let counted = Account::parse(counted).unwrap_or_default();
    let account = left.of_aside(counted).to_string();
    LaneHint { reached: Some(Reached { offset: offset.0, account }), ..known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use crate::replicate::table::Wanted;

    fn table(before: &Table, routes: &[(&str, Lane)], at: u64) -> Table {
        let route = |&(topic, lane): &(&str, Lane)| Route { lane, ..Route::everything(topic) };
        let routes: Vec<Route> = routes.iter().map(route).collect();
        let wanted = Wanted::compile(&routes, true).expect("small");
        before.succeed(&wanted, Offset(at), Offset(0))
    }

    fn wish(offset: u64, account: &str) -> Wish {
        let position =
            Position { offset: Offset(offset), generation: 9, account: account.to_owned() };
        Wish { topic: "b".to_owned(), home: Lane::Normal, position }
    }

    fn standing(settled: &[(Lane, u64)]) -> Standing {
        let mut standing = Standing::default();
        for (lane, at) in settled {
            standing.settled[lane.index()] = Offset(*at);
        }
        standing
    }

    /// The lane of the route to "b" at an offset, as a lane reads `old` under the asides of `now`.
    fn lane_of(old: &Table, now: &Table, at: u64) -> Lane {
        let mut read = old.clone();
        read.divert(&now.asides, at);
        let entry = read.routes.iter().find(|entry| entry.rule.topic == "b");
        entry.expect("it is there").rule.lane
    }

    const BOTH: [(&str, Lane); 2] = [("a", Lane::Normal), ("b", Lane::Normal)];

    #[test]
    fn what_is_refused_is_another_lanes_from_the_position_on_until_it_comes_back() {
        let first = table(&Table::none(), &BOTH, 10);
        assert!(first.has_others("b", Lane::Normal));
        let left = first.leave(&wish(40, ""), Lane::Aside1, &Standing::default());
        assert!(!left.has_others("a", Lane::Normal), "it would be alone");
        let back = left.come_back(Lane::Aside1, Offset(90));
        for now in [&left, &back] {
            let read = Table::decode(&now.encode()).expect("just written");
            assert_eq!(read, *now);
            let lanes = [39, 40, 89].map(|at| lane_of(&first, &read, at));
            assert_eq!(lanes, [Lane::Normal, Lane::Aside1, Lane::Aside1]);
        }
        assert_eq!(lane_of(&left, &left, 90), Lane::Aside1);
        assert_eq!(lane_of(&back, &back, 90), Lane::Normal);
        let entering = back.entering(Lane::Normal, Offset(90), &back.asides);
        assert_eq!(entering, [Moved { at: 90, from: Lane::Aside1, left: 90 }]);
        assert!(left.needs(Lane::Aside1, Offset(500)) && back.needs(Lane::Aside1, Offset(89)));
        assert!(!back.needs(Lane::Aside1, Offset(90)));
        assert_eq!(edge(&back.asides, Offset(39)), Some(Offset(40)));
        assert_eq!(edge(&back.asides, Offset(40)), Some(Offset(90)));
        assert_eq!(edge(&back.asides, Offset(90)), None);
    }

    #[test]
    fn a_lane_that_was_further_takes_nothing_and_one_is_used_again() {
        let first = table(&Table::none(), &BOTH, 10);
        let further = standing(&[(Lane::Aside1, 41)]);
        assert_eq!(first.free_lane(&wish(40, ""), &further), Some(Lane::Aside2));
        let left = first.leave(&wish(40, ""), Lane::Aside1, &Standing::default());
        let at_work = standing(&[(Lane::Normal, 80), (Lane::Aside1, 40)]);
        assert_eq!(left.free_lane(&wish(80, ""), &at_work), Some(Lane::Aside2));
        let back = left.come_back(Lane::Aside1, Offset(90));
        let over = standing(&[(Lane::Normal, 95), (Lane::Aside1, 90)]);
        assert_eq!(back.free_lane(&wish(95, ""), &over), Some(Lane::Aside1));
        let again = back.leave(&wish(95, ""), Lane::Aside1, &over);
        assert_eq!(again.asides.len(), 1, "nobody comes by the first any more: {again:?}");
        let behind = standing(&[(Lane::Normal, 60), (Lane::Aside1, 90)]);
        assert_eq!(back.leave(&wish(60, ""), Lane::Aside2, &behind).asides.len(), 2);
    }

    #[test]
    fn a_route_that_the_operator_moves_meanwhile_blocks_nobody_and_keeps_its_order() {
        let first = table(&Table::none(), &BOTH, 10);
        let moved = [("a", Lane::Normal), ("b", Lane::High)];
        // Moved when it was aside.
        let left = first.leave(&wish(40, ""), Lane::Aside1, &Standing::default());
        let then = table(&left, &moved, 60);
        // Moved before it was refused for the last time.
        let before = table(&first, &moved, 60);
        let other = before.leave(&wish(40, ""), Lane::Aside1, &Standing::default());
        for now in [&then, &other] {
            assert_eq!([40, 59].map(|at| lane_of(&first, now, at)), [Lane::Aside1; 2]);
            assert_eq!(lane_of(&before, now, 60), Lane::Aside1);
            let mut read = before.clone();
            read.divert(&now.asides, 60);
            assert!(read.entering(Lane::High, Offset(60), &now.asides).is_empty());
            let back = now.come_back(Lane::Aside1, Offset(90));
            assert_eq!(back.entering(Lane::High, Offset(90), &back.asides).len(), 1);
        }
        // The same topic by another route, when the first was taken out.
        let gone = table(&left, &[("a", Lane::Normal)], 60);
        assert_eq!(gone.asides[0].until, Some(60));
        assert_eq!(lane_of(&before, &table(&gone, &moved, 80), 80), Lane::Aside1);
    }

    #[test]
    fn a_lane_that_takes_a_topic_knows_what_was_read_back_and_where_it_stands() {
        let fresh = beginning(&wish(40, "b=7;1.5.6.7;2.3.0.0;"), Lane::Aside2, None);
        assert_eq!((fresh.lane.as_str(), fresh.hint.high), ("aside-2", Offset(40)));
        assert_eq!(fresh.hint.low.account, "b=7;1.0.0.0;2.0.0.0;");
        let mut known = LaneHint::beginning("aside-2", Position::default());
        known.hint.low.account = "2.4.0.0;".to_owned();
        let again = beginning(&wish(40, "1.5.6.7;2.3.0.0;"), Lane::Aside2, Some(known.clone()));
        assert_eq!(again.hint, known.hint, "Kafka has its position");
        let account = "2.4.0.0;1.0.0.0;".to_owned();
        assert_eq!(again.reached, Some(Reached { offset: 40, account }));
    }
}
