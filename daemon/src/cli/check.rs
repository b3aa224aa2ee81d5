//! `tributary check`: what a configuration comes to.

use std::process::ExitCode;

use super::output::print;
use super::{BAD_DIRECTORY, FileArg};
use crate::config::{Config, Listener, Route, Template};
use crate::io::segments::Prospect;

/// Reads the configuration as `run` does, and says what it found.
pub(super) fn run(file: &FileArg) -> Result<(), ExitCode> {
    let config = file.load()?;
    if let Err(error) = Prospect::of(&config.log.dir, config.log.volatile) {
        eprintln!("error: {error}");
        return Err(ExitCode::from(BAD_DIRECTORY));
    }
    let mut lines = vec![match file.path() {
        Some(path) => format!("{}: the configuration is valid", path.display()),
        None => "no configuration file: `run` would use the defaults".to_owned(),
    }];
    lines.extend(summary(&config).into_iter().map(|line| format!("  {line}")));
    print(&lines.join("\n"))
}

fn summary(config: &Config) -> Vec<String> {
    let mut lines: Vec<String> = config.listeners.iter().map(Listener::summary).collect();
    let (dir, most) = (config.log.dir.display(), bytesize::ByteSize(config.log.bytes_max));
    lines.push(format!("log in {dir}, at most {most}"));
    for source in &config.sources {
        let topics = source.topics.join(", ");
        lines.push(format!("source {}: {topics} at {}", source.name, source.url()));
    }
    match &config.upstream {
        None => lines.push("no upstream".to_owned()),
        Some(upstream) => {
            let broker = |(host, port): &(String, u16)| format!("Kafka at {host}:{port}");
            lines.extend(upstream.brokers.iter().map(broker));
        }
    }
    lines.extend(config.routes.iter().flat_map(route));
    lines.extend(config.warnings().into_iter().map(|warning| format!("warning: {warning}")));
    lines
}

/// A route, and an example of the topics that it makes.
fn route(route: &Route) -> Vec<String> {
    let from = route.from.as_deref();
    let condition = route.condition.as_ref().map_or(String::new(), |text| format!(" where {text}"));
    let topics = from.unwrap_or("every topic");
    let mut lines = vec![format!("route {}: {topics}{condition} -> {}", route.name, route.topic)];
    if let Some(template) = Template::of(&route.topic) {
        let (topic, name) = template.example(from.unwrap_or("#"));
        let (max, other) = (route.topics_max, template.overflow());
        lines.push(format!(
            "  at most {max} topics, for example {topic} -> {name}; more go to {other}"
        ));
    }
    lines
}
