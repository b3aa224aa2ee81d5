//! Power cuts on a virtual Raspberry Pi: the daemon of `cross/build`, Debian's arm64 kernel, ext4. The long
//! run is `tests/pi/run`.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tributary_tests::pi::cuts::{self, Plan};
use tributary_tests::pi::judge::Lost;
use tributary_tests::pi::kills;
use tributary_tests::pi::machine::{Software, check_tools, daemon};
use tributary_tests::pi::unsynced::without_fdatasync;
use tributary_tests::progress::Progress;
use tributary_tests::scratch;

const KILLS: u32 = 10;
const EVENTS: usize = 400;
const IMAGES: usize = 300;
const BOOTS: usize = 2;

fn on_a_pi(name: &str, test: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_tools()?;
    scratch::within(env!("CARGO_TARGET_TMPDIR"), name, test)
}

/// `Err` unless what failed is that an event which was acknowledged is lost.
fn must_lose<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => bail!("without fdatasync nothing was lost"),
        Err(error) if error.downcast_ref::<Lost>().is_some() => Ok(()),
        Err(error) => Err(error).context("something else than an event was lost"),
    }
}

#[test]
fn what_was_acknowledged_survives_machines_that_are_killed() -> Result<()> {
    on_a_pi("pi-kills", |dir| {
        let mut rng = scratch::random("kills")?;
        let software = Software::with(&daemon()?, dir.join("initrd"))?;
        let progress = Progress::new("kills", KILLS.into());
        let outcome = kills::run(&software, KILLS, &mut rng, dir, &progress)?;
        println!("{outcome:?}");
        ensure!(outcome.kills == KILLS, "{outcome:?}");
        Ok(())
    })
}

#[test]
fn what_was_acknowledged_survives_every_cut_of_a_recording() -> Result<()> {
    on_a_pi("pi-cuts", |dir| {
        let seed = scratch::random("cuts")?.u64(..);
        let software = Software::with(&daemon()?, dir.join("initrd"))?;
        let recording = cuts::record(&software, EVENTS, seed, dir)?;
        let (writes, flushes) = recording.counts();
        println!("{writes} writes, {flushes} flushes; {IMAGES} images, {BOOTS} boots");
        let plan = Plan { images: IMAGES, boots: BOOTS, seed };
        recording.check(&plan, dir, &Progress::new("images", IMAGES as u64))?;
        recording.boot(&software, &plan, dir)
    })
}

#[test]
fn without_fdatasync_both_ways_find_what_is_lost() -> Result<()> {
    on_a_pi("pi-unsynced", |dir| {
        let mut rng = scratch::random("unsynced")?;
        let software = Software::with(&without_fdatasync(&daemon()?)?, dir.join("initrd"))?;
        must_lose(kills::run(&software, 2, &mut rng, dir, &Progress::new("kills", 2)))?;
        let recording = cuts::record(&software, EVENTS / 4, rng.u64(..), dir)?;
        let plan = Plan { images: 4, boots: 0, seed: rng.u64(..) };
        must_lose(recording.check(&plan, dir, &Progress::new("images", 4)))
    })
}
