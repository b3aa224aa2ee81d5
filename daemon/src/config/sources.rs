//! The `[[source]]` sections: other MQTT brokers whose messages are taken into the log.

use core::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;
use tributary_core::topic::{check_filter, check_name};

use super::file::TlsSection;
use super::listeners::Listener;
use super::problem::Problem;
use super::reach::{check_client, host_and_port, not_an_address, one_secret};
use super::upstream::{Secret, Tls};

/// Sources of one gateway.
const SOURCES_MAX: usize = 32;
/// Topic filters of one source: they go into one SUBSCRIBE.
const TOPICS_MAX: usize = 256;
/// The longest name of a source: it is part of a client identifier.
const NAME_BYTES_MAX: usize = 100;
/// The longest client identifier.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// The longest prefix: what is left of a topic's 65,535 bytes is the other broker's.
const PREFIX_BYTES_MAX: usize = 1_024;
/// Topics of a broker's own.
const OWN_TOPICS: &str = "$SYS";

/// A `[[source]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSection {
    url: Spanned<String>,
    topics: Spanned<Vec<Spanned<String>>>,
    name: Option<Spanned<String>>,
    #[serde(default)]
    protocol: Protocol,
    qos: Option<Spanned<u8>>,
    prefix: Option<Spanned<String>>,
    client_id: Option<Spanned<String>>,
    username: Option<String>,
    password_file: Option<String>,
    password_env: Option<String>,
    password_credential: Option<String>,
    tls: Option<Spanned<TlsSection>>,
}

/// The version of MQTT that is spoken with another broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// 3.1.1.
    #[serde(rename = "3.1.1")]
    V3,
    /// 5.0: properties are kept, and the broker does not send more than we take.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// A checked `[[source]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What `status` and its events call it; no two have the same.
    pub name: String,
    /// The other broker's host name or address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// TLS, if the connection is encrypted.
    pub tls: Option<Tls>,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// What is subscribed to there.
    pub topics: Vec<String>,
    /// The subscription's quality of service, 0 or 1.
    pub qos: u8,
    /// What is put in front of the topics.
    pub prefix: String,
    /// Who we are there; `None`: named after gateway and source.
    pub client_id: Option<String>,
    /// The login, if the broker wants one.
    pub login: Option<(String, Option<Secret>)>,
}

impl Source {
    /// The broker's address, as it is written.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{scheme}://{host}:{}", self.port)
    }

    /// What is allowed but deserves a word.
    pub(super) fn warnings(&self) -> Option<String> {
        let is_readable =
            self.tls.is_none() && self.login.as_ref().is_some_and(|(_, secret)| secret.is_some());
        let far = !is_this_machine(&self.host);
        (is_readable && far).then(|| {
            let name = &self.name;
            format!("the password of source `{name}` is sent as it is: anyone on the way can read it; use mqtts://")
        })
    }
}

pub(super) fn check(
    sections: &[SourceSection],
    listeners: &[Listener],
    problems: &mut Vec<Problem>,
) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for section in sections {
        let Some((encrypted, host, port)) = check_url(&section.url, listeners, problems) else {
            continue;
        };
        let name = section.name.as_ref().map_or(&host, Spanned::get_ref).clone();
        let span = section.name.as_ref().map_or(section.url.span(), Spanned::span);
        if sources.iter().any(|other| other.name == name) {
            problems.push(
                Problem::at(span.clone(), format!("a second source is called `{name}`"))
                    .help("give it a `name` of its own"),
            );
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            problems.push(
                Problem::at(span, format!("`{name}` cannot be a source's name"))
                    .help(format!("1 to {NAME_BYTES_MAX} bytes")),
            );
        }
        if sources.len() == SOURCES_MAX {
            problems.push(Problem::at(section.url.span(), "too many sources"));
            break;
        }
        let prefix = check_prefix(section.prefix.as_ref(), problems);
        check_topics(&section.topics, &prefix, problems);
        sources.push(Source {
            name,
            host,
            port,
            tls: check_tls(section, encrypted, problems),
            protocol: section.protocol,
            topics: section.topics.get_ref().iter().map(|topic| topic.get_ref().clone()).collect(),
            qos: check_qos(section.qos.as_ref(), problems),
            prefix,
            client_id: check_client_id(section.client_id.as_ref(), problems),
            login: check_login(section, problems),
        });
    }
    sources
}

/// Whether TLS is spoken, and with whom. Nobody subscribes to himself: each event would bring another.
fn check_url(
    url: &Spanned<String>,
    listeners: &[Listener],
    problems: &mut Vec<Problem>,
) -> Option<(bool, String, u16)> {
    let text = url.get_ref();
    let parsed = match text.split_once("://") {
        Some(("mqtt", place)) => with_port(place, 1883).map(|(host, port)| (false, host, port)),
        Some(("mqtts", place)) => with_port(place, 8883).map(|(host, port)| (true, host, port)),
        _ => None,
    };
    let Some((encrypted, host, port)) = parsed else {
        let what = not_an_address(text, "a broker's address");
        problems.push(Problem::at(url.span(), what).help(
            "write \"mqtt://broker:1883\" or \"mqtts://broker:8883\"; a login goes into \
                 `username` and `password_file`",
        ));
        return None;
    };
    let is_ours = |listener: &Listener| {
        let address = listener.address;
        let reached = match host.parse::<IpAddr>() {
            Ok(ip) => address.ip() == ip || address.ip().is_unspecified() && is_this_machine(&host),
            Err(_) => is_this_machine(&host),
        };
        address.port() == port && reached
    };
    if listeners.iter().any(is_ours) {
        problems.push(
            Problem::at(url.span(), "this is a listener of this gateway itself")
                .help("each event would come in again, for ever: name another broker"),
        );
    }
    Some((encrypted, host, port))
}

fn with_port(place: &str, default: u16) -> Option<(String, u16)> {
    let place = place.strip_suffix('/').unwrap_or(place);
    host_and_port(place).or_else(|| host_and_port(&format!("{place}:{default}")))
}

/// Whether a host is known to be this machine without asking anybody.
fn is_this_machine(host: &str) -> bool {
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    loopback || host == "localhost"
}

fn check_prefix(prefix: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> String {
    let Some(prefix) = prefix else { return String::new() };
    let text = prefix.get_ref();
    let wrong = if text.len() > PREFIX_BYTES_MAX {
        Some(format!("a prefix has at most {PREFIX_BYTES_MAX} bytes"))
    } else if text.starts_with('$') {
        Some("topics that begin with '$' are the broker's own".to_owned())
    } else {
        check_name(text).err().filter(|_| !text.is_empty()).map(|error| error.to_string())
    };
    if let Some(wrong) = wrong {
        problems.push(
            Problem::at(prefix.span(), wrong)
                .help("it is put in front of every topic as it is, as \"cell-3/\""),
        );
    }
    text.clone()
}

fn check_topics(topics: &Spanned<Vec<Spanned<String>>>, prefix: &str, problems: &mut Vec<Problem>) {
    let count = topics.get_ref().len();
    if count == 0 || count > TOPICS_MAX {
        problems.push(
            Problem::at(topics.span(), format!("`topics` lists {count} filters"))
                .help(format!("name 1 to {TOPICS_MAX} topic filters, as topics = [\"plant/#\"]")),
        );
    }
    for topic in topics.get_ref() {
        let filter = selected(topic.get_ref());
        let wrong = match filter.map(check_filter) {
            None => Some("a shared subscription is written $share/group/filter".to_owned()),
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(())) => None,
        };
        if let Some(wrong) = wrong {
            problems.push(Problem::at(topic.span(), wrong));
        } else if filter.is_some_and(|filter| filter.starts_with(OWN_TOPICS)) && prefix.is_empty() {
            problems.push(
                Problem::at(
                    topic.span(),
                    "what the other broker tells of itself needs another name",
                )
                .help("give it a `prefix`: $SYS is this broker's own"),
            );
        }
    }
}

/// The filter by which topics are selected: that of a shared subscription stands behind its group.
#[must_use]
pub fn selected(topic: &str) -> Option<&str> {
    let Some(shared) = topic.strip_prefix("$share/") else { return Some(topic) };
    let (group, filter) = shared.split_once('/')?;
    (!group.is_empty() && !group.contains(['+', '#'])).then_some(filter)
}

fn check_qos(qos: Option<&Spanned<u8>>, problems: &mut Vec<Problem>) -> u8 {
    let Some(qos) = qos else { return 1 };
    let help = match qos.get_ref() {
        0 | 1 => return *qos.get_ref(),
        2 => "1 loses nothing; what the broker sends again is recognised, but not over a restart",
        _ => "0 or 1; with 1 nothing is lost",
    };
    problems.push(
        Problem::at(
            qos.span(),
            format!("a source subscribes at QoS 0 or 1, not {}", qos.get_ref()),
        )
        .help(help),
    );
    1
}

fn check_client_id(id: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Option<String> {
    let id = id?;
    let text = id.get_ref();
    if text.is_empty() || text.len() > CLIENT_ID_BYTES_MAX || text.contains(char::is_control) {
        problems.push(Problem::at(id.span(), "this cannot be a client identifier").help(format!(
            "1 to {CLIENT_ID_BYTES_MAX} bytes, the same at every start: the broker keeps by it \
                 what we have not acknowledged"
        )));
    }
    Some(text.clone())
}

fn check_login(
    section: &SourceSection,
    problems: &mut Vec<Problem>,
) -> Option<(String, Option<Secret>)> {
    let places = [&section.password_file, &section.password_env, &section.password_credential];
    let has_password = places.iter().any(|place| place.is_some());
    let Some(username) = section.username.clone() else {
        if has_password {
            problems.push(
                Problem::at(section.url.span(), "this source has a password and no `username`")
                    .help("name both, or none"),
            );
        }
        return None;
    };
    let password = if has_password {
        Some(one_secret(&section.url, "password", places, problems)?)
    } else {
        None
    };
    Some((username, password))
}

fn check_tls(section: &SourceSection, encrypted: bool, problems: &mut Vec<Problem>) -> Option<Tls> {
    let Some(table) = &section.tls else { return encrypted.then(Tls::default) };
    if !encrypted {
        problems.push(
            Problem::at(table.span(), "`tls` is for mqtts:// alone")
                .help("write the address as \"mqtts://broker:8883\""),
        );
    }
    let tls = check_client(table.get_ref(), table.span(), problems);
    if tls.server_name.is_some() {
        problems.push(
            Problem::at(table.span(), "`server_name` is not for sources")
                .help("the certificate must be for the host that `url` names"),
        );
    }
    Some(tls)
}
