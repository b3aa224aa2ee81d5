//! Opening a log after whatever happened.
//!
//! Reads the headers that a binary search needs, and one segment. Nothing is written before
//! [`Recovery::begin`], and what it writes first makes safe what was found, so a cut during
//! recovery is just a cut.

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, SegmentHeader};
use super::media::Media;
use super::ring::{Head, find_head, header_of, index_of, oldest};
use super::scan::{Overlay, Standing, View, Walk};
use super::writer::Log;
use super::{
    BODY_BYTES_MAX, Clock, Control, ControlKind, GAPS_MAX, GENERATIONS_MAX, Gap, Generation, LogId,
};
use crate::Offset;
use crate::crc::Crc32c;

/// Why a log cannot be opened.
#[derive(Debug)]
pub enum OpenError<E> {
    /// The media failed.
    Media(E),
    /// It was written by a version with a newer format.
    Newer,
    /// It has pages or a ring of another size than the media.
    Geometry {
        /// Bytes of a page in the log.
        page_bytes: u32,
        /// Segments in the log.
        segments: u32,
    },
}

impl<E: core::fmt::Display> core::fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Media(error) => error.fmt(f),
            Self::Newer => f.write_str("the log was written by a newer version: install that one"),
            Self::Geometry { page_bytes, segments } => write!(
                f,
                "the log has {segments} segments with pages of {page_bytes} bytes, which is not \
                 what its place offers"
            ),
        }
    }
}

impl<E: core::fmt::Debug + core::fmt::Display> core::error::Error for OpenError<E> {}

impl<E> From<E> for OpenError<E> {
    fn from(error: E) -> Self {
        Self::Media(error)
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether there was no log yet.
    pub created: bool,
    /// The identity; `None` if there was no log yet.
    pub id: Option<LogId>,
    /// The oldest offset that is there.
    pub oldest: Offset,
    /// The offset that the next event will have.
    pub next: Offset,
    /// What is missing in the newest segment, or between it and `next`.
    pub gaps: heapless::Vec<Gap, GAPS_MAX>,
    /// Openings so far, oldest first.
    pub generations: heapless::Vec<Generation, GENERATIONS_MAX>,
    /// The clocks of the newest frame.
    pub last_clock: Option<Clock>,
}

/// A log that was read, and waits to be written to.
#[derive(Debug)]
pub struct Recovery<M, B> {
    pub(super) media: M,
    pub(super) crc: Crc32c,
    pub(super) tail: B,
    pub(super) report: Report,
    pub(super) head: Option<SegmentHeader>,
    /// Behind the last frame.
    pub(super) at: u32,
    /// The slot that holds the last page, if its own place does not.
    pub(super) overlay: Option<Overlay>,
}

impl<M: Media, B: AsRef<[u8]> + AsMut<[u8]>> Recovery<M, B> {
    /// Reads what there is. `tail` takes one page and belongs to the log from then on; `scratch`
    /// takes the largest body. No offset below `floor` will be given out. `visit` gets the control
    /// records of the newest segment in order: those in force come first.
    ///
    /// # Errors
    /// If the media fails or the log is not for this version and place.
    ///
    /// # Panics
    /// If a buffer is too small or the geometry is not sound.
    pub fn run(
        media: M,
        (tail, scratch): (B, &mut [u8]),
        floor: Offset,
        crc: Crc32c,
        visit: &mut dyn FnMut(Control<'_>),
    ) -> Result<Self, OpenError<M::Error>> {
        let geometry = media.geometry();
        assert!(geometry.is_sound(), "a ring has two segments or more, of whole pages");
        assert_eq!(tail.as_ref().len(), geometry.page_bytes as usize, "the tail takes one page");
        assert!(scratch.len() >= BODY_BYTES_MAX, "the scratch takes the largest body");
        let report = Report {
            created: true,
            id: None,
            oldest: floor,
            next: floor,
            gaps: heapless::Vec::new(),
            generations: heapless::Vec::new(),
            last_clock: None,
        };
        let at = geometry.data_at();
        let mut this = Self { media, crc, tail, report, head: None, at, overlay: None };
        match find_head(&this.media, crc)? {
            Head::None => return Ok(this),
            Head::Newer => return Err(OpenError::Newer),
            Head::At(head) => this.head = Some(head),
        }
        let head = this.head.expect("just found");
        if (head.page_bytes, head.segments) != (geometry.page_bytes, geometry.segments) {
            let SegmentHeader { page_bytes, segments, .. } = head;
            return Err(OpenError::Geometry { page_bytes, segments });
        }
        this.report.created = false;
        this.report.id = Some(LogId(head.log_id));
        this.report.oldest =
            oldest(&this.media, head.sequence, crc)?.map_or(head.base, |header| header.base);
        let mut claimed = floor;
        if !this.is_whole(&head, scratch)?
            && head.sequence > 0
            && let Some(previous) = header_of(&this.media, head.sequence - 1, crc)?
        {
            // A cut while the segment was begun: what it should repeat stands in the one before.
            claimed = claimed.max(this.read_head(&previous, scratch, visit)?);
            let begin = Walk::at_start(geometry, &head);
            if this.behind_damage(&head, &begin, scratch)?.is_none() {
                this.head = Some(previous);
                this.claim(claimed);
                return Ok(this);
            }
        }
        claimed = claimed.max(this.read_head(&head, scratch, visit)?);
        this.claim(claimed);
        Ok(this)
    }

    /// Whether all control records that a segment begins with are there.
    fn is_whole(&self, head: &SegmentHeader, scratch: &mut [u8]) -> Result<bool, M::Error> {
        let geometry = self.media.geometry();
        let mut walk = Walk::at_start(geometry, head);
        let mut view = View::of(&self.media, index_of(geometry, head.sequence), head, self.crc);
        if let Some(overlay) = self.best_overlay(head, walk, scratch)? {
            view = view.with(overlay);
        }
        while let Some(at) = view.next_place(&walk, scratch)? {
            walk.at = at;
            let Some(header) = view.header(at)? else { break };
            if header.kind == Kind::Control(Some(WHOLE)) {
                return Ok(true);
            }
            walk.pass(&header);
        }
        Ok(false)
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Reads the newest segment to its end. Gives the highest offset that a hint claims.
    fn read_head(
        &mut self,
        head: &SegmentHeader,
        scratch: &mut [u8],
        visit: &mut dyn FnMut(Control<'_>),
    ) -> Result<Offset, M::Error> {
        let index = index_of(self.media.geometry(), head.sequence);
        let mut walk = Walk::at_start(self.media.geometry(), head);
        let mut claimed = head.base;
        loop {
            self.overlay = self.best_overlay(head, walk, scratch)?;
            let mut view = View::of(&self.media, index, head, self.crc);
            if let Some(overlay) = self.overlay {
                view = view.with(overlay);
            }
            while let Some(at) = view.next_place(&walk, scratch)? {
                walk.at = at;
                let Standing::Frame(header, body) = view.frame(at, scratch)? else { break };
                note(&mut self.report, &mut claimed, (&header, body), walk.next, visit);
                walk.pass(&header);
            }
            self.at = walk.at;
            self.report.next = walk.next;
            let Some((at, header)) = self.behind_damage(head, &walk, scratch)? else {
                return Ok(claimed);
            };
            add_gap(&mut self.report, walk.next..header.base);
            walk = Walk { at, next: header.base, generation: Some(header.generation) };
        }
    }

    /// The slot with which a walk comes furthest, if one is better than none.
    fn best_overlay(
        &self,
        head: &SegmentHeader,
        walk: Walk,
        scratch: &mut [u8],
    ) -> Result<Option<Overlay>, M::Error> {
        let geometry = self.media.geometry();
        let index = index_of(geometry, head.sequence);
        let plain = View::of(&self.media, index, head, self.crc);
        let stop = go_far(plain, walk, scratch)?;
        let (mut best, mut furthest) = (None, stop.at);
        for slot in [1, 2] {
            let slot_at = slot * geometry.page_bytes;
            let mut pages = heapless::Vec::<u32, 4>::new();
            let starts = [stop.at, stop.at + FRAME_HEADER_BYTES as u32 - 1];
            let next = geometry.next_page(stop.at);
            for page in starts.map(|at| geometry.page_at(at)).into_iter().chain([next]) {
                let overlay = Overlay { slot_at, page_at: page };
                // A frame may reach over several pages: the last of them is the one in the slot.
                let header = if page < plain.limit {
                    plain.with(overlay).header(stop.at)?
                } else {
                    None
                };
                let end = header.map(|h| geometry.page_at(stop.at + h.frame_bytes() as u32 - 1));
                for page in [Some(page), end].into_iter().flatten() {
                    if page < plain.limit && !pages.contains(&page) {
                        pages.push(page).unwrap_or_default();
                    }
                }
            }
            for page_at in pages {
                let overlay = Overlay { slot_at, page_at };
                let end = go_far(plain.with(overlay), stop, scratch)?;
                if end.at > furthest {
                    (best, furthest) = (Some(overlay), end.at);
                }
            }
        }
        Ok(best)
    }

    /// The next frame behind damage: at its place, or in a slot if the damage reaches up to the
    /// last page.
    fn behind_damage(
        &self,
        head: &SegmentHeader,
        walk: &Walk,
        scratch: &mut [u8],
    ) -> Result<Option<(u32, FrameHeader)>, M::Error> {
        let geometry = self.media.geometry();
        let view = View::of(&self.media, index_of(geometry, head.sequence), head, self.crc);
        if let Some(found) = view.behind_damage(walk, scratch)? {
            return Ok(Some(found));
        }
        for slot in [1, 2] {
            let slot_at = slot * geometry.page_bytes;
            let mut page = [0; FRAME_HEADER_BYTES];
            for within in 0..geometry.page_bytes - FRAME_HEADER_BYTES as u32 {
                view.read(slot_at + within, &mut page)?;
                if !FrameHeader::is_plausible(&page, walk.next, geometry.page_bytes) {
                    continue;
                }
                let mut page_at = geometry.page_at(walk.at);
                while page_at < geometry.segment_bytes {
                    let at = page_at + within;
                    if at >= walk.at
                        && let Some(header) = FrameHeader::decode(&page, view.seal, at)
                        && header.durable() > walk.next
                    {
                        return Ok(Some((at, header)));
                    }
                    page_at += geometry.page_bytes;
                }
            }
        }
        Ok(None)
    }

    /// Sees to it that no offset below `claimed` is given out.
    fn claim(&mut self, claimed: Offset) {
        let next = self.report.next;
        if claimed > next {
            add_gap(&mut self.report, next..claimed);
            self.report.next = claimed;
        }
    }
}

/// Goes as far as a walk comes.
fn go_far<M: Media>(
    view: View<'_, M>,
    mut walk: Walk,
    scratch: &mut [u8],
) -> Result<Walk, M::Error> {
    while let Some(at) = view.next_place(&walk, scratch)? {
        walk.at = at;
        let Some(header) = view.header(at)? else { break };
        walk.pass(&header);
    }
    Ok(walk)
}

/// Takes note of a frame.
fn note(
    report: &mut Report,
    claimed: &mut Offset,
    (header, body): (&FrameHeader, &[u8]),
    expected: Offset,
    visit: &mut dyn FnMut(Control<'_>),
) {
    report.last_clock = Some(header.clock);
    if header.base > expected {
        add_gap(report, expected..header.base);
    }
    let Kind::Control(Some(kind)) = header.kind else { return };
    match kind {
        ControlKind::Opened => note_generations(report, body),
        ControlKind::Hint => *claimed = offset_at(body).map_or(*claimed, |at| at.max(*claimed)),
        ControlKind::Trimmed => {
            report.oldest = offset_at(body).map_or(report.oldest, |at| at.max(report.oldest));
        }
        ControlKind::Routes | ControlKind::Anchor => {}
    }
    visit(Control { kind, at: header.base, body });
}

fn note_generations(report: &mut Report, body: &[u8]) {
    for entry in body.chunks_exact(GENERATION_BYTES) {
        let (number, first) = entry.split_at(4);
        let (Ok(number), Ok(first)) = (number.try_into(), first.try_into()) else { return };
        let generation = Generation {
            number: u32::from_le_bytes(number),
            first: Offset(u64::from_le_bytes(first)),
        };
        if !report.generations.contains(&generation) {
            remember(&mut report.generations, generation);
        }
    }
}

/// The control record that ends those at the start of a segment.
pub(super) const WHOLE: ControlKind = ControlKind::Trimmed;

/// Bytes of one generation in the body of an `Opened` record.
pub(super) const GENERATION_BYTES: usize = 12;

/// Adds a generation; the oldest makes room.
pub(super) fn remember(
    generations: &mut heapless::Vec<Generation, GENERATIONS_MAX>,
    generation: Generation,
) {
    if generations.is_full() {
        generations.remove(0);
    }
    generations.push(generation).expect("there is room now");
}

fn offset_at(body: &[u8]) -> Option<Offset> {
    body.first_chunk().map(|bytes| Offset(u64::from_le_bytes(*bytes)))
}

/// Lists a gap; when the list is full it is joined to the last.
fn add_gap(report: &mut Report, gap: Gap) {
    if let Err(gap) = report.gaps.push(gap) {
        let last = report.gaps.last_mut().expect("the list is full");
        last.end = last.end.max(gap.end);
    }
}

impl<M: Media, B: AsRef<[u8]> + AsMut<[u8]>> Recovery<M, B> {
    /// Begins a new generation: from here on the log is written. `snapshot` are the control
    /// records in force, in case the newest segment is full.
    ///
    /// # Errors
    /// If the media fails.
    pub fn begin(
        self,
        entropy: super::Entropy,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<Log<M, B>, M::Error> {
        Log::begin(self, entropy, clock, snapshot)
    }
}
