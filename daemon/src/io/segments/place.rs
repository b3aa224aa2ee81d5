//! What a directory lies on.

use std::io;
use std::path::Path;

/// What a directory lies on.
pub(super) struct Place {
    /// For people.
    pub(super) file_system: String,
    /// Whether a power cut or a restart empties it.
    pub(super) in_ram: bool,
    /// The larger of 4 KiB, the kernel's page and the file system's block: what is written as one.
    pub(super) page_bytes: u32,
}

/// File systems by the number that `statfs` gives: name, and whether they are in RAM. (An overlay
/// may be, and on a read-only root it is.)
const KNOWN: [(u32, &str, bool); 11] = [
    (0x0102_1994, "tmpfs", true),
    (0x8584_58F6, "ramfs", true),
    (0x794C_7630, "overlay", true),
    (0xEF53, "ext4", false),
    (0xF2F5_2010, "f2fs", false),
    (0x9123_683E, "btrfs", false),
    (0x5846_5342, "xfs", false),
    (0x2FC1_2FC1, "zfs", false),
    (0x4D44, "vfat", false),
    (0x2011_BAB0, "exfat", false),
    (0x6969, "nfs", false),
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
    let block = u32::try_from(found.f_bsize).unwrap_or(0);
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(0);
    let largest = block.max(page).max(4096);
    Ok(Place {
        file_system: known.map_or_else(|| format!("{number:#x}"), |known| known.1.to_owned()),
        in_ram: known.is_some_and(|known| known.2),
        // A network file system may name blocks of a megabyte: no segment has room for that.
        page_bytes: if largest.is_power_of_two() { largest.min(64 << 10) } else { 4096 },
    })
}
