//! Measures brokers as processes: what `tests/bench` runs.

pub mod document;
mod figures;
pub mod link;
mod server;
mod usage;

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::fs::fdatasync;
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use figures::SLOW;
pub use figures::{Bar, Figures, Row, Syncs};
use server::Server;

use crate::authority::Authority;
use crate::daemon::check_account;
use crate::real::kafka::{Kafka, Listeners, Setup};
use crate::{ports, wait};

/// How long a load lasts.
const SECONDS: u64 = 8;
/// How long the whole path is watched.
const PATH_SECONDS: u64 = 20;
/// The loads: connections, and the window of each.
const LOADS: [(u16, u16); 5] = [(50, 100), (1000, 1), (1, 100), (10, 1), (1, 1)];
/// Loads of another quality of service, and one device that many listen to.
const OTHERS: [(&str, (u16, u16), &[&str]); 4] = [
    ("50 x 100, QoS 0", (50, 100), &["--qos", "0"]),
    ("50 x 100, QoS 2", (50, 100), &["--qos", "2"]),
    ("1 to 1000, QoS 0", (1, 10), &["--qos", "0", "--subscribers", "1000"]),
    ("1 to 1000, QoS 1", (1, 10), &["--qos", "1", "--subscribers", "1000"]),
];
const IDLE: u16 = 1_000;
/// With the one that publishes as many as a listener lets in.
const IDLE_MANY: u32 = 9_999;
/// Devices that come again all at once, and how often.
const STORM: (u32, u32) = (5_000, 2);
/// The whole path gets so much of what Mosquitto takes in: half a route's events are selected.
const PATH_SHARE: f64 = 2.0;
const SYNCS: usize = 500;
/// What has [`syncs`] alone run, in the directory named behind it, and told as JSON.
pub const SYNCS_OF: &str = "--syncs-of";
const DRAIN_MAX: Duration = Duration::from_mins(5);

/// What a load came to.
struct Loaded {
    per_second: f64,
    delivered_per_second: f64,
    total: f64,
    p50_us: f64,
    p99_us: f64,
}

/// What is measured, and what measures.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon as it is packaged: without benchmarks and demonstration.
    pub packaged: PathBuf,
    /// The one that has `bench`.
    pub generator: PathBuf,
}

/// Runs everything; `place` is an empty directory on the disk that is measured.
///
/// # Errors
/// Something does not start or ends early.
pub fn run(programs: &Programs, place: &Path) -> Result<Figures> {
    let Programs { packaged, generator: binary } = programs;
    let mut figures = Figures { machine: machine()?, ..Figures::default() };
    figures.sync = syncs(place)?;
    figures.slow_sync = slow_syncs(place)?;
    let loads = LOADS.map(|load| (format!("{} x {}", load.0, load.1), load, &[][..]));
    let others = OTHERS.map(|(name, load, more)| (name.to_owned(), load, more));
    for (name, load, more) in loads.into_iter().chain(others) {
        let mosquitto = Server::mosquitto(&place.join("mosquitto"))?;
        figures.rows.push(measure(binary, mosquitto, (&name, load, more))?);
        let tributary = Server::tributary(packaged, &place.join("tributary"), "")?;
        figures.rows.push(measure(binary, tributary, (&name, load, more))?);
    }
    for (name, connections) in SLOW.into_iter().zip([1, 10]) {
        let server = Server::tributary_with_slow_syncs(packaged, &place.join("tributary"))?;
        let row = measure(binary, server, (name, (connections, 1), &[]))?;
        // Whoever holds up its syncs takes part of its processor.
        figures.rows.push(Row { cpu_us: 0.0, ..row });
    }
    for server in [
        Server::mosquitto(&place.join("mosquitto"))?,
        Server::tributary(packaged, &place.join("tributary"), "")?,
    ] {
        figures.rows.push(idle(binary, server)?);
    }
    figures.rows.extend(doors(programs, place)?);
    let kafka = Kafka::start(Setup::V412Tv2, &place.join("kafka"), Listeners::direct()?)?;
    let rate = figures.per_second("50 x 100", "mosquitto") * PATH_SHARE;
    for rate in [Some(rate), None] {
        let topic = if rate.is_some() { "hot" } else { "hot-unthrottled" };
        kafka.create_topic(topic, 1)?;
        let sections = format!(
            "[upstream]\nbrokers = [\"{}\"]\n[[route]]\nfrom = \"bench/+/telemetry\"\n\
             where = \"temperature > 70\"\ntopic = \"{topic}\"\n",
            kafka.address()
        );
        let server = Server::tributary(packaged, &place.join("path"), &sections)?;
        figures.rows.push(whole_path(binary, server, rate)?);
    }
    Ok(figures)
}

fn measure(
    binary: &Path,
    mut server: Server,
    (name, sizes, more): (&str, (u16, u16), &[&str]),
) -> Result<Row> {
    let before = server.cpu_us()?;
    let loaded = load(binary, &server, sizes, more)?;
    let is_delivered = loaded.delivered_per_second > 0.0;
    let row = Row {
        load: name.to_owned(),
        broker: server.name,
        is_delivered,
        per_second: if is_delivered { loaded.delivered_per_second } else { loaded.per_second },
        p50_us: loaded.p50_us,
        p99_us: loaded.p99_us,
        cpu_us: if is_delivered { 0.0 } else { (server.cpu_us()? - before) / loaded.total },
        rss_bytes: server.peak_rss_bytes()?,
        ..Row::default()
    };
    server.stop()?;
    tell(&row);
    Ok(row)
}

fn idle(binary: &Path, mut server: Server) -> Result<Row> {
    let args = ["--seconds", "3"];
    let loaded = load(binary, &server, (IDLE, 0), &args)?;
    ensure!(loaded.total < 1.0, "an idle connection publishes");
    let row = Row {
        load: format!("{IDLE} idle"),
        broker: server.name,
        rss_bytes: server.peak_rss_bytes()?,
        ..Row::default()
    };
    server.stop()?;
    tell(&row);
    Ok(row)
}

/// Connections in number: 1,000 over TLS and 10,000 plain that do nothing, and a storm of reconnects
/// over TLS while one device publishes.
fn doors(programs: &Programs, place: &Path) -> Result<Vec<Row>> {
    let Programs { packaged, generator } = programs;
    let authority = Authority::new()?;
    let port = ports::free()?;
    let tls = authority.server("gateway", "localhost")?.section("");
    let section = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n{tls}");
    let ca = authority.cert().display().to_string();
    let over_tls = format!("localhost:{port}");
    let mut rows = Vec::new();
    let (devices, rounds) = STORM;
    for (what, connections, rounds, secure) in [
        ("1000 idle, TLS", u32::from(IDLE), 1, true),
        ("10000 idle", IDLE_MANY, 1, false),
        ("5000 reconnect, TLS", devices, rounds, true),
    ] {
        let mut server = Server::tributary(packaged, &place.join("tributary"), &section)?;
        let plain = format!("127.0.0.1:{}", server.port);
        let mut command = Command::new(generator);
        command.args(["bench", "connect", "--json", "--probe", &plain]);
        command.args(["--connections", &connections.to_string(), "--rounds", &rounds.to_string()]);
        command.args(["--address", if secure { &over_tls } else { &plain }]);
        if secure {
            command.args(["--ca", &ca]);
        }
        if rounds > 1 {
            command.args(["--at-once", &connections.to_string()]);
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "{command:?}: {}", output.status);
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let number = |path: &str| told.pointer(path).and_then(Value::as_f64).context("a figure");
        let row = Row {
            load: what.to_owned(),
            broker: server.name,
            per_second: number("/per_second")?,
            p50_us: number("/puback_us/p50")?,
            p99_us: number("/puback_us/p99")?,
            rss_bytes: server.peak_rss_bytes()?,
            is_connections: true,
            ..Row::default()
        };
        server.stop()?;
        tell(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn whole_path(binary: &Path, mut server: Server, rate: Option<f64>) -> Result<Row> {
    let before = server.cpu_us()?;
    let rate_text = rate.map(|rate| format!("{rate:.0}"));
    let seconds = PATH_SECONDS.to_string();
    let mut args = vec!["--seconds", &seconds];
    args.extend(rate_text.iter().flat_map(|rate| ["--rate", rate]));
    let loaded = load(binary, &server, (50, 100), &args)?;
    let status = server.status()?;
    let records =
        status["upstream"]["counters"]["records"].as_f64().context("it counts records")?;
    let backlog_ms = match status["upstream"]["oldest_undelivered_ms"].as_f64() {
        None if status["upstream"]["backlog"] == 0 => 0.0,
        age => age.context("a backlog has an age")?,
    };
    wait::until("an empty backlog", DRAIN_MAX, || {
        Ok((server.status()?["upstream"]["backlog"] == 0).then_some(()))
    })?;
    let cpu = server.cpu_us()? - before;
    check_account(&server.status()?)?;
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let out = records / (PATH_SECONDS + 1) as f64;
    let row = Row {
        load: format!("into Kafka, {}", if rate.is_some() { "paced" } else { "unthrottled" }),
        broker: server.name,
        per_second: loaded.per_second,
        p50_us: loaded.p50_us,
        p99_us: loaded.p99_us,
        cpu_us: cpu / loaded.total,
        rss_bytes: server.peak_rss_bytes()?,
        is_connections: false,
        is_delivered: false,
        out_per_second: Some(out),
        backlog_ms: Some(backlog_ms),
    };
    server.stop()?;
    tell(&row);
    Ok(row)
}

fn load(
    binary: &Path,
    server: &Server,
    (connections, window): (u16, u16),
    more: &[&str],
) -> Result<Loaded> {
    let (connections, window) = (connections.to_string(), window.to_string());
    let address = format!("127.0.0.1:{}", server.port);
    let seconds = SECONDS.to_string();
    let mut command = Command::new(binary);
    command.args(["bench", "mqtt", "--json", "--address", &address]);
    command.args(["--connections", &connections, "--window", &window]);
    if !more.contains(&"--seconds") {
        command.args(["--seconds", &seconds]);
    }
    let output = command.args(more).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |path: &str| told.pointer(path).and_then(Value::as_f64).context("a figure");
    Ok(Loaded {
        per_second: number("/per_second")?,
        delivered_per_second: number("/delivered_per_second")?,
        total: number("/total")?,
        p50_us: number("/puback_us/p50")?,
        p99_us: number("/puback_us/p99")?,
    })
}

/// One sync after the other of four kilobytes in a file that was written before: what the disk
/// itself needs.
///
/// # Errors
/// The file cannot be written.
pub fn syncs(place: &Path) -> Result<Syncs> {
    let path = place.join("disk");
    let file = fs::File::create(&path)?;
    let page = [0x55; 4096];
    for at in 0..256 {
        file.write_all_at(&page, at * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for serial in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&page, (serial as u64 % 256) * 4096)?;
        fdatasync(&file)?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Syncs { p50_us: us(times[SYNCS / 2]), p99_us: us(times[SYNCS * 99 / 100]) })
}

/// The same by this program once more, whose syncs are held up as the daemon's are then.
fn slow_syncs(place: &Path) -> Result<Syncs> {
    let mut command = server::with_slow_syncs(&std::env::current_exe()?);
    let output = command.arg(SYNCS_OF).arg(place).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| told[name].as_f64().context("a figure");
    Ok(Syncs { p50_us: number("p50_us")?, p99_us: number("p99_us")? })
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or_default();
    let date = Command::new("date").arg("+%F").output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let (arch, kernel) = (std::env::consts::ARCH, kernel.trim());
    let version = Command::new("mosquitto").arg("-h").env("PATH", server::path()).output()?;
    let version = String::from_utf8_lossy(&version.stdout).lines().next().map(str::to_owned);
    let version = version.context("mosquitto tells its version")?;
    Ok(format!(
        "{date}; {cores} cores, {arch}, Linux {kernel}; load average before: {load}; {version}."
    ))
}

fn tell(row: &Row) {
    #[expect(clippy::print_stdout, reason = "progress on long work")]
    {
        print!("{}", row.line());
    }
}
