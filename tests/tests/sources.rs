//! `[[source]]`: messages of another broker become events of ours, and it gets its PUBACK when they are
//! durable, not before. The other broker is a Tributary.

use core::time::Duration;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::source::{await_all, await_connection, await_source, readings};
use tributary_tests::{ports, scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Who the gateway is at the other broker.
const CLIENT: &str = "gateway-under-test";
/// Holds commits back for longer than what has to happen before them.
const LATE_COMMIT: &str = "[log.commit]\ndelay = \"8s\"\n";

/// A source at `port`, with `more` keys.
fn source(port: u16, more: &str) -> String {
    format!(
        "[[source]]\nurl = \"mqtt://127.0.0.1:{port}\"\nname = \"hall\"\ntopics = [\"plant/#\"]\n\
         client_id = \"{CLIENT}\"\n{more}"
    )
}

/// Both brokers are killed in turn while a device publishes: what the first has acknowledged to the
/// device comes to the second.
fn nothing_is_lost_over_kills(protocol: &str) -> Result<()> {
    const MESSAGES: usize = 300;
    const KILLS: usize = 6;
    let mut random = scratch::random("sources and kills")?;
    let mut other = Daemon::start(TRIBUTARY, "")?;
    let more = format!("prefix = \"hall/\"\nprotocol = \"{protocol}\"\n");
    let mut daemon = Daemon::start(TRIBUTARY, &source(other.port(), &more))?;
    await_connection(&daemon)?;
    let device = Device::start(other.port(), "plant/1", readings(MESSAGES));
    for kill in 1..=KILLS {
        device.wait_for(MESSAGES * kill / (KILLS + 1))?;
        wait::pass(Duration::from_millis(random.u64(..30)));
        let victim = if kill % 2 == 0 { &mut other } else { &mut daemon };
        victim.kill()?;
        victim.restart()?;
    }
    device.finish()?;
    await_all(&daemon, "hall/plant/1", &readings(MESSAGES))
}

#[test]
fn nothing_is_lost_over_kills_with_mqtt_5() -> Result<()> {
    nothing_is_lost_over_kills("5")
}

#[test]
fn nothing_is_lost_over_kills_with_mqtt_3() -> Result<()> {
    nothing_is_lost_over_kills("3.1.1")
}

/// The gateway receives ten messages just after a commit, and the next one is held back.
fn receive_too_early(other: &Daemon, daemon: &Daemon) -> Result<()> {
    await_connection(daemon)?;
    Device::publish(daemon.port(), "own", readings(1))?;
    Device::publish(other.port(), "plant/1", readings(10))?;
    await_source(daemon, |source| source["received"] == 10)?;
    ensure!(daemon.status()?["log"]["durable"] == 1, "it was to be too early for a commit");
    Ok(())
}

/// All is received and nothing durable when the gateway is killed: the other broker sends it again.
#[test]
fn what_is_not_durable_is_not_acknowledged() -> Result<()> {
    let other = Daemon::start(TRIBUTARY, "")?;
    let sections = source(other.port(), "");
    let mut daemon = Daemon::start(TRIBUTARY, &format!("{LATE_COMMIT}{sections}"))?;
    receive_too_early(&other, &daemon)?;
    daemon.kill()?;
    daemon.configure(&sections)?;
    daemon.restart()?;
    await_all(&daemon, "plant/1", &readings(10))?;
    let again = await_source(&daemon, |source| source["received"] == 10)?;
    ensure!((&again["repeated"], &again["duplicates"]) == (&10.into(), &0.into()), "{again}");
    Ok(())
}

/// The connection is lost before anything is acknowledged: what is sent again is in the log once.
#[test]
fn what_is_sent_again_is_taken_once() -> Result<()> {
    let other = Daemon::start(TRIBUTARY, "")?;
    let sections = format!("{LATE_COMMIT}{}", source(other.port(), ""));
    let daemon = Daemon::start(TRIBUTARY, &sections)?;
    receive_too_early(&other, &daemon)?;
    take_over(other.port())?;
    let twice = await_source(&daemon, |source| source["duplicates"] == 10)?;
    ensure!(twice["connects"] == 2 && twice["received"] == 10, "{twice}");
    await_all(&daemon, "plant/1", &readings(10))?;
    ensure!(daemon.events()?.len() == 1 + 10);
    Ok(())
}

fn heard(connection: &mut Connection) -> Result<Event> {
    let event = connection.recv_timeout(ANSWER_MAX);
    Ok(event.map_err(|error| anyhow!("nothing came: {error:?}"))??)
}

/// Somebody else comes under the same client identifier, and goes without a word.
fn take_over(port: u16) -> Result<()> {
    let mut options = MqttOptions::new(CLIENT, "127.0.0.1", port);
    options.set_clean_session(false).set_manual_acks(true);
    let (_client, mut connection) = Client::new(options, 10);
    loop {
        let event = heard(&mut connection)?;
        if let Event::Incoming(Packet::ConnAck(answer)) = event {
            ensure!(answer.session_present, "the gateway's session is not kept");
            return Ok(());
        }
    }
}

/// A password that is wrong at first, TLS with a certificate of ours, and a reload.
#[test]
fn a_source_is_reached_over_tls_by_who_we_are() -> Result<()> {
    let authority = Authority::new()?;
    let pair = authority.server("other", "localhost")?;
    let ours = authority.client("hall-gateway", false)?;
    let port = ports::free()?;
    let mut other = Daemon::start(TRIBUTARY, "")?;
    let users = other.dir().join("users");
    add_user(&users, "gateway", "s3cret")?;
    let ca = authority.cert().display().to_string();
    let tls = pair.section(&format!(", client_ca = \"{ca}\", user_from = \"none\""));
    other.configure(&format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\nusers = \"{}\"\n{tls}",
        users.display()
    ))?;
    other.kill()?;
    other.restart()?;
    let password = other.dir().join("password");
    fs::write(&password, "wrong\n")?;
    let sections = format!(
        "[[source]]\nurl = \"mqtts://localhost:{port}\"\ntopics = [\"plant/#\"]\n\
         username = \"gateway\"\npassword_file = \"{}\"\n\
         tls = {{ ca = \"{ca}\", cert = \"{}\", key = \"{}\" }}\n",
        password.display(),
        ours.cert.display(),
        ours.key.display(),
    );
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    let refused = await_source(&daemon, |source| source["last_error"].is_string())?;
    let why = refused["last_error"].as_str().unwrap_or_default();
    ensure!(why.contains("user name and password"), "{why}");
    ensure!(refused["connected"] == false);
    fs::write(&password, "s3cret\n")?;
    await_connection(&daemon)?;
    retain(other.port(), "plant/state", "up")?;
    await_all(&daemon, "plant/state", &["up".to_owned()])?;
    let tail = daemon.try_command(&["tail", "--from", "0", "--end", "--json"])?;
    let line: Value = serde_json::from_slice(&tail.stdout)?;
    ensure!((&line["retain"], &line["client"]) == (&true.into(), &"localhost".into()), "{line}");
    // A reload ends it.
    daemon.configure("")?;
    daemon.hang_up()?;
    wait::until("the end of the source", ANSWER_MAX, || {
        Ok(daemon.status()?["sources"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    wait::until("the good-bye", ANSWER_MAX, || {
        Ok((other.status()?["mqtt"]["connections"] == 0).then_some(()))
    })
}

fn retain(port: u16, topic: &str, payload: &str) -> Result<()> {
    let (client, mut connection) = tributary_tests::device::connect(port, "operator");
    client.publish(topic, QoS::AtLeastOnce, true, payload)?;
    loop {
        if let Event::Incoming(Packet::PubAck(_)) = heard(&mut connection)? {
            return Ok(client.disconnect()?);
        }
    }
}

fn add_user(users: &std::path::Path, name: &str, password: &str) -> Result<()> {
    let mut command = Command::new(TRIBUTARY);
    command.args(["passwd", "add", "--batch"]).arg(users).arg(name).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("its input")?.write_all(format!("{password}\n").as_bytes())?;
    ensure!(child.wait()?.success());
    Ok(())
}
