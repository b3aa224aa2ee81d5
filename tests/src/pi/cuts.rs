//! Power cuts at every point of a recording.
//!
//! Of each disk that a cut may leave (all that was written before the last flush, of the rest a random part,
//! in sectors) the log is recovered and compared with what was acknowledged by then. Some of these
//! disks are booted: the daemon goes on with them.

use core::ops::Range;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;

use super::judge::Lost;
use super::machine::{Machine, Software};
use super::recording::{self, Entry, Replay};
use super::{culprit, disk, judge};
use crate::progress::Progress;

/// Disks are checked by so many threads.
const THREADS: usize = 2;
/// Events that are published to a disk that is booted after its cut.
const EVENTS_AFTER: usize = 40;
/// Their numbers lie behind all others.
const NUMBER_AFTER: u64 = 1 << 32;

/// A recording, and what was acknowledged while it was made.
#[derive(Debug)]
pub struct Recording {
    before: Vec<u8>,
    entries: Vec<Entry>,
    /// Numbers of events, and how many entries there were when their PUBACK had arrived.
    acknowledged: Vec<(u64, usize)>,
}

/// How often the power is cut.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Disks that are recovered.
    pub images: usize,
    /// Disks that are booted.
    pub boots: usize,
    /// Where the random parts come from.
    pub seed: u64,
}

/// Records a machine until it has acknowledged `events` events, and is killed.
///
/// # Errors
/// It does not work.
pub fn record(software: &Software, events: usize, seed: u64, dir: &Path) -> Result<Recording> {
    let (disk, record) = (dir.join("disk.img"), dir.join("record"));
    disk::make(&disk)?;
    let before = fs::read(&disk)?;
    let mut machine = Machine::start(software, &disk, Some(&record), &dir.join("console"))?;
    let publisher = machine.connect(seed)?;
    let counter = File::open(&record)?;
    let mut acknowledged = Vec::new();
    publisher.run(0, |number| {
        acknowledged.push((number, recording::entries(&counter)?));
        Ok(acknowledged.len() < events)
    })?;
    machine.cut()?;
    ensure!(acknowledged.len() == events, "only {} were acknowledged", acknowledged.len());
    let entries = recording::read(&record)?;
    fs::remove_file(&record)?;
    Ok(Recording { before, entries, acknowledged })
}

impl Recording {
    /// Writes and flushes.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let flushes = self.entries.iter().filter(|entry| entry.is_flush).count();
        (self.entries.len() - flushes, flushes)
    }

    /// Cuts the power `plan.images` times, at all points alike from the first acknowledgement on, and adds
    /// each to `progress`.
    ///
    /// # Errors
    /// What is lost, at which cut, and with which write.
    pub fn check(&self, plan: &Plan, dir: &Path, progress: &Progress) -> Result<()> {
        let share = plan.images.div_ceil(THREADS);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|worker| {
                    let range = worker * share..plan.images.min((worker + 1) * share);
                    let place = dir.join(format!("cuts-{worker}"));
                    scope.spawn(move || self.check_range(plan, range, &place, progress))
                })
                .collect();
            for worker in workers {
                worker.join().map_err(|_| anyhow!("a checker panicked"))??;
            }
            Ok(())
        })
    }

    fn check_range(
        &self,
        plan: &Plan,
        images: Range<usize>,
        dir: &Path,
        progress: &Progress,
    ) -> Result<()> {
        fs::create_dir_all(dir)?;
        let mut replay = Replay::new(&self.entries, self.before.clone());
        for image in images {
            let cut = self.point(image, plan.images)?;
            replay.play_to(cut);
            let lost = replay.draw_lost(&mut Rng::with_seed(plan.seed ^ image as u64));
            let path = dir.join("disk");
            fs::write(&path, replay.disk_without(&lost))?;
            disk::replay_journal(&path)?;
            disk::take_log(&path, &dir.join("log"))?;
            let found = judge::read(&dir.join("log"));
            let judged = found.and_then(|found| found.check(self.acknowledged_by(cut)));
            progress.add(1);
            let Err(error) = judged else { continue };
            let why = match error.downcast_ref() {
                Some(&Lost(event)) => culprit::name(&replay, &lost, event, dir)?,
                None => format!("{} pieces were lost", lost.len()),
            };
            return Err(error.context(format!(
                "cut {image} of seed {}, after {cut} of {} entries: {why}",
                plan.seed,
                self.entries.len()
            )));
        }
        Ok(())
    }

    /// Boots `plan.boots` disks, publishes to them, and kills them: what was acknowledged before the cut
    /// and what was after it are both there.
    ///
    /// # Errors
    /// What is lost, and at which cut.
    pub fn boot(&self, software: &Software, plan: &Plan, dir: &Path) -> Result<()> {
        let mut replay = Replay::new(&self.entries, self.before.clone());
        for image in 0..plan.boots {
            let cut = self.point(image, plan.boots)?;
            replay.play_to(cut);
            let lost = replay.draw_lost(&mut Rng::with_seed(!plan.seed ^ image as u64));
            let path = dir.join("disk.img");
            fs::write(&path, replay.disk_without(&lost))?;
            let mut machine = Machine::start(software, &path, None, &dir.join("console"))?;
            let publisher = machine.connect(plan.seed)?;
            let mut after = Vec::new();
            publisher.run(NUMBER_AFTER, |number| {
                after.push(number);
                Ok(after.len() < EVENTS_AFTER)
            })?;
            machine.cut()?;
            disk::replay_journal(&path)?;
            disk::take_log(&path, &dir.join("log"))?;
            judge::read(&dir.join("log"))
                .and_then(|found| found.check(self.acknowledged_by(cut).chain(after)))
                .with_context(|| format!("booted after {cut} entries, seed {}", plan.seed))?;
        }
        Ok(())
    }

    /// The cut of one image of so many: how many entries are written.
    fn point(&self, image: usize, images: usize) -> Result<usize> {
        let (_, first) = *self.acknowledged.first().context("nothing was acknowledged")?;
        ensure!(first <= self.entries.len(), "the recording ends before the first PUBACK");
        Ok(first + (self.entries.len() - first) * (image + 1) / images)
    }

    fn acknowledged_by(&self, cut: usize) -> impl Iterator<Item = u64> + '_ {
        let by_then = self.acknowledged.iter().take_while(move |(_, entries)| *entries <= cut);
        by_then.map(|(number, _)| *number)
    }
}
