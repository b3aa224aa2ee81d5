//! What records are like: `format` and `headers` of a route, from MQTT to Kafka.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tributary_cluster::{Cluster, Kafka, Served, Settings, TopicSettings, TransactionVersion};
use tributary_tests::daemon::{Daemon, GATEWAY};
use tributary_tests::delivery::{Record, committed};
use tributary_tests::device::Device;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const TOPIC: &str = "plant/1/telemetry";

fn cluster(topics: &[&str]) -> Result<(Served, String)> {
    let kafka = Kafka::V4_1_2(TransactionVersion::V2);
    let mut cluster = Cluster::new(Settings { kafka, ..Settings::default() });
    for topic in topics {
        cluster.create_topic(topic, TopicSettings::default()).ok().context("a new topic")?;
    }
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream = format!("[upstream]\nbrokers = [{}]\n", brokers.join(", "));
    Ok((served, upstream))
}

fn route(topic: &str, shape: &str) -> String {
    format!("[[route]]\nfrom = \"plant/#\"\ntopic = \"{topic}\"\n{shape}\n")
}

/// The names of a record's headers, but for the one that names its batch.
fn names(record: &Record) -> Vec<&str> {
    let names = record.headers.iter().map(|(name, _)| name.as_str());
    names.filter(|name| *name != "tributary.batch").collect()
}

fn header<'r>(record: &'r Record, name: &str) -> Result<&'r str> {
    let found = record.headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("{name} in {record:?}"))
}

#[test]
fn each_route_makes_its_own_records_of_an_event() -> Result<()> {
    let (served, upstream) = cluster(&["bare", "cloud", "json"])?;
    let routes = [
        route("bare", "headers = [\"offset\"]"),
        route("cloud", "format = \"cloudevents\""),
        route("json", "format = \"json\"\nheaders = []"),
    ];
    let daemon = Daemon::start(TRIBUTARY, &(upstream + &routes.concat()))?;
    let payloads = [r#"{"t":1.50}"#, "plain \"text\""];
    Device::publish(daemon.port(), TOPIC, payloads.map(str::to_owned).to_vec())?;
    daemon.drain()?;

    let bare = committed(&served, "bare")?;
    ensure!(bare.len() == 2 && names(&bare[1]) == ["tributary.offset"], "{bare:?}");
    ensure!(bare[0].value == payloads[0], "{bare:?}");
    let cloud = committed(&served, "cloud")?;
    let attributes = [
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_subject",
        "ce_time",
        "tributary.route",
    ];
    ensure!(names(&cloud[1]) == attributes && cloud[1].value == payloads[1], "{cloud:?}");
    let log_id = daemon.status()?["log"]["id"].as_str().context("the log has an id")?.to_owned();
    ensure!(header(&cloud[1], "ce_source")? == format!("urn:tributary:{GATEWAY}:{log_id}"));
    ensure!(header(&cloud[1], "ce_id")? == "1" && header(&cloud[1], "ce_subject")? == TOPIC);
    let json = committed(&served, "json")?;
    ensure!(names(&json[0]) == ["content-type"], "{json:?}");
    for (offset, payload) in [(0, json!({"t": 1.5})), (1, json!("plain \"text\""))] {
        let value: Value = serde_json::from_str(&json[offset].value)?;
        let time = value["time"].clone();
        let expected = json!({
            "gateway": GATEWAY, "offset": offset, "topic": TOPIC, "time": time, "payload": payload,
        });
        ensure!(value == expected && time.is_string(), "{value} instead of {expected}");
    }
    Ok(())
}

#[test]
fn what_came_before_a_change_has_the_shape_of_then() -> Result<()> {
    let (served, upstream) = cluster(&["one"])?;
    served.go_away();
    let mut daemon = Daemon::start(TRIBUTARY, &(upstream.clone() + &route("one", "")))?;
    Device::publish(daemon.port(), TOPIC, vec!["1".to_owned()])?;
    daemon.reload(&(upstream.clone() + &route("one", "format = \"json\"")), &["one"])?;
    Device::publish(daemon.port(), TOPIC, vec!["2".to_owned()])?;
    daemon.kill()?;
    daemon.configure(&(upstream + &route("one", "headers = []")))?;
    daemon.restart()?;
    Device::publish(daemon.port(), TOPIC, vec!["3".to_owned()])?;
    served.come_back()?;
    daemon.drain()?;
    let records = committed(&served, "one")?;
    ensure!(records.len() == 3, "{records:?}");
    ensure!(records[0].value == "1" && names(&records[0]).len() == 5, "{records:?}");
    ensure!(records[1].value.starts_with("{\"gateway\":"), "{records:?}");
    ensure!(records[2].value == "3" && names(&records[2]).is_empty(), "{records:?}");
    Ok(())
}
