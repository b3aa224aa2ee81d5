//! Where the demo takes place: a temporary directory, on a disk if there is one.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

/// File systems that the gateway takes to be in RAM: tmpfs, ramfs, overlay.
const IN_RAM: [i128; 3] = [0x0102_1994, 0x8584_58F6, 0x794C_7630];

/// The demo's directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Stage {
    dir: TempDir,
    in_ram: bool,
}

impl Stage {
    /// Makes a directory under the system's own for temporary files or, if that is in RAM, under
    /// the current one. If both are, so be it: there is no power cut in the demo.
    ///
    /// # Errors
    /// If neither can be written.
    pub(super) fn make() -> io::Result<Self> {
        let temporary = env::temp_dir();
        let current = env::current_dir().unwrap_or_else(|_| temporary.clone());
        let make = |under: &Path| Builder::new().prefix("tributary-demo-").tempdir_in(under);
        for under in [&temporary, &current] {
            let on_disk = is_in_ram(under).is_ok_and(|in_ram| !in_ram);
            if on_disk && let Ok(dir) = make(under) {
                return Ok(Self { dir, in_ram: false });
            }
        }
        let dir = make(&temporary).or_else(|_| make(&current))?;
        Ok(Self { dir, in_ram: true })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a power cut would empty it.
    pub(super) fn is_in_ram(&self) -> bool {
        self.in_ram
    }

    /// Leaves the directory where it is.
    pub(super) fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

fn is_in_ram(dir: &Path) -> io::Result<bool> {
    // Of another width, and signed or not, on each machine.
    let number = i128::from(rustix::fs::statfs(dir)?.f_type);
    Ok(IN_RAM.contains(&(number & 0xFFFF_FFFF)))
}
