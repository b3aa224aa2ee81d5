//! The harness itself: servers die and come back, and the checker finds whatever is wrong.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tributary_tests::real::kafka::{Kafka, Listeners, Setup};
use tributary_tests::real::{cache, readings, scratch};

const DIR: &str = env!("CARGO_TARGET_TMPDIR");

/// A cluster of the setup's version, and a topic, outlive SIGKILL of the broker.
fn survives_a_kill(setup: Setup) -> Result<()> {
    scratch::within(DIR, &format!("harness-{}", setup.name()), |dir| {
        let mut kafka = Kafka::start(setup, &dir.join("kafka"), Listeners::direct()?)?;
        kafka.create_topic("events", 1)?;
        kafka.kill()?;
        kafka.restart()?;
        let again = kafka.create_topic("events", 1);
        let refusal = again.err().context("the topic outlives the kill")?;
        assert!(format!("{refusal:#}").contains("already exists"), "{refusal:#}");
        Ok(())
    })
}

tributary_tests::on_each_cluster! {
    survives_a_kill
}

/// What stands in the topic `hot` in a made-up run, before something is done to it.
struct Run {
    records: Vec<Value>,
    sent: Vec<(String, u32, u32, u32, u8)>,
}

impl Run {
    /// Four readings of each device, all selected, each sent once.
    fn good() -> Result<Self> {
        let mut run = Self { records: Vec::new(), sent: Vec::new() };
        for device in readings::devices()? {
            for reading in &device.readings[..4] {
                let offset = run.records.len();
                run.records.push(json!({
                    "partition": 0, "offset": offset, "key": device.topic(),
                    "headers": [
                        ["tributary.gateway", "gw"], ["tributary.offset", offset.to_string()],
                        ["tributary.route", "hot"], ["mqtt.topic", device.topic()],
                    ],
                    "value": device.payload(1, reading),
                }));
                run.sent.push((device.name.clone(), 1, reading.seq, 1, 1));
            }
        }
        Ok(run)
    }

    /// Moves the records to the offsets of their place, in Kafka and in the log.
    fn renumber(&mut self) {
        for (offset, record) in self.records.iter_mut().enumerate() {
            record["offset"] = json!(offset);
            record["headers"][1][1] = json!(offset.to_string());
        }
    }
}

/// Whether the checker passes the run, and its account.
fn checked(run: &Run, dir: &Path, condition: &str) -> Result<(bool, String)> {
    let (sent, records, console) = (dir.join("sent"), dir.join("jsonl"), dir.join("console"));
    let lines = run.sent.iter().map(|(device, round, seq, times, acked)| {
        format!("{device}\t{round}\t{seq}\t{times}\t{acked}\n")
    });
    std::fs::write(&sent, lines.collect::<String>())?;
    let lines: Vec<String> = run.records.iter().map(ToString::to_string).collect();
    std::fs::write(&records, lines.join("\n") + "\n")?;
    let end = json!({ "partition": 0, "offset": 99, "key": "", "headers": [], "value": "end" });
    let printed = run.records.iter().filter(|record| record["hidden"] != true).chain([&end]);
    std::fs::write(&console, printed.filter_map(as_console).collect::<String>())?;
    let expectation = json!({
        "gateway": "gw", "sent": [sent],
        "topics": { "hot": { "librdkafka": records, "console": console, "end": "end" } },
        "routes": [{ "name": "hot", "topic": "hot",
                     "spans": [{ "first": 1, "last": 1, "where": condition }] }],
    });
    let file = dir.join("expectation.json");
    std::fs::write(&file, expectation.to_string())?;
    let mut command: Command = cache::python("check.py");
    let output = command.arg(file).output()?;
    let account = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    Ok((output.status.success(), account))
}

/// A record as Kafka's console consumer prints it.
fn as_console(record: &Value) -> Option<String> {
    let headers: Option<Vec<String>> = record["headers"]
        .as_array()?
        .iter()
        .map(|pair| Some(format!("{}:{}", pair[0].as_str()?, pair[1].as_str()?)))
        .collect();
    let headers = headers?;
    Some(format!(
        "Partition:{}\u{1f}Offset:{}\u{1f}{}\u{1f}{}\u{1f}{}\u{1e}\n",
        record["partition"],
        record["offset"],
        if headers.is_empty() { "NO_HEADERS".to_owned() } else { headers.join("\u{1d}") },
        record["key"].as_str()?,
        record["value"].as_str()?
    ))
}

/// Spoils a good run; the checker must name `rule`, and nothing but it.
fn finds(rule: &str, spoil: impl FnOnce(&mut Run)) -> Result<()> {
    scratch::within(DIR, &format!("checker-{}", rule.replace(' ', "-")), |dir| {
        let mut run = Run::good()?;
        spoil(&mut run);
        let (passes, account) = checked(&run, dir, "")?;
        let failures: Vec<&str> = account.lines().filter(|line| line.contains("FAIL ")).collect();
        assert!(!passes, "{account}");
        assert!(failures.len() == 1 && failures[0].contains(rule), "{account}");
        Ok(())
    })
}

#[test]
fn checker_passes_what_is_right() -> Result<()> {
    scratch::within(DIR, "checker-right", |dir| {
        let mut run = Run::good()?;
        // Sent twice, and in Kafka as two events; another sent, never acknowledged, and lost.
        run.records.push(run.records[3].clone());
        run.sent[3].3 = 2;
        run.records.remove(7);
        run.sent[7].4 = 0;
        run.renumber();
        let (passes, account) = checked(&run, dir, "")?;
        assert!(passes, "{account}");
        assert!(account.contains("31 acknowledged and selected; in Kafka 31, and 1 sent again"));
        Ok(())
    })
}

#[test]
fn checker_finds_a_missing_reading() -> Result<()> {
    finds("missing", |run| drop(run.records.remove(5)))
}

#[test]
fn checker_finds_more_copies_than_sent() -> Result<()> {
    finds("beyond sent", |run| {
        run.records.push(run.records[5].clone());
        run.renumber();
    })
}

#[test]
fn checker_finds_an_event_delivered_twice() -> Result<()> {
    finds("doubled", |run| {
        let mut copy = run.records[31].clone();
        copy["offset"] = json!(32);
        run.records.push(copy);
        run.sent[31].3 = 2;
    })
}

#[test]
fn checker_finds_events_out_of_the_log_s_order() -> Result<()> {
    finds("log order", |run| {
        // Of two devices, so that each device's own order holds.
        run.records.swap(3, 4);
        for (offset, record) in run.records.iter_mut().enumerate() {
            record["offset"] = json!(offset);
        }
    })
}

#[test]
fn checker_finds_a_device_out_of_order() -> Result<()> {
    finds("device order", |run| {
        run.records.swap(5, 6);
        run.renumber();
    })
}

#[test]
fn checker_finds_an_altered_value() -> Result<()> {
    finds("altered", |run| {
        let value = run.records[9]["value"].as_str().map(|value| value.replace("20", "21"));
        run.records[9]["value"] = json!(value);
    })
}

#[test]
fn checker_finds_readers_that_disagree() -> Result<()> {
    finds("disagree", |run| run.records[31]["hidden"] = json!(true))
}

#[test]
fn checker_finds_what_was_not_selected() -> Result<()> {
    scratch::within(DIR, "checker-not-selected", |dir| {
        let (passes, account) = checked(&Run::good()?, dir, "temp > 70")?;
        assert!(!passes && account.contains("FAIL unexpected: 32"), "{account}");
        Ok(())
    })
}
