//! Kafka topics that are named by levels of an event's MQTT topic: `plant.{1}.{2}`.
//!
//! `{n}` is the nth level, as `topic(n)` counts them. What Kafka does not allow in a name becomes `_`,
//! so two levels may become one name: `a b` and `a_b`. A route makes so many names and no more; what
//! would be another goes to the name that has `other` for every level.

use core::fmt::Write;
use core::ops::Range;

use crate::io::crc::crc32c;

/// The longest name that Kafka gives a topic.
pub(super) const TOPIC_BYTES_MAX: usize = 249;
/// The deepest level that can be named.
const LEVEL_MAX: usize = 128;
/// What stands for each level in the name of what is too much.
const OTHER: &str = "other";
/// The topic that holds the lanes' positions.
const POSITIONS_TOPIC: &str = "tributary.positions";

/// A name with levels in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Counted from 1.
    Level(usize),
}

/// What is wrong, and where in the text.
pub(super) type Mistake = (Range<usize>, &'static str);

impl Template {
    /// Reads the `topic` of a route; `None`: it names no level.
    #[must_use]
    pub fn of(topic: &str) -> Option<Self> {
        Self::parse(topic).ok().flatten()
    }

    pub(super) fn parse(text: &str) -> Result<Option<Self>, Mistake> {
        let (mut parts, mut at) = (Vec::new(), 0);
        while let Some(open) = text[at..].find(['{', '}']).map(|open| at + open) {
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let close = text[open..].find('}').filter(|close| *close > 0).map(|it| open + it);
            let Some(close) = close else {
                let is_open = text[open..].starts_with('{');
                let words = if is_open { "a `{` has no `}`" } else { "a `}` has no `{`" };
                return Err((open..open + 1, words));
            };
            let level = text[open + 1..close].parse().ok();
            let Some(level) = level.filter(|level| (1..=LEVEL_MAX).contains(level)) else {
                return Err((
                    open..close + 1,
                    "between braces stands the number of a level, from 1",
                ));
            };
            parts.push(Part::Level(level));
            at = close + 1;
        }
        if parts.is_empty() {
            return Ok(None);
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Some(Self { parts }))
    }

    /// The deepest level that it names.
    pub(super) fn depth(&self) -> usize {
        let level = |part: &Part| if let Part::Level(level) = part { *level } else { 0 };
        self.parts.iter().map(level).max().unwrap_or(0)
    }

    /// An MQTT topic that a filter selects, and the name that is made of it.
    #[must_use]
    pub fn example(&self, from: &str) -> (String, String) {
        let (plain, deep) = match from.strip_suffix('#') {
            Some(plain) => (plain, self.depth()),
            None => (from, 0),
        };
        let levels = plain.split('/').count().max(deep);
        let mut given = plain.split('/');
        let level = |number| match given.next() {
            None | Some("+" | "") => format!("level{number}"),
            Some(level) => level.to_owned(),
        };
        let topic = (1..=levels).map(level).collect::<Vec<_>>().join("/");
        let mut name = String::new();
        if !self.render(&topic, &mut name) {
            name = self.overflow();
        }
        (topic, name)
    }

    /// Where events go whose name would be one too many.
    #[must_use]
    pub fn overflow(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Level(_) => OTHER.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// Writes the name for an event's topic behind `out`. `false`: it has no such level, or Kafka keeps that
    /// name for itself; nothing was written.
    #[must_use]
    pub fn render(&self, topic: &str, out: &mut String) -> bool {
        let begin = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Level(level) => {
                    let Some(level) = topic.split('/').nth(level - 1) else {
                        out.truncate(begin);
                        return false;
                    };
                    let legal = |c: char| if is_legal(c) { c } else { '_' };
                    out.extend(level.chars().map(legal));
                    if level.is_empty() {
                        out.push('_');
                    }
                }
            }
        }
        let name = &out[begin..];
        if is_reserved(name) {
            out.truncate(begin);
            return false;
        }
        if name.len() > TOPIC_BYTES_MAX {
            let hash = crc32c(0, name.as_bytes());
            out.truncate(begin + TOPIC_BYTES_MAX - 9);
            let written = write!(out, "-{hash:08x}");
            debug_assert!(written.is_ok(), "strings grow");
        }
        true
    }

    /// Whether both may make the same name, as far as the text at their ends tells.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let meets = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        meets(literal(self.parts.first()), literal(other.parts.first()))
            && ends(literal(self.parts.last()), literal(other.parts.last()))
    }

    /// The same for a name without levels.
    pub(super) fn may_make(&self, name: &str) -> bool {
        name.starts_with(literal(self.parts.first())) && name.ends_with(literal(self.parts.last()))
    }
}

fn literal(part: Option<&Part>) -> &str {
    if let Some(Part::Text(text)) = part { text } else { "" }
}

/// Whether Kafka takes the character in a topic's name.
pub(super) fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Whether nobody else may write to a topic of this name, or there can be none.
pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, "" | "." | ".." | POSITIONS_TOPIC) || name.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, topic: &str) -> Option<String> {
        let template = Template::of(template).expect("it names levels");
        let mut name = "before".to_owned();
        let made = template.render(topic, &mut name);
        assert!(made || name == "before", "{name}");
        made.then(|| name["before".len()..].to_owned())
    }

    #[test]
    fn levels_become_names_that_kafka_takes() {
        let name = |template, topic| rendered(template, topic).expect("a name");
        assert_eq!(name("plant.{1}.{3}", "a/b/c/d"), "plant.a.c");
        assert_eq!(name("{2}", "a/press 3é/c"), "press_3_");
        assert_eq!(name("x-{2}{1}", "a//c"), "x-_a");
        let long = "l".repeat(400);
        let (one, two) = (name("{1}", &format!("{long}1")), name("{1}", &format!("{long}2")));
        assert_eq!((one.len(), two.len()), (TOPIC_BYTES_MAX, TOPIC_BYTES_MAX));
        assert_ne!(one, two);
        assert_eq!(Template::of("t.{1}-{2}").map(|it| it.overflow()), Some("t.other-other".into()));
    }

    #[test]
    fn no_device_makes_a_name_that_is_reserved_or_lacks_a_level() {
        for (template, topic) in [
            ("{1}", "__consumer_offsets"),
            ("{1}", ".."),
            ("{1}.{2}", "tributary/positions"),
            ("_{1}", "/a"),
            ("{3}", "a/b"),
        ] {
            assert_eq!(rendered(template, topic), None, "{template} {topic}");
        }
    }

    #[test]
    fn an_example_is_selected_by_the_filter() {
        for (template, from, topic, name) in [
            ("p.{2}", "plant/+/telemetry", "plant/level2/telemetry", "p.level2"),
            ("{1}.{4}", "plant/#", "plant/level2/level3/level4", "plant.level4"),
            ("x{1}", "#", "level1", "xlevel1"),
        ] {
            let made = Template::of(template).expect("it names levels").example(from);
            assert_eq!(made, (topic.to_owned(), name.to_owned()), "{template} {from}");
            assert!(tributary_core::topic::matches(from, topic));
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, place) in [("a{", 1..2), ("a}b", 1..2), ("{0}", 0..3), ("{x}.{1}", 0..3)] {
            assert_eq!(Template::parse(text).expect_err("wrong").0, place, "{text}");
        }
        assert_eq!(Template::parse("plain.name"), Ok(None));
        assert_eq!(Template::parse("{2}.{11}").expect("right").map(|it| it.depth()), Some(11));
    }

    #[test]
    fn names_that_may_be_the_same_are_told() {
        let of = |text| Template::of(text).expect("it names levels");
        assert!(of("a.{1}").may_meet(&of("{1}.b")) && of("a.{1}").may_make("a.b"));
        assert!(!of("a.{1}").may_meet(&of("b.{1}")) && !of("a.{1}").may_make("b"));
        assert!(!of("{1}.a").may_meet(&of("{1}.b")) && !of("{1}.a").may_make("a.b"));
    }
}
