//! A log that was opened for reading.

use tributary_core::Offset;
use tributary_core::log::{
    BODY_BYTES_MAX, Chunk, Clock, Control, End, Item, ReadMedia, Reader, Recovery, Report,
    buffer_bytes, offset_at,
};
use tributary_core::time::Timestamp;

use super::end::Told;
use super::{CHUNK_BYTES, LogEnd, Place, ToolError};
use crate::io::crc::crc32c;
use crate::io::log_files::{LogFiles, streams};
use crate::runtime::clock::Anchor;
use crate::runtime::snapshot::Snapshot;

/// What the wall clock may have been put right by, little by little, against the age clock.
const SLEW_MS_MAX: i64 = 60_000;

/// Who knows where the log ends.
#[derive(Debug)]
pub enum Source {
    /// A running daemon.
    Daemon,
    /// Recovery, from the files of a log that nobody has open.
    Files(Box<Report>),
}

/// A log that can be read up to its end.
#[derive(Debug)]
pub struct OpenedLog {
    /// The files.
    pub files: LogFiles,
    /// The end; `None`: there is no event and never was.
    pub end: Option<End>,
    /// The oldest offset that is kept.
    pub oldest: Offset,
    /// The offset that the next event gets; between the end and it, offsets are missing.
    pub next: Offset,
    /// The control records in force at the end.
    pub snapshot: Snapshot,
    /// What the clocks showed when the last events were written, as far as it is known.
    pub last_clock: Option<Clock>,
    /// Who told.
    pub source: Source,
}

impl OpenedLog {
    /// Opens a log for reading; `answer`: what the daemon that has it told, if there is one.
    ///
    /// # Errors
    /// If there is no log, or it cannot be read.
    pub fn open(place: &Place, answer: Option<&LogEnd>) -> Result<Self, ToolError> {
        let files = LogFiles::open(&place.dir, &place.stream);
        let files = files.map_err(|error| ToolError::Directory(describe(place, &error)))?;
        match answer {
            Some(answer) => Self::of_daemon(files, answer).map_err(ToolError::Directory),
            None => Self::of_files(place, files),
        }
    }

    fn of_daemon(mut files: LogFiles, answer: &LogEnd) -> Result<Self, String> {
        let Told { end, oldest, page_at, bytes } = answer.read()?;
        files.set_tail(end.segment, page_at, bytes);
        let mut log = Self {
            files,
            end: Some(end),
            oldest,
            next: end.offset,
            snapshot: Snapshot::default(),
            last_clock: None,
            source: Source::Daemon,
        };
        (log.snapshot, log.last_clock) = log.last_segment();
        Ok(log)
    }

    fn of_files(place: &Place, files: LogFiles) -> Result<Self, ToolError> {
        let dir = place.dir.display();
        let unusable =
            |error: &dyn core::fmt::Display| ToolError::Directory(format!("{dir}: {error}"));
        // Room for the pages of any log, whatever the first header says.
        let room = buffer_bytes(files.geometry(), BODY_BYTES_MAX).max(CHUNK_BYTES);
        let mut snapshot = Snapshot::default();
        let mut note = |control: Control<'_>| snapshot.note_control(&control);
        let recovery = Recovery::run(files, vec![0; room], Offset(0), crc32c, &mut note)
            .map_err(|error| unusable(&error))?;
        let (report, end) = (recovery.report().clone(), recovery.end());
        let tail = recovery.tail().map(|tail| (tail.segment, tail.at, tail.bytes.to_vec()));
        drop(recovery);
        let mut files =
            LogFiles::open(&place.dir, &place.stream).map_err(|error| unusable(&error))?;
        if let Some((segment, at, bytes)) = tail {
            files.set_tail(segment, at, bytes);
        }
        let Report { oldest, next, last_clock, .. } = report;
        let source = Source::Files(Box::new(report));
        Ok(Self { files, end, oldest, next, snapshot, last_clock, source })
    }

    /// The control records in force at the end, and the clock of the last events: a reader that begins there gets its
    /// whole segment.
    fn last_segment(&self) -> (Snapshot, Option<Clock>) {
        let (mut snapshot, mut last_clock) = (Snapshot::default(), None);
        let mut pages = self.pages(self.next);
        while let Some(chunk) = pages.next(self) {
            for item in chunk {
                match item {
                    Item::Control(control) => snapshot.note_control(&control),
                    Item::Events(frame) => last_clock = Some(frame.clock()),
                    Item::Gap { .. } => {}
                }
            }
        }
        (snapshot, last_clock)
    }

    /// Where to begin to read for events that came in at this time or later. It is found by the age clock, whose
    /// readings only grow, without reading what is before; the oldest offset where the log knows no time to count
    /// from.
    #[must_use]
    pub fn offset_at(&self, wall: Timestamp) -> Offset {
        let Some((end, clock)) = self.end.zip(self.last_clock.filter(|clock| clock.trusted)) else {
            return self.oldest;
        };
        let anchor = self.snapshot.anchor().and_then(Anchor::decode).unwrap_or_default().at(clock);
        let age = anchor.as_read(anchor.age_at(Timestamp(wall.0.saturating_sub(SLEW_MS_MAX))));
        offset_at(&self.files, end, age, (crc32c, &mut vec![0; CHUNK_BYTES]))
    }

    /// Reads from an offset on.
    #[must_use]
    pub fn pages(&self, from: Offset) -> Pages {
        // No frame is larger than its segment.
        let room = (self.files.geometry().segment_bytes as usize).max(CHUNK_BYTES);
        Pages { reader: Reader::new(from, crc32c), buffer: vec![0; room] }
    }
}

/// What is read of a log, chunk by chunk.
#[derive(Debug)]
pub struct Pages {
    reader: Reader,
    buffer: Vec<u8>,
}

impl Pages {
    /// The next frames, or the next gap; `None` at the end.
    ///
    /// # Panics
    /// Never: the buffer takes a whole segment.
    pub fn next<'b>(&'b mut self, log: &OpenedLog) -> Option<Chunk<'b>> {
        let read = self.reader.read(&log.files, log.end?, &mut self.buffer);
        read.expect("a frame is not larger than its segment")
    }

    /// The first offset that was not read yet.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.reader.next_offset()
    }
}

/// Why there is nothing to look at, and what to do.
pub(super) fn describe(place: &Place, error: &std::io::Error) -> String {
    let Place { dir, stream } = place;
    let dir_shown = dir.display();
    match error.kind() {
        std::io::ErrorKind::NotFound if dir.is_dir() => {
            let others = streams(dir).unwrap_or_default();
            if others.is_empty() {
                format!("{dir_shown} holds no log: name its data directory with --dir")
            } else {
                let others = others.join(", ");
                format!("{dir_shown} holds no stream `{stream}`; there are: {others}")
            }
        }
        _ => format!("cannot read {dir_shown}: {error}"),
    }
}
