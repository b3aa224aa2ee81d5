//! The project's sources as text, for the checks of the house style.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders below the root that hold no sources of the project.
const SKIPPED: [&str; 5] = ["target", ".git", ".cache", "tributary-data", "__pycache__"];

/// A Rust file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// The whole file.
    pub text: String,
}

impl Source {
    /// The lines that ship: not those of a test file or of the test module at the end, and no comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.is_test() { 0 } else { self.length_without_tests() };
        self.lines()
            .take_while(move |(number, _)| *number <= lines)
            .filter(|(_, line)| is_code(line))
    }

    /// The lines that only test, without comments.
    pub fn tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let shipped = if self.is_test() { 0 } else { self.length_without_tests() };
        self.lines().filter(move |(number, line)| *number > shipped && is_code(line))
    }

    /// Whether the whole file is a test, or only there for tests.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("tests/src/")
            || self.path.starts_with("tests/tests/")
    }

    /// Lines before the test module at the end.
    #[must_use]
    pub fn length_without_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let module = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        module.unwrap_or(lines.len())
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files, in the order of their paths.
///
/// # Panics
/// A file cannot be read.
#[must_use]
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be listed") {
            let path = entry.expect("an entry of a folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(&root).expect("the walk began at the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
