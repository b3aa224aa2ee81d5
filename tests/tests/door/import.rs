//! From a Mosquitto's directory to a gateway that its devices do not tell apart.

use std::fs;

use anyhow::{Result, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::ports;

use super::TRIBUTARY;
use super::client::{Peer, expect_refusal, expect_service, user};

/// "public", by `mosquitto_passwd`.
const OLD: &str = "$7$101$zL8xSD1g4Zld5gjD$y28tY5fDolxwQD1pBmBJwWIAcHi7OnXwogF7ID4ELj4uBn0rNsb6W2ZsM2RMIBsh39nyPVlFr/JqqaZ6i7Ur9A==";

#[test]
fn a_mosquitto_is_carried_over() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let (from, port) = (daemon.dir().join("mosquitto"), ports::free()?);
    fs::create_dir_all(from.join("conf.d"))?;
    let place = from.display();
    let main = format!("persistence true\ninclude_dir {place}/conf.d\nplugin /usr/lib/x.so\n");
    fs::write(from.join("mosquitto.conf"), main)?;
    // A path that is not whole begins in Mosquitto's own directory.
    let more = format!(
        "listener {port} 127.0.0.1\npassword_file {place}/passwd\nacl_file acl\n\
         connection hq\naddress hq.example\ntopic orders/# in 1\n"
    );
    fs::write(from.join("conf.d/plant.conf"), more)?;
    fs::write(from.join("passwd"), format!("press-3:{OLD}\n"))?;
    fs::write(from.join("acl"), "pattern readwrite plant/%u/#\n")?;

    let made = daemon.dir().join("made.toml");
    let mut command = std::process::Command::new(TRIBUTARY);
    let output = command.arg("init").arg("--from-mosquitto").arg(&from).arg(&made).output()?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for told in [":1: persistence", ":3: plugin", "plant.conf:6: topic", "passwd is a copy of"] {
        ensure!(said.contains(told), "{told}: {said}");
    }
    let text = fs::read_to_string(&made)?;
    ensure!(text.contains("\nusers = \"passwd\"\nacl = \"acl\"\n"), "beside the file: {text}");
    daemon.configure(&text)?;
    daemon.restart()?;
    expect_service(user("press-3", port, "public"), "plant/press-3/state")?;
    expect_refusal(user("press-3", port, "publix"), "BadUserNamePassword")?;
    let mut press = Peer::enter(user("press-3", port, "public"))?;
    ensure!(!press.subscribe("plant/press-4/#")?);
    // Mosquitto's own files are as they were.
    ensure!(fs::read_to_string(from.join("passwd"))? == format!("press-3:{OLD}\n"));
    // Nothing is overwritten.
    let again = std::process::Command::new(TRIBUTARY)
        .arg("init")
        .arg("--from-mosquitto")
        .arg(&from)
        .arg(&made)
        .output()?;
    ensure!(again.status.code() == Some(1), "{again:?}");
    Ok(())
}
