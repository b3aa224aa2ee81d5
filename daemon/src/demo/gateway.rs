//! The gateway under test: this very program, as a child process. Dropping it kills the child.

use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;
use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::account::Own;
use super::failure::Failure;
use super::reading::{CONDITION, TOPIC_FILTER};
use super::stage::Stage;
use crate::io::control::{Request, ask};
use crate::runtime::status::Status;

/// The gateway's name, in every record.
pub(super) const NAME: &str = "demo";
/// The route, and its Kafka topic.
pub(super) const TOPIC: &str = "hot";

/// How long the gateway may take to tell how it stands.
const STATUS_MAX: Duration = Duration::from_secs(1);
/// How long it may take to read out its whole log.
const READ_MAX: Duration = Duration::from_secs(20);
/// What it promises for SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Lines of its log that are told when it fails.
const LOG_LINES: usize = 10;
/// Bytes of log per event, generously: nothing is to be evicted.
const EVENT_BYTES: u64 = 512;
const LOG_MIB_MIN: u64 = 64;

/// A line of `tail`.
#[derive(Deserialize)]
struct Event {
    payload: Option<String>,
}

/// The child and its files.
#[derive(Debug)]
pub(super) struct Gateway {
    program: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    /// Writes the configuration, for a day of about so many `events`. Nothing is started yet.
    ///
    /// # Errors
    /// If there is no free port or the directory cannot be written.
    pub(super) fn prepare(stage: &Stage, brokers: &str, events: u64) -> Result<Self, Failure> {
        let program =
            env::current_exe().map_err(Failure::system("find this program's own file"))?;
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let address = free.map_err(Failure::system("find a free port"))?;
        let gateway = Self { program, dir: stage.path().to_owned(), address, child: None };
        let mib = (events * EVENT_BYTES).div_ceil(1 << 20).max(LOG_MIB_MIN);
        fs::write(gateway.config(), gateway.configuration(brokers, mib, stage.is_in_ram()))
            .map_err(Failure::system("write the gateway's configuration"))?;
        Ok(gateway)
    }

    fn configuration(&self, brokers: &str, mib: u64, volatile: bool) -> String {
        let dir = toml::Value::from(self.data().to_string_lossy().into_owned());
        let mut text = format!("gateway = \"{NAME}\"\n");
        let written = write!(
            text,
            "\n[log]\ndir = {dir}\nsize = \"{mib} MiB\"\nvolatile = {volatile}\n\
             \n[[listener]]\naddress = \"{}\"\n\
             \n[upstream]\nbrokers = [\"{brokers}\"]\n\
             \n[[route]]\nfrom = \"{TOPIC_FILTER}\"\nwhere = \"{CONDITION}\"\ntopic = \"{TOPIC}\"\n",
            self.address
        );
        debug_assert!(written.is_ok(), "strings grow");
        text
    }

    /// Where devices connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it was started and not killed since.
    pub(super) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, or starts it again on the same files.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let started =
            OpenOptions::new().create(true).append(true).open(self.log()).and_then(|log| {
                Command::new(&self.program)
                    .args(["run", "--config"])
                    .arg(self.config())
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    // Of its own, so that Ctrl-C reaches the demo alone, which ends what it started.
                    .process_group(0)
                    .spawn()
            });
        self.child = Some(started.map_err(Failure::system("start the gateway"))?);
        Ok(())
    }

    /// SIGKILL: as sudden as it gets. Returns when it is gone.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.check()?;
        let killed = self.child.take().map_or(Ok(()), end);
        killed.map_err(Failure::system("kill the gateway"))
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not end in order and in time.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        self.check()?;
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let told = kill_process(id, Signal::TERM).map_err(io::Error::from);
            told.map_err(Failure::system("tell the gateway to end"))?;
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            if let Some(status) =
                child.try_wait().map_err(Failure::system("see the gateway end"))?
            {
                self.child = None;
                return if status.success() { Ok(()) } else { Err(self.ended(status)) };
            }
            sleep(Duration::from_millis(10)).await;
        }
        let (what, state) = ("the gateway's end after SIGTERM", self.log_tail());
        Err(Failure::Late { what, limit: STOP_MAX, state })
    }

    /// Nothing while it does as it was told.
    ///
    /// # Errors
    /// If it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = child.try_wait().map_err(Failure::system("look at the gateway"))?;
        ended.map_or(Ok(()), |status| Err(self.ended(status)))
    }

    /// How it stands, by its control socket; `None` while it does not answer.
    pub(super) async fn status(&self) -> Option<Status> {
        self.child.as_ref()?;
        let mut answer = None;
        let dir = self.data();
        let asked = ask(&dir, &Request::Status, |line| {
            answer = serde_json::from_str(line).ok();
            false
        });
        timeout(STATUS_MAX, asked).await.ok()?.ok()?;
        answer
    }

    /// The payloads of all events in its log, in order, as `tail` gives them.
    ///
    /// # Errors
    /// If they cannot be had.
    pub(super) async fn read_log(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut payloads = Vec::new();
        let dir = self.data();
        let all = Request::Tail {
            filter: None,
            since_ms: None,
            from: Some(0),
            count: None,
            until_end: true,
            cursor: None,
        };
        let asked = ask(&dir, &all, |line| {
            // A line that is no event, or whose payload is no text, is nothing that a device sent.
            let event = serde_json::from_str(line).ok();
            let payload = event.and_then(|event: Event| event.payload);
            payloads.push(payload.unwrap_or_else(|| line.to_owned()).into_bytes());
            true
        });
        let Ok(read) = timeout(READ_MAX, asked).await else {
            let (what, state) = ("the end of the gateway's log", self.log_tail());
            return Err(Failure::Late { what, limit: READ_MAX, state });
        };
        read.map_err(Failure::system("read the gateway's log"))?;
        Ok(payloads)
    }

    fn ended(&self, status: std::process::ExitStatus) -> Failure {
        Failure::GatewayEnded { status, log: self.log_tail() }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("tributary.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("gateway.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.child.take().map(end) {
            tracing::debug!(%error, "the gateway was not there to be ended");
        }
    }
}

fn end(mut child: Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

/// The sums that the account is compared with.
pub(super) fn own(status: &Status) -> Own {
    let mut own = Own { durable: status.log.durable, ..Own::default() };
    if let Some(route) = status.routes.first() {
        own.delivered = route.delivered;
        own.filtered = route.filtered;
        own.lost = route.lost;
        own.pending = route.pending;
    }
    own
}
