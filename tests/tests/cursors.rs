//! Named readers: `tributary tail --cursor` goes on where it was, whatever happened between.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use core::time::Duration;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const PATIENCE: Duration = Duration::from_secs(10);
const TOPIC: &str = "plant/1/telemetry";

fn publish(daemon: &Daemon, numbers: core::ops::Range<u32>) -> Result<()> {
    let messages = numbers.map(|number| number.to_string()).collect();
    Device::publish(daemon.port(), TOPIC, messages)?;
    Ok(())
}

/// What `tributary tail --json` prints with these arguments.
fn tail(daemon: &Daemon, args: &[&str]) -> Result<Vec<Value>> {
    let output = daemon.try_command(&[&["tail", "--json"], args].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let text = core::str::from_utf8(&output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn numbers(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["payload"].as_str()).collect()
}

#[test]
fn a_reader_begins_with_what_came_in_at_a_time() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    publish(&daemon, 0..3)?;
    let lines = tail(&daemon, &["--since", "1h", "--end"])?;
    ensure!(numbers(&lines) == ["0", "1", "2"], "{lines:?}");
    let last = lines[2]["time"].as_str().context("events have a time")?;
    let since = humantime::parse_rfc3339(last)? + Duration::from_millis(200);
    wait::until("the clock goes on", PATIENCE, || Ok((SystemTime::now() > since).then_some(())))?;
    publish(&daemon, 3..5)?;
    let lines =
        tail(&daemon, &["--since", &humantime::format_rfc3339_millis(since).to_string(), "--end"])?;
    ensure!(numbers(&lines) == ["3", "4"], "{lines:?}");
    ensure!(tail(&daemon, &["--since", "2100-01-01", "--end"])?.is_empty(), "not yet");
    Ok(())
}

/// What is said of the one cursor.
fn cursor(daemon: &Daemon) -> Result<Value> {
    let status = daemon.status()?;
    let all = status["log"]["cursors"].as_array().context("status lists the cursors")?;
    ensure!(all.len() == 1, "{all:?}");
    Ok(all[0].clone())
}

#[test]
fn a_reader_goes_on_where_it_was_also_after_a_crash_and_in_another_segment() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    publish(&daemon, 0..5)?;
    ensure!(tail(&daemon, &["--cursor", "archive", "--end"])?.is_empty(), "a new one begins now");
    let first = tail(&daemon, &["--cursor", "archive", "--from", "1", "--count", "2"])?;
    ensure!(numbers(&first) == ["1", "2"], "{first:?}");
    daemon.kill()?;
    daemon.restart()?;
    ensure!(cursor(&daemon)?["position"] == 3, "{}", cursor(&daemon)?);
    // More than a segment takes: the cursor is repeated in the next one.
    Device::publish(daemon.port(), TOPIC, (0..560).map(|_| "x".repeat(9_000)).collect())?;
    daemon.kill()?;
    daemon.restart()?;
    publish(&daemon, 5..7)?;
    let rest = tail(&daemon, &["--cursor", "archive", "--end"])?;
    let rest: Vec<_> = numbers(&rest).into_iter().filter(|number| number.len() < 3).collect();
    ensure!(rest == ["3", "4", "5", "6"], "{rest:?}");
    let expected =
        json!({"name": "archive", "position": 567, "behind": 0, "lost": 0, "reading": false});
    wait::until(
        "the reader is gone",
        PATIENCE,
        || Ok((cursor(&daemon)? == expected).then_some(())),
    )
    .with_context(|| format!("{:?}", cursor(&daemon)))?;
    let none = tail(&daemon, &["--cursor", "archive", "--end"])?;
    ensure!(none.is_empty(), "{none:?}");
    Ok(())
}

#[test]
fn what_a_filter_passes_over_is_read() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    publish(&daemon, 0..5)?;
    let other = tail(&daemon, &["no/such", "--cursor", "c", "--from", "0", "--end"])?;
    ensure!(other.is_empty(), "{other:?}");
    ensure!(cursor(&daemon)?["position"] == 5, "{}", cursor(&daemon)?);
    Ok(())
}

#[test]
fn what_its_reader_did_not_deal_with_comes_again() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    publish(&daemon, 0..3)?;
    // A reader that gets everything, says that it has dealt with two, and is gone.
    let mut reader = UnixStream::connect(daemon.data().join("tributary.sock"))?;
    let ask = r#"{"ask":"tail","cursor":"c","from":0,"until_end":false}"#;
    reader.write_all(format!("{ask}\n").as_bytes())?;
    let mut lines = BufReader::new(reader.try_clone()?).lines();
    for number in ["\"0\"", "\"1\"", "\"2\""] {
        let line = lines.next().context("a line")??;
        ensure!(line.contains(&format!("\"payload\":{number}")), "{line}");
    }
    ensure!(lines.next().context("a line")?? == r#"{"at":3}"#);
    let before = cursor(&daemon)?;
    ensure!(before["position"] == 0 && before["reading"] == true, "{before}");
    // Meanwhile nobody else reads with it, nor ends it.
    for args in [&["tail", "--cursor", "c"][..], &["tail", "--cursor", "c", "--forget"]] {
        let output = daemon.try_command(args)?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && told.contains("somebody reads"), "{output:?}");
    }
    reader.write_all(b"{\"read\":2}\n")?;
    reader.shutdown(Shutdown::Both)?;
    wait::until("the reader is gone", PATIENCE, || {
        Ok((cursor(&daemon)?["reading"] == false).then_some(()))
    })?;
    let again = tail(&daemon, &["--cursor", "c", "--end"])?;
    ensure!(numbers(&again) == ["2"], "{again:?}");
    Ok(())
}

#[test]
fn what_is_gone_before_it_is_read_is_told_and_counted() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let config = fs::read_to_string(daemon.config())?.replace("\"64 MiB\"", "\"16 MiB\"");
    fs::write(daemon.config(), config)?;
    daemon.restart()?;
    publish(&daemon, 0..3)?;
    tail(&daemon, &["--cursor", "slow", "--from", "0", "--count", "1"])?;
    Device::publish(daemon.port(), TOPIC, (0..2_000).map(|_| "x".repeat(9_000)).collect())?;
    let lines = tail(&daemon, &["--cursor", "slow", "--end"])?;
    let gone = lines[0]["end"].as_u64().context("the gap comes first")? - 1;
    ensure!(lines[0]["first"] == 1 && gone > 2, "{}", lines[0]);
    ensure!(numbers(&lines).len() as u64 == 2_002 - gone, "{gone}");
    let after = cursor(&daemon)?;
    ensure!(after["lost"] == gone && after["position"] == 2_003, "{after} after {gone}");
    daemon.kill()?;
    daemon.restart()?;
    ensure!(cursor(&daemon)?["lost"] == gone, "{}", cursor(&daemon)?);
    Ok(())
}

#[test]
fn a_cursor_is_forgotten_for_good() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    publish(&daemon, 0..3)?;
    tail(&daemon, &["--cursor", "c", "--from", "0", "--end"])?;
    let output = daemon.try_command(&["tail", "--cursor", "c", "--forget"])?;
    ensure!(output.status.success(), "{output:?}");
    daemon.kill()?;
    daemon.restart()?;
    ensure!(daemon.status()?["log"]["cursors"] == json!([]), "{}", daemon.status()?["log"]);
    let output = daemon.try_command(&["tail", "--cursor", "c", "--forget"])?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && told.contains("no cursor `c`"), "{told}");
    let output = daemon.try_command(&["tail", "--cursor", "not a name"])?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && told.contains("cannot name a cursor"), "{told}");
    Ok(())
}
