//! A second reading of Kafka's protocol: a test broker by others judges what the daemon sends in
//! transaction version 2, loses answers, and says what stands in its topics.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use krafka::consumer::ConsumerRecord;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};
use tokio::runtime::Runtime;
use tributary_tests::daemon::Daemon;
use tributary_tests::delivery::{self, Record};
use tributary_tests::device::{Device, Sent};
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// What a fault takes to be met, back-offs before it included.
const FAULT_MAX: Duration = Duration::from_secs(20);
/// Well before a transaction's time-out, at which the broker would abort it.
const ABORT_MAX: Duration = Duration::from_secs(5);
/// Messages that each fault meets: some transactions' worth.
const MESSAGES: usize = 40;

/// What happens to the next request of one kind.
type Fault = (ApiKey, Control);

/// A cluster of three, and a daemon that replicates into it.
struct World {
    daemon: Daemon,
    broker: FakeBroker,
    /// The broker's tasks run in it.
    _runtime: Runtime,
    sent: Vec<Sent>,
}

impl World {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let broker = runtime.block_on(FakeBroker::start_cluster(3))?;
        broker.set_transaction_version(2);
        // It serves more than it says: a stable position is asked for from version 7 on.
        broker.set_api_versions(ApiKey::OffsetFetch, 5, 9);
        let addresses = broker.bootstrap_servers().replace(',', "\", \"");
        let daemon = Daemon::start(
            TRIBUTARY,
            &format!(
                "[upstream]\nbrokers = [\"{addresses}\"]\n\
                 [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"all\"\n\
                 [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"hot\"\n\
                 where = \"temperature > 70\"\n",
            ),
        )?;
        let mut world = Self { daemon, broker, _runtime: runtime, sent: Vec::new() };
        world.publish()?;
        world.daemon.drain()?;
        Ok(world)
    }

    /// One more device publishes, and all of it is acknowledged.
    fn publish(&mut self) -> Result<()> {
        let topic = format!("plant/{}/telemetry", self.sent.len());
        self.sent.push(Device::publish(self.daemon.port(), &topic, readings(MESSAGES))?);
        Ok(())
    }

    /// Publishes, and waits until each of the faults has met its request.
    fn meet(&mut self, faults: Vec<Fault>) -> Result<()> {
        let (what, wanted) = (format!("{faults:?}"), faults.len());
        let met = Arc::new(AtomicUsize::new(0));
        for (api, control) in faults {
            let met = Arc::clone(&met);
            self.broker.on_once(api, move |_| {
                met.fetch_add(1, Ordering::Relaxed);
                control.clone()
            });
        }
        self.publish()?;
        wait::until(&what, FAULT_MAX, || Ok((met.load(Ordering::Relaxed) == wanted).then_some(())))
    }

    fn identity(&self) -> Result<String> {
        let status = self.daemon.status()?;
        let identity = status["upstream"]["identity"].as_str();
        Ok(identity.context("a lane has an identity")?.to_owned())
    }

    /// Everything that was acknowledged stands in the broker once and in order, as far as it is
    /// selected, and the position is behind it.
    fn check(&self) -> Result<()> {
        self.daemon.drain()?;
        let events = self.daemon.events()?;
        let (all, hot) = (self.committed("all")?, self.committed("hot")?);
        delivery::check("all", &all, &events, |_| true)?;
        delivery::check("hot", &hot, &events, |event| is_hot(&event.payload))?;
        for sent in &self.sent {
            let own = |record: &&Record| record.key.as_deref() == Some(sent.topic());
            sent.check(all.iter().filter(own).map(|record| record.value.as_str()), |_| true)?;
            sent.check(hot.iter().filter(own).map(|record| record.value.as_str()), is_hot)?;
        }
        let identity = self.identity()?;
        let position = self.broker.committed_offset(&identity, "tributary.positions", 0);
        ensure!(position == Some(i64::try_from(events.len())?), "{position:?}");
        Ok(())
    }

    /// What a `read_committed` reader of `topic` sees.
    fn committed(&self, topic: &str) -> Result<Vec<Record>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        let record = |record: ConsumerRecord| {
            let headers = record.headers.iter().map(|(name, value)| {
                Ok((name.clone(), text(value.as_deref().context("a header has a value")?)?))
            });
            Ok(Record {
                key: record.key.as_deref().map(text).transpose()?,
                value: text(record.value.as_deref().context("a record has a value")?)?,
                headers: headers.collect::<Result<_>>()?,
            })
        };
        self.broker.committed_records(topic)?.into_iter().map(record).collect()
    }

    /// Copies in `topic` that transactions left behind which were aborted.
    fn aborted(&self, topic: &str) -> Result<usize> {
        let all = self.broker.all_records(topic)?.len();
        Ok(all - self.broker.committed_records(topic)?.len())
    }
}

/// `count` readings, each different, of 40 to 99 degrees.
fn readings(count: usize) -> Vec<String> {
    let reading = |seq| format!(r#"{{"seq":{seq},"temperature":{}}}"#, 40 + seq * 7 % 60);
    (0..count).map(reading).collect()
}

fn is_hot(payload: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
    value["temperature"].as_u64().is_some_and(|temperature| temperature > 70)
}

/// The request is served, but nobody learns what came of it.
fn lost() -> Control {
    Control::ApplyThen(Box::new(Control::Disconnect))
}

/// The request is served, and its answer does not come.
fn awaited() -> Control {
    Control::ApplyThen(Box::new(Control::Silence))
}

#[test]
fn it_is_spoken_to_in_these_versions_alone() -> Result<()> {
    let world = World::start()?;
    let spoken: BTreeSet<String> = world
        .broker
        .requests()
        .iter()
        .map(|request| format!("{:?} {}", request.api_key, request.api_version))
        .collect();
    let wanted = [
        "ApiVersions 3",
        "CreateTopics 4",
        "EndTxn 5",
        "FindCoordinator 2",
        "InitProducerId 4",
        "Metadata 12",
        "OffsetFetch 9",
        "Produce 12",
        "TxnOffsetCommit 5",
    ];
    ensure!(spoken.iter().map(String::as_str).eq(wanted), "{spoken:?}");
    ensure!(world.aborted("all")? == 0, "nothing went wrong");
    world.check()
}

#[test]
fn each_event_stands_once_though_answers_are_lost() -> Result<()> {
    let mut world = World::start()?;
    world.meet(vec![(ApiKey::Produce, lost())])?;
    world.meet(vec![(ApiKey::TxnOffsetCommit, lost())])?;
    world.meet(vec![(ApiKey::EndTxn, Control::Disconnect)])?;
    ensure!(world.aborted("all")? > 0, "what was begun is not what stands");
    // Committed or not, only the next session can tell, and that is made to wait.
    world.meet(vec![
        (ApiKey::EndTxn, lost()),
        (ApiKey::FindCoordinator, Control::Error(ErrorCode::CoordinatorNotAvailable)),
        (ApiKey::InitProducerId, Control::Error(ErrorCode::CoordinatorLoadInProgress)),
        (ApiKey::OffsetFetch, Control::Error(ErrorCode::UnstableOffsetCommit)),
    ])?;
    world.check()
}

#[test]
fn each_event_stands_once_though_requests_are_put_off() -> Result<()> {
    let mut world = World::start()?;
    let sessions = world.broker.request_count(ApiKey::InitProducerId);
    let busy = || Control::Error(ErrorCode::ConcurrentTransactions);
    world.meet(vec![(ApiKey::Produce, busy()), (ApiKey::TxnOffsetCommit, busy())])?;
    // The same EndTxn again, after it has been served.
    world.meet(vec![(ApiKey::EndTxn, Control::ApplyThen(Box::new(busy())))])?;
    // Leader and coordinators move, each to a broker of its own.
    let identity = world.identity()?;
    world.broker.set_leader("all", 0, 1);
    world.broker.set_txn_coordinator(&identity, 1);
    world.broker.set_group_coordinator(&identity, 2);
    world.publish()?;
    world.check()?;
    let after = world.broker.request_count(ApiKey::InitProducerId);
    ensure!(after == sessions, "one session does it all: {after}, not {sessions}");
    Ok(())
}

#[test]
fn what_is_refused_does_not_keep_readers_waiting() -> Result<()> {
    let mut world = World::start()?;
    let identity = world.identity()?;
    let sessions = world.broker.request_count(ApiKey::InitProducerId);
    world.meet(vec![(ApiKey::Produce, Control::Error(ErrorCode::TopicAuthorizationFailed))])?;
    wait::until("the abort of what was refused", ABORT_MAX, || {
        let fenced = world.broker.request_count(ApiKey::InitProducerId) > sessions;
        Ok((fenced && !world.broker.transaction_is_open(&identity)).then_some(()))
    })?;
    let refused = &world.daemon.status()?["upstream"]["refused"];
    let named = refused.as_str().is_some_and(|text| text.contains("TOPIC_AUTHORIZATION_FAILED"));
    ensure!(named, "{refused}");
    Ok(())
}

/// Batches that are refused for what is in them are divided within their transaction.
#[test]
fn what_can_be_delivered_in_parts_is() -> Result<()> {
    let mut world = World::start()?;
    let sessions = world.broker.request_count(ApiKey::InitProducerId);
    world.meet(vec![(ApiKey::Produce, Control::Error(ErrorCode::InvalidRecord))])?;
    world.publish()?;
    world.check()?;
    let after = world.broker.request_count(ApiKey::InitProducerId);
    ensure!(after == sessions, "one session does it all: {after}, not {sessions}");
    ensure!(world.aborted("all")? == 0, "nothing is aborted");
    Ok(())
}

/// While another device publishes all along.
#[test]
fn each_event_stands_once_over_kills_in_every_part_of_a_transaction() -> Result<()> {
    let mut world = World::start()?;
    let device = Device::start(world.daemon.port(), "plant/x/telemetry", readings(1000));
    for (api, control) in [
        (ApiKey::Produce, Control::Silence),
        (ApiKey::Produce, awaited()),
        (ApiKey::TxnOffsetCommit, awaited()),
        (ApiKey::EndTxn, Control::Silence),
        (ApiKey::EndTxn, awaited()),
    ] {
        world.meet(vec![(api, control)])?;
        world.daemon.kill()?;
        world.broker.clear_requests();
        world.daemon.restart()?;
    }
    world.sent.push(device.finish()?);
    world.check()?;
    ensure!(world.aborted("all")? > 0, "what was begun is not what stands");
    let mut asked = world.broker.requests().into_iter().map(|request| request.api_key);
    let fenced = asked.any(|api| api == ApiKey::InitProducerId);
    ensure!(fenced && asked.any(|api| api == ApiKey::OffsetFetch), "it is asked where to go on");
    Ok(())
}
