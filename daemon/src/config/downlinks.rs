//! The `[[downlink]]` sections: Kafka topics whose records become events for devices.

use core::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use tributary_core::record::Qos;
use tributary_core::topic::check_name;

use super::problem::Problem;

/// Downlinks of one gateway.
const DOWNLINKS_MAX: usize = 8;
/// How old a record may be, unless the section says otherwise.
const MAX_AGE_DEFAULT: Duration = Duration::from_hours(24);
/// The longest name that Kafka gives a topic.
const TOPIC_BYTES_MAX: usize = 249;
/// The topic that holds the lanes' positions.
const POSITIONS_TOPIC: &str = "tributary.positions";
const HELP_TO: &str = "an MQTT topic, with {key} for the record's key and {gateway} for this gateway's name, \
     as \"cmd/{key}\"";

/// A `[[downlink]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DownlinkSection {
    from: Spanned<String>,
    to: Spanned<String>,
    #[serde(default)]
    only: Only,
    qos: Option<Spanned<u8>>,
    #[serde(default)]
    retain: bool,
    max_age: Option<Spanned<String>>,
}

/// Which records are for this gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    /// Those whose header `tributary.gateway` names it, or is `*`.
    #[default]
    Header,
    /// Those whose key is its name, or its name, a slash, and what `{key}` stands for.
    Key,
    /// All.
    All,
}

/// A checked `[[downlink]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downlink {
    /// The Kafka topic; no two downlinks read the same.
    pub from: String,
    /// The MQTT topic.
    pub to: Target,
    /// Which records are for this gateway.
    pub only: Only,
    /// At which quality of service devices get them.
    pub qos: Qos,
    /// Whether the last one of each MQTT topic is kept for who subscribes later.
    pub retain: bool,
    /// Older records are passed over; `None`: never.
    pub max_age: Option<Duration>,
}

/// An MQTT topic that depends on the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Key,
    Gateway,
}

impl Target {
    /// Reads the `to` of a downlink.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or("a `{` has no `}`")?;
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            parts.push(match name {
                "key" => Part::Key,
                "gateway" => Part::Gateway,
                _ => return Err(format!("`{{{name}}}` is not known here")),
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err("a `}` has no `{`".to_owned());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let target = Self { parts };
        let example = target.render(Some("key"), "gateway")?;
        check_name(&example).map_err(|error| error.to_string())?;
        if example.starts_with('$') {
            return Err("topics that begin with '$' are the broker's own".to_owned());
        }
        Ok(target)
    }

    /// The MQTT topic for a record of this key.
    ///
    /// # Errors
    /// It needs a key and there is none.
    pub fn render(&self, key: Option<&str>, gateway: &str) -> Result<String, String> {
        let mut topic = String::new();
        for part in &self.parts {
            topic.push_str(match part {
                Part::Text(text) => text,
                Part::Key => key.filter(|key| !key.is_empty()).ok_or("it has no key")?,
                Part::Gateway => gateway,
            });
        }
        Ok(topic)
    }
}

pub(super) fn check(
    sections: &[DownlinkSection],
    has_upstream: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Downlink> {
    let mut downlinks: Vec<Downlink> = Vec::new();
    for section in sections {
        check_from(section, &downlinks, problems);
        if downlinks.len() == DOWNLINKS_MAX {
            problems.push(Problem::at(
                section.from.span(),
                format!("more than {DOWNLINKS_MAX} downlinks"),
            ));
            break;
        }
        if !has_upstream {
            problems.push(
                Problem::at(section.from.span(), "there is no cluster to read this from")
                    .help("name its brokers: [upstream] brokers = [\"kafka:9092\"]"),
            );
        }
        let to = Target::parse(section.to.get_ref());
        let to = to.unwrap_or_else(|wrong| {
            problems.push(Problem::at(section.to.span(), format!("`to`: {wrong}")).help(HELP_TO));
            Target { parts: Vec::new() }
        });
        downlinks.push(Downlink {
            from: section.from.get_ref().clone(),
            to,
            only: section.only,
            qos: check_qos(section.qos.as_ref(), problems),
            retain: section.retain,
            max_age: check_max_age(section.max_age.as_ref(), problems),
        });
    }
    downlinks
}

fn check_from(section: &DownlinkSection, others: &[Downlink], problems: &mut Vec<Problem>) {
    let name = section.from.get_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = (1..=TOPIC_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain);
    if !is_name || name == "." || name == ".." || name == POSITIONS_TOPIC {
        problems.push(
            Problem::at(section.from.span(), format!("`{name}` cannot be a topic of Kafka"))
                .help("1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'"),
        );
    }
    if others.iter().any(|other| other.from == *name) {
        problems.push(
            Problem::at(section.from.span(), format!("a second downlink reads `{name}`"))
                .help("where it was read to is kept once for each topic"),
        );
    }
}

fn check_qos(qos: Option<&Spanned<u8>>, problems: &mut Vec<Problem>) -> Qos {
    let Some(qos) = qos else { return Qos::AtLeastOnce };
    match qos.get_ref() {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        2 => Qos::ExactlyOnce,
        other => {
            problems.push(
                Problem::at(qos.span(), format!("there is no QoS {other}")).help("0, 1 or 2"),
            );
            Qos::AtLeastOnce
        }
    }
}

fn check_max_age(age: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Option<Duration> {
    let Some(age) = age else { return Some(MAX_AGE_DEFAULT) };
    let text = age.get_ref();
    if text == "off" {
        return None;
    }
    let parsed = humantime::parse_duration(text).ok().filter(|age| *age >= Duration::from_secs(1));
    if parsed.is_none() {
        problems.push(
            Problem::at(age.span(), format!("`{text}` is not how old a command may be"))
                .help("write it as \"10m\" or \"24h\"; \"off\" takes commands of any age"),
        );
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_key_and_gateway() {
        let target = Target::parse("site/{gateway}/cmd/{key}").expect("it is sound");
        assert_eq!(target.render(Some("pump/1"), "gw"), Ok("site/gw/cmd/pump/1".to_owned()));
        assert!(target.render(None, "gw").is_err() && target.render(Some(""), "gw").is_err());
        for wrong in ["cmd/{key", "cmd/key}", "cmd/{topic}", "cmd/+", "$SYS/{key}", ""] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Target::parse("cmd").map(|it| it.render(None, "")), Ok(Ok("cmd".to_owned())));
    }
}
