//! The routing table: which routes are in force from which offset on.
//!
//! A table is a record in the log. An event is judged by the table in force at the event's offset,
//! whenever it is shipped, so editing the configuration never re-judges what was acknowledged
//! before. Invariant: an id belongs to one route for ever; (route name, offset) is never selected
//! twice, not even when a route is removed and comes back.

use serde::{Deserialize, Serialize};
use tributary_bridge::Partitioner;
use tributary_core::Offset;

use super::aside::Aside;
use super::table_formats;
use crate::config::{CONFIGURED, Events, Lane, PartitionBy, Route, Shape, Start};

/// How many removed routes are remembered, so that one that comes back repeats nothing.
const RETIRED_MAX: usize = 256;

/// All routes in force from one offset on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Since when there is a lane; `None`: nothing has ever been replicated from this log.
    pub lane_since: Option<u64>,
    pub(super) next_id: u32,
    /// In the order of the configuration, as the programs are.
    pub routes: Vec<Entry>,
    pub(super) retired: Vec<Retired>,
    /// The compiled conditions and keys, one pair per route.
    pub programs: Vec<u8>,
    /// Which lanes have ever had a route: their hints must be in the log.
    pub begun: [bool; CONFIGURED],
    /// Since which offset a lane has had no route.
    pub emptied: [Option<u64>; CONFIGURED],
    /// Topics that Kafka refuses, and the lanes that ship what goes there.
    #[serde(skip)]
    pub asides: Vec<Aside>,
}

/// One route in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Never given twice in one log.
    pub id: u32,
    /// The first offset that it may select.
    pub begin: u64,
    /// The offset of the table in which it first stood.
    pub since: u64,
    /// How it came from another lane, if it did.
    pub moved: Option<Moved>,
    /// What the configuration says of it.
    pub rule: Rule,
}

/// How a route came into its lane from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The offset at which it entered its lane.
    pub at: u64,
    /// The lane that shipped it before, which has to come so far first: so that its records stay in
    /// order.
    pub from: Lane,
    /// The offset at which it had left that lane.
    pub left: u64,
}

/// What the configuration says of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique among the routes of a table.
    pub name: String,
    /// MQTT topic filter; `None` selects every event.
    pub from: Option<String>,
    /// Condition, as text, for people; the program decides.
    pub condition: Option<String>,
    /// Kafka topic, perhaps with levels of the MQTT topic in it.
    pub topic: String,
    /// Key expression, as text; `None`: the MQTT topic.
    pub key: Option<String>,
    /// Whether the key, rather than the gateway, decides the partition.
    pub partition_by_key: bool,
    /// The lane that ships it.
    pub lane: Lane,
    /// What its records are like; behind the table in the record.
    #[serde(skip)]
    pub shape: Shape,
    /// How many topics it makes, if its topic names levels; behind the table, too.
    #[serde(skip)]
    pub topics_max: u16,
    /// Whose events it selects from; behind the table, too.
    #[serde(skip)]
    pub events: Events,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) name: String,
    pub(super) until: u64,
    /// The lane that shipped it.
    pub(super) lane: Lane,
}

/// A table could not be read from the log.
#[derive(Debug)]
pub struct Unreadable;

impl Table {
    /// The table of a log that has none.
    #[must_use]
    pub fn none() -> Self {
        Self {
            lane_since: None,
            next_id: 1,
            routes: Vec::new(),
            retired: Vec::new(),
            programs: Vec::new(),
            begun: [false; CONFIGURED],
            emptied: [None; CONFIGURED],
            asides: Vec::new(),
        }
    }

    /// Reads the body of a control record.
    ///
    /// # Errors
    /// If it was written by a version with another layout.
    pub fn decode(body: &[u8]) -> Result<Self, Unreadable> {
        table_formats::decode(body)
    }

    /// The body of a control record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        table_formats::encode(self)
    }

    /// Whether `routes` ask for anything other than this table does.
    #[must_use]
    pub fn differs(&self, wanted: &Wanted) -> bool {
        let rules_differ = !self.routes.iter().map(|entry| &entry.rule).eq(wanted.rules());
        let programs_differ = !self.routes.is_empty() && self.programs != wanted.programs;
        (self.lane_since.is_none() && wanted.lane) || rules_differ || programs_differ
    }

    /// The table that follows this one at offset `at` of a log that begins at `oldest`.
    #[must_use]
    pub fn succeed(&self, wanted: &Wanted, at: Offset, oldest: Offset) -> Self {
        let mut next = self.clone();
        let first_lane = wanted.lane && self.lane_since.is_none();
        if first_lane {
            next.lane_since = Some(at.0);
        }
        next.programs.clone_from(&wanted.programs);
        next.routes.clear();
        for (rule, start) in &wanted.routes {
            let kept = self.routes.iter().find(|entry| entry.rule.name == rule.name);
            next.routes.push(if let Some(entry) = kept {
                let stays = entry.rule.lane == rule.lane;
                let moved = Moved { at: at.0, from: entry.rule.lane, left: at.0 };
                let moved = if stays { entry.moved } else { Some(moved) };
                Entry { rule: rule.clone(), moved, ..entry.clone() }
            } else {
                let from_oldest = start.map_or(first_lane, |start| start == Start::Oldest);
                let begin = if from_oldest { self.unsent_since(&rule.name, oldest) } else { at.0 };
                let id = next.next_id;
                next.next_id += 1;
                let before = self.retired.iter().find(|retired| retired.name == rule.name);
                let elsewhere = before.filter(|retired| retired.lane != rule.lane);
                let moved =
                    |retired: &Retired| Moved { at: at.0, from: retired.lane, left: retired.until };
                let moved = elsewhere.map(moved);
                Entry { id, begin, since: at.0, moved, rule: rule.clone() }
            });
        }
        for lane in Lane::configured().iter().copied() {
            let has_routes = next.has_routes(lane);
            next.begun[lane.index()] |= has_routes;
            let emptied = &mut next.emptied[lane.index()];
            *emptied = if has_routes {
                None
            } else {
                emptied.or_else(|| self.has_routes(lane).then_some(at.0))
            };
        }
        next.retire(self, at);
        next.carry_asides(self, at);
        next
    }

    /// Whether a route is in this lane.
    #[must_use]
    pub fn has_routes(&self, lane: Lane) -> bool {
        self.routes.iter().any(|entry| entry.rule.lane == lane)
    }

    /// Whether a lane that has come to `settled` has anything left to do.
    #[must_use]
    pub fn needs(&self, lane: Lane, settled: Offset) -> bool {
        if lane.is_aside() {
            let mut asides = self.asides.iter().filter(|aside| aside.lane == lane);
            return asides.any(|aside| aside.until.is_none_or(|until| settled.0 < until));
        }
        self.has_routes(lane) || self.emptied[lane.index()].is_some_and(|at| settled.0 < at)
    }

    /// The first offset that no earlier route of this name may have selected.
    fn unsent_since(&self, name: &str, oldest: Offset) -> u64 {
        let sent_until = self.retired.iter().filter(|r| r.name == name).map(|r| r.until).max();
        sent_until.unwrap_or(0).max(oldest.0)
    }

    fn retire(&mut self, previous: &Self, at: Offset) {
        for entry in &previous.routes {
            if !self.routes.iter().any(|kept| kept.id == entry.id) {
                self.retired.retain(|retired| retired.name != entry.rule.name);
                let Rule { name, lane, .. } = entry.rule.clone();
                self.retired.push(Retired { name, until: at.0, lane });
            }
        }
        let surplus = self.retired.len().saturating_sub(RETIRED_MAX);
        self.retired.drain(..surplus);
    }

    /// The routes of a lane that begin before this table does, if it stands at `at`: they read back
    /// first.
    pub fn backfilled(&self, lane: Lane, at: Offset) -> impl Iterator<Item = &Entry> {
        let due = move |entry: &&Entry| entry.since == at.0 && entry.begin < at.0;
        self.routes.iter().filter(move |entry| entry.rule.lane == lane).filter(due)
    }

    /// From where routes enter this lane at `at`; what was aside there meanwhile comes first, too.
    #[must_use]
    pub fn entering(&self, lane: Lane, at: Offset, asides: &[Aside]) -> Vec<Moved> {
        let mut all = Vec::new();
        for entry in self.routes.iter().filter(|it| it.rule.lane == lane && !lane.is_aside()) {
            let Some(moved) = entry.moved.filter(|moved| moved.at == at.0) else { continue };
            let (topic, from) = (&entry.rule.topic, moved.from);
            let between = asides.iter().filter(|it| (&it.topic, it.home) == (topic, from));
            all.extend(between.filter(|it| it.from < moved.left).map(|it| Moved {
                from: it.lane,
                left: it.until.map_or(moved.left, |until| until.min(moved.left)),
                ..moved
            }));
            all.push(moved);
        }
        all
    }
}

/// What the configuration asks for, compiled.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whether there is an upstream.
    pub lane: bool,
    routes: Vec<(Rule, Option<Start>)>,
    programs: Vec<u8>,
}

impl Wanted {
    /// Compiles the routes of a checked configuration.
    ///
    /// # Errors
    /// If together they are larger than a program may be.
    pub fn compile(routes: &[Route], lane: bool) -> Result<Self, tributary_rules::Error> {
        let routes = if lane { routes } else { &[] };
        let sources: Vec<_> = routes
            .iter()
            .map(|route| tributary_rules::Source {
                where_: route.condition.as_deref(),
                key: route.key.as_deref(),
            })
            .collect();
        let programs = tributary_rules::compile(&sources)?;
        let routes = routes.iter().map(|route| (Rule::of(route), route.start)).collect();
        Ok(Self { lane, routes, programs })
    }

    /// The lanes that the routes are in.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        let has = |lane: &Lane| self.rules().any(|rule| rule.lane == *lane);
        Lane::ALL.into_iter().filter(has)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.routes.iter().map(|(rule, _)| rule)
    }
}

impl Entry {
    /// How the partition of its records is found.
    #[must_use]
    pub fn partitioner(&self) -> Partitioner {
        if self.rule.partition_by_key { Partitioner::Key } else { Partitioner::Gateway }
    }
}

impl Rule {
    fn of(route: &Route) -> Self {
        Self {
            name: route.name.clone(),
            from: route.from.clone(),
            condition: route.condition.clone(),
            topic: route.topic.clone(),
            key: route.key.clone(),
            partition_by_key: route.partition == PartitionBy::Key,
            lane: route.lane,
            shape: route.shape,
            topics_max: route.topics_max,
            events: route.events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(routes: &[(&str, Option<Start>)]) -> Wanted {
        let routes: Vec<Route> = routes
            .iter()
            .map(|(topic, start)| Route {
                from: Some("#".to_owned()),
                start: *start,
                ..Route::everything(topic)
            })
            .collect();
        Wanted::compile(&routes, true).expect("small")
    }

    #[test]
    fn the_first_upstream_of_an_old_log_goes_back_and_later_routes_do_not() {
        let first = Table::none().succeed(&wanted(&[("a", None)]), Offset(50), Offset(10));
        assert_eq!((first.routes[0].begin, first.lane_since), (10, Some(50)));
        let second = first.succeed(&wanted(&[("a", None), ("b", None)]), Offset(70), Offset(10));
        assert_eq!((second.routes[0].begin, second.routes[1].begin), (10, 70));
        assert_eq!(second.backfilled(Lane::Normal, Offset(70)).count(), 0);
    }

    #[test]
    fn a_route_that_comes_back_repeats_nothing() {
        let oldest = Some(Start::Oldest);
        let first = Table::none().succeed(&wanted(&[("a", oldest)]), Offset(50), Offset(10));
        let gone = first.succeed(&wanted(&[]), Offset(60), Offset(10));
        let back = gone.succeed(&wanted(&[("a", oldest)]), Offset(90), Offset(10));
        assert_eq!((back.routes[0].begin, back.routes[0].since), (60, 90));
        assert_ne!(back.routes[0].id, first.routes[0].id);
    }

    #[test]
    fn a_route_that_changes_its_lane_leaves_one_and_enters_the_other() {
        let mut want = wanted(&[("a", None), ("b", None)]);
        let first = Table::none().succeed(&want, Offset(50), Offset(10));
        want.routes[1].0.lane = Lane::Bulk;
        assert!(first.differs(&want));
        let second = first.succeed(&want, Offset(70), Offset(10));
        assert_eq!(second.routes[1].moved, Some(Moved { at: 70, from: Lane::Normal, left: 70 }));
        assert_eq!((second.routes[1].id, second.routes[1].begin), (first.routes[1].id, 10));
        assert_eq!(second.entering(Lane::Bulk, Offset(70), &[]).len(), 1);
        assert_eq!(second.entering(Lane::Bulk, Offset(71), &[]).len(), 0);
        assert_eq!(second.begun, [false, true, true]);
        want.routes[0].0.lane = Lane::Bulk;
        let third = second.succeed(&want, Offset(90), Offset(10));
        assert_eq!(third.emptied, [None, Some(90), None]);
        assert!(third.needs(Lane::Normal, Offset(89)) && !third.needs(Lane::Normal, Offset(90)));
        assert!(!third.needs(Lane::High, Offset(0)));
    }

    #[test]
    fn survives_the_log_and_knows_when_nothing_changed() {
        let want = wanted(&[("a", None)]);
        let table = Table::none().succeed(&want, Offset(5), Offset(0));
        let read = Table::decode(&table.encode()).expect("just written");
        assert_eq!(read, table);
        assert!(!read.differs(&want));
        assert!(read.differs(&wanted(&[("b", None)])));
        assert!(Table::decode(&[9, 9, 9]).is_err());
    }
}
