//! Reads the whole log once after each start, gently, so that damage in old segments is known while
//! there is still time: an opening reads the newest segment only.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use tributary_core::Offset;
use tributary_core::log::{GapCause, Item, Noted, Reader, Report};

use crate::io::crc::crc32c;
use crate::io::segments::SegmentReader;
use crate::io::threads::{pause, spawn};
use crate::sync::lock;

/// Bytes read at once; the largest frame fits.
const CHUNK_BYTES: usize = 1 << 20;
/// And then others have time to read.
const PAUSE: Duration = Duration::from_millis(200);
/// Gaps that are listed; the others are counted.
const GAPS_MAX: usize = 64;

/// What is known to be missing in the log.
#[derive(Debug, Default)]
pub struct Damage {
    gaps: Mutex<Gaps>,
    vanished: Option<String>,
    verified: AtomicU64,
}

/// Ranges of offsets, first and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// In the order in which they were found.
    pub listed: Vec<(u64, u64)>,
    /// So many more were found, or are joined in those that are listed.
    pub more: u64,
}

impl Damage {
    /// What an opening has found.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let listed = report.gaps.iter().map(|gap| (gap.start.0, gap.end.0)).collect();
        let gaps = Gaps { listed, more: u64::from(report.joined_gaps) };
        let (gaps, verified) = (Mutex::new(gaps), AtomicU64::new(report.oldest.0));
        Self { gaps, vanished: vanished(report), verified }
    }

    /// All that was found so far.
    pub fn gaps(&self) -> Gaps {
        lock(&self.gaps).clone()
    }

    /// What is to be said of another log that was there before this one, and is lost.
    pub fn vanished(&self) -> Option<String> {
        self.vanished.clone()
    }

    /// Everything below was read since the start.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Takes note of a gap; whether it was not known.
    fn note(&self, (first, end): (u64, u64)) -> bool {
        let mut gaps = lock(&self.gaps);
        let known = gaps.listed.iter().any(|gap| gap.0 <= first && end <= gap.1);
        if known || first >= end {
            return false;
        }
        if gaps.listed.len() < GAPS_MAX {
            gaps.listed.push((first, end));
        } else {
            gaps.more += 1;
        }
        true
    }
}

/// What is to be said of a log of which only the note of its end is left.
#[must_use]
pub fn vanished(report: &Report) -> Option<String> {
    let Noted { log_id, end, .. } = report.vanished?;
    Some(format!(
        "the log {log_id:016x} that was here is lost, events up to offset {}: none of its segments has a \
         header that can be read; a new log begins",
        end.0 - 1
    ))
}

/// Starts the reading, on a thread of its own.
///
/// # Errors
/// If there is no thread to be had.
pub(super) fn start(log: SegmentReader, damage: Arc<Damage>) -> std::io::Result<()> {
    spawn("log-scrub", move || read_all(&log, &damage)).map(drop)
}

fn read_all(log: &SegmentReader, damage: &Damage) {
    let end = log.end();
    let (mut reader, mut buffer) = (Reader::new(Offset(0), crc32c), vec![0; CHUNK_BYTES]);
    loop {
        let chunk = match reader.read(log, end, &mut buffer) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(at = reader.next_offset().0, %error, "the log is not verified");
                return;
            }
        };
        for item in chunk {
            if let Item::Gap { range, cause: GapCause::Damaged } = item
                && damage.note((range.start.0, range.end.0))
            {
                let (first, end) = (range.start.0, range.end.0);
                tracing::error!(first, end, "offsets of the log are damaged: they are a gap");
            }
        }
        damage.verified.fetch_max(reader.next_offset().0, Ordering::Relaxed);
        pause(PAUSE);
    }
    damage.verified.fetch_max(end.offset.0, Ordering::Relaxed);
}
