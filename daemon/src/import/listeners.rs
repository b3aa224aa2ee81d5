//! Listeners, with who is let in there.

use super::{Import, Line, quoted};

/// What is said of one listener, or of all.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of Mosquitto's")]
pub(super) struct Section {
    address: Option<String>,
    websocket: bool,
    proxy: bool,
    cafile: Option<String>,
    certfile: Option<String>,
    keyfile: Option<String>,
    crlfile: Option<String>,
    require_certificate: bool,
    identity_as_user: bool,
    user_as_client_id: bool,
    max_connections: Option<u16>,
    /// May stand for all listeners.
    shared: Shared,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    users: Option<String>,
    acl: Option<String>,
    anonymous: Option<bool>,
}

impl Shared {
    /// What `later` says, and where it says nothing what was said before.
    fn or(self, later: &Self) -> Self {
        Self {
            users: later.users.clone().or(self.users),
            acl: later.acl.clone().or(self.acl),
            anonymous: later.anonymous.or(self.anonymous),
        }
    }
}

/// Whether each listener has settings of its own, and what tells the whole path of a file.
pub(super) type How<'a> = (bool, &'a dyn Fn(&str) -> String);

/// OpenSSL completes a server's chain from all authorities that it trusts.
const CHAIN: &str = "Mosquitto sends what is needed of it along with `certfile`; here `cert` is sent as it is: \
    append the authorities between it and the root";
/// Options that have no counterpart, and why.
const WITHOUT: [(&str, &str); 34] = [
    ("autosave_interval", LOG),
    ("autosave_on_changes", LOG),
    ("persistence", LOG),
    ("persistence_file", LOG),
    ("persistence_location", LOG),
    ("persistent_client_expiration", "sessions end as the clients ask"),
    ("log_dest", LINES),
    ("log_type", LINES),
    ("log_facility", LINES),
    ("log_timestamp", LINES),
    ("log_timestamp_format", LINES),
    ("connection_messages", LINES),
    ("pid_file", "the service manager knows the process"),
    ("user", "the service manager starts the daemon as its user"),
    ("sys_interval", FIXED),
    ("max_inflight_messages", FIXED),
    ("max_inflight_bytes", FIXED),
    ("max_queued_messages", FIXED),
    ("max_queued_bytes", FIXED),
    ("memory_limit", FIXED),
    ("message_size_limit", FIXED),
    ("max_packet_size", FIXED),
    ("max_keepalive", FIXED),
    ("queue_qos0_messages", FIXED),
    ("set_tcp_nodelay", "it always is"),
    ("upgrade_outgoing_qos", "not done: MQTT has it otherwise"),
    ("allow_zero_length_clientid", "always: the client gets an identifier"),
    ("retain_available", "always, as far as this version serves it"),
    ("auth_plugin", PLUGIN),
    ("plugin", PLUGIN),
    ("psk_file", "there is no TLS with pre-shared keys: use certificates or passwords"),
    ("psk_hint", "there is no TLS with pre-shared keys: use certificates or passwords"),
    ("use_subject_as_username", "the whole subject is no name here: the common name is"),
    ("mount_point", "there are none: let the devices use the whole topic"),
];
const LOG: &str = "everything is in the log, `[log]`, before it is acknowledged";
const LINES: &str = "log lines go to standard error: the service manager keeps them";
const FIXED: &str = "a fixed limit here, see `[log]` and the README";
const PLUGIN: &str = "there are no plug-ins: use a password file, certificates, an access list";

impl Section {
    /// Whether an option stands for the whole broker wherever it is written.
    pub(super) fn is_global(option: &str) -> bool {
        matches!(option, "port" | "bind_address")
    }

    /// `listener port [address]`. One without an address of ours only takes its options.
    pub(super) fn begin(line: &Line<'_>, import: &mut Import) -> Self {
        let mut words = line.value.split_whitespace();
        let port = words.next().unwrap_or_default();
        if port == "0" || words.clone().any(|word| word.starts_with('/')) {
            import.remark(line, "there are no Unix sockets for MQTT");
            return Self::default();
        }
        let address = Some(address(port, words.next()));
        Self { address, ..Self::default() }
    }

    /// Takes an option.
    pub(super) fn take(&mut self, line: &Line<'_>, import: &mut Import) {
        let text = || Some(line.value.to_owned());
        let is_true = line.value == "true";
        match line.option {
            "port" => self.address = Some(address(line.value, None)),
            "bind_address" => {
                import.remark(line, "write it into the listener's `address`");
            }
            "protocol" if line.value == "websockets" => self.websocket = true,
            "protocol" if line.value == "mqtt" => {}
            "proxy_protocol_v2" | "enable_proxy_protocol" => {
                self.proxy = is_true || line.value == "2";
            }
            "cafile" => {
                self.cafile = text();
                import.remark(line, CHAIN);
            }
            "certfile" => self.certfile = text(),
            "keyfile" => self.keyfile = text(),
            "crlfile" => self.crlfile = text(),
            "require_certificate" => self.require_certificate = is_true,
            "use_identity_as_username" => self.identity_as_user = is_true,
            "use_username_as_clientid" => self.user_as_client_id = is_true,
            // -1: no limit.
            "max_connections" if line.value == "-1" => {}
            "max_connections" => match line.value.parse::<u16>() {
                Ok(count) => self.max_connections = Some(count),
                Err(_) => import.remark(line, "is no number that a listener can have"),
            },
            "password_file" => self.shared.users = text(),
            "acl_file" => self.shared.acl = text(),
            "allow_anonymous" => self.shared.anonymous = Some(is_true),
            "tls_version" => import.remark(line, "TLS 1.2 and 1.3 are spoken, always"),
            other => {
                let known = WITHOUT.iter().find(|(option, _)| *option == other);
                import.remark(line, known.map_or("there is no counterpart", |(_, why)| why));
            }
        }
    }

    fn write(self, global: &Shared, (per_listener, whole): How<'_>, import: &mut Import) {
        let shared = if per_listener { &self.shared } else { global };
        let Some(address) = self.address else { return };
        import.put("\n[[listener]]");
        import.put(&format!("address = {}", quoted(&address)));
        if self.websocket {
            import.put("websocket = true");
        }
        if self.proxy {
            import.put("proxy_protocol = true");
        }
        if let (Some(cert), Some(key)) = (&self.certfile, &self.keyfile) {
            let file = |key: &str, path: &String| format!("{key} = {}", quoted(&whole(path)));
            let mut tls = vec![file("cert", cert), file("key", key)];
            if let (true, Some(ca)) = (self.require_certificate, &self.cafile) {
                tls.push(file("client_ca", ca));
                tls.extend(self.crlfile.iter().map(|crl| file("client_crl", crl)));
                tls.extend((!self.identity_as_user).then(|| "user_from = \"none\"".to_owned()));
            }
            let tls = tls.join(", ");
            import.put(&format!("tls = {{ {tls} }}"));
        }
        for (key, path) in [("users", &shared.users), ("acl", &shared.acl)] {
            if let Some(path) = path {
                let copy = import.copy(&whole(path));
                import.put(&format!("{key} = {}", quoted(&copy)));
            }
        }
        if let Some(anonymous) = shared.anonymous {
            import.put(&format!("anonymous = {anonymous}"));
        }
        if self.user_as_client_id {
            import
                .put("# Mosquitto gave each client its user's name; here it must have it itself.");
            import.put("client_id = \"user\"");
        }
        if let Some(count) = self.max_connections {
            import.put(&format!("max_connections = {count}"));
        }
    }
}

/// Writes all listeners. Without one Mosquitto listens on loopback, for everybody.
pub(super) fn write(global: Section, sections: Vec<Section>, how: How<'_>, import: &mut Import) {
    // Unless each has settings of its own, they hold for all, wherever they are written.
    let shared =
        sections.iter().fold(global.shared.clone(), |all, section| all.or(&section.shared));
    let mut all: Vec<Section> = sections;
    if global.address.is_some() {
        all.insert(0, global);
    } else if all.is_empty() {
        let mut only = global;
        only.address = Some("127.0.0.1:1883".to_owned());
        let anonymous = only.shared.anonymous.or((only.shared.users.is_none()).then_some(true));
        let shared = Shared { anonymous, ..shared };
        only.write(&shared, (false, how.1), import);
        return;
    }
    for section in all {
        section.write(&shared, how, import);
    }
}

fn address(port: &str, host: Option<&str>) -> String {
    match host {
        // Both families, as Mosquitto does.
        None => format!("[::]:{port}"),
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
    }
}
