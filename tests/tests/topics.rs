//! Topics that are named by levels of the MQTT topic: from MQTT to Kafka, over restarts and changes.

use anyhow::{Context, Result, ensure};
use tributary_cluster::{Cluster, Kafka, Served, Settings, TransactionVersion};
use tributary_tests::daemon::Daemon;
use tributary_tests::delivery::committed;
use tributary_tests::device::Device;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");

fn cluster() -> Result<(Served, String)> {
    let kafka = Kafka::V4_1_2(TransactionVersion::V2);
    let served = Served::start(Cluster::new(Settings { kafka, ..Settings::default() }))?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream = format!("[upstream]\nbrokers = [{}]\n", brokers.join(", "));
    Ok((served, upstream))
}

fn publish(daemon: &Daemon, device: &str, payloads: &[&str]) -> Result<()> {
    let payloads = payloads.iter().map(ToString::to_string).collect();
    Device::publish(daemon.port(), &format!("plant/{device}"), payloads).map(drop)
}

/// What a topic holds, in order; which must be there.
fn values(served: &Served, topic: &str) -> Result<Vec<String>> {
    let is_there = served.with(|cluster| cluster.topics().any(|name| name == topic));
    ensure!(is_there, "there is no topic {topic}");
    Ok(committed(served, topic)?.into_iter().map(|record| record.value).collect())
}

#[test]
fn each_device_has_its_topic_up_to_a_bound_over_kills() -> Result<()> {
    let (served, upstream) = cluster()?;
    let routes = "[[route]]\nfrom = \"plant/#\"\nname = \"by device\"\ntopic = \"p.{2}\"\n\
        topics_max = 3\n\
        [[route]]\nfrom = \"plant/#\"\nname = \"deep\"\ntopic = \"deep.{3}\"\n";
    let mut daemon = Daemon::start(TRIBUTARY, &(upstream + routes))?;
    for (device, payload) in [("a", "1"), ("b 2", "2"), ("b_2", "3"), ("c/x", "4"), ("d", "5")] {
        publish(&daemon, device, &[payload])?;
        daemon.kill()?;
        daemon.restart()?;
    }
    daemon.drain()?;
    daemon.kill()?;
    daemon.restart()?;
    publish(&daemon, "e", &["6"])?;
    publish(&daemon, "a", &["7"])?;
    let status = daemon.drain()?;
    ensure!(values(&served, "p.a")? == ["1", "7"]);
    ensure!(values(&served, "p.b_2")? == ["2", "3"], "both have this name");
    ensure!(values(&served, "p.c")? == ["4"]);
    ensure!(values(&served, "p.other")? == ["5", "6"], "what would be a fourth and a fifth");
    ensure!(values(&served, "deep.x")? == ["4"]);
    ensure!(status["routes"][0]["delivered"] == 7, "{status:#}");
    ensure!(status["routes"][1]["undecided"] == 6, "without a third level: {status:#}");
    let topics = served.with(|cluster| cluster.topics().filter(|name| name.contains('.')).count());
    ensure!(topics == 6, "{topics} topics, the positions among them");
    Ok(())
}

#[test]
fn what_came_before_a_change_has_the_topic_of_then() -> Result<()> {
    let (served, upstream) = cluster()?;
    served.go_away();
    let route =
        |topic: &str| format!("[[route]]\nname = \"r\"\nfrom = \"plant/+\"\ntopic = \"{topic}\"\n");
    let mut daemon = Daemon::start(TRIBUTARY, &(upstream.clone() + &route("old.{2}")))?;
    publish(&daemon, "a", &["1"])?;
    daemon.kill()?;
    daemon.configure(&(upstream.clone() + &route("new-{1}-{2}")))?;
    daemon.restart()?;
    publish(&daemon, "a", &["2"])?;
    served.come_back()?;
    daemon.drain()?;
    ensure!(values(&served, "old.a")? == ["1"] && values(&served, "new-plant-a")? == ["2"]);
    let shown = daemon.command(&["check"])?;
    let line = shown.lines().find(|line| line.contains("for example")).context("an example")?;
    ensure!(line.contains("plant/level2 -> new-plant-level2"), "{line}");
    Ok(())
}
