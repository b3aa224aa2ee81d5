//! The configuration: first exactly what the user wrote (`file`), then checked values.
//!
//! Everything that `run` would refuse of it is found here, so that `tributary check` can say it first; what
//! the log's directory lies on is looked at by [`Prospect`].

mod downlinks;
mod events;
mod file;
mod lane;
mod listeners;
mod needed;
mod origins;
pub mod problem;
mod reach;
mod reading;
mod routes;
mod schema;
mod shape;
mod sources;
mod template;
mod units;
pub mod upstream;

use core::time::Duration;
use std::path::{Path, PathBuf};

pub use downlinks::{Downlink, Only, Target};
pub use events::Events;
use file::File;
pub use file::{CertificateName, ClientIds, Compression, Delivery, PartitionBy, Start, WhenFull};
pub use lane::{CONFIGURED, LANES, Lane};
pub use listeners::{CONNECTIONS_MAX, Listener, ListenerTls};
use needed::{missing_source, missing_upstream};
pub use origins::Origins;
use problem::{Problem, Problems};
use reading::Reading;
pub use routes::Route;
pub use shape::{Format, Header, Headers, Shape};
pub use sources::{Protocol, Source, selected};
pub use template::Template;
use toml::Spanned;
pub use upstream::Upstream;

use crate::io::files::open_to_others;
use crate::io::segments::{BYTES_MAX, Prospect};

/// The log's size unless the file says otherwise.
pub const LOG_BYTES_DEFAULT: u64 = 1 << 30;
/// Where it is unless the file says otherwise: beside the file.
pub const LOG_DIR_DEFAULT: &str = "tributary-data";
/// The smallest log: a few segments.
pub const LOG_BYTES_MIN: u64 = 16 << 20;
/// The largest: what files there can be.
pub const LOG_BYTES_MAX: u64 = BYTES_MAX;
/// The shortest time that events can be kept.
pub const MAX_AGE_MIN: Duration = Duration::from_mins(1);
/// The longest time that a commit may be held back.
pub const COMMIT_DELAY_MAX: Duration = Duration::from_mins(1);
/// The longest name of a gateway: it is part of Kafka identifiers.
pub const GATEWAY_BYTES_MAX: usize = 100;
/// Where the configuration is looked for unless `--config` names it.
pub const FILE_DEFAULT: &str = "tributary.toml";

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The gateway's name for people, headers and ACL prefixes; `None`: derived from host and log.
    pub gateway: Option<String>,
    /// The log.
    pub log: Log,
    /// Where MQTT clients connect.
    pub listeners: Vec<Listener>,
    /// Other brokers whose messages are taken.
    pub sources: Vec<Source>,
    /// The Kafka cluster, if there is one.
    pub upstream: Option<Upstream>,
    /// What is replicated; with an upstream and no route in the file, everything to `events`.
    pub routes: Vec<Route>,
    /// Which of its topics bring commands.
    pub downlinks: Vec<Downlink>,
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Directory of the log.
    pub dir: PathBuf,
    /// Bytes that all segments together may take.
    pub bytes_max: u64,
    /// Events go when they are older; `None`: when their place is needed.
    pub max_age: Option<Duration>,
    /// What happens when there is no more room.
    pub when_full: WhenFull,
    /// Whether a log in RAM is acceptable.
    pub volatile: bool,
    /// How long a commit is held back to spare the card.
    pub commit_delay: Duration,
}

impl Config {
    /// The configuration of an empty file.
    ///
    /// # Panics
    /// Never: an empty file is valid.
    #[must_use]
    pub fn empty() -> Self {
        let (config, problems) = check(&File::default());
        assert!(problems.is_empty(), "an empty file is valid");
        config
    }

    /// Reads and checks a file. Its paths are meant as seen from where it lies.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let source = read(path)?;
        let read = Self::parse_in(&source, base_of(path));
        read.map_err(|list| Problems { path: path.to_owned(), source, list })
    }

    /// Where the log of a file is. Nothing else in it matters.
    ///
    /// # Errors
    /// That cannot be told: all that is wrong with the file.
    pub fn log_dir(path: &Path) -> Result<PathBuf, Problems> {
        match reading::log_dir(&read(path)?, base_of(path)) {
            Some(dir) => Ok(dir.into()),
            None => Self::load(path).map(|config| config.log.dir),
        }
    }

    /// Checks a text. Its paths are taken as they are.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(source: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_in(source, Path::new(""))
    }

    fn parse_in(source: &str, base: &Path) -> Result<Self, Vec<Problem>> {
        let reading = Reading::of(source, base)?;
        let (config, found) = check(&reading.file);
        let problems = reading.all(found);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// What is allowed but deserves a word.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut found: Vec<String> = self.listeners.iter().flat_map(Listener::warnings).collect();
        found.extend(self.log.warnings());
        if self.upstream.is_none() && self.log.when_full == WhenFull::Hold {
            found.push(
                "`when_full = \"hold\"` without [upstream]: nothing is held, the oldest events go"
                    .to_owned(),
            );
        }
        if self.upstream.is_none() && !self.routes.is_empty() {
            found
                .push("there are routes but no [upstream]: nothing leaves this gateway".to_owned());
        }
        found.extend(self.sources.iter().filter_map(Source::warnings));
        found.extend(self.sources.iter().flat_map(missing_source));
        if let Some(upstream) = &self.upstream {
            found.extend(upstream::warnings(upstream));
            found.extend(missing_upstream(&upstream.access));
        }
        found
    }
}

impl Log {
    /// What is allowed but deserves a word.
    fn warnings(&self) -> impl Iterator<Item = String> {
        // What cannot be used is no warning: it keeps the log from being opened.
        let prospect = Prospect::of(&self.dir, true).ok();
        let shortage = prospect.and_then(|prospect| prospect.shortage(self.bytes_max));
        open_to_others(&self.dir).into_iter().chain(shortage)
    }
}

fn read(path: &Path) -> Result<String, Problems> {
    crate::io::files::read_text(path).map_err(|error| Problems::unreadable(path, &error))
}

/// What the paths in a file are relative to.
fn base_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// What a file says, as far as it is right, and what is wrong.
fn check(file: &File) -> (Config, Vec<Problem>) {
    let mut problems = Vec::new();
    let gateway = check_gateway(file.gateway.as_ref(), &mut problems);
    let log = check_log(&file.log, &mut problems);
    let listeners = listeners::check(&file.listener, &mut problems);
    let config = Config {
        gateway,
        log,
        sources: sources::check(&file.source, &listeners, &mut problems),
        listeners,
        upstream: file.upstream.as_ref().map(|section| upstream::check(section, &mut problems)),
        routes: routes::check(&file.route, file.upstream.is_some(), &mut problems),
        downlinks: downlinks::check(&file.downlink, file.upstream.is_some(), &mut problems),
    };
    let asked: Vec<_> = file.route.iter().map(|route| route.events.as_ref()).collect();
    events::check_circles(&config, &asked, &mut problems);
    (config, problems)
}

fn check_gateway(name: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Option<String> {
    let name = name?;
    let text = name.get_ref();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > GATEWAY_BYTES_MAX || !text.chars().all(valid) {
        problems.push(
            Problem::at(name.span(), format!("`{text}` cannot be a gateway's name"))
                .help("1 to 100 characters of a-z, A-Z, 0-9, '.', '_' and '-'"),
        );
    }
    Some(text.clone())
}

fn check_log(section: &file::LogSection, problems: &mut Vec<Problem>) -> Log {
    let bytes_max = section.size.as_ref().map_or(LOG_BYTES_DEFAULT, |size| {
        if size.get_ref().0 < LOG_BYTES_MIN {
            problems.push(
                Problem::at(size.span(), "`size` is too small for a log")
                    .help("give it at least \"16 MiB\"; \"1 GiB\" is the default"),
            );
        }
        if size.get_ref().0 > LOG_BYTES_MAX {
            let most = bytesize::ByteSize(LOG_BYTES_MAX);
            problems.push(
                Problem::at(size.span(), "the log is too large")
                    .help(format!("it can have {most} at most")),
            );
        }
        size.get_ref().0
    });
    let commit_delay = section.commit.delay.as_ref().map_or(Duration::ZERO, |delay| {
        if delay.get_ref().0 > COMMIT_DELAY_MAX {
            problems.push(
                Problem::at(delay.span(), "`delay` holds commits back too long")
                    .help("devices wait for their PUBACK meanwhile: at most \"60s\""),
            );
        }
        delay.get_ref().0
    });
    Log {
        dir: check_dir(section.dir.as_ref(), problems),
        bytes_max,
        max_age: section.max_age.as_ref().map(|age| check_max_age(age, problems)),
        when_full: section.when_full,
        volatile: section.volatile,
        commit_delay,
    }
}

fn check_dir(dir: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> PathBuf {
    let Some(dir) = dir else { return LOG_DIR_DEFAULT.into() };
    if dir.get_ref().is_empty() {
        problems.push(Problem::at(dir.span(), "the log has no directory").help(
            "name one on a disk or card, as \"/var/lib/tributary\"; \".\" is where this file lies",
        ));
    }
    dir.get_ref().into()
}

fn check_max_age(age: &Spanned<units::Span>, problems: &mut Vec<Problem>) -> Duration {
    if age.get_ref().0 < MAX_AGE_MIN {
        problems.push(
            Problem::at(age.span(), "`max_age` is too short: events would be gone at once")
                .help("keep them at least \"1m\"; without `max_age` they stay while there is room"),
        );
    }
    age.get_ref().0
}

#[cfg(test)]
mod tests;
