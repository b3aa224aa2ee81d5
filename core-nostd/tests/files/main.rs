//! The log on files, as small as it can be: a life with a new segment, cut, recovered, read and gone on
//! with. Small enough for Miri, which `tests/miri` has run it; the disk and the judge are those of
//! `tests/tests/log.rs` and `cuts.rs`, where the large numbers are.

#[path = "../../../tests/src/disk.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a library of the tests crate; part of it is used here"
)]
mod disk;
#[path = "../../../tests/src/history.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a library of the tests crate; part of it is used here"
)]
mod history;

use disk::Cut;
use history::{Crashed, History};
use tributary_core::log::Geometry;

const PAGE: u32 = 1024;
/// As few and as small segments as there may be.
const RING: Geometry = Geometry { segments: 2, segment_bytes: 9 * PAGE, page_bytes: PAGE };
/// Of so many operations at which the power may go, one is tried.
const EVERY: u64 = if cfg!(miri) { 17 } else { 1 };
const SEEDS: u64 = if cfg!(miri) { 1 } else { 20 };

/// Opens the log, goes round the ring, and ends with a commit.
fn life(history: &mut History) -> Result<(), Crashed> {
    history.open(0)?;
    for _ in 0..3 {
        history.append_of(2, 150)?;
        history.append_control()?;
        history.commit()?;
        history.append_of(1, 350)?;
        history.commit()?;
        history.roll()?;
    }
    history.append_of(1, 40)?;
    history.commit()
}

#[test]
fn a_life_can_end_at_any_operation() {
    let mut cuts = 0;
    for seed in 0..SEEDS {
        for operation in (0..).step_by(usize::try_from(EVERY).expect("a digit")) {
            let mut history = History::new(RING, seed);
            history.disk.cut_after(operation);
            if life(&mut history).is_ok() {
                break;
            }
            history.log = None;
            let kind = usize::try_from((operation / EVERY + seed) % 4).expect("one of four");
            history.disk.power_cut(Cut::ALL[kind]);
            history.open(0).expect("the log opens whatever it finds");
            history.append_of(1, 40).expect("the power is there");
            history.commit().expect("the power is there");
            history.kill();
            history.open(0).expect("the power is there");
            cuts += 1;
        }
    }
    assert!(cuts >= SEEDS * 30 / EVERY, "{cuts} cuts");
}
