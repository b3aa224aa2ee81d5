//! A directory and a seed for one test. The directory goes when the test passes and stays when not.

use std::path::Path;

use anyhow::{Context, Result};

/// Runs a test in the empty directory `name` under `parent`, which must be on a real file system.
///
/// # Errors
/// The test's own, with the directory that tells more.
pub fn within(parent: &str, name: &str, test: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let path = Path::new(parent).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    test(&path).with_context(|| format!("logs and data are kept in {}", path.display()))?;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

/// Random numbers from `TRIBUTARY_SEED`, or from a new seed; printed, so that a run can be repeated.
///
/// # Errors
/// The variable is not a number.
pub fn random(name: &str) -> Result<fastrand::Rng> {
    let seed = match std::env::var("TRIBUTARY_SEED") {
        Ok(text) => text.parse().context("TRIBUTARY_SEED")?,
        Err(_) => fastrand::u64(..),
    };
    #[expect(clippy::print_stdout, reason = "a seed belongs in the output of a test run")]
    {
        println!("{name}: TRIBUTARY_SEED={seed}");
    }
    Ok(fastrand::Rng::with_seed(seed))
}
