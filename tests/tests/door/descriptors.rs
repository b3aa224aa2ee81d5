//! A machine that has few files and sockets to give: who is inside is served, the log goes on, others wait.

use core::time::Duration;
use std::fs;
use std::io::Write;
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;
use tributary_tests::wire::{Wire, connect};

use super::TRIBUTARY;
use super::client::{ANSWER_MAX, expect_service, options};

/// Files and sockets that the daemon may have.
const FILES: usize = 256;
/// Of a connection, MQTT 3.1.1 without keep-alive.
const CONNECT: &[u8] = b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0";
const OBSERVED: Duration = Duration::from_secs(1);

/// Ticks of the processor that a process has used.
fn ticks(daemon: &Daemon) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", daemon.id()?))?;
    let fields = text.rsplit(") ").next().context("stat")?;
    let used: Vec<u64> =
        fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(used.iter().sum())
}

fn open_files(daemon: &Daemon) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", daemon.id()?))?.count())
}

#[test]
fn who_is_inside_is_served_when_there_are_no_sockets_left() -> Result<()> {
    let limited = format!("ulimit -n {FILES}; exec \"$0\" \"$@\"");
    let daemon = Daemon::start_under(&["sh", "-c", &limited], TRIBUTARY, "")?;
    wait::until("a word to the operator", ANSWER_MAX, || {
        Ok(daemon.log_lines()?.contains("limit of open files").then_some(()))
    })?;
    let (mut inside, _) = Wire::open(daemon.port(), &connect("inside"))?;
    let crowd: Vec<TcpStream> = (0..2 * FILES)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", daemon.port()))?;
            stream.write_all(CONNECT)?;
            anyhow::Ok(stream)
        })
        .collect::<Result<_>>()?;
    wait::until("all places are taken", ANSWER_MAX, || {
        let connected = daemon.status()?["mqtt"]["connections"].as_u64();
        Ok((connected.context("status")? >= 64).then_some(()))
    })?;
    // The log comes to segments that it has not opened yet, and is read from its begin.
    let payload = "x".repeat(200 << 10);
    for _ in 0..100 {
        inside.publish_once("t", &payload, false)?;
    }
    ensure!(daemon.events()?.len() == 100, "what is read is whole");
    ensure!(open_files(&daemon)? < FILES);
    let before = ticks(&daemon)?;
    wait::pass(OBSERVED);
    let used = ticks(&daemon)? - before;
    ensure!(used < 30, "{used} ticks in a second of waiting");
    ensure!(!daemon.log_lines()?.contains("cannot accept"), "nothing has failed");
    // Those who wait are served when others go.
    drop(crowd);
    expect_service(options("after", daemon.port()), "a")
}
