//! One gateway: its machine, whose clock may be wrong, its disk, and its daemon, running or not.

use fastrand::Rng;
use tributary::config::Route;
use tributary::runtime::clock::Moment;
use tributary::runtime::opening::recover;
use tributary::runtime::sessions;
use tributary_core::log::Entropy;
use tributary_core::time::{Instant, Timestamp};

use super::letters;
use super::process::Process;
use crate::disk::Disk;

/// The gateway's name.
pub(super) const NAME: &str = "press-line-3";
/// The right time when the world begins: 2026-06-01.
pub(super) const WALL_AT_ORIGIN: i64 = 1_780_272_000_000;

/// A gateway, running or not.
pub(super) struct Gateway {
    pub(super) disk: Disk,
    /// Where its dead letters are.
    pub(super) letters: Disk,
    /// When the machine was switched on.
    booted: u64,
    /// From when on its wall clock is right.
    pub(super) right_from: u64,
    pub(super) process: Option<Process>,
}

/// What the gateway keeps of sessions beside the log: may lag behind, and may be missing.
pub(super) type File = Option<sessions::State>;

impl Gateway {
    pub(super) fn new(disk: Disk) -> Self {
        let letters = Disk::new(letters::GEOMETRY, 7);
        Self { disk, letters, booted: 0, right_from: 0, process: None }
    }

    /// The machine is switched on; its clock is right only `later`.
    pub(super) fn switch_on(&mut self, now: u64, later: u64) {
        self.booted = now;
        self.right_from = now + later;
    }

    /// Whether its machine is still without power.
    pub(super) fn is_off(&self, now: u64) -> bool {
        now < self.booted
    }

    pub(super) fn moment(&self, now: u64) -> Moment {
        let since_boot = now.saturating_sub(self.booted);
        let right = WALL_AT_ORIGIN + now.cast_signed();
        let wall = if now >= self.right_from { right } else { since_boot.cast_signed() };
        Moment { now: Instant(since_boot), wall: Timestamp(wall), is_set: now >= self.right_from }
    }

    pub(super) fn instant(&self, now: u64) -> Instant {
        self.moment(now).now
    }

    /// When the machine's clock comes to `instant`.
    pub(super) fn world_time(&self, instant: Instant) -> u64 {
        self.booted.saturating_add(instant.0)
    }

    /// Starts the daemon. `false`: the power went while it started.
    ///
    /// # Panics
    /// If it does not start though the disk has power: it always starts.
    pub(super) fn start(
        &mut self,
        now: u64,
        routes: &[Route],
        (rng, file): (&mut Rng, &File),
    ) -> bool {
        let entropy = Entropy { log_id: rng.u64(..), generation: rng.u32(..), salt: rng.u64(..) };
        let moment = self.moment(now);
        let recovered = match recover(self.disk.clone(), entropy, moment) {
            Ok(recovered) => recovered,
            Err(_) if self.disk.is_down() => return false,
            Err(error) => panic!("does not start: {error}"),
        };
        let (reader, letters) = (self.disk.reader(), self.letters.clone());
        let mut process = Process::new(recovered, reader, letters, (file.clone(), moment));
        process.put(routes);
        self.process = Some(process);
        true
    }
}
