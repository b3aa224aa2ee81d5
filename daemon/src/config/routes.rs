//! The `[[route]]` sections: what is replicated, where to.

use core::ops::Range;
use std::collections::HashSet;

use toml::Spanned;
use tributary_core::topic;

use super::events::{self, Events};
use super::file::{PartitionBy, RouteSection, Start};
use super::lane::Lane;
use super::problem::Problem;
use super::shape::{self, Shape};
use super::template::{self, TOPIC_BYTES_MAX, Template};
use tributary_bridge::limits::ACCOUNT_BYTES_MAX;

/// How many routes a gateway may have: their counters travel with each position.
pub(super) const ROUTES_MAX: usize = 100;
/// The longest name of a route, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 249;
/// The topic that takes everything when an upstream has no route.
const DEFAULT_TOPIC: &str = "events";
/// How many topics a route makes whose topic names levels, unless it says otherwise.
const TOPICS_DEFAULT: u16 = 32;
/// How many all such routes may make together: what tells them apart travels with each position.
const TOPICS_MAX: u16 = 256;
/// About what the counters of one route take there.
const COUNTS_BYTES: usize = 36;

/// A checked route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique among the routes; by default the Kafka topic.
    pub name: String,
    /// MQTT topic filter; `None` selects every event.
    pub from: Option<String>,
    /// Whose events it selects from.
    pub events: Events,
    /// Condition in SQL; `None` passes all.
    pub condition: Option<String>,
    /// Kafka topic, perhaps with levels of the MQTT topic in it: [`super::Template`].
    pub topic: String,
    /// How many topics it makes, if its topic names levels; else 0.
    pub topics_max: u16,
    /// Expression for the record's key; `None`: the MQTT topic.
    pub key: Option<String>,
    /// What decides the partition.
    pub partition: PartitionBy,
    /// From where a new route reads; `None`: now, or the oldest event under the first upstream.
    pub start: Option<Start>,
    /// What ships it.
    pub lane: Lane,
    /// What its records are like.
    pub shape: Shape,
}

impl Route {
    /// All that devices publish, to one topic, under its name.
    #[must_use]
    pub fn everything(topic: &str) -> Self {
        Self {
            name: topic.to_owned(),
            from: None,
            events: Events::default(),
            condition: None,
            topic: topic.to_owned(),
            topics_max: 0,
            key: None,
            partition: PartitionBy::Gateway,
            start: None,
            lane: Lane::Normal,
            shape: Shape::default(),
        }
    }
}

pub(super) fn check(
    sections: &[RouteSection],
    upstream: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Route> {
    if sections.is_empty() && upstream {
        return vec![Route::everything(DEFAULT_TOPIC)];
    }
    if let Some(extra) = sections.get(ROUTES_MAX) {
        problems.push(
            Problem::at(extra.from.span(), format!("more than {ROUTES_MAX} routes"))
                .help("join routes to the same topic with OR in their `where`"),
        );
    }
    let mut names = HashSet::new();
    let routes: Vec<Route> =
        sections.iter().map(|section| check_one(section, &mut names, problems)).collect();
    check_topics_of_lanes(sections, &routes, problems);
    let made = routes.iter().fold(0_u16, |sum, route| sum.saturating_add(route.topics_max));
    let allowed = topics_allowed(&routes);
    if made > allowed
        && let Some(at) = routes.iter().rposition(|route| route.topics_max > 0)
    {
        let words = format!("the routes may make {made} topics, that is more than {allowed}");
        problems.push(
            Problem::at(sections[at].topic.span(), words).help(format!(
                "give them `topics_max`; without it a route may make {TOPICS_DEFAULT}"
            )),
        );
    }
    routes
}

/// A topic belongs to one lane: else its records would come in no order that anyone could tell.
fn check_topics_of_lanes(sections: &[RouteSection], routes: &[Route], problems: &mut Vec<Problem>) {
    for (at, route) in routes.iter().enumerate() {
        let clash =
            |other: &&Route| may_meet(&other.topic, &route.topic) && other.lane != route.lane;
        if let Some(other) = routes[..at].iter().find(clash) {
            let (mine, its) = (route.lane.name(), other.lane.name());
            let topic = &route.topic;
            let words = if other.topic == *topic {
                format!("topic `{topic}` is in lane \"{mine}\" here and in \"{its}\" above")
            } else {
                format!(
                    "`{topic}` in lane \"{mine}\" may be the same topic as `{}` in \"{its}\" above",
                    other.topic
                )
            };
            let span = sections[at].lane.as_ref().map_or(sections[at].topic.span(), Spanned::span);
            problems.push(Problem::at(span, words).help("all routes into a topic go by one lane"));
        }
    }
}

/// How many topics there is room for in what travels with each position.
fn topics_allowed(routes: &[Route]) -> u16 {
    let making = routes.iter().filter(|route| route.topics_max > 0).count();
    let left = ACCOUNT_BYTES_MAX.saturating_sub(routes.len() * COUNTS_BYTES + making * 8);
    u16::try_from(left / 4).unwrap_or(TOPICS_MAX).min(TOPICS_MAX)
}

/// Whether both may be the same topic.
fn may_meet(a: &str, b: &str) -> bool {
    match (Template::of(a), Template::of(b)) {
        (None, None) => a == b,
        (Some(a), None) => a.may_make(b),
        (None, Some(b)) => b.may_make(a),
        (Some(a), Some(b)) => a.may_meet(&b),
    }
}

fn check_one<'a>(
    section: &'a RouteSection,
    names: &mut HashSet<&'a str>,
    problems: &mut Vec<Problem>,
) -> Route {
    let name = section.name.as_ref().unwrap_or(&section.topic);
    if !names.insert(name.get_ref().as_str()) {
        problems.push(
            Problem::at(name.span(), format!("a second route is called `{}`", name.get_ref()))
                .help("give each a `name` of its own; the default is its topic"),
        );
    }
    if name.get_ref().is_empty() || name.get_ref().len() > NAME_BYTES_MAX {
        problems.push(Problem::at(name.span(), "a route's name has 1 to 249 bytes"));
    }
    if let Err(error) = topic::check_filter(section.from.get_ref()) {
        problems.push(Problem::at(section.from.span(), error.to_string()));
    }
    let topics_max = check_made_topic(section, problems);
    check_expression(section.condition.as_ref(), tributary_rules::check_predicate, problems);
    check_expression(section.key.as_ref(), tributary_rules::check_key, problems);
    Route {
        name: name.get_ref().clone(),
        from: Some(section.from.get_ref().clone()),
        events: events::check(section.events.as_ref(), problems),
        condition: section.condition.as_ref().map(|text| text.get_ref().clone()),
        topic: section.topic.get_ref().clone(),
        topics_max,
        key: section.key.as_ref().map(|text| text.get_ref().clone()),
        partition: section.partition,
        start: section.start,
        lane: check_lane(section.lane.as_ref(), problems),
        shape: shape::check(section.format.as_ref(), section.headers.as_deref(), problems),
    }
}

/// Kafka's own rule for topic names.
pub(super) fn check_topic(topic: &Spanned<String>, problems: &mut Vec<Problem>) {
    check_name(topic, topic.get_ref(), problems);
}

/// The same for the name `whole` that is made of what is written.
fn check_name(topic: &Spanned<String>, whole: &str, problems: &mut Vec<Problem>) {
    let text = topic.get_ref();
    let legal = whole.len() <= TOPIC_BYTES_MAX && whole.chars().all(template::is_legal);
    if !legal || whole.is_empty() {
        problems.push(
            Problem::at(topic.span(), format!("`{text}` cannot be a Kafka topic"))
                .help("1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'"),
        );
    } else if template::is_reserved(whole) {
        problems.push(Problem::at(topic.span(), format!("`{text}` is reserved")));
    }
}

/// What is wrong with the topic of a route, which may name levels. How many it may make.
fn check_made_topic(section: &RouteSection, problems: &mut Vec<Problem>) -> u16 {
    let RouteSection { topic, topics_max, from, .. } = section;
    let text = topic.get_ref();
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err((place, words)) => {
            problems.push(
                Problem::at(inside(topic, place), format!("`topic`: {words}"))
                    .help("`plant.{1}.{2}` has the first and the second level of the MQTT topic"),
            );
            return 0;
        }
    };
    check_name(
        topic,
        &template.as_ref().map_or_else(|| text.clone(), Template::overflow),
        problems,
    );
    let Some(template) = template else {
        if let Some(max) = topics_max {
            problems.push(
                Problem::at(max.span(), "`topics_max` is for a topic that names levels")
                    .help("for example `topic = \"plant.{2}\"`"),
            );
        }
        return 0;
    };
    let (levels, depth) = (from.get_ref().split('/').count(), template.depth());
    if depth > levels && !from.get_ref().ends_with('#') {
        problems.push(Problem::at(
            topic.span(),
            format!("there is no level {depth} in what `from` selects"),
        ));
    }
    let max = topics_max.as_ref().map_or(TOPICS_DEFAULT, |max| *max.get_ref());
    if let Some(place) = topics_max
        && !(1..=TOPICS_MAX).contains(&max)
    {
        problems.push(Problem::at(place.span(), format!("a route makes 1 to {TOPICS_MAX} topics")));
    }
    max
}

/// The place of a part of a text in the file: a plain quoted string holds it byte for byte behind its
/// opening quote.
fn inside(text: &Spanned<String>, part: Range<usize>) -> Range<usize> {
    let value = text.span();
    let plain = value.len() == text.get_ref().len() + 2;
    if plain { value.start + 1 + part.start..value.start + 1 + part.end } else { value }
}

fn check_lane(lane: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Lane {
    let Some(lane) = lane else { return Lane::Normal };
    Lane::named(lane.get_ref()).unwrap_or_else(|| {
        problems.push(
            Problem::at(lane.span(), format!("there is no lane `{}`", lane.get_ref()))
                .help("a lane is \"high\", \"normal\" or \"bulk\""),
        );
        Lane::Normal
    })
}

/// Compiles an expression; its mistakes are placed inside the string of the file.
fn check_expression(
    text: Option<&Spanned<String>>,
    compile: fn(&str) -> Result<(), tributary_rules::Diagnostic>,
    problems: &mut Vec<Problem>,
) {
    let Some(text) = text else { return };
    let Err(diagnostic) = compile(text.get_ref()) else { return };
    let span = inside(text, diagnostic.span.clone());
    problems.push(Problem {
        span: Some(span),
        message: diagnostic.message.clone(),
        help: diagnostic.help,
    });
}
