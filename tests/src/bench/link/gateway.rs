//! The daemon under measurement: on a log that was filled before, alone on a processor or behind a link.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::publisher::{BURST, Publisher, reading};
use crate::bench::usage;
use crate::process::{self, Process};
use crate::{ports, wait};

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(20);
/// Machines of the plant whose readings fill a log.
const MACHINES: u64 = 10;

/// How one is started.
pub(super) struct Plan<'a> {
    pub(super) binary: &'a Path,
    /// Holds configuration and log; kept when it ends.
    pub(super) dir: &'a Path,
    /// The gateway's name: a new one is a new identity to Kafka, on the same log.
    pub(super) name: &'a str,
    /// What runs it: a program and its arguments.
    pub(super) runner: &'a [String],
    /// Where devices connect; `None` is a free port of this machine.
    pub(super) address: Option<SocketAddrV4>,
    /// Behind the settings that all have.
    pub(super) sections: &'a str,
}

/// The daemon.
pub(super) struct Gateway {
    process: Process,
    binary: PathBuf,
    config: PathBuf,
    address: SocketAddrV4,
}

impl Gateway {
    /// Starts it, and waits for its MQTT port.
    pub(super) fn start(plan: &Plan<'_>) -> Result<Self> {
        let local =
            || Ok::<_, anyhow::Error>(SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports::free()?));
        let address = plan.address.map_or_else(local, Ok)?;
        fs::create_dir_all(plan.dir)?;
        let config = plan.dir.join("tributary.toml");
        let Plan { name, sections, .. } = plan;
        let text = format!(
            "gateway = \"{name}\"\n[log]\ndir = \"{}\"\nsize = \"1 GiB\"\n\
             [[listener]]\naddress = \"{address}\"\nanonymous = true\n{sections}",
            plan.dir.join("data").display()
        );
        fs::write(&config, text)?;
        let mut words = plan.runner.iter().map(String::as_str).chain([path(plan.binary)?]);
        let mut command = Command::new(words.next().context("a program")?);
        command.args(words).arg("run").arg("--config").arg(&config);
        let mut process = Process::start("tributary", command, &plan.dir.join("gateway.log"))?;
        wait::until("the MQTT port", START_MAX, || {
            process.check_running()?;
            Ok(TcpStream::connect(address).ok().map(drop))
        })?;
        Ok(Self { process, binary: plan.binary.to_owned(), config, address })
    }

    /// Where devices connect.
    pub(super) const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What `tributary status` says.
    pub(super) fn status(&self) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command.args(["status", "--json", "--config"]).arg(&self.config);
        Ok(serde_json::from_str(&process::output(command)?)?)
    }

    /// One of the numbers of `tributary status`.
    pub(super) fn number(&self, pointer: &str) -> Result<u64> {
        let status = self.status()?;
        let number = status.pointer(pointer).and_then(Value::as_u64);
        number.with_context(|| format!("{pointer} in {status:#}"))
    }

    /// Waits until it has a session with the cluster.
    pub(super) fn wait_until_live(&self, limit: Duration) -> Result<()> {
        let mut last = Value::Null;
        let live = wait::until("a session", limit, || {
            last = self.status()?;
            Ok((last["upstream"]["state"] == "live").then_some(()))
        });
        live.with_context(|| format!("{last:#}"))
    }

    /// Waits until everything durable is settled.
    pub(super) fn wait_until_drained(&self, limit: Duration) -> Result<()> {
        let mut last = Value::Null;
        let drained = wait::until("an empty backlog", limit, || {
            last = self.status()?;
            Ok((last["upstream"]["backlog"] == 0).then_some(()))
        });
        drained.with_context(|| format!("{last:#}"))
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        Ok(usage::cpu_us(self.process.id())? / 1e6)
    }

    /// The most resident memory that it ever had.
    pub(super) fn peak_rss_bytes(&self) -> Result<f64> {
        usage::peak_rss_bytes(self.process.id())
    }

    /// Ends it, and leaves its files.
    pub(super) fn stop(mut self) -> Result<()> {
        self.process.terminate(STOP_MAX).map(drop)
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path of plain text")
}

/// An upstream with these settings and no broker there: what waits for it is a backlog.
pub(super) fn away(routes: &str) -> String {
    format!("[upstream]\nbrokers = [\"127.0.0.1:1\"]\n{routes}")
}

/// Fills a new log in `dir` with so many readings of a plant, while the cluster of these routes is away.
pub(super) fn fill(binary: &Path, (dir, routes): (&Path, &str), readings: u64) -> Result<()> {
    let (sections, name) = (away(routes), "press-line-3");
    let plan = Plan { binary, dir, name, runner: &[], address: None, sections: &sections };
    let gateway = Gateway::start(&plan)?;
    let mut publisher = Publisher::connect(gateway.address(), "filler")?;
    let mut random = fastrand::Rng::with_seed(readings);
    let mut serial = 0;
    while serial < readings {
        let end = readings.min(serial + BURST as u64);
        let burst: Vec<String> = (serial..end).map(|serial| reading(serial, &mut random)).collect();
        let machine = serial / BURST as u64 % MACHINES;
        publisher.burst(&format!("plant/press-{machine}/telemetry"), &burst)?;
        serial = end;
    }
    gateway.stop()
}
