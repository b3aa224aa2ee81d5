//! What a log holds, against what was acknowledged.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tributary::log_tools::{INPUT, OpenedLog, Place};
use tributary_core::log::{GapCause, Item};

use super::disk;
use super::publisher::payload;

/// Of a ring that goes round, what is kept at least: all but the segment that is given up, the one
/// that is written, and what control records take.
const KEPT_BYTES_MIN: usize = (disk::SEGMENTS as usize - 2) * (4 << 20) - (1 << 20);

/// What is in a log.
#[derive(Debug, Default)]
pub struct Found {
    /// The numbers of the events, in the log's order.
    pub numbers: Vec<u64>,
    /// Whether older ones were evicted.
    pub evicted: bool,
    /// Bytes of the payloads.
    pub bytes: usize,
}

/// Recovers a log as `tributary log` does, and reads it whole.
///
/// # Errors
/// It cannot be read, an event is not what was sent, or something is missing.
pub fn read(dir: &Path) -> Result<Found> {
    let mut found = Found::default();
    if !dir.join("input-00000.seg").exists() {
        return Ok(found);
    }
    let place = Place { dir: dir.to_owned(), stream: INPUT.to_owned() };
    let log = OpenedLog::open(&place, None)?;
    found.evicted = log.oldest.0 > 0;
    let mut pages = log.pages(log.oldest);
    while let Some(chunk) = pages.next(&log) {
        for item in chunk {
            match item {
                Item::Control(_) => {}
                Item::Gap { cause: GapCause::Evicted, .. } => found.evicted = true,
                Item::Gap { range, .. } => bail!("recovery reports {range:?} as damaged"),
                Item::Events(events) => {
                    for (offset, event) in events {
                        let head = event.payload.first_chunk().context("a payload has a number")?;
                        let number = u64::from_be_bytes(*head);
                        ensure!(event.payload == payload(number), "{number} at {offset:?} differs");
                        found.numbers.push(number);
                        found.bytes += event.payload.len();
                    }
                }
            }
        }
    }
    let end = log.end.map_or(log.next, |end| end.offset);
    ensure!(end == log.next, "recovery reports {end:?} to {:?} as missing", log.next);
    Ok(found)
}

impl Found {
    /// Each of `acknowledged`, in ascending order, is there once, and all are in order, unless it was evicted.
    ///
    /// # Errors
    /// [`Lost`], or what else is wrong.
    pub fn check(&self, acknowledged: impl Iterator<Item = u64>) -> Result<()> {
        let oldest = match self.numbers.first() {
            Some(&first) if self.evicted => first,
            _ => 0,
        };
        ensure!(
            !self.evicted || self.bytes >= KEPT_BYTES_MIN,
            "{} bytes are all that is kept of a log of {} segments",
            self.bytes,
            disk::SEGMENTS
        );
        let in_order = self.numbers.is_sorted_by(|before, after| before < after);
        ensure!(in_order, "events are there twice or not in order");
        let mut there = self.numbers.iter().copied().peekable();
        for number in acknowledged.skip_while(|number| *number < oldest) {
            while there.next_if(|there| *there < number).is_some() {}
            if there.peek() != Some(&number) {
                return Err(Lost(number).into());
            }
        }
        Ok(())
    }
}

/// An event that was acknowledged and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost(pub u64);

impl core::fmt::Display for Lost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "event {} was acknowledged and is lost", self.0)
    }
}

impl core::error::Error for Lost {}
