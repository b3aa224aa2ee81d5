//! Disks that are full, for real: file systems of some megabytes, under the gateway's log or the broker's.

use core::time::Duration;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::real::fleet::Fleet;
use tributary_tests::real::kafka::Setup;
use tributary_tests::real::namespace::on_a_disk_of;
use tributary_tests::real::scratch;
use tributary_tests::real::world::{self, World};
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const REFUSAL_MAX: Duration = Duration::from_secs(30);
/// How long a broker may take to find that its disk is full, and to give up.
const GIVES_UP_MAX: Duration = Duration::from_mins(1);
/// Times that the broker's disk is full.
const FULL_DISKS: u32 = 1;
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

fn others() -> PathBuf {
    env::temp_dir().join("others")
}

/// Takes all room that is left.
fn fill() -> Result<()> {
    let mut others = File::create(others())?;
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
        fs::remove_file(others())?;
        daemon.restart()?;
        let sent = device.finish()?;
        let events = daemon.events()?;
        ensure!(events.starts_with(&before), "what was acknowledged has changed");
        sent.check(events.iter().map(|event| event.payload.as_str()), |_| true)?;
        Ok(())
    })
}

/// A broker that finds its only disk full gives up; it comes back when somebody has made room.
fn goes_on_when_the_broker_has_room_again(setup: Setup) -> Result<()> {
    let name = "goes_on_when_the_broker_has_room_again";
    on_a_disk_of("160m", &setup.test(name), || {
        let data = format!("log.dirs={}\n", env::temp_dir().join("data").display());
        World::test_with(DIR, "full-broker", (setup, &data), |world| {
            let mut random = scratch::random("full disk of the broker")?;
            let fleet = Fleet::start(world.gateway.port(), &world::endless(1_500)?);
            let times = world::rounds(FULL_DISKS)?;
            for _ in 0..times {
                world.gateway.wait_for_delivery()?;
                wait::pass(world::moment(&mut random, Duration::from_millis(1_500)));
                fill()?;
                wait::until("the broker to give up", GIVES_UP_MAX, || {
                    Ok(world.kafka.has_ended().then_some(()))
                })?;
                fs::remove_file(others())?;
                world.kafka.restart()?;
            }
            world.gateway.wait_for_delivery()?;
            fleet.wait_for_summer()?;
            fleet.stop();
            let sent = world.path("sent.tsv");
            fleet.finish(&sent)?;
            world::tell(times.into(), "full disks of the broker");
            world.check(&world::expectation(&sent))
        })
    })
}

tributary_tests::on_both_releases! {
    goes_on_when_the_broker_has_room_again
}
