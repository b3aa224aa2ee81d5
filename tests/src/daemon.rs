//! The daemon as a child process with a configuration and a directory of its own.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::delivery::Event;
use crate::process::{self, Process};
use crate::{ports, wait};

/// The name in every header.
pub const GATEWAY: &str = "gw";
/// Names the program to test in place of one's own, behind what runs it: an emulator and a binary
/// of another machine.
pub const UNDER_TEST: &str = "TRIBUTARY_UNDER_TEST";
/// What SIGTERM may take.
pub const STOP_MAX: Duration = Duration::from_secs(5);
const START_MAX: Duration = Duration::from_secs(20);
/// For a command that asks the daemon: one that has no files left does not answer.
const COMMAND_MAX: Duration = Duration::from_mins(2);
const RELOAD_MAX: Duration = Duration::from_secs(10);
/// Back-off to a cluster that was away included.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The program and its first arguments: the daemon itself, or what runs it.
    program: Vec<String>,
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Daemon {
    /// Starts `executable` on a new log, with `sections` behind the settings that every test has.
    /// If the environment names another in [`UNDER_TEST`], that one.
    ///
    /// # Errors
    /// Its MQTT port does not open.
    pub fn start(executable: &str, sections: &str) -> Result<Self> {
        let other = std::env::var(UNDER_TEST).unwrap_or_default();
        match other.split_whitespace().collect::<Vec<_>>()[..] {
            [] => Self::start_under(&[], executable, sections),
            [ref runner @ .., executable] => Self::start_under(runner, executable, sections),
        }
    }

    /// The same under a program that runs others: a tracer, an emulator, with its arguments.
    ///
    /// # Errors
    /// Its MQTT port does not open.
    pub fn start_under(runner: &[&str], executable: &str, sections: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let program = runner.iter().chain([&executable]).map(ToString::to_string).collect();
        let mut daemon = Self { program, dir, port: ports::free()?, process: None };
        daemon.configure(sections)?;
        daemon.restart()?;
        Ok(daemon)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        command
    }

    /// The process, for /proc.
    ///
    /// # Errors
    /// It is not running.
    pub fn id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("it is not running")?.id())
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
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
    pub fn configure(&self, sections: &str) -> Result<()> {
        let (data, port) = (self.dir.path().join("data"), self.port);
        let common = format!(
            "gateway = \"{GATEWAY}\"\n[log]\ndir = \"{}\"\nsize = \"64 MiB\"\nvolatile = true\n\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\n",
            data.display(),
        );
        std::fs::write(self.config(), common + sections)?;
        Ok(())
    }

    /// Starts it, on the same port and log.
    ///
    /// # Errors
    /// Its MQTT port does not open.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = self.program();
        command.arg("run").arg("--config").arg(self.config());
        let log = self.dir.path().join("daemon.log");
        let process = self.process.insert(Process::start("tributary", command, &log)?);
        wait::until("the MQTT port", START_MAX, || {
            process.check_running()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok().map(drop))
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("it is not running")?.kill()
    }

    /// Another configuration by SIGHUP; returns when it has these routes.
    ///
    /// # Errors
    /// It does not take them.
    pub fn reload(&mut self, sections: &str, routes: &[&str]) -> Result<()> {
        self.configure(sections)?;
        let conditions: Vec<&str> = sections.lines().filter(|l| l.starts_with("where")).collect();
        self.process.as_mut().context("it is not running")?.signal(Signal::HUP)?;
        wait::until("the new routes", RELOAD_MAX, || {
            let status = self.status()?;
            let found = status["routes"].as_array().context("status lists the routes")?;
            let names: Vec<&str> = found.iter().filter_map(|r| r["name"].as_str()).collect();
            let wheres: Vec<String> = found
                .iter()
                .filter_map(|route| Some(format!("where = \"{}\"", route["where"].as_str()?)))
                .collect();
            Ok((names == routes && wheres == conditions).then_some(()))
        })
    }

    /// SIGHUP: it reads its configuration, and the files that this names, again.
    ///
    /// # Errors
    /// It is not running.
    pub fn hang_up(&mut self) -> Result<()> {
        self.process.as_mut().context("it is not running")?.signal(Signal::HUP)
    }

    /// All its log lines so far.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn log_lines(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("daemon.log"))?)
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// It takes longer than [`STOP_MAX`].
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("it is not running")?.terminate(STOP_MAX)
    }

    /// A command that needs this configuration, with what became of it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn try_command(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.program();
        Ok(command.args(args).arg("--config").arg(self.config()).output()?)
    }

    /// What `tributary status --json` says.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.command(&["status", "--json"])?)?)
    }

    /// All that the log holds, as `tributary tail` shows it.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.events_from(0)
    }

    /// What is in the log at this offset and behind, which must be there.
    ///
    /// # Errors
    /// The daemon does not answer, or tells of a gap.
    pub fn events_from(&self, offset: u64) -> Result<Vec<Event>> {
        let text = self.command(&["tail", "--from", &offset.to_string(), "--end", "--json"])?;
        text.lines().map(Event::parse).collect()
    }

    /// Waits for an empty backlog; then every route's account must add up. Answers with it.
    ///
    /// # Errors
    /// Not in time, or the numbers do not add up.
    pub fn drain(&self) -> Result<Value> {
        let mut last = Value::Null;
        let drained = wait::until("an empty backlog", DRAIN_MAX, || {
            last = self.status()?;
            let durable = last["log"]["durable"].as_u64();
            let settled = last["upstream"]["backlog"] == 0 && durable.is_some();
            let pending = |route: &Value| route["pending"] == 0;
            let routes = last["routes"].as_array().context("status lists the routes")?;
            Ok((settled && routes.iter().all(pending)).then_some(()))
        });
        drained.with_context(|| format!("{last:#}\n{}", self.log()))?;
        check_account(&last)?;
        Ok(last)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("tributary.toml")
    }

    /// A directory for more.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a subcommand prints.
    ///
    /// # Errors
    /// It fails.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        let mut command = self.program();
        command.args(args).arg("--config").arg(self.config());
        process::output_within(command, COMMAND_MAX)
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Every route's numbers add up, at any moment.
///
/// # Errors
/// They do not.
pub fn check_account(status: &Value) -> Result<()> {
    let durable = status["log"]["durable"].as_u64().context("durable")?;
    for route in status["routes"].as_array().context("routes")? {
        let number = |name: &str| route[name].as_u64().with_context(|| format!("{name}: {route}"));
        let parts = ["delivered", "filtered", "dead_lettered", "skipped", "lost", "pending"];
        let sum = parts.into_iter().map(number).sum::<Result<u64>>()?;
        ensure!(number("ingested")? == sum, "does not add up: {route}");
        ensure!(number("begin")? + sum == durable, "not all that is durable, {durable}: {route}");
    }
    Ok(())
}
