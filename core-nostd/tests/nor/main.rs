//! The log on NOR flash: what was acknowledged survives every cut, and costs what it may cost.

mod sim;
mod waited;

use core::mem::size_of;
use std::collections::BTreeMap;

use sim::{Done, SECTOR, Sim, SimError, WORD};
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::nor::{NorError, NorGeometry, NorLog, NorReader, NorReport};
use tributary_core::log::{Clock, ControlKind, Entropy, Frame, GapCause, Item};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};

/// In Miri, which is a thousand times slower, each test does a little of its work, on smaller sectors.
const SLOW: bool = cfg!(miri);
/// The largest frame of the tests.
const FRAME_BYTES: usize = if SLOW { 160 } else { 512 };
/// Sectors of most tests, and events that go round them.
const SECTORS: u32 = if SLOW { 3 } else { 5 };
const ROUND: u64 = if SLOW { 36 } else { 260 };
/// What an event of 24 bytes of payload takes, as a record, at most.
const RECORD_BYTES: usize = 64;

/// First offset, end, and why.
type Missing = (u64, u64, GapCause);
type SimLog = NorLog<Sim, Vec<u8>>;

fn clock(age: u64) -> Clock {
    Clock { wall: Timestamp(1_800_000_000_000), age: Age(age), trusted: true }
}

fn payload(serial: u64) -> Vec<u8> {
    let length = 8 + usize::try_from(serial % 17).expect("small");
    serial.to_le_bytes().into_iter().cycle().take(length).collect()
}

fn body(serial: u64) -> Vec<u8> {
    let payload = payload(serial);
    let event = Event {
        topic: "a/b",
        payload: &payload,
        client: "",
        time: Timestamp(1_800_000_000_000),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    };
    let base = Timestamp(1_800_000_000_000);
    let mut body = vec![0; record::encoded_len(&event, base)];
    record::encode(&event, base, &mut body);
    assert!(body.len() <= RECORD_BYTES, "the events of this test are small");
    body
}

/// A device, and what it was told.
struct Device {
    log: Option<SimLog>,
    flash: Option<Sim>,
    geometry: NorGeometry,
    openings: u32,
    serial: u64,
    /// Events that were acknowledged, and those that were appended last at their offset.
    acked: BTreeMap<u64, u64>,
    pending: BTreeMap<u64, u64>,
    claim: u64,
    durable_claim: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Down;

impl Device {
    fn new(sectors: u32, seed: u64) -> Self {
        let flash = Sim::new(sectors as usize, seed);
        let geometry = NorGeometry::whole(&flash);
        Self::on(flash, geometry)
    }

    fn on(flash: Sim, geometry: NorGeometry) -> Self {
        Self {
            log: None,
            flash: Some(flash),
            geometry,
            openings: 0,
            serial: 0,
            acked: BTreeMap::new(),
            pending: BTreeMap::new(),
            claim: 0,
            durable_claim: 0,
        }
    }

    /// What is open, or was.
    fn sim(&mut self) -> &mut Sim {
        match (&mut self.log, &mut self.flash) {
            (Some(log), _) => log.flash(),
            (None, Some(flash)) => flash,
            (None, None) => panic!("the flash is somewhere"),
        }
    }

    /// The process ends, the power comes back.
    fn restart(&mut self) {
        if let Some(log) = self.log.take() {
            self.flash = Some(log.into_parts().0);
        }
        self.sim().restore();
    }

    fn open(&mut self) -> Result<NorReport, Down> {
        self.openings += 1;
        let entropy = Entropy {
            log_id: 7,
            generation: 1000 + self.openings,
            salt: 99 + u64::from(self.openings),
        };
        let flash = self.flash.take().expect("it was restarted");
        let mut controls = Vec::new();
        let mounted = NorLog::mount(flash, vec![0; FRAME_BYTES], self.geometry, crc32c, &mut |c| {
            controls.push((c.kind, c.body.to_vec()));
        });
        let mut found = match mounted {
            Ok(found) => found,
            Err(error) => panic!("mounting only reads: {error}"),
        };
        let report = *found.report();
        let claim = self.durable_claim.to_le_bytes();
        let snapshot: Vec<(ControlKind, &[u8])> = vec![(ControlKind::Hint, &claim)];
        if report.id.is_some() {
            let hint = controls.iter().rev().find(|(kind, _)| *kind == ControlKind::Hint);
            let hint = hint.expect("every segment tells the records in force");
            let told = u64::from_le_bytes(hint.1[..8].try_into().expect("eight bytes"));
            assert!(told >= self.durable_claim, "the claim is {told}");
        }
        let begun = found.begin(entropy, clock(0), &snapshot);
        self.log = Some(found.into_log());
        match begun {
            Ok(()) => {
                let next = self.log.as_ref().expect("it is open").next_offset().0;
                assert!(next >= self.durable_claim, "what is claimed is not given out again");
                Ok(report)
            }
            Err(error) => {
                assert!(self.sim().is_down(), "{error}");
                Err(Down)
            }
        }
    }

    fn append(&mut self) -> Result<(), Down> {
        self.serial += 1;
        let serial = self.serial;
        let body = body(serial);
        self.write(
            |log| log.append(&Frame { count: 1, clock: clock(0), body: &body }),
            Some(serial),
        )
    }

    fn hint(&mut self, claim: u64) -> Result<(), Down> {
        self.claim = claim;
        let bytes = claim.to_le_bytes();
        self.write(|log| log.append_control(ControlKind::Hint, &bytes, clock(0)), None)?;
        self.durable_claim = self.durable_claim.max(claim);
        Ok(())
    }

    fn write(
        &mut self,
        mut put: impl FnMut(&mut SimLog) -> Result<(), NorError<SimError>>,
        event: Option<u64>,
    ) -> Result<(), Down> {
        let claim = self.durable_claim.to_le_bytes();
        for _ in 0..4 {
            let log = self.log.as_mut().expect("it is open");
            let offset = log.next_offset().0;
            if let Some(serial) = event {
                self.pending.insert(offset, serial);
            }
            match put(log) {
                Ok(()) => {
                    if let Some(serial) = event {
                        self.acked.insert(offset, serial);
                    }
                    return Ok(());
                }
                Err(NorError::SegmentFull | NorError::Flash(SimError::Failed)) => {
                    match log.roll(&[(ControlKind::Hint, &claim)], clock(0)) {
                        Ok(_) | Err(NorError::Flash(SimError::Failed)) => {}
                        Err(NorError::Flash(SimError::NoPower)) => return Err(Down),
                        Err(error) => panic!("{error}"),
                    }
                }
                Err(NorError::Flash(SimError::NoPower)) => return Err(Down),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("a segment takes a frame after a roll or two")
    }

    /// All that can be read: events, and what is missing.
    fn read(&mut self, from: u64) -> (BTreeMap<u64, Vec<u8>>, Vec<Missing>) {
        let log = self.log.as_mut().expect("it is open");
        let mut reader = NorReader::new(Offset(from));
        let (mut events, mut gaps, mut due) = (BTreeMap::new(), Vec::new(), from);
        let mut buffer = vec![0; FRAME_BYTES];
        while let Some(chunk) = log.read(&mut reader, &mut buffer).expect("it can be read") {
            for item in chunk {
                match item {
                    Item::Control(_) => {}
                    Item::Gap { range, cause } => {
                        assert_eq!(range.start.0, due, "a gap begins where reading was");
                        due = range.end.0;
                        gaps.push((range.start.0, range.end.0, cause));
                    }
                    Item::Events(frame) => {
                        for (offset, event) in frame {
                            assert_eq!(offset.0, due, "offsets are dense");
                            due += 1;
                            events.insert(offset.0, event.payload.to_vec());
                        }
                    }
                }
            }
        }
        assert_eq!(due, log.next_offset().0, "all is read, or told to be missing");
        (events, gaps)
    }

    /// What was acknowledged is there, unless the ring evicted it.
    fn judge(&mut self) {
        let oldest = self.log.as_ref().expect("it is open").oldest().0;
        let (events, gaps) = self.read(0);
        for (&offset, &serial) in self.acked.range(oldest..) {
            let found = events.get(&offset);
            assert_eq!(found, Some(&payload(serial)), "event {offset}; gaps: {gaps:?}");
        }
        for (offset, found) in &events {
            let serial = self.acked.get(offset).or_else(|| self.pending.get(offset));
            assert_eq!(Some(found), serial.map(|&s| payload(s)).as_ref(), "event {offset}");
            // From now on it must stay: readers have seen it.
            self.acked.insert(*offset, serial.copied().expect("just seen"));
        }
        for (first, end, cause) in gaps {
            let lost = self.acked.range(first.max(oldest)..end).count();
            assert!(cause == GapCause::Evicted || lost == 0, "{first} to {end}: {lost} are lost");
        }
    }

    /// A day at work: until the power goes.
    fn work(&mut self, steps: u64) -> Result<(), Down> {
        for step in 0..steps {
            self.append()?;
            if step % 9 == 8 {
                let next = self.log.as_ref().expect("it is open").next_offset().0;
                self.hint(next + step % 4)?;
            }
        }
        Ok(())
    }
}

#[test]
fn survives_a_cut_at_every_operation() {
    let mut cuts = 0;
    let (seeds, every, again_max) = if SLOW { (1, 40, 1) } else { (6, 1, 4) };
    for seed in 0..seeds {
        let mut whole = Device::new(SECTORS, seed);
        whole.open().expect("no cut is planned");
        whole.work(ROUND).expect("no cut is planned");
        let operations = whole.sim().operations();
        assert!(operations > ROUND, "the ring is wrapped");
        for cut in (0..operations).step_by(every) {
            let mut device = Device::new(SECTORS, seed ^ cut << 8);
            device.sim().cut_after(cut);
            let ended = device.open().and_then(|_| device.work(ROUND));
            assert_eq!(ended, Err(Down), "cut {cut}");
            device.restart();
            // Again, inside of what mends it.
            for again in 0..again_max {
                device.sim().cut_after(again);
                if device.open().is_ok() {
                    device.judge();
                }
                device.restart();
                cuts += 1;
            }
            device.open().expect("no cut is planned");
            device.judge();
            device.work(20).expect("no cut is planned");
            device.restart();
            device.open().expect("no cut is planned");
            device.judge();
            cuts += 1;
        }
    }
    assert!(cuts > if SLOW { 3 } else { 8_000 }, "{cuts} cuts");
}

#[test]
fn a_day_of_random_cuts() {
    for seed in 0..if SLOW { 1 } else { 40 } {
        let mut device = Device::new(SECTORS + 1, seed);
        for _ in 0..if SLOW { 3 } else { 40 } {
            let cut = device.sim().number() % (ROUND * 3 / 5);
            device.sim().cut_after(cut);
            if device.open().is_ok() {
                device.judge();
                let steps = device.sim().number() % (ROUND / 2);
                if device.work(steps).is_ok() {
                    device.judge();
                }
            }
            device.restart();
        }
        device.open().expect("no cut is planned");
        device.judge();
    }
}

#[test]
fn a_sector_that_cannot_be_written_is_passed_over() {
    for failing in 0..if SLOW { 1 } else { 200 } {
        let mut device = Device::new(SECTORS + 1, failing);
        device.open().expect("no cut is planned");
        device.sim().fail_after(failing);
        device.work(ROUND).expect("the next sector takes it");
        device.judge();
        device.restart();
        device.open().expect("no cut is planned");
        device.judge();
        device.work(if SLOW { 9 } else { 30 }).expect("no cut is planned");
        device.judge();
    }
}

#[test]
fn damage_costs_one_frame() {
    let mut device = Device::new(SECTORS, 1);
    device.open().expect("no cut is planned");
    device.work(if SLOW { 12 } else { 40 }).expect("no cut is planned");
    for at in (64..if SLOW { 900 } else { 3_000 }).step_by(if SLOW { 400 } else { 61 }) {
        let mut hurt = Device::on(device.sim().clone(), device.geometry);
        (hurt.acked, hurt.serial) = (device.acked.clone(), device.serial);
        hurt.sim().flip(at);
        hurt.open().expect("no cut is planned");
        let (events, gaps) = hurt.read(0);
        let lost: u64 = gaps.iter().map(|(first, end, _)| end - first).sum();
        assert!(lost <= 1, "a flip at {at} costs {gaps:?}");
        assert_eq!(events.len() as u64 + lost, device.acked.len() as u64, "flip at {at}");
        for (offset, found) in events {
            assert_eq!(found, payload(device.acked[&offset]), "event {offset}, flip at {at}");
        }
    }
}

#[test]
fn another_log_or_a_blank_flash_is_made_anew_only_once() {
    let mut device = Device::new(4, 3);
    let report = device.open().expect("no cut is planned");
    assert_eq!((report.id, report.next), (None, Offset(0)));
    device.work(3).expect("no cut is planned");
    device.restart();
    let report = device.open().expect("no cut is planned");
    assert_eq!(report.id.map(|id| id.0), Some(7));
    assert_eq!(report.next, Offset(3));
}

/// The bars of a flash of 16 MiB with sectors of 4 KiB; in Miri of a smaller one.
#[test]
fn costs_on_16_mib() {
    let sectors = if SLOW { 4 } else { 4096 };
    let mut device = Device::new(sectors, 5);
    device.sim().weak = false;
    device.open().expect("no cut is planned");
    // Once round and a half: 4,096 sectors of dozens of events.
    let mut appends = 0;
    while device.sim().done.erases < u64::from(sectors) * 3 / 2 {
        device.append().expect("no cut is planned");
        if device.acked.len() > 4_000 {
            device.acked.clear();
            device.pending.clear();
        }
        appends += 1;
    }
    assert!(appends > sectors * if SLOW { 8 } else { 40 }, "{appends} events");
    let event = body(1);
    device.sim().done = Done::default();
    let log = device.log.as_mut().expect("it is open");
    // 1 program and 0 reads: within a segment, where the last roll just was.
    for _ in 0..10 {
        log.append(&Frame { count: 1, clock: clock(0), body: &event }).expect("there is room");
    }
    let done = device.sim().done;
    assert_eq!((done.programs, done.reads, done.erases), (10, 0, 0), "an append");
    device.restart();
    device.sim().done = Done::default();
    let report = device.open().expect("no cut is planned");
    let done = device.sim().done;
    assert!(report.reads <= 80 && done.reads <= 80, "mount: {report:?} {done:?}");
    assert!(done.read_bytes <= 16 << 10, "mount: {done:?}");
    assert_eq!((done.erases, done.programs), (1, 4), "one segment is begun: {done:?}");
    let (oldest, next) = {
        let log = device.log.as_ref().expect("it is open");
        (log.oldest().0, log.next_offset().0)
    };
    let steps = if SLOW { 4 } else { 64 };
    for step in 0..steps {
        let from = oldest + (next - oldest) * step / steps;
        device.sim().done = Done::default();
        let mut reader = NorReader::new(Offset(from));
        device.log.as_mut().expect("it is open").seek(&mut reader).expect("it can be read");
        let done = device.sim().done;
        assert!(done.reads <= 14, "seek to {from}: {done:?}");
        let mut buffer = vec![0; FRAME_BYTES];
        let log = device.log.as_mut().expect("it is open");
        while let Some(chunk) = log.read(&mut reader, &mut buffer).expect("it can be read") {
            let mut events = chunk.filter_map(|item| match item {
                Item::Events(events) => Some(events.offsets().start.0),
                Item::Gap { range, .. } => panic!("a gap: {range:?}"),
                Item::Control(_) => None,
            });
            if let Some(first) = events.next() {
                assert_eq!(first, from);
                break;
            }
        }
    }
}

#[test]
fn state_is_small() {
    let state = size_of::<NorLog<&mut (), &mut [u8]>>();
    assert!(state <= 200, "{state} bytes");
    assert!(SECTOR.is_multiple_of(WORD));
}
