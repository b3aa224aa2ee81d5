//! Images of logs that stay readable: how they were made, and how they are loaded.
//!
//! `tests/golden/<version of the format>/<image>/` holds the files of a log and what is in it,
//! `expected.ndjson`. They are never made again: a change that cannot read one has broken the
//! format. A new version of the format gets a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tributary::config::Config;
use tributary::replicate::table::{Table, Wanted};
use tributary::runtime::clock::Anchor;
use tributary::runtime::hint::LaneHint;
use tributary::runtime::snapshot::Snapshot;
use tributary_bridge::{Hint, Position};
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    AppendError, Clock, CommitError, Control, ControlKind, Entropy, Frame, Geometry, Log, Media,
    Recovery, buffer_bytes,
};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};

use crate::disk::{Cut, Disk, DiskError};
use crate::tidy::root;

/// The version of the format that this code writes.
pub const VERSION: u32 = 2;
/// The largest body of a frame in an image.
const BODY_BYTES: usize = 8_000;
/// Where the page size stands in a segment's header.
const PAGE_BYTES_AT: usize = 48;
/// What a segment's last copy of its header stands in.
const SECTOR_BYTES: usize = 512;
/// Pages and segments of most images.
const SMALL: Geometry = Geometry { segments: 4, segment_bytes: 16 << 10, page_bytes: 1 << 10 };

/// Writes what is in an image.
type Recipe = fn(&mut Scribe) -> Result<()>;

/// The images of this version: name, shape, and what is done.
pub const IMAGES: [(&str, Geometry, Recipe); 10] = [
    ("plain", Geometry { segments: 2, segment_bytes: 32 << 10, page_bytes: 4 << 10 }, plain),
    ("wrapped", SMALL, wrapped),
    ("torn", SMALL, torn),
    ("rot", SMALL, rot),
    ("headless", SMALL, headless),
    ("moved", SMALL, moved),
    ("reboots", SMALL, reboots),
    ("claimed", SMALL, claimed),
    ("filled", Geometry { segments: 3, segment_bytes: 32 << 10, page_bytes: 1 << 10 }, filled),
    (
        "large-pages",
        Geometry { segments: 2, segment_bytes: 128 << 10, page_bytes: 16 << 10 },
        plain,
    ),
];

/// Writes a log, as the daemon would.
pub struct Scribe {
    /// Where it lies.
    pub disk: Disk,
    log: Option<Log<Disk, Vec<u8>>>,
    snapshot: Snapshot,
    openings: u32,
    clock: Clock,
    serial: u64,
}

impl Scribe {
    /// A log that is made anew; everything in it follows from the seed.
    #[must_use]
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        Self::on(Disk::new(geometry, seed))
    }

    /// Goes on with the log of a disk.
    #[must_use]
    pub fn on(disk: Disk) -> Self {
        Self {
            disk,
            log: None,
            snapshot: Snapshot::default(),
            openings: 0,
            clock: Clock { wall: Timestamp(1_800_000_000_000), age: Age(5_000), trusted: false },
            serial: 0,
        }
    }

    /// Opens the log, also after it was dropped as it stood.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&mut self) -> Result<()> {
        self.log = None;
        self.openings += 1;
        let disk = self.disk.clone();
        let buffer = vec![0; buffer_bytes(disk_geometry(&disk), BODY_BYTES)];
        let mut snapshot = Snapshot::default();
        let mut note = |control: Control<'_>| snapshot.note_control(&control);
        let recovery = Recovery::run(disk, buffer, Offset(0), crc32c, &mut note)?;
        let entropy = Entropy {
            log_id: 0x0123_4567_89AB_CDEF,
            generation: 0x1000_0000 + self.openings,
            salt: 0xC0FF_EE00 + u64::from(self.openings),
        };
        self.log = Some(recovery.begin(entropy, self.clock, &snapshot.records())?);
        self.snapshot = snapshot;
        Ok(())
    }

    fn log(&mut self) -> &mut Log<Disk, Vec<u8>> {
        self.log.as_mut().expect("it was opened")
    }

    /// Appends one frame of so many events, of all shapes.
    ///
    /// # Errors
    /// The disk fails twice.
    pub fn events(&mut self, count: u32) -> Result<()> {
        self.clock.wall.0 += 250;
        self.clock.age.0 += 250;
        let mut body = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            put_event(self.serial, self.clock.wall, &mut body);
        }
        let clock = self.clock;
        self.rolling(|log| log.append(&Frame { count, clock, body: &body }))
    }

    /// Appends a control record.
    ///
    /// # Errors
    /// The disk fails twice.
    pub fn control(&mut self, kind: ControlKind, body: &[u8]) -> Result<()> {
        let clock = self.clock;
        self.rolling(|log| log.append_control(kind, body, clock))?;
        self.snapshot.note(kind, body);
        Ok(())
    }

    fn rolling(
        &mut self,
        mut put: impl FnMut(&mut Log<Disk, Vec<u8>>) -> Result<(), AppendError>,
    ) -> Result<()> {
        if put(self.log()) == Err(AppendError::SegmentFull) {
            self.roll()?;
            put(self.log())?;
        }
        Ok(())
    }

    fn roll(&mut self) -> Result<()> {
        let (clock, snapshot) = (self.clock, self.snapshot.clone());
        self.log().roll(&snapshot.records(), clock)?;
        Ok(())
    }

    /// Makes everything durable; where the segment fails, in the next one.
    ///
    /// # Errors
    /// The disk fails twice.
    pub fn commit(&mut self) -> Result<()> {
        match self.log().commit() {
            Ok(_) => Ok(()),
            Err(CommitError::SegmentFailed) => {
                self.roll()?;
                self.log().commit()?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The process ends as if by SIGKILL, or with the power: `cut` says what stays then.
    pub fn die(&mut self, cut: Option<Cut>) {
        self.log = None;
        match cut {
            Some(cut) => self.disk.power_cut(cut),
            None => self.disk.be_well(),
        }
    }

    fn hint(&mut self, low: u64, high: u64) -> Result<()> {
        let account = format!("1.{low:x}.0.0;");
        let low = Position { offset: Offset(low), generation: 0x1000_0001, account };
        let hint = Hint { low, high: Offset(high) };
        let hint = LaneHint { hint, ..LaneHint::beginning("normal", Position::default()) };
        let durable = self.log().end().offset;
        self.control(ControlKind::Hint, &hint.encode(durable))
    }
}

fn disk_geometry(disk: &Disk) -> Geometry {
    tributary_core::log::ReadMedia::geometry(disk)
}

/// An event that follows from its number: every field takes every shape in turn.
fn put_event(serial: u64, base: Timestamp, body: &mut Vec<u8>) {
    let topic = format!("plant/press-{}/telemetry", serial % 3);
    let client =
        if serial.is_multiple_of(4) { String::new() } else { format!("press-{}", serial % 3) };
    let mut payload = format!(r#"{{"temperature":{},"serial":{serial}}}"#, 60 + serial % 20);
    payload.push_str(&"x".repeat(usize::try_from(serial * 37 % 300).unwrap_or(0)));
    let binary = [0xFF, 0x00, 0x80, serial.to_le_bytes()[0]];
    let properties: &[u8] = match serial % 5 {
        0 => b"\x01\x01\x02\x00\x00\x0E\x10\x03\x00\x10application/json",
        1 => b"\x08\x00\x05reply\x09\x00\x03\x01\x02\xFF",
        2 => "\u{26}\u{0}\u{4}unit\u{0}\u{3}\u{b0}C".as_bytes(),
        _ => b"",
    };
    let odd = serial.is_multiple_of(7);
    let event = Event {
        topic: &topic,
        payload: if odd { &binary } else { payload.as_bytes() },
        client: &client,
        time: Timestamp(base.0 + 100 - serial.cast_signed() % 200),
        qos: [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]
            [usize::from(serial.to_le_bytes()[0] % 3)],
        retain: serial.is_multiple_of(6),
        packet_id: None,
        origin: match serial % 11 {
            0 => Origin::Source,
            1 => Origin::Rule,
            2 => Origin::Downlink,
            _ => Origin::Device,
        },
        properties: Properties(properties),
    };
    let at = body.len();
    body.resize(at + record::encoded_len(&event, base), 0);
    record::encode(&event, base, &mut body[at..]);
}

/// Everything once, and a clean end.
fn plain(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    let text = "[upstream]\nbrokers = [\"k:9092\"]\n[[route]]\nfrom = \"plant/+/telemetry\"\n\
                where = \"temperature > 70\"\ntopic = \"hot\"\n";
    let config = Config::parse(text).ok().context("the configuration is valid")?;
    let wanted = Wanted::compile(&config.routes, true)?;
    let table = Table::none().succeed(&wanted, Offset(0), Offset(0));
    scribe.control(ControlKind::Routes, &table.encode())?;
    scribe.events(1)?;
    scribe.commit()?;
    scribe.hint(0, 1)?;
    scribe.clock.trusted = true;
    let anchor = Anchor::new(scribe.clock);
    scribe.control(ControlKind::Anchor, &anchor.encode())?;
    for count in [2, 1, 9, 3] {
        scribe.events(count)?;
        scribe.commit()?;
    }
    scribe.control(ControlKind::Cursor, b"a reader's own")?;
    scribe.control(ControlKind::Sessions, b"")?;
    scribe.events(2)?;
    scribe.commit()
}

/// The ring has gone round more than once, and the oldest events were given back.
fn wrapped(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for step in 0..96 {
        scribe.events(1 + step % 6)?;
        if step % 2 == 0 {
            scribe.commit()?;
        }
        if step % 10 == 9 {
            let at = scribe.log().end().offset.0;
            scribe.hint(at / 2, at)?;
        }
    }
    scribe.commit()?;
    let (below, clock) = (Offset(scribe.log().oldest().0 + 5), scribe.clock);
    scribe.log().trim(below, clock)?;
    scribe.commit()
}

/// The power went in the middle of a commit.
fn torn(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for count in [3, 5, 1, 4] {
        scribe.events(count)?;
        scribe.commit()?;
    }
    scribe.events(6)?;
    scribe.disk.cut_after(2);
    ensure!(scribe.commit().is_err(), "the power goes");
    scribe.die(Some(Cut::Mixed));
    Ok(())
}

/// Damage in the middle of what was acknowledged, in a header, and in a slot.
fn rot(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for step in 0..40 {
        scribe.events(1 + step % 4)?;
        scribe.commit()?;
    }
    scribe.log = None;
    for (segment, byte) in [(0, 5_000), (0, 5_900), (1, 20), (1, 9_000), (2, 3_100)] {
        scribe.disk.flip(segment, byte, 3);
    }
    Ok(())
}

/// The first page of one segment has rotted, and the last page of the other.
fn headless(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for step in 0..20 {
        scribe.events(1 + step % 4)?;
        scribe.commit()?;
    }
    scribe.log = None;
    let page = vec![0x5A; SMALL.page_bytes as usize];
    scribe.disk.damage(0, 0, &page);
    scribe.disk.damage(1, SMALL.segment_bytes - SMALL.page_bytes, &page);
    Ok(())
}

/// A barrier failed: what was not durable went to the next segment.
fn moved(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for count in [2, 7, 1] {
        scribe.events(count)?;
        scribe.commit()?;
    }
    scribe.events(3)?;
    scribe.disk.fail_after(1);
    scribe.commit()?;
    for count in [1, 2] {
        scribe.events(count)?;
        scribe.commit()?;
    }
    Ok(())
}

/// Commits that are so large that they fill their last page, and one of them that failed.
fn filled(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    for count in [2, 18, 1, 24, 20] {
        scribe.events(count)?;
        scribe.commit()?;
    }
    scribe.events(21)?;
    scribe.disk.fail_after(1);
    scribe.commit()?;
    scribe.events(2)?;
    scribe.commit()
}

/// Many openings after power cuts, kills, and with damage that each of them noted.
fn reboots(scribe: &mut Scribe) -> Result<()> {
    for round in 0..12_u32 {
        scribe.open()?;
        scribe.events(1 + round % 3)?;
        scribe.commit()?;
        scribe.events(2)?;
        scribe.disk.cut_after(u64::from(round % 4));
        if scribe.commit().is_ok() {
            scribe.die(None);
        } else {
            scribe.die(Some(Cut::ALL[round as usize % Cut::ALL.len()]));
        }
        if round == 7 {
            scribe.disk.flip(0, 3_500, 1);
        }
    }
    scribe.open()?;
    scribe.events(1)?;
    scribe.commit()
}

/// The end is lost, and a hint claims offsets behind what is left.
fn claimed(scribe: &mut Scribe) -> Result<()> {
    scribe.open()?;
    scribe.events(8)?;
    scribe.commit()?;
    scribe.hint(0, 8)?;
    scribe.commit()?;
    scribe.log = None;
    // Both copies of the events' frame; the hint behind it stays.
    for byte in [1_024 + 400, 2_048 + 400, 3_072 + 400] {
        scribe.disk.flip(0, byte, 0);
    }
    scribe.open()?;
    scribe.events(2)?;
    scribe.commit()
}

/// The folder of one image of this version.
#[must_use]
pub fn folder(version: u32, image: &str) -> PathBuf {
    root().join(format!("tests/golden/{version}/{image}"))
}

/// All images that were ever committed.
///
/// # Errors
/// They cannot be listed.
pub fn all() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for version in fs::read_dir(root().join("tests/golden"))? {
        for image in fs::read_dir(version?.path())? {
            found.push(image?.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the files of a simulated disk, as a daemon names them.
///
/// # Errors
/// They cannot be written.
pub fn save(disk: &Disk, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for index in 0..disk_geometry(disk).segments {
        if let Some(bytes) = disk.bytes(index) {
            fs::write(dir.join(file_name(index)), bytes)?;
        }
    }
    Ok(())
}

/// A disk with the files of an image.
///
/// # Errors
/// They cannot be read.
pub fn load(dir: &Path) -> Result<Disk> {
    let mut files: Vec<(u32, Vec<u8>)> = Vec::new();
    for index in 0.. {
        match fs::read(dir.join(file_name(index))) {
            Ok(bytes) => files.push((index, bytes)),
            Err(_) if index < 16 => {}
            Err(_) => break,
        }
    }
    let longest = files.iter().map(|(_, bytes)| bytes.len()).max().context("there are files")?;
    // The ring may have grown since: two more segments.
    let segments = files.iter().map(|(index, _)| index + 1).max().unwrap_or(0) + 2;
    let segment_bytes = u32::try_from(longest)?;
    let mut copies =
        files.iter().flat_map(|(_, bytes)| [0, longest - SECTOR_BYTES].map(|at| &bytes[at..]));
    let header = copies.find(|copy| copy.starts_with(b"TRIBSEG")).context("a segment was begun")?;
    let page_bytes = header.get(PAGE_BYTES_AT..).and_then(|rest| rest.first_chunk());
    let page_bytes = u32::from_le_bytes(*page_bytes.context("a header is whole")?);
    drop(copies);
    let mut disk = Disk::new(Geometry { segments, segment_bytes, page_bytes }, 1);
    for (index, bytes) in files {
        disk.prepare(index).map_err(|error: DiskError| anyhow::anyhow!("{error}"))?;
        disk.damage(index, 0, &bytes);
    }
    Ok(disk)
}

fn file_name(index: u32) -> String {
    format!("input-{index:05}.seg")
}
