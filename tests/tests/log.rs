//! The behaviour of the log: power cuts, crashes, failing disks, decay.
//!
//! Each random case follows from one number; `TRIBUTARY_SEED` runs that one alone.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers of a simulated log are small"
)]

use std::collections::BTreeSet;

use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    Clock, CommitError, ControlKind, Entropy, Frame, Gap, GapCause, Geometry, Item, Noted,
    OpenError, Reader, Recovery, buffer_bytes,
};
use tributary_core::time::{Age, Timestamp};
use tributary_tests::disk::{Cut, Disk, DiskError};
use tributary_tests::history::{Crashed, DiskLog, History};

const SMALL: Geometry = Geometry { segments: 4, segment_bytes: 4096 * 18, page_bytes: 4096 };
/// Where the pages begin that the header of a segment stands in.
const HEADER_PAGES: [u32; 2] = [0, SMALL.segment_bytes - 4096];
const LARGE_PAGES: Geometry =
    Geometry { segments: 3, segment_bytes: 16384 * 10, page_bytes: 16384 };
const CLOCK: Clock = Clock { wall: Timestamp(1_800_000_000_000), age: Age(0), trusted: true };

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

/// The log crashed or is left: the power goes, or only the process, also in the middle of it all.
fn crash(history: &mut History) {
    if history.rng.bool() {
        history.power_cut();
    } else {
        history.kill();
    }
}

/// Opens the log, and again as long as the power goes meanwhile.
fn open_at_last(history: &mut History, floor: u64) {
    while history.open(floor).is_err() {
        crash(history);
    }
}

/// Works, crashes at some moment, opens, and so on, some rounds.
fn live_and_crash(geometry: Geometry, seed: u64) {
    let mut history = History::new(geometry, seed);
    for _ in 0..6 {
        let ahead = if history.rng.u8(..8) == 0 { history.rng.u64(1..20) } else { 0 };
        let floor = if ahead > 0 { history.acked() + ahead } else { 0 };
        if history.rng.u8(..3) == 0 {
            let operations = history.rng.u64(..5);
            history.disk.cut_after(operations);
        }
        open_at_last(&mut history, floor);
        let operations = history.rng.u64(..120);
        match history.rng.u8(..6) {
            0..2 => history.disk.fail_after(operations),
            2..5 => history.disk.cut_after(operations),
            _ => {}
        }
        let steps = history.rng.u32(..150);
        if work(&mut history, steps).is_ok() {
            history.judge_content();
        }
        crash(&mut history);
    }
    history.open(0).expect("nothing goes wrong any more");
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("TRIBUTARY_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn what_was_acknowledged_survives_any_crash() {
    for seed in seeds(600) {
        live_and_crash(SMALL, seed);
    }
}

#[test]
fn what_was_acknowledged_survives_any_crash_with_large_pages() {
    for seed in seeds(150) {
        live_and_crash(LARGE_PAGES, seed);
    }
}

#[test]
fn the_power_may_go_at_any_moment() {
    let tiny = Geometry { segments: 3, segment_bytes: 4096 * 12, page_bytes: 4096 };
    for seed in 0..2 {
        let run = |cut_after: u64| {
            let mut history = History::new(tiny, seed);
            history.disk.cut_after(cut_after);
            let worked = history.open(0).and_then(|_| work(&mut history, 100));
            (history, worked.is_ok())
        };
        let operations = run(u64::MAX / 2).0.disk.done().operations;
        assert!(operations > 60, "the work is some {operations} operations");
        for cut_after in 0..operations {
            for cut in Cut::ALL {
                let (mut history, done) = run(cut_after);
                assert!(!done, "the power goes before the end");
                history.log = None;
                history.disk.power_cut(cut);
                // Again, inside recovery.
                history.disk.cut_after(cut_after % 4);
                open_at_last(&mut history, 0);
                history.disk.be_well();
                work(&mut history, 5).expect("the power is there");
                history.kill();
                history.open(0).expect("the power is there");
            }
        }
    }
}

#[test]
fn a_disk_that_lies_about_barriers_is_found_out() {
    let finds_it = |seed| {
        let judged = std::panic::catch_unwind(|| {
            let mut history = History::new(SMALL, seed);
            history.disk.ignore_barriers();
            open_at_last(&mut history, 0);
            work(&mut history, 60).expect("the power is there");
            history.log = None;
            history.disk.power_cut(Cut::Mixed);
            history.open(0).expect("the power is there");
        });
        judged.is_err()
    };
    assert!((0..4).any(finds_it), "the judge notices that what was acknowledged is gone");
}

#[test]
fn a_thousand_openings_evict_nothing() {
    for geometry in [SMALL, LARGE_PAGES] {
        // A sixteenth of a real segment: an opening takes some dozens of bytes.
        let geometry = Geometry { segment_bytes: 1 << 18, ..geometry };
        let mut history = History::new(geometry, 7);
        open_at_last(&mut history, 0);
        while history.log().next_victim().is_none() {
            for _ in 0..20 {
                history.append().expect("the power is there");
            }
            history.roll().expect("the power is there");
        }
        history.append().expect("the power is there");
        history.commit().expect("the power is there");
        let oldest = history.log().oldest();
        let segment = history.log().end().segment;
        for round in 0..1000 {
            if round % 2 == 0 {
                history.power_cut();
            } else {
                history.kill();
            }
            history.disk.cut_after(round % 5);
            if history.open(0).is_err() {
                history.power_cut();
                history.disk.be_well();
                open_at_last(&mut history, 0);
            }
        }
        assert_eq!(history.log().oldest(), oldest, "nothing was evicted");
        assert_eq!(history.log().end().segment, segment, "all openings share a segment");
    }
}

/// A log of some segments, left in order.
fn some_log(seed: u64) -> History {
    let mut history = History::new(SMALL, seed);
    history.open(0).expect("the power is there");
    work(&mut history, 120).expect("the power is there");
    history.kill();
    history.open(0).expect("the power is there");
    work(&mut history, 12).expect("the power is there");
    history.kill();
    history
}

#[test]
fn a_flipped_bit_costs_one_frame_at_most_and_the_gap_is_exact() {
    for seed in seeds(50) {
        let past = some_log(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..120 {
            let mut history = past.fork(SMALL);
            history.lost = Some(BTreeSet::new());
            let page = if rng.bool() { rng.u32(..3) } else { rng.u32(3..16) };
            let (segment, byte) = (rng.u32(..4), page * 4096 + rng.u32(..4096));
            history.disk.flip(segment, byte, rng.u32(..8));
            history.open(0).expect("the log opens whatever it finds");
            let lost = history.lost.take().unwrap_or_default();
            let in_one = |range: &core::ops::Range<u64>| lost.iter().all(|at| range.contains(at));
            // The last commit stands in one slot alone: what it loses looks torn off.
            assert!(
                history.frames.iter().any(in_one) || in_one(&history.last_commit),
                "byte {byte} of segment {segment} cost {lost:?}; seed {seed}"
            );
            work(&mut history, 10).expect("the log goes on");
            history.judge_content();
        }
    }
}

#[test]
fn any_one_slot_may_be_torn() {
    for seed in seeds(40) {
        let past = some_log(seed);
        for slot in [1, 2] {
            let mut history = past.fork(SMALL);
            history.lost = Some(BTreeSet::new());
            for segment in 0..4 {
                history.disk.flip(segment, slot * 4096 + 20, 3);
                if history.disk.bytes(segment).is_some() {
                    history.disk.damage(segment, slot * 4096, &[0x5A; 4096]);
                }
            }
            history.open(0).expect("the log opens whatever it finds");
            let lost = history.lost.take().unwrap_or_default();
            // Only the slot that was written last has the last commit.
            assert!(
                lost.iter().all(|at| history.last_commit.contains(at)),
                "slot {slot} cost {lost:?}; seed {seed}"
            );
        }
    }
}

#[test]
fn garbage_opens_and_is_gone_on_with() {
    for seed in seeds(60) {
        let mut history = some_log(seed);
        history.lost = Some(BTreeSet::new());
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.u32(1..40) {
            let mut damage = vec![0; rng.usize(1..9000)];
            if rng.bool() {
                rng.fill(&mut damage);
            }
            let at = rng.u32(..SMALL.segment_bytes - damage.len() as u32);
            let segment = rng.u32(..4);
            if history.disk.bytes(segment).is_some() {
                history.disk.damage(segment, at, &damage);
            }
        }
        history.open(0).expect("the log opens whatever it finds");
        work(&mut history, 40).expect("the log goes on");
        history.judge_content();
    }
}

#[test]
fn what_cannot_be_read_is_a_gap_and_left_as_it_is() {
    for page in 0..18 {
        let mut history = some_log(4);
        history.lost = Some(BTreeSet::new());
        let newest = (0..4).max_by_key(|&index| sequence_of(&history.disk, index));
        let newest = newest.expect("there are four");
        let before = history.disk.bytes(newest);
        history.disk.make_unreadable(Some((newest, page * 4096..(page + 1) * 4096)));
        history.open(0).expect("the log opens whatever it finds");
        work(&mut history, 8).expect("the log goes on");
        history.judge_content();
        history.disk.make_unreadable(None);
        if (3..17).contains(&page) {
            // Another reading may succeed: nothing was written there.
            assert_eq!(history.disk.bytes(newest), before, "page {page}");
        }
    }
}

#[test]
fn a_newest_header_that_cannot_be_read_for_a_moment_costs_readers_nothing() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    for segment in 0..3 {
        if segment > 0 {
            log.roll(&[], CLOCK).expect("the disk is well");
        }
        (0..20).for_each(|_| append(&mut log, 300));
        log.commit().expect("the disk is well");
    }
    disk.make_unreadable(Some((log.end().segment, 0..4096)));
    let (events, gaps) = read(&disk, &log);
    assert_eq!((events.len(), gaps), (60, vec![]));
    assert_eq!(log.offset_at(Age(0), &mut [0; 4096]), Offset(0), "nor the search by age");
    assert_eq!(log.offset_at(Age(9), &mut [0; 4096]), Offset(60));
}

fn sequence_of(disk: &Disk, segment: u32) -> u64 {
    let number = |bytes: Vec<u8>| bytes[16..24].first_chunk().map(|n| u64::from_le_bytes(*n));
    disk.bytes(segment).and_then(number).unwrap_or(0)
}

#[test]
fn a_segment_that_is_missing_or_has_no_header_is_a_gap() {
    for segment in 0..4 {
        for whole in [true, false] {
            let mut history = some_log(3);
            history.lost = Some(BTreeSet::new());
            if whole {
                history.disk.remove(segment);
            } else if history.disk.bytes(segment).is_some() {
                for page_at in HEADER_PAGES {
                    history.disk.damage(segment, page_at, &[0xFF; 4096]);
                }
            }
            history.open(0).expect("the log opens whatever it finds");
            work(&mut history, 10).expect("the log goes on");
            history.judge_content();
        }
    }
}

#[test]
fn a_page_that_a_header_stands_in_costs_nothing() {
    let harms: [fn(&Disk, u32, u32); 3] = [
        |disk, segment, at| disk.damage(segment, at, &[0xFF; 4096]),
        |disk, segment, at| disk.damage(segment, at, &[0; 4096]),
        |disk, segment, at| disk.make_unreadable(Some((segment, at..at + 4096))),
    ];
    for (harm, page_at) in harms.into_iter().flat_map(|harm| HEADER_PAGES.map(|at| (harm, at))) {
        for segment in 0..4 {
            let mut history = some_log(3);
            if history.disk.bytes(segment).is_some() {
                harm(&history.disk, segment, page_at);
            }
            history.open(0).expect("the log opens whatever it finds");
            work(&mut history, 10).expect("the log goes on");
            history.judge_content();
        }
        // The only one that was begun.
        let mut history = History::new(SMALL, 7);
        history.open(0).expect("the power is there");
        (0..30).for_each(|_| history.append().expect("the power is there"));
        history.commit().expect("the power is there");
        history.kill();
        harm(&history.disk, 0, page_at);
        history.open(0).expect("the log opens whatever it finds");
        assert!(history.log().next_offset() > Offset(0), "it goes on");
        history.judge_content();
    }
}

#[test]
fn a_segment_that_is_full_leaves_the_last_page_to_its_header() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    // Down to what is left for openings.
    while log.room() > 2_048 + 512 {
        append(&mut log, 60);
        log.commit().expect("the disk is well");
    }
    log.roll(&[], CLOCK).expect("the disk is well");
    log.commit().expect("the disk is well");
    drop(log);
    disk.damage(0, 0, &[0xFF; 4096]);
    assert_eq!(open(&disk, 0, 2).oldest(), Offset(0));
}

/// A log on a disk, without a history.
fn open(disk: &Disk, floor: u64, generation: u32) -> DiskLog {
    open_with(12_000, disk, floor, generation)
}

/// The same with room in memory for bodies of so many bytes.
fn open_with(body_bytes: usize, disk: &Disk, floor: u64, generation: u32) -> DiskLog {
    let buffer = vec![0; buffer_bytes(disk_geometry(disk), body_bytes)];
    let recovery = Recovery::run(disk.clone(), buffer, Offset(floor), crc32c, &mut |_| {});
    let entropy = Entropy { log_id: 0xA1, generation, salt: u64::from(generation) << 32 };
    recovery.expect("it opens").begin(entropy, CLOCK, &[]).expect("it can be written")
}

fn disk_geometry(disk: &Disk) -> Geometry {
    tributary_core::log::ReadMedia::geometry(disk)
}

#[test]
fn what_is_noted_beside_the_segments_is_believed_of_this_log_alone() {
    let geometry = Geometry { segments: 3, segment_bytes: 16 * 4096, page_bytes: 4096 };
    let (log_id, sequence) = (0xA1, 0);
    let noted = Noted { log_id, sequence, end: Offset(9), bound: Offset(40) };
    let cases = [
        (noted, 9),
        (Noted { end: Offset(2), ..noted }, 3),
        (Noted { sequence: 1, ..noted }, 40),
        (Noted { log_id: 7, ..noted }, 3),
    ];
    for (noted, next) in cases {
        let disk = Disk::new(geometry, 1);
        let mut log = open(&disk, 0, 1);
        (0..3).for_each(|_| append(&mut log, 100));
        log.commit().expect("the disk is well");
        disk.leave_note(noted);
        let buffer = vec![0; buffer_bytes(geometry, 12_000)];
        let recovery = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
        let report = recovery.expect("it opens").report().clone();
        let lost = (next > 3).then_some(Offset(3)..Offset(next));
        assert_eq!(report.gaps.as_slice(), lost.as_slice(), "{noted:?}");
        assert_eq!(open(&disk, 0, 2).next_offset(), Offset(next), "{noted:?}");
    }
    // Of a log that has gone on, an old note says nothing.
    let disk = Disk::new(geometry, 1);
    let mut log = open(&disk, 0, 1);
    log.roll(&[], CLOCK).expect("the disk is well");
    append(&mut log, 100);
    log.commit().expect("the disk is well");
    disk.leave_note(noted);
    assert_eq!(open(&disk, 0, 2).next_offset(), Offset(1));
}

/// One frame of so many bytes in all.
fn append(log: &mut DiskLog, frame_bytes: usize) {
    let body = vec![7; frame_bytes - 48];
    log.append(&Frame { count: 1, clock: CLOCK, body: &body }).expect("there is room");
}

#[test]
fn one_barrier_and_one_page_per_commit() {
    let geometry = Geometry { segments: 2, segment_bytes: 4 << 20, page_bytes: 4096 };
    let disk = Disk::new(geometry, 1);
    let mut log = open(&disk, 0, 1);
    let before = log.counters();
    let commits = 4_000;
    for _ in 0..commits {
        append(&mut log, 48 + 168);
        log.commit().expect("the disk is well");
    }
    let after = log.counters();
    assert_eq!(after.commits - before.commits, commits);
    assert_eq!(after.barriers - before.barriers, commits, "1.00 barriers per commit");
    let bytes = (after.bytes - before.bytes) as f64 / commits as f64;
    assert!((4_300.0..4_420.0).contains(&bytes), "{bytes} device bytes per commit");
    assert_eq!(log.commit().map(|end| end.offset), Ok(Offset(commits)), "nothing new");
    assert_eq!(log.counters(), after, "and nothing written");
}

/// Then it is one write, and the next one is, too.
#[test]
fn a_large_commit_ends_at_the_end_of_a_page() {
    let disk = Disk::new(Geometry { segments: 2, segment_bytes: 4 << 20, page_bytes: 4096 }, 1);
    let mut log = open_with(60_000, &disk, 0, 1);
    append(&mut log, 3 * 4096);
    let small = log.commit().expect("the disk is well");
    assert_ne!(small.at % 4096, 0, "that would cost too much space");
    for frame_bytes in [5 * 4096, 4 * 4096, 40_000] {
        append(&mut log, frame_bytes);
        let before = disk.done().operations;
        let end = log.commit().expect("the disk is well");
        assert_eq!((end.at % 4096, disk.done().operations - before), (0, 2), "{frame_bytes}");
    }
    drop(log);
    disk.power_cut(Cut::Lost);
    let buffer = vec![0; buffer_bytes(disk_geometry(&disk), 60_000)];
    let recovery = Recovery::run(disk, buffer, Offset(0), crc32c, &mut |_| {}).expect("it opens");
    let report = recovery.report();
    assert_eq!((report.next, report.unknown_controls), (Offset(4), 0));
    let wall = report.last_clock.map(|clock| (clock.wall, clock.trusted));
    assert_eq!(wall, Some((CLOCK.wall, true)), "that of the last event");
}

#[test]
fn full_pages_leave_room_for_the_next_openings() {
    for pages in 14..26 {
        for frame_bytes in (500..3_000).step_by(97) {
            let geometry = Geometry { segments: 2, segment_bytes: pages * 4096, page_bytes: 4096 };
            let disk = Disk::new(geometry, 1);
            // Where it is full, memory becomes durable without being asked.
            let mut log = open_with(18_000, &disk, 0, 1);
            let body = vec![7; frame_bytes];
            let frame = Frame { count: 1, clock: CLOCK, body: &body };
            while log.append(&frame).is_ok() {}
            log.commit().expect("the disk is well");
            assert!(log.room() >= 2048, "{pages}, {frame_bytes}: {}", log.room());
        }
    }
}

#[test]
fn what_fills_a_page_stays_behind_when_its_segment_fails() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open_with(18_000, &disk, 0, 1);
    append(&mut log, 17_000);
    disk.fail_after(1);
    assert_eq!(log.commit(), Err(CommitError::SegmentFailed));
    let before = log.counters().frames;
    log.roll(&[], CLOCK).expect("the next segment is well");
    // The openings, and the event.
    assert_eq!(log.counters().frames - before, 2);
    assert_eq!(log.commit().map(|end| end.offset), Ok(Offset(1)));
}

#[test]
fn a_new_segment_costs_two_more_barriers() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    append(&mut log, 100);
    log.commit().expect("the disk is well");
    let before = disk.done().barriers;
    log.roll(&[(ControlKind::Routes, b"table")], CLOCK).expect("the disk is well");
    append(&mut log, 100);
    log.commit().expect("the disk is well");
    // The old segment is closed, and what the new one held is wiped, before anything is put there.
    assert_eq!(disk.done().barriers - before, 3);
}

/// A log whose last commit was cut: of its frames the first is torn, all others are there. They
/// have 60 bytes, as the record of an opening has; the second is a control record. So what is
/// written after the next opening ends where old frames begin, at the same offsets. A large one
/// takes most of them to the next page.
fn log_with_a_torn_end() -> Disk {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    let end = log.end().at;
    append(&mut log, 60);
    log.append_control(ControlKind::Anchor, &[0; 12], CLOCK).expect("there is room");
    append(&mut log, 60);
    log.append_control(ControlKind::Anchor, &[0; 5_000], CLOCK).expect("there is room");
    for _ in 0..97 {
        append(&mut log, 60);
    }
    log.commit().expect("the disk is well");
    for at in [end, 4096 + end % 4096, 8192 + end % 4096] {
        disk.damage(0, at, &[0xFF; 60]);
    }
    disk
}

#[test]
fn what_an_unclean_stop_left_behind_never_comes_back() {
    let disk = log_with_a_torn_end();
    let mut log = open(&disk, 0, 2);
    assert_eq!(log.next_offset(), Offset(1), "what was torn off was not acknowledged");
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    drop(log);
    let log = open(&disk, 0, 3);
    assert_eq!(log.next_offset(), Offset(2), "only what was acknowledged is there");
}

#[test]
fn a_segment_that_skips_offsets_takes_over_where_the_one_before_ends() {
    let disk = log_with_a_torn_end();
    // Its segment cannot be made durable: the next one begins at what was asked for.
    disk.fail_after(0);
    let mut log = open(&disk, 50, 2);
    append(&mut log, 60);
    let end = log.commit().expect("the disk is well");
    assert_eq!((end.sequence, end.offset), (1, Offset(51)));
    let (mut reader, mut buffer) = (Reader::new(Offset(0), crc32c), vec![0; 20_000]);
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.read(&disk.reader(), end, &mut buffer).expect("it fits") {
        for item in chunk {
            match item {
                Item::Events(frame) => events.push(frame.offsets().start.0),
                Item::Gap { range, .. } => gaps.push(range),
                Item::Control(_) => {}
            }
        }
    }
    assert_eq!((&events[..], &gaps[..]), (&[0, 50][..], &[Offset(1)..Offset(50)][..]));
}

#[test]
fn damage_does_not_bring_back_what_an_unclean_stop_left_behind() {
    let disk = log_with_a_torn_end();
    let mut log = open(&disk, 0, 2);
    let mut places = Vec::new();
    for _ in 0..6 {
        places.push(log.end().at);
        append(&mut log, 60);
        log.commit().expect("the disk is well");
    }
    log.roll(&[], CLOCK).expect("the disk is well");
    append(&mut log, 60);
    let end = log.commit().expect("the disk is well");
    // The last two events of the first segment, in every copy.
    for at in [places[4], 4096 + places[4] % 4096, 8192 + places[4] % 4096] {
        disk.damage(0, at, &[0xFF; 120]);
    }
    let mut reader = Reader::new(Offset(0), crc32c);
    let mut buffer = vec![0; 20_000];
    let mut gaps = Vec::new();
    while let Some(chunk) = reader.read(&disk.reader(), end, &mut buffer).expect("frames fit") {
        gaps.extend(chunk.filter_map(|item| match item {
            Item::Gap { range, cause } => Some((range, cause)),
            Item::Events(_) | Item::Control(_) => None,
        }));
    }
    assert_eq!(gaps, [(Offset(5)..Offset(7), GapCause::Damaged)]);
}

/// Where the bytes of `at` stand on a disk of one page of frames: at home, and in both slots.
fn copies_of(at: u32) -> [u32; 3] {
    [at, 4096 + at % 4096, 8192 + at % 4096]
}

/// The frame that an opening has left at a place, from whichever copy has it.
fn frame_at(disk: &Disk, at: u32, generation: u32) -> Vec<u8> {
    let bytes = disk.bytes(0).expect("the segment was written");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let mut places = copies_of(at).into_iter().map(|place| place as usize);
    let place = places.find(|place| bytes[*place] != 0 && number(place + 20) == generation);
    let place = place.expect("the opening has written it");
    bytes[place..place + 48 + number(place + 4) as usize].to_vec()
}

fn put(disk: &Disk, at: u32, frame: &[u8]) {
    for place in copies_of(at) {
        disk.damage(0, place, frame);
    }
}

/// One disk twice, with one event of 60 bytes, and its end: what becomes of the copies is valid, of the
/// same segment, and not of one history.
fn two_futures() -> (Disk, Disk, u32) {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    append(&mut log, 60);
    let end = log.commit().expect("the disk is well");
    (disk.reshaped(SMALL, 2), disk, end.at)
}

#[test]
fn an_opening_that_is_not_later_than_what_is_there_is_of_another_future() {
    let (disk, other, end) = two_futures();
    for generation in 2..5 {
        drop(open(&other, 0, generation));
    }
    let mut log = open(&disk, 0, 9);
    let late = Clock { age: Age(1_000), ..CLOCK };
    log.append_control(ControlKind::Anchor, &[0; 12], late).expect("there is room");
    log.commit().expect("the disk is well");
    drop(log);
    put(&disk, end + 120, &frame_at(&other, end + 120, 4));
    let log = open(&disk, 0, 10);
    let known: Vec<u32> = log.generations().iter().map(|known| known.number).collect();
    assert_eq!(known, [1, 9, 10]);
}

#[test]
fn a_frame_whose_offset_was_had_before_does_not_go_on_with_the_log() {
    let (disk, other, end) = two_futures();
    let mut log = open(&other, 0, 9);
    log.append_control(ControlKind::Anchor, &[0; 12], CLOCK).expect("there is room");
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    let mut log = open(&disk, 0, 9);
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    drop(log);
    put(&disk, end + 120, &frame_at(&other, end + 120, 9));
    let log = open(&disk, 0, 10);
    assert_eq!((log.next_offset(), log.end().at), (Offset(2), end + 180));
}

#[test]
fn a_gap_of_another_opening_does_not_go_on_with_the_log() {
    let (disk, other, end) = two_futures();
    drop(open(&other, 50, 4));
    drop(open(&disk, 0, 9));
    put(&disk, end + 60, &frame_at(&other, end + 60, 4));
    let log = open(&disk, 0, 10);
    assert_eq!(log.next_offset(), Offset(1));
}

#[test]
fn behind_damage_an_offset_does_not_come_again() {
    let (disk, other, end) = two_futures();
    let mut log = open(&other, 0, 9);
    log.append_control(ControlKind::Anchor, &[0; 132], CLOCK).expect("there is room");
    log.commit().expect("the disk is well");
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    let mut log = open(&disk, 0, 9);
    for _ in 0..3 {
        append(&mut log, 60);
    }
    log.commit().expect("the disk is well");
    drop(log);
    // The last event of this future, and behind it one of the other, which says that it is durable.
    put(&disk, end + 180, &[0xFF; 60]);
    put(&disk, end + 240, &frame_at(&other, end + 240, 9));
    let log = open(&disk, 0, 10);
    assert_eq!((log.next_offset(), log.end().at), (Offset(3), end + 240));
}

#[test]
fn behind_damage_the_copy_is_taken_that_has_the_next_frame() {
    for slot in [1, 2] {
        let disk = Disk::new(SMALL, 1);
        let mut log = open(&disk, 0, 1);
        let begin = log.end().at;
        for _ in 0..10 {
            append(&mut log, 60);
            log.commit().expect("the disk is well");
        }
        drop(log);
        // The fifth event in every copy, the sixth in one of them.
        put(&disk, begin + 240, &[0xFF; 60]);
        disk.damage(0, copies_of(begin + 300)[slot], &[0xFF; 60]);
        let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
        let recovery = Recovery::run(disk, buffer, Offset(0), crc32c, &mut |_| {});
        let recovery = recovery.expect("it opens");
        assert_eq!(recovery.report().gaps[..], [Offset(4)..Offset(5)], "slot {slot}");
        assert_eq!(recovery.report().next, Offset(10));
    }
}

/// A log that went round the ring, with so many events in each segment.
fn went_round(log_id: u64, events: u32) -> Disk {
    let disk = Disk::new(SMALL, 1);
    let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
    let recovery = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
    let entropy = Entropy { log_id, generation: 1, salt: log_id };
    let begun = recovery.expect("it opens").begin(entropy, CLOCK, &[]);
    let mut log = begun.expect("it can be written");
    for segment in 0..7 {
        if segment > 0 {
            log.roll(&[], CLOCK).expect("the disk is well");
        }
        (0..events).for_each(|_| append(&mut log, 60));
        log.commit().expect("the disk is well");
    }
    disk
}

#[test]
fn a_segment_of_another_log_is_not_one_of_this() {
    let (disk, other) = (went_round(0xA1, 1), went_round(0xB2, 10));
    // The oldest segment, of the round before.
    disk.damage(3, 0, &other.bytes(3).expect("it was written"));
    let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
    let recovery = Recovery::run(disk, buffer, Offset(0), crc32c, &mut |_| {}).expect("it opens");
    let report = recovery.report();
    assert_eq!((report.oldest, report.next), (Offset(4), Offset(7)));
}

#[test]
fn frames_of_a_log_that_was_there_before_are_not_taken_for_this_ones() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    for _ in 0..200 {
        append(&mut log, 60);
    }
    log.commit().expect("the disk is well");
    // The headers are gone. All that tells the new log's frames from the old ones is their salt.
    for segment in 0..4 {
        if disk.bytes(segment).is_some() {
            for page_at in HEADER_PAGES {
                disk.damage(segment, page_at, &[0; 4096]);
            }
        }
    }
    let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
    let entropy = Entropy { log_id: 0xA1, generation: 1, salt: 77 };
    let recovery = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
    let log = recovery.expect("it opens").begin(entropy, CLOCK, &[]);
    let mut log = log.expect("it can be written");
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    drop(log);
    let log = open(&disk, 0, 2);
    assert_eq!(log.next_offset(), Offset(1), "only what was acknowledged is there");
}

#[test]
fn offsets_go_on_above_the_floor_and_every_claim_and_what_is_missing_is_a_gap() {
    let mut history = History::new(SMALL, 5);
    history.open(10).expect("the power is there");
    assert_eq!(history.log().next_offset(), Offset(10));
    for _ in 0..3 {
        history.append().expect("the power is there");
    }
    history.commit().expect("the power is there");
    let next = history.log().next_offset().0;
    history.claim(next + 5).expect("the power is there");
    history.commit().expect("the power is there");
    history.kill();
    let report = history.open(0).expect("the power is there");
    assert_eq!(
        (report.next, report.gaps.as_slice()),
        (Offset(next + 5), [Offset(next)..Offset(next + 5)].as_slice())
    );
    history.kill();
    let report = history.open(next + 9).expect("the power is there");
    assert_eq!(report.next, Offset(next + 9));
    let read = history.read_from(0);
    assert_eq!(read.gaps[0], (0..10, GapCause::Evicted));
    let recorded: Vec<_> =
        read.controls.iter().filter(|(kind, ..)| *kind == ControlKind::Gap).collect();
    assert_eq!(recorded.len(), 2, "each gap is recorded once");
    // A claim that no log can reach is passed over.
    history.log().append_control(ControlKind::Hint, &[0xFF; 8], CLOCK).expect("there is room");
    history.commit().expect("the power is there");
    history.kill();
    assert_eq!(history.open(0).expect("the power is there").next, Offset(next + 9));
}

#[test]
fn what_was_given_back_stays_so() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    for _ in 0..10 {
        append(&mut log, 100);
    }
    assert_eq!(log.trim(Offset(4), CLOCK), Ok(None), "nothing of it is durable yet");
    log.commit().expect("the disk is well");
    assert_eq!(log.trim(Offset(4), CLOCK), Ok(Some(Offset(0)..Offset(4))));
    log.commit().expect("the disk is well");
    drop(log);
    let mut log = open(&disk, 0, 2);
    assert_eq!(log.oldest(), Offset(4));
    for _ in 0..2 {
        // In the header of the next segment, too.
        log.roll(&[], CLOCK).expect("the disk is well");
        log.commit().expect("the disk is well");
    }
    drop(log);
    assert_eq!(open(&disk, 0, 3).oldest(), Offset(4));
}

#[test]
fn a_failing_segment_hands_over_to_the_next_and_a_second_failure_makes_the_log_read_only() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    // A frame that reaches over pages, and small ones behind it.
    append(&mut log, 9_000);
    append(&mut log, 200);
    log.commit().expect("the disk is well");
    append(&mut log, 300);
    let sequence = log.end().sequence;
    // The write goes well, the barrier fails.
    disk.fail_after(1);
    assert_eq!(log.commit(), Err(CommitError::SegmentFailed));
    assert_eq!(log.failure(), Some(&DiskError::Failed));
    assert_eq!(log.commit(), Err(CommitError::SegmentFailed), "it is never tried again");
    let operations = disk.done().operations;
    assert_eq!(log.end().offset, Offset(2), "the last one was not acknowledged");
    log.roll(&[], CLOCK).expect("the next segment is well");
    let end = log.commit().expect("the next segment is well");
    assert_eq!((end.offset, end.sequence), (Offset(3), sequence + 1));
    assert!(disk.done().operations > operations);
    drop(log);
    // What the failed barrier only seemed to write is gone with the power.
    disk.power_cut(Cut::Lost);
    let mut log = open(&disk, 0, 2);
    assert_eq!((log.next_offset(), log.oldest()), (Offset(3), Offset(0)));
    append(&mut log, 300);
    disk.fail_after(0);
    assert_eq!(log.commit(), Err(CommitError::SegmentFailed));
    log.roll(&[], CLOCK).expect("the next segment takes the first writes");
    disk.fail_after(0);
    assert_eq!(log.commit(), Err(CommitError::ReadOnly));
    assert_eq!(log.roll(&[], CLOCK), Err(CommitError::ReadOnly));
    assert_eq!(log.end().offset, Offset(3), "what was acknowledged can be read on");
}

/// What a reader gets: the events' offsets with the bytes of their frames' bodies, and what is missing.
fn read(disk: &Disk, log: &DiskLog) -> (Vec<(u64, usize)>, Vec<Gap>) {
    let (mut reader, mut buffer) = (Reader::new(Offset(0), crc32c), vec![0; 1 << 16]);
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.read(&disk.reader(), log.end(), &mut buffer).expect("it fits") {
        for item in chunk {
            match item {
                Item::Events(frame) => events.push((frame.offsets().start.0, frame.body().len())),
                Item::Gap { range, .. } => gaps.push(range),
                Item::Control(_) => {}
            }
        }
    }
    (events, gaps)
}

/// A routing table that is larger than two pages.
const TABLE: (ControlKind, &[u8]) = (ControlKind::Routes, &[7; 9_000]);

#[test]
fn a_new_segment_hands_over_also_if_its_first_commit_fails_and_the_records_in_force_are_large() {
    for operations in 0.. {
        let disk = Disk::new(SMALL, 1);
        let mut log = open(&disk, 0, 1);
        append(&mut log, 100);
        log.commit().expect("the disk is well");
        log.roll(&[TABLE], CLOCK).expect("the disk is well");
        append(&mut log, 200);
        disk.fail_after(operations);
        if log.commit().is_ok() {
            assert!(operations >= 3, "a header, a slot and a barrier");
            break;
        }
        log.roll(&[TABLE], CLOCK).expect("the next segment is well");
        assert_eq!(log.commit().map(|end| end.offset), Ok(Offset(2)), "operation {operations}");
        for generation in 2..4 {
            assert_eq!(read(&disk, &log), (vec![(0, 52), (1, 152)], vec![]), "{operations}");
            drop(log);
            disk.power_cut(Cut::Lost);
            log = open(&disk, 0, generation);
        }
    }
}

#[test]
fn a_segment_that_fails_with_its_buffer_full_loses_nothing_to_the_records_in_force() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open_with(18_000, &disk, 0, 1);
    // With the opening all that may wait: a page less than the buffer, which is no whole pages.
    (0..2).for_each(|_| append(&mut log, 11_042));
    disk.fail_after(1);
    assert_eq!(log.commit(), Err(CommitError::SegmentFailed));
    log.roll(&[TABLE], CLOCK).expect("the next segment is well");
    log.commit().expect("the next segment is well");
    assert_eq!(read(&disk, &log), (vec![(0, 10_994), (1, 10_994)], vec![]));
}

/// The log in the first segment of four that was not evicted yet, behind two rounds.
fn full_ring() -> (Disk, DiskLog) {
    let disk = went_round(0xA1, 3);
    let log = open(&disk, 0, 2);
    assert_eq!((log.end().segment, log.oldest(), log.end().offset), (2, Offset(9), Offset(21)));
    (disk, log)
}

/// Everything from the oldest offset on is there.
fn assert_dense(disk: &Disk, log: &DiskLog, what: &str) {
    let (events, gaps) = read(disk, log);
    let (oldest, end) = (log.oldest().0, log.end().offset.0);
    let offsets: Vec<u64> = events.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (oldest..end).collect::<Vec<_>>(), "{what}");
    assert_eq!(gaps, [Offset(0)..Offset(oldest)], "{what}");
    for from in oldest..end {
        let (mut reader, mut buffer) = (Reader::new(Offset(from), crc32c), vec![0; 1 << 16]);
        let chunk = reader.read(&disk.reader(), log.end(), &mut buffer).expect("it fits");
        let first = chunk.expect("there is more").find_map(|item| match item {
            Item::Events(frame) => Some(frame.offsets().end.0 > from),
            Item::Gap { .. } => Some(false),
            Item::Control(_) => None,
        });
        assert_ne!(first, Some(false), "from {from}: {what}");
    }
}

#[test]
fn a_next_segment_whose_old_header_cannot_be_read_any_more_is_begun_all_the_same() {
    let (disk, mut log) = full_ring();
    disk.make_unreadable(Some((3, 0..4096)));
    append(&mut log, 60);
    log.roll(&[TABLE], CLOCK).expect("the header is written as a whole page");
    append(&mut log, 60);
    assert_eq!(log.commit().map(|end| end.segment), Ok(3));
    assert_dense(&disk, &log, "while it is open");
    drop(log);
    assert_dense(&disk, &open(&disk, 0, 3), "again");
}

#[test]
fn a_next_segment_that_cannot_be_begun_is_passed_over_and_announced() {
    let mut passed_over = 0;
    for (operations, cut) in (0..48).map(|n| (n / 4, Cut::ALL[n as usize % 4])) {
        let (disk, mut log) = full_ring();
        append(&mut log, 60);
        disk.fail_after(operations);
        let sequence = log.end().sequence;
        loop {
            let victim = log.next_victim();
            match log.roll(&[TABLE], CLOCK) {
                Err(CommitError::SegmentFailed) => assert!(log.has_failed()),
                evicted => break assert_eq!(evicted, Ok(victim), "{operations}"),
            }
        }
        append(&mut log, 60);
        if log.commit().is_err() {
            log.roll(&[TABLE], CLOCK).expect("nothing goes wrong twice");
            log.commit().expect("nothing goes wrong twice");
        }
        passed_over += u32::from(log.end().sequence == sequence + 2);
        let what = format!("{operations}, {cut:?}");
        assert_dense(&disk, &log, &what);
        drop(log);
        // What was passed over may have its old header again.
        disk.power_cut(cut);
        let mut log = open(&disk, 0, 3);
        assert_eq!(log.end().offset, Offset(23));
        for _ in 0..6 {
            assert_dense(&disk, &log, &what);
            append(&mut log, 60);
            let victim = log.next_victim();
            assert_eq!(log.roll(&[TABLE], CLOCK), Ok(victim));
            append(&mut log, 60);
            log.commit().expect("the disk is well");
        }
        assert_dense(&disk, &log, &what);
    }
    assert!(passed_over >= 16, "{passed_over} of them");
}

#[test]
fn two_segments_that_cannot_be_begun_make_the_log_read_only() {
    let (disk, mut log) = full_ring();
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    disk.fail_after(2);
    assert_eq!(
        log.roll(&[], CLOCK),
        Err(CommitError::SegmentFailed),
        "closed, and the wipe failed"
    );
    disk.fail_after(0);
    assert_eq!(log.roll(&[], CLOCK), Err(CommitError::ReadOnly));
    assert_eq!(log.end().offset, Offset(22));
    assert_eq!(read(&disk, &log).0.last(), Some(&(21, 12)));
}

#[test]
fn openings_begin_the_next_segment_also_if_that_fails_once() {
    let mut rolled = 0;
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    let frame = Frame { count: 1, clock: CLOCK, body: &[7; 500] };
    while log.append(&frame).is_ok() {}
    log.commit().expect("the disk is well");
    drop(log);
    for generation in 2..45 {
        for operations in 0..10 {
            let copy = disk.copy(operations);
            copy.fail_after(operations);
            // It opens.
            let log = open(&copy, 0, generation);
            rolled += u32::from(log.end().segment == 2);
        }
        drop(open(&disk, 0, generation));
    }
    assert!(rolled > 3, "{rolled} times");
}

/// The first barrier of a log may fail, or any other of an opening: the next opening, on the same running machine, is shown
/// what the device does not have.
#[test]
fn what_an_opening_that_failed_seems_to_have_written_is_not_gone_on_with() {
    for (before, operations, cut) in
        (0..3 * 12 * Cut::ALL.len()).map(|n| (n % 3, n as u64 / 3 % 12, Cut::ALL[n / 36]))
    {
        let disk = Disk::new(SMALL, 1);
        for generation in 0..before {
            // A third one begins in the second segment.
            let mut log = open(&disk, 0, generation as u32 + 1);
            append(&mut log, 200);
            log.roll(&[], CLOCK).expect("the disk is well");
            log.commit().expect("the disk is well");
        }
        disk.fail_after(operations);
        let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
        let recovery = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
        let entropy = Entropy { log_id: 0xA1, generation: 7, salt: 77 };
        drop(recovery.expect("it opens").begin(entropy, CLOCK, &[]));
        disk.be_well();
        let mut log = open(&disk, 0, 8);
        append(&mut log, 300);
        let end = log.commit().expect("the disk is well").offset;
        drop(log);
        disk.power_cut(cut);
        let log = open(&disk, 0, 9);
        let found = (log.oldest(), log.next_offset());
        assert_eq!(found, (Offset(0), end), "{before} openings, {operations}, {cut:?}");
        let (mut reader, mut events) = (Reader::new(Offset(0), crc32c), 0);
        let mut buffer = vec![0; 1 << 16];
        while let Some(chunk) =
            reader.read(&disk.reader(), log.end(), &mut buffer).expect("it fits")
        {
            events += chunk.filter(|item| matches!(item, Item::Events(_))).count() as u64;
        }
        assert_eq!(events, end.0, "{before} openings, {operations}, {cut:?}");
    }
}

#[test]
fn the_ring_grows_and_closes_where_the_disk_is_full() {
    let past = some_log(11);
    let larger = Geometry { segments: 9, ..SMALL };
    let mut history = past.fork(larger);
    history.disk.limit_room(7);
    history.open(0).expect("the power is there");
    for round in 0..30 {
        work(&mut history, 20).expect("the power is there");
        history.roll().expect("there is always a segment");
        if round % 3 == 0 {
            history.kill();
            history.open(0).expect("the power is there");
        }
        history.judge_content();
    }
    let used = (0..9).filter(|segment| history.disk.bytes(*segment).is_some()).count();
    assert_eq!(used, 7);
}

#[test]
fn the_ring_closes_only_where_nothing_older_lies_behind() {
    let (disk, mut log) = full_ring();
    append(&mut log, 60);
    // The oldest segment is the last, and cannot be had.
    disk.limit_room(3);
    assert_eq!(log.next_victim(), None);
    assert_eq!(log.roll(&[], CLOCK), Err(CommitError::SegmentFailed));
    assert_eq!(log.next_victim(), Some(Offset(9)..Offset(15)));
    assert_eq!(log.roll(&[], CLOCK), Ok(Some(Offset(9)..Offset(15))));
    append(&mut log, 60);
    log.commit().expect("the disk is well");
    assert_dense(&disk, &log, "what lay between is there");
}

#[test]
fn room_that_was_refused_is_asked_for_again_after_a_while() {
    let disk = Disk::new(SMALL, 1);
    let mut log = open(&disk, 0, 1);
    for _ in 0..2 {
        append(&mut log, 60);
        log.roll(&[], CLOCK).expect("the disk is well");
    }
    log.commit().expect("the disk is well");
    disk.limit_room(3);
    let victim = Some(Offset(0)..Offset(1));
    assert_eq!(log.next_victim(), victim, "the ring would close");
    disk.limit_room(4);
    assert_eq!(log.next_victim(), victim, "not at once");
    assert!((0..1_000).any(|_| log.next_victim().is_none()));
}

#[test]
fn a_log_moves_to_a_machine_with_larger_pages() {
    for seed in seeds(20) {
        let past = some_log(seed);
        let mut history = past.fork(Geometry { page_bytes: 8192, ..SMALL });
        history.open(0).expect("the power is there");
        work(&mut history, 60).expect("the power is there");
        history.power_cut();
        history.open(0).expect("the power is there");
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let disk = Disk::new(SMALL, 1);
    drop(open(&disk, 0, 1));
    let mut header = disk.bytes(0).expect("it was written");
    header[7] += 1;
    let crc = crc32c(0, &header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    let copy = header[..64].to_vec();
    disk.damage(0, 0, &copy);
    disk.damage(0, 512, &copy);
    let before = disk.bytes(0);
    let buffer = vec![0; buffer_bytes(SMALL, 12_000)];
    let opened = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
    assert!(matches!(opened.map(drop), Err(OpenError::Newer)));
    assert_eq!(disk.bytes(0), before);
}

#[test]
fn opening_reads_few_headers_however_long_the_ring_is() {
    let reads = |segments: u32| {
        let geometry = Geometry { segments, segment_bytes: 4096 * 8, page_bytes: 4096 };
        let disk = Disk::new(geometry, 1);
        let mut log = open(&disk, 0, 1);
        for _ in 0..segments + segments / 3 {
            append(&mut log, 100);
            log.roll(&[], CLOCK).expect("the disk is well");
            log.commit().expect("the disk is well");
        }
        drop(log);
        let before = disk.done().reads;
        drop(open(&disk, 0, 2));
        disk.done().reads - before
    };
    let (short, long) = (reads(16), reads(1024));
    assert!(long <= short + 20, "{short} reads for 16 segments, {long} for 1024");
}

#[test]
fn control_records_of_segments_without_events_are_found() {
    for events in [0, 1] {
        let disk = Disk::new(SMALL, 1);
        let mut log = open(&disk, 0, 1);
        (0..events).for_each(|_| append(&mut log, 100));
        for body in [b"first", b"other", b"third"] {
            log.append_control(ControlKind::Sessions, body, CLOCK).expect("there is room");
            log.commit().expect("the disk is well");
            log.roll(&[], CLOCK).expect("the disk is well");
        }
        append(&mut log, 100);
        let end = log.commit().expect("the disk is well");
        let mut reader = Reader::with_controls(Offset(events), crc32c);
        let (mut buffer, mut found) = (vec![0; 1 << 16], Vec::new());
        while let Some(chunk) = reader.read(&disk.reader(), end, &mut buffer).expect("it fits") {
            for item in chunk {
                match item {
                    Item::Control(control) if control.kind == ControlKind::Sessions => {
                        found.extend_from_slice(control.body);
                    }
                    Item::Events(_) | Item::Control(_) => {}
                    Item::Gap { range, .. } => panic!("a gap: {range:?}"),
                }
            }
        }
        assert_eq!(found, b"firstotherthird", "{events} events before");
    }
}
