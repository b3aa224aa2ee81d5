//! Mosquitto, as the broker that a plant has already.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::authority::Pair;
use crate::process::Process;
use crate::{ports, wait};

const START_MAX: Duration = Duration::from_secs(20);
const SAVE_MAX: Duration = Duration::from_secs(20);

/// A Mosquitto in a directory of its own.
#[derive(Debug)]
pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts one that keeps sessions and what waits for them; over TLS too, at the port that comes with
    /// the certificate.
    ///
    /// # Errors
    /// Its port does not open.
    pub fn start(over_tls: Option<(u16, &Pair)>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = ports::free()?;
        let config = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {}/\nuser root\n\
             allow_anonymous true\nmax_queued_messages 0\n",
            dir.path().display(),
        );
        let tls = over_tls.map(|(port, Pair { cert, key })| {
            let (cert, key) = (cert.display(), key.display());
            format!("listener {port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\n")
        });
        fs::write(dir.path().join("mosquitto.conf"), config + &tls.unwrap_or_default())?;
        let mut mosquitto = Self { dir, port, process: None };
        mosquitto.restart()?;
        Ok(mosquitto)
    }

    /// Where devices connect.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, on what it has saved.
    ///
    /// # Errors
    /// Its port does not open.
    pub fn restart(&mut self) -> Result<()> {
        // Debian keeps brokers where only root looks.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.dir.path().join("mosquitto.conf")).env("PATH", path);
        let log = self.dir.path().join("mosquitto.log");
        let process = self.process.insert(Process::start("mosquitto", command, &log)?);
        wait::until("Mosquitto's port", START_MAX, || {
            process.check_running()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok().map(drop))
        })
    }

    /// SIGKILL: what it has not saved is lost, whatever it has acknowledged.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("it is not running")?.kill()
    }

    /// Has it save what it holds: sessions, and messages that wait for them.
    ///
    /// # Errors
    /// Not in time.
    pub fn save(&mut self) -> Result<()> {
        let file = self.dir.path().join("mosquitto.db");
        // A new file takes the place of the old one.
        let number = || fs::metadata(&file).ok().map(|metadata| metadata.ino());
        let before = number();
        self.process.as_mut().context("it is not running")?.signal(Signal::USR1)?;
        wait::until("Mosquitto's file", SAVE_MAX, || Ok((number() != before).then_some(())))
    }
}
