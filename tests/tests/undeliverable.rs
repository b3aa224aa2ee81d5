//! Records that Kafka will never take, by processes and sockets: they become dead letters, once, over
//! kills and outages, and everything else flows on exactly once.

use core::time::Duration;
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_cluster::{Cluster, Kafka, Served, Settings, TopicSettings, TransactionVersion};
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::device::Device;
use tributary_tests::refused::{self, is_keyless, is_large, readings};
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const READINGS: usize = 240;
const KILLS: usize = 4;
/// What a cluster may take from the answer to `EndTxn` to its markers.
const VISIBLE_MAX: Duration = Duration::from_secs(10);
const SECTIONS: &str = "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"narrow\"\n\
    [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"keyed\"\nkey = \"serial\"\n";

fn cluster(kafka: Kafka) -> Result<(Served, String)> {
    let settings = Settings { kafka, brokers: 2, marker_delay_ms: 5, ..Settings::default() };
    let mut cluster = Cluster::new(settings);
    let narrow = TopicSettings { batch_bytes_max: refused::BYTES_MAX, ..TopicSettings::default() };
    let keyed = TopicSettings { compacted: true, ..TopicSettings::default() };
    for (name, topic) in [("narrow", narrow), ("keyed", keyed)] {
        cluster.create_topic(name, topic).ok().context("a new topic")?;
    }
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream = format!("[upstream]\nbrokers = [{}]\n", brokers.join(", "));
    Ok((served, upstream))
}

/// The sequence numbers of the readings in a topic, in order.
fn delivered(served: &Served, topic: &str) -> Result<Vec<u64>> {
    let records = served.with(|cluster| cluster.read_committed(topic, 0));
    let seq = |value: Option<bytes::Bytes>| {
        let reading: Value = serde_json::from_slice(&value.context("a value")?)?;
        reading["seq"].as_u64().context("a number")
    };
    records.into_iter().map(|record| seq(record.value)).collect()
}

fn lines(daemon: &Daemon, args: &[&str]) -> Result<String> {
    let output = daemon.try_command(args)?;
    ensure!(output.status.success(), "{args:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The dead letters, by route and offset of the event, each with its reading and error.
fn letters(daemon: &Daemon) -> Result<BTreeMap<(String, u64), (String, String)>> {
    let export = lines(daemon, &["log", "export", "--stream", "dead-letter"])?;
    let mut found = BTreeMap::new();
    for line in export.lines() {
        let letter: Value = serde_json::from_str(line)?;
        let properties = letter["user_properties"].as_array().context("properties")?;
        let property = |name: &str| {
            let mut all = properties.iter().filter(|pair| pair[0] == name);
            let value = all.next().and_then(|pair| pair[1].as_str());
            value.with_context(|| format!("{name}: {letter}"))
        };
        ensure!(letter["topic"] == "plant/1/telemetry", "{letter}");
        let offset: u64 = property("tributary.offset")?.parse()?;
        let key = (property("tributary.route")?.to_owned(), offset);
        ensure!(property("tributary.topic")? == key.0, "{letter}");
        let payload = letter["payload"].as_str().context("a payload")?.to_owned();
        let twice = found.insert(key, (payload, property("tributary.error")?.to_owned()));
        ensure!(twice.is_none(), "twice: {letter}");
    }
    Ok(found)
}

fn check(daemon: &Daemon, served: &Served, readings: &[String]) -> Result<()> {
    let of = |refused: fn(usize) -> bool| -> Vec<u64> {
        (0..READINGS).filter(|seq| !refused(*seq)).map(|seq| seq as u64).collect()
    };
    for (topic, wanted) in [("narrow", of(is_large)), ("keyed", of(is_keyless))] {
        // A cluster of version 0 confirms a commit before its readers see it.
        let mut found = Vec::new();
        let all = wait::until("the last commit", VISIBLE_MAX, || {
            found = delivered(served, topic)?;
            Ok((found == wanted).then_some(()))
        });
        all.with_context(|| format!("`{topic}` has {found:?}, not {wanted:?}"))?;
    }
    let letters = letters(daemon)?;
    let count = |refused: fn(usize) -> bool| (0..READINGS).filter(|seq| refused(*seq)).count();
    ensure!(letters.len() == count(is_large) + count(is_keyless), "{:?}", letters.keys());
    for ((route, offset), (payload, error)) in &letters {
        let seq = usize::try_from(*offset)?;
        let (right, words) = match route.as_str() {
            "narrow" => (is_large(seq), "MESSAGE_TOO_LARGE (10)"),
            _ => (is_keyless(seq), "INVALID_RECORD (87)"),
        };
        ensure!(right && error.starts_with(words), "{route} {offset}: {error}");
        ensure!(*payload == readings[seq], "{route} {offset}: another event");
    }
    let status = daemon.status()?;
    check_account(&status)?;
    let dead = |route: usize| status["routes"][route]["dead_lettered"].as_u64();
    ensure!(dead(0) == Some(count(is_large) as u64), "{status:#}");
    ensure!(dead(1) == Some(count(is_keyless) as u64), "{status:#}");
    ensure!(status["log"]["dead_letters"][1] == letters.len(), "{status:#}");
    lines(daemon, &["log", "verify", "--stream", "dead-letter"])?;
    Ok(())
}

/// Kills while one device publishes, and the cluster goes away: each reading is in Kafka once, or a
/// dead letter once.
fn over_kills(kafka: Kafka) -> Result<()> {
    let (served, upstream) = cluster(kafka)?;
    let readings = readings(READINGS)?;
    let mut daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{SECTIONS}"))?;
    let mut random = scratch::random("kills")?;
    for (part, readings) in readings.chunks(READINGS / KILLS).enumerate() {
        Device::publish(daemon.port(), "plant/1/telemetry", readings.to_vec())?;
        wait::pass(Duration::from_millis(random.u64(..60)));
        if part == 1 {
            served.go_away();
        }
        daemon.kill()?;
        if part == 2 {
            served.come_back()?;
        }
        daemon.restart()?;
        check_account(&daemon.status()?)?;
    }
    daemon.drain()?;
    check(&daemon, &served, &readings)?;
    // The stream is read without a daemon, too, and found again by the next one.
    daemon.stop()?;
    let before = letters(&daemon)?;
    daemon.restart()?;
    ensure!(letters(&daemon)? == before, "other letters after a restart");
    check(&daemon, &served, &readings)
}

#[test]
fn dead_letters_are_kept_once_over_kills_on_tv0() -> Result<()> {
    over_kills(Kafka::V3_9_2)
}

#[test]
fn dead_letters_are_kept_once_over_kills_on_tv2() -> Result<()> {
    over_kills(Kafka::V4_1_2(TransactionVersion::V2))
}
