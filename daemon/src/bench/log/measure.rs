//! Durable appends, beside a bare file that was written before and is synced after each write.

use core::fmt::Write as _;
use core::time::Duration;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;
use rustix::fs::fdatasync;
use serde::Serialize;

use super::device::Device;
use super::writer::LogWriter;

/// Bytes of one record, as it is handed to the log.
const RECORD_BYTES: usize = 128;
/// Events of one commit.
const PER_COMMIT: [u32; 4] = [1, 16, 256, 4096];
/// The bare file: written in full before, then again from its start.
const FILE_BYTES: u64 = 16 << 20;
/// The longest commit that is told apart.
const MICROSECONDS_MAX: u64 = 600_000_000;
const DAY_S: u64 = 86_400;

/// All figures of one disk.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    dir: String,
    rows: Vec<Row>,
}

/// The figures of one size of commits.
#[derive(Debug, Serialize)]
struct Row {
    per_commit: u32,
    log: Figures,
    file: Figures,
}

#[derive(Debug, Serialize)]
struct Figures {
    events_per_s: u64,
    commits: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// What reached the device, all that others wrote meanwhile included.
    device_bytes_per_event: Option<u64>,
    flushes_per_commit: Option<f64>,
}

/// Measures each size for so many seconds, the log and the file in turn.
pub(super) fn run(dir: &Path, seconds: u64) -> Result<Measured, String> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let measured = rows(dir, Duration::from_secs(seconds));
    let removed = fs::remove_dir_all(dir);
    let rows = measured?;
    removed.map_err(|error| format!("cannot remove {}: {error}", dir.display()))?;
    Ok(Measured { dir: dir.display().to_string(), rows })
}

fn rows(dir: &Path, span: Duration) -> Result<Vec<Row>, String> {
    let mut log = LogWriter::open(&dir.join("log"))?;
    log.prepare_all()?;
    let file = prepared_file(&dir.join("file")).map_err(|error| error.to_string())?;
    let device = Device::under(dir);
    let mut rows = Vec::new();
    for per_commit in PER_COMMIT {
        let body = vec![0x61; RECORD_BYTES * per_commit as usize];
        let of_log = measure(span, per_commit, device.as_ref(), || {
            let clock = log.clock();
            log.commit(per_commit, clock, &body).map(drop)
        })?;
        let mut at = 0;
        let of_file = measure(span, per_commit, device.as_ref(), || {
            if at + body.len() as u64 > FILE_BYTES {
                at = 0;
            }
            file.write_all_at(&body, at).map_err(|error| error.to_string())?;
            at += body.len() as u64;
            fdatasync(&file).map_err(|errno| errno.to_string())
        })?;
        rows.push(Row { per_commit, log: of_log, file: of_file });
    }
    Ok(rows)
}

fn prepared_file(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn measure(
    span: Duration,
    per_commit: u32,
    device: Option<&Device>,
    mut commit: impl FnMut() -> Result<(), String>,
) -> Result<Figures, String> {
    let mut times = Histogram::<u64>::new_with_bounds(1, MICROSECONDS_MAX, 2)
        .map_err(|error| error.to_string())?;
    commit()?;
    let before = device.and_then(Device::counted);
    let (begun, mut commits) = (Instant::now(), 0_u64);
    while begun.elapsed() < span {
        let at = Instant::now();
        commit()?;
        let passed = at.elapsed().as_micros();
        times.saturating_record(u64::try_from(passed).unwrap_or(MICROSECONDS_MAX).max(1));
        commits += 1;
    }
    let passed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    let events = commits * u64::from(per_commit);
    let done = before.and_then(|before| Some(device?.counted()?.since(before)));
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let flushes = |count: u64| count as f64 / commits.max(1) as f64;
    Ok(Figures {
        events_per_s: events.saturating_mul(1_000_000) / passed_us,
        commits,
        p50_us: times.value_at_quantile(0.5),
        p99_us: times.value_at_quantile(0.99),
        max_us: times.max(),
        device_bytes_per_event: done.map(|done| done.bytes / events.max(1)),
        flushes_per_commit: done.and_then(|done| done.flushes).map(flushes),
    })
}

impl Measured {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("plain values"))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "Durable appends of {RECORD_BYTES}-byte records in {}\n\n\
             {:>6} {:>32} {:>30}\n{:>6} {:>11} {:>6} {:>6} {:>6} {:>11} {:>6} {:>6} {:>6}\n",
            self.dir,
            "events",
            "---------- the log -----------",
            "---- a bare file, synced ----",
            "commit",
            "events/s",
            "p50us",
            "p99us",
            "B/ev",
            "events/s",
            "p50us",
            "p99us",
            "B/ev",
        );
        for Row { per_commit, log, file } in &self.rows {
            let mut line = format!("{per_commit:>6}");
            for figures in [log, file] {
                let bytes = figures.device_bytes_per_event;
                let bytes = bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
                let Figures { events_per_s, p50_us, p99_us, .. } = figures;
                let written =
                    write!(line, " {events_per_s:>11} {p50_us:>6} {p99_us:>6} {bytes:>6}");
                debug_assert!(written.is_ok(), "strings grow");
            }
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(&self.lesson());
        text
    }

    /// What the figures mean.
    fn lesson(&self) -> String {
        let Some(Row { log, .. }) = self.rows.first() else { return String::new() };
        let mut text = format!(
            "\nA PUBACK waits for one commit: here half of them take {:.1} ms, one in a hundred\n\
             {:.1} ms or more, the longest took {:.1} ms. While one is under way the next\n\
             gathers, so many devices share it: that is the way down this table.\n",
            ms(log.p50_us),
            ms(log.p99_us),
            ms(log.max_us),
        );
        let Some(bytes) = log.device_bytes_per_event else {
            text.push_str(
                "B/ev: bytes that the device wrote for each event. The kernel does not tell here.",
            );
            return text;
        };
        let a_day = |events: u64| bytes.saturating_mul(events).saturating_mul(DAY_S);
        let written = write!(
            text,
            "B/ev: bytes that the device wrote for each event, a whole page for a commit of\n\
             one; what others wrote meanwhile is counted, too. Ten events a second, each\n\
             with a commit of its own, are {} a day; `commit.delay` under [log]\n\
             trades a later PUBACK for fewer of them.\n\
             A commit in less than 0.1 ms on an SD card or a USB stick is too good to be true:\n\
             see whether it keeps its word with --promise and --check.",
            bytesize::ByteSize(a_day(10)),
        );
        debug_assert!(written.is_ok(), "strings grow");
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
