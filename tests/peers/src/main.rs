//! The log beside other logs and databases, and beside the disk itself: what `tests/bench-log` starts.
//!
//! All are driven through one trait ([`store::Store`]), on one disk, in one run. A crash is a process
//! that aborts: [`reopen`] starts this program again for that.

mod append;
mod databases;
mod disk;
#[path = "../../src/bench/document.rs"]
#[expect(dead_code, reason = "parts of it are for the other authors")]
mod document;
mod nor;
mod ours;
mod raw;
mod reopen;
mod report;
mod store;
mod wals;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use append::PER_COMMIT;
use report::Figures;
use store::{Kind, RECORD_BYTES, RECORDS_MAX};

const QUARTER_GIB: u64 = 256 << 20;
const FOUR_GIB: u64 = 4 << 30;
/// What lies on the disk at the same time, at most.
const ROOM_BYTES: u64 = 8 << 30;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kind, act, bytes, dir] = &arguments[..]
        && word == reopen::CHILD
    {
        let kind = Kind::parse(kind).context("one that there is")?;
        reopen::play(kind, act, bytes.parse()?, Path::new(dir))?;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = root.join("target/bench-log");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let figures = measure(&place)?;
    std::fs::remove_dir_all(&place)?;
    let text = figures.text();
    println!("\n{text}");
    if arguments.first().map(String::as_str) == Some("--write") {
        let path: PathBuf = root.join("BENCHMARKS.md");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, document::with_the_log(&old, &text))?;
        println!("written to {}", path.display());
    }
    let missed = figures.bars().iter().any(|bar| !bar.met);
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(place: &Path) -> Result<Figures> {
    let room = rustix::fs::statvfs(place)?;
    ensure!(room.f_bavail * room.f_frsize > ROOM_BYTES, "8 GiB of disk are needed");
    let records = ours::records(RECORDS_MAX * 4);
    let machine = machine()?;
    say("NOR flash");
    let nor = nor::measure()?;
    say("log space");
    let space = space(&place.join("space"), &records)?;
    say("durable appends");
    let appends = place.join("append");
    std::fs::create_dir_all(&appends)?;
    let appended = append::measure(&appends, &records)?;
    std::fs::remove_dir_all(&appends)?;
    say("device bytes");
    let written = append::device::count(place, &records).map_err(|why| format!("{why:#}"));
    let mut reopened = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Raw) {
        say(&format!("opening {} after a crash", kind.name()));
        reopened.push(reopen::measure(kind, place, QUARTER_GIB, kind != Kind::Okaywal)?);
    }
    say("opening 4 GiB after a crash");
    reopened.push(reopen::measure(Kind::Tributary, place, FOUR_GIB, false)?);
    Ok(Figures { machine, appended, written, space, reopened, nor })
}

/// Bytes of our log per record at each size, within a segment.
fn space(dir: &Path, records: &[u8]) -> Result<[f64; 4]> {
    let mut log = Kind::Tributary.open(dir, 8 << 20)?;
    let mut all = [0.0; 4];
    for (column, count) in PER_COMMIT.into_iter().enumerate() {
        let mut ends = [log.end(), None];
        loop {
            log.commit(&records[..count * RECORD_BYTES])?;
            ends = [log.end(), ends[0]];
            if let [Some((now, end)), Some((before, begin))] = ends
                && now == before
            {
                all[column] = f64::from(end - begin) / f64::from(u32::try_from(count)?);
                break;
            }
        }
    }
    Ok(all)
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = Command::new("date").arg("+%F").output()?;
    let (date, arch) = (String::from_utf8_lossy(&date.stdout), std::env::consts::ARCH);
    let (date, kernel) = (date.trim(), kernel.trim());
    Ok(format!("{date}; {cores} cores, {arch}, Linux {kernel}; load average before: {load}."))
}

fn say(what: &str) {
    println!("{what} …");
}
