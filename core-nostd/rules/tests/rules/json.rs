//! The scan of payloads against `serde_json`: the same texts are JSON, and the same fields are found.

use crate::common::{event, set};
use proptest::prelude::*;
use serde_json::Value;
use tributary_rules::{Scratch, Set, Source, Truth, Why};

/// Fields at every kind of place, among them some that share their beginning.
const FIELDS: [&str; 8] =
    ["a", "b", "a.b", "a.c.a", "b[0]", "b[1].a", "\"temperature\"", "temperature_of_motor"];

/// The field in `serde_json`'s own notation.
const POINTERS: [&str; 8] =
    ["/a", "/b", "/a/b", "/a/c/a", "/b/0", "/b/1/a", "/temperature", "/temperature_of_motor"];

/// Asks for all fields.
fn probe() -> Set<Vec<u8>> {
    set(Source {
        where_: Some(&FIELDS.map(|field| format!("{field} = 1")).join(" OR ")),
        key: None,
    })
}

fn is_json(set: &Set<Vec<u8>>, payload: &[u8]) -> bool {
    let (event, mut scratch) = (event(payload), Scratch::new());
    let mut evaluation = set.evaluate(&event, &mut scratch);
    match evaluation.test(0) {
        Truth::Null(why) => !why.contains(Why::NOT_JSON),
        Truth::True | Truth::False => true,
    }
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Compares acceptance, and each field that is text, number or truth value, as text.
fn agree(payload: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(payload);
    let theirs = serde_json::from_slice::<Value>(payload).ok().filter(|value| depth(value) <= 64);
    let acceptance = set(Source { where_: Some("a = 1"), key: None });
    prop_assert_eq!(is_json(&acceptance, payload), theirs.is_some(), "{}", shown);
    let event = event(payload);
    for (field, pointer) in FIELDS.iter().zip(POINTERS) {
        let set = set(Source { where_: Some(&format!("{field} IS NULL")), key: Some(field) });
        let (mut scratch, mut out) = (Scratch::new(), [0; 512]);
        let mut evaluation = set.evaluate(&event, &mut scratch);
        let found = theirs.as_ref().and_then(|value| value.pointer(pointer));
        let null = found.is_none_or(Value::is_null);
        prop_assert_eq!(evaluation.test(0).passes(), null, "{} in {}", field, shown);
        let key = evaluation.key(0, &mut out).map(|key| String::from_utf8_lossy(key).into_owned());
        match found {
            Some(Value::String(text)) => prop_assert_eq!(key, Ok(text.clone())),
            Some(Value::Bool(value)) => prop_assert_eq!(key, Ok(value.to_string())),
            Some(Value::Number(number)) => {
                let key = key.expect("a number has a text form");
                prop_assert_eq!(key.parse::<f64>().ok(), number.as_f64(), "{}", shown);
                let exact = number.as_i64().is_none_or(|number| key.parse() == Ok(number));
                prop_assert!(exact, "{} in {}", key, shown);
            }
            _ => prop_assert!(key.is_err(), "{} in {}", field, shown),
        }
    }
    Ok(())
}

#[test]
fn what_is_no_json_is_refused() {
    let probe = probe();
    for payload in [
        "{\"a\":1",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{a:1}",
        "{'a':1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "0x1",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "falsey",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800x\"",
        "\"a\nb\"",
        "\"a\u{1}b\"",
        "\"",
        "{} {}",
        "1 1",
        "\u{feff}{}",
        "//\n{}",
        "\u{b}1",
        "]",
        "}",
        "[}",
        "{]",
        "",
        " ",
        "[\"\\",
        "{\"a\":1}x",
    ] {
        assert!(serde_json::from_str::<Value>(payload).is_err(), "{payload}");
        assert!(!is_json(&probe, payload.as_bytes()), "{payload}");
        // The same in a part that nobody asks for.
        let inside = format!("{{\"skipped\":{payload},\"a\":1}}");
        let theirs = serde_json::from_str::<Value>(&inside).is_ok();
        assert_eq!(is_json(&probe, inside.as_bytes()), theirs, "{inside}");
    }
    assert!(!is_json(&probe, b"\"\xc3\""));
    assert!(!is_json(&probe, b"{\"skipped\":\"\xff\"}"));
}

#[test]
fn nesting_is_bounded() {
    let probe = probe();
    for (open, close) in [("[", "]"), ("{\"skipped\":", "}"), ("{\"b\":", "}"), ("[{\"a\":", "}]")]
    {
        let levels = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            let (open, close) = (open.repeat(depth / levels), close.repeat(depth / levels));
            format!("{open}1{close}")
        };
        assert!(is_json(&probe, nested(64).as_bytes()), "{open}");
        assert!(!is_json(&probe, nested(64 + levels).as_bytes()), "{open}");
    }
    let hostile = "[".repeat(200_000);
    assert!(!is_json(&probe, hostile.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_bytes(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
        agree(&payload)?;
    }

    #[test]
    fn any_tokens(tokens in proptest::collection::vec(token(), 0..24)) {
        agree(tokens.concat().as_bytes())?;
    }

    #[test]
    fn any_document(document in document(), space in prop::sample::select(vec!["", " ", "\n\t"])) {
        agree(spaced(&document, space).as_bytes())?;
    }

    #[test]
    fn any_document_with_bytes_changed(
        document in document(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), byte()), 1..4),
    ) {
        let mut payload = document.into_bytes();
        for (index, byte) in changes {
            let index = index.index(payload.len());
            payload[index] = byte;
        }
        agree(&payload)?;
    }
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(b"{}[]:,\"\\0159.eE+-tfnu \n\x01\x7f\x80\xc3".to_vec())
    ]
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"b\"",
        "\"c\"",
        "\"\\u0061\"",
        "\"\\ud83d\\ude00\"",
        "\"\\n\"",
        "1",
        "-0",
        "2.50",
        "1e3",
        "-1E-2",
        "123456789012345678901",
        "true",
        "false",
        "null",
        " ",
        "\"",
        "{\"a\":",
        "{\"b\":[",
        "],",
        "},",
        "\"long text without any escape\"",
        "\"é\"",
    ])
}

/// White space around every mark that is not in a string.
fn spaced(document: &str, space: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for c in document.chars() {
        let mark = !inside && matches!(c, '{' | '}' | '[' | ']' | ':' | ',');
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = inside && c == '\\' && !escaped;
        out.push_str(if mark { space } else { "" });
        out.push(c);
        out.push_str(if mark { space } else { "" });
    }
    out
}

/// A document as text, so that keys may stand twice.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        (-1000..1000_i32, 0..100_u32).prop_map(|(whole, part)| format!("{whole}.{part:02}")),
        "\\PC{0,12}".prop_map(|text| Value::from(text).to_string()),
        "[a-z]{0,4}"
            .prop_map(|text| {
                text.chars()
                    .map(|c| format!("\\u{:04x}", u32::from(c)))
                    .collect::<Vec<_>>()
                    .concat()
            })
            .prop_map(|text| format!("\"{text}\"")),
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "temperature", "temperature_of_motor", "\\u0061", "other"])
            .prop_map(str::to_owned),
        1 => "[a-z]{0,10}",
    ];
    scalar.prop_recursive(5, 40, 5, move |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..5)
            .prop_map(|values| format!("[{}]", values.join(",")));
        let object = proptest::collection::vec((key.clone(), inner), 0..5).prop_map(|pairs| {
            let pairs: Vec<String> =
                pairs.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", pairs.join(","))
        });
        prop_oneof![1 => array, 3 => object]
    })
}
