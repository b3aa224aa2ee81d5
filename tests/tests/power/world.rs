//! A log on a [`Disk`], beside a [`Model`] of what it has promised.

use std::collections::BTreeMap;

use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    AppendError, Clock, CommitError, Control, ControlKind, Entropy, Frame, GENERATIONS_MAX, Gap,
    Geometry, Log, OpenError, ReadMedia, Reader, Recovery, Report, buffer_bytes,
};
use tributary_core::time::{Age, Timestamp};
use tributary_tests::power::{Disk, DiskError, Random};

use super::check::Check;
use super::events::encode_event;
use super::model::{InForce, KINDS, Model};

/// A log that was read, and the control records in force.
type Recovered = (Recovery<Disk, Box<[u8]>>, InForce);

pub type DiskLog = Log<Disk, Box<[u8]>>;

/// A log, its disk and its model.
#[derive(Debug)]
pub struct World {
    pub disk: Disk,
    pub random: Random,
    pub model: Model,
    pub log: Option<DiskLog>,
    number: u64,
    now: u64,
    /// A reader that is slow, and lives until the next opening.
    slow: Reader,
    pub payload_bytes_max: usize,
}

impl World {
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = Disk::new(geometry, random.number());
        let slow = Reader::new(Offset(0), crc32c);
        let payload_bytes_max = geometry.page_bytes as usize * 2;
        let model = Model::default();
        Self { disk, random, model, log: None, number: 0, now: 0, slow, payload_bytes_max }
    }

    /// The same world, to be lived through in another way.
    pub fn copy(&self, seed: u64) -> Self {
        assert!(self.log.is_none(), "a log has one writer");
        Self {
            disk: self.disk.copy(seed),
            random: Random::new(seed),
            model: self.model.clone(),
            log: None,
            slow: Reader::new(Offset(0), crc32c),
            ..*self
        }
    }

    pub fn clock(&mut self) -> Clock {
        self.now += 1;
        let wall = Timestamp(1_800_000_000_000 + self.now.cast_signed());
        Clock { wall, age: Age(self.now), trusted: self.now.is_multiple_of(2) }
    }

    pub fn log(&mut self) -> &mut DiskLog {
        self.log.as_mut().expect("open")
    }

    /// Opens the log, checks what it reports and all that can be read.
    pub fn open(&mut self) -> Result<Report, DiskError> {
        let (recovery, found) = self.recover()?;
        let report = recovery.report().clone();
        let entropy = Entropy {
            log_id: self.random.number(),
            generation: u32::try_from(self.random.number() >> 32).expect("32 bits"),
            salt: self.random.number(),
        };
        let clock = self.clock();
        self.model.may_have_rolled = true;
        let log = recovery.begin(entropy, clock, &snapshot(&found))?;
        self.model.adopt(&found);
        self.model.may_have_rolled = false;
        let (sequence, next) = (log.end().sequence, log.next_offset().0);
        for begun in (0..log.counters().segments).filter_map(|back| sequence.checked_sub(back)) {
            self.model.bases.insert(begun, next);
        }
        self.model.sequence = sequence;
        assert_eq!(log.end().offset, report.next, "an opening writes no events");
        assert_eq!(log.generation(), entropy.generation);
        self.log = Some(log);
        self.check_generations(next);
        self.check_all();
        self.slow = Reader::new(Offset(self.random.number() % (next + 1)), crc32c);
        Ok(report)
    }

    /// The process ends. If the power was cut, it is back.
    pub fn close(&mut self) {
        self.log = None;
        self.disk.restore();
    }

    /// Reads the log as an opening does; the control records in force, too.
    fn recover(&mut self) -> Result<Recovered, DiskError> {
        let geometry = self.disk.geometry();
        let bytes = buffer_bytes(geometry, self.payload_bytes_max * 5 + 1024);
        let buffer = vec![0; bytes].into_boxed_slice();
        let mut found = InForce::default();
        let mut visit = |control: Control<'_>| {
            if let Some(kind) = KINDS.iter().position(|kind| *kind == control.kind) {
                found[kind] = Some(control.body.to_vec());
            }
        };
        if self.model.next > 0 && self.random.percent(5) {
            // What is named outside of the log stays named.
            self.model.floor = self.model.floor.max(self.model.next + self.random.number() % 20);
        }
        let floor = Offset(self.model.floor);
        let run = Recovery::run(self.disk.clone(), buffer, floor, crc32c, &mut visit);
        let recovery = match run {
            Ok(recovery) => recovery,
            Err(OpenError::Media(error)) => return Err(error),
            Err(other) => panic!("a log of this version and shape: {other}"),
        };
        if !self.disk.is_on() {
            return Err(DiskError::PowerCut);
        }
        let (report, model) = (recovery.report(), &self.model);
        assert!(
            report.next.0 >= model.next,
            "{report:?} gives out an offset again: {} were",
            model.next
        );
        assert!(report.next.0 >= model.claimed, "{report:?} is below what a hint claims");
        assert!(report.next >= floor);
        model.check_in_force(&found);
        Ok((recovery, found))
    }

    fn check_generations(&mut self, next: u64) {
        let log = self.log.as_ref().expect("open");
        let listed: Vec<_> = log.generations().iter().map(|g| (g.number, g.first.0)).collect();
        assert!(listed.len() <= GENERATIONS_MAX);
        self.model.generations.push((log.generation(), next));
        assert_eq!(listed.last(), self.model.generations.last());
        let mut list = listed.iter();
        let skip = self.model.generations.len().saturating_sub(GENERATIONS_MAX / 2);
        for known in &self.model.generations[skip..] {
            assert!(list.any(|listed| listed == known), "{known:?} is missing or out of order");
        }
    }

    /// Reads everything, from the oldest offset and from a random one.
    pub fn check_all(&mut self) {
        let (oldest, end) = (self.log().oldest(), self.log().end());
        let kept = self.model.kept_from(end.sequence, self.disk.geometry().segments);
        assert!(oldest.0 <= kept, "evicted up to {oldest}, and it may be up to {kept}");
        let seen = self.read_all(Offset(0));
        self.model.decide(oldest.0, end.offset.0, &seen);
        let from = Offset(self.random.number() % (end.offset.0 + 1));
        let again = self.read_all(from);
        for (offset, number) in &again {
            assert_eq!(seen.get(offset).unwrap_or(number), number, "the log says two things");
        }
        for offset in seen.keys().filter(|offset| **offset >= from.0) {
            assert!(again.contains_key(offset), "{offset} is not there for a reader from {from}");
        }
    }

    /// Reads from an offset to the end: the events. Offsets follow each other or are in a gap, and
    /// before each event come the control records that hold at it.
    pub fn read_all(&mut self, from: Offset) -> BTreeMap<u64, u64> {
        let mut reader = Reader::new(from, crc32c);
        let end = self.log().end();
        let media = self.disk.reader();
        let mut buffer = vec![0; self.payload_bytes_max * 5 + 1024 + self.random.below(4096)];
        let mut check = Check::new(from.0);
        while let Some(chunk) = reader.read(&media, end, &mut buffer).expect("it can be read") {
            check.take(chunk, &self.model);
        }
        assert_eq!(check.next, end.offset.0.max(from.0), "all is told of");
        assert_eq!(reader.next_offset().0, check.next);
        check.seen
    }

    /// One chunk for the slow reader.
    fn read_slowly(&mut self) {
        let (end, oldest) = (self.disk.reader().end(), self.log().oldest().0);
        let mut buffer = vec![0; self.payload_bytes_max * 5 + 1024];
        let mut check = Check::new(self.slow.next_offset().0);
        let chunk = self.slow.read(&self.disk.reader(), end, &mut buffer).expect("it can be read");
        let Some(chunk) = chunk else {
            assert_eq!(check.next, end.offset.0, "nothing is left");
            return;
        };
        check.seek(&self.model, oldest);
        check.take(chunk, &self.model);
        self.model.show(&check.seen);
        if self.random.percent(10) {
            self.slow.seek(Offset(self.random.number() % (end.offset.0 + 1)));
        }
    }

    /// One random thing that a daemon does with its log.
    pub fn step(&mut self) -> Result<(), DiskError> {
        match self.random.below(100) {
            0..55 => self.append_events(),
            55..62 => self.append_control(),
            62..64 => self.roll(),
            64..66 => self.trim(),
            66..70 => {
                if !self.disk.is_on() {
                    return Err(DiskError::PowerCut);
                }
                self.read_slowly();
                Ok(())
            }
            _ => self.commit(),
        }
    }

    pub fn append_events(&mut self) -> Result<(), DiskError> {
        let count = 1 + self.random.below(4);
        let mut sizes: Vec<_> = (0..count).map(|_| self.random.below(64)).collect();
        sizes[0] = self.payload_bytes();
        self.append_of(&sizes).map(drop)
    }

    fn payload_bytes(&mut self) -> usize {
        match self.random.below(20) {
            0 => self.random.below(self.payload_bytes_max + 1),
            1..4 => self.random.below(512),
            _ => self.random.below(64),
        }
    }

    /// Appends one frame of events with payloads of these sizes: the bytes of its body.
    pub fn append_of(&mut self, sizes: &[usize]) -> Result<usize, DiskError> {
        let clock = self.clock();
        let mut body = Vec::new();
        let first = self.number;
        for size in sizes {
            encode_event(self.number, *size, clock.wall, &mut body);
            self.number += 1;
        }
        let count = u32::try_from(sizes.len()).expect("few");
        let frame = Frame { count, clock, body: &body };
        let mut begin = self.log().next_offset().0;
        match self.log().append(&frame) {
            Err(AppendError::SegmentFull) => {
                self.roll()?;
                begin = self.log().next_offset().0;
                self.model.note_maybe(begin, first..self.number);
                let result = self.log().append(&frame);
                self.appended(result)?;
            }
            other => {
                self.model.note_maybe(begin, first..self.number);
                self.appended(other)?;
            }
        }
        Ok(body.len())
    }

    fn appended(&mut self, result: Result<(), AppendError>) -> Result<(), DiskError> {
        match result {
            Ok(()) => Ok(()),
            Err(AppendError::ReadOnly) => Err(self.failure()),
            Err(other) => panic!("a frame fits an empty segment: {other}"),
        }
    }

    fn append_control(&mut self) -> Result<(), DiskError> {
        let kind = self.random.below(KINDS.len());
        let next = self.log().next_offset().0;
        let claim = (next + self.random.number() % 40).max(self.model.maybe_claimed);
        let mut body = claim.to_le_bytes().to_vec();
        self.number += 1;
        body.extend_from_slice(&self.number.to_le_bytes());
        let is_large = kind == 0 && self.random.percent(30);
        // In a segment of twelve pages one of them may be larger than a page.
        let page_bytes = self.disk.geometry().page_bytes as usize;
        let more = if is_large { page_bytes + page_bytes / 4 } else { 120 };
        body.resize(16 + self.random.below(more), 7);
        let clock = self.clock();
        if let Err(AppendError::SegmentFull) = self.try_control(kind, &body, clock)? {
            self.roll()?;
            let again = self.try_control(kind, &body, clock)?;
            assert!(again.is_ok(), "a control record fits an empty segment");
        }
        Ok(())
    }

    fn try_control(
        &mut self,
        kind: usize,
        body: &[u8],
        clock: Clock,
    ) -> Result<Result<(), AppendError>, DiskError> {
        let at = self.log().next_offset().0;
        let result = self.log().append_control(KINDS[kind], body, clock);
        if !matches!(result, Err(AppendError::SegmentFull)) {
            self.model.note_control(kind, at, body);
        }
        match result {
            Err(AppendError::ReadOnly) => Err(self.failure()),
            other => Ok(other),
        }
    }

    /// Why the log cannot be written.
    fn failure(&mut self) -> DiskError {
        *self.log().failure().expect("a device failed")
    }

    pub fn roll(&mut self) -> Result<(), DiskError> {
        let clock = self.clock();
        let (before, begun) = (self.log().oldest(), self.log().counters().segments);
        self.model.next_segment(self.log.as_ref().expect("open").next_offset().0);
        let mut rolled = self.try_roll(clock);
        if rolled == Err(CommitError::SegmentFailed) {
            if self.log().counters().segments > begun {
                // The next one cannot be begun: the one behind takes its place.
                self.model.next_segment(self.log.as_ref().expect("open").next_offset().0);
            }
            rolled = self.try_roll(clock);
        }
        match rolled {
            Ok(Some(evicted)) => assert_eq!(evicted, before..self.log().oldest()),
            Ok(None) => assert_eq!(before, self.log().oldest()),
            Err(CommitError::ReadOnly) => return Err(self.failure()),
            Err(other) => panic!("{other}"),
        }
        Ok(())
    }

    fn try_roll(&mut self, clock: Clock) -> Result<Option<Gap>, CommitError> {
        let at = self.log().roll_at();
        let newest = self.model.newest_at(at.0);
        self.log().roll(&snapshot(&newest), clock)
    }

    fn trim(&mut self) -> Result<(), DiskError> {
        let (oldest, end) = (self.log().oldest().0, self.log().end().offset.0);
        let below = oldest + self.random.number() % (end - oldest + 3);
        let clock = self.clock();
        let model = &mut self.model;
        model.maybe_trimmed = model.maybe_trimmed.max(below.min(end));
        match self.log().trim(Offset(below), clock) {
            Err(AppendError::SegmentFull) => self.roll(),
            Err(AppendError::ReadOnly) => Err(self.failure()),
            Err(other) => panic!("{other}"),
            Ok(evicted) => {
                assert_eq!(
                    evicted,
                    (below.min(end) > oldest).then_some(Offset(oldest)..Offset(below.min(end)))
                );
                Ok(())
            }
        }
    }

    pub fn commit(&mut self) -> Result<(), DiskError> {
        let end = match self.log().commit() {
            Err(CommitError::SegmentFailed) => {
                self.roll()?;
                self.log().commit()
            }
            other => other,
        };
        let Ok(end) = end else { return Err(self.failure()) };
        assert_eq!(end.offset, self.log().next_offset());
        self.model.acknowledge(end.offset.0);
        Ok(())
    }
}

fn snapshot(in_force: &InForce) -> Vec<(ControlKind, &[u8])> {
    let bodies = KINDS.into_iter().zip(in_force);
    bodies.filter_map(|(kind, body)| Some((kind, body.as_deref()?))).collect()
}
