//! What expressions mean: each row is an expression, a payload and the answer.

use crate::common::{FALSE, NULL, TRUE, event, key, test};
use tributary_core::record::{Event, Qos};
use tributary_rules::{Scratch, Set, Source, Truth, Why, compile};

#[test]
fn comparisons() {
    for (expression, payload, expected) in [
        ("temperature > 70", r#"{"temperature":70.5}"#, TRUE),
        ("temperature > 70", r#"{"temperature":70}"#, FALSE),
        ("temperature >= 70.0", r#"{"temperature":70}"#, TRUE),
        ("a = 1e2", r#"{"a":100}"#, TRUE),
        ("a <> 1", r#"{"a":1.0}"#, FALSE),
        ("a != 'x'", r#"{"a":"y"}"#, TRUE),
        ("a < b", r#"{"a":"Z","b":"a"}"#, TRUE),
        ("a < b", r#"{"a":"a","b":"aa"}"#, TRUE),
        ("a < b", r#"{"a":false,"b":true}"#, TRUE),
        // 2^53 + 1 is no f64: rounding would make them equal.
        ("a = 9007199254740993", r#"{"a":9007199254740992.0}"#, FALSE),
        ("a > 9007199254740992.0", r#"{"a":9007199254740993}"#, TRUE),
        ("a = -9223372036854775808", r#"{"a":-9223372036854775808}"#, TRUE),
        ("a > 9223372036854775807", r#"{"a":9223372036854775808}"#, TRUE),
        ("battery < 3.7", r#"{"battery":3.70}"#, FALSE),
    ] {
        assert_eq!(test(expression, payload), expected, "{expression} {payload}");
    }
}

#[test]
fn three_valued_logic() {
    for (expression, expected) in [
        ("TRUE AND TRUE", TRUE),
        ("TRUE AND FALSE", FALSE),
        ("FALSE AND NULL", FALSE),
        ("NULL AND FALSE", FALSE),
        ("TRUE AND NULL", NULL),
        ("NULL AND TRUE", NULL),
        ("NULL OR TRUE", TRUE),
        ("TRUE OR NULL", TRUE),
        ("FALSE OR NULL", NULL),
        ("NULL OR FALSE", NULL),
        ("FALSE OR FALSE", FALSE),
        ("NOT NULL", NULL),
        ("NOT FALSE", TRUE),
        ("nil IS NULL", TRUE),
        ("nil IS NOT NULL", FALSE),
        ("one IS NULL", FALSE),
        ("one IN (2, 1)", TRUE),
        ("one IN (2, 3)", FALSE),
        ("one IN (2, NULL)", NULL),
        ("one IN (NULL, 1)", TRUE),
        ("nil IN (1, 2)", NULL),
        ("one NOT IN (2, 3)", TRUE),
        ("one NOT IN (1, NULL)", FALSE),
        ("one NOT IN (2, NULL)", NULL),
        ("one BETWEEN 0 AND 1", TRUE),
        ("one BETWEEN 2 AND 3", FALSE),
        ("one BETWEEN 2 AND nil", FALSE),
        ("one BETWEEN nil AND 0", FALSE),
        ("one BETWEEN 0 AND nil", NULL),
        ("one NOT BETWEEN 2 AND nil", TRUE),
        ("nil + 1 IS NULL", TRUE),
        ("-nil IS NULL", TRUE),
        ("nil || 'a' IS NULL", TRUE),
        ("coalesce(nil, nil, one) = 1", TRUE),
        ("coalesce(nil, nil) IS NULL", TRUE),
        // What follows a jump is no part of what the jump skips.
        ("TRUE AND coalesce(FALSE, one = 1)", FALSE),
        ("FALSE OR coalesce(TRUE, one = 2)", TRUE),
        ("coalesce(FALSE, one = 1) AND TRUE", FALSE),
    ] {
        let payload = r#"{"one":1,"nil":null}"#;
        assert_eq!(test(expression, payload), expected, "{expression}");
    }
}

#[test]
fn operators_bind_as_in_sql() {
    for (expression, expected) in [
        ("1 + 2 * 3 = 7", TRUE),
        ("(1 + 2) * 3 = 9", TRUE),
        ("10 - 4 - 3 = 3", TRUE),
        ("-2 * -3 = 6", TRUE),
        ("- one + 2 = 1", TRUE),
        ("7 / 2 = 3 AND -7 / 2 = -3 AND 7 / 2.0 = 3.5", TRUE),
        ("7 % 4 = 3 AND -7 % 4 = -3 AND 7.5 % 2 = 1.5", TRUE),
        ("TRUE OR FALSE AND FALSE", TRUE),
        ("NOT FALSE AND FALSE", FALSE),
        ("NOT one = 2", TRUE),
        ("NOT one IN (1)", FALSE),
        ("'a' || 1 + 2 = 'a3'", TRUE),
        ("one = 1 AND one BETWEEN 0 AND 5 AND TRUE", TRUE),
        ("oNe = 1 oR one = 1", TRUE),
        ("one = 1 -- a comment\n AND TRUE", TRUE),
    ] {
        assert_eq!(test(expression, r#"{"one":1}"#), expected, "{expression}");
    }
}

#[test]
fn fields_are_found_by_their_path() {
    let payload = r#"{"motor":{"temp":71,"in":1,"x y":2},"a":[10,{"b":[1,2,3]}],"":3,"q\"":4,"é":5,
        "very_long_name_one":6,"very_long_name_two":7}"#;
    for expression in [
        "motor.temp = 71",
        "motor.in = 1",
        "motor.\"x y\" = 2",
        "\"motor\".\"temp\" = 71",
        "a[0] = 10",
        "a[1].b[2] = 3",
        "\"\" = 3",
        "\"q\"\"\" = 4",
        "é = 5",
        "very_long_name_one = 6 AND very_long_name_two = 7",
        "Motor.temp IS NULL",
        "motor.temp.x IS NULL AND a[9] IS NULL AND a.b IS NULL AND motor[0] IS NULL",
        "motor IS NOT NULL AND motor.temp IS NOT NULL AND a IS NOT NULL",
    ] {
        assert_eq!(test(expression, payload), TRUE, "{expression}");
    }
}

#[test]
fn escapes_are_undone_before_anything_is_compared() {
    let payload =
        r#"{"\u0073tatus":"o\u006b","path":"a\/b\"c","smile":"\ud83d\ude00","plain":"ok"}"#;
    for expression in [
        "status = 'ok'",
        "status = plain AND plain = status",
        "path = 'a/b\"c'",
        "smile = '😀'",
        "length(smile) = 1 AND length(path) = 5",
        "upper(status) = 'OK' AND status || 'x' = 'okx'",
        "starts_with(path, 'a/') AND ends_with(path, '\"c') AND contains(path, 'b\"')",
    ] {
        assert_eq!(test(expression, payload), TRUE, "{expression}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_with_all_below_it() {
    for (expression, payload, expected) in [
        ("a = 2", r#"{"a":1,"a":2}"#, TRUE),
        ("a = 2", r#"{"a":1,"\u0061":2}"#, TRUE),
        ("a.b = 1", r#"{"a":{"b":1},"a":{"c":2}}"#, Truth::Null(Why::MISSING)),
        ("a.b = 1", r#"{"a":{"b":1},"a":7}"#, Truth::Null(Why::MISSING)),
        ("a.b = 1", r#"{"a":{"b":5},"a":{"b":1}}"#, TRUE),
        ("a[1] = 1", r#"{"a":[0,1],"a":[0]}"#, Truth::Null(Why::MISSING)),
    ] {
        assert_eq!(test(expression, payload), expected, "{expression} {payload}");
    }
}

#[test]
fn null_comes_with_its_reason() {
    for (expression, payload, why) in [
        ("t > 70", "21.5 degrees", Why::NOT_JSON),
        ("t > 70", "", Why::NOT_JSON),
        ("t > 70", "{}", Why::MISSING),
        ("t > 70", "[1]", Why::MISSING),
        ("t > 70", r#"{"t":null}"#, Why::NONE),
        ("t > 70", r#"{"t":"hot"}"#, Why::TYPE),
        ("t > 70", r#"{"t":[71]}"#, Why::TYPE),
        ("t > 70", r#"{"t":true}"#, Why::TYPE),
        ("t", r#"{"t":1}"#, Why::TYPE),
        ("t AND TRUE", r#"{"t":1}"#, Why::TYPE),
        ("NOT t", r#"{"t":"no"}"#, Why::TYPE),
        ("length(t) = 1", r#"{"t":1}"#, Why::TYPE),
        ("t || 'x' = 'x'", r#"{"t":{}}"#, Why::TYPE),
        ("1 / t = 1", r#"{"t":0}"#, Why::ARITHMETIC),
        ("1 % t = 1", r#"{"t":0.0}"#, Why::ARITHMETIC),
        ("t + 1 > 0", r#"{"t":9223372036854775807}"#, Why::ARITHMETIC),
        ("-t > 0", r#"{"t":-9223372036854775808}"#, Why::ARITHMETIC),
        ("t * t > 0", r#"{"t":1e300}"#, Why::ARITHMETIC),
        ("topic(9) = 'x'", "{}", Why::MISSING),
        ("t > 70 OR u > 1", r#"{"t":"hot"}"#, Why::TYPE | Why::MISSING),
    ] {
        assert_eq!(test(expression, payload), Truth::Null(why), "{expression} {payload}");
    }
}

#[test]
fn functions_answer_as_documented() {
    for expression in [
        "topic() = 'plant/p1/telemetry' AND topic(1) = 'plant' AND topic(3) = 'telemetry'",
        "client() = 'c1' AND qos() = 1 AND NOT retained()",
        "contains(payload(), '\"t\"')",
        "abs(-5) = 5 AND abs(t) = 2.5",
        "floor(t) = -3 AND ceil(t) = -2 AND round(t) = -3 AND round(7) = 7",
        "lower('AbÉ') = 'abÉ' AND upper('abé') = 'ABé'",
        "length('') = 0 AND length('é') = 1",
        "coalesce(missing, 'none') = 'none'",
        "starts_with('abc', '') AND NOT starts_with('abc', 'b')",
        "ends_with('abc', 'bc') AND NOT ends_with('bc', 'abc')",
        "contains('abc', 'b') AND NOT contains('abc', 'x')",
    ] {
        assert_eq!(test(expression, r#"{"t":-2.5}"#), TRUE, "{expression}");
    }
}

#[test]
fn keys_are_text() {
    let payload = r#"{"id":12345678901234567890,"price":5.10,"whole":5.0,"n":7,"ok":true,"s":"a\u0062",
        "nil":null,"o":{}}"#;
    for (expression, expected) in [
        ("topic(2)", Ok("p1")),
        ("'id-' || id", Ok("id-12345678901234567890")),
        ("price", Ok("5.10")),
        ("price * 2", Ok("10.2")),
        ("whole * 1", Ok("5")),
        ("n + 1", Ok("8")),
        ("ok", Ok("true")),
        ("n > 7", Ok("false")),
        ("s", Ok("ab")),
        ("s || '-' || n || '-' || s", Ok("ab-7-ab")),
        ("coalesce(s || 'x', s) || (s || 'y')", Ok("abxaby")),
        ("''", Ok("")),
        ("nil", Err(Why::NONE)),
        ("missing", Err(Why::MISSING)),
        ("o", Err(Why::TYPE)),
        ("n / 0", Err(Why::ARITHMETIC)),
    ] {
        let found = key(expression, payload);
        assert_eq!(found.as_deref().map_err(|why| *why), expected, "{expression}");
    }
}

#[test]
fn text_is_bounded() {
    let long = format!(r#"{{"s":"{}"}}"#, "x".repeat(600));
    assert_eq!(test("s || s = s", &long), Truth::Null(Why::TOO_LONG));
    assert_eq!(test("s = s", &long), TRUE);
    assert_eq!(key("s", &long), Err(Why::TOO_LONG), "the caller's buffer has 256 bytes");
    let escaped = format!(r#"{{"s":"{}"}}"#, "\\u0078".repeat(2000));
    assert_eq!(test("length(s) = 2000 AND s > 'xxxx'", &escaped), TRUE);
    assert_eq!(test("contains(s, 'y')", &escaped), Truth::Null(Why::TOO_LONG));
}

#[test]
fn a_route_without_expressions_selects_all() {
    let set = Set::verify(compile(&[Source::default()]).unwrap()).unwrap();
    let event = event(b"not json");
    let mut scratch = Scratch::new();
    let mut evaluation = set.evaluate(&event, &mut scratch);
    assert_eq!((set.len(), set.has_key(0)), (1, false));
    assert!(evaluation.test(0).passes());
    assert_eq!(evaluation.key(0, &mut [0; 8]), Err(Why::NONE));
    assert_eq!(Set::verify(compile(&[]).unwrap()).map(|set| set.is_empty()), Ok(true));
}

#[test]
fn scratch_keeps_nothing_of_the_last_event() {
    let source = Source { where_: Some("a.b = 1 OR s || 'x' = 'okx'"), key: Some("s") };
    let set = Set::verify(compile(&[source, source]).unwrap()).unwrap();
    let mut scratch = Scratch::new();
    let full = event(br#"{"a":{"b":1},"s":"ok"}"#);
    assert_eq!(set.evaluate(&full, &mut scratch).test(1), TRUE);
    let empty = event(b"{}");
    let mut evaluation = set.evaluate(&empty, &mut scratch);
    assert_eq!(evaluation.test(0), Truth::Null(Why::MISSING));
    assert_eq!(evaluation.key(1, &mut [0; 8]), Err(Why::MISSING));
    let broken = Event { qos: Qos::ExactlyOnce, ..event(br#"{"a":{"b":1},"s":"ok""#) };
    assert_eq!(set.evaluate(&broken, &mut scratch).test(0), Truth::Null(Why::NOT_JSON));
}

#[test]
fn programs_can_be_read() {
    let source = Source {
        where_: Some("motor.\"x y\"[2] > 70 AND status IN ('ok', 'it''s') AND NOT retained()"),
        key: Some("coalesce(id, topic(2))"),
    };
    let set = Set::verify(compile(&[source]).unwrap()).unwrap();
    let expected = "\
where
   0  r0 = motor.\"x y\"[2] > 70; if false return it
   1  r1 = status = 'ok'; if true go to 3
   2  r1 = r1 OR status = 'it''s'
   3  r0 = r0 AND r1
   4  if r0 is false go to 7
   5  r1 = NOT retained()
   6  r0 = r0 AND r1
   7  return r0
key
   0  r0 = id
   1  if r0 is not null go to 3
   2  r0 = topic(2)
   3  return r0
";
    assert_eq!(set.listing(0).to_string(), expected);
}

/// The format is kept in logs: these bytes, once written, mean the same in every later version.
#[test]
fn a_set_that_was_written_long_ago_is_read() {
    let source = Source { where_: Some("motor.t > 70 AND a[1] <> 'x'"), key: Some("topic(2)") };
    let written = include_bytes!("set_v1.bin");
    assert_eq!(compile(&[source]).as_deref(), Ok(&written[..]));
    let set = Set::verify(written).unwrap();
    let event = event(br#"{"motor":{"t":71},"a":[0,"y"]}"#);
    let (mut scratch, mut out) = (Scratch::new(), [0; 8]);
    let mut evaluation = set.evaluate(&event, &mut scratch);
    assert_eq!(evaluation.test(0), TRUE);
    assert_eq!(evaluation.key(0, &mut out), Ok("p1".as_bytes()));
}
