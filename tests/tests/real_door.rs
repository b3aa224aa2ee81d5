//! Clients that plants have, over every transport: `mosquitto_pub` and `mosquitto_sub`, and Paho. Neither
//! TLS nor WebSocket of theirs is ours.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tributary_tests::authority::{Authority, Pair};
use tributary_tests::daemon::Daemon;
use tributary_tests::ports;
use tributary_tests::process::output;
use tributary_tests::real::cache::python;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// Seconds that `mosquitto_sub` waits for a message.
const WAIT: &str = "20";

struct Ports {
    tls: u16,
    mutual: u16,
    ws: u16,
    wss: u16,
}

/// A plant: passwords over TLS and WebSocket, certificates on another listener, one access list.
fn plant(authority: &Authority) -> Result<(Daemon, Ports)> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let dir = daemon.dir().to_owned();
    let users = dir.join("users");
    add(&users)?;
    let acl = dir.join("acl");
    fs::write(&acl, "pattern readwrite plant/%u/#\n")?;
    let ports = Ports {
        tls: ports::free()?,
        mutual: ports::free()?,
        ws: ports::free()?,
        wss: ports::free()?,
    };
    let pair = authority.server("gateway", "localhost")?;
    let more = format!(", client_ca = \"{}\"", authority.cert().display());
    let (users, acl) = (users.display(), acl.display());
    let listener = |port: u16, more: &str| {
        format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\nacl = \"{acl}\"\n{more}")
    };
    let by_password = format!("users = \"{users}\"\n");
    let tls = pair.section("");
    daemon.configure(
        &[
            listener(ports.tls, &format!("{by_password}{tls}")),
            listener(ports.mutual, &pair.section(&more)),
            listener(ports.ws, &format!("{by_password}websocket = true\n")),
            listener(ports.wss, &format!("{by_password}websocket = true\n{tls}")),
        ]
        .concat(),
    )?;
    daemon.restart()?;
    Ok((daemon, ports))
}

fn add(users: &Path) -> Result<()> {
    let mut command = Command::new(TRIBUTARY);
    command.args(["passwd", "add", "--batch"]).arg(users).arg("ann").stdin(Stdio::piped());
    let mut child = command.spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("its input")?, b"s3cret\n")?;
    ensure!(child.wait()?.success());
    Ok(())
}

/// Arguments for a port, over TLS and with a certificate if there is one.
fn to(port: u16, authority: &Authority, shown: Option<&Pair>) -> Vec<String> {
    let mut args = vec!["-h".to_owned(), "localhost".to_owned(), "-p".to_owned(), port.to_string()];
    args.extend(["--cafile".to_owned(), authority.cert().display().to_string()]);
    if let Some(pair) = shown {
        args.extend(["--cert".to_owned(), pair.cert.display().to_string()]);
        args.extend(["--key".to_owned(), pair.key.display().to_string()]);
    }
    args
}

#[test]
fn mosquittos_clients_over_tls_and_mutual_tls() -> Result<()> {
    let authority = Authority::new()?;
    let (_daemon, ports) = plant(&authority)?;
    let client = authority.client("press-3", false)?;
    let password = ["-u", "ann", "-P", "s3cret"].map(str::to_owned);
    let cases = [
        (to(ports.tls, &authority, None), password.as_slice(), "plant/ann/state"),
        (to(ports.mutual, &authority, Some(&client)), &[], "plant/press-3/state"),
    ];
    for (number, (to, who, topic)) in cases.iter().enumerate() {
        for version in ["311", "5"] {
            // What it says is to come line by line, also into a pipe.
            let mut hearer = Command::new("stdbuf");
            hearer
                .args(["-oL", "mosquitto_sub"])
                .args(to)
                .args(*who)
                .args(["-V", version, "-t", topic, "-C", "1", "-W", WAIT, "-d"]);
            let mut hearer = hearer.stdout(Stdio::piped()).spawn()?;
            let mut said = std::io::BufReader::new(hearer.stdout.take().context("its output")?);
            let mut line = String::new();
            while !line.contains("SUBACK") {
                line.clear();
                let read = std::io::BufRead::read_line(&mut said, &mut line)?;
                ensure!(read > 0, "mosquitto_sub has ended before it had subscribed");
            }
            let mut sender = Command::new("mosquitto_pub");
            let payload = format!("{number}-{version}");
            sender
                .args(to)
                .args(*who)
                .args(["-V", version, "-q", "1", "-t", topic, "-m", &payload]);
            output(sender)?;
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut said, &mut rest)?;
            ensure!(hearer.wait()?.success() && rest.contains(&payload), "{rest}");
        }
    }
    let mut wrong = Command::new("mosquitto_pub");
    wrong.args(to(ports.tls, &authority, None)).args(["-u", "ann", "-P", "guess"]);
    let refused = wrong.args(["-q", "1", "-t", "plant/ann/x", "-m", "x"]).output()?;
    ensure!(!refused.status.success(), "{refused:?}");
    Ok(())
}

#[test]
fn paho_over_tls_and_websocket() -> Result<()> {
    let authority = Authority::new()?;
    let (_daemon, ports) = plant(&authority)?;
    let client = authority.client("press-3", false)?;
    let ca = authority.cert().display().to_string();
    let cert = [client.cert.display().to_string(), client.key.display().to_string()];
    let secure = ["--ca", &ca];
    let mutual = ["--ca", &ca, "--cert", &cert[0], "--key", &cert[1]];
    let ann = ["--user", "ann", "--password", "s3cret"];
    let (own, press) = ("plant/ann/x", "plant/press-3/x");
    let cases: [(u16, Vec<&str>, &str, &str); 7] = [
        (ports.tls, [&secure[..], &ann].concat(), own, "over TLS"),
        (ports.mutual, mutual.to_vec(), press, "over mutual TLS"),
        (ports.ws, [&["--websocket"][..], &ann].concat(), own, "over WebSocket"),
        (ports.wss, [&["--websocket"][..], &secure, &ann].concat(), own, "over both"),
        (
            ports.wss,
            [&["--websocket", "--version", "4"][..], &secure, &ann].concat(),
            own,
            "in 3.1.1",
        ),
        (
            ports.tls,
            [&secure[..], &["--user", "ann", "--password", "x"]].concat(),
            own,
            "refused 134",
        ),
        (ports.tls, [&secure[..], &ann].concat(), "plant/other/x", "refused 135"),
    ];
    for (port, args, topic, payload) in cases {
        let mut command = python("door.py");
        command.args(["--port", &port.to_string(), "--topic", topic, "--payload", payload]);
        let said = output({
            command.args(&args);
            command
        })?;
        ensure!(said.trim() == payload, "{args:?}: {said}");
    }
    Ok(())
}
