//! `check` finds what `run` would: files of a listener that do not serve, at the key that names them.

use std::fs;

use anyhow::{Result, ensure};
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;

use super::TRIBUTARY;

#[test]
fn check_finds_what_run_would() -> Result<()> {
    let authority = Authority::new()?;
    let (one, other) = (authority.server("one", "a")?, authority.server("other", "b")?);
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let dir = daemon.dir().to_owned();
    fs::write(dir.join("acl"), "user ann\ntopic read a\ntopik write b\n")?;
    fs::write(dir.join("users"), "ann:secret\n")?;
    fs::write(dir.join("empty"), "")?;
    let pair = |cert: &str, key: &str| format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}");
    let path = |name: &str| dir.join(name).display().to_string();
    let (cert, key) = (one.cert.display().to_string(), one.key.display().to_string());
    // The key of the listener, and what is said of it.
    let cases = [
        (pair(&cert, &other.key.display().to_string()), "is not the key of the certificate"),
        (pair("/nowhere/cert", &key), "cannot be read"),
        (pair(&path("empty"), &key), "holds no certificate"),
        (pair(&cert, &path("empty")), "holds 0 private keys"),
        (format!("acl = \"{}\"", path("acl")), "acl:3: `topik` is not known here"),
        (
            format!("users = \"{}\"", path("users")),
            "users:1: of `ann`: what stands there is no hash",
        ),
        (format!("users = \"{}\"", path("none")), "tributary passwd add"),
        ("client_id = \"user\"".to_owned(), "anonymous = false"),
        ("max_connections = 0".to_owned(), "from 1 to"),
        ("connect_timeout = \"1 h\"".to_owned(), "from \"500 ms\""),
        ("keep_alive_max = \"1500 ms\"".to_owned(), "in whole seconds"),
        ("keep_alive_max = \"0s\"".to_owned(), "from \"1s\" to \"18h\""),
        ("keep_alive_max = \"19h\"".to_owned(), "from \"1s\" to \"18h\""),
        ("proxy_protocol = true".to_owned(), "nobody could log in"),
        ("anonymous = false".to_owned(), "nobody could log in"),
    ];
    for (key, told) in cases {
        daemon.configure(&format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{key}\n"))?;
        for command in ["check", "run"] {
            let refused = daemon.try_command(&[command])?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.status.code() == Some(2), "{command} {key}: {said}");
            // Long lines are folded where they are shown.
            let said: Vec<&str> = said.split_whitespace().collect();
            ensure!(said.join(" ").contains(told), "{command} {key}: {}", said.join(" "));
            ensure!(!said.join(" ").contains("secret"), "a password is shown");
        }
    }
    daemon.configure("[[listener]]\naddress = \"0.0.0.0:1\"\n")?;
    let refused = daemon.try_command(&["check"])?;
    ensure!(refused.status.code() == Some(2), "others could come, and none is let in: {refused:?}");
    daemon.configure("[[listener]]\naddress = \"0.0.0.0:1\"\nanonymous = true\n")?;
    let allowed = daemon.try_command(&["check"])?;
    let said = String::from_utf8_lossy(&allowed.stdout).into_owned();
    ensure!(allowed.status.success() && said.contains("anyone who can reach"), "{allowed:?}");
    Ok(())
}
