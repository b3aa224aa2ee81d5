//! Expressions, payloads, compiled programs and configurations.

use tributary::config::Config;
use tributary::config::problem::Problems;
use tributary_rules::{Scratch, Set, Source, check_key, check_predicate, compile};

use super::{Target, event, texts};

pub(super) const EXPRESSIONS: Target =
    Target { name: "expressions", feed: feed_expression, good: || texts(&CONDITIONS) };
pub(super) const PAYLOADS: Target =
    Target { name: "payloads", feed: feed_payload, good: || texts(&OBJECTS) };
pub(super) const PROGRAMS: Target = Target { name: "programs", feed: feed_program, good: programs };
pub(super) const CONFIGURATIONS: Target =
    Target { name: "configurations", feed: feed_configuration, good: || texts(&FILES) };

const CONDITIONS: [&str; 6] = [
    "a.b[1] > 70 AND status IN ('ok', s, 'x') OR NOT (t BETWEEN 1 AND 2.5)",
    "abs(t) + -t * 3 / u % 7 - floor(t) <= round(u) AND length(s) = 2 -- why",
    "\"odd name\" IS NOT NULL AND topic(2) <> 'it''s' || lower(s)",
    "contains(payload(), s) AND qos() < 2 AND retained() = TRUE",
    "coalesce(id, topic(2)) || '-' || upper(s || t)",
    "((((((((1 = 1))))))))",
];

pub(super) const OBJECTS: [&str; 5] = [
    r#"{"a":{"b":[1,71]},"status":"ok","s":"ok","t":-2.5,"u":3,"id":12345678901234567890}"#,
    r#"{"a":[[[[]]]],"a":{"b":{}},"s":"\ud83d\ude00","t":1e300,"u":0}"#,
    r#"{"odd name":null,"s":"\"\\\/\b\f\n\r\t\u00e9","t":true}"#,
    "[1,2",
    " \t\n{ \"t\" : 0.1e-7 , \"u\" : -0 } ",
];

const FILES: [&str; 4] = [
    "gateway = \"gw-1\"\n[log]\ndir = \"d\"\nsize = \"1 GiB\"\ncommit = { delay = \"5 ms\" }\n",
    "[[listener]]\naddress = \"127.0.0.1:1883\"\n[upstream]\nbrokers = [\"127.0.0.1:9092\"]\n",
    "[upstream]\nbrokers = [\"[::1]:9\"]\n[[route]]\nfrom = \"a/+/#\"\ntopic = \"t\"\n\
     where = \"x > 1 AND s = 'é\\u00e9\\\"' OR \\ty\"\nkey = \"\"\"topic(2)\n\"\"\"\nstart = \"oldest\"\n",
    "[[route]]\nfrom = \"a\"\ntopic = \"é\"\nwhere = '''\nx >> 'ü'\n'''\n",
];

fn feed_expression(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let told = [check_predicate(&text).err(), check_key(&text).err()];
    for diagnostic in told.into_iter().flatten() {
        assert!(!diagnostic.to_string().is_empty());
    }
    if let Ok(set) = compile(&[Source { where_: Some(&text), key: Some(&text) }]) {
        evaluate(&Set::verify(set).expect("what was compiled verifies"), OBJECTS[0].as_bytes());
    }
}

fn evaluate(set: &Set<Vec<u8>>, payload: &[u8]) {
    let (event, mut scratch, mut key) = (event(payload), Scratch::new(), [0; 64]);
    let mut evaluation = set.evaluate(&event, &mut scratch);
    for route in 0..set.len() {
        let first = evaluation.test(route);
        assert_eq!(evaluation.test(route), first);
        // Whether there is room for a key depends on the payload.
        evaluation.key(route, &mut key).map(<[u8]>::len).unwrap_or_default();
    }
}

fn feed_payload(bytes: &[u8]) {
    let sources = CONDITIONS.map(|text| Source { where_: Some(text), key: None });
    let set = compile(&sources[..4]).expect("they are conditions");
    evaluate(&Set::verify(set).expect("it verifies"), bytes);
}

fn programs() -> Vec<Vec<u8>> {
    let one = |text: &&str| compile(&[Source { where_: Some(text), key: None }]);
    CONDITIONS[..4].iter().map(|text| one(text).expect("a condition")).collect()
}

fn feed_program(bytes: &[u8]) {
    if let Ok(set) = Set::verify(bytes.to_vec()) {
        evaluate(&set, OBJECTS[0].as_bytes());
    }
}

fn feed_configuration(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes).into_owned();
    if let Err(list) = Config::parse(&source) {
        let problems = Problems { path: "tributary.toml".into(), source, list };
        assert!(problems.render(false).contains("error"));
    }
}
