//! The house rules that a machine can check: who imports whom, who may ask the operating system,
//! what a file looks like. Where a rule hurts, break it in one of the lists here, with the reason.

use std::fs;

use toml::{Table, Value};
use tributary_tests::daemon::UNDER_TEST;
use tributary_tests::mutants;
use tributary_tests::tidy::{Source, root, sources};

/// The crates: name, folder, ours that it may depend on, and those that only its tests may.
const LAYOUT: [(&str, &str, &[&str], &[&str]); 8] = [
    ("tributary-both-ways", "core-nostd/both-ways", &[], &[]),
    ("tributary-core", "core-nostd", &["tributary-both-ways"], &[]),
    ("tributary-rules", "core-nostd/rules", &["tributary-core"], &[]),
    ("tributary-mqtt", "daemon/mqtt", &["tributary-core"], &[]),
    ("tributary-bridge", "bridge", &["tributary-core"], &["tributary-cluster"]),
    (
        "tributary",
        "daemon",
        &[
            "tributary-bridge",
            "tributary-cluster",
            "tributary-core",
            "tributary-mqtt",
            "tributary-rules",
        ],
        &[],
    ),
    ("tributary-cluster", "tests/cluster", &["tributary-core"], &["tributary-bridge"]),
    (
        "tributary-tests",
        "tests",
        &[
            "tributary",
            "tributary-bridge",
            "tributary-cluster",
            "tributary-core",
            "tributary-mqtt",
            "tributary-rules",
        ],
        &[],
    ),
];

/// Whose protocol and storage logic are values: bytes and time in, bytes out.
const SANS_IO: [&str; 5] = [
    "core-nostd/src/",
    "core-nostd/rules/src/",
    "daemon/mqtt/src/",
    "bridge/src/",
    "tests/cluster/src/",
];
/// What a value never names, beside [`SYSTEM`].
const NEVER_IN_VALUES: [&str; 6] =
    ["std::net", "std::thread", "std::process", "tokio", "rand::", "fastrand"];
/// What asks the operating system.
const SYSTEM: [&str; 17] = [
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "std::fs",
    "std::env",
    "tokio::net",
    "tokio::fs",
    "tokio::signal",
    "rustix",
    "getrandom",
    "thread::spawn",
    "Command::new",
];
/// Where it may be asked.
const MAY_ASK: [(&str, &str); 6] = [
    ("daemon/src/io/", "all system calls live here"),
    ("daemon/src/bench/", "plays devices of any broker"),
    ("daemon/src/demo/", "plays devices and an operator, as an outsider would"),
    ("daemon/src/main.rs", "the process's beginning"),
    (
        "daemon/src/config/listeners.rs",
        "`check` finds what `run` would: a listener's name is looked up",
    ),
    ("tests/cluster/src/served/", "the cluster behind sockets, for `demo` and for outside clients"),
];
const LINES_MAX: usize = 400;
/// Files that are longer, and why.
const LONGER: [(&str, &str); 0] = [];
/// Where tests wait: for a condition that nobody announces, or for the moment of a fault.
const MAY_SLEEP: [&str; 1] = ["tests/src/wait.rs"];

/// Fails with all that is wrong at once.
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn place(source: &Source, number: usize, line: &str) -> String {
    format!("{}:{number}: {}", source.path, line.trim())
}

fn manifest(folder: &str) -> Table {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("each folder of the layout is a crate");
    text.parse().expect("cargo has read it before")
}

/// The crates of ours in a section of a manifest, and whether each is optional.
fn ours<'a>(manifest: &'a Table, section: &str) -> Vec<(&'a str, bool)> {
    let Some(Value::Table(section)) = manifest.get(section) else { return Vec::new() };
    let optional = |value: &Value| value.get("optional").and_then(Value::as_bool) == Some(true);
    let ours = section.iter().filter(|(name, _)| name.starts_with("tributary"));
    ours.map(|(name, value)| (name.as_str(), optional(value))).collect()
}

#[test]
fn crates_import_only_what_the_layout_allows() {
    let mut wrong = Vec::new();
    for (name, folder, allowed, in_tests) in LAYOUT {
        let manifest = manifest(folder);
        for (dependency, optional) in ours(&manifest, "dependencies") {
            if !allowed.contains(&dependency) {
                wrong.push(format!("{name} depends on {dependency}"));
            }
            // In a package there is no cluster.
            if name == "tributary" && dependency == "tributary-cluster" && !optional {
                wrong.push(format!("{name} depends on {dependency} even without its feature"));
            }
        }
        for (dependency, _) in ours(&manifest, "dev-dependencies") {
            if !allowed.contains(&dependency) && !in_tests.contains(&dependency) {
                wrong.push(format!("the tests of {name} depend on {dependency}"));
            }
        }
    }
    none("the layout does not allow", &wrong);
}

#[test]
fn the_layout_knows_every_crate() {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    let mut members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
    let mut known: Vec<&str> = LAYOUT.iter().map(|(_, folder, ..)| *folder).collect();
    members.sort_unstable();
    known.sort_unstable();
    assert_eq!(members, known);
}

#[test]
fn mutants_apply() {
    let mutants = mutants::list(&root()).unwrap_or_else(|why| panic!("{why:?}"));
    for mutant in &mutants {
        mutant.apply(&root()).unwrap_or_else(|why| panic!("{why:?}"));
    }
}

#[test]
fn the_guides_mention_every_crate() {
    let mut missing = Vec::new();
    for guide in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(guide)).unwrap_or_default();
        for (name, folder, ..) in LAYOUT {
            if !text.contains(&format!("{folder}/")) && !text.contains(&format!("`{name}`")) {
                missing.push(format!("{guide}: {name} in {folder}/"));
            }
        }
    }
    none("not mentioned", &missing);
}

/// Whether a line has `word`, and not only as the end of a longer one.
fn has(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(inside))
}

/// The lines of shipped code under `folders` that name one of `words`, but for [`MAY_ASK`].
fn naming(folders: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources() {
        let concerned = folders.iter().any(|folder| source.path.starts_with(folder));
        if !concerned || MAY_ASK.iter().any(|(path, _)| source.path.starts_with(path)) {
            continue;
        }
        let hits = source.code().filter(|(_, line)| words.iter().any(|word| has(line, word)));
        found.extend(hits.map(|(number, line)| place(&source, number, line)));
    }
    found
}

#[test]
fn values_ask_nobody() {
    none("not sans-io", &naming(&SANS_IO, &SYSTEM));
    none("not sans-io", &naming(&SANS_IO, &NEVER_IN_VALUES));
}

#[test]
fn only_io_asks_the_operating_system() {
    none("system calls outside daemon/src/io", &naming(&["daemon/src/"], &SYSTEM));
}

#[test]
fn files_begin_with_their_purpose() {
    let bare = sources().into_iter().filter(|source| !source.text.starts_with("//!"));
    none("no header", &bare.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        let listed = LONGER.iter().any(|(path, _)| *path == source.path);
        let length = source.length_without_tests();
        if !source.is_test() && length > LINES_MAX && !listed {
            long.push(format!("{}: {length} lines", source.path));
        }
    }
    none("longer than a file may be", &long);
}

#[test]
fn exceptions_are_still_needed() {
    let sources = sources();
    let exists = |path: &str| sources.iter().any(|source| source.path.starts_with(path));
    let listed = MAY_ASK.iter().chain(&LONGER).map(|(path, _)| *path).chain(MAY_SLEEP);
    none(
        "nothing there",
        &listed.filter(|path| !exists(path)).map(str::to_owned).collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not name them.
    let words =
        [["to", "do!"], ["unimpl", "emented!"], [".unw", "rap()"], ["let _ ", "="], ["TO", "DO"]];
    let words = words.map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in sources() {
        let hits = source.code().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(hits.map(|(number, line)| place(&source, number, line)));
    }
    none("shipped", &found);
}

#[test]
fn tests_neither_sleep_nor_are_skipped() {
    let words =
        [["#[ign", "ore"], ["time::sl", "eep"], ["thread::sl", "eep"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !MAY_SLEEP.contains(&source.path.as_str())) {
        let hits = source.tests().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(hits.map(|(number, line)| place(source, number, line)));
    }
    none("in tests", &found);
}

#[test]
fn the_test_command_names_the_program_that_suites_look_for() {
    let command = fs::read_to_string(root().join("tests/run")).unwrap_or_default();
    // Under another name the suites would test their own build, and pass.
    assert!(
        command.contains(&format!("{UNDER_TEST}=\"$*\"")),
        "tests/run does not set {UNDER_TEST}"
    );
}
