//! The comparison of `tests/bench`: Tributary beside Debian's Mosquitto and the disk itself, and the
//! whole path into a real Kafka, in one run on one machine.
//!
//! The load is `tributary bench mqtt` for both brokers. Figures of a broker are its own process's:
//! CPU time and peak of resident memory from /proc.
#![expect(clippy::print_stdout, reason = "figures are what is asked for")]

use core::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use tributary_tests::bench::{self, Bar, Figures, Programs, Syncs, document};
use tributary_tests::tidy::root;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, place] = &args[..]
        && flag == bench::SYNCS_OF
    {
        let Syncs { p50_us, p99_us } = bench::syncs(Path::new(place))?;
        println!("{}", json!({ "p50_us": p50_us, "p99_us": p99_us }));
        return Ok(ExitCode::SUCCESS);
    }
    let write = args.first().is_some_and(|flag| flag == "--write");
    let named = |name| std::env::var(name).map(PathBuf::from).context("start it by tests/bench");
    let programs =
        Programs { packaged: named("TRIBUTARY_PACKAGED")?, generator: named("TRIBUTARY_BINARY")? };
    let place = root().join("target/bench");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let figures = bench::run(&programs, &place)?;
    let report = report(&figures);
    println!("\n{report}");
    if write {
        let path: PathBuf = root().join("BENCHMARKS.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, document::with_the_rest(&old, &report))?;
        println!("written to {}", path.display());
    }
    fs::remove_dir_all(&place)?;
    let missed = figures.bars().iter().any(|bar| !bar.is_met());
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(figures: &Figures) -> String {
    let mut text = String::from(HEAD);
    let machine = &figures.machine;
    writeln!(text, "{machine}\n").unwrap_or_else(|_| unreachable!("strings grow"));
    for (of, Syncs { p50_us, p99_us }) in
        [("on this disk", figures.sync), ("the same with slow syncs", figures.slow_sync)]
    {
        writeln!(
            text,
            "One write of 4 KiB and its `fdatasync`, {of}: p50 {p50_us:.0} µs, p99 {p99_us:.0} µs.\n"
        )
        .unwrap_or_else(|_| unreachable!("strings grow"));
    }
    text += "| load | | events/s | PUBACK p50 | p99 | CPU per event | peak RSS |\n|---|---|---|---|---|---|---|\n";
    for row in &figures.rows {
        text += &row.line();
    }
    text += "\n| bar | asked | measured | |\n|---|---|---|---|\n";
    for bar in figures.bars() {
        let word = if bar.is_met() { "met" } else { "**missed**" };
        let Bar { what, asked, measured, .. } = bar;
        writeln!(text, "| {what} | {asked} | {measured} | {word} |")
            .unwrap_or_else(|_| unreachable!("strings grow"));
    }
    text
}

const HEAD: &str = "\
# Benchmarks

Measured by `tests/bench --write`, which writes this part: every figure is of one run on one machine, and only the
ratios mean anything elsewhere. Generator, brokers and Kafka share the machine's processors.

Mosquitto is Debian's, with persistence as it is packaged; it acknowledges before it stores, and never syncs. Tributary
acknowledges after `fdatasync`, and is measured as it is packaged (`--no-default-features`). Payloads have 128 bytes; MQTT 3.1.1, QoS 1 where nothing else is said. \"50 x 100\": 50
connections with 100 publishes each on their way; at QoS 0 a PINGRESP behind each hundred stands for the acknowledgement.
\"1 to 1000\": what a thousand subscribers got of one device that has ten publishes on their way. \"Slow syncs\": each
`fdatasync` is held up for three milliseconds (`strace`, which makes other calls of the daemon slower, too), as on a good card.

An answer cannot be quicker than a socket and a sync: on a disk as quick as this one the socket is half of it, and what Mosquitto
needs without any sync is the other part of the least time to PUBACK.

";
