//! A file system of its own, with the defaults of `mkfs.ext4`, on a loop device that counts what is
//! written to it. Needs to be root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SECTOR_BYTES: u64 = 512;
/// Fields of `/sys/block/*/stat` (Linux: Documentation/block/stat.rst), counted from 0.
const SECTORS_WRITTEN: usize = 6;
const FLUSHES: usize = 15;

/// What has reached the device.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Bytes.
    pub bytes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// The file system; gone when it is dropped.
pub struct Loop {
    file: PathBuf,
    dir: PathBuf,
    device: String,
}

fn run(command: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(command).args(arguments).output().context(command.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command} {arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Loop {
    /// Makes one of so many bytes.
    pub fn make(place: &Path, bytes: u64) -> Result<Self> {
        let (file, dir) = (place.join("disk"), place.join("mounted"));
        File::create(&file)?.set_len(bytes)?;
        fs::create_dir_all(&dir)?;
        let path = file.to_string_lossy().into_owned();
        // Nothing that the kernel would do later, in the middle of a count.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", now, &path])?;
        let device = run("losetup", &["--find", "--show", &path])?;
        let disk = Self { file, dir, device };
        run("mount", &[&disk.device, &disk.dir.to_string_lossy()])?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes everything out.
    pub fn settle(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(&self.dir)?)?;
        Ok(())
    }

    /// What has reached the device so far.
    pub fn counted(&self) -> Result<Counted> {
        let name = self.device.trim_start_matches("/dev/");
        let text = fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let fields: Vec<u64> = text.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let field = |index: usize| fields.get(index).copied().context("the kernel counts it");
        Ok(Counted { bytes: field(SECTORS_WRITTEN)? * SECTOR_BYTES, flushes: field(FLUSHES)? })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let gone = run("umount", &[&self.dir.to_string_lossy()])
            .and_then(|_| run("losetup", &["--detach", &self.device]))
            .and_then(|_| Ok(fs::remove_file(&self.file)?));
        if let Err(error) = gone {
            eprintln!("{} is left behind: {error:#}", self.file.display());
        }
    }
}
