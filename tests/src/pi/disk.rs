//! The Pi's disk from outside: makes its file system, and takes the log out of it.
//!
//! e2fsprogs reads ext4 as the kernel does, its journal included, and nobody has to be root.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Bytes of the disk.
pub const BYTES: usize = 32 << 20;
/// Segments of the log: as `size` in `tests/pi/tributary.toml` says.
pub const SEGMENTS: u32 = 4;
/// `e2fsck` has mended something, which replaying the journal is.
const MENDED: i32 = 1;

/// Makes an empty disk.
///
/// # Errors
/// e2fsprogs does not.
pub fn make(path: &Path) -> Result<()> {
    File::create(path)?.set_len(BYTES as u64)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0"]);
    let made = mkfs.arg(path).output()?;
    ensure!(made.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// Replays the file system's journal, as a mount does.
///
/// # Errors
/// It cannot be.
pub fn replay_journal(disk: &Path) -> Result<()> {
    let replayed = Command::new("e2fsck").args(["-y", "-E", "journal_only"]).arg(disk).output()?;
    let code = replayed.status.code().context("e2fsck was ended")?;
    ensure!(code <= MENDED, "e2fsck: {}", String::from_utf8_lossy(&replayed.stdout));
    Ok(())
}

/// Copies the log's files out of a disk whose journal was replayed.
///
/// # Errors
/// They cannot be.
pub fn take_log(disk: &Path, into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;
    let commands = into.join("commands");
    let names = (0..SEGMENTS).map(|index| format!("input-{index:05}.seg"));
    let dumps =
        names.map(|name| format!("dump /tributary/{name} {}\n", into.join(&name).display()));
    fs::write(&commands, dumps.collect::<String>())?;
    // Files that are not there yet are passed over.
    let dumped = Command::new("debugfs").arg("-f").arg(&commands).arg(disk).output()?;
    ensure!(dumped.status.success(), "debugfs: {}", String::from_utf8_lossy(&dumped.stderr));
    for index in 0..SEGMENTS {
        let path = into.join(format!("input-{index:05}.seg"));
        if path.metadata().is_ok_and(|file| file.len() == 0) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The blocks, of 4 KiB, that a file of the log lies in.
///
/// # Errors
/// debugfs does not tell.
pub fn blocks(disk: &Path, name: &str) -> Result<Vec<u64>> {
    let request = format!("blocks /tributary/{name}");
    let told = Command::new("debugfs").arg("-R").arg(request).arg(disk).output()?;
    let text = String::from_utf8_lossy(&told.stdout);
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}
