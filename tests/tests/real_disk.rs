//! Disks that are full, for real: file systems of some megabytes, each in a mount namespace of its
//! own, so that nobody needs to be root.

use core::time::Duration;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const REFUSAL_MAX: Duration = Duration::from_secs(30);
/// Tells a test that it runs on the small disk: whatever is temporary lies there.
const INSIDE: &str = "TRIBUTARY_ON_SMALL_DISK";
/// Mounts the disk where temporary files lie, and goes on there.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$TMPDIR" && shift && exec "$@""#;

/// Runs a test on a disk of its own.
fn on_a_disk_of(size: &str, name: &str, test: fn() -> Result<()>) -> Result<()> {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let dir = tempfile::tempdir()?;
    let status = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", size])
        .arg(env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .env("TMPDIR", dir.path())
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .context("unshare, of util-linux")?;
    ensure!(status.success(), "on a disk of {size}: {status}");
    Ok(())
}

fn messages(serials: core::ops::Range<usize>) -> Vec<String> {
    serials.map(|serial| format!(r#"{{"seq":{serial},"x":"{}"}}"#, "x".repeat(4_000))).collect()
}

/// The newest events are there, without a hole, up to the last of `count`.
fn check_newest(daemon: &Daemon, count: usize) -> Result<usize> {
    let status = daemon.status()?;
    let oldest = status["log"]["oldest"].as_u64().context("status tells the oldest offset")?;
    let events = daemon.events_from(oldest)?;
    ensure!(oldest + events.len() as u64 == count as u64, "{} from {oldest}", events.len());
    for (event, serial) in events.iter().zip(oldest..) {
        ensure!(event.offset == serial, "offset {} instead of {serial}", event.offset);
        ensure!(event.payload.starts_with(&format!(r#"{{"seq":{serial},"#)), "at {serial}");
    }
    Ok(events.len())
}

/// Takes all room that is left.
fn fill() -> Result<()> {
    let mut others = File::create(env::temp_dir().join("others"))?;
    let block = vec![0x55; 64 << 10];
    loop {
        match others.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn a_disk_smaller_than_the_log_makes_a_shorter_ring() -> Result<()> {
    on_a_disk_of("22m", "a_disk_smaller_than_the_log_makes_a_shorter_ring", || {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let count = 9_000;
        Device::publish(daemon.port(), "plant/1/telemetry", messages(0..count))?;
        let kept = check_newest(&daemon, count)?;
        ensure!(kept > 2_000, "of 22 MB only {kept} events of 4 KB are used");
        daemon.kill()?;
        daemon.restart()?;
        ensure!(check_newest(&daemon, count)? == kept, "a restart has changed what is there");
        Device::publish(daemon.port(), "plant/1/telemetry", messages(count..2 * count))?;
        check_newest(&daemon, 2 * count)?;
        Ok(())
    })
}

#[test]
fn without_room_for_a_second_segment_events_are_refused_until_there_is() -> Result<()> {
    let name = "without_room_for_a_second_segment_events_are_refused_until_there_is";
    on_a_disk_of("22m", name, || {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        fill()?;
        let device = Device::start(daemon.port(), "plant/1/telemetry", messages(0..2_000));
        wait::until("a refusal", REFUSAL_MAX, || {
            Ok(daemon.status()?["log"]["refusing"].as_str().map(drop))
        })?;
        let before = daemon.events()?;
        ensure!(!before.is_empty(), "what was acknowledged is still served");
        daemon.kill()?;
        fs::remove_file(env::temp_dir().join("others"))?;
        daemon.restart()?;
        let sent = device.finish()?;
        let events = daemon.events()?;
        ensure!(events.starts_with(&before), "what was acknowledged has changed");
        sent.check(events.iter().map(|event| event.payload.as_str()), |_| true)?;
        Ok(())
    })
}
