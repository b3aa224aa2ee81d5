//! Opens the data directory: the lock, the log, what the log remembers, who we are.

use tributary_core::Offset;
use tributary_core::log::{
    BODY_BYTES_MAX, Control, ControlKind, Entropy, Item, Log, Media, OpenError, Reader, Recovery,
    Report, buffer_bytes,
};

use super::clock::{Anchor, Clocks, Moment};
use super::scrub::{Damage, Gaps};
use super::server::Failure;
use super::snapshot::Snapshot;
use super::stream;
use crate::config::Config;
use crate::downlink::place;
use crate::io::clock::moment_looked_at;
use crate::io::crc::crc32c;
use crate::io::files::{entropy, host_name};
use crate::io::segments::{Place, SegmentFiles, SegmentReader};
use crate::replicate::table::Table;

/// What is read at once of the log's last events.
const READ_BYTES: usize = 1 << 20;

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
    let buffer = vec![0; buffer_bytes(media.geometry(), BODY_BYTES_MAX)].into_boxed_slice();
    let mut snapshot = Snapshot::default();
    let mut note = |control: Control<'_>| snapshot.note_control(&control);
    let recovery = Recovery::run(media, buffer, Offset(0), crc32c, &mut note)?;
    let report = Box::new(recovery.report().clone());
    let anchor = snapshot.anchor().and_then(Anchor::decode);
    let mut clocks = Clocks::resume(report.last_clock, anchor, moment);
    let begun = recovery.begin(entropy, clocks.now(moment), &snapshot.records());
    let mut log = Box::new(begun.map_err(OpenError::Media)?);
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
}

/// Opens the log of a configuration, or creates it.
pub(super) fn open(config: &Config) -> Result<Opened, Failure> {
    let bytes_max = stream::input_bytes(config.log.bytes_max);
    let files = SegmentFiles::open(&config.log.dir, bytes_max, config.log.volatile)
        .map_err(|error| Failure::Directory(error.to_string()))?;
    files.follow_size();
    files.make_ahead()?;
    let (reader, place) = (files.reader(), files.place().clone());
    let mut recovered = recover(files, entropy()?, moment_looked_at())
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
    Ok(Opened { recovered, reader, gateway, place, damage, generations })
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
