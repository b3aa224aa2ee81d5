//! The configuration exactly as it is written; [`super::check`] turns it into checked values.

use core::fmt;
use core::marker::PhantomData;
use std::collections::BTreeMap;

use serde::de::value::{BoolDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::downlinks::DownlinkSection;
use super::sources::SourceSection;
use super::units::{Rate, Size, Span};

/// The whole file. Every key has a default: an empty file is valid.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) gateway: Option<Spanned<String>>,
    pub(super) log: LogSection,
    pub(super) listener: Vec<ListenerSection>,
    pub(super) source: Vec<SourceSection>,
    pub(super) upstream: Option<UpstreamSection>,
    pub(super) route: Vec<RouteSection>,
    pub(super) downlink: Vec<DownlinkSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub(super) dir: Option<Spanned<String>>,
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
    pub(super) tls: Option<Spanned<ListenerTlsSection>>,
    #[serde(default)]
    pub(super) websocket: bool,
    pub(super) origins: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) proxy_protocol: bool,
    pub(super) users: Option<Spanned<String>>,
    pub(super) acl: Option<Spanned<String>>,
    pub(super) anonymous: Option<bool>,
    #[serde(default)]
    pub(super) client_id: ClientIds,
    pub(super) max_connections: Option<Spanned<usize>>,
    pub(super) max_connections_per_address: Option<Spanned<usize>>,
    pub(super) connect_timeout: Option<Spanned<Span>>,
    pub(super) keep_alive_max: Option<Spanned<Span>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerTlsSection {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) client_ca: Option<String>,
    pub(super) client_crl: Option<Spanned<String>>,
    pub(super) user_from: Option<Spanned<CertificateName>>,
}

/// Which name of a client's certificate is the user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateName {
    /// The subject's common name (CN).
    #[default]
    CommonName,
    /// The first DNS name, mail address or URI among the alternative names (SAN).
    AlternativeName,
    /// None: the certificate lets in, and a password tells who.
    None,
}

/// Which client identifiers are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIds {
    /// All.
    #[default]
    Any,
    /// Only the user's name: so nobody can take over another user's session.
    User,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamSection {
    pub(super) brokers: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) compression: Compression,
    pub(super) tls: Option<Spanned<OneOr<bool, TlsSection>>>,
    pub(super) sasl: Option<Spanned<SaslSection>>,
    pub(super) proxy: Option<Spanned<OneOr<String, ProxySection>>>,
    pub(super) bandwidth: Option<Rate>,
    pub(super) monthly: Option<Spanned<Size>>,
    pub(super) gaps: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) delivery: Delivery,
}

/// What is promised to who reads the records in Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Each once, by transactions.
    #[default]
    ExactlyOnce,
    /// Each at least once, without transactions.
    AtLeastOnce,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) server_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaslSection {
    pub(super) mechanism: Spanned<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) password_credential: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) token_command: Option<Vec<String>>,
    pub(super) token_url: Option<Spanned<String>>,
    pub(super) token_ca: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret_file: Option<String>,
    pub(super) client_secret_env: Option<String>,
    pub(super) client_secret_credential: Option<String>,
    pub(super) scope: Option<String>,
    #[serde(default)]
    pub(super) extensions: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxySection {
    pub(super) url: String,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) password_credential: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSection {
    pub(super) name: Option<Spanned<String>>,
    pub(super) from: Spanned<String>,
    #[serde(rename = "where")]
    pub(super) condition: Option<Spanned<String>>,
    pub(super) topic: Spanned<String>,
    pub(super) topics_max: Option<Spanned<u16>>,
    pub(super) events: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) partition: PartitionBy,
    pub(super) start: Option<Start>,
    pub(super) lane: Option<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) headers: Option<Vec<Spanned<String>>>,
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

/// A plain value, or a table where more is to be said.
#[derive(Debug)]
pub(super) enum OneOr<T, Table> {
    One(T),
    Table(Table),
}

impl<'de, T: Deserialize<'de>, Table: Deserialize<'de>> Deserialize<'de> for OneOr<T, Table> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Tells the two apart by what is written, so that a mistake inside a table keeps its place.
struct Either<T, Table>(PhantomData<(T, Table)>);

impl<'de, T: Deserialize<'de>, Table: Deserialize<'de>> Visitor<'de> for Either<T, Table> {
    type Value = OneOr<T, Table>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value or a table")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::deserialize(BoolDeserializer::new(value)).map(OneOr::One)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(StrDeserializer::new(value)).map(OneOr::One)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map)).map(OneOr::Table)
    }
}
