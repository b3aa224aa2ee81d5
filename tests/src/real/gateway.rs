//! The gateway under test: the released binary with a configuration and a directory of its own.

use core::fmt::Write as _;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::process::{self, Process};
use super::{binary, ports, wait};

/// The name in every header.
pub const NAME: &str = "gw";
const START_MAX: Duration = Duration::from_secs(20);
/// What the daemon promises for SIGTERM, and a second for a busy machine.
const STOP_MAX: Duration = Duration::from_secs(6);
/// A backlog of minutes, a broker that comes back, and back-off.
const DRAIN_MAX: Duration = Duration::from_mins(3);

/// Back-off at its longest, and a broker that comes back.
const DELIVERY_MAX: Duration = Duration::from_mins(1);

/// A `[[route]]`.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its name, and the Kafka topic.
    pub name: &'static str,
    /// The condition; empty passes all.
    pub condition: &'static str,
}

/// The daemon.
#[derive(Debug)]
pub struct Gateway {
    dir: PathBuf,
    brokers: String,
    port: u16,
    daemon: Option<Process>,
}

impl Gateway {
    /// Writes the configuration and starts; `brokers` are addresses with commas between them.
    ///
    /// # Errors
    /// Its MQTT port does not open.
    pub fn start(dir: &Path, brokers: &str, routes: &[Route]) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut gateway = Self {
            dir: dir.to_owned(),
            brokers: brokers.to_owned(),
            port: ports::free()?,
            daemon: None,
        };
        gateway.configure(routes)?;
        gateway.restart()?;
        Ok(gateway)
    }

    /// Where devices connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes the configuration anew; the daemon takes it on [`Self::reload`] or at its next start.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, routes: &[Route]) -> Result<()> {
        let mut text = format!(
            "gateway = \"{NAME}\"\n[log]\ndir = \"{}\"\nsize = \"256 MiB\"\n[[listener]]\naddress = \"127.0.0.1:{}\"\n[upstream]\nbrokers = [\"{}\"]\n",
            self.dir.join("data").display(),
            self.port,
            self.brokers.replace(',', "\", \"")
        );
        for Route { name, condition } in routes {
            writeln!(text, "[[route]]\nfrom = \"weather/+/reading\"\ntopic = \"{name}\"")?;
            if !condition.is_empty() {
                writeln!(text, "where = \"{condition}\"")?;
            }
        }
        std::fs::write(self.config(), text)?;
        Ok(())
    }

    /// Starts the daemon, on the same port and data.
    ///
    /// # Errors
    /// Its MQTT port does not open.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(binary::path()?);
        command.arg("run").arg("--config").arg(self.config());
        let log = self.dir.join("gateway.log");
        let daemon = self.daemon.insert(Process::start("tributary", command, &log)?);
        wait::until("the MQTT port", START_MAX, || {
            daemon.check_running()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok().map(drop))
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the gateway is not running")?.kill()
    }

    /// SIGHUP: read the configuration again.
    ///
    /// # Errors
    /// It is not running.
    pub fn reload(&mut self) -> Result<()> {
        self.daemon.as_mut().context("the gateway is not running")?.signal(Signal::HUP)
    }

    /// SIGTERM; must end well and in time.
    ///
    /// # Errors
    /// It does not.
    pub fn stop(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the gateway is not running")?;
        let status = daemon.terminate(STOP_MAX)?;
        ensure!(status.success(), "after SIGTERM the daemon ended with {status}");
        Ok(())
    }

    /// What `tributary status --json` says.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.command(&["status", "--json"])?)?)
    }

    /// What a subcommand prints.
    ///
    /// # Errors
    /// It fails.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(binary::path()?);
        command.args(args).arg("--config").arg(self.config());
        process::output(command)
    }

    /// What a subcommand prints that may find something wrong.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn try_command(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(binary::path()?);
        let output = command.args(args).arg("--config").arg(self.config()).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until Kafka has acknowledged something more than now.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for_delivery(&self) -> Result<()> {
        let settled = || Ok::<_, anyhow::Error>(self.status()?["upstream"]["settled"].as_u64());
        let before = settled()?;
        wait::until("a delivery", DELIVERY_MAX, || Ok((settled()? > before).then_some(())))
    }

    /// Waits until everything durable is settled: in Kafka, or not selected.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_until_drained(&self) -> Result<()> {
        let mut last = Value::Null;
        let drained = wait::until("an empty backlog", DRAIN_MAX, || {
            last = self.status()?;
            let backlog = last["upstream"]["backlog"].as_u64();
            Ok((backlog.context("status tells the backlog")? == 0).then_some(()))
        });
        drained.with_context(|| format!("last status: {last:#}"))
    }

    fn config(&self) -> PathBuf {
        self.dir.join("tributary.toml")
    }
}
