//! The table of MQTT's normative statements names tests that exist, and the code names no statement
//! that the specification does not have.

use std::collections::BTreeSet;
use std::fs;

use tributary_tests::tidy::{root, sources};

/// One statement of the table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    id: String,
    #[serde(default)]
    tests: Vec<String>,
    why: Option<String>,
}

#[derive(serde::Deserialize)]
struct Table {
    statement: Vec<Statement>,
}

fn table() -> Vec<Statement> {
    let text = fs::read_to_string(root().join("tests/mqtt/statements.toml")).expect("the table");
    toml::from_str::<Table>(&text).expect("the table is valid").statement
}

#[test]
fn each_statement_has_a_test_or_a_reason() {
    let mut seen = BTreeSet::new();
    for statement in table() {
        let Statement { id, tests, why } = &statement;
        assert!(seen.insert(id.clone()), "{id} stands there twice");
        assert_eq!(tests.is_empty(), why.is_some(), "{id} has either tests or a reason");
        for test in tests {
            let (file, name) = test.split_once(':').expect("file:function");
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            assert!(text.contains(&format!("fn {name}(")), "{id}: there is no test {test}");
        }
    }
    assert_eq!(seen.len(), 250);
}

#[test]
fn the_code_names_statements_of_the_specification() {
    let known: BTreeSet<String> = table().into_iter().map(|statement| statement.id).collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("daemon/mqtt/src/")) {
        let text = fs::read_to_string(root().join(&source.path)).expect("a source");
        for (at, _) in text.match_indices("MQTT-") {
            let rest = &text[at..];
            let inside = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
            let id = rest[..rest.find(inside).unwrap_or(rest.len())].trim_end_matches('.');
            // Rules of 3.1.1 alone are marked so.
            if !rest[id.len()..].starts_with(" (3.1.1)") && !known.contains(id) {
                wrong.push(format!("{}: {id}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the table:\n{}", wrong.join("\n"));
}
