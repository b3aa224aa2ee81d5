//! `[[downlink]]`: records of Kafka topics become events for devices, each once, whatever ends when.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use serde_json::Value;
use tributary_cluster::{
    BrokerId, Cluster, Permission, ReadRecord, Served, Settings, TopicSettings,
};
use tributary_core::time::Timestamp;
use tributary_tests::daemon::{Daemon, GATEWAY};
use tributary_tests::delivery::Event;
use tributary_tests::device::Device;
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const ANSWER_MAX: Duration = Duration::from_secs(40);
const TOPIC: &str = "commands";
const PARTITIONS: i32 = 2;
const DOWNLINK: &str = "[[downlink]]\nfrom = \"commands\"\nto = \"cmd/{key}\"\n";

fn cluster() -> Result<Served> {
    let mut cluster = Cluster::new(Settings { brokers: 2, ..Settings::default() });
    create(&mut cluster)?;
    Ok(Served::start(cluster)?)
}

fn create(cluster: &mut Cluster) -> Result<()> {
    let partitions = u16::try_from(PARTITIONS)?;
    let settings = TopicSettings { partitions, ..TopicSettings::default() };
    cluster.create_topic(TOPIC, settings).map_err(|error| anyhow!("{error:?}"))
}

fn sections(served: &Served, downlink: &str) -> String {
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    format!("[upstream]\nbrokers = [{}]\n{downlink}", brokers.join(", "))
}

fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}

/// A record for this gateway, written now.
fn record(key: &str, value: &str) -> Result<ReadRecord> {
    Ok(ReadRecord {
        offset: 0,
        timestamp: now()?,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![header("tributary.gateway", GATEWAY)],
    })
}

fn header(name: &str, value: &str) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(name.as_bytes()), Some(Bytes::copy_from_slice(value.as_bytes())))
}

fn write(served: &Served, partition: i32, records: &[ReadRecord]) -> Result<i64> {
    let written = served.with(|cluster| cluster.write(TOPIC, partition, records));
    written.map_err(|error| anyhow!("{error:?}"))
}

/// How the downlink stands, once it does so.
fn await_status(daemon: &Daemon, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait::until("the downlink", ANSWER_MAX, || {
        last = daemon.status()?["downlinks"][0].clone();
        Ok(is_so(&last).then(|| last.clone()))
    });
    found.with_context(|| format!("{last:#}"))
}

/// It reads all partitions of the topic.
fn await_begin(daemon: &Daemon) -> Result<Value> {
    let partitions = usize::try_from(PARTITIONS)?;
    await_status(daemon, |status| {
        status["live"] == true
            && status["next"].as_object().map(serde_json::Map::len) == Some(partitions)
    })
}

fn await_events(daemon: &Daemon, count: usize) -> Result<Vec<Event>> {
    wait::until("the commands", ANSWER_MAX, || {
        let events = daemon.events()?;
        Ok((events.len() >= count).then_some(events))
    })
}

fn shown(events: &[Event]) -> Vec<(String, String)> {
    events.iter().map(|event| (event.topic.clone(), event.payload.clone())).collect()
}

#[test]
fn each_command_becomes_one_event_over_kills_and_outages() -> Result<()> {
    const COMMANDS: usize = 120;
    const KILLS: usize = 8;
    let mut random = scratch::random("downlinks and kills")?;
    let served = cluster()?;
    write(&served, 0, &[record("old", "from before the first start")?])?;
    let mut daemon = Daemon::start(TRIBUTARY, &sections(&served, DOWNLINK))?;
    await_begin(&daemon)?;
    for command in 0..COMMANDS {
        let partition = i32::try_from(command % 2)?;
        write(&served, partition, &[record(&format!("p{partition}"), &command.to_string())?])?;
        if command % (COMMANDS / KILLS) == 7 {
            // What has come must not come again, and what has not must come.
            if command == 7 || random.bool() {
                await_events(&daemon, command + 1)?;
            }
            wait::pass(Duration::from_millis(random.u64(..30)));
            match random.u8(..4) {
                _ if command == 7 => {
                    daemon.kill()?;
                    daemon.restart()?;
                }
                0 => {
                    served.go_away();
                    // Another may have its ports for a moment.
                    wait::until("the ports", ANSWER_MAX, || Ok(served.come_back().ok()))?;
                }
                1 => {
                    daemon.stop()?;
                    daemon.restart()?;
                }
                _ => {
                    daemon.kill()?;
                    daemon.restart()?;
                }
            }
        }
    }
    let events = await_events(&daemon, COMMANDS)?;
    for partition in 0..PARTITIONS {
        let topic = format!("cmd/p{partition}");
        let of: Vec<usize> = events
            .iter()
            .filter(|event| event.topic == topic)
            .map(|event| event.payload.parse().context("a number"))
            .collect::<Result<_>>()?;
        let wanted: Vec<usize> =
            (0..COMMANDS).filter(|it| it % 2 == usize::try_from(partition).unwrap_or(9)).collect();
        ensure!(of == wanted, "partition {partition}: {of:?}");
    }
    ensure!(events.len() == COMMANDS, "more than there were: {:?}", shown(&events));
    Ok(())
}

#[test]
fn what_is_for_others_or_too_old_or_no_command_is_passed_over_and_counted() -> Result<()> {
    let served = cluster()?;
    let daemon = Daemon::start(TRIBUTARY, &sections(&served, DOWNLINK))?;
    await_begin(&daemon)?;
    let plain = |key, value| record(key, value);
    let others =
        ReadRecord { headers: vec![header("tributary.gateway", "other")], ..plain("a", "no")? };
    let nobody = ReadRecord { headers: Vec::new(), ..plain("a", "no")? };
    let everybody =
        ReadRecord { headers: vec![header("tributary.gateway", "*")], ..plain("a", "for all")? };
    let aged = Timestamp(now()?.0 - 25 * 3_600_000);
    let old = ReadRecord { timestamp: aged, ..plain("a", "too old")? };
    let mut brief = plain("a", "too late")?;
    brief.timestamp = Timestamp(now()?.0 - 60_000);
    brief.headers.push(header("mqtt.expiry", "30"));
    let wild = plain("+/x", "no topic")?;
    let keyless = ReadRecord { key: None, ..plain("a", "no key")? };
    let gone = ReadRecord { value: None, ..plain("a", "no value")? };
    write(&served, 1, &[others, nobody, everybody, old, brief, wild, keyless, gone])?;
    write(&served, 1, &[plain("b", "the last")?])?;
    let events = await_events(&daemon, 2)?;
    let wanted = [("cmd/a", "for all"), ("cmd/b", "the last")];
    ensure!(shown(&events) == wanted.map(|(a, b)| (a.to_owned(), b.to_owned())), "{events:?}");
    let status = await_status(&daemon, |status| status["received"] == 2)?;
    let counts = ["others", "expired", "refused"].map(|name| status[name].as_u64());
    ensure!(counts == [Some(2), Some(2), Some(3)], "{status:#}");
    let why = status["refusal"].as_str().context("the last has a reason")?;
    ensure!(why == "offset 7 of partition 1: it has no value", "{why}");
    let text = daemon.command(&["status"])?;
    ensure!(text.contains("downlink  commands, reading; 2 commands"), "{text}");
    Ok(())
}

#[test]
fn a_command_keeps_what_its_headers_say_and_goes_to_no_route_that_does_not_ask() -> Result<()> {
    let served = cluster()?;
    let route = "[[route]]\nfrom = \"#\"\ntopic = \"events\"\n\
                 [[route]]\nfrom = \"#\"\ntopic = \"sent\"\nevents = \"commands\"\n\
                 [[route]]\nfrom = \"#\"\ntopic = \"both\"\nevents = \"all\"\n";
    let downlink = format!(
        "{route}[[downlink]]\nfrom = \"commands\"\nto = \"site/{{gateway}}/{{key}}\"\nonly = \"key\"\n"
    );
    let daemon = Daemon::start(TRIBUTARY, &sections(&served, &downlink))?;
    await_begin(&daemon)?;
    let mut command = record("gw/pump/1", "stop")?;
    command.headers = vec![
        header("content-type", "text/plain"),
        header("mqtt.response-topic", "done/1"),
        header("mqtt.correlation-data", "17"),
        header("mqtt.user.by", "centre"),
        header("other", "is left out"),
    ];
    write(&served, 0, &[command, record("gw2/pump/1", "of another gateway")?])?;
    await_events(&daemon, 1)?;
    let line = daemon.command(&["log", "export"])?;
    let event: Value = serde_json::from_str(line.lines().next().context("an event")?)?;
    ensure!(event["topic"] == "site/gw/pump/1" && event["origin"] == "downlink", "{event}");
    ensure!(event["content_type"] == "text/plain", "{event}");
    let user: Vec<Value> =
        ["kafka.topic=commands", "kafka.partition=0", "kafka.offset=0", "by=centre"]
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| serde_json::json!([name, value]))
            .collect();
    ensure!(event["user_properties"] == Value::from(user), "{event}");
    Device::publish(daemon.port(), "site/gw/pump/1", vec!["stopped".to_owned()])?;
    let status = daemon.drain()?;
    let delivered = [0, 1, 2].map(|route| status["routes"][route]["delivered"].as_u64());
    ensure!(delivered == [Some(1), Some(1), Some(2)], "{status:#}");
    let read = |topic| {
        let records = served.with(|cluster| cluster.read_committed(topic, 0));
        let values = records.into_iter().filter_map(|record| record.value);
        values.map(|value| String::from_utf8_lossy(&value).into_owned()).collect::<Vec<_>>()
    };
    ensure!(read("events") == ["stopped"] && read("sent") == ["stop"], "{:?}", read("sent"));
    ensure!(read("both") == ["stop", "stopped"], "{:?}", read("both"));
    Ok(())
}

#[test]
fn a_topic_that_was_made_again_begins_at_what_comes_next_and_deleted_records_are_counted()
-> Result<()> {
    let served = cluster()?;
    let mut daemon = Daemon::start(TRIBUTARY, &sections(&served, DOWNLINK))?;
    await_begin(&daemon)?;
    write(&served, 0, &[record("a", "1")?, record("a", "2")?])?;
    await_events(&daemon, 2)?;
    daemon.kill()?;
    for value in ["3", "4", "5"] {
        write(&served, 0, &[record("a", value)?])?;
    }
    let trimmed = served.with(|cluster| cluster.trim(TOPIC, 0, 4));
    trimmed.map_err(|error| anyhow!("{error:?}"))?;
    daemon.restart()?;
    let events = await_events(&daemon, 3)?;
    ensure!(events.last().map(|event| &*event.payload) == Some("5"), "{events:?}");
    await_status(&daemon, |status| status["lost"] == 2)?;
    daemon.stop()?;
    served.with(|cluster| {
        cluster.delete_topic(TOPIC).map_err(|error| anyhow!("{error:?}"))?;
        create(cluster)
    })?;
    for value in ["6", "7"] {
        write(&served, 0, &[record("a", value)?])?;
    }
    daemon.restart()?;
    await_status(&daemon, |status| status["live"] == true && status["next"]["0"] == 2)?;
    write(&served, 0, &[record("a", "8")?])?;
    let events = await_events(&daemon, 4)?;
    ensure!(events.last().map(|event| &*event.payload) == Some("8"), "{events:?}");
    Ok(())
}

#[test]
fn reading_goes_on_where_leaders_move_and_a_topic_comes_late() -> Result<()> {
    let served = Served::start(Cluster::new(Settings { brokers: 2, ..Settings::default() }))?;
    let daemon = Daemon::start(TRIBUTARY, &sections(&served, DOWNLINK))?;
    await_status(&daemon, |status| status["waits_for"] == "topic commands does not exist")?;
    served.with(create)?;
    await_begin(&daemon)?;
    for (turn, broker) in [1, 2, 1, 2].into_iter().enumerate() {
        let moved = served.with(|cluster| cluster.move_leader(TOPIC, 0, BrokerId(broker)));
        moved.map_err(|error| anyhow!("{error:?}"))?;
        write(&served, 0, &[record("a", &turn.to_string())?])?;
        await_events(&daemon, turn + 1)?;
    }
    Ok(())
}

/// Telemetry fills segments behind the last command: each of them knows how far the topic was read.
#[test]
fn a_command_is_known_behind_the_segment_that_holds_it() -> Result<()> {
    const LARGE: usize = 9_000;
    const MESSAGES: usize = 1_200;
    let served = cluster()?;
    let mut daemon = Daemon::start(TRIBUTARY, &sections(&served, DOWNLINK))?;
    await_begin(&daemon)?;
    write(&served, 0, &[record("a", "1")?, record("a", "2")?])?;
    await_events(&daemon, 2)?;
    let telemetry = (0..MESSAGES).map(|number| format!("{number:0LARGE$}")).collect();
    Device::publish(daemon.port(), "plant/1/telemetry", telemetry)?;
    daemon.kill()?;
    daemon.restart()?;
    await_begin(&daemon)?;
    write(&served, 0, &[record("a", "3")?])?;
    let durable = (MESSAGES + 3) as u64;
    wait::until("the last command", ANSWER_MAX, || {
        Ok((daemon.status()?["log"]["durable"].as_u64() >= Some(durable)).then_some(()))
    })?;
    let events = daemon.events()?;
    let commands = events.iter().filter(|event| event.topic == "cmd/a");
    let commands: Vec<&str> = commands.map(|event| &*event.payload).collect();
    ensure!(commands == ["1", "2", "3"], "{commands:?}");
    Ok(())
}

/// `upstream check` tries to read; what is missing is named with the command that mends it.
#[test]
fn the_check_tries_to_read() -> Result<()> {
    let served = cluster()?;
    let downlinks = format!("{DOWNLINK}[[downlink]]\nfrom = \"more\"\nto = \"more\"\n");
    let daemon = Daemon::start(TRIBUTARY, &sections(&served, &downlinks))?;
    let look = || -> Result<Vec<Value>> {
        let output = daemon.try_command(&["upstream", "check", "--json"])?;
        let text = String::from_utf8(output.stdout)?;
        let all: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|finding| finding["step"] == "read").collect())
    };
    let found = look()?;
    let words: Vec<&str> = found.iter().filter_map(|it| it["words"].as_str()).collect();
    let wanted = ["more, of a downlink, does not exist", "commands may be read"];
    ensure!(words == wanted, "{words:?}");
    served.with(|cluster| cluster.deny(Permission::ReadTopic(TOPIC.to_owned())));
    let found = look()?;
    let mend = found[1]["mend"].to_string();
    ensure!(mend.contains("--operation Read --topic commands"), "{found:?}");
    Ok(())
}
