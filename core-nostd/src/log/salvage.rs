//! Reading the newest segment to its end, whatever a power cut or decay has made of it.
//!
//! Its last page may stand in its own place or in either slot. Frame by frame that copy is taken
//! with which the walk comes furthest; so a copy that has a damaged frame is mended by the others.
//! Where none has the next frame, the log ends, unless a frame behind proves that what is missing
//! was durable: then it is damage, a gap, and the walk goes on behind.

use super::frame::{FrameHeader, HEADER_BYTES, Kind};
use super::generations::{Generation, remember, remember_all};
use super::media::ReadMedia;
use super::report::Report;
use super::ring::{Placed, Ring};
use super::walk::Walk;
use super::window::{Overlay, Window};
use super::{Control, ControlKind};
use crate::Offset;
use crate::time::Age;

/// Which copies of a page its frames were read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    bits: u8,
}

impl Sources {
    fn add(&mut self, overlay: Option<Overlay>, page_at: u32) {
        let slot = overlay.filter(|overlay| overlay.page_at == page_at).map(|o| o.slot);
        self.bits |= 1 << slot.unwrap_or(0);
    }

    /// Whether nothing was read.
    pub(super) const fn none(self) -> bool {
        self.bits == 0
    }

    /// Whether something was read from slot 1 or 2.
    pub(super) const fn slot(self, slot: u32) -> bool {
        self.bits & 1 << slot != 0
    }

    /// The slot that everything was read from, if it was one.
    pub(super) const fn only_slot(self) -> Option<u32> {
        match self.bits {
            0b010 => Some(1),
            0b100 => Some(2),
            _ => None,
        }
    }
}

/// The end of a segment.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Behind the last frame.
    pub(super) at: u32,
    /// Behind the last event.
    pub(super) next: Offset,
    /// Where that page was read from.
    pub(super) sources: Sources,
    /// Earlier pages that were mended by slots, which will be written over. Their images follow the
    /// last page's in the buffer.
    pub(super) mended: heapless::Vec<u32, 2>,
}

/// A walk through the newest segment. `image` becomes its last page, zeros behind the end.
pub(super) struct Salvage<'w, M> {
    window: Window<'w, M>,
    walk: Walk,
    slots: [Option<u32>; 2],
    image: &'w mut [u8],
    image_at: u32,
    sources: Sources,
    spare: &'w mut [u8],
    mended: heapless::Vec<u32, 2>,
}

/// A look behind a place where no frame goes on.
struct Behind {
    /// The next frame, if one proves that what is missing was durable.
    proven: Option<(Option<Overlay>, u32, FrameHeader)>,
    /// Behind the last frame that was seen.
    furthest: u32,
    age: Age,
}

impl<'w, M: ReadMedia> Salvage<'w, M> {
    /// A walk from the start of a segment. `buffer`: five pages or more.
    pub(super) fn new(ring: &Ring<'w, M>, placed: &Placed, buffer: &'w mut [u8]) -> Self {
        let geometry = placed.header.geometry(ring.media.geometry());
        let (image, buffer) = buffer.split_at_mut(geometry.page_bytes as usize);
        let (spare, buffer) = buffer.split_at_mut(2 * geometry.page_bytes as usize);
        image.fill(0);
        let walk = Walk::at_start(geometry, &placed.header);
        let window = Window::new(ring, placed, geometry.segment_bytes, buffer);
        let image_at = geometry.data_at();
        let mut this = Self {
            window,
            walk,
            slots: [None; 2],
            image,
            image_at,
            sources: Sources::default(),
            spare,
            mended: heapless::Vec::new(),
        };
        this.slots = [1, 2].map(|slot| this.window.page_in_slot(slot, placed.header.base));
        this
    }

    /// Whether what the segment begins with was made durable as a whole: the records in force.
    pub(super) fn begins(mut self) -> bool {
        loop {
            match self.walk.step(&mut self.window) {
                Some(header) if header.kind == Kind::Control(ControlKind::Opened) => return true,
                Some(_) => {}
                None if self.mend() => {}
                None => return self.behind().proven.is_some(),
            }
        }
    }

    /// Walks to the end and reports what there is.
    pub(super) fn run(mut self, report: &mut Report, visit: &mut dyn FnMut(Control<'_>)) -> Found {
        loop {
            let at = self.walk.at;
            if let Some(header) = self.walk.step(&mut self.window) {
                self.note(at, &header, report, visit);
                continue;
            }
            if self.mend() {
                continue;
            }
            let behind = self.behind();
            report.age = report.age.max(behind.age);
            let Some((overlay, at, header)) = behind.proven else {
                report.torn_bytes = behind.furthest - self.walk.at;
                break;
            };
            self.window.show(overlay);
            report.lose(self.walk.next..header.base);
            report.next = header.base;
            if header.generation != self.walk.generation {
                let (number, first) = (header.generation, header.base);
                remember(&mut report.generations, Generation { number, first });
            }
            let (next, generation, age) = (header.base, header.generation, self.walk.age);
            self.walk = Walk { at, next, generation, age };
        }
        report.reads = self.window.reads;
        report.unread_pages = self.window.unread_pages;
        let page_at = self.window.geometry.page_at(self.walk.at);
        self.turn_to(page_at);
        Found { at: self.walk.at, next: self.walk.next, sources: self.sources, mended: self.mended }
    }

    /// Takes note of a frame that goes on with the log.
    fn note(
        &mut self,
        at: u32,
        header: &FrameHeader,
        report: &mut Report,
        visit: &mut dyn FnMut(Control<'_>),
    ) {
        self.keep(at);
        report.lose(report.next..header.base);
        report.next = self.walk.next;
        report.age = report.age.max(header.clock.age);
        report.last_clock = Some(header.clock);
        let kind = match header.kind {
            Kind::Events | Kind::Filler => return,
            Kind::Unknown(_) => {
                report.unknown_controls += 1;
                return;
            }
            Kind::Control(kind) => kind,
        };
        let count = header.body_bytes as usize;
        let body = self.window.bytes(at + HEADER_BYTES, count);
        if body.len() < count {
            return;
        }
        let offset = |at: usize| {
            let bytes = body.get(at..)?.first_chunk::<8>()?;
            Some(Offset(u64::from_le_bytes(*bytes)))
        };
        match kind {
            ControlKind::Opened => remember_all(&mut report.generations, body),
            ControlKind::Trimmed => {
                report.oldest = report.oldest.max(offset(0).unwrap_or_default());
            }
            ControlKind::Hint => report.claimed = report.claimed.max(offset(0).unwrap_or_default()),
            ControlKind::Gap => {
                if let (Some(start), Some(end)) = (offset(0), offset(8)) {
                    if report.known_gaps.is_full() {
                        report.known_gaps.remove(0);
                    }
                    report.known_gaps.push(start..end).expect("there is room now");
                }
            }
            _ => {}
        }
        visit(Control { kind, at: header.base, body });
    }

    /// Copies into the image what the frame at `at`, just passed, has in its first and last page.
    fn keep(&mut self, at: u32) {
        let geometry = self.window.geometry;
        let (end, last_page) = (self.walk.at, geometry.page_at(self.walk.at));
        self.copy(at..end.min(geometry.page_at(at) + geometry.page_bytes));
        self.copy(at.max(last_page)..end);
    }

    /// Copies bytes of one page into its image.
    fn copy(&mut self, places: core::ops::Range<u32>) {
        let page_at = self.window.geometry.page_at(places.start);
        self.turn_to(page_at);
        let mut from = places.start;
        while from < places.end {
            let part = self.window.bytes(from, (places.end - from) as usize);
            let begin = (from - page_at) as usize;
            self.image[begin..begin + part.len()].copy_from_slice(part);
            from += u32::try_from(part.len()).expect("inside a segment");
            self.sources.add(self.window.overlay(), page_at);
        }
    }

    /// Begins the image of another page.
    fn turn_to(&mut self, page_at: u32) {
        if page_at == self.image_at {
            return;
        }
        let from_slot = self.sources.slot(1) || self.sources.slot(2);
        if from_slot && self.mended.push(self.image_at).is_ok() {
            let begin = (self.mended.len() - 1) * self.image.len();
            self.spare[begin..begin + self.image.len()].copy_from_slice(self.image);
        }
        self.image.fill(0);
        self.image_at = page_at;
        self.sources = Sources::default();
    }

    /// Shows the copy of a page with which the walk comes furthest from here; `false` if none
    /// brings it on.
    fn mend(&mut self) -> bool {
        let now = self.window.overlay();
        let (mut furthest, mut best) = (self.walk.at, now);
        for overlay in self.copies() {
            if overlay == now {
                continue;
            }
            self.window.show(overlay);
            let mut walk = self.walk;
            while walk.step(&mut self.window).is_some() {}
            if walk.at > furthest {
                (furthest, best) = (walk.at, overlay);
            }
        }
        self.window.show(best);
        furthest > self.walk.at
    }

    /// The views that may have another frame at the walk's place.
    fn copies(&mut self) -> heapless::Vec<Option<Overlay>, 9> {
        let geometry = self.window.geometry;
        let here = geometry.page_at(self.walk.at);
        // A frame that reaches over several pages: the last of them is the one in a slot.
        self.window.show(None);
        let header = self.window.header(self.walk.at);
        let last = header.map(|header| geometry.page_at(self.walk.at + header.frame_bytes() - 1));
        let mut copies = heapless::Vec::new();
        copies.push(None).expect("the first of nine");
        for slot in [1, 2] {
            let known = self.slots[slot as usize - 1];
            for page_at in [known, last, Some(here), Some(here + geometry.page_bytes)] {
                let page_at = page_at.filter(|at| (here..geometry.segment_bytes).contains(at));
                let overlay = page_at.map(|page_at| Overlay { slot, page_at });
                if overlay.is_some() && !copies.contains(&overlay) {
                    copies.push(overlay).expect("four for each of two slots, and one");
                }
            }
        }
        copies
    }

    /// Looks behind a place where no frame goes on with the log, in all copies.
    fn behind(&mut self) -> Behind {
        let geometry = self.window.geometry;
        let (here, age) = (self.walk.at, self.walk.age);
        let mut behind = Behind { proven: None, furthest: here, age };
        for slot in [0, 1, 2] {
            let (overlay, places) = match (slot, self.slots[(slot as usize).saturating_sub(1)]) {
                (0, _) => (None, here..geometry.segment_bytes),
                (_, Some(page_at)) => {
                    // From here on: a frame that begins before the page may end in it.
                    (Some(Overlay { slot, page_at }), here..page_at + geometry.page_bytes)
                }
                (_, None) => continue,
            };
            self.window.show(overlay);
            self.behind_in(places, overlay, &mut behind);
        }
        behind
    }

    fn behind_in(
        &mut self,
        places: core::ops::Range<u32>,
        overlay: Option<Overlay>,
        behind: &mut Behind,
    ) {
        let here = self.walk.at;
        let (mut from, mut first) = (places.start, None);
        while let Some((at, header)) = self.walk.header_behind(&mut self.window, from..places.end) {
            let is_whole = self.window.frame(at).is_some();
            from = if is_whole { at + header.frame_bytes() } else { at + HEADER_BYTES };
            behind.furthest = behind.furthest.max(from);
            behind.age = behind.age.max(header.clock.age);
            if is_whole {
                first = first.or(Some((at, header)));
            }
            // Its header alone proves it: the end of its body may be in a slot.
            if at > here && header.proves_durable(at, here) {
                let (at, header) = first.unwrap_or((at, header));
                if behind.proven.is_none_or(|(_, best, _)| at < best) {
                    behind.proven = Some((overlay, at, header));
                }
                return;
            }
        }
    }
}
