//! Bytes on the wire at 1000 events a transaction: what the daemon sends, and what librdkafka's plain
//! producer sends for the very same records and codec; counted by a proxy before the broker.

use core::fmt::Write as _;
use core::time::Duration;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::committed::Watch;
use super::gateway::{Gateway, Plan};
use super::publisher::{BURST, Publisher, reading};
use super::told::{Bar, Told, real};
use crate::process;
use crate::real::cache;
use crate::real::kafka::{Kafka, Listeners, Setup};
use crate::real::proxy::Proxy;
use crate::{ports, wait};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const BURSTS: u64 = 50;
const COMMIT_MAX: Duration = Duration::from_secs(30);
/// Of librdkafka's bytes.
const RATIO_MAX: f64 = 1.1;

/// One codec.
struct Counted {
    codec: &'static str,
    ours: f64,
    theirs: f64,
    per_transaction: f64,
}

/// Runs all of it.
pub(super) fn measure(binary: &Path, place: &Path) -> Result<Told> {
    let (own, announced) = (ports::free()?, ports::free()?);
    let proxy = Proxy::start(announced, own, fastrand::Rng::with_seed(1))?;
    let listeners = Listeners { proxied: Some((own, announced)), ..Listeners::direct()? };
    let kafka = Kafka::start_for_load(Setup::V412Tv2, &place.join("kafka"), listeners, "")?;
    let far = (&kafka, &proxy, format!("127.0.0.1:{announced}"));
    let counted = CODECS.map(|codec| count(codec, (binary, &place.join(codec)), &far));
    let counted = counted.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(tell(&counted))
}

fn count(
    codec: &'static str,
    (binary, dir): (&Path, &Path),
    (kafka, proxy, brokers): &(&Kafka, &Proxy, String),
) -> Result<Counted> {
    let topics = [format!("ours-{codec}"), format!("theirs-{codec}")];
    for topic in &topics {
        kafka.create_topic(topic, 1)?;
    }
    let [ours, theirs] = &topics;
    let sections = format!(
        "[upstream]\nbrokers = [\"{brokers}\"]\ncompression = \"{codec}\"\n\
         [[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"{ours}\"\n"
    );
    let before = proxy.sent();
    let plan =
        Plan { binary, dir, name: "press-line-3", runner: &[], address: None, sections: &sections };
    let gateway = Gateway::start(&plan)?;
    gateway.wait_until_live(COMMIT_MAX)?;
    let watch = Watch::start(kafka.port(), ours)?;
    let mut publisher = Publisher::connect(gateway.address(), "press-7")?;
    let mut random = fastrand::Rng::with_seed(1);
    for burst in 0..BURSTS {
        let serials = burst * BURST as u64..;
        let payloads: Vec<String> =
            serials.take(BURST).map(|serial| reading(serial, &mut random)).collect();
        publisher.burst("plant/press-7/telemetry", &payloads)?;
        // With the mark that ends each transaction.
        let end = (burst + 1) * (BURST as u64 + 1);
        watch.wait_for(end, COMMIT_MAX)?;
    }
    gateway.wait_until_drained(COMMIT_MAX)?;
    let our_bytes = proxy.sent() - before;
    let (records, transactions) = (
        gateway.number("/upstream/counters/records")?,
        gateway.number("/upstream/counters/transactions")?,
    );
    ensure!(records == BURSTS * BURST as u64, "{records} records are committed");
    gateway.stop()?;
    watch.finish()?;
    let before = quiet(proxy)?;
    let mut command = cache::python("produce.py");
    command.args(["again", "--brokers", brokers, "--topic", theirs, "--codec", codec]);
    command.args(["--from", &kafka.address(), "--source", ours]);
    command.args(["--per-flush", &BURST.to_string()]);
    let told: Value = serde_json::from_str(&process::output(command)?)?;
    ensure!(told["records"] == records, "librdkafka has sent {}", told["records"]);
    let counted = Counted {
        codec,
        ours: real(our_bytes) / real(records),
        theirs: real(quiet(proxy)? - before) / real(records),
        per_transaction: real(records) / real(transactions),
    };
    #[expect(clippy::print_stdout, reason = "progress on long work")]
    {
        let Counted { ours, theirs, .. } = counted;
        println!("{codec}: {ours:.1} bytes a record, librdkafka {theirs:.1}");
    }
    Ok(counted)
}

/// What was sent, once nothing more comes.
fn quiet(proxy: &Proxy) -> Result<u64> {
    let mut last = (u64::MAX, 0);
    wait::until("a quiet proxy", COMMIT_MAX, || {
        let sent = proxy.sent();
        last = if sent == last.0 { (sent, last.1 + 1) } else { (sent, 0) };
        Ok((last.1 >= 10).then_some(sent))
    })
    .context("after the client has ended")
}

fn tell(counted: &[Counted]) -> Told {
    let mut text = format!(
        "**Bytes on the wire.** {BURSTS} bursts of {BURST} readings (JSON, 128 bytes, six headers and a key each), to the \
         broker, connections and transactions included; librdkafka's plain producer sends the same records again.\n\n\
         | codec | tributary, bytes a record | librdkafka | records a transaction |\n|---|---|---|---|\n"
    );
    for Counted { codec, ours, theirs, per_transaction } in counted {
        writeln!(text, "| {codec} | {ours:.1} | {theirs:.1} | {per_transaction:.0} |")
            .unwrap_or_else(|_| unreachable!("strings grow"));
    }
    let bars = counted.iter().map(|Counted { codec, ours, theirs, .. }| {
        let what = format!("bytes on the wire at {BURST} events a transaction, {codec}");
        Bar::most(&what, (ours / theirs, RATIO_MAX), " x librdkafka's")
    });
    Told { text, bars: bars.collect() }
}
