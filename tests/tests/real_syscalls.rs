//! What the daemon asks of the operating system, in order: a PUBACK leaves only after `fdatasync`
//! of the segment that its event was written to has returned. Seen by `strace`; and what becomes of the log where
//! the system does not answer, also by `strace`.

use core::time::Duration;
use std::fs::OpenOptions;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::daemon::{Daemon, STOP_MAX};
use tributary_tests::device::Device;
use tributary_tests::process::Process;
use tributary_tests::wait;

const EVENTS: usize = 50;
/// Of four kilobytes each: more than two segments.
const MANY_EVENTS: usize = 2_400;
/// What is left of a file that was cut short.
const CUT_BYTES: u64 = 1 << 20;
/// For the daemon to come to that file.
const START_MAX: Duration = Duration::from_secs(20);
/// Where a log that was just made is written to.
const SEGMENT: &str = "/input-00000.seg>";

#[test]
fn acknowledges_only_what_is_synced() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let trace = dir.path().join("trace");
    let output = trace.to_str().context("a name in UTF-8")?;
    let calls = "trace=pwrite64,fdatasync,sendto";
    // The daemon stays our child; the tracer is a grandchild, and ends with it.
    let tracer = ["strace", "-D", "-f", "-qq", "-y", "-e", calls, "-o", output];
    let mut daemon = Daemon::start_under(&tracer, env!("CARGO_BIN_EXE_tributary-under-test"), "")?;
    // One at a time: each has a commit of its own.
    for serial in 0..EVENTS {
        Device::publish(daemon.port(), "a/b", vec![format!("event {serial}")])?;
    }
    daemon.stop()?;
    let trace = std::fs::read_to_string(&trace)?;
    let acknowledged = check(&trace)?;
    ensure!(acknowledged == EVENTS, "{acknowledged} PUBACKs instead of {EVENTS}");
    Ok(())
}

/// Where the newest event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nowhere,
    Written,
    Synced,
}

/// How many PUBACKs there are, each after a sync of what was written since the last.
fn check(trace: &str) -> Result<usize> {
    let (mut state, mut acknowledged) = (State::Nowhere, 0);
    // A call that another thread's interrupts is told twice: where it begins, and where it ends.
    let mut syncing = Vec::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().context("a line begins with a thread")?;
        if line.contains("pwrite64(") && line.contains(SEGMENT) {
            state = State::Written;
        } else if line.contains("fdatasync(") && line.contains(SEGMENT) {
            if line.ends_with("= 0") {
                state = synced(state);
            } else {
                syncing.push(thread);
            }
        } else if line.contains("<... fdatasync resumed>") && line.ends_with("= 0") {
            let before = syncing.len();
            syncing.retain(|waiting| *waiting != thread);
            if syncing.len() < before {
                state = synced(state);
            }
        } else if line.contains("sendto(") && line.contains(r#""@\2"#) {
            ensure!(state == State::Synced, "a PUBACK while the event is {state:?}: {line}");
            state = State::Nowhere;
            acknowledged += 1;
        }
    }
    Ok(acknowledged)
}

fn synced(state: State) -> State {
    if state == State::Written { State::Synced } else { state }
}

/// A file that has to be made longer, and whose length the system told some times and does not tell any more.
#[test]
fn a_file_whose_length_is_not_known_is_not_written_over() -> Result<()> {
    const EXE: &str = env!("CARGO_BIN_EXE_tributary-under-test");
    let mut daemon = Daemon::start(EXE, "")?;
    Device::publish(daemon.port(), "a/b", vec!["x".repeat(4_000); MANY_EVENTS])?;
    daemon.stop()?;
    let segment = daemon.data().join("input-00001.seg");
    OpenOptions::new().write(true).open(&segment)?.set_len(CUT_BYTES)?;
    let verified = || -> Result<Value> {
        Ok(serde_json::from_slice(&daemon.try_command(&["log", "verify", "--json"])?.stdout)?)
    };
    let before = verified()?;
    let (log, path) = (daemon.dir().join("traced.log"), segment.to_str().context("UTF-8")?);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=statx"]);
    command.args(["-e", "inject=statx:error=EIO:when=4+", EXE, "run", "--config"]);
    command.arg(daemon.config());
    let mut traced = Process::start("tributary", command, &log)?;
    wait::until("the failure", START_MAX, || {
        traced.check_running()?;
        let told = std::fs::read_to_string(&log)?;
        Ok(told.contains("the log stays smaller than configured").then_some(()))
    })?;
    traced.terminate(STOP_MAX)?;
    let after = verified()?;
    ensure!(before["events"].as_u64() > Some(1_000), "{before}");
    ensure!((&after["events"], &after["gaps"]) == (&before["events"], &before["gaps"]), "{after}");
    Ok(())
}

#[test]
fn an_early_acknowledgement_is_seen() {
    let write = format!("7 pwrite64(9</d{SEGMENT}, \"x\", 1, 0) = 1");
    let sync = format!("7 fdatasync(9</d{SEGMENT}) = 0");
    let puback = r#"8 sendto(5<socket:[1]>, "@\2\0\1", 4, 0, NULL, 0) = 4"#;
    assert!(check(&[&*write, &sync, puback].join("\n")).is_ok_and(|count| count == 1));
    assert!(check(&[&*write, puback, &sync].join("\n")).is_err());
    assert!(check(&[&*sync, &write, puback].join("\n")).is_err());
}
