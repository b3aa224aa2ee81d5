//! Records that a real Kafka will never take: too large for their topic, or without a key where the
//! topic keeps the last of each. They become dead letters, everything else is delivered once.

use core::time::Duration;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::device::Device;
use tributary_tests::process;
use tributary_tests::real::kafka::{Kafka, Listeners, Setup};
use tributary_tests::real::{readers, scratch, wait};
use tributary_tests::refused::{self, is_keyless, is_large, readings};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const READINGS: usize = 200;
/// A backlog that is divided many times, on a busy machine.
const SETTLED_MAX: Duration = Duration::from_mins(2);

/// The topic takes large records from now on; its letters are put back, with a kill in the middle.
fn put_back(kafka: &Kafka, daemon: &mut Daemon) -> Result<()> {
    let mut command = kafka.java("kafka.admin.ConfigCommand")?;
    command.args(["--bootstrap-server", &kafka.address(), "--alter", "--entity-type", "topics"]);
    command.args(["--entity-name", "narrow", "--add-config", "max.message.bytes=1048588"]);
    process::output(command)?;
    let replay = ["replay", "dead-letter", "--route", "narrow", "--json"];
    let mut first = Command::new(TRIBUTARY);
    let mut first = first.args(replay).arg("--config").arg(daemon.config()).spawn()?;
    wait::pass(Duration::from_millis(5));
    daemon.kill()?;
    wait::until("the command's end", SETTLED_MAX, || Ok(first.try_wait()?.map(drop)))?;
    daemon.restart()?;
    let all = (0..READINGS).filter(|seq| is_large(*seq)).count();
    let done: Value = serde_json::from_str(&daemon.command(&replay)?)?;
    let sum = done["put_back"].as_u64().zip(done["before"].as_u64()).map(|(now, then)| now + then);
    ensure!(sum == Some(all as u64), "{done}");
    wait::until("all to be settled", SETTLED_MAX, || {
        Ok((daemon.status()?["upstream"]["backlog"] == 0).then_some(()))
    })?;
    check_account(&daemon.status()?)
}

fn keeps_what_is_refused(setup: Setup) -> Result<()> {
    scratch::within(DIR, &format!("undeliverable-{}", setup.name()), |dir| {
        let kafka = Kafka::start(setup, &dir.join("kafka"), Listeners::direct()?)?;
        kafka.create_topic_with(
            "narrow",
            1,
            &[&format!("max.message.bytes={}", refused::BYTES_MAX)],
        )?;
        kafka.create_topic_with("keyed", 1, &["cleanup.policy=compact"])?;
        let sections = format!(
            "[upstream]\nbrokers = [\"{}\"]\n\
             [[route]]\nfrom = \"#\"\ntopic = \"narrow\"\n\
             [[route]]\nfrom = \"#\"\ntopic = \"keyed\"\nkey = \"serial\"\n",
            kafka.address()
        );
        let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
        let readings = readings(READINGS)?;
        Device::publish(daemon.port(), "plant/1/telemetry", readings.clone())?;
        let mut last = Value::Null;
        wait::until("all to be settled", SETTLED_MAX, || {
            last = daemon.status()?;
            Ok((last["upstream"]["backlog"] == 0).then_some(()))
        })
        .with_context(|| format!("{last:#}"))?;
        check_account(&last)?;
        let refusals = [("narrow", "MESSAGE_TOO_LARGE (10)"), ("keyed", "INVALID_RECORD (87)")];
        let letters = daemon.command(&["log", "export", "--stream", "dead-letter"])?;
        put_back(&kafka, &mut daemon)?;
        for (at, (topic, error)) in refusals.into_iter().enumerate() {
            let is_refused = if topic == "narrow" { is_large } else { is_keyless };
            let part = |refused: bool| {
                let numbered = readings.iter().enumerate();
                numbered.filter(move |(seq, _)| is_refused(*seq) == refused).map(|(_, text)| text)
            };
            let values = readers::read(&kafka, topic, dir)?.values()?;
            let back = part(true).filter(|_| topic == "narrow");
            ensure!(values.iter().eq(part(false).chain(back)), "`{topic}` has {values:?}");
            let mut kept = Vec::new();
            for line in letters.lines() {
                let letter: Value = serde_json::from_str(line)?;
                let properties = letter["user_properties"].to_string();
                if properties.contains(&format!(r#"["tributary.topic","{topic}"]"#)) {
                    ensure!(properties.contains(error), "{topic}: {properties}");
                    kept.push(letter["payload"].as_str().context("a payload")?.to_owned());
                }
            }
            ensure!(kept.iter().eq(part(true)), "letters of `{topic}`: {kept:?}");
            ensure!(last["routes"][at]["dead_lettered"] == kept.len(), "{last:#}");
        }
        Ok(())
    })
}

#[test]
fn keeps_what_is_refused_on_3_9_2() -> Result<()> {
    keeps_what_is_refused(Setup::V392Tv0)
}

#[test]
fn keeps_what_is_refused_on_4_1_2() -> Result<()> {
    keeps_what_is_refused(Setup::V412Tv2)
}
