//! Durable appends: short rounds in turn, so that what else the machine does hits all alike.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::ours::Ours;
use crate::store::{Kind, RECORD_BYTES, RECORDS_MAX, Store};

/// Records of one commit.
pub const PER_COMMIT: [usize; 4] = [1, 16, 256, RECORDS_MAX];
/// Rounds of each store at each size.
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(250);
/// What the raw file and our ring take, all of it written before.
const KEEP_BYTES: u64 = 64 << 20;

/// Events per second of one store at each size.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Which.
    pub kind: Kind,
    /// The median of the rounds, per size.
    pub per_second: [f64; 4],
    /// The median of what the same rounds came to beside the raw file.
    pub of_raw: [f64; 4],
}

/// Measures all of them.
pub fn measure(place: &Path, records: &[u8]) -> Result<Vec<Appended>> {
    let (mut stores, disk) = (Vec::new(), File::open(place)?);
    for kind in Kind::ALL {
        let opened = open(kind, &place.join(format!("{kind:?}")));
        stores.push(opened.with_context(|| format!("{} is opened", kind.name()))?);
    }
    let mut all: Vec<Appended> = Kind::ALL
        .map(|kind| Appended { kind, per_second: [0.0; 4], of_raw: [0.0; 4] })
        .into_iter()
        .collect();
    for (column, count) in PER_COMMIT.into_iter().enumerate() {
        let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); stores.len()];
        // The first is not counted: files are made, memory is touched.
        for number in 0..=ROUNDS {
            for turn in 0..stores.len() {
                // Another one begins each round, and nothing is left to be written of the one before.
                let index = (turn + number) % stores.len();
                rustix::fs::syncfs(&disk)?;
                let measured = round(stores[index].as_mut(), records, count);
                let rate = measured.with_context(|| Kind::ALL[index].name())?;
                if number > 0 {
                    rounds[index].push(rate);
                }
            }
        }
        let raw = rounds[0].clone();
        for (row, rates) in all.iter_mut().zip(rounds) {
            row.of_raw[column] = median(rates.iter().zip(&raw).map(|(a, b)| a / b).collect());
            row.per_second[column] = median(rates);
        }
    }
    Ok(all)
}

fn open(kind: Kind, dir: &Path) -> Result<Box<dyn Store>> {
    if kind != Kind::Tributary {
        return kind.open(dir, if kind == Kind::Raw { KEEP_BYTES } else { 0 });
    }
    let mut log = Ours::open(dir, KEEP_BYTES)?;
    log.prepare_all()?;
    Ok(Box::new(log))
}

#[expect(clippy::cast_precision_loss, reason = "rates")]
fn round(store: &mut dyn Store, records: &[u8], count: usize) -> Result<f64> {
    let commits = records.chunks_exact(count * RECORD_BYTES).cycle();
    let (begun, mut events) = (Instant::now(), 0);
    for commit in commits {
        store.commit(commit)?;
        events += count;
        if begun.elapsed() >= ROUND {
            break;
        }
    }
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// What a store writes to a device of its own, for as many commits at each size.
pub mod device {
    use std::path::Path;

    use anyhow::{Context, Result};

    use super::{KEEP_BYTES, PER_COMMIT, open};
    use crate::disk::Loop;
    use crate::store::{Kind, RECORD_BYTES};

    /// Commits at each size.
    const COMMITS: [u32; 4] = [1000, 500, 250, 60];

    /// One store.
    #[derive(Clone, Debug)]
    pub struct Written {
        /// Which.
        pub kind: Kind,
        /// Device bytes per record, per size.
        pub bytes: [f64; 4],
        /// Flushes per commit, per size.
        pub flushes: [f64; 4],
    }

    /// Counts all of them on a file system of their own, the final sync included.
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    pub fn count(place: &Path, records: &[u8]) -> Result<Vec<Written>> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let disk = Loop::make(place, KEEP_BYTES * 12)?;
            let mut store = open(kind, &disk.dir().join("store"))?;
            let mut written = Written { kind, bytes: [0.0; 4], flushes: [0.0; 4] };
            for (column, (count, commits)) in PER_COMMIT.into_iter().zip(COMMITS).enumerate() {
                let of = |number: u32| number as usize * count * RECORD_BYTES % records.len();
                disk.settle()?;
                let before = disk.counted()?;
                for number in 0..commits {
                    let begin = of(number);
                    store
                        .commit(&records[begin..begin + count * RECORD_BYTES])
                        .with_context(|| kind.name())?;
                }
                let flushes = disk.counted()?.flushes - before.flushes;
                disk.settle()?;
                let bytes = disk.counted()?.bytes - before.bytes;
                written.bytes[column] = bytes as f64 / (f64::from(commits) * count as f64);
                written.flushes[column] = flushes as f64 / f64::from(commits);
            }
            drop(store);
            all.push(written);
        }
        Ok(all)
    }
}
