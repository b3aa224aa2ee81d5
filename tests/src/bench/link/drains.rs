//! A backlog drained over a bad link: how much of the link the records use, and how soon the high lane
//! has its turn.
//!
//! Used is what committed records are, as batches in Kafka: headers of TCP and IP, what is sent again,
//! and every word of the protocol count as not used.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::committed::{Broker, Sample, Watch};
use super::gateway::{Gateway, Plan, fill};
use super::network::{Network, Quality};
use super::publisher::{Publisher, reading};
use super::told::{Bar, Told, real};
use crate::real::kafka::{Kafka, Listeners, Setup};
use crate::wait;

/// The link of a plant far away.
const FAR: Quality =
    Quality { rate: 10_000_000, delay_ms: 100, loss_percent: 0, queue_bytes: 250_000 };
/// The link of a plant that hardly has one.
const NARROW: Quality =
    Quality { rate: 64_000, delay_ms: 30, loss_percent: 5, queue_bytes: 16_000 };
const FAR_USED_MIN: f64 = 80.0;
const NARROW_USED_MIN: f64 = 60.0;
/// What no livelock is: a first commit by then, and hardly a session lost on the way.
const FIRST_S_MAX: f64 = 60.0;
const SESSIONS_LOST_MAX: f64 = 3.0;
/// Codec, and readings enough for the time.
const NARROW_DRAINS: [(&str, u64); 2] = [("auto", 100_000), ("none", 20_000)];
/// A lane that is not through by then is stuck.
const FIRST_MAX: Duration = Duration::from_mins(2);
const DRAIN_MAX: Duration = Duration::from_mins(4);
/// How long the narrow link is watched.
const NARROW_SPAN: Duration = Duration::from_mins(4);
/// Alarms on the narrow link, and how far apart.
const ALARMS: usize = 6;
const APART: Duration = Duration::from_secs(20);
const ALARM_MAX: Duration = Duration::from_mins(2);
const TOPIC: &str = "backlog";
const ALARM_TOPIC: &str = "alarms";
/// Each has a session.
const LANES: u64 = 2;

/// By default a broker gives a connection 100 KiB to receive into: whatever the client, no more than that is on its way
/// in one round trip. So its operating system sees to it, as on any broker that is far away.
const WINDOWS: &str = "socket.receive.buffer.bytes=-1\nsocket.send.buffer.bytes=-1\n";

/// Name, codec, readings, and the broker's settings. The first is held against the bar: where records are compressed, the
/// processor has its part in the time, and records a second count.
const FAR_DRAINS: [(&str, &str, u64, &str); 3] = [
    ("none", "none", 250_000, WINDOWS),
    ("auto", "auto", 1_000_000, WINDOWS),
    ("none, and the broker's default window", "none", 75_000, ""),
];

/// Everything that a drain needs; dropped in this order.
struct Stage {
    gateway: Gateway,
    kafka: Kafka,
    _network: Network,
    watch: Watch,
    begun: Instant,
}

/// What was used of the link.
struct Used {
    percent: f64,
    seconds: f64,
    first_s: f64,
    per_second: f64,
    bytes_per_record: f64,
    transactions: usize,
    sessions: u64,
}

/// The link of 10 Mbit/s.
pub(super) fn far(binary: &Path, place: &Path) -> Result<Told> {
    let mut text = format!(
        "**A link of 10 Mbit/s with 200 ms there and back**, a backlog of readings. Of sessions each of the \
         two lanes has one; what is more is what was lost.\n\n{HEAD}"
    );
    let mut bars = Vec::new();
    for (name, codec, readings, broker) in FAR_DRAINS {
        let dir = place.join(codec);
        fs::create_dir_all(&dir)?;
        let stage = Stage::set((binary, &dir), FAR, (codec, readings, broker))?;
        stage.watch.wait_for(readings, DRAIN_MAX)?;
        stage.gateway.wait_until_drained(DRAIN_MAX)?;
        let used = stage.finish(FAR)?;
        fs::remove_dir_all(&dir)?;
        text += &used.line(name);
        if bars.is_empty() {
            let what = format!("10 Mbit/s, 200 ms, compression \"{codec}\": used of the link");
            bars.push(Bar::least(&what, (used.percent, FAR_USED_MIN), " %"));
        }
    }
    text += "\nWith its default of 100 KiB (`socket.receive.buffer.bytes`) a broker takes from any client only so much in a round \
             trip; the others here are of one that leaves it to its operating system (-1).\n";
    Ok(Told { text, bars })
}

/// The link of 64 kbit/s that loses packets.
pub(super) fn narrow(binary: &Path, place: &Path) -> Result<Told> {
    let mut text = format!(
        "**A link of 64 kbit/s that loses 5 % of the packets**, both ways, 60 ms there and back; watched for {} s. \
         \"none\" stands for what does not compress.\n\n{HEAD}",
        NARROW_SPAN.as_secs()
    );
    let mut bars = Vec::new();
    let mut waits = Vec::new();
    for (codec, readings) in NARROW_DRAINS {
        let dir = place.join(codec);
        fs::create_dir_all(&dir)?;
        let stage = Stage::set((binary, &dir), NARROW, (codec, readings, ""))?;
        stage.watch.wait_for(1, FIRST_MAX).context("the link of 64 kbit/s is not got through")?;
        let until = Instant::now() + NARROW_SPAN;
        let alarms = stage.alarms()?;
        wait::pass(until.saturating_duration_since(Instant::now()));
        ensure!(stage.gateway.number("/upstream/backlog")? > 0, "the backlog was too small");
        let used = stage.finish(NARROW)?;
        fs::remove_dir_all(&dir)?;
        text += &used.line(codec);
        waits.push(format!("\n{}\n", words(codec, &alarms)));
        bars.extend(narrow_bars(codec, &used, &alarms));
    }
    text.extend(waits);
    Ok(Told { text, bars })
}

fn words(codec: &str, alarms: &[(f64, usize)]) -> String {
    let seconds: Vec<String> = alarms.iter().map(|(seconds, _)| format!("{seconds:.1}")).collect();
    let commits: Vec<String> = alarms.iter().map(|(_, commits)| commits.to_string()).collect();
    format!(
        "{ALARMS} alarms in the high lane meanwhile (\"{codec}\"): committed after {} s, and {} transactions of the backlog before them.",
        seconds.join(" "),
        commits.join(" ")
    )
}

fn narrow_bars(codec: &str, used: &Used, alarms: &[(f64, usize)]) -> Vec<Bar> {
    let of = |what: &str| format!("64 kbit/s, 5 % loss, compression \"{codec}\": {what}");
    let worst = alarms.iter().map(|(_, commits)| *commits).max().unwrap_or(usize::MAX);
    let sessions = real(used.sessions.saturating_sub(LANES));
    vec![
        Bar::least(&of("used of the link"), (used.percent, NARROW_USED_MIN), " %"),
        Bar::most(&of("until the first commit"), (used.first_s, FIRST_S_MAX), " s"),
        Bar::most(&of("sessions lost"), (sessions, SESSIONS_LOST_MAX), ""),
        Bar::most(&of("commits before an alarm"), (real(worst as u64), 1.0), ""),
    ]
}

const HEAD: &str = "| compression | used of the link | records/s | for | bytes a record | transactions | first commit after | sessions |\n\
                    |---|---|---|---|---|---|---|---|\n";

impl Stage {
    /// Fills a log, and lets a gateway behind the link loose on it.
    fn set(
        (binary, dir): (&Path, &Path),
        quality: Quality,
        (codec, readings, broker): (&str, u64, &str),
    ) -> Result<Self> {
        let data = dir.join("gateway");
        let routes = format!(
            "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"{TOPIC}\"\n\
             [[route]]\nfrom = \"plant/+/alarm\"\ntopic = \"{ALARM_TOPIC}\"\nlane = \"high\"\n"
        );
        fill(binary, (&data, &routes), readings)?;
        let network = Network::new(quality, dir)?;
        let far = Network::far()?;
        let listeners = Listeners { apart: Some(far), ..Listeners::direct()? };
        let kafka = Kafka::start_for_load(Setup::V412Tv2, &dir.join("kafka"), listeners, broker)?;
        kafka.create_topic(TOPIC, 1)?;
        kafka.create_topic(ALARM_TOPIC, 1)?;
        let sections =
            format!("[upstream]\nbrokers = [\"{far}\"]\ncompression = \"{codec}\"\n{routes}");
        let watch = Watch::start(kafka.port(), TOPIC)?;
        let begun = Instant::now();
        let plan = Plan {
            binary,
            dir: &data,
            name: "press-line-3",
            runner: &Network::runner(),
            address: Some(Network::inside()?),
            sections: &sections,
        };
        Ok(Self { gateway: Gateway::start(&plan)?, kafka, _network: network, watch, begun })
    }

    /// Alarms during the drain: seconds to the commit of each, and transactions of the backlog that were
    /// committed before it.
    fn alarms(&self) -> Result<Vec<(f64, usize)>> {
        let mut publisher = Publisher::connect(self.gateway.address(), "alarm")?;
        let mut random = fastrand::Rng::with_seed(2);
        let mut delays = Vec::new();
        let watch = Watch::start(self.kafka.port(), ALARM_TOPIC)?;
        let backlog = Watch::start(self.kafka.port(), TOPIC)?;
        for serial in 0..ALARMS {
            wait::pass(APART);
            let before = watch.end();
            publisher.burst("plant/press-7/alarm", &[reading(serial as u64, &mut random)])?;
            let sent_at = Instant::now();
            watch.wait_for(before + 1, ALARM_MAX)?;
            delays.push((sent_at, Instant::now()));
        }
        watch.finish()?;
        let commits = backlog.finish()?;
        let between = |(from, to): (Instant, Instant)| {
            let commits = commits.iter().skip(1);
            let commits = commits.filter(|Sample { at, .. }| (from..to).contains(at)).count();
            (to.duration_since(from).as_secs_f64(), commits)
        };
        Ok(delays.into_iter().map(between).collect())
    }

    fn finish(self, quality: Quality) -> Result<Used> {
        let Self { gateway, kafka, begun, .. } = &self;
        let sessions = gateway.number("/upstream/counters/sessions")?;
        let end = Broker::connect(kafka.port())?.end(TOPIC)?;
        let bytes_per_record = real(fs::metadata(kafka.first_segment(TOPIC))?.len()) / real(end);
        let begun = *begun;
        let samples = self.watch.finish()?;
        let (first, last) = (samples.get(1).context("a commit")?, &samples[samples.len() - 1]);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let bits = real(last.end - first.end) * bytes_per_record * 8.0;
        let used = Used {
            percent: bits / seconds / f64::from(quality.rate) * 100.0,
            seconds,
            per_second: real(last.end - first.end) / seconds,
            first_s: first.at.duration_since(begun).as_secs_f64(),
            bytes_per_record,
            transactions: samples.len() - 1,
            sessions,
        };
        #[expect(clippy::print_stdout, reason = "progress on long work")]
        {
            print!("{}", used.line("drained"));
        }
        Ok(used)
    }
}

impl Used {
    fn line(&self, codec: &str) -> String {
        let Self { percent, seconds, first_s, bytes_per_record, transactions, sessions, .. } = self;
        let per_second = self.per_second;
        format!(
            "| {codec} | {percent:.1} % | {per_second:.0} | {seconds:.0} s | {bytes_per_record:.1} | {transactions} | {first_s:.1} s | {sessions} |\n"
        )
    }
}
