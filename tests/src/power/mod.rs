//! A disk in memory whose power can be cut: where the log lies in simulations.
//!
//! It promises no more than [`Media`] does. What was written since the last barrier stays
//! *pending*, page by page, with every state that the page has had; a cut decides for each
//! 512-byte sector of a pending page which of these states is found later, or garbage, also where
//! the page was not written to. Everything is drawn from one seed, so a failure can be repeated.
//!
//! A [`Disk`] is a handle: clones share the disk. A process that ends without a power cut is a log
//! that is dropped; what it wrote can be read by the next one, and is still pending.

mod random;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_core::Offset;
use tributary_core::log::{End, Geometry, HeaderCopy, Media, ReadMedia, Tail};

pub use random::Random;

/// What a device writes as a whole.
const SECTOR_BYTES: usize = 512;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// There is no power: see [`Disk::restore`].
    PowerCut,
    /// As it was asked for.
    Injected,
    /// Bytes outside of a segment.
    Outside,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerCut => "the power was cut",
            Self::Injected => "the device failed",
            Self::Outside => "outside of the segment",
        })
    }
}

impl core::error::Error for DiskError {}

/// What was asked of a disk since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Writes.
    pub writes: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Barriers.
    pub barriers: u64,
    /// Segments that were prepared.
    pub prepares: u64,
    /// Reads, by the log and by readers.
    pub reads: u64,
}

impl DiskCounters {
    /// Writes, barriers and prepares: the operations at which the power can be cut.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.writes + self.barriers + self.prepares
    }
}

/// The states of a page since the last barrier, the durable one first.
type States = Vec<Box<[u8]>>;

#[derive(Debug)]
struct State {
    geometry: Geometry,
    /// What a read sees.
    segments: Vec<Vec<u8>>,
    /// By segment and page.
    pending: BTreeMap<(usize, usize), States>,
    random: Random,
    is_on: bool,
    /// Operations until the power is cut.
    cut_in: Option<u64>,
    /// Writes, and barriers, until one fails.
    write_fails_in: Option<u64>,
    barrier_fails_in: Option<u64>,
    counters: DiskCounters,
    durable: Option<Durable>,
}

/// What readers are shown.
#[derive(Clone, Debug)]
struct Durable {
    end: End,
    oldest: Offset,
    segment: u32,
    at: usize,
    bytes: Vec<u8>,
    header: HeaderCopy,
}

/// A disk; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// The reading handle: sees what was [published](Media::publish) as durable.
#[derive(Clone, Debug)]
pub struct DiskReader {
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// An empty disk.
    ///
    /// # Panics
    /// If the pages are not whole sectors.
    #[must_use]
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let page_bytes = geometry.page_bytes as usize;
        assert!(page_bytes.is_multiple_of(SECTOR_BYTES), "a page is whole sectors");
        let segment = vec![0; geometry.segment_bytes as usize];
        let state = State {
            geometry,
            segments: vec![segment; geometry.segments as usize],
            pending: BTreeMap::new(),
            random: Random::new(seed),
            is_on: true,
            cut_in: None,
            write_fails_in: None,
            barrier_fails_in: None,
            counters: DiskCounters::default(),
            durable: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power in the middle of the operation after the next `operations`.
    pub fn cut_after(&self, operations: u64) {
        self.lock().cut_in = Some(operations);
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.lock().cut();
    }

    /// Whether there is power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock().is_on
    }

    /// Power is back, and no cut or error is due.
    pub fn restore(&self) {
        let mut state = self.lock();
        state.is_on = true;
        (state.cut_in, state.write_fails_in, state.barrier_fails_in) = (None, None, None);
    }

    /// Lets the write after the next `writes` fail: any part of it may have happened.
    pub fn fail_write_after(&self, writes: u64) {
        self.lock().write_fails_in = Some(writes);
    }

    /// Lets the barrier after the next `barriers` fail: what is pending is lost in any part, and
    /// what is left of it is durable. The next barrier succeeds all the same.
    pub fn fail_barrier_after(&self, barriers: u64) {
        self.lock().barrier_fails_in = Some(barriers);
    }

    /// Turns one bit of what is durable, counted from the start of a segment.
    ///
    /// # Panics
    /// If the segment has no such bit.
    pub fn flip(&self, segment: u32, bit: usize) {
        let mut state = self.lock();
        let page_bytes = state.geometry.page_bytes as usize;
        let (segment, at, mask) = (segment as usize, bit / 8, 1 << (bit % 8));
        state.segments[segment][at] ^= mask;
        for page in state.pending.get_mut(&(segment, at / page_bytes)).into_iter().flatten() {
            page[at % page_bytes] ^= mask;
        }
    }

    /// The bytes of a segment, as a read sees them.
    ///
    /// # Panics
    /// If there is no such segment.
    #[must_use]
    pub fn segment(&self, segment: u32) -> Vec<u8> {
        self.lock().segments[segment as usize].clone()
    }

    /// Puts bytes into a segment, durable at once: images of what was not written by a log.
    ///
    /// # Panics
    /// If the segment does not have as many bytes.
    pub fn put_segment(&self, segment: u32, bytes: &[u8]) {
        let mut state = self.lock();
        let segment = segment as usize;
        state.pending.retain(|(of, _), _| *of != segment);
        state.segments[segment].copy_from_slice(bytes);
    }

    /// What was asked of it.
    #[must_use]
    pub fn counters(&self) -> DiskCounters {
        self.lock().counters
    }

    /// A disk with the same bytes, pending ones too, and a life of its own.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let state = self.lock();
        let state = State {
            geometry: state.geometry,
            segments: state.segments.clone(),
            pending: state.pending.clone(),
            random: Random::new(seed),
            durable: state.durable.clone(),
            ..*state
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// For reading what was published.
    #[must_use]
    pub fn reader(&self) -> DiskReader {
        DiskReader { state: Arc::clone(&self.state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl DiskReader {
    /// The durable end.
    ///
    /// # Panics
    /// If nothing was published yet.
    #[must_use]
    pub fn end(&self) -> End {
        lock(&self.state).durable.as_ref().expect("published right after the opening").end
    }
}

impl DiskReader {
    /// The oldest offset that is kept.
    ///
    /// # Panics
    /// If nothing was published yet.
    #[must_use]
    pub fn oldest(&self) -> Offset {
        lock(&self.state).durable.as_ref().expect("published right after the opening").oldest
    }
}

impl State {
    /// Counts an operation; `true` if the power is cut in the middle of it.
    fn is_cut_here(&mut self) -> Result<bool, DiskError> {
        if !self.is_on {
            return Err(DiskError::PowerCut);
        }
        let cut = self.cut_in == Some(0);
        self.cut_in = self.cut_in.map(|operations| operations.saturating_sub(1));
        Ok(cut)
    }

    fn range(&self, segment: u32, at: u32, count: usize) -> Result<(usize, usize), DiskError> {
        let (segment, at) = (segment as usize, at as usize);
        let fits = self.segments.get(segment).is_some_and(|bytes| at + count <= bytes.len());
        if fits { Ok((segment, at)) } else { Err(DiskError::Outside) }
    }

    fn write(&mut self, (segment, at): (usize, usize), bytes: &[u8]) {
        let page_bytes = self.geometry.page_bytes as usize;
        let image = &mut self.segments[segment];
        let pages = at / page_bytes..(at + bytes.len()).div_ceil(page_bytes);
        let page_of = |image: &[u8], page: usize| {
            Box::<[u8]>::from(&image[page * page_bytes..(page + 1) * page_bytes])
        };
        for page in pages.clone() {
            self.pending.entry((segment, page)).or_insert_with(|| vec![page_of(image, page)]);
        }
        image[at..at + bytes.len()].copy_from_slice(bytes);
        for page in pages {
            let states = self.pending.get_mut(&(segment, page)).expect("just inserted");
            states.push(page_of(image, page));
        }
    }

    /// Decides what is left of what is pending in one segment, or in all, which is durable then.
    fn settle(&mut self, only: Option<usize>) {
        let page_bytes = self.geometry.page_bytes as usize;
        let (settled, pending) = core::mem::take(&mut self.pending)
            .into_iter()
            .partition(|((segment, _), _)| only.is_none_or(|only| only == *segment));
        self.pending = pending;
        let settled: BTreeMap<_, States> = settled;
        for ((segment, page), states) in settled {
            let image = &mut self.segments[segment][page * page_bytes..][..page_bytes];
            let (last, fate) = (states.len() - 1, self.random.below(8));
            // Whole pages often fare alike; mixtures find other faults than pure cases.
            for (at, sector) in (0..).step_by(SECTOR_BYTES).zip(image.chunks_mut(SECTOR_BYTES)) {
                let state = match fate {
                    0 | 1 => Some(last),
                    2 | 3 => Some(0),
                    4 => Some(self.random.below(last + 1)),
                    5 => [Some(0), Some(last)][self.random.below(2)],
                    6 => [Some(0), Some(last), None][self.random.below(3)],
                    _ => None,
                };
                match state {
                    Some(state) => sector.copy_from_slice(&states[state][at..][..sector.len()]),
                    None => self.random.fill(sector),
                }
            }
        }
    }

    fn cut(&mut self) {
        self.settle(None);
        self.is_on = false;
        self.cut_in = None;
    }
}

impl ReadMedia for Disk {
    type Error = DiskError;

    fn geometry(&self) -> Geometry {
        self.lock().geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.lock();
        if !state.is_on {
            return Err(DiskError::PowerCut);
        }
        state.counters.reads += 1;
        let (segment, at) = state.range(segment, at, into.len())?;
        into.copy_from_slice(&state.segments[segment][at..at + into.len()]);
        Ok(())
    }
}

impl Media for Disk {
    fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.lock();
        let cut = state.is_cut_here()?;
        let place = state.range(segment, at, bytes.len())?;
        state.counters.writes += 1;
        state.counters.bytes += bytes.len() as u64;
        let fails = due(&mut state.write_fails_in);
        let torn = if fails || cut { state.random.below(bytes.len() + 1) } else { bytes.len() };
        state.write(place, &bytes[..torn]);
        if cut {
            state.cut();
            return Err(DiskError::PowerCut);
        }
        if fails { Err(DiskError::Injected) } else { Ok(()) }
    }

    fn barrier(&mut self, segment: u32) -> Result<(), DiskError> {
        let mut state = self.lock();
        let cut = state.is_cut_here()?;
        state.counters.barriers += 1;
        let (segment, _) = state.range(segment, 0, 0)?;
        if due(&mut state.barrier_fails_in) {
            state.settle(Some(segment));
            return Err(DiskError::Injected);
        }
        // A barrier that is cut may have come to its end, unseen.
        if !cut || state.random.percent(30) {
            state.pending.retain(|(of, _), _| *of != segment);
        }
        if cut {
            state.cut();
            return Err(DiskError::PowerCut);
        }
        Ok(())
    }

    fn prepare(&mut self, segment: u32) -> Result<(), DiskError> {
        let mut state = self.lock();
        let cut = state.is_cut_here()?;
        state.counters.prepares += 1;
        state.range(segment, 0, 0)?;
        if cut {
            state.cut();
            return Err(DiskError::PowerCut);
        }
        Ok(())
    }

    fn settle(&mut self, segment: u32) -> Result<(), DiskError> {
        self.barrier(segment)
    }

    fn publish(&mut self, end: End, oldest: Offset, tail: Tail<'_>) {
        let Tail { segment, at, bytes, header } = tail;
        let (at, bytes) = (at as usize, bytes.to_vec());
        self.lock().durable = Some(Durable { end, oldest, segment, at, bytes, header });
    }
}

impl ReadMedia for DiskReader {
    type Error = DiskError;

    fn geometry(&self) -> Geometry {
        lock(&self.state).geometry
    }

    fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let header = lock(&self.state).durable.as_ref().map(|durable| durable.header);
        if header.is_some_and(|header| header.answers(segment, at, into)) {
            return Ok(());
        }
        Disk { state: Arc::clone(&self.state) }.read(segment, at, into)?;
        let state = lock(&self.state);
        let Some(tail) = state.durable.as_ref().filter(|tail| tail.segment == segment) else {
            return Ok(());
        };
        let at = at as usize;
        let (from, to) = (tail.at.max(at), (tail.at + tail.bytes.len()).min(at + into.len()));
        if from < to {
            into[from - at..to - at].copy_from_slice(&tail.bytes[from - tail.at..to - tail.at]);
        }
        Ok(())
    }
}

/// Counts down to a failure; whether it is due now.
fn due(left: &mut Option<u64>) -> bool {
    let now = *left == Some(0);
    *left = left.and_then(|left| left.checked_sub(1));
    now
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
