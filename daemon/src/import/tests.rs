//! Configurations as people have them.

use super::*;
use crate::config::Config;

fn import(text: &str) -> Import {
    let sources = [Source { name: "mosquitto.conf".to_owned(), text: text.to_owned() }];
    from_mosquitto(&sources, &str::to_owned)
}

fn remarks(import: &Import) -> Vec<String> {
    import.remarks.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_configured_is_loopback_for_everybody() {
    let import = import("# empty\n\n");
    assert_eq!(import.toml, "\n[[listener]]\naddress = \"127.0.0.1:1883\"\nanonymous = true\n");
    assert!(import.remarks.is_empty() && import.copies.is_empty());
    Config::parse(&import.toml).expect("valid");
}

#[test]
fn listeners_come_with_who_is_let_in() {
    let import = import(
        "persistence true\nallow_anonymous false\npassword_file /etc/mosquitto/passwd\n\
         acl_file /etc/mosquitto/acl\n\
         listener 1883 127.0.0.1\n\
         listener 8883\ncafile /ca\ncertfile /cert\nkeyfile /key\nrequire_certificate true\n\
         use_identity_as_username true\ncrlfile /crl\nmax_connections 500\ntls_version tlsv1.2\n\
         listener 9001 fd00::1\nprotocol websockets\nuse_username_as_clientid true\n\
         listener 0 /run/mosquitto.sock\n",
    );
    let wanted = "
[[listener]]
address = \"127.0.0.1:1883\"
users = \"passwd\"
acl = \"acl\"
anonymous = false

[[listener]]
address = \"[::]:8883\"
tls = { cert = \"/cert\", key = \"/key\", client_ca = \"/ca\", client_crl = \"/crl\" }
users = \"passwd\"
acl = \"acl\"
anonymous = false
max_connections = 500

[[listener]]
address = \"[fd00::1]:9001\"
websocket = true
users = \"passwd\"
acl = \"acl\"
anonymous = false
# Mosquitto gave each client its user's name; here it must have it itself.
client_id = \"user\"
";
    assert_eq!(import.toml, wanted);
    let copies: Vec<(&str, &str)> =
        import.copies.iter().map(|copy| (copy.from.as_str(), copy.to.as_str())).collect();
    assert_eq!(copies, [("/etc/mosquitto/passwd", "passwd"), ("/etc/mosquitto/acl", "acl")]);
    let remarks = remarks(&import);
    assert_eq!(remarks.len(), 4, "{remarks:?}");
    assert!(remarks[0].starts_with("mosquitto.conf:1: persistence: everything is in the log"));
    assert!(remarks[1].starts_with("mosquitto.conf:7: cafile: "), "{remarks:?}");
    assert!(remarks[3].contains("Unix sockets"), "{remarks:?}");
}

#[test]
fn settings_per_listener_stay_with_their_listener() {
    let import = import(
        "per_listener_settings true\nlistener 1883\nallow_anonymous true\n\
         listener 1884\npassword_file /a/passwd\nlistener 1885\npassword_file /b/passwd\n",
    );
    let users: Vec<&str> = import.toml.lines().filter(|line| line.starts_with("users")).collect();
    assert_eq!(users, ["users = \"passwd\"", "users = \"passwd-2\""]);
    assert_eq!(import.toml.matches("anonymous").count(), 1);
}

#[test]
fn bridges_are_proposed_and_every_other_line_is_listed() {
    let import = import(
        "connection hq\naddress hq.example:8883\nbridge_cafile /ca\nremote_username gw\n\
         remote_password secret\ntopic # out 1 plant/ line-3/\ntopic orders/# in 2\ntopic x sideways\n\
         try_private false\nunheard_of 7\n",
    );
    for line in [
        "# url = \"mqtts://hq.example:8883\"",
        "# topics = [\"orders/#\"]",
        "# qos = 1",
        "# username = \"gw\"",
        "# from = \"plant/#\"",
        "# topic = \"line-3\"",
    ] {
        assert!(import.toml.lines().any(|found| found == line), "{line}\n{}", import.toml);
    }
    let remarks = remarks(&import).join("\n");
    for option in [":5: remote_password", ":6: topic", ":7: topic", ":8: topic", ":9: try_private"]
    {
        assert!(remarks.contains(option), "{option}\n{remarks}");
    }
    assert!(!format!("{import:?}").contains("secret"), "a password is never shown");
    Config::parse(&import.toml).expect("valid");
}
