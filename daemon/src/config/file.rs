//! The configuration exactly as it is written; [`super::check`] turns it into checked values.

use serde::Deserialize;
use toml::Spanned;

use super::units::{Size, Span};

/// The whole file. Every key has a default: an empty file is valid.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) gateway: Option<Spanned<String>>,
    pub(super) log: LogSection,
    pub(super) listener: Vec<ListenerSection>,
    pub(super) upstream: Option<UpstreamSection>,
    pub(super) route: Vec<RouteSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub(super) dir: Option<String>,
    pub(super) size: Option<Spanned<Size>>,
    pub(super) max_age: Option<Spanned<Span>>,
    pub(super) when_full: WhenFull,
    pub(super) volatile: bool,
    pub(super) commit: CommitSection,
}

/// What happens when the log is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest events make room for new ones.
    #[default]
    DropOldest,
    /// No event is taken until the lanes have shipped the oldest.
    Hold,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CommitSection {
    pub(super) delay: Option<Spanned<Span>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerSection {
    pub(super) address: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamSection {
    pub(super) brokers: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) compression: Compression,
}

/// What records are compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Whatever takes the least time, by measured ratio, processor and link.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSection {
    pub(super) name: Option<Spanned<String>>,
    pub(super) from: Spanned<String>,
    #[serde(rename = "where")]
    pub(super) condition: Option<Spanned<String>>,
    pub(super) topic: Spanned<String>,
    pub(super) key: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) partition: PartitionBy,
    pub(super) start: Option<Start>,
    pub(super) lane: Option<Spanned<String>>,
}

/// What decides the Kafka partition of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionBy {
    /// The gateway's name: all its records go to one partition.
    #[default]
    Gateway,
    /// The record's key, as Java clients do.
    Key,
}

/// From where in the log a new route reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// From the next event on.
    Now,
    /// As far back as the log goes.
    Oldest,
}
