//! The machine is killed at random moments while it acknowledges, also while it boots and recovers, and
//! goes on with the same disk. What QEMU has handed to the host stays; the guest's page cache goes.

use core::time::Duration;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::machine::{Machine, Software};
use super::{disk, judge};
use crate::progress::Progress;

/// How long a machine works before it is killed, in ms.
const WORK_MS_MAX: u64 = 1_500;
/// One boot of so many is killed before it can acknowledge.
const EARLY_ONE_OF: u32 = 5;
/// When that may happen, in ms: from the kernel's start to the daemon's recovery.
const EARLY_MS: core::ops::Range<u64> = 500..3_000;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// How often the machine was killed.
    pub kills: u32,
    /// Of these, how often before it answered.
    pub early: u32,
    /// Events that were acknowledged, all of which were there after each kill.
    pub acknowledged: usize,
}

/// Kills a machine `kills` times, and adds each to `progress`.
///
/// # Errors
/// An acknowledged event is not there, or the machine does not work.
pub fn run(
    software: &Software,
    kills: u32,
    rng: &mut Rng,
    dir: &Path,
    progress: &Progress,
) -> Result<Outcome> {
    let disk = dir.join("disk.img");
    disk::make(&disk)?;
    let mut acknowledged = Vec::new();
    let mut next = 0;
    let mut outcome = Outcome::default();
    while outcome.kills < kills {
        let machine = Machine::start(software, &disk, None, &dir.join("console"))?;
        if rng.u32(0..EARLY_ONE_OF) == 0 && outcome.kills > 0 {
            machine.cut_after(Duration::from_millis(rng.u64(EARLY_MS)))?;
            outcome.early += 1;
        } else {
            next = work(machine, next, rng, &mut acknowledged)?;
        }
        outcome.kills += 1;
        check(&disk, &acknowledged, dir)
            .with_context(|| format!("after kill {}", outcome.kills))?;
        progress.add(1);
    }
    ensure!(!acknowledged.is_empty(), "nothing was ever acknowledged");
    outcome.acknowledged = acknowledged.len();
    Ok(outcome)
}

/// Publishes until the machine is killed; the next event.
fn work(
    mut machine: Machine,
    next: u64,
    rng: &mut Rng,
    acknowledged: &mut Vec<u64>,
) -> Result<u64> {
    let publisher = machine.connect(rng.u64(..))?;
    let worker = std::thread::spawn(move || {
        let mut acked = Vec::new();
        let next = publisher.run(next, |number| {
            acked.push(number);
            Ok(true)
        })?;
        Ok::<_, anyhow::Error>((next, acked))
    });
    crate::wait::pass(Duration::from_millis(rng.u64(1..WORK_MS_MAX)));
    machine.cut()?;
    let (next, acked) = worker.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    acknowledged.extend(acked);
    Ok(next)
}

/// A copy of the disk as it is now, as the next boot finds it.
fn check(disk: &Path, acknowledged: &[u64], dir: &Path) -> Result<()> {
    let copy = dir.join("copy.img");
    std::fs::copy(disk, &copy)?;
    disk::replay_journal(&copy)?;
    disk::take_log(&copy, &dir.join("log"))?;
    judge::read(&dir.join("log"))?.check(acknowledged.iter().copied())
}
