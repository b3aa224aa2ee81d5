//! Opens the data directory: the lock, the log, what the log remembers, who we are.

use core::time::Duration;
use std::path::Path;

use tributary_core::Offset;
use tributary_core::log::{
    BODY_BYTES_MAX, Control, ControlKind, Entropy, Item, Log, Media, OpenError, ReadError, Reader,
    Recovery, Report, buffer_bytes,
};

use super::clock::{Anchor, Clocks, Moment};
use super::folding::{Extent, Folding};
use super::scrub::{Damage, Gaps, vanished};
use super::server::Failure;
use super::sessions::State;
use super::snapshot::Snapshot;
use super::stream;
use crate::config::Config;
use crate::downlink::place;
use crate::io::clock::moment_looked_at;
use crate::io::crc::crc32c;
use crate::io::files::{entropy, host_name};
use crate::io::segments::{Place, SegmentFiles, SegmentReader};
use crate::io::threads::pause;
use crate::replicate::table::Table;

/// What is read at once of the log's last events.
const READ_BYTES: usize = 1 << 20;
/// How often a log that cannot be read as a whole is read again before it is written to, and how far that
/// is apart.
const TRIES_MAX: u32 = 20;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// A log that was recovered, and what it remembers.
pub struct Recovered<M: Media> {
    /// The log, open. Like the report too large to be moved about: it knows a thousand openings.
    pub log: Box<Log<M, Box<[u8]>>>,
    /// The control records in force at its end.
    pub snapshot: Snapshot,
    /// The time goes on from what the log knows.
    pub clocks: Clocks,
    /// What was found.
    pub report: Box<Report>,
}

/// Recovers a log and begins a generation of its own in it.
///
/// # Errors
/// If the log cannot be used; what to do is in the message.
pub fn recover<M: Media>(
    media: M,
    entropy: Entropy,
    moment: Moment,
) -> Result<Recovered<M>, OpenError<M::Error>> {
    recover_after(media, (entropy, moment), |_| false, |_| {})
}

/// The same, on a device that may not give everything out yet: what an opening cannot read it gives up
/// for good. As long as `waits` says so of what was found, it is read again.
///
/// # Errors
/// If the log cannot be used; what to do is in the message.
pub fn recover_patiently<M: Media>(
    media: M,
    entropy: Entropy,
    moment: Moment,
    waits: impl FnMut(&Report) -> bool,
) -> Result<Recovered<M>, OpenError<M::Error>> {
    recover_after(media, (entropy, moment), waits, |_| {})
}

/// The same; `look` sees what was found, and comes before anything is written or given up: where the
/// newest segment is full or fails, an opening begins the next one.
fn recover_after<M: Media>(
    mut media: M,
    (entropy, moment): (Entropy, Moment),
    mut waits: impl FnMut(&Report) -> bool,
    look: impl FnOnce(&Recovery<M, Box<[u8]>>),
) -> Result<Recovered<M>, OpenError<M::Error>> {
    let mut buffer = vec![0; buffer_bytes(media.geometry(), BODY_BYTES_MAX)].into_boxed_slice();
    let (recovery, mut snapshot) = loop {
        let mut snapshot = Snapshot::default();
        let mut note = |control: Control<'_>| snapshot.note_control(&control);
        let recovery = Recovery::run(media, buffer, Offset(0), crc32c, &mut note)?;
        if !waits(recovery.report()) {
            break (recovery, snapshot);
        }
        (media, buffer) = recovery.leave();
    };
    look(&recovery);
    let report = Box::new(recovery.report().clone());
    if let Some(lost) = vanished(&report) {
        tracing::error!("{lost}");
    }
    let anchor = snapshot.anchor().and_then(Anchor::decode);
    let mut clocks = Clocks::resume(report.last_clock, anchor, moment);
    let begun = recovery.begin(entropy, clocks.now(moment), &snapshot.records());
    let mut log = Box::new(begun.map_err(OpenError::Media)?);
    clocks.go_on_from(log.age(), moment);
    if let Some(news) = clocks.news() {
        // Before anything else: what this opening has written hides how the last run ended. What fails
        // here the writer tells later.
        let (body, clock) = (news.encode(), clocks.now(moment));
        let appended = log.append_control(ControlKind::Anchor, &body, clock);
        if appended.is_ok() && log.commit().is_ok() {
            snapshot.note(ControlKind::Anchor, &body);
            clocks.settle_news();
        }
    }
    Ok(Recovered { log, snapshot, clocks, report })
}

/// A data directory that was opened.
pub(super) struct Opened {
    pub(super) recovered: Recovered<SegmentFiles>,
    pub(super) reader: SegmentReader,
    pub(super) gateway: String,
    pub(super) place: Place,
    pub(super) damage: Damage,
    pub(super) generations: Vec<(u32, Offset)>,
    /// The file of sessions, and what it and the log know.
    pub(super) sessions: (Folding, State),
}

/// Opens the log of a configuration, or creates it.
pub(super) fn open(config: &Config) -> Result<Opened, Failure> {
    let bytes_max = stream::input_bytes(config.log.bytes_max);
    let files = SegmentFiles::open(&config.log.dir, bytes_max, config.log.volatile)
        .map_err(|error| Failure::Directory(error.to_string()))?;
    files.follow_size();
    files.make_ahead()?;
    let (reader, place) = (files.reader(), files.place().clone());
    let mut sessions = None;
    let look = |recovery: &Recovery<SegmentFiles, Box<[u8]>>| {
        sessions = look_at_sessions(&config.log.dir, &reader, recovery);
    };
    let waits = waits_for(reader.clone());
    let mut recovered = recover_after(files, (entropy()?, moment_looked_at()), waits, look)
        .map_err(|error| Failure::Directory(error.to_string()))?;
    follow_places(&mut recovered.snapshot, &reader);
    let Recovered { log, report, .. } = &recovered;
    let name = || format!("{}-{:04x}", host_name(), log.id().0 >> 48);
    let gateway = config.gateway.clone().unwrap_or_else(name);
    let generations = log.generations().iter().map(|g| (g.number, g.first)).collect();
    let damage = Damage::of(report);
    let Gaps { listed, more } = damage.gaps();
    tracing::info!(
        dir = %config.log.dir.display(),
        oldest = report.oldest.0,
        next = report.next.0,
        gaps = listed.len(),
        torn_bytes = report.torn_bytes,
        "log {}",
        if report.created { "created" } else { "opened" }
    );
    for (first, end) in listed {
        tracing::error!(first, end, "offsets of the log are damaged: they are reported as a gap");
    }
    if more > 0 {
        tracing::error!(more, "gaps are joined to the last one, with what lies between");
    }
    let sessions = sessions.unwrap_or_else(|| {
        let (end, dir) = (reader.end(), &config.log.dir);
        let all = Extent { media: &reader, end, next: end.offset, is_durable: true };
        Folding::begin((dir, log.id()), reader.clone(), &all)
    });
    let sessions =
        sessions.map_err(|error| Failure::Directory(format!("the log's sessions: {error}")))?;
    Ok(Opened { recovered, reader, gateway, place, damage, generations, sessions })
}

/// Waits for a device that does not give everything out, a while: one that was plugged in or reset a moment
/// ago may. What it never gives out is damaged.
pub fn waits_for(reader: SegmentReader) -> impl FnMut(&Report) -> bool {
    let (mut known, mut tries) = (reader.failures(), TRIES_MAX);
    move |_| {
        let now = reader.failures();
        let failed = core::mem::replace(&mut known, now) < now;
        let waits = failed && tries > 0;
        if waits {
            if tries == TRIES_MAX {
                tracing::error!(
                    "the log cannot be read as a whole: the start tries again for a while"
                );
            }
            tries -= 1;
            pause(TRY_PAUSE);
        }
        waits
    }
}

/// Has sessions folded from what the log holds, before the opening gives something up. `None`: there is no
/// log yet.
fn look_at_sessions(
    dir: &Path,
    reader: &SegmentReader,
    recovery: &Recovery<SegmentFiles, Box<[u8]>>,
) -> Option<Result<(Folding, State), ReadError>> {
    let Report { id, next, .. } = recovery.report();
    let (end, media) = recovery.shown()?;
    let is_durable = recovery.is_durable();
    let found = Extent { media: &media, end, next: *next, is_durable };
    Some(Folding::begin((dir, (*id)?), reader.clone(), &found))
}

/// Has the places of Kafka topics follow the events behind the last control records: those of a segment
/// at most.
fn follow_places(snapshot: &mut Snapshot, log: &SegmentReader) {
    let Some(from) = snapshot.places().settled() else { return };
    let end = log.end();
    let mut reader = Reader::new(from, crc32c);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let chunk = match reader.read(log, end, &mut buffer) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                let at = reader.next_offset();
                tracing::error!(%at, %error, "commands that cannot be read here are taken again");
                break;
            }
        };
        for item in chunk {
            let Item::Events(frame) = item else { continue };
            let places = frame.filter_map(|(_, event)| place::Place::of(&event));
            places.for_each(|place| snapshot.follow(&place));
        }
    }
    snapshot.settle(end.offset);
}

/// The routing table in force at the end of the log.
///
/// # Errors
/// If a newer version wrote it.
pub fn table_of(snapshot: &Snapshot) -> Result<Table, Failure> {
    let Some(body) = snapshot.routes() else { return Ok(Table::none()) };
    Table::decode(body).map_err(|_| {
        Failure::Directory(
            "the log's routing table was written by a newer version: install that version".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use tributary_core::log::{Clock, Frame};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos, encode, encoded_len};
    use tributary_core::time::{Age, Timestamp};

    use super::*;
    use crate::runtime::sessions::{Batch, Change};

    const CLOCK: Clock = Clock { wall: Timestamp(5), age: Age(5), trusted: true };

    fn event(payload: &[u8]) -> Vec<u8> {
        let event = Event {
            topic: "a",
            payload,
            client: "press",
            time: CLOCK.wall,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        let mut body = vec![0; encoded_len(&event, CLOCK.wall)];
        encode(&event, CLOCK.wall, &mut body);
        body
    }

    /// Of a full ring, whose newest segment has no more room but for openings: what only its oldest
    /// segment tells.
    #[test]
    fn sessions_are_folded_before_an_opening_gives_their_segment_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::empty();
        config.log.dir = dir.path().to_owned();
        (config.log.bytes_max, config.log.volatile) = (8 << 20, true);
        let mut log = open(&config).unwrap().recovered.log;
        let mut batch = Batch::new(1);
        batch.push("ann", Offset(0), &Change::Begun { fresh: true, expiry_s: 60, will: None });
        log.append_control(ControlKind::Sessions, batch.body(), CLOCK).unwrap();
        for bytes in [60_000, 50] {
            let body = event(&vec![0; bytes]);
            let frame = Frame { count: 1, clock: CLOCK, body: &body };
            loop {
                if log.append(&frame).is_ok() {
                    log.commit().unwrap();
                } else if log.next_victim().is_none() {
                    log.roll(&[], CLOCK).unwrap();
                } else {
                    break;
                }
            }
        }
        assert_eq!(log.oldest(), Offset(0));
        drop(log);
        for _ in 0..100 {
            // None of them has come to folding.
            std::fs::remove_file(dir.path().join("sessions.redb")).unwrap();
            let Opened { recovered, sessions: (_, state), .. } = open(&config).unwrap();
            assert!(state.clients.contains_key("ann"));
            if recovered.log.oldest() > Offset(0) {
                return;
            }
        }
        panic!("an opening begins a segment at last");
    }
}
