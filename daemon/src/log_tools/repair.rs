//! What a start of the daemon does to a log, without serving: the torn end is dropped, what is lost
//! is noted as a gap, what was whole only together with a slot is put in its place.
//!
//! What was acknowledged and cannot be read cannot be brought back; nothing that can be read is
//! changed or taken away. So it can be run as often as one likes. Where a start would give up the oldest
//! segment, it is left to one: it knows how large the log may be, and folds sessions first.

use serde::Serialize;

use super::opened::describe;
use super::{INPUT, Place, ToolError};
use crate::io::clock::moment;
use crate::io::files::entropy;
use crate::io::log_files::LogFiles;
use crate::io::segments::SegmentFiles;
use crate::runtime::opening::{recover_patiently, waits_for};
use crate::runtime::scrub::vanished;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Gaps that are noted in the log now: first offset and end.
    pub noted: Vec<(u64, u64)>,
    /// Gaps that were noted by an earlier opening.
    pub known: Vec<(u64, u64)>,
    /// Bytes that were never acknowledged and are dropped.
    pub torn_bytes: u32,
    /// The offset that the next event gets.
    pub next: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// Opens the log as a start does, with the directory locked, and closes it.
///
/// # Errors
/// If there is no log, a daemon has the directory, or it cannot be written.
pub fn repair(place: &Place) -> Result<Repaired, ToolError> {
    if place.stream != INPUT {
        let text = format!("only the stream `{INPUT}` is repaired by hand; others are made anew");
        return Err(ToolError::Request(text));
    }
    expect_log(place)?;
    let unusable = |error: &dyn core::fmt::Display| ToolError::Directory(error.to_string());
    let files = SegmentFiles::open_to_keep(&place.dir).map_err(|error| unusable(&error))?;
    let entropy = entropy().map_err(|error| unusable(&error))?;
    let waits = waits_for(files.reader());
    let recovered = recover_patiently(files, entropy, moment(), waits);
    let recovered = recovered.map_err(|error| unusable(&error))?;
    let (log, report) = (recovered.log, recovered.report);
    if let Some(lost) = vanished(&report) {
        return Err(ToolError::Directory(lost));
    }
    let pair = |gap: &tributary_core::log::Gap| (gap.start.0, gap.end.0);
    let new_gaps = report.gaps.iter().filter(|gap| !report.known_gaps.contains(gap));
    Ok(Repaired {
        noted: new_gaps.map(pair).collect(),
        known: report.known_gaps.iter().map(pair).collect(),
        torn_bytes: report.torn_bytes,
        next: log.next_offset().0,
        bytes_written: log.counters().bytes,
    })
}

/// A start makes the log that is missing: for a repair its name is wrong.
fn expect_log(place: &Place) -> Result<(), ToolError> {
    match LogFiles::open(&place.dir, &place.stream) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ToolError::Directory(describe(place, &error)))
        }
        // What else is wrong with it the repair meets itself, or mends.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use tempfile::TempDir;
    use tributary_core::Offset;
    use tributary_core::log::{Clock, ControlKind, Frame};
    use tributary_core::time::{Age, Timestamp};

    use super::*;
    use crate::io::segments::SEGMENT_BYTES;
    use crate::log_tools::OpenedLog;
    use crate::runtime::opening::recover;

    /// More openings than have room at the end of a segment.
    const TIMES: usize = 60;
    const CLOCK: Clock = Clock { wall: Timestamp(5), age: Age(5), trusted: true };

    /// A log of two segments that has no more room but for openings. What its first one tells stands nowhere else.
    fn full() -> (TempDir, Place) {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes = 2 * u64::from(SEGMENT_BYTES);
        let files = SegmentFiles::open(dir.path(), bytes, true).expect("a directory");
        let entropy = entropy().expect("random numbers");
        let mut log = recover(files, entropy, moment()).expect("a new log").log;
        log.append_control(ControlKind::Sessions, b"12345678", CLOCK).expect("there is room");
        for bytes in [60_000, 50] {
            let body = vec![0; bytes];
            let frame = Frame { count: 1, clock: CLOCK, body: &body };
            loop {
                if log.append(&frame).is_ok() {
                    log.commit().expect("a sound disk");
                } else if log.next_victim().is_none() {
                    log.roll(&[], CLOCK).expect("a sound disk");
                } else {
                    break;
                }
            }
        }
        let place = Place { dir: dir.path().to_owned(), stream: INPUT.to_owned() };
        (dir, place)
    }

    fn oldest(place: &Place) -> Offset {
        OpenedLog::open(place, None).expect("it can be read").oldest
    }

    /// Each repair notes an opening, until there is no more room for one.
    fn repaired(place: &Place) -> (usize, Option<String>) {
        for times in 0..TIMES {
            if let Err(error) = repair(place) {
                return (times, Some(error.to_string()));
            }
            assert_eq!(oldest(place), Offset(0), "events are gone after {times} repairs");
        }
        (TIMES, None)
    }

    #[test]
    fn a_repair_gives_nothing_up() {
        let (_dir, place) = full();
        let (times, why) = repaired(&place);
        let why = why.expect("there is no more room");
        assert!(times > 10 && why.contains("input-00000.seg makes room"), "{times}: {why}");
        assert_eq!(oldest(&place), Offset(0));
        assert!(repair(&place).is_err() && oldest(&place) == Offset(0), "nor does the next one");
    }

    /// The log may become larger than it is: the daemon has made the next file ahead.
    #[test]
    fn a_repair_goes_on_in_what_is_unused() {
        let (dir, place) = full();
        File::create(dir.path().join("input-00002.seg")).expect("a sound disk");
        assert_eq!(repaired(&place), (TIMES, None));
        let bytes = dir.path().join("input-00002.seg").metadata().expect("it is there").len();
        assert_eq!(bytes, u64::from(SEGMENT_BYTES));
    }

    #[test]
    fn what_holds_no_log_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let why = |dir: &Path| {
            let done = repair(&Place { dir: dir.to_owned(), stream: INPUT.to_owned() });
            done.expect_err("there is nothing to repair").to_string()
        };
        assert!(why(dir.path()).ends_with("holds no log: name its data directory with --dir"));
        assert_eq!(dir.path().read_dir().expect("it is there").count(), 0);
        let missing = dir.path().join("missing");
        assert!(why(&missing).contains("cannot read") && !missing.exists());
    }
}
