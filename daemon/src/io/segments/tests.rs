//! Directories that can be used and that cannot, and readers beside the writer on real files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use core::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tributary_core::Offset;
use tributary_core::log::{
    Clock, Entropy, Frame, Item, Log, ReadMedia, Reader, Recovery, Report, buffer_bytes,
};
use tributary_core::time::{Age, Timestamp};

use super::*;
use crate::io::crc::crc32c;
use crate::io::files::open_to_others;

const CLOCK: Clock = Clock { wall: Timestamp(1_800_000_000_000), age: Age(5), trusted: true };
const SIZE: u64 = 16 << 20;

/// A directory on the disk that holds the sources: temporary ones are often in RAM.
fn directory() -> TempDir {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&place).unwrap();
    TempDir::new_in(place).unwrap()
}

fn open(dir: &Path, bytes_max: u64, generation: u32) -> Log<SegmentFiles, Vec<u8>> {
    // What the sources lie on does not matter for these tests.
    let files = SegmentFiles::open(dir, bytes_max, true).unwrap();
    let buffer = vec![0; buffer_bytes(files.geometry(), 64 << 10)];
    let recovery = Recovery::run(files, buffer, Offset(0), crc32c, &mut |_| {}).unwrap();
    let entropy = Entropy { log_id: 1, generation, salt: u64::from(generation) };
    recovery.begin(entropy, CLOCK, &[]).unwrap()
}

fn append(log: &mut Log<SegmentFiles, Vec<u8>>, body: &[u8]) {
    let frame = Frame { count: 1, clock: CLOCK, body };
    if log.append(&frame).is_err() {
        log.roll(&[], CLOCK).unwrap();
        log.append(&frame).unwrap();
    }
}

#[test]
fn one_daemon_has_the_directory() {
    let dir = directory();
    let first = SegmentFiles::open(dir.path(), SIZE, true).unwrap();
    let second = SegmentFiles::open(dir.path(), SIZE, true);
    assert!(matches!(second, Err(SegmentError::Locked { .. })));
    // Who takes the file for a stale one, and removes it, lets nobody in.
    std::fs::remove_file(dir.path().join(LOCK)).unwrap();
    let third = SegmentFiles::open(dir.path(), SIZE, true);
    assert!(matches!(third, Err(SegmentError::Locked { .. })));
    drop(first);
    SegmentFiles::open(dir.path(), SIZE, true).unwrap();
}

#[test]
fn ram_is_refused_unless_accepted() {
    let shm = Path::new("/dev/shm");
    assert!(place::look_at(shm).unwrap().in_ram, "a machine has /dev/shm in RAM");
    let dir = TempDir::new_in(shm).unwrap();
    let refused = SegmentFiles::open(dir.path(), SIZE, false).unwrap_err();
    assert!(matches!(refused, SegmentError::InRam { .. }));
    assert!(refused.to_string().contains("volatile = true"), "{refused}");
    let nested = dir.path().join("a/b");
    SegmentFiles::open(&nested, SIZE, false).unwrap_err();
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
    SegmentFiles::open(&nested, SIZE, true).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_says_so() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let refused = SegmentFiles::open(&file.join("log"), SIZE, true).unwrap_err();
    assert!(matches!(refused, SegmentError::Directory { .. }), "{refused}");
    // Nobody may write there, root neither.
    for dir in ["/sys/kernel", "/sys/kernel/log", "/proc/self/log"] {
        let refused = Prospect::of(Path::new(dir), true).unwrap_err();
        assert!(matches!(refused, SegmentError::Directory { .. }), "{refused}");
        let refused = SegmentFiles::open(Path::new(dir), SIZE, true).unwrap_err();
        assert!(matches!(refused, SegmentError::Directory { .. }), "{refused}");
    }
}

#[test]
fn only_the_first_file_is_made_before_the_log_serves() {
    let dir = directory();
    let nested = dir.path().join("a/b");
    let mut log = open(&nested, SIZE, 1);
    append(&mut log, b"first");
    log.commit().unwrap();
    assert_eq!(files_in(&nested), 1);
    log.roll(&[], CLOCK).unwrap();
    assert_eq!(files_in(&nested), 2);
}

#[test]
fn the_log_is_there_after_reopening_also_with_a_file_cut_short_or_gone() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    for round in 0..150 {
        append(&mut log, &vec![round; 60_000]);
    }
    let end = log.commit().unwrap();
    assert_eq!(end.segment, 2);
    drop(log);
    let mut log = open(dir.path(), SIZE, 2);
    assert_eq!((log.oldest(), log.next_offset()), (Offset(0), Offset(150)));
    append(&mut log, b"more");
    log.commit().unwrap();
    drop(log);
    fs::remove_file(dir.path().join("input-00000.seg")).unwrap();
    let cut = File::options().write(true).open(dir.path().join("input-00001.seg")).unwrap();
    cut.set_len(1 << 20).unwrap();
    let log = open(dir.path(), SIZE, 3);
    assert_eq!(log.next_offset(), Offset(151));
    assert!(log.oldest() > Offset(0) && log.oldest() < Offset(100));
}

/// What recovery finds in a directory.
fn found(dir: &Path) -> Report {
    let files = SegmentFiles::open(dir, SIZE, true).unwrap();
    let buffer = vec![0; buffer_bytes(files.geometry(), 64 << 10)];
    let recovery = Recovery::run(files, buffer, Offset(0), crc32c, &mut |_| {}).unwrap();
    recovery.report().clone()
}

#[test]
fn a_newest_segment_that_is_gone_is_a_gap_and_its_offsets_are_not_given_out_again() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    let mut begins = Vec::new();
    for round in 0..150 {
        append(&mut log, &vec![round; 60_000]);
        let end = log.commit().unwrap();
        if begins.len() as u64 == end.sequence {
            begins.push(end.offset.0 - 1);
        }
    }
    drop(log);
    fs::remove_file(dir.path().join("input-00002.seg")).unwrap();
    let report = found(dir.path());
    assert!(report.next >= Offset(150), "{report:?}");
    assert_eq!(report.gaps.as_slice(), [Offset(begins[2])..report.next]);
    // Each opening goes on from there, and the next one knows.
    let log = open(dir.path(), SIZE, 2);
    assert_eq!(log.next_offset(), report.next);
    drop(log);
    let again = found(dir.path());
    assert_eq!((again.next, &again.gaps), (report.next, &report.gaps));
    assert_eq!(again.known_gaps, report.gaps, "it is in the log now");
}

#[test]
fn a_last_commit_that_is_damaged_is_a_gap() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    for _ in 0..5 {
        append(&mut log, b"small");
        log.commit().unwrap();
    }
    let page = u64::from(log.media().geometry().page_bytes);
    drop(log);
    assert_eq!(found(dir.path()).gaps.len(), 0, "nothing is missing yet");
    let note = dir.path().join("input.end");
    let segment = File::options().write(true).open(dir.path().join("input-00000.seg")).unwrap();
    for slot in [1, 2] {
        segment.write_all_at(&[0xFF; 1024], slot * page).unwrap();
    }
    let report = found(dir.path());
    assert_eq!(
        (report.next, report.gaps.as_slice()),
        (Offset(5), [Offset(0)..Offset(5)].as_slice())
    );
    // One of the note's slots may be torn; with both, nobody can tell.
    let both = fs::read(&note).unwrap();
    let mut told = [0, 1 << 16].map(|at| {
        let mut torn = both.clone();
        torn[at + 40] ^= 1;
        fs::write(&note, torn).unwrap();
        found(dir.path()).next
    });
    told.sort_unstable();
    assert!(told[0] < Offset(5) && told[1] == Offset(5), "{told:?}");
    fs::write(&note, b"").unwrap();
    assert_eq!(found(dir.path()).gaps.len(), 0);
}

#[test]
fn a_smaller_size_keeps_what_is_there_and_a_larger_one_grows() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    for _ in 0..3 {
        append(&mut log, b"x");
        log.roll(&[], CLOCK).unwrap();
    }
    log.commit().unwrap();
    assert_eq!(log.media().bytes_max(), SIZE);
    drop(log);
    assert_eq!(open(dir.path(), 8 << 20, 2).media().bytes_max(), SIZE);
    assert_eq!(open(dir.path(), 2 * SIZE, 3).media().bytes_max(), 2 * SIZE);
}

#[test]
fn a_smaller_size_removes_what_was_made_ahead_and_holds_nothing() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    append(&mut log, b"kept");
    log.roll(&[], CLOCK).unwrap();
    log.commit().unwrap();
    let shared = Arc::clone(&log.media().shared);
    (0..shared.geometry.segments).for_each(|segment| shared.make(segment).unwrap());
    drop(log);
    // One that was begun and given up, as a crash between the two leaves it; and one whose header is damaged.
    let file = |segment: u32| dir.path().join(ring::file_name(INPUT, segment));
    fs::write(file(2), [vec![0; 16 << 10], vec![7; 100]].concat()).unwrap();
    fs::write(file(9), vec![7; 4096]).unwrap();
    let files = SegmentFiles::open(dir.path(), 8 << 20, true).unwrap();
    assert_eq!(files_in(dir.path()), 5, "who only opens removes nothing");
    files.follow_size();
    assert_eq!((files.bytes_max(), files.reader().larger()), (8 << 20, None));
    assert!(file(0).exists() && file(1).exists() && file(9).exists());
    assert_eq!(files_in(dir.path()), 3);
    drop(files);
    let mut log = open(dir.path(), 8 << 20, 2);
    assert_eq!((log.oldest(), log.next_offset()), (Offset(0), Offset(1)));
    // The ring closes where it ends now, and grows again when it is asked to.
    log.roll(&[], CLOCK).unwrap();
    append(&mut log, b"more");
    assert_eq!(log.commit().unwrap().segment, 0);
    drop(log);
    let mut log = open(dir.path(), SIZE, 3);
    assert_eq!(log.next_offset(), Offset(2));
    for _ in 0..2 {
        log.roll(&[], CLOCK).unwrap();
    }
    assert_eq!(log.commit().unwrap().segment, 2);
}

#[test]
fn a_log_that_is_larger_than_asked_for_says_so() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    for _ in 0..2 {
        append(&mut log, b"x");
        log.roll(&[], CLOCK).unwrap();
    }
    log.commit().unwrap();
    assert_eq!(log.media().reader().larger(), None);
    drop(log);
    let files = SegmentFiles::open(dir.path(), 8 << 20, true).unwrap();
    files.follow_size();
    let reader = files.reader();
    assert_eq!(reader.bytes_max(), 12 << 20);
    let told = reader.larger().unwrap();
    assert!(told.starts_with("the log keeps 12.0 MiB") && told.contains("8.0 MiB"), "{told}");
}

#[test]
fn a_stray_file_makes_the_ring_no_longer() {
    let dir = directory();
    drop(open(dir.path(), SIZE, 1));
    fs::write(dir.path().join("input-65535.seg"), "not a segment").unwrap();
    fs::write(dir.path().join("input-00077.seg"), vec![0; 4096]).unwrap();
    let log = open(dir.path(), SIZE, 2);
    assert_eq!(log.media().bytes_max(), SIZE);
}

#[test]
fn other_users_read_nothing_and_a_directory_that_is_there_keeps_its_mode() {
    let dir = directory();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let place = dir.path().join("a/log");
    let mut log = open(&place, SIZE, 1);
    append(&mut log, b"secret");
    log.commit().unwrap();
    assert_eq!(mode(&place) & !LOG_DIR_MODE, 0, "{:o}", mode(&place));
    let files: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "a segment, the note, the lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file) & !LOG_FILE_MODE, 0, "{file:?} {:o}", mode(&file));
    }
    drop(log);
    assert_eq!(open_to_others(&place), None);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o751)).unwrap();
    drop(open(&place, SIZE, 2));
    assert_eq!(mode(&place), 0o751);
    assert!(open_to_others(&place).is_some_and(|told| told.contains("chmod o= ")));
}

/// Files of segments in a directory.
fn files_in(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("input-")).count()
}

#[test]
fn files_are_made_ahead_and_never_over_what_is_used() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    append(&mut log, b"kept");
    log.commit().unwrap();
    let shared = Arc::clone(&log.media().shared);
    for segment in 0..shared.geometry.segments {
        while shared.make_longer(segment, 300_000).unwrap() {}
    }
    drop(log);
    assert_eq!(files_in(dir.path()), 4);
    assert_eq!(open(dir.path(), SIZE, 2).next_offset(), Offset(1));
}

/// Whatever it has: a power cut may have left it so, and the log may be in it.
#[test]
fn a_file_that_is_made_longer_keeps_what_it_has() {
    let dir = directory();
    let files = SegmentFiles::open(dir.path(), SIZE, true).unwrap();
    let path = dir.path().join("input-00001.seg");
    for length in [0, 1, 4_096, 300_000, SEGMENT_BYTES as usize - 1, SEGMENT_BYTES as usize] {
        fs::write(&path, vec![0xA5; length]).unwrap();
        let mut before = length;
        while files.shared.make_longer(1, 700_000).unwrap() {
            let made = fs::read(&path).unwrap();
            let (kept, new) = made.split_at(length);
            assert!(kept.iter().all(|byte| *byte == 0xA5) && new.iter().all(|byte| *byte == 0));
            assert!(made.len() > before && made.len() <= before + 700_000);
            before = made.len();
        }
        assert_eq!(before, SEGMENT_BYTES as usize, "from {length}");
    }
}

/// Reads until `stop`, and checks that what it gets is what was appended; how many events it got.
fn read_along(media: &SegmentReader, stop: &AtomicU64) -> u64 {
    let mut reader = Reader::new(Offset(0), crc32c);
    let mut buffer = vec![0; 256 << 10];
    let (mut next, mut events) = (0, 0);
    loop {
        let stopped = stop.load(Ordering::Acquire);
        while let Some(chunk) = reader.read(media, media.end(), &mut buffer).unwrap() {
            for item in chunk {
                match item {
                    Item::Events(frame) => {
                        assert_eq!(frame.offsets().start.0, next);
                        assert_eq!(frame.body(), body(next).as_slice());
                        next = frame.offsets().end.0;
                        events += 1;
                    }
                    Item::Gap { range, cause } => {
                        assert_eq!((range.start.0, cause.name()), (next, "evicted"));
                        next = range.end.0;
                    }
                    Item::Control(_) => {}
                }
            }
        }
        if stopped > 0 && next == stopped {
            return events;
        }
    }
}

#[test]
fn a_newest_header_that_cannot_be_read_costs_readers_nothing() {
    let dir = directory();
    let mut log = open(dir.path(), SIZE, 1);
    for offset in 0..300 {
        append(&mut log, &body(offset));
    }
    let end = log.commit().unwrap();
    assert!(end.sequence > 0, "an older segment is there");
    let file = dir.path().join(format!("input-{:05}.seg", end.segment));
    File::options().write(true).open(file).unwrap().write_all_at(&[0xFF; 4096], 0).unwrap();
    assert_eq!(read_along(&log.media().reader(), &AtomicU64::new(300)), 300);
}

fn body(offset: u64) -> Vec<u8> {
    vec![offset.to_le_bytes()[0]; 500 + usize::try_from(offset % 7).unwrap() * 9_000]
}

#[test]
fn readers_on_other_threads_keep_up_while_segments_are_recycled() {
    let dir = directory();
    let mut log = open(dir.path(), 8 << 20, 1);
    let media = log.media().reader();
    let stop = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_along(&media, &stop))).collect();
        for offset in 0..900 {
            append(&mut log, &body(offset));
            if offset % 3 == 0 {
                log.commit().unwrap();
            }
        }
        log.commit().unwrap();
        assert!(log.oldest() > Offset(0), "the ring went round");
        stop.store(900, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn of_a_large_log_a_few_files_are_open() {
    let dir = directory();
    let segments = u32::try_from(FILES_OPEN_MAX).unwrap() + 8;
    let bytes_max = u64::from(segments * SEGMENT_BYTES);
    let files = SegmentFiles::open(dir.path(), bytes_max, true).unwrap();
    for segment in 0..segments {
        fs::write(dir.path().join(format!("input-{segment:05}.seg")), [7; 9]).unwrap();
    }
    for segment in (0..segments).chain(0..segments) {
        let mut bytes = [0; 10];
        files.read(segment, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
        // One that is used again and again stays open.
        files.read(0, 0, &mut bytes).unwrap();
        assert!(files.shared.open_files() <= FILES_OPEN_MAX);
    }
}
