//! A disk that loses power: the media of a log, in memory.
//!
//! What is written can be read back at once. A barrier on a segment makes what was written to it
//! durable. A power cut decides for every sector of the pages that were written to since: it is
//! there, as it was before, as it was at some moment between, or garbage. A crash of the process
//! alone loses nothing and makes nothing durable. All of it follows from one seed.
#![expect(clippy::cast_possible_truncation, reason = "numbers of a simulated log are small")]

use std::collections::BTreeMap;
use std::rc::Rc;

use core::cell::RefCell;
use core::fmt;
use core::ops::Range;

use fastrand::Rng;
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, HeaderCopy, Media, Noted, ReadMedia, Tail};

/// What a device writes as a whole or not at all, at best.
pub const SECTOR_BYTES: usize = 512;

/// Why an operation of the disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// There is no power, since this operation or an earlier one.
    NoPower,
    /// The device reports an error.
    Failed,
    /// No room for a segment.
    Full,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPower => "no power",
            Self::Failed => "input/output error",
            Self::Full => "no space left on device",
        })
    }
}

impl core::error::Error for DiskError {}

/// How a power cut treats the sectors of unfinished writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All are there.
    Kept,
    /// All are as before.
    Lost,
    /// Each on its own.
    Mixed,
    /// Each on its own, or garbage.
    Garbled,
}

impl Cut {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Kept, Self::Lost, Self::Mixed, Self::Garbled];
}

/// What was done to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Writes and barriers: the moments at which the power may go.
    pub operations: u64,
    /// Barriers.
    pub barriers: u64,
    /// Reads.
    pub reads: u64,
}

/// The pages of one segment that were written to since its last barrier, each with all that it
/// held since, the durable bytes first.
type Unfinished = BTreeMap<usize, Vec<Vec<u8>>>;

struct State {
    geometry: Geometry,
    /// What can be read.
    segments: Vec<Option<Vec<u8>>>,
    unfinished: Vec<Unfinished>,
    done: Done,
    /// The power goes during the operation with this number.
    cut_at: Option<u64>,
    /// The device fails at the operation with this number.
    fail_at: Option<u64>,
    power: bool,
    /// Segments that there is room for.
    room: u32,
    /// The write or barrier with this number goes to another place instead.
    misdirect_at: Option<u64>,
    /// A page of a segment that keeps what it has.
    stuck: Option<(u32, usize)>,
    /// Pages that the kernel takes for written since a barrier failed, with what the device has.
    deceived: Vec<BTreeMap<usize, Vec<u8>>>,
    ignores_barriers: bool,
    /// Bytes of a segment that cannot be read.
    unreadable: Option<(u32, Range<u32>)>,
    published: Option<Published>,
    noted: Option<Noted>,
    rng: Rng,
}

/// What readers are told.
struct Published {
    end: End,
    oldest: Offset,
    segment: u32,
    at: u32,
    bytes: Vec<u8>,
    header: HeaderCopy,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    state: Rc<RefCell<State>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("done", &self.done()).finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk with power.
    #[must_use]
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let segments = geometry.segments as usize;
        Self {
            state: Rc::new(RefCell::new(State {
                geometry,
                segments: vec![None; segments],
                unfinished: vec![Unfinished::new(); segments],
                done: Done::default(),
                cut_at: None,
                fail_at: None,
                power: true,
                room: geometry.segments,
                misdirect_at: None,
                stuck: None,
                deceived: vec![BTreeMap::new(); segments],
                ignores_barriers: false,
                unreadable: None,
                published: None,
                noted: None,
                rng: Rng::with_seed(seed),
            })),
        }
    }

    /// The power goes during the `operations`th write or barrier from now on, counted from 0.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.state.borrow_mut();
        state.cut_at = Some(state.done.operations + operations);
    }

    /// The device fails at the `operations`th write or barrier from now on, once. What a failed
    /// barrier leaves behind looks written and is not.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_at = Some(state.done.operations + operations);
    }

    /// The `operations`th write or barrier from now on, if it is a write, goes to another place.
    pub fn misdirect_after(&self, operations: u64) {
        let mut state = self.state.borrow_mut();
        state.misdirect_at = Some(state.done.operations + operations);
    }

    /// A page that takes no write from now on, and says nothing.
    pub fn stick(&self, segment: u32, page: usize) {
        self.state.borrow_mut().stuck = Some((segment, page));
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_down(&self) -> bool {
        !self.state.borrow().power
    }

    /// Cuts the power and brings it back: `cut` decides on what was not durable.
    pub fn power_cut(&self, cut: Cut) {
        let state = &mut *self.state.borrow_mut();
        let page_bytes = state.geometry.page_bytes as usize;
        for (segment, unfinished) in state.segments.iter_mut().zip(&mut state.unfinished) {
            let Some(bytes) = segment else { continue };
            for (page, versions) in core::mem::take(unfinished) {
                let at = page * page_bytes;
                settle(&mut bytes[at..at + page_bytes], &versions, cut, &mut state.rng);
            }
        }
        for segment in 0..state.segments.len() {
            state.undeceive(segment);
        }
        state.power = true;
        state.cut_at = None;
        state.fail_at = None;
    }

    /// Cuts the power and brings it back: `choose` decides for each sector of an unfinished page
    /// among so many fates: 0 is as before, the last is garbage, the one before it is there.
    pub fn power_cut_by(&self, mut choose: impl FnMut(usize) -> usize) {
        let state = &mut *self.state.borrow_mut();
        let page_bytes = state.geometry.page_bytes as usize;
        for (segment, unfinished) in state.segments.iter_mut().zip(&mut state.unfinished) {
            let Some(bytes) = segment else { continue };
            for (page, versions) in core::mem::take(unfinished) {
                let page = &mut bytes[page * page_bytes..(page + 1) * page_bytes];
                for (at, sector) in (0..).step_by(SECTOR_BYTES).zip(page.chunks_mut(SECTOR_BYTES)) {
                    let fate = choose(versions.len() + 2);
                    match versions.get(fate) {
                        Some(version) => {
                            sector.copy_from_slice(&version[at..at + sector.len()]);
                        }
                        None if fate == versions.len() => {}
                        None => state.rng.fill(sector),
                    }
                }
            }
        }
        state.power = true;
        (state.cut_at, state.fail_at) = (None, None);
    }

    /// It was the process that ended, not the power: all that was written can be read, and is as
    /// durable as it was. What is planned to go wrong does not.
    pub fn be_well(&self) {
        let mut state = self.state.borrow_mut();
        (state.cut_at, state.fail_at) = (None, None);
        state.power = true;
    }

    /// A disk that says that barriers are done, and does nothing.
    pub fn ignore_barriers(&self) {
        self.state.borrow_mut().ignores_barriers = true;
    }

    /// These bytes cannot be read from now on, or all can again. What is written to a part of a page that
    /// has such bytes fails, since the kernel would have to read the rest; once all are written, in whole
    /// pages, they can be read again.
    pub fn make_unreadable(&self, unreadable: Option<(u32, Range<u32>)>) {
        self.state.borrow_mut().unreadable = unreadable;
    }

    /// What is noted of the log's end beside its segments.
    pub fn leave_note(&self, noted: Noted) {
        self.state.borrow_mut().noted = Some(noted);
    }

    /// Has room for so many segments only.
    pub fn limit_room(&self, segments: u32) {
        self.state.borrow_mut().room = segments;
    }

    /// Changes a bit of a segment, if it was ever prepared.
    pub fn flip(&self, segment: u32, byte: u32, bit: u32) {
        if let Some(bytes) = &mut self.state.borrow_mut().segments[segment as usize] {
            bytes[byte as usize] ^= 1 << bit;
        }
    }

    /// Overwrites bytes behind the log's back.
    ///
    /// # Panics
    /// If the segment was never written.
    pub fn damage(&self, segment: u32, at: u32, damage: &[u8]) {
        let mut state = self.state.borrow_mut();
        let bytes = state.segments[segment as usize].as_mut().expect("the segment was written");
        bytes[at as usize..at as usize + damage.len()].copy_from_slice(damage);
    }

    /// The bytes of a segment as they can be read.
    #[must_use]
    pub fn bytes(&self, segment: u32) -> Option<Vec<u8>> {
        self.state.borrow().segments[segment as usize].clone()
    }

    /// Takes a segment away.
    pub fn remove(&self, segment: u32) {
        self.state.borrow_mut().segments[segment as usize] = None;
    }

    /// The same content on another disk.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let geometry = self.state.borrow().geometry;
        self.reshaped(geometry, seed)
    }

    /// The same content on a disk with another shape: more segments, or other pages.
    #[must_use]
    pub fn reshaped(&self, geometry: Geometry, seed: u64) -> Self {
        let other = Self::new(geometry, seed);
        let from = self.state.borrow();
        for (into, segment) in other.state.borrow_mut().segments.iter_mut().zip(&from.segments) {
            into.clone_from(segment);
        }
        other
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        self.state.borrow().done
    }

    /// For reading what is durable.
    #[must_use]
    pub fn reader(&self) -> DiskReader {
        DiskReader { disk: self.clone() }
    }
}

/// What a cut leaves of one page.
fn settle(page: &mut [u8], versions: &[Vec<u8>], cut: Cut, rng: &mut Rng) {
    let before = &versions[0];
    for (index, sector) in page.chunks_mut(SECTOR_BYTES).enumerate() {
        let at = index * SECTOR_BYTES;
        match cut {
            Cut::Kept => {}
            Cut::Lost => sector.copy_from_slice(&before[at..at + sector.len()]),
            Cut::Garbled if rng.u8(..4) == 0 => rng.fill(sector),
            Cut::Mixed | Cut::Garbled => {
                let version = rng.usize(..=versions.len());
                if let Some(version) = versions.get(version) {
                    sector.copy_from_slice(&version[at..at + sector.len()]);
                }
            }
        }
    }
}

impl State {
    /// Counts an operation; whether it is done as a whole.
    fn operate(&mut self) -> Result<(), DiskError> {
        if !self.power {
            return Err(DiskError::NoPower);
        }
        let number = self.done.operations;
        self.done.operations += 1;
        if self.cut_at == Some(number) {
            self.power = false;
            return Err(DiskError::NoPower);
        }
        if self.fail_at == Some(number) {
            self.fail_at = None;
            return Err(DiskError::Failed);
        }
        Ok(())
    }

    /// After a failed barrier the kernel takes the pages for written: reading them shows what was
    /// written, and the next barrier succeeds. The device has them as before.
    fn deceive(&mut self, segment: u32) {
        for (page, versions) in core::mem::take(&mut self.unfinished[segment as usize]) {
            let durable = versions.into_iter().next().expect("the durable one comes first");
            self.deceived[segment as usize].insert(page, durable);
        }
    }

    /// Shows what the device has.
    fn undeceive(&mut self, segment: usize) {
        let page_bytes = self.geometry.page_bytes as usize;
        for (page, durable) in core::mem::take(&mut self.deceived[segment]) {
            if let Some(bytes) = &mut self.segments[segment] {
                bytes[page * page_bytes..(page + 1) * page_bytes].copy_from_slice(&durable);
            }
        }
    }

    /// Where a write that is asked for goes: a page or some further, if it is misdirected.
    fn place_of(&mut self, segment: u32, at: u32, count: usize) -> (u32, u32) {
        if self.misdirect_at != Some(self.done.operations) {
            return (segment, at);
        }
        let Geometry { segments, segment_bytes, page_bytes } = self.geometry;
        let last_page = (segment_bytes - count as u32) / page_bytes;
        let other = (self.rng.u32(..segments), self.rng.u32(..=last_page) * page_bytes);
        let exists = self.segments[other.0 as usize].is_some();
        if exists { other } else { (segment, other.1) }
    }

    /// Whether what cannot be read lies in a page that is written in part.
    fn has_to_read(&mut self, segment: u32, written: &Range<u32>) -> bool {
        let page_bytes = self.geometry.page_bytes;
        let Some((of, bad)) = &self.unreadable else { return false };
        let page_of = |at: u32| at / page_bytes * page_bytes..(at / page_bytes + 1) * page_bytes;
        let in_part = |at: u32| {
            let page = page_of(at);
            let whole = written.start <= page.start && page.end <= written.end;
            !whole && bad.start < page.end && page.start < bad.end
        };
        if *of != segment {
            return false;
        }
        if written.start <= bad.start && bad.end <= written.end {
            self.unreadable = None;
            return false;
        }
        in_part(written.start) || in_part(written.end - 1)
    }

    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) {
        let page_bytes = self.geometry.page_bytes as usize;
        let held = self.segments[segment as usize].as_mut().expect("the segment was prepared");
        let (begin, end) = (at as usize, at as usize + bytes.len());
        let unfinished = &mut self.unfinished[segment as usize];
        for page in begin / page_bytes..end.div_ceil(page_bytes) {
            let now = held[page * page_bytes..(page + 1) * page_bytes].to_vec();
            let durable = self.deceived[segment as usize].remove(&page);
            unfinished.entry(page).or_default().extend(durable.into_iter().chain([now]));
        }
        let stuck = self.stuck.filter(|(of, _)| *of == segment).map(|(_, page)| page);
        let kept = stuck.map(|page| held[page * page_bytes..(page + 1) * page_bytes].to_vec());
        held[begin..end].copy_from_slice(bytes);
        if let (Some(page), Some(kept)) = (stuck, kept) {
            held[page * page_bytes..(page + 1) * page_bytes].copy_from_slice(&kept);
        }
    }
}

impl ReadMedia for Disk {
    type Error = DiskError;

    fn geometry(&self) -> Geometry {
        self.state.borrow().geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.state.borrow_mut();
        state.done.reads += 1;
        let end = at + u32::try_from(into.len()).expect("inside a segment");
        if let Some((of, bytes)) = &state.unreadable
            && *of == segment
            && bytes.start < end
            && at < bytes.end
        {
            return Err(DiskError::Failed);
        }
        match &state.segments[segment as usize] {
            _ if !state.power => Err(DiskError::NoPower),
            Some(bytes) => {
                into.copy_from_slice(&bytes[at as usize..at as usize + into.len()]);
                Ok(())
            }
            None => {
                into.fill(0);
                Ok(())
            }
        }
    }

    fn noted(&self) -> Option<Noted> {
        self.state.borrow().noted
    }
}

impl Media for Disk {
    fn prepare(&mut self, segment: u32) -> Result<(), DiskError> {
        let mut state = self.state.borrow_mut();
        let segment_bytes = state.geometry.segment_bytes as usize;
        if segment >= state.room {
            return Err(DiskError::Full);
        }
        state.segments[segment as usize].get_or_insert_with(|| vec![0; segment_bytes]);
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state.borrow_mut();
        let had_power = state.power;
        let (segment, at) = state.place_of(segment, at, bytes.len());
        let done = state.operate();
        if had_power && state.has_to_read(segment, &(at..at + bytes.len() as u32)) {
            return done.and(Err(DiskError::Failed));
        }
        if had_power {
            // The device may have done some of it, also where it failed.
            state.write(segment, at, bytes);
        }
        done
    }

    fn barrier(&mut self, segment: u32) -> Result<(), DiskError> {
        let mut state = self.state.borrow_mut();
        state.done.barriers += 1;
        let done = state.operate();
        if state.ignores_barriers {
            return done;
        }
        match done {
            Ok(()) => state.unfinished[segment as usize].clear(),
            Err(DiskError::Failed) => state.deceive(segment),
            Err(_) => {}
        }
        done
    }

    fn settle(&mut self, segment: u32) -> Result<(), DiskError> {
        self.barrier(segment)?;
        self.state.borrow_mut().undeceive(segment as usize);
        Ok(())
    }

    fn publish(&mut self, end: End, oldest: Offset, tail: Tail<'_>) {
        let Tail { segment, at, bytes, header } = tail;
        let bytes = bytes.to_vec();
        let published = Published { end, oldest, segment, at, bytes, header };
        self.state.borrow_mut().published = Some(published);
    }
}

/// Reads what is durable, as readers on other threads do.
#[derive(Clone, Debug)]
pub struct DiskReader {
    disk: Disk,
}

impl DiskReader {
    /// The durable end and the oldest offset that is kept, once a log was opened.
    ///
    /// # Panics
    /// If none was.
    #[must_use]
    pub fn end(&self) -> (End, Offset) {
        self.opened().expect("a log was opened")
    }

    /// The same; `None` if no log was ever opened.
    #[must_use]
    pub fn opened(&self) -> Option<(End, Offset)> {
        let state = self.disk.state.borrow();
        state.published.as_ref().map(|published| (published.end, published.oldest))
    }
}

impl ReadMedia for DiskReader {
    type Error = DiskError;

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let header = self.disk.state.borrow().published.as_ref().map(|told| told.header);
        if header.is_some_and(|header| header.answers(segment, at, into)) {
            return Ok(());
        }
        self.disk.read(segment, at, into)?;
        let state = self.disk.state.borrow();
        let Some(told) = state.published.as_ref().filter(|told| told.segment == segment) else {
            return Ok(());
        };
        let (begin, tail_at) = (at as usize, told.at as usize);
        let (from, to) = (begin.max(tail_at), (begin + into.len()).min(tail_at + told.bytes.len()));
        if from < to {
            into[from - begin..to - begin]
                .copy_from_slice(&told.bytes[from - tail_at..to - tail_at]);
        }
        Ok(())
    }
}
