//! Named, deliberate breaks of the promises: the list, and what it takes to apply one.

use std::collections::BTreeMap;
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
    file: String,
    /// Text that occurs there exactly once.
    find: String,
    /// What takes its place.
    put: String,
    /// What else has to change for that.
    #[serde(default)]
    also: Vec<Edit>,
    /// The tests that must fail, as arguments of `cargo test`.
    pub test: String,
}

/// One change of a text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    find: String,
    put: String,
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
    /// Its files, from `root`, with the break in them.
    ///
    /// # Errors
    /// It does not apply: a text is not there exactly once.
    pub fn apply(&self, root: &Path) -> Result<BTreeMap<String, String>> {
        let Self { name, file, find, put, also, .. } = self;
        let also = also.iter().map(|edit| (&edit.file, &edit.find, &edit.put));
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (file, find, put) in [(file, find, put)].into_iter().chain(also) {
            let text = match files.remove(file) {
                Some(text) => text,
                None => fs::read_to_string(root.join(file)).with_context(|| file.clone())?,
            };
            let count = text.matches(find).count();
            ensure!(count == 1, "mutant {name:?}: {find:?} occurs {count} times in {file}");
            files.insert(file.clone(), text.replacen(find.as_str(), put, 1));
        }
        Ok(files)
    }
}
