//! A client that behaves, and what it sees of the others; and how much memory the daemon has had.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;
use tributary_tests::wire::{Wire, connect};

/// Between two of its messages.
const PAUSE: Duration = Duration::from_millis(10);
const MIB: u64 = 1 << 20;

/// Publishes all the time at QoS 1, one message after the other.
pub(crate) struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Duration>>>,
}

impl Witness {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self> {
        let (mut wire, _) = Wire::open(daemon.port(), &connect("witness"))?;
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !asked.load(Ordering::Relaxed) {
                let begun = Instant::now();
                wire.publish_once("witness", "here", false)?;
                took.push(begun.elapsed());
                wait::pass(PAUSE);
            }
            Ok(took)
        });
        Ok(Self { over, thread })
    }

    /// Ends it. No answer may have taken longer than `longest`.
    pub(crate) fn end(self, what: &str, longest: Duration) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().map_err(|_| anyhow!("the witness panicked"))??;
        took.sort_unstable();
        let last = took.last().context("it has published")?;
        let middle = took[took.len() / 2];
        println!("{what}: PUBACK of {} messages: p50 {middle:.1?}, longest {last:.1?}", took.len());
        ensure!(*last <= longest, "{what}: the longest PUBACK took {last:?}");
        Ok(())
    }
}

/// What the daemon has in memory now, and what it had at most, in bytes.
pub(crate) fn memory(daemon: &Daemon) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()?))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(number.with_context(|| format!("{name} {status}"))? * 1_024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Fails if the daemon has ever had more than `mib_max` MiB.
pub(crate) fn check_memory(daemon: &Daemon, what: &str, mib_max: u64) -> Result<()> {
    let (now, most) = memory(daemon)?;
    println!("{what}: {} MiB in memory, {} at most", now / MIB, most / MIB);
    ensure!(most <= mib_max * MIB, "{what}: {} MiB in memory, allowed {mib_max}", most / MIB);
    Ok(())
}
