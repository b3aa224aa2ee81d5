//! Runs libFuzzer on the targets: builds it with instrumentation, lays out the corpus as the files
//! that it wants, feeds each target for a while, and stores the smallest corpus that reaches as much.
#![expect(clippy::print_stdout, reason = "what was fed and found is what is asked for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use tributary_tests::fuzz::{INPUT_BYTES_MAX, MEMORY_BYTES_MAX, TARGETS, Target, target};
use tributary_tests::tidy::root;

/// How long a target is fed if nothing else is asked for.
const SECONDS: u64 = 60;
/// An input that takes longer hangs.
const INPUT_SECONDS_MAX: u64 = 5;
/// Inputs that the stored corpus of a target may have.
const CORPUS_INPUTS_MAX: usize = 400;
/// Where nothing but the host's own code is instrumented, build scripts are not.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// What the compiler adds for libFuzzer: counters of edges, and what comparisons compare.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("all", String::as_str);
    if name == "--list" {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let targets = match target(name) {
        Some(target) => vec![target],
        None if name == "all" => TARGETS.to_vec(),
        None => bail!("there is no target {name}; --list tells which there are"),
    };
    let place = Place::new()?;
    if let Some(file) = arguments.get(1).filter(|text| Path::new(text).is_file()) {
        return place.repeat(&targets[0], Path::new(file));
    }
    let seconds = match arguments.get(1) {
        Some(text) => {
            text.parse().with_context(|| format!("{text} is no number of seconds, nor a file"))?
        }
        None => SECONDS,
    };
    let mut found = 0;
    for target in &targets {
        found += usize::from(!place.feed(target, seconds)?);
    }
    println!("{} targets fed for {seconds} s each, {found} with findings", targets.len());
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where it is built and what it works on.
struct Place {
    binary: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let dir = root().join("target/fuzz");
        fs::create_dir_all(dir.join("found"))?;
        let built = Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--release", "--target", HOST])
            .arg("--manifest-path")
            .arg(root().join("tests/fuzz/Cargo.toml"))
            .arg("--target-dir")
            .arg(&dir)
            .env("RUSTFLAGS", INSTRUMENTATION.join(" "))
            .status()?;
        ensure!(built.success(), "it does not build; a C++ compiler is needed for libFuzzer");
        Ok(Self { binary: dir.join(HOST).join("release/tributary-fuzz"), dir })
    }

    /// Feeds one target; whether nothing was found.
    fn feed(&self, target: &Target, seconds: u64) -> Result<bool> {
        let (begin, grown, least) = (
            self.fresh(target, "begin")?,
            self.fresh(target, "grown")?,
            self.fresh(target, "least")?,
        );
        let stored = target.corpus().unwrap_or_default();
        for (number, bytes) in (target.good)().iter().chain(&stored).enumerate() {
            fs::write(begin.join(format!("{number:04}")), bytes)?;
        }
        let ended = self
            .fuzzer(target)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/{}-", self.dir.join("found").display(), target.name))
            .args([&grown, &begin])
            .status()?;
        let merged = self.fuzzer(target).arg("-merge=1").args([&least, &begin, &grown]).status()?;
        ensure!(merged.success(), "{}: its corpus cannot be merged", target.name);
        let mut inputs = Vec::new();
        for entry in fs::read_dir(&least)? {
            inputs.push(fs::read(entry?.path())?);
        }
        inputs.sort_by_key(Vec::len);
        inputs.truncate(CORPUS_INPUTS_MAX);
        let word = if ended.success() { "nothing found" } else { "FOUND" };
        println!("{:<16} {word}; corpus {} → {} inputs", target.name, stored.len(), inputs.len());
        target.store(inputs)?;
        Ok(ended.success())
    }

    /// Feeds a target with one file, as it was found.
    fn repeat(&self, target: &Target, file: &Path) -> Result<ExitCode> {
        let ended = self.fuzzer(target).arg(file).status()?;
        Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn fuzzer(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("TRIBUTARY_TARGET", target.name)
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            // Of one allocation; what is measured in all is bounded in `cargo test`.
            .arg(format!("-malloc_limit_mb={}", MEMORY_BYTES_MAX >> 20))
            .args(["-verbosity=0", "-print_final_stats=0"]);
        command
    }

    fn fresh(&self, target: &Target, what: &str) -> Result<PathBuf> {
        let dir = self.dir.join("corpus").join(target.name).join(what);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}
