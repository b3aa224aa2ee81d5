//! Signals that come while the daemon starts: who restarts it and has it read its files again at once, or ends it at
//! once, is obeyed when it is there.

use core::time::Duration;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tributary_tests::daemon::Daemon;
use tributary_tests::process::Process;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Starts it, and returns when it has the directory's lock open.
fn start(daemon: &Daemon) -> Result<Process> {
    let mut command = Command::new(TRIBUTARY);
    command.arg("run").arg("--config").arg(daemon.config());
    let mut process = Process::start("tributary", command, &daemon.dir().join("early.log"))?;
    let (files, lock) = (format!("/proc/{}/fd", process.id()), daemon.data().join("LOCK"));
    wait::until("its lock", ANSWER_MAX, || {
        process.check_running()?;
        Ok(has_open(Path::new(&files), &lock)?.then_some(()))
    })?;
    Ok(process)
}

fn has_open(files: &Path, file: &Path) -> Result<bool> {
    for entry in fs::read_dir(files)? {
        // It may be closed meanwhile.
        if fs::read_link(entry?.path()).is_ok_and(|open| open == file) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_reload_while_it_starts_waits_until_it_has_started() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let mut process = start(&daemon)?;
    process.signal(Signal::HUP)?;
    let log = daemon.dir().join("early.log");
    wait::until("the reload", ANSWER_MAX, || {
        process.check_running()?;
        Ok(fs::read_to_string(&log)?.contains("configuration reloaded").then_some(()))
    })?;
    TcpStream::connect(("127.0.0.1", daemon.port()))?;
    ensure!(process.terminate(ANSWER_MAX)?.success());
    Ok(())
}

#[test]
fn who_ends_it_while_it_starts_ends_it_in_order() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let ended = start(&daemon)?.terminate(ANSWER_MAX)?;
    ensure!(ended.code() == Some(0), "{ended:?}");
    daemon.restart()
}
