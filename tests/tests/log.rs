//! The behaviour of the log: power cuts, crashes, failing disks, decay.
//!
//! Each case follows from one number; `TRIBUTARY_SEED` runs that one alone.

use tributary_core::log::Geometry;
use tributary_tests::history::{Crashed, History};

const SMALL: Geometry = Geometry { segments: 4, segment_bytes: 4096 * 16, page_bytes: 4096 };
const LARGE_PAGES: Geometry =
    Geometry { segments: 3, segment_bytes: 16384 * 10, page_bytes: 16384 };

/// Some work: appends, commits, rolls, trims, until it is done or the log is gone.
fn work(history: &mut History, steps: u32) -> Result<(), Crashed> {
    for _ in 0..steps {
        match history.rng.u8(..40) {
            0 => history.roll()?,
            1 => history.trim()?,
            2..5 => history.append_control()?,
            5..20 => history.commit()?,
            20..23 => history.follow(),
            _ => {
                for _ in 0..history.rng.u8(1..6) {
                    history.append()?;
                }
            }
        }
    }
    history.commit()
}

/// Works, crashes at some moment, opens, and so on, some rounds.
fn live_and_crash(geometry: Geometry, seed: u64) {
    let mut history = History::new(geometry, seed);
    for _ in 0..6 {
        let floor =
            if history.rng.u8(..8) == 0 { history.acked() + history.rng.u64(..20) } else { 0 };
        if history.rng.u8(..3) == 0 {
            let operations = history.rng.u64(..5);
            history.disk.cut_after(operations);
        }
        let mut opened = history.open(floor);
        while opened.is_err() {
            history.power_cut();
            opened = history.open(floor);
        }
        let operations = history.rng.u64(..120);
        match history.rng.u8(..6) {
            0 => history.disk.fail_after(operations),
            1..5 => history.disk.cut_after(operations),
            _ => {}
        }
        let steps = history.rng.u32(..150);
        let worked = work(&mut history, steps);
        if worked.is_ok() {
            history.judge_content();
        }
        if history.disk.is_down() || history.rng.bool() {
            history.power_cut();
        } else {
            history.kill();
        }
    }
    history.open(0).expect("nothing goes wrong any more");
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("TRIBUTARY_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn what_was_acknowledged_survives_any_crash() {
    for seed in seeds(1500) {
        live_and_crash(SMALL, seed);
    }
}

#[test]
fn what_was_acknowledged_survives_any_crash_with_large_pages() {
    for seed in seeds(300) {
        live_and_crash(LARGE_PAGES, seed);
    }
}
