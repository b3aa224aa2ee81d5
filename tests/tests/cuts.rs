//! Power cuts, counted: at every media operation of a workload that goes round the ring, again
//! inside the recovery, and after writing on. `TRIBUTARY_CUTS` says how many (100,000 unless it is
//! set), and how far it is shows on standard error; a failure names its case, and `TRIBUTARY_CASE` runs
//! that one alone.
#![expect(clippy::cast_possible_truncation, reason = "numbers of a simulated log are small")]

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeSet;
use std::time::Instant;

use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{Clock, ControlKind, Entropy, Frame, Geometry, Recovery, buffer_bytes};
use tributary_core::time::{Age, Timestamp};
use tributary_tests::disk::{Cut, Disk};
use tributary_tests::history::{Crashed, History};
use tributary_tests::progress::Progress;

/// What the quick run makes.
const CUTS: u64 = 100_000;
const PAGE: u32 = 1024;
const RING: Geometry = Geometry { segments: 3, segment_bytes: 32 * PAGE, page_bytes: PAGE };
/// Threads that try cases.
const THREADS: u64 = 2;
/// No case.
const NONE: u64 = u64::MAX;
/// A case: seed, operation at which the power goes, kind of cut.
const OPERATIONS_MAX: u64 = 1 << 10;
/// A cut leaves so many combinations at most, where all are walked.
const COMBINATIONS_MAX: u64 = 100_000;

/// A workload that goes round the ring in some dozens of operations.
fn work(history: &mut History, steps: u32) -> Result<(), Crashed> {
    for _ in 0..steps {
        match history.rng.u8(..16) {
            0 => history.roll()?,
            1 => history.append_control()?,
            2 => history.trim()?,
            3..8 => history.commit()?,
            _ => history.append()?,
        }
    }
    history.commit()
}

/// One case. The number of cuts in it; `None`: the workload has ended before.
fn cut_at(case: u64) -> Option<u64> {
    let kind = Cut::ALL[(case % 4) as usize];
    let (seed, operation) = (case / 4 / OPERATIONS_MAX, case / 4 % OPERATIONS_MAX);
    let mut history = History::new(RING, seed);
    history.disk.cut_after(operation);
    let ended = history.open(0).and_then(|_| work(&mut history, 60));
    if ended.is_ok() {
        return None;
    }
    history.log = None;
    history.disk.power_cut(kind);
    let mut cuts = 1;
    // Again, inside the recovery, in each of its operations by turns.
    history.disk.cut_after(operation % 7);
    if history.open(0).is_err() {
        history.log = None;
        history.disk.power_cut(Cut::ALL[(case / 4 % 4) as usize]);
        cuts += 1;
        history.open(0).expect("the log opens whatever it finds");
    }
    history.disk.be_well();
    // And after writing on.
    work(&mut history, 6).expect("the power is there");
    history.append().expect("the power is there");
    history.power_cut();
    history.open(0).expect("the log opens whatever it finds");
    Some(cuts + 1)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

#[test]
fn the_power_goes_at_every_operation_and_again_in_recovery() {
    if let Some(case) = number("TRIBUTARY_CASE") {
        cut_at(case);
        return;
    }
    let begun = Instant::now();
    let cuts = Progress::new("cuts", number("TRIBUTARY_CUTS").unwrap_or(CUTS));
    let (operations, failed) = (AtomicU64::new(0), AtomicU64::new(NONE));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cuts, operations, failed) = (&cuts, &operations, &failed);
            scope.spawn(move || {
                let now = AtomicU64::new(0);
                let try_case = |case| {
                    now.store(case, Ordering::Relaxed);
                    cut_at(case)
                };
                let ended = std::panic::catch_unwind(|| {
                    for seed in (thread..).step_by(THREADS as usize) {
                        let cases = (seed * OPERATIONS_MAX..).take(OPERATIONS_MAX as usize);
                        for case in cases {
                            let done = [0, 1, 2, 3].map(|kind| try_case(case * 4 + kind));
                            let [Some(a), Some(b), Some(c), Some(d)] = done else { break };
                            cuts.add(a + b + c + d);
                            operations.fetch_add(1, Ordering::Relaxed);
                        }
                        let enough = cuts.done() >= cuts.wanted();
                        if enough || failed.load(Ordering::Relaxed) != NONE {
                            return;
                        }
                    }
                });
                if ended.is_err() {
                    failed.fetch_min(now.into_inner(), Ordering::Relaxed);
                }
            });
        }
    });
    let (wanted, cuts, operations) = (cuts.wanted(), cuts.done(), operations.into_inner());
    println!("{cuts} cuts at {operations} operations in {:?}", begun.elapsed());
    let failed = failed.into_inner();
    assert!(failed == NONE, "repeat it alone with TRIBUTARY_CASE={failed}");
    assert!(cuts >= wanted);
}

/// What is cut where all that can be left is walked: opening, commits, a new segment.
fn small_work(history: &mut History, payload_bytes: usize) -> Result<(), Crashed> {
    history.open(0)?;
    for _ in 0..4 {
        history.append_of(1, payload_bytes)?;
        history.commit()?;
    }
    history.roll()?;
    history.append_of(2, payload_bytes)?;
    history.commit()
}

/// Counts through all combinations of fates.
#[derive(Default)]
struct Odometer {
    /// Fate, and number of fates, of each sector.
    wheels: Vec<(usize, usize)>,
    at: usize,
}

impl Odometer {
    fn choose(&mut self, fates: usize) -> usize {
        if self.at == self.wheels.len() {
            self.wheels.push((0, fates));
        }
        self.at += 1;
        self.wheels[self.at - 1].0
    }

    /// The next combination; `false` after the last.
    fn turn(&mut self) -> bool {
        self.at = 0;
        while let Some((fate, fates)) = self.wheels.pop() {
            if fate + 1 < fates {
                self.wheels.push((fate + 1, fates));
                return true;
            }
        }
        false
    }
}

#[test]
fn whatever_combination_of_sectors_a_cut_leaves_is_recovered_from() {
    let (mut combinations, mut operations) = (0_u64, 0_u64);
    for (seed, payload_bytes) in [17, 200, 420, 700, 900].into_iter().enumerate() {
        for operation in 0.. {
            let mut odometer = Odometer::default();
            let mut here = 0;
            let ended = loop {
                let mut history = History::new(RING, seed as u64);
                history.disk.cut_after(operation);
                if small_work(&mut history, payload_bytes).is_ok() {
                    break true;
                }
                history.log = None;
                history.disk.power_cut_by(|fates| odometer.choose(fates));
                history.open(0).expect("the log opens whatever it finds");
                history.append_of(1, 40).expect("the power is there");
                history.commit().expect("the power is there");
                history.kill();
                history.open(0).expect("the power is there");
                here += 1;
                assert!(here < COMBINATIONS_MAX, "the workload is small");
                if !odometer.turn() {
                    break false;
                }
            };
            combinations += here;
            if ended {
                break;
            }
            operations += 1;
        }
    }
    println!("{combinations} combinations at {operations} operations");
    assert!(combinations > 3_000 && operations > 50, "{combinations} at {operations}");
}

#[test]
fn a_misdirected_write_or_a_page_that_sticks_costs_what_it_held_and_the_log_goes_on() {
    for seed in 0..400 {
        let mut history = History::new(RING, seed);
        history.lost = Some(BTreeSet::new());
        history.open(0).expect("the power is there");
        let after = history.rng.u64(..60);
        if seed % 2 == 0 {
            history.disk.misdirect_after(after);
        } else {
            let (segment, page) = (history.rng.u32(..3), history.rng.usize(..32));
            history.disk.stick(segment, page);
        }
        // The log may find out while it works, and go on in the next segment.
        work(&mut history, 60).expect("the power is there");
        history.power_cut();
        history.open(0).expect("the log opens whatever it finds");
        work(&mut history, 10).expect("the log goes on");
    }
}

#[test]
fn a_lying_flush_loses_what_was_written_since_and_no_more() {
    for seed in 0..200 {
        let mut history = History::new(RING, seed);
        history.open(0).expect("the power is there");
        work(&mut history, 30).expect("the power is there");
        let honest = history.acked();
        history.disk.ignore_barriers();
        history.lost = Some(BTreeSet::new());
        work(&mut history, 4).expect("the power is there");
        history.power_cut();
        history.open(0).expect("the log opens whatever it finds");
        let lost = history.lost.take().unwrap_or_default();
        // Bounded: a page that was durable in a slot may be gone with both, none that lay before.
        let first = lost.first().copied().unwrap_or(u64::MAX);
        let page_of_events = u64::from(PAGE) / 60;
        assert!(
            first.saturating_add(page_of_events) >= honest,
            "{first} was durable, {honest} were; seed {seed}"
        );
    }
}

/// Device bytes, flushes and log space for records of 128 bytes, so many in each commit.
fn costs(records: u32) -> (f64, f64, f64) {
    let geometry = Geometry { segments: 3, segment_bytes: 4 << 20, page_bytes: 4096 };
    let clock = Clock { wall: Timestamp(1_800_000_000_000), age: Age(0), trusted: true };
    let body = vec![7; 128 * records as usize];
    let buffer = vec![0; buffer_bytes(geometry, 600 << 10)];
    let disk = Disk::new(geometry, 1);
    let recovery = Recovery::run(disk, buffer, Offset(0), crc32c, &mut |_| {}).expect("it opens");
    let entropy = Entropy { log_id: 1, generation: 1, salt: 1 };
    let mut log = recovery.begin(entropy, clock, &[]).expect("it can be written");
    let (before, mut rolls, mut space, mut flushes) = (log.counters(), 0, 0, 0);
    // Two segments full.
    while rolls < 2 {
        let begin = log.end();
        if log.append(&Frame { count: records, clock, body: &body }).is_err() {
            let before = log.counters().barriers;
            log.roll(&[(ControlKind::Anchor, &[0; 24])], clock).expect("the disk is well");
            assert!(log.counters().barriers <= before + 2, "whatever is in the segment");
            rolls += 1;
            continue;
        }
        let before = log.counters().barriers;
        let end = log.commit().expect("the disk is well");
        flushes += log.counters().barriers - before;
        if end.sequence == begin.sequence {
            space = end.at - begin.at;
        }
    }
    let after = log.counters();
    let (commits, events) = (after.commits - before.commits, log.next_offset().0);
    let bytes = after.bytes - before.bytes;
    let ratio = |a: u64, b: u64| f64::from(a as u32) / f64::from(b as u32);
    (ratio(bytes, events), ratio(flushes, commits), ratio(u64::from(space), u64::from(records)))
}

#[test]
fn bytes_flushes_and_space_per_record_are_within_their_bounds() {
    for (records, bytes_max) in [(1, 4_500.0), (16, 430.0), (256, 152.0), (4_096, 136.0)] {
        let (bytes, flushes, space) = costs(records);
        println!("{records} per commit: {bytes:.1} bytes, {flushes:.3} flushes, {space:.1} of log");
        assert!(bytes <= bytes_max, "{records} per commit: {bytes} device bytes per record");
        assert!((0.999..=1.001).contains(&flushes), "{records} per commit: {flushes} flushes");
        assert!(space <= 185.0, "{records} per commit: {space} bytes of log per record");
    }
}
