//! What a process has used, by /proc.

use std::fs;

use anyhow::{Context, Result};

/// CPU time so far, in microseconds.
pub(super) fn cpu_us(process: u32) -> Result<f64> {
    ticks(&format!("/proc/{process}/stat"), 11)
}

/// CPU time of our children that have ended and were waited for, in microseconds.
pub(super) fn cpu_of_ended_us() -> Result<f64> {
    ticks("/proc/self/stat", 13)
}

/// The most resident memory that it ever had.
pub(super) fn peak_rss_bytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("VmHWM")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}

/// The sum of two fields of a `stat`, so many behind the name, which may hold anything: proc(5).
fn ticks(path: &str, skipped: usize) -> Result<f64> {
    let stat = fs::read_to_string(path)?;
    let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
    let mut ticks = fields.split_whitespace().skip(skipped).take(2).map(str::parse::<f64>);
    let mut next = || ticks.next().context("two fields")?.context("a number");
    let sum = next()? + next()?;
    #[expect(clippy::cast_precision_loss, reason = "100")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(sum / per_second * 1e6)
}
