//! Commands from a real Kafka: transactions of librdkafka, committed and aborted, with every codec, while
//! the gateway is killed and the broker, too. Each command that was committed becomes one event.

use core::time::Duration;
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::daemon::{Daemon, GATEWAY};
use tributary_tests::delivery::Event;
use tributary_tests::real::kafka::{Kafka, Listeners, Setup};
use tributary_tests::real::{cache, scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const COMMANDS: usize = 300;
const KILLS: usize = 6;
/// A broker that was killed and comes back included.
const COME_MAX: Duration = Duration::from_mins(2);
const SECTIONS: &str = "[[downlink]]\nfrom = \"commands\"\nto = \"cmd/{key}\"\nqos = 2\n";

fn await_begin(daemon: &Daemon) -> Result<()> {
    wait::until("the downlink to begin", COME_MAX, || {
        let status = daemon.status()?;
        let downlink = &status["downlinks"][0];
        let begun = downlink["next"].as_object().map(serde_json::Map::len) == Some(2);
        Ok((begun && downlink["live"] == true).then_some(()))
    })
}

fn count(daemon: &Daemon) -> Result<u64> {
    daemon.status()?["log"]["durable"].as_u64().context("a number of events")
}

/// All commands, each once, those of a key in order.
fn check(events: &[Event]) -> Result<()> {
    let mut of_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for event in events {
        let number = event.payload.parse().with_context(|| format!("{event:?}"))?;
        of_key.entry(&event.topic).or_default().push(number);
    }
    for (key, numbers) in &of_key {
        ensure!(numbers.is_sorted_by(|a, b| a < b), "{key}: {numbers:?}");
    }
    let mut all: Vec<usize> = of_key.into_values().flatten().collect();
    all.sort_unstable();
    ensure!(all == (0..COMMANDS).collect::<Vec<_>>(), "{} commands: {all:?}", all.len());
    Ok(())
}

fn each_command_comes_once(setup: Setup) -> Result<()> {
    scratch::within(DIR, &format!("downlink-{}", setup.name()), |dir| {
        let mut random = scratch::random("real downlinks")?;
        let mut kafka = Kafka::start(setup, &dir.join("kafka"), Listeners::direct()?)?;
        kafka.create_topic("commands", 2)?;
        let upstream = format!("[upstream]\nbrokers = [\"{}\"]\n", kafka.address());
        let mut daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{SECTIONS}"))?;
        await_begin(&daemon)?;
        let mut centre = cache::python("command.py");
        centre.args(["--brokers", &kafka.address(), "--topic", "commands"]);
        centre.args(["--gateway", GATEWAY, "--commands", &COMMANDS.to_string()]);
        let mut centre = centre.spawn()?;
        for kill in 1..=KILLS {
            let so_far = (COMMANDS * kill / (KILLS + 1)) as u64;
            wait::until("commands to come", COME_MAX, || {
                Ok((count(&daemon)? >= so_far).then_some(()))
            })?;
            wait::pass(Duration::from_millis(random.u64(..100)));
            if kill == KILLS / 2 {
                kafka.kill()?;
                kafka.restart()?;
            } else {
                daemon.kill()?;
                daemon.restart()?;
            }
        }
        let ended = wait::until("the centre's end", COME_MAX, || Ok(centre.try_wait()?))?;
        ensure!(ended.success(), "the centre ended with {ended}");
        wait::until("all commands", COME_MAX, || {
            Ok((count(&daemon)? >= COMMANDS as u64).then_some(()))
        })?;
        check(&daemon.events()?)?;
        let status: Value = daemon.status()?;
        let downlink = &status["downlinks"][0];
        ensure!(downlink["refused"] == 0 && downlink["lost"] == 0, "{downlink:#}");
        ensure!(daemon.stop()?.success(), "it ends well");
        Ok(())
    })
}

tributary_tests::on_each_cluster! {
    each_command_comes_once
}
