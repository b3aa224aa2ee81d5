//! What the kernel counts of a block device: bytes and flushes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a sector in the kernel's counters, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;
/// Fields of `/sys/dev/block/*/stat` (Linux: Documentation/block/stat.rst), counted from 0.
const SECTORS_WRITTEN: usize = 6;
const FLUSHES: usize = 15;

/// A device that can be asked.
pub(super) struct Device {
    stat: PathBuf,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) bytes: u64,
    /// Partitions and older kernels do not count them.
    pub(super) flushes: Option<u64>,
}

impl Device {
    /// The device under a directory; `None` where the kernel does not tell: btrfs, overlays, networks.
    pub(super) fn under(dir: &Path) -> Option<Self> {
        let number = fs::metadata(dir).ok()?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let device = Self { stat: PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat")) };
        device.counted().map(|_| device)
    }

    pub(super) fn counted(&self) -> Option<Counted> {
        parse(&fs::read_to_string(&self.stat).ok()?)
    }
}

impl Counted {
    /// What came to it since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        let flushes = self.flushes.zip(earlier.flushes).map(|(now, then)| now.saturating_sub(then));
        Self { bytes: self.bytes.saturating_sub(earlier.bytes), flushes }
    }
}

fn parse(text: &str) -> Option<Counted> {
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let bytes = fields.get(SECTORS_WRITTEN)?.saturating_mul(SECTOR_BYTES);
    Some(Counted { bytes, flushes: fields.get(FLUSHES).copied() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_counters() {
        let text = "  10 1 20 3 40 5 60 7 0 8 9 0 0 0 0 70 11\n";
        assert_eq!(parse(text), Some(Counted { bytes: 60 * 512, flushes: Some(70) }));
        assert_eq!(parse("1 2 3 4 5 6 7"), Some(Counted { bytes: 7 * 512, flushes: None }));
        assert_eq!(parse(""), None);
    }
}
