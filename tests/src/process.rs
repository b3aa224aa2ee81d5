//! A child process with its output in a file: ended when dropped, and only ever by its own id.

use core::time::Duration;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// A command that takes longer does not end.
const ENDS_MAX: Duration = Duration::from_mins(10);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    ///
    /// # Errors
    /// The log cannot be written or the program not be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its id, for /proc.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Nothing while it runs.
    ///
    /// # Errors
    /// It has ended: its status and the end of its log.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// SIGKILL, as a power cut would be to the process; returns when it is gone.
    ///
    /// # Errors
    /// It had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        self.check_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_running()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a child has an id")?, signal)?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not end within `limit`, or had before.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, || Ok(self.child.try_wait()?))
    }

    /// Waits until it ends by itself, which must be well.
    ///
    /// # Errors
    /// It fails, with the end of its log, or does not end within `limit`.
    pub fn succeed(mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if !status.success() {
            return Err(self.ended(status));
        }
        Ok(())
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        // What is no file may have no end.
        let log =
            if self.log.is_file() { std::fs::read_to_string(&self.log) } else { Ok(String::new()) };
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(20)..];
        anyhow!("{} ended with {status}:\n{}", self.name, tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// Runs a command to its end and answers with what it printed.
///
/// # Errors
/// It cannot be started or fails; then with all that it printed.
pub fn output(command: Command) -> Result<String> {
    output_within(command, ENDS_MAX)
}

/// The same, of one that is to end sooner; else it is killed.
///
/// # Errors
/// It cannot be started or fails; then with all that it printed.
pub fn output_within(mut command: Command, limit: Duration) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    let id = Pid::from_child(&child);
    let (ended, ends) = mpsc::channel::<()>();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            if ends.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // It may have ended just now.
                kill_process(id, Signal::KILL).unwrap_or_default();
            }
        });
        let output = child.wait_with_output();
        drop(ended);
        output
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}:\n{text}\n{errors}", output.status);
    }
    Ok(text)
}
