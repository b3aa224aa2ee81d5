//! Signals and limits of the process.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator asks of a running daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end.
    Stop,
}

/// The signals that the daemon listens to.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }
}

/// Files and sockets of the daemon itself: the log, sessions, the control socket, the way to Kafka.
const OWN_FILES: u64 = 192;
/// More connections than a machine has ports for.
const CONNECTIONS_MAX: u64 = 1 << 20;

/// Lets the process have as many files and sockets as the machine allows.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// How many connections of devices there may be, so that the files of the daemon itself can be
/// opened at any time: a log that cannot open its next file is as good as a disk that fails.
#[must_use]
pub fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = files.saturating_sub(OWN_FILES).max(files / 4).min(CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}
