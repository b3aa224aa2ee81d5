//! FORMAT.md is enough: a reader in Python, written from that page alone, reads what we read, of the
//! golden images, of images with random damage, and of what random power cuts leave.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::Value;
use tributary_core::log::Geometry;
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::disk::Cut;
use tributary_tests::golden::{self, Scribe};
use tributary_tests::process;
use tributary_tests::scratch;
use tributary_tests::tidy::root;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// Images with damage, and images that power cuts left.
const DAMAGED: usize = 40;
const CUT: usize = 40;

/// What the reader in Python prints.
fn python(dir: &Path, how: &str) -> Result<String> {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/format/read.py")).arg(how).arg(dir);
    process::output(command).context("python3 reads the log")
}

fn ours(dir: &Path) -> Result<String> {
    let mut command = Command::new(TRIBUTARY);
    command.args(["log", "export", "--controls", "--json", "--dir"]).arg(dir);
    process::output(command)
}

fn agree(dir: &Path, what: &str) -> Result<()> {
    let (theirs, ours) = (python(dir, "--controls")?, ours(dir)?);
    for (number, (a, b)) in ours.lines().zip(theirs.lines()).enumerate() {
        ensure!(a == b, "{what}: line {number}\n ours:   {a}\n theirs: {b}");
    }
    let (a, b) = (ours.lines().count(), theirs.lines().count());
    ensure!(a == b, "{what}: {a} lines of ours, {b} of theirs");
    Ok(())
}

#[test]
fn the_golden_images() -> Result<()> {
    for image in golden::all()? {
        let expected = fs::read_to_string(image.join("expected.ndjson"))?;
        ensure!(python(&image, "--controls")? == expected, "{}", image.display());
    }
    Ok(())
}

#[test]
fn what_was_lost_with_the_last_commit_is_told_by_the_note() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let messages = (0..20).map(|number| number.to_string()).collect();
    Device::publish(daemon.port(), "a/b", messages)?;
    daemon.kill()?;
    let data = daemon.data();
    agree(&data, "as it was left")?;
    let segment = File::options().write(true).open(data.join("input-00000.seg"))?;
    segment.write_all_at(&[0xFF; 1024], 4096)?;
    segment.write_all_at(&[0xFF; 1024], 2 * 4096)?;
    agree(&data, "with both slots damaged")?;
    let told: Value = serde_json::from_str(ours(&data)?.lines().last().context("a gap")?)?;
    ensure!(told["gap"] == "damaged" && told["end"] == 20, "{told}");
    Ok(())
}

#[test]
fn what_is_in_control_records() -> Result<()> {
    let text = python(&golden::folder(1, "plain"), "--explain")?;
    let line = |kind: &str| -> Result<Value> {
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let all: Vec<Value> = lines.collect::<Result<_, _>>()?;
        all.into_iter().find(|line| line["control"] == kind).context("the record is there")
    };
    let hint = line("hint")?;
    ensure!(hint["lane"] == "normal" && hint["account"] == "1.0.0.0;", "{hint}");
    ensure!(hint["claim"] == 1 && hint["low"] == 0 && hint["high"] == 1, "{hint}");
    let anchor = line("anchor")?;
    ensure!(anchor["age_ms"] == 5_250 && anchor["trusted"] == true, "{anchor}");
    ensure!(anchor["wall_ms"] == 1_800_000_000_250_u64, "{anchor}");
    let routes = line("routes")?;
    let route = &routes["routes"][0];
    ensure!(route["condition"] == "temperature > 70" && route["topic"] == "hot", "{routes}");
    ensure!(line("opened")?["openings"][0][0] == "10000001", "{text}");
    Ok(())
}

#[test]
fn damaged_images() -> Result<()> {
    let mut random = scratch::random("images with damage")?;
    let images: Vec<PathBuf> =
        golden::all()?.into_iter().filter(|image| !image.ends_with("large-pages")).collect();
    for round in 0..DAMAGED {
        let dir = tempfile::tempdir()?;
        let image = &images[random.usize(..images.len())];
        let mut files = Vec::new();
        for entry in fs::read_dir(image)? {
            let path = entry?.path();
            let name = path.file_name().context("a file has a name")?;
            if path.extension().is_some_and(|extension| extension == "seg") {
                files.push((dir.path().join(name), fs::read(&path)?));
            }
        }
        files.sort();
        for _ in 0..random.usize(1..5) {
            let file = random.usize(..files.len());
            damage(&mut files[file].1, &mut random);
        }
        for (path, bytes) in &files {
            fs::write(path, bytes)?;
        }
        agree(dir.path(), &format!("damage {round} to {}", image.display()))?;
    }
    Ok(())
}

/// A bit, a sector, a page from elsewhere, or a slot.
fn damage(bytes: &mut [u8], random: &mut Rng) {
    let at = random.usize(..bytes.len());
    let sector = at / 512 * 512..at / 512 * 512 + 512;
    match random.u8(..5) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => random.fill(&mut bytes[sector]),
        2 => bytes[sector].fill(0),
        3 => {
            let page = random.usize(..bytes.len() / 1024) * 1024;
            bytes.copy_within(page..page + 1024, at / 1024 * 1024);
        }
        _ => {
            let slot = 1024 * random.usize(1..3);
            random.fill(&mut bytes[slot..slot + 1024]);
        }
    }
}

#[test]
fn what_power_cuts_leave() -> Result<()> {
    let mut random = scratch::random("power cuts")?;
    for round in 0..CUT {
        let geometry = Geometry { segments: 3, segment_bytes: 16 << 10, page_bytes: 1 << 10 };
        let mut scribe = Scribe::new(geometry, random.u64(..));
        for life in 0..random.usize(1..5) {
            scribe.open().with_context(|| format!("round {round}, life {life}"))?;
            scribe.disk.cut_after(random.u64(3..40));
            while scribe.events(random.u32(1..6)).and_then(|()| scribe.commit()).is_ok() {}
            scribe.die(Some(Cut::ALL[random.usize(..Cut::ALL.len())]));
        }
        let dir = tempfile::tempdir()?;
        golden::save(&scribe.disk, dir.path())?;
        agree(dir.path(), &format!("power cuts, round {round}"))?;
    }
    Ok(())
}
