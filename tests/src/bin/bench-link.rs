//! The measurements of `tests/bench-link`: the bridge beside other producers, and on bad links, with a real
//! Kafka, in one run on one machine.
#![expect(clippy::print_stdout, reason = "figures are what is asked for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tributary_tests::bench::document;
use tributary_tests::bench::link::{self, Bar, Part, Told};
use tributary_tests::tidy::root;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let write = arguments.iter().any(|word| word == "--write");
    let words = arguments.iter().filter(|word| *word != "--write");
    let chosen = words.map(|word| part(word)).collect::<Result<Vec<_>>>()?;
    let parts = if chosen.is_empty() { Part::ALL.to_vec() } else { chosen };
    ensure!(!write || parts == Part::ALL, "only all parts together are written");
    let binary = std::env::var("TRIBUTARY_BINARY").context("start it by tests/bench-link")?;
    let place = root().join("target/bench-link");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let machine = link::machine()?;
    let mut told = Vec::new();
    for part in parts {
        println!("{} …", part.name());
        told.push(part.measure(Path::new(&binary), &place)?);
    }
    let report = report(&machine, &told);
    println!("\n{report}");
    if write {
        let path: PathBuf = root().join("BENCHMARKS.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, document::with_the_link(&old, &report))?;
        println!("written to {}", path.display());
    }
    fs::remove_dir_all(&place)?;
    let missed = told.iter().flat_map(|told| &told.bars).any(|bar| !bar.is_met());
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn part(word: &str) -> Result<Part> {
    let found = Part::ALL.into_iter().find(|part| part.name() == word);
    found.with_context(|| format!("what is {word}? tests/bench-link --help tells"))
}

fn report(machine: &str, told: &[Told]) -> String {
    let mut text = format!("{HEAD}{machine}\n");
    for told in told {
        text += "\n";
        text += &told.text;
    }
    text += "\n| bar | asked | measured | |\n|---|---|---|---|\n";
    text += &told.iter().flat_map(|told| &told.bars).map(Bar::line).collect::<String>();
    text
}

const HEAD: &str = "\
## The bridge beside other producers, and on bad links

Written by `tests/bench-link --write`: one run, the daemon as it is released, one broker of a real Kafka on the same machine. Logs
are filled before; what is measured is the way from the log to Kafka. A record counts when the broker shows it to readers of what is
committed. Links are emulated between two TUN devices, packet by packet, with the network stack of this machine at both ends (CUBIC at
ours); of a link counts as used what committed records are as batches, and nothing else.

";
