//! `tributary bench log`: its figures, and the plug-pull check, with SIGKILL in place of the plug.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::process::Process;
use tributary_tests::{ports, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const PATIENCE: Duration = Duration::from_secs(20);
/// Each promise is killed when so many more events are acknowledged.
const EVENTS: u64 = 40;
const FAILED: i32 = 1;
/// Longer than one frame of the promise.
const DAMAGE_BYTES: usize = 300;

fn bench(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(TRIBUTARY);
    command.args(["bench", "log"]).args(args).arg("--dir").arg(dir);
    command
}

/// What the peer knows of a log.
fn acknowledged(port: u16, id: &str) -> Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    writeln!(stream, "ask {id}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().strip_prefix("durable ").and_then(|n| n.parse().ok()).unwrap_or(0))
}

fn check(peer: &str, dir: &Path) -> Result<(Output, Value)> {
    let output = bench(&["--check", peer, "--json"], dir).output()?;
    let found = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((output, found))
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = ports::free()?;
    let peer = format!("127.0.0.1:{port}");
    let heard = dir.path().join("peer.log");
    let mut listener = Process::start("peer", bench(&["--listen", &peer], dir.path()), &heard)?;
    let said = |what: &str| -> Result<Option<String>> {
        let text = fs::read_to_string(&heard)?;
        Ok(text.lines().find(|line| line.contains(what)).map(str::to_owned))
    };
    wait::until("the peer", PATIENCE, || said("listening"))?;
    let mut due = 0;
    for _ in 0..3 {
        let log = dir.path().join("promise.log");
        let promise = bench(&["--promise", &peer], dir.path());
        let mut promise = Process::start("promise", promise, &log)?;
        let line = wait::until("a promise", PATIENCE, || said("promises"))?;
        let id = line.split(' ').next().context("a log id")?.to_owned();
        let reached = due + EVENTS;
        due = wait::until("acknowledged events", PATIENCE, || {
            promise.check_running()?;
            Ok(Some(acknowledged(port, &id)?).filter(|known| *known >= reached))
        })?;
        promise.kill()?;
        let (output, found) = check(&peer, dir.path())?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(found["acknowledged"].as_u64() >= Some(due), "{found}");
        ensure!(found["kept"] == found["acknowledged"], "{found}");
        ensure!(found["missing"] == serde_json::json!([]), "{found}");
    }
    // A disk that has lost something is found out.
    let file = dir.path().join("tributary-promise/input-00000.seg");
    let file = fs::File::options().write(true).open(file)?;
    file.write_all_at(&[0; DAMAGE_BYTES], 14_000)?;
    let (output, found) = check(&peer, dir.path())?;
    ensure!(output.status.code() == Some(FAILED), "{output:?}");
    let missing = found["missing"].as_array().context("missing")?;
    ensure!(!missing.is_empty(), "{found}");
    let text = bench(&["--check", &peer], dir.path()).output()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(
        text.contains("LOST: events ") && text.contains("acknowledged events are lost"),
        "{text}"
    );
    listener.kill()?;
    let output = bench(&["--check", &peer], dir.path()).output()?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("cannot ask"), "{output:?}");
    Ok(())
}

#[test]
fn a_peer_that_was_started_anew_is_not_believed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = ports::free()?;
    let peer = format!("127.0.0.1:{port}");
    let heard = dir.path().join("peer.log");
    let start = || Process::start("peer", bench(&["--listen", &peer], dir.path()), &heard);
    let listening = |count: usize| {
        wait::until("the peer", PATIENCE, || {
            let text = fs::read_to_string(&heard)?;
            Ok((text.matches("listening").count() == count).then_some(()))
        })
    };
    let mut listener = start()?;
    listening(1)?;
    let output = bench(&["--promise", &peer, "--seconds", "1"], dir.path()).output()?;
    ensure!(output.status.success(), "{output:?}");
    listener.kill()?;
    let mut listener = start()?;
    listening(2)?;
    let output = bench(&["--check", &peer], dir.path()).output()?;
    ensure!(output.status.code() == Some(FAILED), "{output:?}");
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("does not know the log"),
        "{output:?}"
    );
    listener.kill()
}

#[test]
fn figures_of_a_disk() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = bench(&["--seconds", "1", "--json"], dir.path()).output()?;
    let found: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    let rows = found["rows"].as_array().context("rows")?;
    let sizes: Vec<_> = rows.iter().map(|row| row["per_commit"].as_u64()).collect();
    ensure!(sizes == [Some(1), Some(16), Some(256), Some(4096)], "{found}");
    for row in rows {
        for what in ["log", "file"] {
            ensure!(row[what]["commits"].as_u64() > Some(0), "{row}");
            ensure!(row[what]["events_per_s"].as_u64() > Some(0), "{row}");
        }
    }
    ensure!(fs::read_dir(dir.path())?.next().is_none(), "nothing is left behind");
    Ok(())
}
