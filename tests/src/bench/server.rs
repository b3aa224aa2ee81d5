//! A broker under load: started on a free port, and asked what it has used.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::usage;
use crate::process::Process;
use crate::{ports, wait};

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(20);
/// So much longer takes a sync that is slow, in µs: about what good cards need.
const SLOW_SYNC_US: u32 = 3_000;

/// A broker.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) port: u16,
    process: Process,
    dir: PathBuf,
    binary: PathBuf,
}

impl Server {
    /// Mosquitto as Debian configures it, in a directory of its own.
    pub(super) fn mosquitto(dir: &Path) -> Result<Self> {
        let port = ports::free()?;
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nlog_dest none\nuser root\n",
            dir.display()
        );
        fs::create_dir_all(dir)?;
        fs::write(dir.join("mosquitto.conf"), config)?;
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(dir.join("mosquitto.conf")).env("PATH", path());
        Self::start("mosquitto", command, (dir, Path::new("mosquitto")), port)
    }

    /// This project's, on a new log in `dir`.
    pub(super) fn tributary(binary: &Path, dir: &Path, sections: &str) -> Result<Self> {
        Self::run(Command::new(binary), (binary, dir), sections)
    }

    /// The same as if the disk were slow.
    pub(super) fn tributary_with_slow_syncs(binary: &Path, dir: &Path) -> Result<Self> {
        Self::run(with_slow_syncs(binary), (binary, dir), "")
    }

    fn run(mut command: Command, (binary, dir): (&Path, &Path), sections: &str) -> Result<Self> {
        let port = ports::free()?;
        let config = format!(
            "gateway = \"bench\"\n[log]\ndir = \"{}\"\nsize = \"4 GiB\"\n\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\n{sections}",
            dir.join("data").display()
        );
        fs::create_dir_all(dir)?;
        fs::write(dir.join("tributary.toml"), config)?;
        command.arg("run").arg("--config").arg(dir.join("tributary.toml"));
        Self::start("tributary", command, (dir, binary), port)
    }

    fn start(
        name: &'static str,
        command: Command,
        (dir, binary): (&Path, &Path),
        port: u16,
    ) -> Result<Self> {
        let mut process = Process::start(name, command, &dir.join("server.log"))?;
        wait::until("the MQTT port", START_MAX, || {
            process.check_running()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop))
        })?;
        Ok(Self { name, port, process, dir: dir.to_owned(), binary: binary.to_owned() })
    }

    /// CPU time that it has used so far, in microseconds.
    pub(super) fn cpu_us(&self) -> Result<f64> {
        usage::cpu_us(self.process.id())
    }

    /// The most resident memory that it ever had.
    pub(super) fn peak_rss_bytes(&self) -> Result<f64> {
        usage::peak_rss_bytes(self.process.id())
    }

    /// What `tributary status` says.
    pub(super) fn status(&self) -> Result<Value> {
        let config = self.dir.join("tributary.toml");
        let mut command = Command::new(&self.binary);
        let output = command.args(["status", "--json", "--config"]).arg(config).output()?;
        ensure!(output.status.success(), "{command:?}: {}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Ends it, and removes what it has written.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_MAX)?;
        fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}

/// `binary`, each of whose `fdatasync` takes [`SLOW_SYNC_US`] longer. Nothing else of it is looked at, and it
/// stays the child that is started.
pub(super) fn with_slow_syncs(binary: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args([
        "-D",
        "-qq",
        "-f",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
    ]);
    command.arg(format!("inject=fdatasync:delay_exit={SLOW_SYNC_US}")).arg(binary);
    command
}

/// Debian keeps brokers where only root looks.
pub(super) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
