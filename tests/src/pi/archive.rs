//! What the kernel unpacks as its first file system: a cpio archive ("newc", see cpio(5)).

use std::path::Path;

use anyhow::Result;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

/// An archive under way.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    /// Adds an empty directory.
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[]);
    }

    /// Adds a file that can be run.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    /// Writes the archive.
    pub(super) fn write(mut self, path: &Path) -> Result<()> {
        self.entry(END, 0, &[]);
        Ok(std::fs::write(path, self.bytes)?)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, bytes, name_bytes) = (self.entries, content.len(), name.len() + 1);
        let head = format!(
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{bytes:08x}{:08x}{:08x}{:08x}{:08x}\
             {name_bytes:08x}{:08x}{name}\0",
            0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
