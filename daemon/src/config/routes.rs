//! The `[[route]]` sections: what is replicated, where to.

use std::collections::HashSet;

use toml::Spanned;
use tributary_core::topic;

use super::file::{PartitionBy, RouteSection, Start};
use super::lane::Lane;
use super::problem::Problem;
use super::shape::{self, Shape};

/// How many routes a gateway may have: their counters travel with each position.
pub(super) const ROUTES_MAX: usize = 100;
/// The longest name of a route, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 249;
/// The topic that takes everything when an upstream has no route.
const DEFAULT_TOPIC: &str = "events";
/// The topic that holds the lanes' positions.
const POSITIONS_TOPIC: &str = "tributary.positions";

/// A checked route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique among the routes; by default the Kafka topic.
    pub name: String,
    /// MQTT topic filter; `None` selects every event.
    pub from: Option<String>,
    /// Condition in SQL; `None` passes all.
    pub condition: Option<String>,
    /// Kafka topic.
    pub topic: String,
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

pub(super) fn check(
    sections: &[RouteSection],
    upstream: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Route> {
    if sections.is_empty() && upstream {
        return vec![everything()];
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
    routes
}

/// A topic belongs to one lane: else its records would come in no order that anyone could tell.
fn check_topics_of_lanes(sections: &[RouteSection], routes: &[Route], problems: &mut Vec<Problem>) {
    for (at, route) in routes.iter().enumerate() {
        let clash = |other: &&Route| other.topic == route.topic && other.lane != route.lane;
        if let Some(other) = routes[..at].iter().find(clash) {
            let (mine, its) = (route.lane.name(), other.lane.name());
            let words = format!(
                "topic `{}` is in lane \"{mine}\" here and in \"{its}\" above",
                route.topic
            );
            let span = sections[at].lane.as_ref().map_or(sections[at].topic.span(), Spanned::span);
            problems.push(Problem::at(span, words).help("all routes into a topic go by one lane"));
        }
    }
}

fn everything() -> Route {
    Route {
        name: DEFAULT_TOPIC.to_owned(),
        from: None,
        condition: None,
        topic: DEFAULT_TOPIC.to_owned(),
        key: None,
        partition: PartitionBy::Gateway,
        start: None,
        lane: Lane::Normal,
        shape: Shape::default(),
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
    check_topic(&section.topic, problems);
    check_expression(section.condition.as_ref(), tributary_rules::check_predicate, problems);
    check_expression(section.key.as_ref(), tributary_rules::check_key, problems);
    Route {
        name: name.get_ref().clone(),
        from: Some(section.from.get_ref().clone()),
        condition: section.condition.as_ref().map(|text| text.get_ref().clone()),
        topic: section.topic.get_ref().clone(),
        key: section.key.as_ref().map(|text| text.get_ref().clone()),
        partition: section.partition,
        start: section.start,
        lane: check_lane(section.lane.as_ref(), problems),
        shape: shape::check(section.format.as_ref(), section.headers.as_deref(), problems),
    }
}

/// Kafka's own rule for topic names.
pub(super) fn check_topic(topic: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = topic.get_ref();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let legal = !text.is_empty() && text.len() <= 249 && text.chars().all(valid);
    if !legal || text == "." || text == ".." {
        problems.push(
            Problem::at(topic.span(), format!("`{text}` cannot be a Kafka topic"))
                .help("1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'"),
        );
    } else if text == POSITIONS_TOPIC || text.starts_with("__") {
        problems.push(Problem::at(topic.span(), format!("`{text}` is reserved")));
    }
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
    let value = text.span();
    // A plain quoted string holds the expression byte for byte behind its opening quote.
    let plain = value.len() == text.get_ref().len() + 2;
    let span = if plain {
        value.start + 1 + diagnostic.span.start..value.start + 1 + diagnostic.span.end
    } else {
        value
    };
    problems.push(Problem {
        span: Some(span),
        message: diagnostic.message.clone(),
        help: diagnostic.help,
    });
}
