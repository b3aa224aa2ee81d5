//! The `[[listener]]` sections: where clients connect, and who is let in there.

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use toml::Spanned;

use super::file::{CertificateName, ClientIds, ListenerSection, ListenerTlsSection};
use super::origins::Origins;
use super::problem::Problem;
use super::reach::{host_and_port, not_an_address};
use super::units::Span;
use crate::door::{Rules, Subject};
use crate::io::files::open_to_others;
use crate::io::tls::ServerFiles;

/// Connections of one listener at the same time unless the file says otherwise.
pub const CONNECTIONS_MAX: usize = 10_000;
/// The most that a file may say: beyond it ports and memory of a gateway end.
const CONNECTIONS_MAX_MAX: usize = 60_000;
/// From the opening of a connection to the answer to its CONNECT, unless the file says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest that a slow link can meet.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// The longest that a connection may hold a place without a word.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_mins(2);
/// The longest keep-alive in whole seconds, in which clients are told it; MQTT can spell 18 hours.
const KEEP_ALIVE_S: RangeInclusive<u64> = 1..=18 * 3_600;

/// A checked `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS, if it has it.
    pub tls: Option<ListenerTls>,
    /// MQTT comes over WebSocket.
    pub websocket: bool,
    /// Whose web pages may connect over it.
    pub origins: Origins,
    /// A header of the PROXY protocol, version 2, comes first and tells the client's address.
    pub proxy_protocol: bool,
    /// The password file.
    pub users: Option<PathBuf>,
    /// The access list.
    pub acl: Option<PathBuf>,
    /// Whether clients without a name are let in.
    pub anonymous: bool,
    /// Which client identifiers are taken.
    pub client_ids: ClientIds,
    /// Connections at the same time; more wait to be accepted.
    pub connections_max: usize,
    /// Connections of one address at the same time; more are closed.
    pub per_address_max: usize,
    /// From the opening of a connection to the answer to its CONNECT.
    pub connect_timeout: Duration,
    /// The longest keep-alive of an MQTT 5 client in seconds; 0: as the client likes.
    pub keep_alive_max_s: u16,
}

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate, key, authorities of clients.
    pub files: ServerFiles,
    /// Which name of a client's certificate is the user's.
    pub user_from: CertificateName,
}

impl Listener {
    /// What an empty section means.
    fn at(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            websocket: false,
            origins: Origins::SameHost,
            proxy_protocol: false,
            users: None,
            acl: None,
            anonymous: address.ip().to_canonical().is_loopback(),
            client_ids: ClientIds::Any,
            connections_max: CONNECTIONS_MAX,
            per_address_max: usize::MAX,
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive_max_s: 0,
        }
    }

    /// Whether only this machine reaches it. (Through a proxy others do.)
    fn is_private(&self) -> bool {
        self.address.ip().to_canonical().is_loopback() && !self.proxy_protocol
    }

    /// Whether it verifies who a client is.
    fn verifies(&self) -> bool {
        let by_certificate = self.tls.as_ref().is_some_and(|tls| tls.files.client_ca.is_some());
        self.users.is_some() || by_certificate
    }

    /// Whether nobody comes in without a password. Certificates are shown by browsers, whatever page asks.
    fn asks_for_passwords(&self) -> bool {
        let named = self.tls.as_ref().is_some_and(|tls| {
            tls.files.client_ca.is_some() && tls.user_from != CertificateName::None
        });
        self.users.is_some() && !named && !self.anonymous
    }

    /// What it speaks, and whom it lets in, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("MQTT on {}", self.address);
        let mut add = |word: &str| {
            text.push_str(", ");
            text.push_str(word);
        };
        if self.websocket {
            add("over WebSocket");
        }
        if let Some(tls) = &self.tls {
            add(if tls.files.client_ca.is_some() { "mutual TLS" } else { "TLS" });
        }
        if self.users.is_some() {
            add("passwords");
        }
        if self.acl.is_some() {
            add("access list");
        }
        if self.anonymous {
            add("anonymous clients");
        }
        text
    }

    /// What is allowed but deserves a word.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let address = self.address;
        if self.anonymous && !self.is_private() && self.acl.is_none() {
            found.push(format!("anyone who can reach {address} may publish and subscribe"));
        }
        if self.users.is_some() && self.tls.is_none() && !self.is_private() {
            found.push(format!("passwords cross the network readable to {address}: give it `tls`"));
        }
        let key = self.tls.as_ref().map(|tls| tls.files.key.as_path());
        found.extend(self.users.as_deref().into_iter().chain(key).filter_map(open_to_others));
        found
    }
}

pub(super) fn check(sections: &[ListenerSection], problems: &mut Vec<Problem>) -> Vec<Listener> {
    if sections.is_empty() {
        return vec![Listener::at(SocketAddr::from(([127, 0, 0, 1], 1883)))];
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for section in sections {
        let Some(address) = check_address(section, &listeners, problems) else { continue };
        let listener = check_one(section, address, problems);
        check_files(&listener, section, problems);
        listeners.push(listener);
    }
    listeners
}

fn check_address(
    section: &ListenerSection,
    others: &[Listener],
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let (text, span) = (section.address.get_ref(), section.address.span());
    let found = text.to_socket_addrs().and_then(|mut found| {
        found.next().ok_or_else(|| std::io::Error::other("it has no address"))
    });
    match found {
        Ok(address) if others.iter().any(|other| collide(other.address, address)) => {
            problems.push(Problem::at(span, format!("`{text}` is listened on twice")).help(
                "remove one of the two listeners: 0.0.0.0 takes all IPv4 addresses of its port, \
                     and [::] all addresses",
            ));
            None
        }
        Ok(address) => Some(address),
        Err(error) => {
            let what = match host_and_port(text) {
                Some((host, _)) => format!("the name `{host}` does not resolve: {error}"),
                None => not_an_address(text, "an address to listen on"),
            };
            problems.push(
                Problem::at(span, what)
                    .help("write host and port, as \"127.0.0.1:1883\" or \"[::]:1883\""),
            );
            None
        }
    }
}

/// Whether the system gives only one of two addresses.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |address: SocketAddr, other: SocketAddr| {
        address.ip().is_unspecified() && (address.is_ipv6() || other.ip().to_canonical().is_ipv4())
    };
    let same = one.ip().to_canonical() == other.ip().to_canonical();
    one.port() > 0 && one.port() == other.port() && (same || all(one, other) || all(other, one))
}

fn check_one(
    section: &ListenerSection,
    address: SocketAddr,
    problems: &mut Vec<Problem>,
) -> Listener {
    let mut listener = Listener {
        tls: section.tls.as_ref().map(|tls| check_tls(tls.get_ref(), problems)),
        websocket: section.websocket,
        proxy_protocol: section.proxy_protocol,
        users: section.users.as_ref().map(|path| path.get_ref().into()),
        acl: section.acl.as_ref().map(|path| path.get_ref().into()),
        client_ids: section.client_id,
        connections_max: check_count("max_connections", section.max_connections.as_ref(), problems)
            .unwrap_or(CONNECTIONS_MAX),
        per_address_max: check_count(
            "max_connections_per_address",
            section.max_connections_per_address.as_ref(),
            problems,
        )
        .unwrap_or(usize::MAX),
        connect_timeout: check_timeout(section.connect_timeout.as_ref(), problems),
        keep_alive_max_s: check_keep_alive(section.keep_alive_max.as_ref(), problems),
        ..Listener::at(address)
    };
    listener.anonymous = section.anonymous.unwrap_or(listener.is_private() && !listener.verifies());
    listener.origins =
        Origins::check(section.origins.as_ref(), !listener.asks_for_passwords(), problems);
    if !listener.anonymous && !listener.verifies() {
        problems.push(
            Problem::at(section.address.span(), format!("nobody could log in at {address}")).help(
                "name a password file with `users` or an authority with `tls.client_ca`, or \
                     let everybody in with `anonymous = true`",
            ),
        );
    }
    let user = listener.client_ids == ClientIds::User;
    if user && listener.anonymous {
        problems.push(
            Problem::at(section.address.span(), "`client_id = \"user\"` with anonymous clients")
                .help("who has no name has no client identifier either: `anonymous = false`"),
        );
    }
    listener
}

fn check_tls(section: &ListenerTlsSection, problems: &mut Vec<Problem>) -> ListenerTls {
    let path = |text: &String| PathBuf::from(text);
    if section.client_ca.is_none() {
        let crl = section.client_crl.as_ref().map(Spanned::span);
        let user = section.user_from.as_ref().map(Spanned::span);
        for span in crl.into_iter().chain(user) {
            problems.push(
                Problem::at(span, "this is about certificates of clients, and none are asked for")
                    .help("name their authority with `client_ca`"),
            );
        }
    }
    ListenerTls {
        files: ServerFiles {
            cert: path(&section.cert),
            key: path(&section.key),
            client_ca: section.client_ca.as_ref().map(path),
            client_crl: section.client_crl.as_ref().map(|text| path(text.get_ref())),
        },
        user_from: section.user_from.as_ref().map(|name| *name.get_ref()).unwrap_or_default(),
    }
}

fn check_count(
    key: &str,
    count: Option<&Spanned<usize>>,
    problems: &mut Vec<Problem>,
) -> Option<usize> {
    let count = count?;
    if !(1..=CONNECTIONS_MAX_MAX).contains(count.get_ref()) {
        problems.push(
            Problem::at(count.span(), format!("`{key}` cannot be {}", count.get_ref()))
                .help(format!("from 1 to {CONNECTIONS_MAX_MAX}")),
        );
    }
    Some(*count.get_ref())
}

fn check_timeout(span: Option<&Spanned<Span>>, problems: &mut Vec<Problem>) -> Duration {
    let Some(span) = span else { return CONNECT_TIMEOUT };
    let time = span.get_ref().0;
    if !(CONNECT_TIMEOUT_MIN..=CONNECT_TIMEOUT_MAX).contains(&time) {
        problems.push(
            Problem::at(span.span(), cannot_be("connect_timeout", time))
                .help("from \"500 ms\" to \"2m\"; the default is \"10s\""),
        );
    }
    time
}

fn check_keep_alive(span: Option<&Spanned<Span>>, problems: &mut Vec<Problem>) -> u16 {
    let Some(span) = span else { return 0 };
    let time = span.get_ref().0;
    let seconds = u16::try_from(time.as_secs()).unwrap_or(0);
    if time.subsec_nanos() != 0 || !KEEP_ALIVE_S.contains(&u64::from(seconds)) {
        problems.push(
            Problem::at(span.span(), cannot_be("keep_alive_max", time))
                .help("in whole seconds, from \"1s\" to \"18h\"; without it clients choose"),
        );
    }
    seconds
}

fn cannot_be(key: &str, time: Duration) -> String {
    format!("`{key}` cannot be {}", humantime::format_duration(time))
}

/// Reads what `run` will read, and shows what is wrong at the key that names it.
fn check_files(listener: &Listener, section: &ListenerSection, problems: &mut Vec<Problem>) {
    let Err(flaws) = Rules::load(listener) else { return };
    for flaw in flaws {
        let span = match flaw.subject {
            Subject::Tls => section.tls.as_ref().map(Spanned::span),
            Subject::Users => section.users.as_ref().map(Spanned::span),
            Subject::Acl => section.acl.as_ref().map(Spanned::span),
        };
        problems.push(Problem { span, message: flaw.what, help: Some(flaw.help) });
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_collide_where_the_system_refuses_the_second() {
        let ips = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"];
        for first in ips {
            let Ok(held) = TcpListener::bind(format!("{first}:0")) else { continue };
            let held = held.local_addr().map(|address| (address, held)).unwrap();
            for second in ips {
                let address = format!("{second}:{}", held.0.port()).parse().unwrap();
                let refused = match TcpListener::bind(address) {
                    Ok(_) => false,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => true,
                    // A machine without IPv6.
                    Err(_) => continue,
                };
                assert_eq!(collide(held.0, address), refused, "{} and {address}", held.0);
            }
        }
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert!(!collide(any, any), "the system chooses two ports");
    }
}
