//! The whole path: devices that are not ours, the daemon as a process that is killed and signalled,
//! and a Kafka cluster behind real sockets that goes away and comes back.

use core::time::Duration;
use std::process::Output;

use anyhow::{Context, Result, anyhow, ensure};
use rumqttc::{Client, Connection, Event as MqttEvent, LastWill, MqttOptions, Packet, QoS};
use tributary_cluster::{Kafka, Served, Settings, TopicSettings, TransactionVersion};
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::delivery::{self, Record, committed};
use tributary_tests::device::{self, Device, Sent};
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const ANSWER_MAX: Duration = Duration::from_secs(20);
const ALL: &str = "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"all\"\n";
const HOT: &str = "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"hot\"\n";

macro_rules! on_each_version {
    ($($test:ident)*) => {
        $(mod $test {
            #[test]
            fn on_tv0() -> anyhow::Result<()> {
                super::$test(tributary_cluster::Kafka::V3_9_2)
            }

            #[test]
            fn on_tv2() -> anyhow::Result<()> {
                super::$test(super::TV2)
            }
        })*
    };
}

const TV2: Kafka = Kafka::V4_1_2(TransactionVersion::V2);

on_each_version! {
    delivers_once_over_kills_and_outages
    delivers_an_old_log_from_its_oldest_event
    looks_back_for_a_route_that_asks
    judges_by_the_table_at_the_offset
}

/// A cluster with the topics of all routes, and the `[upstream]` that names it.
fn cluster(kafka: Kafka) -> Result<(Served, String)> {
    let settings = Settings { kafka, brokers: 2, marker_delay_ms: 5, ..Settings::default() };
    let mut cluster = tributary_cluster::Cluster::new(settings);
    for topic in ["all", "hot", "mild"] {
        cluster.create_topic(topic, TopicSettings::default()).ok().context("a new topic")?;
    }
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream = format!("[upstream]\nbrokers = [{}]\n", brokers.join(", "));
    Ok((served, upstream))
}

/// `count` readings, each different, of 40 to 99 degrees.
fn readings(count: usize) -> Vec<String> {
    let reading = |seq| format!(r#"{{"seq":{seq},"temperature":{}}}"#, 40 + seq * 7 % 60);
    (0..count).map(reading).collect()
}

fn above(limit: u32) -> impl Fn(&str) -> bool {
    move |payload| {
        let value: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
        value["temperature"].as_u64().is_some_and(|temperature| temperature > limit.into())
    }
}

/// What `device` sent stands in the records, and nothing else under its topic.
fn check_sent(sent: &Sent, records: &[Record], selects: impl Fn(&str) -> bool) -> Result<()> {
    let own = records.iter().filter(|record| record.key.as_deref() == Some(sent.topic()));
    sent.check(own.map(|record| record.value.as_str()), selects)
}

/// Eight SIGKILLs at random moments while two devices publish; the cluster goes away in between.
fn delivers_once_over_kills_and_outages(kafka: Kafka) -> Result<()> {
    const MESSAGES: usize = 450;
    const KILLS: usize = 8;
    let mut random = scratch::random("kills and outages")?;
    let (served, upstream) = cluster(kafka)?;
    let sections = format!("{upstream}{ALL}{HOT}where = \"temperature > 70\"\n");
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    let devices = ["plant/1/telemetry", "plant/2/telemetry"]
        .map(|topic| Device::start(daemon.port(), topic, readings(MESSAGES)));
    for kill in 1..=KILLS {
        devices[kill % 2].wait_for(MESSAGES * kill / (KILLS + 1))?;
        wait::pass(Duration::from_millis(random.u64(..30)));
        match kill % 3 {
            1 => served.go_away(),
            2 => served.come_back()?,
            _ => {}
        }
        daemon.kill()?;
        daemon.restart()?;
        check_account(&daemon.status()?)?;
    }
    let sent = devices.map(Device::finish);
    daemon.drain()?;

    let events = daemon.events()?;
    let (all, hot) = (committed(&served, "all")?, committed(&served, "hot")?);
    delivery::check("all", &all, &events, |_| true)?;
    delivery::check("hot", &hot, &events, |event| above(70)(&event.payload))?;
    for sent in sent {
        let sent = sent?;
        check_sent(&sent, &all, |_| true)?;
        check_sent(&sent, &hot, above(70))?;
    }
    Ok(())
}

/// Events of a time without any upstream: the first upstream gets them all.
fn delivers_an_old_log_from_its_oldest_event(kafka: Kafka) -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let mut messages = readings(150);
    // No condition can judge these; they stay in the log, and go where all goes.
    let odd = ["warm", r#"{"temperature":"#, r#"{"humidity":80}"#, r#"{"temperature":"hot"}"#];
    messages.extend(odd.map(str::to_owned));
    let old = Device::publish(daemon.port(), "plant/1/telemetry", messages)?;
    ensure!(daemon.status()?["upstream"].is_null(), "there is none yet");
    ensure!(daemon.events()?.len() == old.count(), "the log holds all");

    let (served, upstream) = cluster(kafka)?;
    let sections = format!("{upstream}{ALL}{HOT}where = \"temperature > 70\"\n");
    daemon.reload(&sections, &["all", "hot"])?;
    let new = Device::publish(daemon.port(), "plant/2/telemetry", readings(50))?;
    let status = daemon.drain()?;

    let (all, hot) = (committed(&served, "all")?, committed(&served, "hot")?);
    for sent in [&old, &new] {
        check_sent(sent, &all, |_| true)?;
        check_sent(sent, &hot, above(70))?;
    }
    delivery::check("all", &all, &daemon.events()?, |_| true)?;
    let (all_account, hot_account) = (&status["routes"][0], &status["routes"][1]);
    ensure!(all_account["delivered"] == old.count() + new.count(), "{all_account}");
    ensure!(hot_account["delivered"] == hot.len(), "{hot_account}");
    ensure!(hot_account["undecided"] == odd.len(), "{hot_account}");
    ensure!(all_account["begin"] == 0 && all_account["lost"] == 0, "{all_account}");
    Ok(())
}

/// A second route asks for the oldest events while the first has a backlog; a SIGKILL meets the
/// look back. Then it goes, and comes back.
fn looks_back_for_a_route_that_asks(kafka: Kafka) -> Result<()> {
    let (served, upstream) = cluster(kafka)?;
    let one = format!("{upstream}{ALL}");
    let two = format!("{one}{HOT}where = \"temperature > 70\"\nstart = \"oldest\"\n");
    let mut daemon = Daemon::start(TRIBUTARY, &one)?;
    let port = daemon.port();
    let mut sent = vec![Device::publish(port, "plant/1/telemetry", readings(150))?];
    daemon.drain()?;
    served.go_away();
    sent.push(Device::publish(port, "plant/2/telemetry", readings(150))?);
    daemon.reload(&two, &["all", "hot"])?;
    sent.push(Device::publish(port, "plant/3/telemetry", readings(60))?);
    served.come_back()?;
    wait::until("the look back", ANSWER_MAX, || {
        let begun = served.with(|cluster| !cluster.read_uncommitted("hot", 0).is_empty());
        Ok(begun.then_some(()))
    })?;
    daemon.kill()?;
    daemon.restart()?;
    let status = daemon.drain()?;
    ensure!(status["routes"][1]["begin"] == 0, "it reads from the oldest event: {status}");
    check_both(&daemon, &served, &sent)?;

    daemon.reload(&one, &["all"])?;
    daemon.drain()?;
    daemon.reload(&two, &["all", "hot"])?;
    sent.push(Device::publish(port, "plant/4/telemetry", readings(60))?);
    daemon.drain()?;
    check_both(&daemon, &served, &sent)
}

/// A route goes to another lane, and the one that it leaves has nothing left to do: it ends, and comes back.
#[test]
fn what_lanes_have_shipped_stays_counted_when_they_have_ended() -> Result<()> {
    let (_served, upstream) = cluster(TV2)?;
    let in_lane = |lane: &str| format!("{upstream}{ALL}lane = \"{lane}\"\n");
    let mut daemon = Daemon::start(TRIBUTARY, &in_lane("normal"))?;
    let mut shipped = 0;
    for lane in ["normal", "high", "bulk", "high"] {
        daemon.reload(&in_lane(lane), &["all"])?;
        Device::publish(daemon.port(), "plant/1/telemetry", readings(30))?;
        shipped += 30;
        wait::until("one lane", ANSWER_MAX, || {
            let upstream = daemon.drain()?["upstream"].take();
            ensure!(upstream["counters"]["records"] == shipped, "{upstream:#}");
            let lanes = upstream["lanes"].as_array().context("lanes")?;
            Ok((lanes.len() == 1 && lanes[0]["lane"] == lane).then_some(()))
        })?;
    }
    Ok(())
}

fn check_both(daemon: &Daemon, served: &Served, sent: &[Sent]) -> Result<()> {
    let events = daemon.events()?;
    let (all, hot) = (committed(served, "all")?, committed(served, "hot")?);
    delivery::check("all", &all, &events, |_| true)?;
    delivery::check("hot", &hot, &events, |event| above(70)(&event.payload))?;
    for sent in sent {
        check_sent(sent, &all, |_| true)?;
        check_sent(sent, &hot, above(70))?;
    }
    Ok(())
}

/// Three tables within one backlog, by SIGHUP and by a start after SIGKILL; all that was
/// acknowledged before a table came is judged by the one before.
fn judges_by_the_table_at_the_offset(kafka: Kafka) -> Result<()> {
    let (served, upstream) = cluster(kafka)?;
    served.go_away();
    let table = |hot: u32| format!("{upstream}{HOT}where = \"temperature > {hot}\"\n");
    let last = format!("{}[[route]]\nfrom = \"plant/#\"\ntopic = \"mild\"\n", table(90));
    let mut daemon = Daemon::start(TRIBUTARY, &table(70))?;
    let port = daemon.port();
    let first = Device::publish(port, "plant/1/telemetry", readings(120))?;
    daemon.reload(&table(50), &["hot"])?;
    let second = Device::publish(port, "plant/2/telemetry", readings(120))?;
    daemon.kill()?;
    daemon.configure(&last)?;
    daemon.restart()?;
    let third = Device::publish(port, "plant/3/telemetry", readings(120))?;
    served.come_back()?;
    daemon.drain()?;

    let (hot, mild) = (committed(&served, "hot")?, committed(&served, "mild")?);
    check_sent(&first, &hot, above(70))?;
    check_sent(&second, &hot, above(50))?;
    check_sent(&third, &hot, above(90))?;
    delivery::check("mild", &mild, &daemon.events()?, |event| event.topic == third.topic())?;
    let offsets: Vec<u64> = hot.iter().map(Record::offset).collect::<Result<_>>()?;
    ensure!(offsets.is_sorted_by(|one, next| one < next), "order, none twice: {offsets:?}");
    Ok(())
}

#[test]
fn ends_in_order_and_keeps_what_it_acknowledged() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let sent = Device::publish(daemon.port(), "plant/1/telemetry", readings(100))?;
    let ended = daemon.stop()?;
    ensure!(ended.code() == Some(0), "{ended}");
    daemon.restart()?;
    let events = daemon.events()?;
    sent.check(events.iter().map(|event| event.payload.as_str()), |_| true)
}

#[test]
fn exit_codes_tell_a_bad_configuration_from_a_used_directory() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let locked = daemon.try_command(&["run"])?;
    ensure!(locked.status.code() == Some(3), "{locked:?}");
    daemon.status().context("the first one goes on")?;
    daemon.stop()?;

    let condition = "where = \"temperature >> 70\"";
    daemon.configure(&format!("[upstream]\nbrokers = [\"127.0.0.1:1\"]\n{HOT}{condition}\n"))?;
    for command in ["run", "check"] {
        let refused = daemon.try_command(&[command])?;
        ensure!(refused.status.code() == Some(2), "{refused:?}");
        ensure!(errors(&refused).contains(condition), "shows the line: {refused:?}");
    }
    Ok(())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn hands_messages_to_subscribers_and_tells_of_lost_clients() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let port = daemon.port();
    let mut first = subscribe(port)?;
    let publish = [
        ("plant/1/telemetry", QoS::AtMostOnce),
        ("plant/1/other", QoS::AtLeastOnce),
        ("plant/2/telemetry", QoS::AtLeastOnce),
        ("alarm/a/b", QoS::AtLeastOnce),
    ];
    let (client, mut connection) = device::connect(port, "publisher");
    for (topic, qos) in publish {
        client.publish(topic, qos, false, "on")?;
    }
    await_packet(&mut connection, |packet| matches!(packet, Packet::PubAck(_)).then_some(()))?;
    let mut got = messages(&mut first.1, 3)?;
    got.sort();
    let wanted =
        [("alarm/a/b", "on", 0), ("plant/1/telemetry", "on", 0), ("plant/2/telemetry", "on", 1)];
    ensure!(got == wanted.map(|(topic, text, qos)| (topic.into(), text.into(), qos)), "{got:?}");

    // The same client again: the first connection ends, the second is served.
    let mut second = subscribe(port)?;
    wait::until("the end of the first", ANSWER_MAX, || {
        Ok(matches!(first.1.recv_timeout(ANSWER_MAX), Ok(Err(_))).then_some(()))
    })?;
    drop(first);

    // One leaves in order, one is cut off: only the second one's will is told.
    let (polite, mut ending) = with_will(port, "polite")?;
    polite.disconnect()?;
    while let Ok(Ok(_)) = ending.recv_timeout(ANSWER_MAX) {}
    drop(with_will(port, "lost")?);
    let told = messages(&mut second.1, 1)?;
    ensure!(told == [("alarm/lost".into(), "gone".into(), 0)], "{told:?}");
    Ok(())
}

/// A client that hears `plant/+/telemetry` with `QoS` 1 and `alarm/#` with 0.
fn subscribe(port: u16) -> Result<(Client, Connection)> {
    let (client, mut connection) = device::connect(port, "listener");
    client.subscribe("plant/+/telemetry", QoS::AtLeastOnce)?;
    client.subscribe("alarm/#", QoS::AtMostOnce)?;
    for _ in 0..2 {
        await_packet(&mut connection, |packet| matches!(packet, Packet::SubAck(_)).then_some(()))?;
    }
    Ok((client, connection))
}

/// A connected client with a will.
fn with_will(port: u16, name: &str) -> Result<(Client, Connection)> {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    let topic = format!("alarm/{name}");
    options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, false));
    let (client, mut connection) = Client::new(options, 10);
    await_packet(&mut connection, |packet| matches!(packet, Packet::ConnAck(_)).then_some(()))?;
    Ok((client, connection))
}

/// The next `count` messages: topic, payload, `QoS`.
fn messages(connection: &mut Connection, count: usize) -> Result<Vec<(String, String, u8)>> {
    let message = |packet| match packet {
        Packet::Publish(publish) => {
            let payload = String::from_utf8_lossy(&publish.payload).into_owned();
            Some((publish.topic, payload, publish.qos as u8))
        }
        _ => None,
    };
    (0..count).map(|_| await_packet(connection, message)).collect()
}

fn await_packet<T>(connection: &mut Connection, wanted: impl Fn(Packet) -> Option<T>) -> Result<T> {
    loop {
        let event = connection.recv_timeout(ANSWER_MAX);
        let event = event.map_err(|error| anyhow!("nothing came: {error:?}"))??;
        if let MqttEvent::Incoming(packet) = event
            && let Some(found) = wanted(packet)
        {
            return Ok(found);
        }
    }
}
