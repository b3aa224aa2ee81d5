//! A topic that Kafka refuses, by processes and sockets: its route waits in a lane of its own, over a
//! kill, and the others flow on; when Kafka takes it again it is delivered from where it stood, and
//! goes home. All of it exactly once and in order.

use core::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_cluster::{Cluster, Permission, Served, Settings, TopicSettings};
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::device::Device;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// Three refusals, and the back-off behind each.
const LEFT_MAX: Duration = Duration::from_mins(5);
/// The back-off of what was refused for long.
const PERMITTED_MAX: Duration = Duration::from_mins(5);
const ROUTES: &str = "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"free\"\n\
    [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"barred\"\n";

fn served(topics: &[&str]) -> Result<(Served, String)> {
    let mut cluster = Cluster::new(Settings { marker_delay_ms: 5, ..Settings::default() });
    for name in topics {
        cluster.create_topic(name, TopicSettings::default()).ok().context("a new topic")?;
    }
    let served = Served::start(cluster)?;
    let sections = format!("[upstream]\nbrokers = [\"{}\"]\n{ROUTES}", served.addresses()[0]);
    Ok((served, sections))
}

/// Publishes the readings from `first` on, so many.
fn publish(daemon: &Daemon, first: usize, count: usize) -> Result<()> {
    let readings = (first..first + count).map(|n| n.to_string()).collect();
    Device::publish(daemon.port(), "plant/1/telemetry", readings)?;
    Ok(())
}

fn delivered(served: &Served, topic: &str) -> Result<Vec<usize>> {
    let known = served.with(|cluster| cluster.end_offset(topic, 0).is_some());
    let records = if known { served.with(|it| it.read_committed(topic, 0)) } else { Vec::new() };
    let value = |value: Option<bytes::Bytes>| -> Result<usize> {
        Ok(core::str::from_utf8(&value.context("a value")?)?.parse()?)
    };
    records.into_iter().map(|record| value(record.value)).collect()
}

/// Waits until a topic has the readings below `count`, each once and in order.
fn arrive(served: &Served, topic: &str, count: usize, limit: Duration) -> Result<()> {
    let mut found = Vec::new();
    let all = wait::until("the readings", limit, || {
        found = delivered(served, topic)?;
        Ok((found.len() >= count).then_some(()))
    });
    all.with_context(|| format!("`{topic}` has {} of {count}", found.len()))?;
    ensure!(found.iter().copied().eq(0..count), "`{topic}` has {found:?}");
    Ok(())
}

/// Waits until the second route is in this lane, blocked or not.
fn second_route(daemon: &Daemon, (lane, is_blocked): (&str, bool)) -> Result<Value> {
    let mut status = Value::Null;
    let found = wait::until("the route in its lane", LEFT_MAX, || {
        status = daemon.status()?;
        check_account(&status)?;
        let route = &status["routes"][1];
        Ok((route["lane"] == lane && route["blocked"].is_string() == is_blocked).then_some(()))
    });
    found.with_context(|| format!("not in {lane}: {status:#}"))?;
    Ok(status)
}

/// Blocked by `refused`, it waits in a lane of its own, over a kill, and comes back.
fn waits_alone(topics: &[&str], refused: &[Permission], words: &str) -> Result<()> {
    let (served, sections) = served(topics)?;
    let is_there = topics.contains(&"barred");
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    let mut count = 0;
    if is_there {
        publish(&daemon, 0, 50)?;
        count = 50;
        daemon.drain()?;
    }
    served.with(|cluster| refused.iter().cloned().for_each(|it| cluster.deny(it)));
    publish(&daemon, count, 50)?;
    count += 50;
    let status = second_route(&daemon, ("aside-1", true))?;
    let why = status["routes"][1]["blocked"].as_str().unwrap_or_default();
    ensure!(why.contains(words), "{why}");
    let text = daemon.command(&["status"])?;
    ensure!(text.contains("barred, in lane aside-1: Kafka refuses"), "{text}");
    arrive(&served, "free", count, LEFT_MAX)?;
    // The next are not held up any more, nor behind a kill.
    publish(&daemon, count, 50)?;
    count += 50;
    arrive(&served, "free", count, LEFT_MAX)?;
    daemon.kill()?;
    daemon.restart()?;
    publish(&daemon, count, 50)?;
    count += 50;
    arrive(&served, "free", count, LEFT_MAX)?;
    second_route(&daemon, ("aside-1", true))?;
    ensure!(delivered(&served, "barred")?.len() == if is_there { 50 } else { 0 }, "not refused");
    served.with(|cluster| refused.iter().for_each(|it| cluster.allow(it)));
    arrive(&served, "barred", count, PERMITTED_MAX)?;
    second_route(&daemon, ("normal", false))?;
    // At home again: what comes now goes with the others.
    publish(&daemon, count, 50)?;
    count += 50;
    let status = daemon.drain()?;
    let lanes = status["upstream"]["lanes"].as_array().context("lanes")?.len();
    ensure!(status["routes"][1]["delivered"] == count && lanes <= 2, "{status:#}");
    arrive(&served, "free", count, LEFT_MAX)?;
    arrive(&served, "barred", count, LEFT_MAX)
}

#[test]
fn a_topic_that_must_not_be_written_holds_up_nobody_else() -> Result<()> {
    let refused = [Permission::WriteTopic("barred".to_owned())];
    waits_alone(&["free", "barred"], &refused, "topic barred-0")
}

#[test]
fn a_topic_that_must_not_be_made_holds_up_nobody_else() -> Result<()> {
    let topics = ["free", "tributary.positions"];
    waits_alone(&topics, &[Permission::CreateTopics], "to make the topic barred")
}
