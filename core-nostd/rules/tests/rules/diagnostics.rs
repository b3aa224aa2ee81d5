//! What people are told about their mistakes: code, place, message, help.

use tributary_rules::{Part, Source, check_key, check_predicate, compile};

/// Expression, code, the text under the caret, and a piece of what is said.
const MISTAKES: [(&str, &str, &str, &str); 54] = [
    ("", "R010", "", "the expression is empty"),
    ("temperature >", "R010", "", "ends behind '>'"),
    ("temperature > > 70", "R010", ">", "expected a value, found '>'"),
    ("temperature >> 70", "R002", ">>", "use a single '>'"),
    ("status == 'ok'", "R002", "==", "use a single '='"),
    ("a > 1 && b > 2", "R002", "&&", "use AND"),
    ("!a", "R002", "!", "use NOT"),
    ("a => 1", "R002", "=>", "use '>='"),
    ("a > 1 || b > 2", "R013", ">", "BETWEEN"),
    ("(a > 1) || (b > 2)", "R022", "a > 1", "write OR"),
    ("status = 'ok", "R003", "'ok", "no closing quote"),
    ("\"status = 1", "R004", "\"status = 1", "no closing quote"),
    ("status = ‘ok’", "R001", "‘", "straight single quotes"),
    ("status = \"ok\"", "R025", "\"ok\"", "single quotes"),
    ("status IN ('a', \"b\")", "R025", "\"b\"", "single quotes"),
    ("starts_with(status, \"o\")", "R025", "\"o\"", "single quotes"),
    ("a > 1;", "R001", ";", "needs no ';'"),
    ("$.a > 1", "R001", "$", "motor.temp"),
    ("a = 12abc", "R005", "12abc", "not a number"),
    ("a = 1.", "R005", "1.", "not a number"),
    ("a = 1e", "R005", "1e", "not a number"),
    ("a = 1e999", "R005", "1e999", "not a number"),
    ("(a > 1", "R012", "(", "never closed"),
    ("a > 1)", "R012", ")", "never opened"),
    ("length(a", "R012", "(", "never closed"),
    ("a > 1 b < 2", "R011", "b", "AND, OR is missing behind '1'"),
    ("a NOT 1", "R011", "1", "IN or BETWEEN"),
    ("1 < a < 3", "R013", "<", "BETWEEN"),
    ("a IS 5", "R014", "5", "IS NULL"),
    ("a IN 5", "R016", "5", "IN ('a', 'b')"),
    ("a IN ()", "R010", ")", "expected a value"),
    ("a BETWEEN 1, 2", "R016", ",", "BETWEEN 10 AND 20"),
    ("a[x] = 1", "R017", "x", "counted from 0"),
    ("a[65536] = 1", "R017", "65536", "65535"),
    ("a[0 = 1", "R017", "=", "expected ']'"),
    ("a.0 = 1", "R017", "0", "readings[0]"),
    ("a.b.c.d.e.f.g.h.i = 1", "R018", ".b.c.d.e.f.g.h.i", "8 levels"),
    ("a LIKE 'x%'", "R019", "LIKE", "starts_with"),
    ("CASE WHEN a THEN b END", "R019", "CASE", "coalesce"),
    ("len(a) = 1", "R020", "len", "did you mean length(text)?"),
    ("contians(a, 'x')", "R020", "contians", "did you mean contains(text, part)?"),
    ("frobnicate(a)", "R020", "frobnicate", "no function"),
    ("length() = 1", "R021", "length()", "length(text)"),
    ("topic(1, 2) = 'a'", "R021", "topic(1, 2)", "topic(n)"),
    ("'a' + 1 = 2", "R022", "'a'", "joined with ||"),
    ("-'a' = 2", "R022", "'a'", "takes numbers"),
    ("topic(2) > 5", "R022", "5", "'5' is text"),
    ("a = 1 OR 2", "R022", "2", "IN (1, 2)"),
    ("abs('x') = 1", "R022", "'x'", "abs takes a number"),
    ("a = NULL", "R023", "NULL", "IS NULL"),
    ("a + 1", "R024", "a + 1", "true or false"),
    ("'ok'", "R024", "'ok'", "true or false"),
    ("topic(0) = 'a'", "R026", "topic(0)", "from 1"),
    ("topic(n) = 'a'", "R026", "topic(n)", "from 1"),
];

#[test]
fn mistakes_are_named_placed_and_helped() {
    for (text, code, place, said) in MISTAKES {
        let found = check_predicate(text).expect_err(text);
        assert_eq!((found.code, &text[found.span.clone()]), (code, place), "{text}: {found}");
        assert!(found.to_string().contains(said), "{text}: {found}");
    }
}

#[test]
fn a_key_may_be_of_any_type() {
    for text in ["a", "topic(2)", "a + 1", "a > 1", "'fixed'", "\"a\""] {
        assert_eq!(check_key(text), Ok(()), "{text}");
    }
    assert_eq!(check_key("a +").expect_err("cut off").code, "R010");
}

#[test]
fn the_route_and_the_part_are_named() {
    let good = Source { where_: Some("a > 1"), key: Some("b") };
    let error = compile(&[good, Source { key: Some("b >"), ..good }]).expect_err("cut off");
    assert_eq!((error.route, error.part), (1, Part::Key));
    assert_eq!(error.to_string(), format!("route 1, key: {}", error.diagnostic));
}

#[test]
fn limits_are_named() {
    let code = |text: &str| check_predicate(text).expect_err("beyond a limit").code;
    assert_eq!(code(&"a".repeat(9000)), "R006");
    assert_eq!(code(&format!("{}a{}", "(".repeat(33), ")".repeat(33))), "R015");
    assert_eq!(code(&format!("{}a", "NOT ".repeat(33))), "R015");
    // Every level holds a register while the next one is computed.
    let sums = format!("0 < {}a{}", "(a + 1) + (a + 1) * (".repeat(20), ")".repeat(20));
    assert_eq!(code(&sums), "R015");
    let names: Vec<String> = (0..65).map(|n| format!("f{n} = 1")).collect();
    assert_eq!(code(&names.join(" OR ")), "R030");
    assert_eq!(check_predicate(&names[..64].join(" OR ")), Ok(()));
    let routes = vec![Source::default(); 1025];
    assert_eq!(compile(&routes).expect_err("too many").diagnostic.code, "R031");
    let texts: Vec<String> = (0..40).map(|n| format!("a = '{n}{}'", "x".repeat(8000))).collect();
    let routes: Vec<Source<'_>> =
        texts.iter().map(|text| Source { where_: Some(text), key: None }).collect();
    assert_eq!(compile(&routes).expect_err("too large").diagnostic.code, "R032");
}

#[test]
fn long_chains_need_neither_stack_nor_registers() {
    let sum = format!("1{} > 0", "+1".repeat(4000));
    assert_eq!(check_predicate(&sum), Ok(()));
    let all = format!("a{}", " AND a".repeat(1300));
    assert_eq!(check_predicate(&all), Ok(()));
}
