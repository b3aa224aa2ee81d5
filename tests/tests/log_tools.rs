//! `tributary log`: on a running daemon and on none, on sound and on damaged logs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tributary::io::segments::SegmentFiles;
use tributary::log_tools::parse_time;
use tributary::runtime::clock::Moment;
use tributary::runtime::opening::recover;
use tributary_core::log::{Clock, Entropy, Frame};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Age, Instant, Timestamp};
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;

const HOUR_MS: u64 = 3_600_000;
const HOURLY_BYTES: u64 = 8 << 20;
const ENTROPY: Entropy = Entropy { log_id: 7, generation: 1, salt: 1 };
const EVENT: Event<'_> = Event {
    topic: "plant/1/telemetry",
    payload: b"",
    client: "press-1",
    time: Timestamp(0),
    qos: Qos::AtLeastOnce,
    retain: false,
    origin: Origin::Device,
    packet_id: None,
    properties: Properties::NONE,
};
const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const EVENTS: usize = 300;
const FAILED: i32 = 1;
const BAD_USE: i32 = 2;
const BAD_DIRECTORY: i32 = 3;
/// What a terminal shows in one line.
const COLUMNS: usize = 80;

fn log(args: &[&str], dir: &Path) -> Result<Output> {
    Ok(Command::new(TRIBUTARY).arg("log").args(args).arg("--dir").arg(dir).output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_str(&text(output)).with_context(|| format!("{output:?}"))
}

fn message(seq: usize) -> String {
    format!(r#"{{"seq":{seq},"odd":"a, \"b\"","x":"{}"}}"#, "x".repeat(1_000))
}

struct Gateway {
    daemon: Daemon,
}

impl Gateway {
    fn new() -> Result<Self> {
        let daemon = Daemon::start(TRIBUTARY, "")?;
        for topic in 0..3 {
            let messages = (0..EVENTS).filter(|seq| seq % 3 == topic).map(message).collect();
            Device::publish(daemon.port(), &format!("plant/{topic}/telemetry"), messages)?;
        }
        Ok(Self { daemon })
    }

    fn dir(&self) -> PathBuf {
        self.daemon.dir().join("data")
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.dir().join("input-00000.seg"))?)
    }

    /// Damages one frame in the middle of what was acknowledged.
    fn damage(&self) -> Result<()> {
        let file = fs::File::options().write(true).open(self.dir().join("input-00000.seg"))?;
        file.write_all_at(b"rot", 60_000)?;
        Ok(())
    }
}

fn lines(output: &Output) -> Result<Vec<Value>> {
    ensure!(output.status.success(), "{}", errors(output));
    text(output).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn a_running_daemon_and_a_dead_one_tell_the_same() -> Result<()> {
    let mut gateway = Gateway::new()?;
    let live = lines(&log(&["export"], &gateway.dir())?)?;
    let summary = json(&log(&["inspect", "--json"], &gateway.dir())?)?;
    ensure!(summary["running"] == true && summary["next"] == EVENTS, "{summary}");
    let verified = json(&log(&["verify", "--json"], &gateway.dir())?)?;
    ensure!(verified["events"] == EVENTS, "{verified}");
    let tailed = gateway.daemon.try_command(&["tail", "--from", "0", "--end", "--json"])?;
    ensure!(lines(&tailed)? == live, "an event has one shape: {tailed:?}");
    gateway.daemon.kill()?;
    let before = gateway.bytes()?;
    let dead = lines(&log(&["export"], &gateway.dir())?)?;
    ensure!(live == dead && live.len() == EVENTS, "{} events, then {}", live.len(), dead.len());
    let summary = json(&log(&["inspect", "--json"], &gateway.dir())?)?;
    ensure!(summary["running"] == false && summary["next"] == EVENTS, "{summary}");
    ensure!(summary["generations"].as_array().is_some_and(|all| all.len() == 1), "{summary}");
    ensure!(log(&["verify"], &gateway.dir())?.status.success(), "it is sound");
    ensure!(gateway.bytes()? == before, "looking changes nothing");
    Ok(())
}

#[test]
fn exports_what_is_asked_for() -> Result<()> {
    let mut gateway = Gateway::new()?;
    gateway.daemon.kill()?;
    let dir = gateway.dir();
    let some = lines(&log(&["export", "--from", "100", "--to", "103"], &dir)?)?;
    let offsets: Vec<_> = some.iter().map(|line| line["offset"].as_u64()).collect();
    ensure!(offsets == [Some(100), Some(101), Some(102)], "{offsets:?}");
    let filtered = lines(&log(&["export", "plant/1/+"], &dir)?)?;
    ensure!(filtered.len() == EVENTS / 3, "{} events of one topic", filtered.len());
    ensure!(filtered.iter().all(|line| line["topic"] == "plant/1/telemetry"), "{filtered:?}");
    let time = filtered[0]["time"].as_str().context("a time")?.to_owned();
    let late = lines(&log(&["export", "--since", &time], &dir)?)?.len();
    let early = lines(&log(&["export", "--until", &time], &dir)?)?.len();
    ensure!(late + early == EVENTS && late >= EVENTS / 3, "{early} before, {late} after");
    ensure!(lines(&log(&["export", "--since", "1h"], &dir)?)?.len() == EVENTS, "all of an hour");
    ensure!(lines(&log(&["export", "--until", "1h"], &dir)?)?.is_empty(), "nothing from before");
    ensure!(lines(&log(&["export", "--until", "2020-01-01"], &dir)?)?.is_empty(), "none so old");
    let controls = lines(&log(&["export", "--controls"], &dir)?)?;
    ensure!(controls.iter().any(|line| line["control"] == "opened"), "the opening is noted");
    Ok(())
}

/// A log with an event an hour, whose clock stood in 1970 for the third day.
fn hourly(dir: &Path, begun: Timestamp, hours: u64) -> Result<()> {
    let moment = Moment { now: Instant(0), wall: begun, is_set: true };
    let recovered = recover(SegmentFiles::open(dir, HOURLY_BYTES, true)?, ENTROPY, moment);
    let mut log = recovered.map_err(|error| anyhow!("{error:?}"))?.log;
    for hour in 0..hours {
        let age = Age(hour * HOUR_MS);
        let trusted = !(48..72).contains(&hour);
        let wall = Timestamp(if trusted { begun.0 } else { 0 } + age.0.cast_signed());
        let payload = hour.to_string();
        let event = Event { payload: payload.as_bytes(), time: wall, ..EVENT };
        let mut body = vec![0; record::encoded_len(&event, wall)];
        record::encode(&event, wall, &mut body);
        let clock = Clock { wall, age, trusted };
        log.append(&Frame { count: 1, clock, body: &body })
            .map_err(|error| anyhow!("{error:?}"))?;
        log.commit()?;
    }
    Ok(())
}

#[test]
fn what_is_from_before_a_time_is_not_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let begun = parse_time("2026-03-01").map_err(|error| anyhow!(error))?;
    hourly(dir.path(), begun, 96)?;
    for (since, read, written) in [
        ("2026-02-28", 96, 72),
        ("2026-03-02", 72 + 1, 48),
        ("2026-03-03T12:00:00Z", 36 + 1, 24),
        ("2026-03-04T23:00:00Z", 1 + 1, 1),
        ("2026-03-05T02:00:00Z", 0, 0),
    ] {
        let output = log(&["export", "--json", "--since", since], dir.path())?;
        let numbers: Value = serde_json::from_str(&errors(&output))?;
        ensure!(lines(&output)?.len() == written, "since {since}: {output:?}");
        // The one before is within what a clock may have been put right by.
        ensure!(numbers["read"].as_u64().is_some_and(|count| count <= read), "{since}: {numbers}");
    }
    Ok(())
}

#[test]
fn a_table_has_what_the_lines_have() -> Result<()> {
    let mut gateway = Gateway::new()?;
    gateway.daemon.kill()?;
    let file = gateway.daemon.dir().join("out.csv");
    let name = file.to_str().context("a name in UTF-8")?;
    let args = ["export", "--format", "csv", "--output", name];
    let output = log(&args, &gateway.dir())?;
    ensure!(output.status.success() && errors(&output).contains("300 of 300"), "{output:?}");
    let table = fs::read_to_string(&file)?;
    // A quote in a field is doubled, and the field quoted (RFC 4180).
    let payload = message(0).replace('"', "\"\"");
    ensure!(table.lines().count() == EVENTS + 1, "a head and {EVENTS} rows");
    ensure!(table.starts_with("offset,time,trusted,topic,"), "a head");
    ensure!(table.lines().any(|row| row.contains(&payload)), "payloads are quoted");
    let again = log(&args, &gateway.dir())?;
    ensure!(again.status.code() == Some(FAILED), "a file that exists is left alone");
    ensure!(errors(&again).contains("does not exist yet"), "{again:?}");
    Ok(())
}

#[test]
fn damage_is_told_and_repair_notes_it() -> Result<()> {
    let mut gateway = Gateway::new()?;
    gateway.daemon.kill()?;
    gateway.damage()?;
    let dir = gateway.dir();
    let verified = log(&["verify", "--json"], &dir)?;
    ensure!(verified.status.code() == Some(FAILED), "{verified:?}");
    let found = json(&verified)?;
    let gaps = found["gaps"].as_array().context("gaps")?.clone();
    ensure!(gaps.len() == 1, "{found}");
    let (first, end) = (gaps[0][0].as_u64().context("first")?, gaps[0][1].as_u64().context("end")?);
    ensure!(found["events"].as_u64() == Some(EVENTS as u64 - (end - first)), "{found}");
    let told = format!("gap: offsets {first} to {} are missing", end - 1);
    for args in [["verify"], ["inspect"]] {
        let output = log(&args, &dir)?;
        ensure!(text(&output).contains(&told), "{args:?}: {output:?}");
    }
    let exported = log(&["export"], &dir)?;
    ensure!(errors(&exported).contains(&told), "{exported:?}");
    let gap = lines(&exported)?.into_iter().find(|line| line["gap"] == "damaged");
    ensure!(gap.is_some_and(|gap| gap["first"] == first && gap["end"] == end), "{exported:?}");
    let repaired = json(&log(&["repair", "--json"], &dir)?)?;
    ensure!(repaired["noted"] == Value::from(gaps.clone()), "{repaired}");
    ensure!(repaired["next"] == EVENTS, "{repaired}");
    let again = json(&log(&["repair", "--json"], &dir)?)?;
    ensure!(again["noted"] == serde_json::json!([]) && again["known"][0] == gaps[0], "{again}");
    let kept = json(&log(&["verify", "--json"], &dir)?)?;
    ensure!(kept["events"] == found["events"] && kept["gaps"] == found["gaps"], "{kept}");
    gateway.daemon.restart()?;
    ensure!(gateway.daemon.status()?["log"]["durable"] == EVENTS, "the daemon goes on");
    Ok(())
}

#[test]
fn a_torn_end_is_no_loss() -> Result<()> {
    let mut gateway = Gateway::new()?;
    gateway.daemon.kill()?;
    let dir = gateway.dir();
    let summary = json(&log(&["inspect", "--json"], &dir)?)?;
    let at = summary["end"][1].as_u64().context("the end")?;
    // What a cut commit may leave behind the end, in the page's own place.
    let file = fs::File::options().write(true).open(dir.join("input-00000.seg"))?;
    file.write_all_at(&[0xE1; 100], at)?;
    let output = log(&["verify"], &dir)?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(text(&output).contains("nothing that was acknowledged is lost"), "{output:?}");
    Ok(())
}

#[test]
fn mistakes_are_told_with_what_to_do() -> Result<()> {
    let mut gateway = Gateway::new()?;
    let dir = gateway.dir();
    let empty = tempfile::tempdir()?;
    for (args, place, code, says) in [
        (&["export", "plant/#/x"][..], &*dir, BAD_USE, "is not a topic filter"),
        (&["export", "--since", "yesterday"], &dir, BAD_USE, "2026-03-01"),
        (&["export", "--format", "csv", "--controls"], &dir, BAD_USE, "--format ndjson"),
        (&["inspect", "--stream", "nothing"], &dir, BAD_DIRECTORY, "there are: input"),
        (&["inspect"], empty.path(), BAD_DIRECTORY, "--dir"),
        (&["verify"], Path::new("/nonexistent"), BAD_DIRECTORY, "/nonexistent"),
        (&["repair"], &dir, BAD_DIRECTORY, "another tributary uses"),
        (&["repair"], empty.path(), BAD_DIRECTORY, "holds no log"),
        (&["repair"], Path::new("/nonexistent"), BAD_DIRECTORY, "/nonexistent"),
        (&["repair", "--stream", "other"], &dir, BAD_USE, "only the stream `input`"),
    ] {
        let output = log(args, place)?;
        ensure!(output.status.code() == Some(code), "{args:?}: {output:?}");
        ensure!(errors(&output).contains(says), "{args:?}: {}", errors(&output));
    }
    ensure!(fs::read_dir(empty.path())?.next().is_none(), "no log is made by looking for one");
    gateway.daemon.kill()?;
    let mut newer = gateway.bytes()?;
    newer[7] = b'9';
    newer[512 + 7] = b'9';
    for copy in [0, 512] {
        let sum = tributary_core::crc::crc32c(0, &newer[copy..copy + 60]);
        newer[copy + 60..copy + 64].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(dir.join("input-00000.seg"), newer)?;
    let output = log(&["inspect"], &dir)?;
    ensure!(output.status.code() == Some(BAD_DIRECTORY), "{output:?}");
    ensure!(errors(&output).contains("newer version"), "{}", errors(&output));
    Ok(())
}

#[test]
fn what_people_see_fits_their_terminal() -> Result<()> {
    let mut gateway = Gateway::new()?;
    gateway.daemon.kill()?;
    gateway.damage()?;
    for args in [["inspect"], ["verify"], ["repair"]] {
        let output = log(&args, Path::new(&gateway.dir()))?;
        for line in text(&output).lines().filter(|line| !line.starts_with("in  ")) {
            ensure!(line.chars().count() <= COLUMNS, "{args:?}: {line}");
        }
    }
    Ok(())
}
