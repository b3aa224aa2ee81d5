//! One machine from power on to power off.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use super::publisher::Publisher;
use crate::process::Process;
use crate::tidy::root;
use crate::{ports, wait};

const QEMU: &str = "qemu-system-aarch64";
const TARGET_BINARY: &str = "aarch64-unknown-linux-musl/release/tributary";
/// From power on to the first CONNACK, on a host that has much else to do.
const BOOT_MAX: Duration = Duration::from_mins(5);
/// How long the first attempt to connect waits for an answer; later ones longer: a host may be slow.
const PATIENCE: Duration = Duration::from_millis(300);
const PATIENCE_MAX: Duration = Duration::from_secs(10);
const MODULES: [&str; 7] = [
    "virtio",
    "virtio_ring",
    "virtio_mmio",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
];

/// What a machine boots: a kernel and its first file system, with the daemon in it.
#[derive(Debug)]
pub struct Software {
    kernel: PathBuf,
    archive: PathBuf,
}

impl Software {
    /// Puts a daemon into a file system, at `archive`.
    ///
    /// # Errors
    /// The cache has no kernel.
    pub fn with(daemon: &[u8], archive: PathBuf) -> Result<Self> {
        let cache = root().join("tests/.cache/pi");
        let own = root().join("tests/pi");
        let read = |path: PathBuf| {
            fs::read(&path).with_context(|| format!("{}: call tests/pi/setup", path.display()))
        };
        let mut files = Archive::default();
        for name in ["bin", "data", "dev", "modules", "proc", "sys"] {
            files.directory(name);
        }
        files.file("init", &read(own.join("init"))?);
        files.file("tributary.toml", &read(own.join("tributary.toml"))?);
        files.file("bin/tributary", daemon);
        files.file("bin/busybox", &read(cache.join("busybox"))?);
        for module in MODULES {
            let name = format!("modules/{module}.ko");
            files.file(&name, &read(cache.join(&name))?);
        }
        files.write(&archive)?;
        Ok(Self { kernel: cache.join("kernel"), archive })
    }
}

/// The daemon for a Pi, as `cross/build` has made it beside this program.
///
/// # Errors
/// It is not there.
pub fn daemon() -> Result<Vec<u8>> {
    let program = std::env::current_exe()?;
    let built = program.ancestors().map(|folder| folder.join(TARGET_BINARY));
    let found = built.into_iter().find(|path| path.is_file());
    let path = found.with_context(|| format!("no {TARGET_BINARY}: call cross/build"))?;
    Ok(fs::read(path)?)
}

/// A machine with power.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    port: u16,
    begun: Instant,
}

impl Machine {
    /// Switches it on. `record`: where all that it writes to its disk is recorded, see
    /// `recording.rs`. What it prints goes to `console`.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(
        software: &Software,
        disk: &Path,
        record: Option<&Path>,
        console: &Path,
    ) -> Result<Self> {
        let port = ports::free()?;
        let mut qemu = Command::new(QEMU);
        qemu.args("-M virt,gic-version=3 -cpu cortex-a53 -smp 1 -m 256 -accel tcg".split(' '));
        qemu.args("-display none -monitor none -serial stdio -no-reboot".split(' '));
        qemu.arg("-kernel").arg(&software.kernel).arg("-initrd").arg(&software.archive);
        qemu.args(["-append", "console=ttyAMA0 quiet panic=-1"]);
        // The host keeps its power: what its kernel has is on the disk.
        let file = |path: &Path, node: &str| {
            format!("driver=file,filename={},node-name={node},cache.no-flush=on", path.display())
        };
        qemu.arg("-blockdev").arg(file(disk, "disk"));
        let mut drive = "disk";
        if let Some(record) = record {
            File::create(record)?;
            qemu.arg("-blockdev").arg(file(record, "record"));
            qemu.arg("-blockdev").arg(
                "driver=blklogwrites,node-name=recorder,file=disk,log=record,log-sector-size=512,\
                 log-append=off,log-super-update-interval=1",
            );
            drive = "recorder";
        }
        qemu.arg("-device").arg(format!("virtio-blk-device,drive={drive}"));
        let forward = format!("user,id=net,hostfwd=tcp:{}:{port}-:1883", Ipv4Addr::LOCALHOST);
        qemu.args(["-netdev", &forward, "-device", "virtio-net-device,netdev=net"]);
        let process = Process::start(QEMU, qemu, console)?;
        Ok(Self { process, port, begun: Instant::now() })
    }

    /// Connects, once the daemon answers.
    ///
    /// # Errors
    /// It does not in time.
    pub fn connect(&mut self, seed: u64) -> Result<Publisher> {
        let mut patience = PATIENCE;
        wait::until("the daemon on the Pi", BOOT_MAX, || {
            self.process.check_running()?;
            patience = (patience * 5 / 4).min(PATIENCE_MAX);
            Ok(Publisher::connect(self.port, seed, patience))
        })
    }

    /// Switches it off when `after` has passed since it was switched on, or by then if it has.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn cut_after(mut self, after: Duration) -> Result<()> {
        wait::pass(after.saturating_sub(self.begun.elapsed()));
        self.process.kill()
    }

    /// Switches it off.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn cut(mut self) -> Result<()> {
        self.process.kill()
    }
}

/// Whether QEMU is there.
///
/// # Errors
/// It is not.
pub fn check_tools() -> Result<()> {
    for (tool, package) in
        [(QEMU, "qemu-system-arm"), ("mkfs.ext4", "e2fsprogs"), ("debugfs", "e2fsprogs")]
    {
        let version =
            Command::new(tool).arg(if tool == QEMU { "--version" } else { "-V" }).output();
        ensure!(version.is_ok(), "no {tool}: install {package}");
    }
    Ok(())
}
