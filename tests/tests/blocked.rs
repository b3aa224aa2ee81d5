//! A topic that Kafka refuses, by processes and sockets: its route waits in a lane of its own, over a
//! kill, and the others flow on; when Kafka takes it again it is delivered from where it stood, and
//! goes home. All of it exactly once and in order.

use core::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_cluster::{
    ApiKey, Cluster, Fault, FaultKind, Permission, Served, Settings, TopicSettings,
};
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

/// The second route's topic is refused, and another lane's from the 50th reading on; the first one's has 100. And the
/// identity of a lane.
fn parted(lane: &str) -> Result<(Served, Daemon, String)> {
    let (served, sections) = served(&["free", "barred"])?;
    let daemon = Daemon::start(TRIBUTARY, &sections)?;
    publish(&daemon, 0, 50)?;
    let status = daemon.drain()?;
    let identity = status["upstream"]["identity"].as_str().context("an identity")?;
    let identity = identity.replace("normal", lane);
    served.with(|cluster| cluster.deny(Permission::WriteTopic("barred".to_owned())));
    publish(&daemon, 50, 50)?;
    second_route(&daemon, ("aside-1", true))?;
    arrive(&served, "free", 100, LEFT_MAX)?;
    Ok((served, daemon, identity))
}

/// A lane's transaction is lost, and Kafka forgets its position. Meanwhile the other one has sent its topic's share of
/// the same readings: they say nothing of this lane's.
#[test]
fn a_lane_in_doubt_is_not_taken_for_the_one_that_took_its_topic() -> Result<()> {
    let (served, mut daemon, identity) = parted("normal")?;
    let lost = Fault::next(ApiKey::EndTxn, FaultKind::DropRequest);
    served.with(|cluster| cluster.inject(lost));
    publish(&daemon, 100, 50)?;
    wait::until("the end of the transaction", LEFT_MAX, || {
        Ok((served.with(|cluster| cluster.faults_ordered()) == 0).then_some(()))
    })?;
    daemon.kill()?;
    ensure!(delivered(&served, "free")?.len() == 100, "the transaction was to be lost");
    let unread = Permission::ReadTopic("free".to_owned());
    served.with(|cluster| {
        cluster.forget_group(&identity);
        cluster.deny(unread.clone());
        cluster.allow(&Permission::WriteTopic("barred".to_owned()));
    });
    daemon.restart()?;
    arrive(&served, "barred", 150, PERMITTED_MAX)?;
    ensure!(delivered(&served, "free")?.len() == 100, "it was to be in doubt");
    served.with(|cluster| cluster.allow(&unread));
    daemon.command(&["upstream", "repair"])?;
    publish(&daemon, 150, 50)?;
    daemon.drain()?;
    arrive(&served, "free", 200, LEFT_MAX)?;
    arrive(&served, "barred", 200, LEFT_MAX)
}

/// Killed before it has taken its claim back, and forgotten: what it took is looked for where it took it.
#[test]
fn a_lane_in_doubt_that_took_a_topic_sends_nothing_again() -> Result<()> {
    let (served, mut daemon, identity) = parted("aside-1")?;
    served.with(|cluster| cluster.allow(&Permission::WriteTopic("barred".to_owned())));
    arrive(&served, "barred", 100, PERMITTED_MAX)?;
    daemon.kill()?;
    served.with(|cluster| cluster.forget_group(&identity));
    daemon.restart()?;
    publish(&daemon, 100, 50)?;
    daemon.drain()?;
    arrive(&served, "free", 150, LEFT_MAX)?;
    arrive(&served, "barred", 150, LEFT_MAX)?;
    let log = daemon.log_lines()?;
    ensure!(log.contains("of what was in doubt"), "it was never in doubt: {log}");
    Ok(())
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
