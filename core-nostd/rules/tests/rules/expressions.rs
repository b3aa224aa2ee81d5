//! Random expressions over random payloads, against an evaluator that walks a tree.
//!
//! The evaluator here shares nothing with the crate: it works on `serde_json`'s values, knows no
//! programs and skips nothing.

use core::cmp::Ordering;

use crate::common::{event, set};
use proptest::prelude::*;
use serde_json::{Value, json};
use tributary_rules::{Scratch, Source, Truth};

#[derive(Clone, Debug)]
enum Tree {
    Field(&'static str),
    Literal(Value),
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    IsNull(Box<Tree>, bool),
    In(Box<Tree>, Vec<Tree>, bool),
    Between(Box<Tree>, Box<Tree>, Box<Tree>, bool),
    Call(&'static str, Vec<Tree>),
}

use Tree::{Between, Binary, Call, Field, In, IsNull, Literal, Unary};

/// How tightly what stands at the top of a tree binds; written down here a second time.
fn power(tree: &Tree) -> u8 {
    match tree {
        Binary("OR", ..) => 1,
        Binary("AND", ..) => 2,
        Unary("NOT", _) => 3,
        Binary("||", ..) => 5,
        Binary("+" | "-", ..) => 6,
        Binary("*" | "/" | "%", ..) => 7,
        Binary(..) | IsNull(..) | In(..) | Between(..) => 4,
        Unary(..) => 8,
        _ => 9,
    }
}

/// As text, in parentheses only where they are needed.
fn write(tree: &Tree, least: u8) -> String {
    let own = power(tree);
    // Comparisons do not chain, the others go on to the left.
    let left = if own == 4 { 5 } else { own };
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    let list =
        |trees: &[Tree]| trees.iter().map(|tree| write(tree, 1)).collect::<Vec<_>>().join(", ");
    let text = match tree {
        Field(name) => (*name).to_owned(),
        Literal(Value::String(text)) => format!("'{}'", text.replace('\'', "''")),
        Literal(value) => value.to_string(),
        Unary(op, of) => format!("{op} {}", write(of, own)),
        Binary(op, a, b) => format!("{} {op} {}", write(a, left), write(b, own + 1)),
        IsNull(of, negated) => format!("{} IS {}NULL", write(of, 5), not(negated)),
        In(of, values, negated) => {
            format!("{} {}IN ({})", write(of, 5), not(negated), list(values))
        }
        Between(of, low, high, negated) => {
            let (of, low, high) = (write(of, 5), write(low, 5), write(high, 5));
            format!("{of} {}BETWEEN {low} AND {high}", not(negated))
        }
        Call(name, values) => format!("{name}({})", list(values)),
    };
    if own < least { format!("({text})") } else { text }
}

/// The value of a tree; JSON's null is NULL.
fn value(tree: &Tree, payload: &Value) -> Value {
    let of = |tree: &Tree| value(tree, payload);
    match tree {
        Field(name) => payload.pointer(&pointer(name)).cloned().unwrap_or(Value::Null),
        Literal(value) => value.clone(),
        Unary("NOT", a) => truth(of(a).as_bool().map(|a| !a)),
        Unary(_, a) => calculate("-", &json!(0), &of(a)),
        Binary(op @ ("AND" | "OR"), a, b) => truth(join(op, of(a).as_bool(), of(b).as_bool())),
        Binary("||", a, b) => match (text(&of(a)), text(&of(b))) {
            (Some(a), Some(b)) => Value::from(a + &b),
            _ => Value::Null,
        },
        Binary(op @ ("+" | "-" | "*" | "/" | "%"), a, b) => calculate(op, &of(a), &of(b)),
        Binary(op, a, b) => truth(compare(op, &of(a), &of(b))),
        IsNull(a, negated) => Value::from(of(a).is_null() != *negated),
        In(a, list, negated) => {
            let mut found = Some(false);
            for item in list {
                found = join("OR", found, compare("=", &of(a), &of(item)));
            }
            truth(found.map(|found| found != *negated))
        }
        Between(a, low, high, negated) => {
            let a = of(a);
            let inside = join("AND", compare(">=", &a, &of(low)), compare("<=", &a, &of(high)));
            truth(inside.map(|inside| inside != *negated))
        }
        Call("coalesce", list) => {
            list.iter().map(of).find(|value| !value.is_null()).unwrap_or(Value::Null)
        }
        Call(name, list) => call(name, &list.iter().map(of).collect::<Vec<_>>()),
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace(['.', '['], "/").replace(']', ""))
}

fn truth(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// SQL's table for AND and OR: a value that decides, else NULL if one is NULL.
fn join(op: &str, a: Option<bool>, b: Option<bool>) -> Option<bool> {
    let decides = op == "OR";
    if a == Some(decides) || b == Some(decides) {
        return Some(decides);
    }
    a.and(b)
}

/// An integer, or else the float.
fn number(value: &Value) -> Option<(Option<i64>, f64)> {
    let number = value.as_number()?;
    Some((number.as_i64(), number.as_f64()?))
}

fn calculate(op: &str, a: &Value, b: &Value) -> Value {
    let (Some((a_int, a)), Some((b_int, b))) = (number(a), number(b)) else {
        return Value::Null;
    };
    if let (Some(a), Some(b)) = (a_int.map(i128::from), b_int.map(i128::from)) {
        let exact = match op {
            "+" => Some(a + b),
            "-" => Some(a - b),
            "*" => Some(a * b),
            "/" => (b != 0).then(|| a / b),
            _ => (b != 0).then(|| a % b),
        };
        return exact.and_then(|exact| i64::try_from(exact).ok()).map_or(Value::Null, Value::from);
    }
    let result = match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => a % b,
    };
    // Not finite is `null` in JSON as in SQL.
    Value::from(result)
}

fn compare(op: &str, a: &Value, b: &Value) -> Option<bool> {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => match (number(a)?, number(b)?) {
            ((Some(a), _), (Some(b), _)) => a.cmp(&b),
            ((Some(a), _), (None, b)) => order(a, b),
            ((None, a), (Some(b), _)) => order(b, a).reverse(),
            ((None, a), (None, b)) => a.partial_cmp(&b)?,
        },
    };
    Some(match op {
        "=" => order.is_eq(),
        "<>" | "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// Through 128 bits, where everything near an i64 is exact.
#[expect(clippy::cast_possible_truncation, reason = "an i128 saturates, far from every i64")]
fn order(a: i64, b: f64) -> Ordering {
    i128::from(a).cmp(&(b.floor() as i128)).then(if b.floor() < b {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn call(name: &str, values: &[Value]) -> Value {
    let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    match (name, texts.as_deref(), values) {
        ("lower", Some([a]), _) => Value::from(a.to_ascii_lowercase()),
        ("upper", Some([a]), _) => Value::from(a.to_ascii_uppercase()),
        ("length", Some([a]), _) => Value::from(a.chars().count()),
        ("starts_with", Some([a, b]), _) => Value::from(a.starts_with(b)),
        ("ends_with", Some([a, b]), _) => Value::from(a.ends_with(b)),
        ("contains", Some([a, b]), _) => Value::from(a.contains(b)),
        ("abs", _, [a]) if a.as_i64().is_some() => {
            a.as_i64().and_then(i64::checked_abs).map_or(Value::Null, Value::from)
        }
        ("floor" | "ceil" | "round", _, [a]) if a.as_i64().is_some() => a.clone(),
        ("abs", _, [a]) => a.as_f64().map_or(Value::Null, |a| Value::from(a.abs())),
        ("floor", _, [a]) => a.as_f64().map_or(Value::Null, |a| Value::from(a.floor())),
        ("ceil", _, [a]) => a.as_f64().map_or(Value::Null, |a| Value::from(a.ceil())),
        ("round", _, [a]) => a.as_f64().map_or(Value::Null, |a| Value::from(a.round())),
        _ => Value::Null,
    }
}

fn field() -> impl Strategy<Value = Tree> {
    prop::sample::select(vec!["a", "b", "c", "d.e", "f[1]", "missing"]).prop_map(Field)
}

fn some_number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-4..5_i64).prop_map(Value::from),
        (-8..9_i32).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        prop::sample::select(vec![i64::MAX, i64::MIN, (1 << 53) + 1, 1 << 53])
            .prop_map(Value::from),
        prop::sample::select(vec![
            9_223_372_036_854_775_808.0,
            9_007_199_254_740_992.0,
            1e300,
            0.1
        ])
        .prop_map(Value::from),
    ]
}

fn some_text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["", "a", "ab", "Ab", "é", "it's", "\"\n\\"]).prop_map(Value::from)
}

fn numeric(depth: u32) -> BoxedStrategy<Tree> {
    // A literal that is negative is written with a minus, so it is made of one.
    let leaf = prop_oneof![
        2 => field(),
        1 => some_number().prop_filter("not negative", |n| n.as_f64() >= Some(0.0)).prop_map(Literal),
    ];
    leaf.prop_recursive(depth, 16, 2, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        let one = prop::sample::select(vec!["abs", "floor", "ceil", "round"]);
        prop_oneof![
            3 => (op, inner.clone(), inner.clone()).prop_map(|(op, a, b)| Binary(op, a.into(), b.into())),
            1 => inner.clone().prop_map(|a| Unary("-", a.into())),
            1 => (one, inner.clone()).prop_map(|(name, a)| Call(name, vec![a])),
            1 => textual(1).prop_map(|a| Call("length", vec![a])),
            1 => (inner.clone(), inner).prop_map(|(a, b)| Call("coalesce", vec![a, b])),
        ]
    })
    .boxed()
}

fn textual(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = prop_oneof![2 => field(), 1 => some_text().prop_map(Literal)];
    leaf.prop_recursive(depth, 8, 2, |inner| {
        let one = prop::sample::select(vec!["lower", "upper"]);
        prop_oneof![
            // Floats are written otherwise than by serde_json, so only text is joined.
            2 => (inner.clone(), some_text().prop_map(Literal)).prop_map(|(a, b)| {
                Binary("||", Call("lower", vec![a]).into(), b.into())
            }),
            1 => (one, inner.clone()).prop_map(|(name, a)| Call(name, vec![a])),
            1 => (inner.clone(), inner).prop_map(|(a, b)| Call("coalesce", vec![a, b])),
        ]
    })
    .boxed()
}

fn condition() -> BoxedStrategy<Tree> {
    let comparison = || prop::sample::select(vec!["=", "<>", "!=", "<", "<=", ">", ">="]);
    let search = prop::sample::select(vec!["starts_with", "ends_with", "contains"]);
    let leaf = prop_oneof![
        1 => field(),
        1 => any::<bool>().prop_map(|value| Literal(Value::from(value))),
        4 => (comparison(), numeric(3), numeric(3)).prop_map(|(op, a, b)| Binary(op, a.into(), b.into())),
        2 => (comparison(), textual(2), textual(2)).prop_map(|(op, a, b)| Binary(op, a.into(), b.into())),
        1 => (search, textual(2), textual(2)).prop_map(|(name, a, b)| Call(name, vec![a, b])),
        1 => (numeric(2), any::<bool>()).prop_map(|(a, not)| IsNull(a.into(), not)),
        1 => (numeric(2), prop::collection::vec(numeric(1), 1..4), any::<bool>())
            .prop_map(|(a, list, not)| In(a.into(), list, not)),
        1 => (numeric(1), numeric(1), numeric(1), any::<bool>())
            .prop_map(|(a, low, high, not)| Between(a.into(), low.into(), high.into(), not)),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let op = prop::sample::select(vec!["AND", "OR"]);
        prop_oneof![
            4 => (op, inner.clone(), inner.clone()).prop_map(|(op, a, b)| Binary(op, a.into(), b.into())),
            1 => inner.clone().prop_map(|a| Unary("NOT", a.into())),
            1 => (inner.clone(), any::<bool>()).prop_map(|(a, not)| IsNull(a.into(), not)),
            1 => (inner.clone(), inner).prop_map(|(a, b)| Call("coalesce", vec![a, b])),
        ]
    })
    .boxed()
}

fn payload() -> impl Strategy<Value = Value> {
    let scalar = || {
        prop_oneof![
            4 => some_number(),
            2 => some_text(),
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => Just(json!([1])),
        ]
    };
    (scalar(), scalar(), scalar(), scalar(), scalar(), 0..6_usize).prop_map(
        |(a, b, c, e, f, left_out)| {
            let mut payload = json!({"a": a, "b": b, "c": c, "d": {"e": e}, "f": [0, f]});
            if let (Some(name), Some(fields)) =
                (["a", "b", "c", "d", "f"].get(left_out), payload.as_object_mut())
            {
                fields.remove(*name);
            }
            payload
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn programs_answer_as_the_tree_does(tree in condition(), payload in payload()) {
        let (text, json) = (write(&tree, 1), payload.to_string());
        let set = set(Source { where_: Some(&text), key: None });
        let found = match set.evaluate(&event(json.as_bytes()), &mut Scratch::new()).test(0) {
            Truth::True => Some(true),
            Truth::False => Some(false),
            Truth::Null(_) => None,
        };
        prop_assert_eq!(found, value(&tree, &payload).as_bool(), "{} over {}\n{}", text, json, set.listing(0));
    }
}
