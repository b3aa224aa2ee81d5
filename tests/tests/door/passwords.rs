//! Passwords: who is let in, and what a reload changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use rumqttc::MqttOptions;
use tributary_tests::daemon::Daemon;
use tributary_tests::{ports, wait};

use super::TRIBUTARY;
use super::client::{ANSWER_MAX, Peer, expect_refusal, expect_service, options, user};

/// "public", by `mosquitto_passwd`.
const OLD: &str = "$7$101$zL8xSD1g4Zld5gjD$y28tY5fDolxwQD1pBmBJwWIAcHi7OnXwogF7ID4ELj4uBn0rNsb6W2ZsM2RMIBsh39nyPVlFr/JqqaZ6i7Ur9A==";

/// `tributary passwd`, with a password on its standard input.
pub(crate) fn passwd(args: &[&str], file: &Path, name: &str, password: &str) -> Result<Output> {
    let mut command = Command::new(TRIBUTARY);
    command.arg("passwd").arg(args[0]).arg(file).arg(name).args(&args[1..]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("its standard input")?;
    match input.write_all(format!("{password}\n").as_bytes()) {
        // It did not want to know.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    drop(input);
    Ok(child.wait_with_output()?)
}

pub(crate) fn add(file: &Path, name: &str, password: &str) -> Result<()> {
    let output = passwd(&["add", "--batch"], file, name, password)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// A daemon with a listener that asks for passwords of `users`, on a second port.
pub(crate) fn start(more: &str) -> Result<(Daemon, u16, PathBuf)> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let (port, users) = (ports::free()?, daemon.dir().join("users"));
    add(&users, "ann", "s3cret")?;
    daemon.configure(&section(port, &users, more))?;
    daemon.restart()?;
    Ok((daemon, port, users))
}

pub(crate) fn section(port: u16, users: &Path, more: &str) -> String {
    let users = users.display();
    format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\nusers = \"{users}\"\n{more}")
}

#[test]
fn a_password_is_asked_for_and_a_reload_holds_at_once() -> Result<()> {
    let (mut daemon, port, users) = start("")?;
    let mut ann = Peer::enter(user("ann", port, "s3cret"))?;
    ann.publish("a", "1")?;
    expect_refusal(user("ann", port, "wrong"), "BadUserNamePassword")?;
    expect_refusal(user("eve", port, "s3cret"), "BadUserNamePassword")?;
    expect_refusal(options("nobody", port), "NotAuthorized")?;

    // Another user comes in, and who has another password has to leave.
    add(&users, "bob", "hunter2")?;
    daemon.hang_up()?;
    wait::until("bob", ANSWER_MAX, || {
        Ok(Peer::enter(user("bob", port, "hunter2")).is_ok().then_some(()))
    })?;
    ann.publish("a", "2").context("nothing has changed for ann")?;
    let changed = passwd(&["change", "--batch"], &users, "ann", "0ther")?;
    ensure!(changed.status.success(), "{changed:?}");
    daemon.hang_up()?;
    ann.expect_end()?;
    expect_service(user("ann", port, "0ther"), "a")?;

    // A broken file changes nothing.
    let sound = fs::read_to_string(&users)?;
    fs::write(&users, "ann:plain\n")?;
    daemon.hang_up()?;
    wait::until("the complaint", ANSWER_MAX, || {
        Ok(daemon.log_lines()?.contains("stays as it was").then_some(()))
    })?;
    expect_service(user("ann", port, "0ther"), "a")?;
    fs::write(&users, sound)?;
    Ok(())
}

/// Which listeners there are changes with the next start, but not who may come in at those that stay.
#[test]
fn a_reload_holds_where_listeners_are_added_and_left_out() -> Result<()> {
    let (mut daemon, port, users) = start("")?;
    let mut ann = Peer::enter(user("ann", port, "s3cret"))?;
    let told = |daemon: &Daemon, what: &str| {
        wait::until("what waits for the next start", ANSWER_MAX, || {
            Ok(daemon.log_lines()?.contains(what).then_some(()))
        })
    };
    let other = ports::free()?;
    daemon.configure(&(section(other, &users, "") + &section(port, &users, "")))?;
    ensure!(passwd(&["change", "--batch"], &users, "ann", "0ther")?.status.success());
    daemon.hang_up()?;
    told(&daemon, &format!("nobody listens on 127.0.0.1:{other} yet"))?;
    ann.expect_end()?;
    expect_refusal(user("ann", port, "s3cret"), "BadUserNamePassword")?;
    expect_service(user("ann", port, "0ther"), "a")?;
    daemon.configure("")?;
    daemon.hang_up()?;
    told(&daemon, &format!("127.0.0.1:{port} is listened on as before"))?;
    expect_service(user("ann", port, "0ther"), "a")
}

#[test]
fn many_mistakes_are_held_up_and_good_users_are_not() -> Result<()> {
    let (_daemon, port, users) = start("")?;
    drop(users);
    expect_service(user("ann", port, "s3cret"), "a")?;
    for _ in 0..3 {
        expect_refusal(user("eve", port, "guess"), "BadUserNamePassword")?;
    }
    // No hash is computed any more: it is told at once that the server is not there for it.
    expect_refusal(user("eve", port, "guess"), "ServiceUnavailable")?;
    expect_service(user("ann", port, "s3cret"), "a")
}

#[test]
fn the_client_identifier_is_the_users_if_asked() -> Result<()> {
    let (_daemon, port, _users) = start("client_id = \"user\"\n")?;
    expect_service(user("ann", port, "s3cret"), "a")?;
    let mut other = MqttOptions::new("other", "localhost", port);
    other.set_credentials("ann", "s3cret");
    expect_refusal(other, "BadClientId")
}

#[test]
fn hashes_of_mosquitto_let_in_and_become_stronger() -> Result<()> {
    let (mut daemon, port, users) = start("")?;
    let text = fs::read_to_string(&users)? + "# old\nold:" + OLD + "\n";
    fs::write(&users, &text)?;
    // Not by a reload: who comes before it is done is held up as one who guesses.
    daemon.stop()?;
    daemon.restart()?;
    wait::until("the old user", ANSWER_MAX, || {
        Ok(Peer::enter(user("old", port, "public")).is_ok().then_some(()))
    })?;
    let now = wait::until("a stronger hash", ANSWER_MAX, || {
        let now = fs::read_to_string(&users)?;
        Ok(now.contains("old:$argon2id$").then_some(now))
    })?;
    ensure!(now.starts_with(text.split("old:").next().context("the lines before")?), "{now}");
    // It is the same password: who is inside stays over a reload, and comes in again.
    let mut old = Peer::enter(user("old", port, "public"))?;
    daemon.hang_up()?;
    let mut another = options("another", port);
    another.set_credentials("old", "public");
    expect_service(another, "a")?;
    old.publish("a", "1")
}

#[test]
fn passwd_adds_changes_checks_and_deletes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("users");
    let run = |args: &[&str], name: &str, password: &str| passwd(args, &file, name, password);
    let code = |output: Output| output.status.code();
    ensure!(code(run(&["change", "--batch"], "ann", "1")?) == Some(1) && !file.exists());
    ensure!(code(run(&["delete"], "ann", "")?) == Some(1) && !file.exists());
    ensure!(code(run(&["add", "--batch"], "ann", "first")?) == Some(0));
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    ensure!(code(run(&["add", "--batch"], "ann", "again")?) == Some(1));
    ensure!(code(run(&["check", "--batch"], "ann", "first")?) == Some(0));
    ensure!(code(run(&["check", "--batch"], "ann", "again")?) == Some(1));
    ensure!(code(run(&["change", "--batch"], "ann", "second")?) == Some(0));
    ensure!(code(run(&["check", "--batch"], "ann", "second")?) == Some(0));
    ensure!(code(run(&["add", "--batch"], "bob", "third")?) == Some(0));
    ensure!(code(run(&["delete"], "ann", "")?) == Some(0));
    let text = fs::read_to_string(&file)?;
    ensure!(text.starts_with("bob:$argon2id$") && text.lines().count() == 1, "{text}");
    for name in ["", "a:b", " a", "#a"] {
        ensure!(code(run(&["add", "--batch"], name, "x")?) == Some(1), "{name}");
    }
    ensure!(code(run(&["add", "--batch"], "cid", "")?) == Some(1), "an empty password");
    let asked = run(&["add"], "cid", "typed")?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(asked.status.code() == Some(1) && said.contains("--batch"), "{said}");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    Ok(())
}
