//! Opening a log after whatever happened.
//!
//! Reads the headers that a binary search needs, and one segment: after a barrier, for what a crash
//! of the process left in the kernel's memory is not durable yet. Nothing is written before
//! [`Recovery::begin`]; what it writes goes over no copy of what was found, so a cut during
//! recovery is just a cut.

use core::borrow::BorrowMut;

use super::media::{Media, ReadMedia};
use super::report::Report;
use super::ring::{Head, Placed, Ring, find_head};
use super::salvage::{Found, Salvage, Sources};
use super::seek::Shown;
use super::segment::{self, HeaderCopy, SegmentHeader};
use super::writer::Log;
use super::{Clock, Control, ControlKind, End, Entropy, LogId, Tail};
use crate::Offset;
use crate::crc::Crc32c;

/// Why a log cannot be opened.
#[derive(Debug)]
pub enum OpenError<E> {
    /// No segment can be read. Act on what the device says.
    Media(E),
    /// It was written by a version with a newer format: that version has to be installed.
    Newer,
}

impl<E: core::fmt::Display> core::fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Media(error) => error.fmt(f),
            Self::Newer => f.write_str(
                "the log was written by a newer version: install that version again, or give this \
                 one a directory of its own",
            ),
        }
    }
}

impl<E: core::error::Error> core::error::Error for OpenError<E> {}

/// A log that was read, and waits to be written to.
#[derive(Debug)]
pub struct Recovery<M: Media, B> {
    pub(super) media: M,
    pub(super) buffer: B,
    pub(super) crc: Crc32c,
    pub(super) report: Report,
    pub(super) head: Result<Placed, Unmade>,
    pub(super) found: Found,
    /// Whether what was found is durable.
    pub(super) settled: Result<(), M::Error>,
}

/// There is no log yet: where one may begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unmade {
    pub(super) index: u32,
}

/// Below which offset none is given out again, by what is noted beside the segments: behind all that was
/// durable, or, if the newest segment is gone, behind all that it can have held.
fn noted_floor<M: Media>(media: &M, head: &Placed) -> Offset {
    let SegmentHeader { log_id, sequence, .. } = head.header;
    match media.noted() {
        Some(noted) if noted.log_id != log_id || noted.sequence < sequence => Offset(0),
        Some(noted) if noted.sequence > sequence => noted.bound,
        Some(noted) => noted.end,
        None => Offset(0),
    }
}

/// The newest segment that the device holds, and whether what is read of it is durable. Where a barrier has failed
/// before, the kernel may show a header that never came to the device.
fn settled_head<M: Media>(media: &mut M, crc: Crc32c) -> (Head<M::Error>, Result<(), M::Error>) {
    let mut left = media.geometry().segments;
    loop {
        let placed = match find_head(media, crc) {
            Head::At(placed) => placed,
            other => break (other, Ok(())),
        };
        let settled = media.settle(placed.index);
        let shown = SegmentHeader::read(media, placed.index, crc);
        let is_there =
            matches!(shown, Ok(segment::Found::Header(header)) if header == placed.header);
        left -= 1;
        // A device that changes its mind each time is taken at one of its words.
        if is_there || settled.is_err() || left == 0 {
            break (Head::At(placed), settled);
        }
    }
}

impl<M: Media, B: BorrowMut<[u8]>> Recovery<M, B> {
    /// Reads what there is. `buffer` belongs to the log from then on, see
    /// [`buffer_bytes`](super::buffer_bytes); a control record that is larger than it without three
    /// pages is not visited. No offset below `floor` will be given out: the highest that is named
    /// outside the log. `visit` gets the control records of the newest segment in order: it begins
    /// with those that were in force.
    ///
    /// # Errors
    /// If no segment can be read, or the log is of a newer format.
    ///
    /// # Panics
    /// If the buffer is smaller than five pages, of the log's own size too, or the geometry is not
    /// sound.
    pub fn run(
        mut media: M,
        mut buffer: B,
        floor: Offset,
        crc: Crc32c,
        visit: &mut dyn FnMut(Control<'_>),
    ) -> Result<Self, OpenError<M::Error>> {
        let geometry = media.geometry();
        assert!(geometry.is_sound(), "a ring has two segments or more, of whole pages");
        let buffer_bytes = buffer.borrow().len();
        assert!(buffer_bytes >= 5 * geometry.page_bytes as usize, "the buffer takes five pages");
        let mut report = Report::new(Offset(0));
        let (head, mut settled) = settled_head(&mut media, crc);
        let newest = match head {
            Head::None { free } => {
                report.oldest = floor;
                report.next = floor;
                report.vanished = media.noted().filter(|noted| noted.end > Offset(0));
                let found = Found {
                    at: geometry.data_at(),
                    next: floor,
                    sources: Sources::default(),
                    mended: heapless::Vec::new(),
                };
                let head = Err(Unmade { index: free });
                return Ok(Self { media, buffer, crc, report, head, found, settled: Ok(()) });
            }
            Head::Newer => return Err(OpenError::Newer),
            Head::Failed(error) => return Err(OpenError::Media(error)),
            Head::At(placed) => placed,
        };
        let ring = Ring { media: &media, crc, head: newest };
        let mut head = newest;
        if !Salvage::new(&ring, &newest, buffer.borrow_mut()).begins()
            && let Some(before) = ring.before_head()
        {
            // A cut came before the newest segment held anything that was acknowledged.
            head = before;
            settled = media.settle(before.index);
        }
        let ring = Ring { media: &media, crc, head };
        report.created = false;
        report.id = Some(LogId(head.header.log_id));
        report.oldest = ring.oldest(None).header.base.max(head.header.oldest);
        report.next = head.header.base;
        let found = Salvage::new(&ring, &head, buffer.borrow_mut()).run(&mut report, visit);
        // The segment before was durable to its end when this one was begun.
        report.claim(newest.header.base);
        report.claim(report.claimed.max(floor));
        report.claim(noted_floor(&media, &head));
        Ok(Self { media, buffer, crc, report, head: Ok(head), found, settled })
    }

    /// What was found.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The end that was found, for readers of what is there, while nothing writes; `None` if there is
    /// no log. Offsets between it and the report's `next` are missing.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        let Placed { index, header } = self.head.ok()?;
        let Found { at, next, .. } = self.found;
        // What was given up and can still be read is part of what is there.
        let oldest = Offset(0);
        Some(End { offset: next, sequence: header.sequence, segment: index, at, oldest })
    }

    /// The last page up to that end, which readers need: its own place may hold something else.
    #[must_use]
    pub fn tail(&self) -> Option<Tail<'_>> {
        let Placed { index, header } = self.head.ok()?;
        let at = header.geometry(self.media.geometry()).page_at(self.found.at);
        let bytes = &self.buffer.borrow()[..(self.found.at - at) as usize];
        let header = HeaderCopy::of(index, &header, self.crc);
        Some(Tail { segment: index, at, bytes, header })
    }

    /// The log up to that end as readers see it, before anything is written; `None` if there is no log.
    #[must_use]
    pub fn shown(&self) -> Option<(End, impl ReadMedia<Error = M::Error> + '_)> {
        let shown = Shown { media: &self.media, tail: self.tail()? };
        Some((self.end()?, shown))
    }

    /// Whether what was found survives a power cut.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.settled.is_ok()
    }

    /// Where the log lies.
    #[must_use]
    pub const fn media(&self) -> &M {
        &self.media
    }

    /// Leaves the log as it is; the media, to be read again, and the buffer.
    #[must_use]
    pub fn leave(self) -> (M, B) {
        (self.media, self.buffer)
    }

    /// Makes what was found safe and begins a generation; the log can be written then. `snapshot`:
    /// the control records in force, should a segment have to be begun.
    ///
    /// # Errors
    /// If neither the newest segment nor the next one can be written.
    ///
    /// # Panics
    /// If the snapshot leaves no room for events: it was written by [`Log::roll`], which sees to
    /// that.
    pub fn begin(
        self,
        entropy: Entropy,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<Log<M, B>, M::Error> {
        Log::begin(self, entropy, clock, snapshot)
    }
}
