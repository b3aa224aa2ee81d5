//! How other machines are reached, the same in all sections: addresses, TLS as a client, places of secrets.

use core::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::file::TlsSection;
use super::problem::Problem;
use super::upstream::{Secret, Tls};

/// Host and port, as `kafka-1:9092` or `[fd00::1]:9092`.
pub(super) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains([':', '/', '@']) => return None,
        None => host,
    };
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// That a text is no address, and why if it nearly is one.
pub(super) fn not_an_address(text: &str, what: &str) -> String {
    let port = text.trim_end_matches('/').rsplit_once(':').map_or("", |(_, port)| port);
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number && port.parse::<u16>().is_err() { ": ports end at 65535" } else { "" };
    format!("`{text}` is not {what}{why}")
}

/// TLS as a client, as a table at `span` tells.
pub(super) fn check_client(
    table: &TlsSection,
    span: Range<usize>,
    problems: &mut Vec<Problem>,
) -> Tls {
    let client = match (&table.cert, &table.key) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => {
            problems.push(
                Problem::at(span, "a client certificate needs `cert` and `key`")
                    .help("both name PEM files; leave both out if brokers ask for none"),
            );
            None
        }
    };
    let ca = table.ca.as_ref().map(PathBuf::from);
    Tls { ca, client, server_name: table.server_name.clone() }
}

/// The one place that is named, of file, environment and systemd's credentials.
pub(super) fn one_secret<T>(
    section: &Spanned<T>,
    name: &str,
    [file, env, credential]: [&Option<String>; 3],
    problems: &mut Vec<Problem>,
) -> Option<Secret> {
    match (file, env, credential) {
        (Some(path), None, None) => return Some(Secret::File(path.into())),
        (None, Some(name), None) => return Some(Secret::Env(name.clone())),
        (None, None, Some(name)) if !name.is_empty() && !name.contains('/') => {
            return Some(Secret::Credential(name.clone()));
        }
        _ => {}
    }
    problems.push(
        Problem::at(section.span(), format!("`{name}` has to come from one place")).help(format!(
            "one of `{name}_file`, `{name}_env` (a variable) and `{name}_credential` (systemd's)"
        )),
    );
    None
}
