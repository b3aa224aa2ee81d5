//! The figures as tables, and the bars that they are held against.

use std::fmt::Write as _;

use crate::append::{Appended, device::Written};
use crate::nor::Costs;
use crate::reopen::Reopened;
use crate::store::Kind;

/// Everything that was measured.
pub struct Figures {
    /// Where and when.
    pub machine: String,
    /// Durable appends.
    pub appended: Vec<Appended>,
    /// What reached a device; why nothing was counted.
    pub written: Result<Vec<Written>, String>,
    /// Bytes of our log per record, per size.
    pub space: [f64; 4],
    /// Openings after a crash, and scans.
    pub reopened: Vec<Reopened>,
    /// NOR flash.
    pub nor: Vec<Costs>,
}

/// A bar.
pub struct Bar {
    what: String,
    asked: String,
    measured: String,
    /// Whether it is reached.
    pub met: bool,
}

/// Our log's bounds on device bytes per record, per size.
const DEVICE_BYTES_MAX: [f64; 4] = [4_500.0, 430.0, 152.0, 136.0];
const SPACE_MAX: f64 = 185.0;
/// Least part of the raw file's speed.
const OF_RAW_MIN: f64 = 0.9;
const SCAN_MIN: f64 = 25e6;
const SCAN_OF_REDB_MIN: f64 = 5.0;
const REOPEN_MS_MAX: f64 = 20.0;
const SIZES: [&str; 4] = ["1", "16", "256", "4096"];

const HEAD: &str = "\
## The log beside other logs and databases

Written by `tests/bench-log --write`: one run, one disk, short rounds in turn, medians. Records have 128 bytes. The raw file
is the limit: written before, then over again, one `pwrite` and one `fdatasync` a commit, without any check. Of the others each
record is an entry, or a row under the next number, with the settings that make a commit durable. \"Of raw\" is the median of the
ratios within a round. Device bytes and flushes are counted by the kernel, on a loop device. A crash is a process that aborts; what
it left is opened by another one; of the readings of all that is there the quickest counts.

What keeps some bars out of reach: two commits of 16 fill a page, so most end one page and begin another. Ours are then two writes
at two places, since what was acknowledged in the page that is filled must not be overwritten where it lies; the raw file and
okaywal write both pages at once, over it. Seven commits of 4096 fill a segment, and each new one takes more flushes. Of reading a
third is the kernel's copy from its cache.

";

impl Figures {
    fn appended(&self, kind: Kind) -> Option<&Appended> {
        self.appended.iter().find(|row| row.kind == kind)
    }

    fn reopened(&self, kind: Kind) -> impl Iterator<Item = &Reopened> {
        self.reopened.iter().filter(move |row| row.kind == kind)
    }

    fn scanned(&self, kind: Kind) -> f64 {
        self.reopened(kind).find_map(|row| row.scanned).unwrap_or(0.0)
    }

    /// All bars.
    pub fn bars(&self) -> Vec<Bar> {
        let mut bars = self.appends();
        bars.extend(self.devices());
        bars.extend(self.reads());
        bars.extend(self.flash());
        bars
    }

    fn appends(&self) -> Vec<Bar> {
        let Some(ours) = self.appended(Kind::Tributary) else { return Vec::new() };
        let mut bars = Vec::new();
        for (column, size) in SIZES.into_iter().enumerate() {
            let of_raw = ours.of_raw[column];
            bars.push(Bar {
                what: format!("durable append, {size} a commit"),
                asked: format!("at least {:.0} % of the raw file", OF_RAW_MIN * 100.0),
                measured: format!("{:.0} %", of_raw * 100.0),
                met: of_raw >= OF_RAW_MIN,
            });
            let peers = self
                .appended
                .iter()
                .filter(|row| row.kind != Kind::Tributary && row.kind != Kind::Raw);
            let best = peers.max_by(|a, b| a.of_raw[column].total_cmp(&b.of_raw[column]));
            let Some(best) = best else { continue };
            let ratio = ours.of_raw[column] / best.of_raw[column];
            bars.push(Bar {
                what: format!("the same, {size} a commit"),
                asked: "ahead of every peer".to_owned(),
                measured: format!("{ratio:.2} x {}", best.kind.name()),
                met: ratio > 1.0,
            });
        }
        bars
    }

    fn devices(&self) -> Vec<Bar> {
        let ours = self
            .written
            .as_ref()
            .ok()
            .and_then(|all| all.iter().find(|row| row.kind == Kind::Tributary));
        let none = "not counted".to_owned();
        let mut bars = Vec::new();
        for (column, size) in SIZES.into_iter().enumerate() {
            let bytes = ours.map_or(f64::MAX, |row| row.bytes[column]);
            bars.push(Bar {
                what: format!("device bytes a record, {size} a commit"),
                asked: format!("at most {:.0}", DEVICE_BYTES_MAX[column]),
                measured: ours.map_or(none.clone(), |_| format!("{bytes:.0}")),
                met: bytes <= DEVICE_BYTES_MAX[column],
            });
        }
        let flushes = ours.map_or(f64::MAX, |row| row.flushes[0]);
        bars.push(Bar {
            what: "flushes a commit of one record".to_owned(),
            asked: "1.00".to_owned(),
            measured: ours.map_or(none, |_| format!("{flushes:.2}")),
            met: flushes < 1.005,
        });
        let space = self.space.into_iter().fold(0.0, f64::max);
        bars.push(Bar {
            what: "log space a record, at any size".to_owned(),
            asked: format!("at most {SPACE_MAX:.0} bytes"),
            measured: format!("{space:.0}"),
            met: space > 0.0 && space <= SPACE_MAX,
        });
        bars
    }

    fn reads(&self) -> Vec<Bar> {
        let (ours, redb) = (self.scanned(Kind::Tributary), self.scanned(Kind::Redb));
        let mut bars = vec![
            Bar {
                what: "scan with checksums".to_owned(),
                asked: format!("at least {:.0} million events/s", SCAN_MIN / 1e6),
                measured: format!("{:.1} million", ours / 1e6),
                met: ours >= SCAN_MIN,
            },
            Bar {
                what: "the same".to_owned(),
                asked: format!("at least {SCAN_OF_REDB_MIN:.0} x redb"),
                measured: format!("{:.1} x", ours / redb),
                met: ours >= redb * SCAN_OF_REDB_MIN,
            },
        ];
        bars.extend(self.reopened(Kind::Tributary).map(|row| Bar {
            what: format!("opening after a crash, {} MiB", row.bytes >> 20),
            asked: format!("at most {REOPEN_MS_MAX:.0} ms"),
            measured: format!("{:.1} ms", row.ms),
            met: row.ms <= REOPEN_MS_MAX,
        }));
        bars
    }

    fn flash(&self) -> Vec<Bar> {
        let Some(ours) = self.nor.first() else { return Vec::new() };
        let bar = |what: &str, asked: &str, measured: String, met| Bar {
            what: format!("NOR of 16 MiB: {what}"),
            asked: asked.to_owned(),
            measured,
            met,
        };
        let (programs, reads) = ours.within.unwrap_or_default();
        vec![
            bar("mount", "at most 80 reads", ours.mount.0.to_string(), ours.mount.0 <= 80),
            bar(
                "ten appends in a sector",
                "10 programs, 0 reads",
                format!("{programs} programs, {reads} reads"),
                (programs, reads) == (10, 0),
            ),
            bar("seek", "at most 14 reads", ours.seek.to_string(), ours.seek <= 14),
            bar(
                "state in RAM",
                "at most 200 bytes and one frame",
                format!("{} bytes", ours.state),
                ours.state <= 200,
            ),
        ]
    }

    /// The section of BENCHMARKS.md.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}{}\n\n", self.machine);
        self.append_table(&mut text);
        self.device_table(&mut text);
        self.reading_table(&mut text);
        self.nor_table(&mut text);
        text += "| bar | asked | measured | |\n|---|---|---|---|\n";
        for Bar { what, asked, measured, met } in self.bars() {
            let word = if met { "met" } else { "**missed**" };
            line(&mut text, format_args!("| {what} | {asked} | {measured} | {word} |"));
        }
        text
    }

    fn append_table(&self, text: &mut String) {
        *text +=
            "| durable append, events/s at so many a commit | 1 | 16 | 256 | 4096 | of raw |\n";
        *text += "|---|---|---|---|---|---|\n";
        for row in &self.appended {
            let [a, b, c, d] = row.per_second;
            let [e, f, g, h] = row.of_raw.map(|part| part * 100.0);
            line(
                text,
                format_args!(
                    "| {} | {a:.0} | {b:.0} | {c:.0} | {d:.0} | {e:.0} / {f:.0} / {g:.0} / {h:.0} % |",
                    row.kind.name()
                ),
            );
        }
        *text += "\n";
    }

    fn device_table(&self, text: &mut String) {
        let rows = match &self.written {
            Ok(rows) => rows,
            Err(why) => return line(text, format_args!("Device bytes were not counted: {why}\n")),
        };
        *text += "| device bytes a record, on ext4 of its own, the last sync included | 1 | 16 | 256 | 4096 | flushes a commit |\n";
        *text += "|---|---|---|---|---|---|\n";
        for row in rows {
            let [a, b, c, d] = row.bytes;
            let [e, f, g, h] = row.flushes;
            line(
                text,
                format_args!(
                    "| {} | {a:.0} | {b:.0} | {c:.0} | {d:.0} | {e:.2} / {f:.2} / {g:.2} / {h:.2} |",
                    row.kind.name()
                ),
            );
        }
        let [a, b, c, d] = self.space;
        line(
            text,
            format_args!("| *our log's own space* | {a:.0} | {b:.0} | {c:.0} | {d:.0} | |\n"),
        );
    }

    fn reading_table(&self, text: &mut String) {
        *text +=
            "| after a crash | holds | opens in | reads, million events/s |\n|---|---|---|---|\n";
        for row in &self.reopened {
            let scanned = row.scanned.map_or(String::new(), |rate| format!("{:.1}", rate / 1e6));
            let (name, mib, ms) = (row.kind.name(), row.bytes >> 20, row.ms);
            line(text, format_args!("| {name} | {mib} MiB | {ms:.1} ms | {scanned} |"));
        }
        *text += "\n";
    }

    fn nor_table(&self, text: &mut String) {
        *text += "| NOR flash, 16 MiB, gone round once and a half, events of 24 bytes | to the first append | programs and reads an append | reads to an event in the middle | state in RAM |\n";
        *text += "|---|---|---|---|---|\n";
        for row in &self.nor {
            let ((reads, bytes), (programs, each)) = (row.mount, row.append);
            line(
                text,
                format_args!(
                    "| {} | {reads} reads, {bytes} bytes | {programs:.2}, {each:.2} | {} | {} bytes |",
                    row.name, row.seek, row.state
                ),
            );
        }
        *text += "\n";
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").unwrap_or_else(|_| unreachable!("strings grow"));
}
