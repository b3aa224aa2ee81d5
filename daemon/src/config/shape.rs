//! What a route's records are like: `format` and `headers`.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::problem::Problem;

/// What a record of a route is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// What the value holds, and where what is known of the event stands.
    pub format: Format,
    /// Which headers it has.
    pub headers: Headers,
}

/// The format of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The payload as it came.
    #[default]
    Raw,
    /// The payload as it came, and the attributes of `CloudEvents` 1.0 as headers (its binary mode in
    /// the Kafka protocol binding, 3.2).
    CloudEvents,
    /// A JSON object around the payload.
    Json,
}

impl Format {
    const ALL: [(&'static str, Self); 3] =
        [("raw", Self::Raw), ("cloudevents", Self::CloudEvents), ("json", Self::Json)];

    /// The headers that a record has if nothing is said of them: what the format does not tell
    /// itself.
    const fn headers(self) -> Headers {
        match self {
            Self::Raw => Headers(u8::MAX >> (8 - Header::ALL.len())),
            Self::CloudEvents => Headers(Header::Route.bit() | Header::User.bit()),
            Self::Json => Headers(Header::Route.bit()),
        }
    }
}

/// One header of a record, or one kind of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `tributary.gateway`.
    Gateway,
    /// `tributary.offset`: with the gateway it names the event.
    Offset,
    /// `tributary.route`.
    Route,
    /// `mqtt.topic`.
    Topic,
    /// `time`: when the event came in.
    Time,
    /// `content-type`, if the publisher said it.
    ContentType,
    /// `mqtt.user.…`: the publisher's user properties.
    User,
}

impl Header {
    const ALL: [(&'static str, Self); 7] = [
        ("gateway", Self::Gateway),
        ("offset", Self::Offset),
        ("route", Self::Route),
        ("topic", Self::Topic),
        ("time", Self::Time),
        ("content-type", Self::ContentType),
        ("user", Self::User),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Which headers a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers(u8);

impl Default for Headers {
    fn default() -> Self {
        Format::Raw.headers()
    }
}

impl Headers {
    /// These and no others.
    #[must_use]
    pub fn of(headers: &[Header]) -> Self {
        Self(headers.iter().fold(0, |all, header| all | header.bit()))
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, header: Header) -> bool {
        self.0 & header.bit() != 0
    }
}

/// Reads `format` and `headers` of a route.
pub(super) fn check(
    format: Option<&Spanned<String>>,
    headers: Option<&[Spanned<String>]>,
    problems: &mut Vec<Problem>,
) -> Shape {
    let format = format.map_or(Format::Raw, |format| {
        named(&Format::ALL, format, "a format of records", problems).unwrap_or_default()
    });
    let headers = headers.map_or(format.headers(), |names| {
        let found = names
            .iter()
            .filter_map(|name| named(&Header::ALL, name, "a header of records", problems));
        Headers::of(&found.collect::<Vec<_>>())
    });
    Shape { format, headers }
}

pub(super) fn named<T: Copy>(
    all: &[(&str, T)],
    name: &Spanned<String>,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let found = all.iter().find(|(known, _)| known == name.get_ref());
    if found.is_none() {
        let known: Vec<String> = all.iter().map(|(known, _)| format!("\"{known}\"")).collect();
        problems.push(
            Problem::at(name.span(), format!("`{}` is not {what}", name.get_ref()))
                .help(format!("known here: {}", known.join(", "))),
        );
    }
    found.map(|(_, value)| *value)
}
