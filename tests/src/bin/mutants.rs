//! Tries the mutants: applies each to a copy of the tree and runs the tests that must fail.
//!
//! A mutant that does not compile, or whose tests pass, is a failure of the tests. So is one whose
//! tests do not end: they must say what is wrong. The same tests have passed on the sound copy
//! before, so it is the mutant that turns them red.
#![expect(clippy::print_stdout, reason = "the list of mutants is what is asked for")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use core::time::Duration;

use anyhow::{Context, Result, ensure};
use tributary_tests::mutants::{Mutant, list};

/// Tests that take longer do not end.
const PATIENCE: Duration = Duration::from_mins(5);
/// The first build is one of everything.
const BUILD_PATIENCE: Duration = Duration::from_mins(30);
/// What `timeout` ends with then.
const TIMED_OUT: i32 = 124;

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let patterns: Vec<String> = std::env::args().skip(1).collect();
    let mut mutants = list(&root)?;
    if patterns == ["--list"] {
        for mutant in &mutants {
            println!("{}", mutant.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let is_wanted = |mutant: &Mutant| {
        patterns.is_empty() || patterns.iter().any(|pattern| mutant.name.contains(pattern))
    };
    mutants.retain(is_wanted);
    ensure!(!mutants.is_empty(), "no mutant's name contains one of {patterns:?}");
    let begun = Instant::now();
    let place = Place { tree: root.join("target/mutants/tree"), root };
    place.copy()?;
    let suites: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.test.as_str()).collect();
    for suite in suites {
        let started = Instant::now();
        let fate = place.judge(suite)?;
        let seconds = started.elapsed().as_secs();
        println!("{:<9} {seconds:>4} s  without a mutant: {suite}", fate.word());
        ensure!(fate == Fate::Survived, "red without any mutant: {}", place.log().display());
    }
    let mut killed = 0;
    for mutant in &mutants {
        let started = Instant::now();
        let fate = place.attempt(mutant)?;
        killed += usize::from(fate == Fate::Killed);
        let seconds = started.elapsed().as_secs();
        let by = if fate == Fate::Killed { place.failed_test()? } else { String::new() };
        println!("{:<9} {seconds:>4} s  {}{by}", fate.word(), mutant.name);
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!("{killed} / {} killed in {minutes:.1} minutes", mutants.len());
    Ok(if killed == mutants.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Survived,
    DoesNotCompile,
    DoesNotEnd,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Survived => "survived",
            Self::DoesNotCompile => "NO BUILD",
            Self::DoesNotEnd => "NO END",
        }
    }
}

/// Where the tree is, and where its copy.
struct Place {
    root: PathBuf,
    tree: PathBuf,
}

impl Place {
    /// Copies what has changed, so that little has to be built again.
    fn copy(&self) -> Result<()> {
        let files = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()?;
        ensure!(files.status.success(), "git does not tell the files of the tree");
        for file in core::str::from_utf8(&files.stdout)?.lines() {
            let (from, to) = (self.root.join(file), self.tree.join(file));
            if !from.is_file() {
                continue;
            }
            let bytes = fs::read(&from)?;
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
            fs::copy(&from, &to)?;
        }
        self.prune(&self.tree)?;
        // What the suites against real servers need is not tracked.
        let (cache, link) = (self.root.join("tests/.cache"), self.tree.join("tests/.cache"));
        if cache.is_dir() && !link.exists() {
            std::os::unix::fs::symlink(cache, link)?;
        }
        Ok(())
    }

    /// Removes what the tree has no more: cargo would find it.
    fn prune(&self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let original = self.root.join(entry.path().strip_prefix(&self.tree)?);
            if entry.file_type()?.is_dir() {
                self.prune(&entry.path())?;
            } else if !original.exists() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn attempt(&self, mutant: &Mutant) -> Result<Fate> {
        let broken = mutant.apply(&self.tree)?;
        let mut sound = Vec::new();
        for (file, text) in broken {
            let file = self.tree.join(file);
            sound.push((file.clone(), fs::read_to_string(&file)?));
            fs::write(&file, text)?;
        }
        let fate = self.judge(&mutant.test);
        for (file, text) in sound {
            fs::write(&file, text)?;
        }
        fate
    }

    fn judge(&self, suite: &str) -> Result<Fate> {
        if self.cargo(suite, BUILD_PATIENCE, &["--no-run"])? != Some(true) {
            return Ok(Fate::DoesNotCompile);
        }
        Ok(match self.cargo(suite, PATIENCE, &[])? {
            Some(true) => Fate::Survived,
            Some(false) => Fate::Killed,
            None => Fate::DoesNotEnd,
        })
    }

    /// What the last tests have said.
    fn log(&self) -> PathBuf {
        self.tree.with_file_name("last.log")
    }

    /// The first test that failed, by the list at the end of a suite.
    fn failed_test(&self) -> Result<String> {
        let log = String::from_utf8_lossy(&fs::read(self.log())?).into_owned();
        let (_, names) = log.rsplit_once("\nfailures:\n").unwrap_or_default();
        let test = names.lines().next().map(str::trim);
        Ok(test.map(|test| format!(", by {test}")).unwrap_or_default())
    }

    /// Whether `cargo test` succeeds; `None` if it does not end. Its words are kept for who asks.
    fn cargo(&self, suite: &str, limit: Duration, more: &[&str]) -> Result<Option<bool>> {
        let log = fs::File::create(self.log())?;
        // All that it starts ends with it.
        let status = Command::new("timeout")
            .args([&limit.as_secs().to_string(), "cargo", "test", "--locked", "--quiet"])
            .args(suite.split_whitespace())
            .args(more)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.tree.with_file_name("target"))
            .env("RUST_LIB_BACKTRACE", "0")
            // Nobody looks inside.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        Ok((status.code() != Some(TIMED_OUT)).then_some(status.success()))
    }
}
