//! Lanes that have halted, by processes and sockets: where Kafka's topics can be read they settle the
//! doubt; else an operator is told what a decision comes to, and only what was confirmed is done. The lane goes on,
//! once, over a restart, and the account tells.

use core::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tributary_cluster::{
    ApiKey, Cluster, Fault, FaultKind, Permission, Served, Settings, TopicSettings,
};
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::device::Device;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const HALT_MAX: Duration = Duration::from_secs(20);
/// What a transaction may take, and half a minute for Kafka to end it.
const HANGING_MAX: Duration = Duration::from_mins(2);

/// A configuration with one route, more settings of the way to Kafka, and more routes.
fn sections(served: &Served, upstream: &str, routes: &str) -> String {
    let broker = &served.addresses()[0];
    let first = "[[route]]\nfrom = \"#\"\ntopic = \"all\"\n";
    format!("[upstream]\nbrokers = [\"{broker}\"]\n{upstream}{first}{routes}")
}

struct Scene {
    served: Served,
    daemon: Daemon,
    count: usize,
}

impl Scene {
    fn new() -> Result<Self> {
        let mut cluster = Cluster::new(Settings::default());
        for topic in ["all", "old"] {
            cluster.create_topic(topic, TopicSettings::default()).ok().context("a new topic")?;
        }
        let served = Served::start(cluster)?;
        let daemon = Daemon::start(TRIBUTARY, &sections(&served, "", ""))?;
        Ok(Self { served, daemon, count: 0 })
    }

    fn publish_after_restart(&mut self, count: usize) -> Result<()> {
        self.daemon.restart()?;
        self.publish(count)
    }

    fn publish(&mut self, count: usize) -> Result<()> {
        let readings = (self.count..self.count + count).map(|n| n.to_string()).collect();
        self.count += count;
        Device::publish(self.daemon.port(), "plant/1/telemetry", readings)?;
        Ok(())
    }

    fn delivered(&self) -> Result<Vec<usize>> {
        self.delivered_to("all")
    }

    fn delivered_to(&self, topic: &str) -> Result<Vec<usize>> {
        let records = self.served.with(|cluster| cluster.read_committed(topic, 0));
        let value = |value: Option<bytes::Bytes>| -> Result<usize> {
            Ok(core::str::from_utf8(&value.context("a value")?)?.parse()?)
        };
        records.into_iter().map(|record| value(record.value)).collect()
    }

    /// Kafka forgets how far the gateway has come, while that is down; and starts again.
    fn be_forgotten(&mut self) -> Result<()> {
        let status = self.daemon.status()?;
        let identity = status["upstream"]["identity"].as_str().context("an identity")?;
        self.daemon.kill()?;
        self.served.with(|cluster| cluster.forget_group(identity));
        self.daemon.restart()
    }

    /// Killed before it has taken its claim back, and Kafka forgets; its topic cannot be read.
    fn halt(&mut self) -> Result<()> {
        self.publish(30)?;
        self.daemon.drain()?;
        self.served.with(|cluster| cluster.deny(Permission::ReadTopic("all".to_owned())));
        self.be_forgotten()?;
        let mut last = Value::Null;
        let halted = wait::until("the halt", HALT_MAX, || {
            last = self.daemon.status()?["upstream"].clone();
            Ok((last["state"] == "in doubt").then_some(()))
        });
        halted.with_context(|| format!("{last:#}"))?;
        let why = last["reason"].as_str().unwrap_or_default();
        ensure!(why.contains("`tributary upstream repair`, `adopt` or `skip`"), "{why}");
        Ok(())
    }

    fn decide(&self, args: &[&str]) -> Result<Value> {
        let args = [&["upstream"][..], args, &["--json"]].concat();
        Ok(serde_json::from_str(&self.daemon.command(&args)?)?)
    }

    /// Goes on, over a restart too, and tells what was skipped.
    fn goes_on(&mut self) -> Result<u64> {
        self.publish(20)?;
        self.daemon.drain()?;
        self.daemon.stop()?;
        self.daemon.restart()?;
        self.publish(20)?;
        let status = self.daemon.drain()?;
        check_account(&status)?;
        status["routes"][0]["skipped"].as_u64().context("a number")
    }
}

#[test]
fn what_is_passed_over_does_not_come_twice_and_is_counted() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.publish(50)?;
    scene.daemon.drain()?;
    scene.halt()?;
    let plan = scene.decide(&["skip"])?;
    let (from, to) = (plan["from"].as_u64().context("from")?, plan["to"].as_u64().context("to")?);
    ensure!(from < to && to == 80 && plan["at"] == to && plan["done"] == false, "{plan}");
    ensure!(scene.daemon.status()?["upstream"]["state"] == "in doubt", "it was only asked");
    let beyond = scene.daemon.try_command(&["upstream", "skip", "--yes", "--at", "81"])?;
    ensure!(!beyond.status.success(), "{beyond:?}");
    let done = scene.decide(&["skip", "--yes"])?;
    ensure!(done["done"] == true && done["at"] == to, "{done}");
    let skipped = scene.goes_on()?;
    ensure!(skipped == to - from, "{skipped} instead of {from} to {to}");
    let found = scene.delivered()?;
    ensure!(found.iter().copied().eq(0..scene.count), "{found:?}");
    let idle = scene.daemon.try_command(&["upstream", "adopt", "--yes"])?;
    let words = String::from_utf8_lossy(&idle.stderr).into_owned();
    ensure!(!idle.status.success() && words.contains("no lane has halted"), "{words}");
    Ok(())
}

#[test]
fn what_is_adopted_loses_nothing_and_may_come_twice() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.publish(50)?;
    scene.daemon.drain()?;
    scene.halt()?;
    let done = scene.decide(&["adopt", "--yes"])?;
    let from = usize::try_from(done["at"].as_u64().context("an offset")?)?;
    ensure!(done["at"] == done["from"] && from < 80, "{done}");
    ensure!(scene.goes_on()? == 0, "something was passed over");
    let found = scene.delivered()?;
    let wanted = (0..80).chain(from..scene.count);
    ensure!(found.iter().copied().eq(wanted), "from {from}: {found:?}");
    Ok(())
}

/// The first transaction of 30 readings behind 50 is struck at its end, and Kafka forgets the position. How many
/// stand in the topic when the gateway comes back.
fn doubt_settles_itself(kind: FaultKind) -> Result<usize> {
    let mut scene = Scene::new()?;
    scene.publish(50)?;
    scene.daemon.drain()?;
    scene.served.with(|cluster| cluster.inject(Fault::next(ApiKey::EndTxn, kind)));
    scene.publish(30)?;
    wait::until("the end of the transaction", HALT_MAX, || {
        let left = scene.served.with(|cluster| cluster.faults_ordered());
        Ok((left == 0).then_some(()))
    })?;
    let there = scene.delivered()?.len();
    scene.be_forgotten()?;
    ensure!(scene.goes_on()? == 0, "something was passed over");
    let log = scene.daemon.log_lines()?;
    ensure!(log.contains("of what was in doubt"), "it was never in doubt: {log}");
    let found = scene.delivered()?;
    ensure!(found.iter().copied().eq(0..scene.count), "{found:?}");
    Ok(there)
}

#[test]
fn what_stands_in_kafka_is_not_sent_again() -> Result<()> {
    ensure!(
        doubt_settles_itself(FaultKind::DropAnswer)? > 50,
        "the transaction was to be committed"
    );
    Ok(())
}

#[test]
fn what_does_not_stand_in_kafka_is_sent() -> Result<()> {
    ensure!(doubt_settles_itself(FaultKind::DropRequest)? == 50, "the transaction was to be lost");
    Ok(())
}

/// A route that begins with what is oldest reads back for long, under one claim. Killed in the middle of that, and
/// Kafka forgets: it goes on where its topic shows that it has come to.
#[test]
fn what_was_read_back_stands_in_kafka_once() -> Result<()> {
    const READINGS: usize = 5_000;
    let mut scene = Scene::new()?;
    scene.publish(READINGS)?;
    scene.daemon.drain()?;
    scene.daemon.stop()?;
    let back = "[[route]]\nfrom = \"#\"\ntopic = \"old\"\nstart = \"oldest\"\n";
    let slow = "bandwidth = \"64 kbit/s\"\n";
    scene.daemon.configure(&sections(&scene.served, slow, back))?;
    scene.daemon.restart()?;
    let mut there = 0;
    wait::until("a part of what is read back", HALT_MAX, || {
        there = scene.delivered_to("old")?.len();
        Ok((there > 0).then_some(()))
    })?;
    let status = scene.daemon.status()?;
    let identity = status["upstream"]["identity"].as_str().context("an identity")?.to_owned();
    scene.daemon.kill()?;
    there = scene.delivered_to("old")?.len();
    ensure!(there < READINGS, "it was to be killed before it had read back all");
    scene.daemon.configure(&sections(&scene.served, "", back))?;
    scene.served.with(|cluster| cluster.forget_group(&identity));
    scene.daemon.restart()?;
    ensure!(scene.goes_on()? == 0, "something was passed over");
    let log = scene.daemon.log_lines()?;
    ensure!(log.contains(&format!("and reads back from {there} first")), "{there}: {log}");
    for topic in ["all", "old"] {
        let found = scene.delivered_to(topic)?;
        ensure!(found.iter().copied().eq(0..scene.count), "{topic}: {found:?}");
    }
    Ok(())
}

#[test]
fn what_was_deleted_meanwhile_proves_nothing_and_is_said() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.publish(50)?;
    scene.daemon.drain()?;
    scene.halt()?;
    let refused = scene.daemon.try_command(&["upstream", "repair"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && words.contains("TOPIC_AUTHORIZATION_FAILED"), "{words}");
    scene.served.with(|cluster| {
        cluster.allow(&Permission::ReadTopic("all".to_owned()));
        let end = cluster.end_offset("all", 0).context("the topic")?;
        cluster.trim("all", 0, end).map_err(|error| anyhow!("{error:?}"))
    })?;
    let refused = scene.daemon.try_command(&["upstream", "repair"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && words.contains("were deleted meanwhile"), "{words}");
    ensure!(scene.daemon.status()?["upstream"]["state"] == "in doubt", "nothing was proven");
    Ok(())
}

/// Kafka has lost the end of a transaction (KAFKA-20734): its records can be read, its position not. An operator
/// is told so; the repair goes on behind them, and puts the position right.
#[test]
fn a_hanging_transaction_is_mended_by_what_stands_in_kafka() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.publish(30)?;
    let status = scene.daemon.drain()?;
    let identity = status["upstream"]["identity"].as_str().context("an identity")?.to_owned();
    scene.served.with(|cluster| cluster.lose_group_marker(&identity));
    // One transaction and no other, whose marker would be that of both.
    scene.publish(1)?;
    scene.daemon.drain()?;
    scene.daemon.kill()?;
    scene.publish_after_restart(10)?;
    let mut last = Value::Null;
    let halted = wait::until("the halt", HANGING_MAX, || {
        last = scene.daemon.status()?["upstream"].clone();
        Ok((last["state"] == "hanging transaction").then_some(()))
    });
    halted.with_context(|| format!("{last:#}"))?;
    let why = last["reason"].as_str().unwrap_or_default();
    ensure!(why.contains("`tributary upstream repair` reads Kafka's topics"), "{why}");
    let told = wait::until("what is right", HALT_MAX, || {
        let lines = scene.daemon.log_lines()?;
        Ok(lines.lines().find(|line| line.contains("is right")).map(str::to_owned))
    })?;
    ensure!(told.contains("goes on at offset 31"), "{told}");
    let refused = scene.daemon.try_command(&["upstream", "adopt", "--yes"])?;
    ensure!(!refused.status.success(), "only the topics can tell");
    ensure!(scene.delivered()?.len() == 31, "nothing is done unasked");

    let plan = scene.decide(&["repair"])?;
    ensure!(plan["at"] == 31 && plan["done"] == true, "{plan}");
    wait::until("all to be settled", HANGING_MAX, || {
        Ok((scene.daemon.status()?["upstream"]["backlog"] == 0).then_some(()))
    })?;
    // The position is readable again.
    scene.daemon.kill()?;
    scene.publish_after_restart(10)?;
    scene.daemon.drain()?;
    ensure!(scene.delivered()? == (0..51).collect::<Vec<_>>(), "{:?}", scene.delivered()?);
    Ok(())
}
