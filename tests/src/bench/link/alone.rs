//! The bridge alone: a log that was filled before, drained into a real broker by a daemon on one
//! processor; and librdkafka's and Kafka's own producer with transactions of about the same size, in turn.
//!
//! The rate is the broker's word for all of them: records committed a second, from the first
//! transaction that it shows to the last.

use core::fmt::Write as _;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::committed::{Watch, rate};
use super::gateway::{Gateway, Plan, away};
use super::told::{Bar, Told, median, real};
use crate::bench::usage;
use crate::process;
use crate::real::cache;
use crate::real::kafka::{Kafka, Listeners, Setup};

const ROUNDS: usize = 3;
/// Events a second, and for so long: `tributary bench mqtt` fills the log, with a second of warm-up.
const FILL: [&str; 4] = ["--rate", "600000", "--seconds", "4"];
/// Records that warm the broker's Java up.
const WARM_UP: u64 = 1_000_000;
const DRAIN_MAX: Duration = Duration::from_mins(3);
/// Of Kafka's own tool: transactions of about as many records as the others'.
const JAVA_TRANSACTION_MS: &str = "80";
/// What keeps a producer on one processor; the broker may use what is left.
const ONE_CORE: [&str; 3] = ["taskset", "-c", "0"];
const OURS: &str = "tributary";
const OURS_HEADERS: &str = "tributary, with its headers";
const LIBRDKAFKA: &str = "librdkafka, transactions";
const JAVA: &str = "Kafka's producer-perf-test, transactions";

/// One drain, or one run of a peer.
#[derive(Clone, Debug)]
struct Run {
    name: &'static str,
    per_second: f64,
    seconds: f64,
    cpu_s_per_million: f64,
    rss_bytes: Option<f64>,
    /// Records of a transaction, about.
    per_transaction: Option<u64>,
}

/// What all runs have in common.
struct Bench<'a> {
    binary: &'a Path,
    place: &'a Path,
    kafka: Kafka,
}

/// A log that no cluster has seen, and the route under which it was filled.
struct Filled {
    name: &'static str,
    dir: PathBuf,
    topic: &'static str,
    route: String,
    records: u64,
}

/// Runs all of it.
pub(super) fn measure(binary: &Path, place: &Path) -> Result<Told> {
    let plain = Filled::new(OURS, (binary, place), ("plain", "headers = []\n"))?;
    let headers = Filled::new(OURS_HEADERS, (binary, place), ("headers", ""))?;
    let kafka =
        Kafka::start_for_load(Setup::V412Tv2, &place.join("kafka"), Listeners::direct()?, "")?;
    let bench = Bench { binary, place, kafka };
    for filled in [&plain, &headers] {
        bench.kafka.create_topic(filled.topic, 1)?;
    }
    let mut runs = Vec::new();
    bench.librdkafka("warm-up", (WARM_UP, 30_000))?;
    for round in 0..ROUNDS {
        let ours = bench.ours(&plain, round)?;
        let size = ours.per_transaction.unwrap_or(1);
        runs.push(ours);
        runs.push(bench.librdkafka(&format!("librdkafka-{round}"), (plain.records, size))?);
        runs.push(bench.java(&format!("java-{round}"), plain.records)?);
        runs.push(bench.ours(&headers, round)?);
    }
    Ok(tell(&runs, plain.records))
}

impl Filled {
    /// A log of some million events, filled while the cluster is away.
    fn new(
        name: &'static str,
        (binary, place): (&Path, &Path),
        (topic, shape): (&'static str, &str),
    ) -> Result<Self> {
        let dir = place.join(topic);
        let route =
            format!("[[route]]\nfrom = \"bench/+/telemetry\"\ntopic = \"{topic}\"\n{shape}");
        let sections = away(&route);
        let plan = Plan {
            binary,
            dir: &dir,
            name: topic,
            runner: &[],
            address: None,
            sections: &sections,
        };
        let gateway = Gateway::start(&plan)?;
        let mut command = Command::new(binary);
        command.args(["bench", "mqtt", "--json", "--address", &gateway.address().to_string()]);
        command.args(FILL);
        process::output(command)?;
        let records = gateway.number("/log/durable")?;
        ensure!(gateway.number("/log/oldest")? == 0, "the log is too small for {records} events");
        gateway.stop()?;
        Ok(Self { name, dir, topic, route, records })
    }
}

impl Bench<'_> {
    /// Drains a copy of the log, as a gateway that Kafka has never met.
    fn ours(&self, filled: &Filled, round: usize) -> Result<Run> {
        let Filled { name, dir, topic, route, records } = filled;
        let copy = self.place.join("drained");
        let mut command = Command::new("cp");
        command.arg("-r").args([dir, &copy]);
        process::output(command)?;
        let address = self.kafka.address();
        let sections =
            format!("[upstream]\nbrokers = [\"{address}\"]\ncompression = \"none\"\n{route}");
        let watch = Watch::start(self.kafka.port(), topic)?;
        let end = watch.end() + records;
        let plan = Plan {
            binary: self.binary,
            dir: &copy,
            name: &format!("{topic}-{round}"),
            runner: &ONE_CORE.map(str::to_owned),
            address: None,
            sections: &sections,
        };
        let gateway = Gateway::start(&plan)?;
        watch.wait_for(end, DRAIN_MAX)?;
        gateway.wait_until_drained(DRAIN_MAX)?;
        let (cpu_s, rss) = (gateway.cpu_s()?, gateway.peak_rss_bytes()?);
        let transactions = gateway.number("/upstream/counters/transactions")?;
        let sessions = gateway.number("/upstream/counters/sessions")?;
        ensure!(sessions == 1, "{sessions} sessions: the machine is too busy to measure anything");
        gateway.stop()?;
        fs::remove_dir_all(&copy)?;
        let (per_second, seconds) = rate(&watch.finish()?)?;
        Ok(said(Run {
            name,
            per_second,
            seconds,
            cpu_s_per_million: cpu_s / real(*records) * 1e6,
            rss_bytes: Some(rss),
            per_transaction: records.checked_div(transactions),
        }))
    }

    fn librdkafka(&self, topic: &str, (records, size): (u64, u64)) -> Result<Run> {
        self.kafka.create_topic(topic, 1)?;
        let watch = Watch::start(self.kafka.port(), topic)?;
        let mut command = on_one_core(&cache::python("produce.py"));
        command.args(["transactions", "--brokers", &self.kafka.address(), "--topic", topic]);
        command.args(["--records", &records.to_string(), "--per-transaction", &size.to_string()]);
        command.args(["--codec", "none"]);
        let told: Value = serde_json::from_str(&process::output(command)?)?;
        watch.wait_for(records, DRAIN_MAX)?;
        let number = |name: &str| told[name].as_f64().with_context(|| name.to_owned());
        let (per_second, seconds) = rate(&watch.finish()?)?;
        Ok(said(Run {
            name: LIBRDKAFKA,
            per_second,
            seconds,
            cpu_s_per_million: number("cpu_s")? / real(records) * 1e6,
            rss_bytes: Some(number("rss_bytes")?),
            per_transaction: Some(size),
        }))
    }

    fn java(&self, topic: &str, records: u64) -> Result<Run> {
        self.kafka.create_topic(topic, 1)?;
        let watch = Watch::start(self.kafka.port(), topic)?;
        let tool = self.kafka.java("org.apache.kafka.tools.ProducerPerformance")?;
        let mut command = on_one_core(&tool);
        command.args(["--topic", topic, "--num-records", &records.to_string()]);
        command.args(["--record-size", "128", "--throughput", "-1"]);
        command.args(["--transactional-id", topic]);
        command.args(["--transaction-duration-ms", JAVA_TRANSACTION_MS, "--producer-props"]);
        command.arg(format!("bootstrap.servers={}", self.kafka.address()));
        command.args(["batch.size=900000", "linger.ms=5", "compression.type=none"]);
        command.arg("buffer.memory=67108864");
        let before = usage::cpu_of_ended_us()?;
        process::output(command)?;
        let cpu_s = (usage::cpu_of_ended_us()? - before) / 1e6;
        watch.wait_for(records, DRAIN_MAX)?;
        let samples = watch.finish()?;
        let transactions = samples.len().saturating_sub(1) as u64;
        let (per_second, seconds) = rate(&samples)?;
        Ok(said(Run {
            name: JAVA,
            per_second,
            seconds,
            cpu_s_per_million: cpu_s / real(records) * 1e6,
            rss_bytes: None,
            per_transaction: records.checked_div(transactions),
        }))
    }
}

/// The same program with the same arguments on one processor.
fn on_one_core(command: &Command) -> Command {
    let mut pinned = Command::new(ONE_CORE[0]);
    pinned.args(&ONE_CORE[1..]).arg(command.get_program()).args(command.get_args());
    pinned
}

fn said(run: Run) -> Run {
    #[expect(clippy::print_stdout, reason = "progress on long work")]
    {
        let Run { name, per_second, seconds, cpu_s_per_million, .. } = &run;
        println!(
            "{name}: {per_second:.0} records/s for {seconds:.1} s, {cpu_s_per_million:.2} CPU-s per million"
        );
    }
    run
}

fn tell(runs: &[Run], records: u64) -> Told {
    let of = |name: &'static str| runs.iter().filter(move |run| run.name == name);
    let mut text = format!(
        "**The bridge alone.** {records} events of 128 bytes from the log into Kafka, uncompressed; {ROUNDS} rounds \
         in turn, medians. Each producer has one processor, and the broker what is left.\n\n\
         | producer | records/s | CPU-s per million | peak RSS | records a transaction |\n|---|---|---|---|---|\n"
    );
    for name in [OURS, LIBRDKAFKA, JAVA, OURS_HEADERS] {
        let per_second = median(of(name).map(|run| run.per_second));
        let cpu = median(of(name).map(|run| run.cpu_s_per_million));
        let rss = of(name).filter_map(|run| run.rss_bytes).reduce(f64::max);
        let rss = rss.map_or_else(String::new, |rss| format!("{:.1} MB", rss / 1e6));
        let size = median(of(name).filter_map(|run| run.per_transaction).map(real));
        writeln!(text, "| {name} | {per_second:.0} | {cpu:.2} | {rss} | {size:.0} |")
            .unwrap_or_else(|_| unreachable!("strings grow"));
    }
    let ratio = |name| {
        let pairs = of(OURS).zip(of(name));
        median(pairs.map(|(ours, other): (&Run, &Run)| ours.per_second / other.per_second))
    };
    let cpu = median(of(OURS).map(|run| run.cpu_s_per_million));
    let rss = runs.iter().filter(|run| run.name.starts_with(OURS)).filter_map(|run| run.rss_bytes);
    let rss = rss.fold(0.0, f64::max) / 1e6;
    let bars = vec![
        Bar::least("bridge alone, of librdkafka with transactions", (ratio(LIBRDKAFKA), 1.2), " x"),
        Bar::least("bridge alone, of Kafka's producer-perf-test", (ratio(JAVA), 2.0), " x"),
        Bar::most("bridge alone, CPU per million events", (cpu, 0.4), " s"),
        Bar::most("bridge alone, peak RSS of the daemon", (rss, 24.0), " MB"),
    ];
    Told { text, bars }
}
