//! What a start of the daemon does to a log, without serving: the torn end is dropped, what is lost
//! is noted as a gap, what was whole only together with a slot is put in its place.
//!
//! What was acknowledged and cannot be read cannot be brought back; nothing that can be read is
//! changed or taken away. So it can be run as often as one likes.

use serde::Serialize;

use super::opened::describe;
use super::{INPUT, Place, ToolError};
use crate::io::clock::moment;
use crate::io::files::entropy;
use crate::io::log_files::LogFiles;
use crate::io::segments::SegmentFiles;
use crate::runtime::opening::{recover_patiently, waits_for};

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
    // A size of nothing: the log keeps the one that it has.
    let files = SegmentFiles::open(&place.dir, 0, true).map_err(|error| unusable(&error))?;
    let entropy = entropy().map_err(|error| unusable(&error))?;
    let waits = waits_for(files.reader());
    let recovered = recover_patiently(files, entropy, moment(), waits);
    let recovered = recovered.map_err(|error| unusable(&error))?;
    let (log, report) = (recovered.log, recovered.report);
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
    use std::path::Path;

    use super::*;

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
