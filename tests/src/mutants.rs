//! Named, deliberate breaks of the promises: the list, and what it takes to apply one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The list, from the root of the project.
const LIST: &str = "tests/mutants/list.toml";

/// One break.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What is broken.
    pub name: String,
    /// Where, from the root.
    pub file: String,
    /// Text that occurs there exactly once.
    find: String,
    /// What takes its place.
    put: String,
    /// The tests that must fail, as arguments of `cargo test`.
    pub test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// All mutants of the project at `root`.
///
/// # Errors
/// The list cannot be read.
pub fn list(root: &Path) -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(root.join(LIST)).context(LIST)?;
    Ok(toml::from_str::<List>(&text).context(LIST)?.mutant)
}

impl Mutant {
    /// Its file under `root` with the break in it.
    ///
    /// # Errors
    /// It does not apply: the text is not there exactly once.
    pub fn apply(&self, root: &Path) -> Result<String> {
        let text = fs::read_to_string(root.join(&self.file)).with_context(|| self.file.clone())?;
        let count = text.matches(&self.find).count();
        let Self { name, file, find, .. } = self;
        ensure!(count == 1, "mutant {name:?}: {find:?} occurs {count} times in {file}");
        Ok(text.replacen(find.as_str(), &self.put, 1))
    }
}
