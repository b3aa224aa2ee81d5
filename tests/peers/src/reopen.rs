//! Opening after a crash, and reading everything: each in a process of its own, which fills the store
//! or opens it, and aborts.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::append::median;
use crate::ours;
use crate::store::{Kind, RECORD_BYTES, RECORDS_MAX};

/// Records of a commit where all are read afterwards: what the daemon gathers under load.
const RECORDS: usize = 256;
/// Up to so many bytes.
const READ_MAX: u64 = 1 << 30;
const SCANS: usize = 9;

/// The word that has this program play such a process.
pub const CHILD: &str = "--child";

/// What one store came to.
#[derive(Clone, Copy, Debug)]
pub struct Reopened {
    /// Which.
    pub kind: Kind,
    /// Bytes of records that it holds.
    pub bytes: u64,
    /// The median of the openings.
    pub ms: f64,
    /// Records per second when all are read, where they are: of some readings the quickest, since whatever
    /// else runs can only make them slower.
    pub scanned: Option<f64>,
}

/// Fills a store, crashes, opens it so often and crashes again, and reads it.
pub fn measure(kind: Kind, place: &Path, bytes: u64, scans: bool) -> Result<Reopened> {
    let dir = place.join(format!("crashed-{kind:?}"));
    child(kind, "fill", &dir, bytes).with_context(|| kind.name())?;
    // What okaywal has recovered it hands to a checkpoint, and forgets.
    let times = if kind == Kind::Okaywal { 1 } else { 5 };
    let mut openings = Vec::new();
    for _ in 0..times {
        openings.push(child(kind, "open", &dir, bytes).with_context(|| kind.name())?);
    }
    let scanned = match scans {
        true => Some(child(kind, "scan", &dir, bytes).with_context(|| kind.name())?),
        false => None,
    };
    std::fs::remove_dir_all(&dir)?;
    Ok(Reopened { kind, bytes, ms: median(openings), scanned })
}

/// The figure that a child prints before it aborts.
fn child(kind: Kind, act: &str, dir: &Path, bytes: u64) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args([CHILD, &format!("{kind:?}"), act, &bytes.to_string()])
        .arg(dir)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let figure = said.trim().parse();
    figure.with_context(|| format!("{act}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Plays such a process. Does not return.
pub fn play(kind: Kind, act: &str, bytes: u64, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut store = kind.open(dir, bytes)?;
    let opened = begun.elapsed().as_secs_f64();
    let figure = match act {
        "fill" => {
            let records = ours::records(if bytes > READ_MAX { RECORDS_MAX } else { RECORDS });
            let commits = bytes.div_ceil(records.len() as u64);
            (0..commits).try_for_each(|_| store.commit(&records))?;
            0.0
        }
        "open" => opened * 1e3,
        _ => {
            let mut best = 0_f64;
            for _ in 0..SCANS {
                let begun = Instant::now();
                let records = store.scan()?;
                ensure!(records * RECORD_BYTES as u64 * 2 > bytes, "{records} records are there");
                #[expect(clippy::cast_precision_loss, reason = "rates")]
                let rate = records as f64 / begun.elapsed().as_secs_f64();
                best = best.max(rate);
            }
            best
        }
    };
    println!("{figure}");
    std::process::abort();
}
