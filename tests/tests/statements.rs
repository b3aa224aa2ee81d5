//! The tables of MQTT's normative statements name tests that exist, and the code names no statement
//! that the specifications do not have.

use std::collections::BTreeSet;
use std::fs;

use tributary_tests::tidy::{root, sources};

const MQTT_5: &str = "statements.toml";
const MQTT_3_1_1: &str = "statements-3.1.1.toml";

/// One statement of a table.
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

/// The statements of a version of MQTT.
fn table(file: &str) -> Vec<Statement> {
    let text = fs::read_to_string(root().join("tests/mqtt").join(file)).expect("the table");
    toml::from_str::<Table>(&text).expect("the table is valid").statement
}

fn ids(file: &str) -> BTreeSet<String> {
    table(file).into_iter().map(|statement| statement.id).collect()
}

#[test]
fn each_statement_has_a_test_or_a_reason() {
    // As many as appendix B of each specification lists.
    for (file, count) in [(MQTT_5, 251), (MQTT_3_1_1, 141)] {
        let mut seen = BTreeSet::new();
        for statement in table(file) {
            let Statement { id, tests, why } = &statement;
            assert!(seen.insert(id.clone()), "{id} stands there twice");
            assert_eq!(tests.is_empty(), why.is_some(), "{id} has either tests or a reason");
            for test in tests {
                let (file, name) = test.split_once(':').expect("file:function");
                let text = fs::read_to_string(root().join(file)).unwrap_or_default();
                assert!(text.contains(&format!("fn {name}(")), "{id}: there is no test {test}");
            }
        }
        assert_eq!(seen.len(), count, "{file}");
    }
}

#[test]
fn the_code_names_statements_of_the_specification() {
    let (known_5, known_3_1_1) = (ids(MQTT_5), ids(MQTT_3_1_1));
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("daemon/mqtt/src/")) {
        let text = fs::read_to_string(root().join(&source.path)).expect("a source");
        for (at, _) in text.match_indices("MQTT-") {
            let rest = &text[at..];
            let inside = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
            let id = rest[..rest.find(inside).unwrap_or(rest.len())].trim_end_matches('.');
            // Rules of 3.1.1 alone are marked so.
            let is_old = rest[id.len()..].starts_with(" (3.1.1)");
            let known = if is_old { &known_3_1_1 } else { &known_5 };
            if !known.contains(id) {
                wrong.push(format!("{}: {id}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the tables:\n{}", wrong.join("\n"));
}
