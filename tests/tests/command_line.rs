//! What the commands have in common: how they end when nobody reads them any more, when the disk under their output
//! is full, what they need of a configuration, and how much the daemon tells of itself.

use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::process::Process;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const FAILED: i32 = 1;
const BAD_CONFIG: i32 = 2;
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Commands that print something of a running daemon or of its configuration.
const PRINTING: [&[&str]; 9] = [
    &["status"],
    &["status", "--json"],
    &["check"],
    &["upstream", "status"],
    &["upstream", "status", "--json"],
    &["log", "inspect"],
    &["log", "verify", "--json"],
    &["tail", "--from", "0", "--end"],
    &["replay", "dead-letter", "--dry-run"],
];

fn printing_to(daemon: &Daemon, args: &[&str], out: impl Into<Stdio>) -> Result<Output> {
    let mut command = Command::new(TRIBUTARY);
    command.args(args).arg("--config").arg(daemon.config());
    let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn()?;
    child.wait_with_output().context("it ends")
}

#[test]
fn who_is_not_read_any_more_ends_quietly() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for args in PRINTING {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = printing_to(&daemon, args, writer)?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn an_output_that_cannot_be_written_is_told() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    // A tail that prints nothing cannot fail to print it.
    for args in PRINTING.into_iter().filter(|args| args[0] != "tail") {
        let full = OpenOptions::new().write(true).open("/dev/full")?;
        let output = printing_to(&daemon, args, full)?;
        ensure!(output.status.code() == Some(FAILED), "{args:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.starts_with("error: cannot write the output: "), "{args:?}: {said}");
    }
    Ok(())
}

#[test]
fn who_asks_the_daemon_needs_nothing_but_its_directory() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    // A typo, and a file that this user cannot read.
    daemon.configure("users = \"/nonexistent/passwd\"\n[upstream]\nbroker = 7\n")?;
    ensure!(daemon.try_command(&["check"])?.status.code() == Some(BAD_CONFIG), "it is wrong");
    for args in PRINTING.into_iter().filter(|args| args[0] != "check") {
        let output = daemon.try_command(args)?;
        ensure!(output.status.success(), "{args:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn a_file_means_what_lies_beside_it() -> Result<()> {
    let (there, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let config = there.path().join("tributary.toml");
    fs::write(&config, "[[listener]]\naddress = \"127.0.0.1:1883\"\nacl = \"acl\"\n")?;
    fs::write(there.path().join("acl"), "topic read a\n")?;
    let mut command = Command::new(TRIBUTARY);
    let output =
        command.arg("check").arg("--config").arg(&config).current_dir(&elsewhere).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = format!("log in {}, at most", there.path().join("tributary-data").display());
    ensure!(output.status.success() && said.contains(&log), "{output:?}");
    // The file that is taken where nothing is said is named by where one is.
    let output = Command::new(TRIBUTARY).arg("check").current_dir(&there).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && said.contains("log in tributary-data,"), "{output:?}");
    Ok(())
}

#[test]
fn the_daemon_tells_as_much_as_is_asked_for() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let run = |level: &str| -> Result<String> {
        let log = daemon.dir().join(level);
        let mut command = Command::new(TRIBUTARY);
        command.args(["run", "--log-level", level, "--config"]).arg(daemon.config());
        let mut process = Process::start("tributary", command, &log)?;
        let mut device = wait::until("an open door", ANSWER_MAX, || {
            process.check_running()?;
            Ok(TcpStream::connect(("127.0.0.1", daemon.port())).ok())
        })?;
        device.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05press\xe0\0")?;
        wait::until("its end", ANSWER_MAX, || {
            Ok((std::io::Read::read(&mut device, &mut [0; 16])? == 0).then_some(()))
        })?;
        ensure!(process.terminate(ANSWER_MAX)?.success());
        Ok(fs::read_to_string(&log)?)
    };
    ensure!(run("error")?.is_empty(), "nothing went wrong");
    let info = run("info")?;
    ensure!(info.contains("listening") && !info.contains("press"), "{info}");
    let debug = run("debug")?;
    for line in ["a client is let in", "a client's connection ends", "a client has gone"] {
        let told = debug.lines().any(|told| told.contains(line) && told.contains("press"));
        ensure!(told, "{line}: {debug}");
    }
    Ok(())
}

/// The disk under its lines is full: a gateway goes on, and can be asked what is wrong.
#[test]
fn the_daemon_goes_on_where_its_lines_cannot_be_written() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let mut command = Command::new(TRIBUTARY);
    command.arg("run").arg("--config").arg(daemon.config());
    let mut process = Process::start("tributary", command, Path::new("/dev/full"))?;
    wait::until("an answer", ANSWER_MAX, || {
        process.check_running()?;
        Ok(daemon.status().ok().map(drop))
    })?;
    ensure!(process.terminate(ANSWER_MAX)?.success());
    Ok(())
}
