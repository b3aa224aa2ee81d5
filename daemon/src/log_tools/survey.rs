//! A log at a glance: its segments, its openings, the control records in force.

use serde::Serialize;
use tributary_core::log::{ReadMedia, SegmentState, segment_state};

use super::{OpenedLog, Place, Source};
use crate::io::crc::crc32c;
use crate::replicate::table::Table;

/// What there is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The data directory.
    pub dir: String,
    /// The stream.
    pub stream: String,
    /// The log's identity, 16 hex digits; none: nothing was ever written.
    pub log_id: Option<String>,
    /// Whether a daemon has it open.
    pub running: bool,
    /// The oldest offset that is kept.
    pub oldest: u64,
    /// The offset that the next event gets.
    pub next: u64,
    /// Where the log ends: segment, and bytes from its start.
    pub end: Option<(u32, u32)>,
    /// How many files there are.
    pub files: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one segment.
    pub segment_bytes: u32,
    /// Segments, in the order in which they were begun, then those without a header.
    pub segments: Vec<Segment>,
    /// Openings so far, oldest first: number in hex, first offset. Of a running daemon: none here.
    pub generations: Vec<(String, u64)>,
    /// Of a log of which no segment has a header any more: its id, and the end of what it held.
    pub vanished: Option<(String, u64)>,
    /// Offsets in the newest segment, or behind it, that are lost.
    pub gaps: Vec<(u64, u64)>,
    /// Bytes behind the end that were never acknowledged.
    pub torn_bytes: u32,
    /// Control records of kinds that a later version knows.
    pub unknown_controls: u32,
    /// The routes in force at the end: name, Kafka topic.
    pub routes: Vec<(String, String)>,
    /// What is known of the lanes' positions.
    pub hints: Vec<Hint>,
}

/// One segment.
#[derive(Clone, Debug, Serialize)]
pub struct Segment {
    /// Its place in the ring.
    pub index: u32,
    /// `begun`, `blank`, `newer`, `damaged` or `unreadable`.
    pub state: &'static str,
    /// How many were begun before.
    pub sequence: Option<u64>,
    /// The offset at which it begins.
    pub base: Option<u64>,
    /// Bytes of its pages.
    pub page_bytes: Option<u32>,
    /// The opening that began it, 8 hex digits.
    pub generation: Option<String>,
}

/// What is known of a lane's position in Kafka.
#[derive(Clone, Debug, Serialize)]
pub struct Hint {
    /// The lane.
    pub lane: String,
    /// Everything below is committed.
    pub low: u64,
    /// Nothing above can be.
    pub high: u64,
}

/// Looks at everything but the events.
#[must_use]
pub fn survey(log: &OpenedLog, place: &Place) -> Summary {
    let mut summary = Summary {
        dir: place.dir.display().to_string(),
        stream: place.stream.clone(),
        running: matches!(log.source, Source::Daemon),
        oldest: log.oldest.0,
        next: log.next.0,
        end: log.end.map(|end| (end.segment, end.at)),
        files: log.files.files(),
        bytes: log.files.bytes(),
        segment_bytes: log.files.geometry().segment_bytes,
        ..Summary::default()
    };
    segments(log, &mut summary);
    if let Source::Files(report) = &log.source {
        summary.generations =
            report.generations.iter().map(|g| (format!("{:08x}", g.number), g.first.0)).collect();
        summary.gaps = report.gaps.iter().map(|gap| (gap.start.0, gap.end.0)).collect();
        let noted = report.vanished;
        summary.vanished = noted.map(|noted| (format!("{:016x}", noted.log_id), noted.end.0));
        summary.torn_bytes = report.torn_bytes;
        summary.unknown_controls = report.unknown_controls;
    }
    if let Some(table) = log.snapshot.routes().and_then(|body| Table::decode(body).ok()) {
        let routes = table.routes.into_iter();
        summary.routes = routes.map(|entry| (entry.rule.name, entry.rule.topic)).collect();
    }
    let hints = log.snapshot.hints();
    summary.hints = hints
        .map(|hint| Hint { low: hint.hint.low.offset.0, high: hint.hint.high.0, lane: hint.lane })
        .collect();
    summary
}

fn segments(log: &OpenedLog, summary: &mut Summary) {
    for index in 0..log.files.geometry().segments {
        let mut segment = Segment {
            index,
            state: "blank",
            sequence: None,
            base: None,
            page_bytes: None,
            generation: None,
        };
        match segment_state(&log.files, index, crc32c) {
            Ok(SegmentState::Blank) => {}
            Ok(SegmentState::Newer) => segment.state = "newer",
            Ok(SegmentState::Damaged) => segment.state = "damaged",
            Err(_) => segment.state = "unreadable",
            Ok(SegmentState::Begun(info)) => {
                segment.state = "begun";
                segment.sequence = Some(info.sequence);
                segment.base = Some(info.base.0);
                segment.page_bytes = Some(info.page_bytes);
                segment.generation = Some(format!("{:08x}", info.generation));
                summary.log_id = Some(format!("{:016x}", info.log_id));
            }
        }
        summary.segments.push(segment);
    }
    summary.segments.sort_by_key(|segment| (segment.sequence.is_none(), segment.sequence));
}
