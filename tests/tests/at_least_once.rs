//! `delivery = "at-least-once"`, by processes and sockets: without a right to transactions, over kills,
//! outages and faults, each event stands in Kafka, at least once and for the first time in order.

use core::time::Duration;
use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, ensure};
use tributary_cluster::{
    ApiKey, Cluster, Fault, FaultKind, FaultRates, Kafka, Permission, Served, Settings,
    TopicSettings, TransactionVersion,
};
use tributary_tests::daemon::{Daemon, check_account};
use tributary_tests::device::Device;
use tributary_tests::{refused, scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const READINGS: usize = 400;
const KILLS: usize = 5;
const COME_MAX: Duration = Duration::from_secs(40);

fn cluster(kafka: Kafka) -> Result<(Served, String)> {
    let mut cluster = Cluster::new(Settings { kafka, brokers: 2, ..Settings::default() });
    let narrow = TopicSettings { batch_bytes_max: refused::BYTES_MAX, ..TopicSettings::default() };
    for (name, topic) in [("all", TopicSettings::default()), ("narrow", narrow)] {
        cluster.create_topic(name, topic).map_err(|error| anyhow!("{error:?}"))?;
    }
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream =
        format!("[upstream]\nbrokers = [{}]\ndelivery = \"at-least-once\"\n", brokers.join(", "));
    Ok((served, upstream))
}

/// The values of a topic whose first copies are in order; answers with how many came again.
fn check(values: &[usize], wanted: impl Iterator<Item = usize>) -> Result<usize> {
    let mut seen = BTreeSet::new();
    let first: Vec<usize> = values.iter().copied().filter(|value| seen.insert(*value)).collect();
    ensure!(first.iter().copied().eq(wanted), "{first:?}");
    Ok(values.len() - first.len())
}

fn values(served: &Served, topic: &str) -> Result<Vec<usize>> {
    let records = served.with(|cluster| cluster.read_committed(topic, 0));
    let value = |value: Option<bytes::Bytes>| -> Result<usize> {
        Ok(core::str::from_utf8(&value.context("a value")?)?.parse()?)
    };
    records.into_iter().map(|record| value(record.value)).collect()
}

/// Nobody may use a transactional id, and none is used.
fn forbid_transactions(served: &Served, daemon: &Daemon) -> Result<()> {
    let status = daemon.status()?;
    let identity = status["upstream"]["identity"].as_str().context("an identity")?.to_owned();
    served.with(|cluster| {
        cluster.deny(Permission::WriteTransactionalId(identity.clone()));
        cluster.deny(Permission::DescribeTransactionalId(identity));
    });
    Ok(())
}

fn survives(kafka: Kafka) -> Result<()> {
    let mut random = scratch::random("at least once")?;
    let (served, upstream) = cluster(kafka)?;
    let route = "[[route]]\nfrom = \"#\"\ntopic = \"all\"\n";
    let mut daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{route}"))?;
    forbid_transactions(&served, &daemon)?;
    let rates = FaultRates {
        cut_before: 150,
        cut_after: 150,
        delay: 300,
        delay_ms_max: 5,
        ..FaultRates::default()
    };
    served.with(|cluster| cluster.set_fault_rates(rates));
    let readings = (0..READINGS).map(|number| number.to_string()).collect();
    let device = Device::start(daemon.port(), "plant/1/telemetry", readings);
    for kill in 1..=KILLS {
        device.wait_for(READINGS * kill / (KILLS + 1))?;
        wait::pass(Duration::from_millis(random.u64(..40)));
        if kill == 3 {
            served.go_away();
            wait::until("the ports", COME_MAX, || Ok(served.come_back().ok()))?;
        } else {
            daemon.kill()?;
            daemon.restart()?;
        }
    }
    device.finish()?;
    served.with(|cluster| cluster.set_fault_rates(FaultRates::default()));
    let status = daemon.drain()?;
    ensure!(status["upstream"]["at_least_once"] == true, "{status:#}");
    let text = daemon.command(&["status"])?;
    ensure!(text.contains(", at least once)"), "{text}");
    // What the device has published again is an event of its own.
    let events = daemon.events()?;
    let wanted: Vec<usize> =
        events.iter().map(|it| it.payload.parse()).collect::<Result<_, _>>()?;
    let wanted: BTreeSet<usize> = wanted.into_iter().collect();
    check(&values(&served, "all")?, wanted.into_iter())?;
    Ok(())
}

#[test]
fn nothing_is_lost_on_3_9_2() -> Result<()> {
    survives(Kafka::V3_9_2)
}

#[test]
fn nothing_is_lost_on_4_1_2() -> Result<()> {
    survives(Kafka::V4_1_2(TransactionVersion::V2))
}

/// The answer to a batch is lost, and the position of before with the group: what is in doubt comes again,
/// and no lane halts.
#[test]
fn what_is_in_doubt_comes_again() -> Result<()> {
    let (served, upstream) = cluster(Kafka::V4_1_2(TransactionVersion::V2))?;
    let route = "[[route]]\nfrom = \"#\"\ntopic = \"all\"\n";
    let mut daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{route}"))?;
    forbid_transactions(&served, &daemon)?;
    let publish = |daemon: &Daemon, numbers: core::ops::Range<usize>| {
        let readings = numbers.map(|number| number.to_string()).collect();
        Device::publish(daemon.port(), "plant/1/telemetry", readings)
    };
    publish(&daemon, 0..20)?;
    daemon.drain()?;
    served
        .with(|cluster| cluster.inject(Fault::next(ApiKey::OffsetCommit, FaultKind::DropRequest)));
    publish(&daemon, 20..40)?;
    wait::until("the commit of their position", COME_MAX, || {
        Ok((served.with(|cluster| cluster.faults_ordered()) == 0).then_some(()))
    })?;
    let status = daemon.status()?;
    let identity = status["upstream"]["identity"].as_str().context("an identity")?;
    daemon.kill()?;
    served.with(|cluster| cluster.forget_group(identity));
    daemon.restart()?;
    publish(&daemon, 40..50)?;
    check_account(&daemon.drain()?)?;
    let again = check(&values(&served, "all")?, 0..50)?;
    ensure!(again > 0, "nothing was in doubt");
    Ok(())
}

/// What Kafka never takes is found and kept as with transactions.
#[test]
fn what_is_refused_becomes_a_dead_letter() -> Result<()> {
    let (served, upstream) = cluster(Kafka::V3_9_2)?;
    let route = "[[route]]\nfrom = \"#\"\ntopic = \"narrow\"\n";
    let daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{route}"))?;
    forbid_transactions(&served, &daemon)?;
    let readings = refused::readings(60)?;
    Device::publish(daemon.port(), "plant/1/telemetry", readings)?;
    let status = daemon.drain()?;
    let large = (0..60).filter(|seq| refused::is_large(*seq)).count();
    ensure!(status["routes"][0]["dead_lettered"] == large, "{status:#}");
    let there = served.with(|cluster| cluster.read_committed("narrow", 0).len());
    ensure!(there == 60 - large, "{there} records");
    Ok(())
}

/// `upstream check` asks for what this delivery needs, and for no transaction.
#[test]
fn the_check_needs_no_transaction() -> Result<()> {
    let (served, upstream) = cluster(Kafka::V3_9_2)?;
    let route = "[[route]]\nfrom = \"#\"\ntopic = \"all\"\n";
    let daemon = Daemon::start(TRIBUTARY, &format!("{upstream}{route}"))?;
    forbid_transactions(&served, &daemon)?;
    let check = "tributary.gw.0000000000000000.check".to_owned();
    served.with(|cluster| {
        cluster.deny(Permission::WriteTransactionalId(check.clone()));
        cluster.deny(Permission::DescribeTransactionalId(check.clone()));
    });
    Device::publish(daemon.port(), "plant/1/telemetry", vec!["1".to_owned()])?;
    daemon.drain()?;
    let found = daemon.try_command(&["upstream", "check"])?;
    ensure!(found.status.success(), "{found:?}");
    served.with(|cluster| cluster.deny(Permission::ReadGroup(check)));
    let found = daemon.try_command(&["upstream", "check"])?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    ensure!(!found.status.success() && text.contains("✗ position"), "{text}");
    Ok(())
}
