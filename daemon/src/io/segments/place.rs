//! What a directory lies on.

use std::io;
use std::path::Path;

/// What a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The kind of file system, for people.
    pub file_system: String,
    /// What it is mounted with; empty if that is not known.
    pub options: String,
    /// Bytes of the whole file system.
    pub bytes: u64,
    /// Of these, those that this user could still take.
    pub bytes_free: u64,
    /// Whether a power cut or a restart empties it.
    pub in_ram: bool,
    /// The larger of 4 KiB, the kernel's page and the file system's block: what is written as one.
    pub page_bytes: u32,
}

/// Where a file system keeps what is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Disk,
    Ram,
    /// Nowhere: its files are views of the kernel, and nobody makes others.
    Kernel,
}

use Under::{Disk, Kernel, Ram};

/// File systems by the number that `statfs` gives. (An overlay may be in RAM, and on a read-only root it
/// is.)
const KNOWN: [(u32, &str, Under); 17] = [
    (0x0102_1994, "tmpfs", Ram),
    (0x8584_58F6, "ramfs", Ram),
    (0x794C_7630, "overlay", Ram),
    (0xEF53, "ext4", Disk),
    (0xF2F5_2010, "f2fs", Disk),
    (0x9123_683E, "btrfs", Disk),
    (0x5846_5342, "xfs", Disk),
    (0x2FC1_2FC1, "zfs", Disk),
    (0x4D44, "vfat", Disk),
    (0x2011_BAB0, "exfat", Disk),
    (0x6969, "nfs", Disk),
    (0x9FA0, "proc", Kernel),
    (0x6265_6572, "sysfs", Kernel),
    (0x6367_7270, "cgroup2", Kernel),
    (0x0027_E0EB, "cgroup", Kernel),
    (0x1CD1, "devpts", Kernel),
    (0x6462_6720, "debugfs", Kernel),
];

/// Looks at what a directory lies on.
pub(super) fn look_at(dir: &Path) -> io::Result<Place> {
    let found = rustix::fs::statfs(dir)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of 32 bits, in a type that differs between machines"
    )]
    let number = found.f_type as u32;
    let known = KNOWN.iter().find(|(magic, ..)| *magic == number);
    if let Some((_, name, Kernel)) = known {
        let what = format!("{name} is the kernel's, and keeps no files");
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    let block = u32::try_from(found.f_bsize).unwrap_or(0);
    let bytes = |blocks: u64| blocks.saturating_mul(u64::from(block));
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(0);
    let largest = block.max(page).max(4096);
    Ok(Place {
        file_system: known.map_or_else(|| format!("{number:#x}"), |known| known.1.to_owned()),
        options: options_of(dir),
        bytes: bytes(found.f_blocks),
        bytes_free: bytes(found.f_bavail),
        in_ram: known.is_some_and(|known| known.2 == Ram),
        // A network file system may name blocks of a megabyte: no segment has room for that.
        page_bytes: if largest.is_power_of_two() { largest.min(64 << 10) } else { 4096 },
    })
}

/// The options of the mount that a directory lies in, by the kernel's list: proc(5), mountinfo.
fn options_of(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    options_in(&mounts, &dir)
}

/// Of the mounts that hold a directory the innermost, and of these the last.
fn options_in(mounts: &str, dir: &Path) -> String {
    let mount = |line: &str| {
        let (point, options) = (line.split(' ').nth(4)?.to_owned(), line.split(' ').nth(5)?);
        let of_disk = line.rsplit(' ').next()?;
        dir.starts_with(&point).then(|| (point.len(), format!("{options},{of_disk}")))
    };
    let found = mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length);
    let mut options: Vec<&str> = Vec::new();
    let text = found.map(|(_, options)| options).unwrap_or_default();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        if !options.contains(&option) {
            options.push(option);
        }
    }
    options.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_the_one() {
        let mounts = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,commit=600\n\
                      40 22 8:1 / /var/lib rw,relatime - f2fs /dev/sda1 rw\n\
                      41 22 8:2 / /var/library rw - xfs /dev/sda2 rw\n";
        let options = |dir: &str| options_in(mounts, Path::new(dir));
        assert_eq!(options("/home/pi"), "rw,noatime,commit=600");
        assert_eq!(options("/var/lib/tributary"), "rw,relatime");
        assert_eq!(options("relative"), "");
    }
}
