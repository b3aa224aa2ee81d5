//! The bridge beside other producers, and on bad links: what `tests/bench-link` runs.
//!
//! All of it is the daemon as it is released and a real Kafka. Each part has a directory, servers and,
//! where it needs one, a network of its own; they are gone when it ends.

mod alone;
mod committed;
mod drains;
mod gateway;
mod network;
mod publisher;
mod returns;
mod told;
mod wire;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

pub use told::{Bar, Told};

use crate::process;
use crate::real::cache::{self, Release};

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The bridge alone, beside other producers.
    Alone,
    /// Bytes on the wire.
    Wire,
    /// A backlog over 10 Mbit/s with 200 ms.
    Far,
    /// A backlog over 64 kbit/s with loss.
    Narrow,
    /// The first delivery after an outage.
    Returns,
}

impl Part {
    /// In the order of the report.
    pub const ALL: [Self; 5] = [Self::Alone, Self::Wire, Self::Far, Self::Narrow, Self::Returns];

    /// As it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Wire => "wire",
            Self::Far => "far",
            Self::Narrow => "narrow",
            Self::Returns => "returns",
        }
    }

    /// Measures it, in a directory of its own under `place`.
    ///
    /// # Errors
    /// Something does not start or ends early; then the directory is kept.
    pub fn measure(self, binary: &Path, place: &Path) -> Result<Told> {
        let place = place.join(self.name());
        fs::create_dir_all(&place)?;
        let told = match self {
            Self::Alone => alone::measure(binary, &place),
            Self::Wire => wire::measure(binary, &place),
            Self::Far => drains::far(binary, &place),
            Self::Narrow => drains::narrow(binary, &place),
            Self::Returns => returns::measure(binary, &place),
        };
        let told = told.with_context(|| format!("{}: see {}", self.name(), place.display()))?;
        fs::remove_dir_all(&place)?;
        Ok(told)
    }
}

/// Where and when, and beside what.
///
/// # Errors
/// It cannot be found out.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or_default();
    let date = process::output({
        let mut date = Command::new("date");
        date.arg("+%F");
        date
    })?;
    let (date, kernel, arch) = (date.trim(), kernel.trim(), std::env::consts::ARCH);
    let librdkafka = process::output({
        let mut python = cache::python("produce.py");
        python.arg("version");
        python
    })?;
    let kafka = Release::V4_1_2.version();
    Ok(format!(
        "{date}; {cores} cores, {arch}, Linux {kernel}; load average before: {load}; Apache Kafka {kafka}, librdkafka {}.",
        librdkafka.trim()
    ))
}
