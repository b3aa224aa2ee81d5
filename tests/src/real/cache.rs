//! What `tests/run` has fetched: `tests/.cache`, beside the sources and kept from run to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// A version of Apache Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The last of the 3.x line: knows no feature `transaction.version`.
    V3_9_2,
    /// A new cluster of it finalizes `transaction.version` 2.
    V4_1_2,
}

impl Release {
    /// As in Maven's coordinates.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V3_9_2 => "3.9.2",
            Self::V4_1_2 => "4.1.2",
        }
    }
}

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with the jars of a release.
#[must_use]
pub fn kafka(release: Release) -> PathBuf {
    tests().join(format!(".cache/kafka-{}", release.version()))
}

/// The class path of a release. Sorted: an archive of classes holds for one order only.
///
/// # Errors
/// The jars are not there.
pub fn class_path(release: Release) -> Result<String> {
    let folder = kafka(release);
    ensure!(folder.is_dir(), "Kafka {} is not in the cache: call tests/run", release.version());
    let mut jars = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jar") {
            jars.push(path.to_string_lossy().into_owned());
        }
    }
    jars.sort();
    Ok(jars.join(":"))
}

/// A script of `tests/real`, to be run by the cached Python.
#[must_use]
pub fn python(script: &str) -> Command {
    let mut command = Command::new(tests().join(".cache/python/bin/python"));
    command.arg("-B").arg(tests().join("real").join(script));
    command
}
