//! What may stand in a configuration file: every key, what its value is, and how it is written.
//!
//! The same keys as in the sections of `file`, which read them; a test holds the two together.

use Kind::{
    Command, Count, Flag, Named, OneOf, Path, Rate, Section, Sections, Size, Span, SwitchOr, Table,
    Text, TextOr, Texts,
};

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    /// A file or a directory.
    Path,
    /// A program and its arguments.
    Command,
    Flag,
    /// A whole number up to this one.
    Count(u64),
    Size,
    Rate,
    Span,
    /// One of these words.
    OneOf(&'static [&'static str]),
    Texts,
    /// Texts under names that are not ours.
    Named,
    /// A table inside of a section.
    Table(&'static [Key]),
    /// On or off, or a table that says more.
    SwitchOr(&'static [Key]),
    /// A text, or a table that says more.
    TextOr(&'static [Key]),
    /// `[name]`.
    Section(&'static [Key]),
    /// `[[name]]`, as often as one likes.
    Sections(&'static [Key]),
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// A value, as it is written.
    pub(super) example: &'static str,
    /// Whether its section is nothing without it.
    pub(super) needed: bool,
}

const fn key(name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { name, kind, example, needed: false }
}

const fn needed(name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { name, kind, example, needed: true }
}

/// The whole file.
pub(super) const FILE: &[Key] = &[
    key("gateway", Text, "\"press-line-3\""),
    key("log", Section(LOG), "{ size = \"1 GiB\" }"),
    key("listener", Sections(LISTENER), "[]"),
    key("source", Sections(SOURCE), "[]"),
    key("upstream", Section(UPSTREAM), "{ brokers = [\"kafka-1:9092\"] }"),
    key("route", Sections(ROUTE), "[]"),
    key("downlink", Sections(DOWNLINK), "[]"),
];

const LOG: &[Key] = &[
    key("dir", Path, "\"/var/lib/tributary\""),
    key("size", Size, "\"1 GiB\""),
    key("max_age", Span, "\"30d\""),
    key("when_full", OneOf(&["drop-oldest", "hold"]), "\"drop-oldest\""),
    key("volatile", Flag, "true"),
    key("commit", Table(&[key("delay", Span, "\"50 ms\"")]), "{ delay = \"50 ms\" }"),
];

const LISTENER: &[Key] = &[
    needed("address", Text, "\"127.0.0.1:1883\""),
    key("tls", Table(LISTENER_TLS), "{ cert = \"cert.pem\", key = \"key.pem\" }"),
    key("websocket", Flag, "true"),
    key("origins", Texts, "[\"https://dashboard.example\"]"),
    key("proxy_protocol", Flag, "true"),
    key("users", Path, "\"/etc/tributary/passwd\""),
    key("acl", Path, "\"/etc/tributary/acl\""),
    key("anonymous", Flag, "true"),
    key("client_id", OneOf(&["any", "user"]), "\"user\""),
    key("max_connections", Count(u64::MAX), "10000"),
    key("max_connections_per_address", Count(u64::MAX), "100"),
    key("connect_timeout", Span, "\"10s\""),
    key("keep_alive_max", Span, "\"1h\""),
];

const LISTENER_TLS: &[Key] = &[
    needed("cert", Path, "\"/etc/tributary/cert.pem\""),
    needed("key", Path, "\"/etc/tributary/key.pem\""),
    key("client_ca", Path, "\"/etc/tributary/ca.pem\""),
    key("client_crl", Path, "\"/etc/tributary/crl.pem\""),
    key("user_from", OneOf(&["common-name", "alternative-name", "none"]), "\"common-name\""),
];

const SOURCE: &[Key] = &[
    needed("url", Text, "\"mqtts://broker.local:8883\""),
    needed("topics", Texts, "[\"plant/#\"]"),
    key("name", Text, "\"hall-2\""),
    key("protocol", OneOf(&["5", "3.1.1"]), "\"5\""),
    key("qos", Count(255), "1"),
    key("prefix", Text, "\"hall-2/\""),
    key("client_id", Text, "\"tributary-hall-2\""),
    key("username", Text, "\"press-line-3\""),
    key("password_file", Path, "\"/etc/tributary/password\""),
    key("password_env", Text, "\"BROKER_PASSWORD\""),
    key("password_credential", Text, "\"broker\""),
    key("tls", Table(TLS), "{ ca = \"/etc/tributary/ca.pem\" }"),
];

const UPSTREAM: &[Key] = &[
    needed("brokers", Texts, "[\"kafka-1:9092\"]"),
    key("compression", OneOf(&["auto", "none", "gzip", "snappy", "lz4", "zstd"]), "\"auto\""),
    key("tls", SwitchOr(TLS), "true"),
    key(
        "sasl",
        Table(SASL),
        "{ mechanism = \"SCRAM-SHA-512\", username = \"gw-1\", password_file = \"password\" }",
    ),
    key("proxy", TextOr(PROXY), "\"socks5://proxy.plant:1080\""),
    key("bandwidth", Rate, "\"256 kbit/s\""),
    key("monthly", Size, "\"500 MB\""),
    key("gaps", Text, "\"tributary.gaps\""),
    key("delivery", OneOf(&["exactly-once", "at-least-once"]), "\"exactly-once\""),
];

const TLS: &[Key] = &[
    key("ca", Path, "\"/etc/tributary/ca.pem\""),
    key("cert", Path, "\"/etc/tributary/gw.pem\""),
    key("key", Path, "\"/etc/tributary/gw.key\""),
    key("server_name", Text, "\"kafka.example.com\""),
];

const SASL: &[Key] = &[
    needed("mechanism", Text, "\"SCRAM-SHA-512\""),
    key("username", Text, "\"gw-1\""),
    key("password_file", Path, "\"/etc/tributary/password\""),
    key("password_env", Text, "\"KAFKA_PASSWORD\""),
    key("password_credential", Text, "\"kafka\""),
    key("token_file", Path, "\"/run/token\""),
    key("token_command", Command, "[\"/usr/local/bin/token\", \"kafka\"]"),
    key("token_url", Text, "\"https://login.example.com/oauth2/token\""),
    key("token_ca", Path, "\"/etc/tributary/ca.pem\""),
    key("client_id", Text, "\"press-line-3\""),
    key("client_secret_file", Path, "\"/etc/tributary/client-secret\""),
    key("client_secret_env", Text, "\"CLIENT_SECRET\""),
    key("client_secret_credential", Text, "\"client-secret\""),
    key("scope", Text, "\"kafka\""),
    key("extensions", Named, "{ logicalCluster = \"lkc-12345\" }"),
];

const PROXY: &[Key] = &[
    needed("url", Text, "\"http://proxy.plant:3128\""),
    key("username", Text, "\"press-line-3\""),
    key("password_file", Path, "\"/etc/tributary/proxy-password\""),
    key("password_env", Text, "\"PROXY_PASSWORD\""),
    key("password_credential", Text, "\"proxy\""),
];

const ROUTE: &[Key] = &[
    key("name", Text, "\"hot\""),
    needed("from", Text, "\"plant/+/telemetry\""),
    key("where", Text, "\"temperature > 70\""),
    needed("topic", Text, "\"hot\""),
    key("topics_max", Count(65_535), "32"),
    key("events", Text, "\"devices\""),
    key("key", Text, "\"topic(2)\""),
    key("partition", OneOf(&["gateway", "key"]), "\"gateway\""),
    key("start", OneOf(&["now", "oldest"]), "\"now\""),
    key("lane", Text, "\"normal\""),
    key("format", Text, "\"raw\""),
    key("headers", Texts, "[\"offset\", \"time\"]"),
];

const DOWNLINK: &[Key] = &[
    needed("from", Text, "\"commands\""),
    needed("to", Text, "\"cmd/{key}\""),
    key("only", OneOf(&["header", "key", "all"]), "\"header\""),
    key("qos", Count(255), "1"),
    key("retain", Flag, "true"),
    key("max_age", Text, "\"24h\""),
];

impl Kind {
    /// What a value of it is, in words.
    pub(super) const fn words(&self) -> &'static str {
        match self {
            Text | Path | Size | Rate | Span | OneOf(_) => "a text in quotes",
            Flag => "`true` or `false`",
            Count(_) => "a whole number",
            Texts | Command => "a list of texts",
            Named | Table(_) => "a table",
            SwitchOr(_) => "`true`, `false` or a table",
            TextOr(_) => "a text in quotes or a table",
            Section(_) => "a section",
            Sections(_) => "a section that may be repeated",
        }
    }

    /// What may stand in it.
    pub(super) const fn keys(&self) -> Option<&'static [Key]> {
        match self {
            Table(keys) | SwitchOr(keys) | TextOr(keys) | Section(keys) | Sections(keys) => {
                Some(keys)
            }
            _ => None,
        }
    }
}

impl Key {
    /// The key as it stands at the head of what belongs to it.
    pub(super) fn title(&self) -> String {
        match self.kind {
            Section(_) => format!("[{}]", self.name),
            Sections(_) => format!("[[{}]]", self.name),
            _ => self.name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;
    use crate::config::problem::unknown_field;

    /// A file with a line in the table that `path` leads to, and with what is needed around it.
    fn file(path: &[&Key], line: &str) -> String {
        let mut text = String::new();
        for (depth, key) in path.iter().enumerate() {
            if depth == 0 {
                text.extend([key.title().as_str(), "\n"]);
            } else {
                text.extend(["[", path[0].name, ".", key.name, "]\n"]);
            }
            for key in key.kind.keys().unwrap_or_default().iter().filter(|key| key.needed) {
                if !line.starts_with(&format!("{} =", key.name)) {
                    text.extend([key.name, " = ", key.example, "\n"]);
                }
            }
        }
        text + line + "\n"
    }

    /// Every key of the file reads its example, and there are no others.
    fn check(path: &mut Vec<&'static Key>, keys: &'static [Key]) {
        let unknown = file(path, "unheard_of = 1");
        let error = toml::from_str::<File>(&unknown).expect_err("there is no such key");
        let (_, mut known) = unknown_field(error.message()).expect("it is unknown");
        let mut ours: Vec<&str> = keys.iter().map(|key| key.name).collect();
        known.sort_unstable();
        ours.sort_unstable();
        assert_eq!(known, ours, "{unknown}");
        for key in keys {
            if !matches!(key.kind, Section(_) | Sections(_)) {
                let text = file(path, &format!("{} = {}", key.name, key.example));
                toml::from_str::<File>(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
            }
            if let Some(keys) = key.kind.keys() {
                path.push(key);
                check(path, keys);
                path.pop();
            }
        }
    }

    /// The names of all keys below a section, but for those that only another section takes.
    fn names(keys: &'static [Key], section: &str, out: &mut Vec<&'static str>) {
        for key in keys.iter().filter(|key| (section, key.name) != ("source", "server_name")) {
            out.push(key.name);
            names(key.kind.keys().unwrap_or_default(), section, out);
        }
    }

    #[test]
    fn the_example_explains_every_key() {
        const EXAMPLE: &str = include_str!("../cli/example.toml");
        for section in FILE.iter().filter(|key| key.kind.keys().is_some()) {
            let head = format!("{}\n", section.title());
            let (_, part) = EXAMPLE.split_once(&head).expect("the section is there");
            let part = part.split_once("\n\n").map_or(part, |(part, _)| part);
            let words: Vec<&str> =
                part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            let mut names_in = Vec::new();
            names(section.kind.keys().unwrap_or_default(), section.name, &mut names_in);
            names_in.retain(|name| !words.contains(name));
            assert!(names_in.is_empty(), "{}: {names_in:?}", section.name);
        }
    }

    #[test]
    fn these_are_the_keys_that_are_read() {
        check(&mut Vec::new(), FILE);
    }
}
