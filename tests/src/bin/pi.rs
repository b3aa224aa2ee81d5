//! The long run of the virtual Raspberry Pi: see `tests/pi/run --help`.
#![expect(clippy::print_stdout, reason = "figures are what is asked for")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use tributary_tests::pi::cuts::{self, Plan};
use tributary_tests::pi::kills;
use tributary_tests::pi::machine::{Software, check_tools, daemon};
use tributary_tests::progress::Progress;
use tributary_tests::scratch;
use tributary_tests::tidy::root;

/// Events of one recording, and images that are made of it.
const EVENTS: usize = 3_000;
const IMAGES: usize = 2_000;
/// Of so many images one is booted.
const BOOT_ONE_OF: usize = 200;
/// Kills of one disk, which begins empty.
const KILLS: u32 = 50;

fn main() -> Result<()> {
    check_tools()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let place = root().join("target");
    std::fs::create_dir_all(&place)?;
    scratch::within(&place.to_string_lossy(), "pi", |dir| {
        let software = Software::with(&daemon()?, dir.join("initrd"))?;
        let mut rng = scratch::random("pi")?;
        match arguments[..] {
            ["kills", count] => kill(&software, number(count)?, &mut rng, dir),
            ["cuts", count] => cut(&software, number(count)?, &mut rng, dir),
            _ => bail!("tests/pi/run --help tells what there is"),
        }
    })
}

fn number<T: core::str::FromStr<Err = core::num::ParseIntError>>(text: &str) -> Result<T> {
    text.parse().with_context(|| format!("{text} is no number"))
}

fn kill(software: &Software, count: u32, rng: &mut Rng, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    let progress = Progress::new("kills", count.into());
    let (mut kills, mut early, mut acknowledged) = (0, 0, 0);
    while kills < count {
        let part = KILLS.min(count - kills);
        let outcome = kills::run(software, part, rng, dir, &progress)?;
        kills += outcome.kills;
        early += outcome.early;
        acknowledged += outcome.acknowledged;
        println!(
            "{kills} kills, {early} of them before the first PUBACK; {acknowledged} events acknowledged, \
             0 lost; {} s",
            begun.elapsed().as_secs()
        );
    }
    Ok(())
}

fn cut(software: &Software, count: usize, rng: &mut Rng, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    let progress = Progress::new("images", count as u64);
    let (mut images, mut boots, mut entries) = (0, 0, 0);
    while images < count {
        let seed = rng.u64(..);
        let recording = cuts::record(software, EVENTS, seed, dir)?;
        let part = IMAGES.min(count - images);
        let plan = Plan { images: part, boots: part.div_ceil(BOOT_ONE_OF), seed };
        recording.check(&plan, dir, &progress)?;
        recording.boot(software, &plan, dir)?;
        images += plan.images;
        boots += plan.boots;
        let (writes, flushes) = recording.counts();
        entries += writes + flushes;
        println!(
            "{images} images of {entries} writes and flushes, {boots} booted; 0 events lost; {} s",
            begun.elapsed().as_secs()
        );
    }
    Ok(())
}
