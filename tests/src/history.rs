//! What a log was told, and what it may say afterwards: the judge of the log's tests.
//!
//! Knows nothing of how the log works. Rules: what was acknowledged is there, byte for byte, or was
//! evicted by the ring; what was not is there as it was appended, or not at all; offsets are dense,
//! or a gap says which are missing; nothing below what was claimed is given out again.
#![expect(clippy::cast_possible_truncation, reason = "numbers of a simulated log are small")]

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    AppendError, Clock, CommitError, ControlKind, Entropy, Frame, GENERATIONS_MAX, Gap, GapCause,
    Geometry, Item, Log, ReadMedia, Reader, Recovery, Report, buffer_bytes,
};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};

use crate::disk::{Cut, Disk};

/// The largest body that the tests append.
pub const BODY_BYTES_MAX: usize = 12_000;

/// So many pages a segment has to have for a routing table of nearly two.
const LARGE_TABLE_PAGES: u32 = 9;

/// A log of the simulated disk.
pub type DiskLog = Log<Disk, Vec<u8>>;

/// The process that wrote the log is gone: the power went, or the log can only be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

/// What a reader found.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Payloads by offset.
    pub events: BTreeMap<u64, Vec<u8>>,
    /// What is missing, in order.
    pub gaps: Vec<(Range<u64>, GapCause)>,
    /// Control records, in order.
    pub controls: Vec<(ControlKind, u64, Vec<u8>)>,
}

/// A log on a simulated disk, and what is known of it.
pub struct History {
    /// The disk.
    pub disk: Disk,
    /// The log while it is open.
    pub log: Option<DiskLog>,
    /// For everything random.
    pub rng: Rng,
    seed: u64,
    /// Payloads by offset, as appended last.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Everything below was acknowledged.
    acked: u64,
    /// Everything below may have been evicted.
    evictable: u64,
    /// Offsets that were never given out.
    holes: Vec<Range<u64>>,
    /// The offsets of each frame, in order.
    pub frames: Vec<Range<u64>>,
    /// Where the last commit began and ended.
    pub last_commit: Range<u64>,
    /// If there is one, acknowledged offsets that are missing gather here and are no fault.
    pub lost: Option<BTreeSet<u64>>,
    claim: Claim,
    /// The highest that was ever claimed, durable or not.
    claimed_ever: u64,
    routes: Claim,
    generations: Vec<u32>,
    clock: Clock,
    serial: u64,
    /// Reads on all the time.
    reader: (Reader, u64),
}

/// A number that only grows, as it is durable and as it was appended.
#[derive(Clone, Copy, Debug, Default)]
struct Claim {
    durable: u64,
    appended: u64,
}

impl History {
    /// An empty disk.
    #[must_use]
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        Self::on(Disk::new(geometry, seed ^ 0xD15C), seed)
    }

    /// A disk that holds no log.
    #[must_use]
    pub fn on(disk: Disk, seed: u64) -> Self {
        Self {
            disk,
            log: None,
            rng: Rng::with_seed(seed),
            seed,
            appended: BTreeMap::new(),
            acked: 0,
            evictable: 0,
            holes: Vec::new(),
            frames: Vec::new(),
            last_commit: 0..0,
            lost: None,
            claim: Claim::default(),
            claimed_ever: 0,
            routes: Claim::default(),
            generations: Vec::new(),
            clock: Clock { wall: Timestamp(1_800_000_000_000), age: Age(0), trusted: false },
            serial: 0,
            reader: (Reader::new(Offset(0), crc32c), 0),
        }
    }

    /// The same past on a copy of the disk, as it can be read.
    #[must_use]
    pub fn fork(&self, geometry: Geometry) -> Self {
        let seed = self.seed;
        Self {
            disk: self.disk.reshaped(geometry, seed),
            log: None,
            rng: self.rng.clone(),
            seed,
            appended: self.appended.clone(),
            holes: self.holes.clone(),
            frames: self.frames.clone(),
            last_commit: self.last_commit.clone(),
            lost: self.lost.clone(),
            generations: self.generations.clone(),
            reader: (Reader::new(Offset(0), crc32c), 0),
            ..*self
        }
    }

    /// Opens the log, with a floor for its offsets, and judges all that is in it.
    ///
    /// # Errors
    /// If the power goes meanwhile.
    ///
    /// # Panics
    /// If the log breaks a rule.
    pub fn open(&mut self, floor: u64) -> Result<Report, Crashed> {
        self.log = None;
        let geometry = self.disk.geometry();
        let buffer = vec![0xEE; buffer_bytes(geometry, BODY_BYTES_MAX)];
        let (mut routes, disk) = (0, self.disk.clone());
        let recovery = Recovery::run(disk, buffer, Offset(floor), crc32c, &mut |control| {
            if control.kind == ControlKind::Routes {
                routes = number_in(control.body);
            }
        });
        let recovery = recovery.map_err(|error| self.crashed(&error))?;
        let report = recovery.report().clone();
        if self.disk.is_down() {
            return Err(Crashed);
        }
        self.judge_report(&report, floor, routes);
        let entropy = Entropy {
            log_id: self.rng.u64(..),
            generation: self.rng.u32(..),
            salt: self.rng.u64(..),
        };
        // The age clock may have lost some time with the power.
        let age = report.last_clock.map_or(0, |clock| clock.age.0) + self.rng.u64(..3);
        self.clock = Clock { age: Age(age), ..self.clock };
        let snapshot = routes.to_le_bytes();
        let log = recovery.begin(entropy, self.clock, &[(ControlKind::Routes, &snapshot)]);
        let log = log.map_err(|error| self.crashed(&error))?;
        self.generations.push(entropy.generation);
        let known: Vec<u32> = log.generations().iter().map(|known| known.number).collect();
        let ours: Vec<u32> =
            known.iter().copied().filter(|number| self.generations.contains(number)).collect();
        let all = self.generations.ends_with(&ours)
            && (ours.len() == self.generations.len() || known.len() == GENERATIONS_MAX);
        assert!(all || self.lost.is_some(), "every opening is remembered; seed {}", self.seed);
        let next = log.next_offset().0;
        self.log = Some(log);
        self.appended.split_off(&next);
        self.evictable = self.evictable.max(self.log().oldest().0);
        self.judge_content();
        (self.routes.durable, self.routes.appended) = (routes, routes);
        self.claim.appended = self.claim.durable;
        Ok(report)
    }

    /// The open log.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn log(&mut self) -> &mut DiskLog {
        self.log.as_mut().expect("the log is open")
    }

    fn crashed(&self, error: &dyn core::error::Error) -> Crashed {
        assert!(
            self.disk.is_down(),
            "the log opens whatever it finds: {error}; seed {}",
            self.seed
        );
        Crashed
    }

    fn judge_report(&mut self, report: &Report, floor: u64, routes: u64) {
        let seed = self.seed;
        let next = report.next.0;
        assert!(next >= floor, "next {next} below the floor {floor}; seed {seed}");
        if let Some(lost) = &mut self.lost {
            lost.extend(next..self.acked);
            self.acked = self.acked.min(next);
            self.claim = Claim::default();
            self.routes.durable = 0;
        }
        assert!(next >= self.acked, "next {next} below acknowledged {}; seed {seed}", self.acked);
        let claimed = self.claim.durable;
        assert!(next >= claimed, "next {next} below the claim {claimed}; seed {seed}");
        let known = self.routes.durable..=self.routes.appended;
        assert!(known.contains(&routes), "routes {routes}, not of {known:?}; seed {seed}");
        // A torn end leaves no gap: only what was claimed once lies beyond what is there.
        self.claimed_ever = self.claimed_ever.max(floor).max(self.claim.appended);
        let explained = |gap: &Gap| gap.end.0 <= self.claimed_ever || self.lost.is_some();
        assert!(report.gaps.iter().all(explained), "{:?}; seed {seed}", report.gaps);
        let missing = self.acked.max(self.appended_end(next))..next;
        if !missing.is_empty() {
            self.holes.push(missing);
        }
    }

    /// The end of what was appended without a hole, below `next`.
    fn appended_end(&self, next: u64) -> u64 {
        self.appended.range(..next).next_back().map_or(0, |(last, _)| last + 1)
    }

    /// Reads everything and judges it. What is there counts as acknowledged from now on.
    ///
    /// # Panics
    /// If the log breaks a rule.
    pub fn judge_content(&mut self) {
        let seed = self.seed;
        let read = self.read_from(0);
        let end = self.log().end().offset.0;
        for (offset, payload) in &read.events {
            let appended = self.appended.get(offset);
            assert!(
                appended == Some(payload),
                "offset {offset} is not what was appended; seed {seed}"
            );
        }
        for offset in read.gaps.iter().flat_map(|(gap, _)| gap.clone()) {
            if self.may_be_missing(offset) {
                continue;
            }
            if let Some(lost) = &mut self.lost {
                lost.insert(offset);
            } else {
                let (acked, evictable) = (self.acked, self.evictable);
                assert!(
                    offset >= acked,
                    "offset {offset} was acknowledged (to {acked}, evictable to {evictable}), and \
                     is gone: {:?}; seed {seed}",
                    read.gaps
                );
            }
            // It was not acknowledged, and is not there: so it stays.
            self.appended.remove(&offset);
            self.holes.push(offset..offset + 1);
        }
        self.acked = end;
    }

    /// Reads the log from an offset to its durable end: dense, but for gaps.
    ///
    /// # Panics
    /// If offsets are neither there nor in a gap.
    pub fn read_from(&mut self, from: u64) -> Read {
        let (end, _) = self.disk.reader().end();
        let mut buffer = vec![0; self.rng.usize(self.frame_bytes_max()..100_000)];
        let mut reader = Reader::new(Offset(from), crc32c);
        let mut read = Read::default();
        let next = read_on(&mut reader, &self.disk, end, &mut buffer, &mut read);
        assert_eq!(next, end.offset.0.max(from), "reading ends before the end; seed {}", self.seed);
        read
    }

    /// A reader that was there all the time reads on. What it was told before stays true.
    ///
    /// # Panics
    /// If it gets something that was not appended, or loses what was neither evicted nor a hole.
    pub fn follow(&mut self) {
        let (end, _) = self.disk.reader().end();
        let mut buffer = vec![0; self.rng.usize(self.frame_bytes_max()..40_000)];
        let mut read = Read::default();
        let (reader, next) = &mut self.reader;
        *next = read_on(reader, &self.disk, end, &mut buffer, &mut read);
        assert!(*next >= end.offset.0, "following ends before the end; seed {}", self.seed);
        for (offset, payload) in &read.events {
            assert!(
                self.appended.get(offset) == Some(payload),
                "{offset} is wrong; seed {}",
                self.seed
            );
        }
        for (gap, cause) in &read.gaps {
            let lost: Vec<u64> =
                gap.clone().filter(|&offset| !self.may_be_missing(offset)).collect();
            assert!(
                lost.is_empty(),
                "{lost:?} of {gap:?} ({cause:?}) is there; seed {}",
                self.seed
            );
        }
        if self.rng.u8(..4) == 0 {
            let back = self.rng.u64(..20).min(self.reader.1);
            self.reader.1 -= back;
            self.reader.0.seek(Offset(self.reader.1));
        }
    }

    /// Appends a frame of one to four events.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn append(&mut self) -> Result<(), Crashed> {
        let payload_bytes = match self.rng.u8(..10) {
            0 => self.rng.usize(8..2_500),
            1 => self.rng.usize(8..300),
            // A frame of 72 bytes: so what is stale often lies where new frames begin.
            _ => 17,
        };
        let count =
            if payload_bytes == 17 && self.rng.u8(..4) > 0 { 1 } else { self.rng.u32(1..=4) };
        self.append_of(count, payload_bytes)
    }

    /// Appends a frame of so many events with payloads of so many bytes, 8 at least.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn append_of(&mut self, count: u32, payload_bytes: usize) -> Result<(), Crashed> {
        self.clock.age.0 += self.rng.u64(..3);
        let mut body = Vec::new();
        let mut payloads = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            let mut payload = self.serial.to_le_bytes().to_vec();
            payload.resize(payload_bytes, self.serial as u8);
            let event = event(&payload, self.clock.wall);
            let begin = body.len();
            body.resize(begin + record::encoded_len(&event, self.clock.wall), 0);
            record::encode(&event, self.clock.wall, &mut body[begin..]);
            payloads.push(payload);
        }
        let base = self.log().next_offset().0;
        for (offset, payload) in (base..).zip(payloads) {
            self.appended.insert(offset, payload);
        }
        self.frames.push(base..base + u64::from(count));
        let frame = Frame { count, clock: self.clock, body: &body };
        self.put(&|log| log.append(&frame))
    }

    /// Appends a control record.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn append_control(&mut self) -> Result<(), Crashed> {
        let clock = self.clock;
        match self.rng.u8(..4) {
            0 => {
                let ahead = if self.rng.u8(..4) == 0 { self.rng.u64(..30) } else { 0 };
                let claim = self.log().next_offset().0 + ahead;
                self.claim(claim)
            }
            1 => {
                self.routes.appended += 1;
                let body = self.routes.appended.to_le_bytes();
                self.put(&|log| log.append_control(ControlKind::Routes, &body, clock))
            }
            _ => self.put(&|log| log.append_control(ControlKind::Anchor, &[7; 24], clock)),
        }
    }

    /// Claims everything below an offset.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn claim(&mut self, claim: u64) -> Result<(), Crashed> {
        let clock = self.clock;
        self.claim.appended = self.claim.appended.max(claim);
        let body = claim.to_le_bytes();
        self.put(&|log| log.append_control(ControlKind::Hint, &body, clock))
    }

    fn put(
        &mut self,
        frame: &dyn Fn(&mut DiskLog) -> Result<(), AppendError>,
    ) -> Result<(), Crashed> {
        match frame(self.log()) {
            Ok(()) => Ok(()),
            Err(AppendError::SegmentFull) => {
                self.roll()?;
                match frame(self.log()) {
                    Ok(()) => Ok(()),
                    // The new segment failed at once: the buffer was full.
                    Err(AppendError::SegmentFull) => {
                        self.roll()?;
                        frame(self.log()).map_err(|_| Crashed)
                    }
                    Err(_) => Err(Crashed),
                }
            }
            Err(AppendError::ReadOnly) => Err(Crashed),
            Err(error) => panic!("{error}; seed {}", self.seed),
        }
    }

    /// Commits; what was appended is acknowledged then.
    ///
    /// # Errors
    /// If the log is gone.
    ///
    /// # Panics
    /// If the log does not take everything.
    pub fn commit(&mut self) -> Result<(), Crashed> {
        let end = match self.log().commit() {
            // The process may end right there, with a kernel that takes for written what is not.
            Err(CommitError::SegmentFailed) if self.rng.u8(..3) == 0 => return Err(Crashed),
            Err(CommitError::SegmentFailed) => {
                self.roll()?;
                self.log().commit().map_err(|_| Crashed)?
            }
            end => end.map_err(|_| Crashed)?,
        };
        assert_eq!(end.offset, self.log().next_offset(), "a commit takes everything");
        if end.offset.0 > self.acked {
            self.last_commit = self.acked..end.offset.0;
        }
        self.acked = end.offset.0;
        self.claim.durable = self.claim.appended;
        self.routes.durable = self.routes.appended;
        Ok(())
    }

    /// Begins the next segment.
    ///
    /// # Errors
    /// If the log is gone.
    ///
    /// # Panics
    /// If the log evicts what it did not announce.
    pub fn roll(&mut self) -> Result<(), Crashed> {
        let claim = self.claim.appended.to_le_bytes();
        let routes = self.routes_in_force();
        let snapshot: [(ControlKind, &[u8]); 2] =
            [(ControlKind::Routes, &routes), (ControlKind::Hint, &claim)];
        let clock = self.clock;
        loop {
            let victim = self.log().next_victim();
            if let Some(victim) = &victim {
                self.evictable = self.evictable.max(victim.end.0);
            }
            match self.log().roll(&snapshot, clock) {
                Err(CommitError::SegmentFailed) if self.rng.u8(..4) == 0 => return Err(Crashed),
                Err(CommitError::SegmentFailed) => {}
                rolled => {
                    let seed = self.seed;
                    let evicted = rolled.map_err(|_| Crashed)?;
                    assert_eq!(evicted, victim, "what is evicted was named before; seed {seed}");
                    return Ok(());
                }
            }
        }
    }

    /// The routing table as a new segment begins with it: sometimes larger than a page, where the segment
    /// has room for that.
    fn routes_in_force(&mut self) -> Vec<u8> {
        let mut routes = self.routes.appended.to_le_bytes().to_vec();
        let Geometry { segment_bytes, page_bytes, .. } = self.disk.geometry();
        let has_room = segment_bytes / page_bytes > LARGE_TABLE_PAGES;
        if has_room && self.rng.u8(..3) == 0 {
            routes.resize(self.rng.usize(page_bytes as usize..large_table_bytes(page_bytes)), 0);
        }
        routes
    }

    /// What a reader's buffer has to take.
    fn frame_bytes_max(&self) -> usize {
        BODY_BYTES_MAX.max(large_table_bytes(self.disk.geometry().page_bytes)) + 64
    }

    /// Gives back some of the oldest events.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn trim(&mut self) -> Result<(), Crashed> {
        let oldest = self.log().oldest().0;
        let below = self.rng.u64(oldest..=self.acked.max(oldest));
        self.evictable = self.evictable.max(below);
        let clock = self.clock;
        self.put(&|log| log.trim(Offset(below), clock).map(drop))
    }

    /// The power goes and comes back.
    pub fn power_cut(&mut self) {
        let cut = Cut::ALL[self.rng.usize(..Cut::ALL.len())];
        self.log = None;
        self.disk.power_cut(cut);
        self.reader = (Reader::new(Offset(0), crc32c), 0);
    }

    /// The process is killed: the kernel keeps what it has.
    pub fn kill(&mut self) {
        self.log = None;
        self.disk.be_well();
        self.reader = (Reader::new(Offset(0), crc32c), 0);
    }

    fn may_be_missing(&self, offset: u64) -> bool {
        offset < self.evictable || self.holes.iter().any(|hole| hole.contains(&offset))
    }

    /// Everything below was acknowledged.
    #[must_use]
    pub const fn acked(&self) -> u64 {
        self.acked
    }
}

fn read_on(
    reader: &mut Reader,
    disk: &Disk,
    end: tributary_core::log::End,
    buffer: &mut [u8],
    read: &mut Read,
) -> u64 {
    let mut next = reader.next_offset().0;
    while let Some(chunk) = reader.read(&disk.reader(), end, buffer).expect("frames fit") {
        for item in chunk {
            match item {
                Item::Gap { range, cause } => {
                    assert_eq!(range.start.0, next, "a gap begins where reading stands");
                    next = range.end.0;
                    read.gaps.push((range.start.0..range.end.0, cause));
                }
                Item::Control(control) => {
                    read.controls.push((control.kind, control.at.0, control.body.to_vec()));
                }
                Item::Events(events) => {
                    for (offset, event) in events {
                        assert_eq!(offset.0, next, "offsets are dense");
                        next += 1;
                        read.events.insert(offset.0, event.payload.to_vec());
                    }
                }
            }
        }
    }
    next
}

/// Routing tables that are larger than a page are smaller than this.
const fn large_table_bytes(page_bytes: u32) -> usize {
    page_bytes as usize * 7 / 4
}

fn number_in(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().expect("a number"))
}

fn event(payload: &[u8], time: Timestamp) -> Event<'_> {
    Event {
        topic: "t",
        payload,
        client: "",
        time,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    }
}
