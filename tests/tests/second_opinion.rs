//! A second reading of Kafka's protocol: the test broker of krafka, written by others, judges what
//! the daemon sends and says what stands in the topics.

use anyhow::{Context, Result, ensure};
use krafka::testing::{ApiKey, Control, FakeBroker};
use tributary_tests::daemon::Daemon;
use tributary_tests::delivery::{self, Record};
use tributary_tests::device::Device;
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const MESSAGES: usize = 400;

#[test]
fn each_selected_event_stands_once_in_a_broker_by_others() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let broker = runtime.block_on(FakeBroker::start())?;
    // It serves more than it says: the daemon asks for a stable position, from version 7 on.
    broker.set_api_versions(ApiKey::OffsetFetch, 5, 9);
    broker.set_transaction_version(2);
    for topic in ["all", "hot"] {
        ensure!(broker.create_topic(topic, 1), "{topic} is new");
    }
    let sections = format!(
        "[upstream]\nbrokers = [\"{}\"]\n\
         [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"all\"\n\
         [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"hot\"\nwhere = \"temperature > 70\"\n",
        broker.bootstrap_servers(),
    );
    // What a client cannot know the outcome of: done, and the answer lost.
    for api in [ApiKey::Produce, ApiKey::TxnOffsetCommit, ApiKey::EndTxn] {
        broker.on_once(api, |_| Control::ApplyThen(Box::new(Control::Disconnect)));
    }
    let mut random = scratch::random("second opinion")?;
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    let message = |seq| format!(r#"{{"seq":{seq},"temperature":{}}}"#, 40 + seq * 7 % 60);
    let messages = (0..MESSAGES).map(message).collect();
    let device = Device::start(daemon.port(), "plant/7/telemetry", messages);
    for acked in [MESSAGES / 4, MESSAGES / 2] {
        device.wait_for(acked)?;
        wait::pass(core::time::Duration::from_millis(random.u64(..30)));
        daemon.kill()?;
        daemon.restart()?;
    }
    let sent = device.finish()?;
    daemon.drain()?;

    let events = daemon.events()?;
    let (all, hot) = (committed(&broker, "all")?, committed(&broker, "hot")?);
    delivery::check("all", &all, &events, |_| true)?;
    delivery::check("hot", &hot, &events, |event| is_hot(&event.payload))?;
    sent.check(all.iter().map(|record| record.value.as_str()), |_| true)?;
    sent.check(hot.iter().map(|record| record.value.as_str()), is_hot)
}

fn is_hot(payload: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
    value["temperature"].as_f64().is_some_and(|temperature| temperature > 70.0)
}

/// What a `read_committed` reader sees, in krafka's words.
fn committed(broker: &FakeBroker, topic: &str) -> Result<Vec<Record>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let record = |record: krafka::consumer::ConsumerRecord| {
        let headers = record.headers.iter().map(|(name, value)| {
            Ok((name.clone(), text(value.as_deref().context("a header has a value")?)?))
        });
        Ok(Record {
            key: record.key.as_deref().map(text).transpose()?,
            value: text(record.value.as_deref().context("a record has a value")?)?,
            headers: headers.collect::<Result<_>>()?,
        })
    };
    broker.committed_records(topic)?.into_iter().map(record).collect()
}
