//! Certificates that are renewed while the daemon runs: their files are looked at now and then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use core::time::Duration;

use tokio::sync::watch;

use crate::door::{Door, Rules};

/// How often the files are looked at. A change is taken once it has stood for so long: certificate
/// and key are seldom written at the same moment.
const INTERVAL: Duration = Duration::from_secs(2);

/// What tells one state of the files from another.
type Print = Vec<(u64, u64, i64, i64)>;

/// Puts renewed certificates into force until told to stop. A pair that does not serve changes
/// nothing, and is told once.
pub async fn watch_certificates(doors: Vec<Arc<Door>>, mut stop: watch::Receiver<bool>) {
    let mut watched: Vec<(Arc<Door>, Print, Print)> = doors
        .into_iter()
        .filter(|door| door.rules().tls.is_some())
        .map(|door| {
            let print = print(&door);
            (door, print.clone(), print)
        })
        .collect();
    while !watched.is_empty() {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => return,
        }
        for (door, taken, seen) in &mut watched {
            let print = print(door);
            if print == *seen && print != *taken {
                *taken = print;
                renew(door);
            } else {
                *seen = print;
            }
        }
    }
}

fn print(door: &Door) -> Print {
    let rules = door.rules();
    let Some(tls) = &rules.listener.tls else { return Vec::new() };
    let files = tls.files.paths().map(fs::metadata);
    let one = |found: fs::Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    files.map(|found| found.map_or((0, 0, 0, 0), one)).collect()
}

fn renew(door: &Door) {
    let rules = door.rules();
    let address = rules.listener.address;
    match Rules::load(&rules.listener) {
        Ok(rules) => {
            door.put(rules);
            tracing::info!(%address, "certificates renewed");
        }
        Err(flaws) => {
            for flaw in flaws {
                tracing::error!(%address, "the certificates stay as they were: {flaw}");
            }
        }
    }
}
