//! The `[upstream]` section: where the cluster is, how it is reached, and who we are to it.
//!
//! Secrets are named here, never held: they are read when they are needed.

use std::path::PathBuf;

use toml::Spanned;
use tributary_bridge::Hash;

use super::file::{
    Compression, Delivery, OneOr, ProxySection, SaslSection, TlsSection, UpstreamSection,
};
use super::problem::Problem;
use super::reach::{check_client, host_and_port, not_an_address, one_secret};
use super::routes::check_topic;
use super::units::Size;

/// The smallest budget of a month, in bytes.
const MONTHLY_MIN: u64 = 1_000_000;

/// The `[upstream]` section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Bootstrap brokers, host and port.
    pub brokers: Vec<(String, u16)>,
    /// What records are compressed with.
    pub compression: Compression,
    /// Bytes a second that all lanes together may send.
    pub bandwidth: Option<u64>,
    /// Bytes a month that all lanes together may send.
    pub monthly: Option<u64>,
    /// The topic that is told of offsets that are gone before they were shipped.
    pub gaps: Option<String>,
    /// What is promised to who reads the records.
    pub delivery: Delivery,
    /// How it is reached and who we are.
    pub access: Access,
}

/// How a cluster is reached, and who we are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// TLS, if connections are encrypted.
    pub tls: Option<Tls>,
    /// The login, if brokers want one.
    pub sasl: Option<Sasl>,
    /// What leads there.
    pub proxy: Option<Proxy>,
}

/// Whom to trust, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of authorities; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of a client certificate, with its chain, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that brokers' certificates must have; `None`: the one that was connected to.
    pub server_name: Option<String>,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// Name and password as they are.
    Plain {
        /// The user.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// Name and a proof of the password.
    Scram {
        /// Which hash function.
        hash: Hash,
        /// The user.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// A token.
    OauthBearer {
        /// Where it comes from.
        token: Token,
        /// What goes with it.
        extensions: Vec<(String, String)>,
    },
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In a file; a line end at its end does not count.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// Handed over by systemd (`LoadCredential=`), by this name.
    Credential(String),
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A file that somebody keeps fresh.
    File(PathBuf),
    /// What a command prints: program and arguments.
    Command(Vec<String>),
    /// An identity provider, by client credentials (RFC 6749, section 4.4).
    Provider {
        /// Its token endpoint.
        url: Url,
        /// Who asks.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// What for.
        scope: Option<String>,
        /// PEM file of authorities; `None`: the system's.
        ca: Option<PathBuf>,
    },
}

/// An `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path with its query.
    pub path: String,
}

/// What leads to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who we are to it.
    pub login: Option<(String, Secret)>,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS 5 (RFC 1928); it resolves the names.
    Socks5,
    /// HTTP `CONNECT` (RFC 9110, section 9.3.6); it resolves the names.
    Http,
}

pub(super) fn check(section: &UpstreamSection, problems: &mut Vec<Problem>) -> Upstream {
    Upstream {
        brokers: check_brokers(&section.brokers, problems),
        compression: section.compression,
        bandwidth: section.bandwidth.map(|rate| rate.0),
        monthly: section.monthly.as_ref().map(|monthly| check_monthly(monthly, problems)),
        delivery: section.delivery,
        gaps: section.gaps.as_ref().map(|topic| {
            check_topic(topic, problems);
            topic.get_ref().clone()
        }),
        access: Access {
            tls: section.tls.as_ref().and_then(|tls| check_tls(tls, problems)),
            sasl: section.sasl.as_ref().and_then(|sasl| check_sasl(sasl, problems)),
            proxy: section.proxy.as_ref().and_then(|proxy| check_proxy(proxy, problems)),
        },
    }
}

fn check_monthly(monthly: &Spanned<Size>, problems: &mut Vec<Problem>) -> u64 {
    let bytes = monthly.get_ref().0;
    if bytes < MONTHLY_MIN {
        problems.push(
            Problem::at(monthly.span(), "`monthly` is too little for a month")
                .help("sessions alone take some of it: at least \"1 MB\""),
        );
    }
    bytes
}

/// What is allowed but deserves a word.
pub(super) fn warnings(upstream: &Upstream) -> Option<String> {
    let Access { tls, sasl, .. } = &upstream.access;
    let words = match sasl {
        Some(Sasl::Plain { .. }) => "the password of [upstream] is sent as it is",
        Some(Sasl::OauthBearer { .. }) => "the token of [upstream] is sent as it is",
        Some(Sasl::Scram { .. }) | None => return None,
    };
    tls.is_none().then(|| format!("{words}: anyone on the way can read it; set `tls`"))
}

fn check_brokers(
    section: &Spanned<Vec<Spanned<String>>>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, u16)> {
    if section.get_ref().is_empty() {
        problems.push(
            Problem::at(section.span(), "no broker is named")
                .help("name at least one, as brokers = [\"kafka-1:9092\"]"),
        );
    }
    let mut brokers = Vec::new();
    for broker in section.get_ref() {
        match host_and_port(broker.get_ref()) {
            Some(pair) => brokers.push(pair),
            None => problems.push(
                Problem::at(broker.span(), not_an_address(broker.get_ref(), "a broker's address"))
                    .help("write host and port, as \"kafka-1:9092\" or \"[fd00::1]:9092\""),
            ),
        }
    }
    brokers
}

fn check_tls(
    section: &Spanned<OneOr<bool, TlsSection>>,
    problems: &mut Vec<Problem>,
) -> Option<Tls> {
    let table = match section.get_ref() {
        OneOr::One(on) => return on.then(Tls::default),
        OneOr::Table(table) => table,
    };
    Some(check_client(table, section.span(), problems))
}

fn check_sasl(section: &Spanned<SaslSection>, problems: &mut Vec<Problem>) -> Option<Sasl> {
    let sasl = section.get_ref();
    let of_tokens = [
        ("token_file", sasl.token_file.is_some()),
        ("token_command", sasl.token_command.is_some()),
        ("token_url", sasl.token_url.is_some()),
        ("token_ca", sasl.token_ca.is_some()),
        ("client_id", sasl.client_id.is_some()),
        ("client_secret_file", sasl.client_secret_file.is_some()),
        ("client_secret_env", sasl.client_secret_env.is_some()),
        ("client_secret_credential", sasl.client_secret_credential.is_some()),
        ("scope", sasl.scope.is_some()),
        ("extensions", !sasl.extensions.is_empty()),
    ];
    let of_users = [
        ("username", sasl.username.is_some()),
        ("password_file", sasl.password_file.is_some()),
        ("password_env", sasl.password_env.is_some()),
        ("password_credential", sasl.password_credential.is_some()),
    ];
    let mechanism = sasl.mechanism.get_ref().as_str();
    let foreign: &[(&str, bool)] = if mechanism == "OAUTHBEARER" { &of_users } else { &of_tokens };
    if let Some((key, _)) = foreign.iter().find(|(_, set)| *set) {
        problems.push(Problem::at(section.span(), format!("`{key}` is not for {mechanism}")));
    }
    let hash = match mechanism {
        "PLAIN" => None,
        "SCRAM-SHA-256" => Some(Hash::Sha256),
        "SCRAM-SHA-512" => Some(Hash::Sha512),
        "OAUTHBEARER" => {
            let extensions = sasl.extensions.clone().into_iter().collect();
            let token = check_token(section, problems)?;
            return Some(Sasl::OauthBearer { token, extensions });
        }
        other => {
            problems.push(
                Problem::at(sasl.mechanism.span(), format!("there is no mechanism `{other}`"))
                    .help("PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"),
            );
            return None;
        }
    };
    let Some(username) = sasl.username.clone().filter(|name| !name.is_empty()) else {
        problems.push(Problem::at(section.span(), format!("{mechanism} needs a `username`")));
        return None;
    };
    let sources = [&sasl.password_file, &sasl.password_env, &sasl.password_credential];
    let password = one_secret(section, "password", sources, problems)?;
    Some(match hash {
        None => Sasl::Plain { username, password },
        Some(hash) => Sasl::Scram { hash, username, password },
    })
}

fn check_token(section: &Spanned<SaslSection>, problems: &mut Vec<Problem>) -> Option<Token> {
    let sasl = section.get_ref();
    let wrong = |message: &str| Problem::at(section.span(), message);
    match (&sasl.token_file, &sasl.token_command, &sasl.token_url) {
        (Some(path), None, None) => Some(Token::File(path.into())),
        (None, Some(command), None) if !command.is_empty() => Some(Token::Command(command.clone())),
        (None, None, Some(text)) => {
            let Some(url) = https(text.get_ref()) else {
                problems.push(
                    Problem::at(text.span(), format!("`{}` is not usable", text.get_ref()))
                        .help("the token endpoint, as \"https://login.example.com/oauth2/token\""),
                );
                return None;
            };
            let Some(client_id) = sasl.client_id.clone() else {
                problems.push(wrong("`token_url` needs a `client_id`"));
                return None;
            };
            let sources =
                [&sasl.client_secret_file, &sasl.client_secret_env, &sasl.client_secret_credential];
            let client_secret = one_secret(section, "client_secret", sources, problems)?;
            let ca = sasl.token_ca.as_ref().map(PathBuf::from);
            let scope = sasl.scope.clone();
            Some(Token::Provider { url, client_id, client_secret, scope, ca })
        }
        _ => {
            problems.push(
                wrong("OAUTHBEARER needs one source of tokens")
                    .help("one of `token_file`, `token_command` and `token_url`"),
            );
            None
        }
    }
}

fn https(text: &str) -> Option<Url> {
    let rest = text.strip_prefix("https://")?;
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(place).or_else(|| host_and_port(&format!("{place}:443")))?;
    let visible = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
    let path = if path.is_empty() { "/" } else { path };
    visible.then(|| Url { host, port, path: path.to_owned() })
}

fn check_proxy(
    section: &Spanned<OneOr<String, ProxySection>>,
    problems: &mut Vec<Problem>,
) -> Option<Proxy> {
    let (url, table) = match section.get_ref() {
        OneOr::One(url) => (url, None),
        OneOr::Table(table) => (&table.url, Some(table)),
    };
    let found = match url.split_once("://") {
        Some(("socks5" | "socks5h", place)) => Some((ProxyKind::Socks5, place)),
        Some(("http", place)) => Some((ProxyKind::Http, place)),
        _ => None,
    };
    let found = found.and_then(|(kind, place)| {
        let (host, port) = host_and_port(place.strip_suffix('/').unwrap_or(place))?;
        Some((kind, host, port))
    });
    let Some((kind, host, port)) = found else {
        problems.push(Problem::at(section.span(), "the proxy's address is not usable").help(
            "write \"socks5://host:1080\" or \"http://host:3128\"; for a login, \
             { url = …, username = …, password_file = … }",
        ));
        return None;
    };
    let login = match table.map(|table| (table, &table.username)) {
        Some((table, Some(username))) => {
            let sources = [&table.password_file, &table.password_env, &table.password_credential];
            Some((username.clone(), one_secret(section, "password", sources, problems)?))
        }
        _ => None,
    };
    Some(Proxy { kind, host, port, login })
}
