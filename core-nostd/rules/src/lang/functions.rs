//! The functions of the language, as a table.

use crate::set::{Attribute, Op};

/// What the checker knows of a value before it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A field: anything.
    Any,
    Null,
    Bool,
    Number,
    Text,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "a field",
            Self::Null => "NULL",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
        }
    }

    /// Whether a value of this type may turn out to be one of `other`.
    pub(crate) fn may_be(self, other: Self) -> bool {
        self == other || [self, other].iter().any(|side| matches!(side, Self::Any | Self::Null))
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// Something of the event.
    Event(Attribute),
    /// The whole topic, or with a number one of its levels.
    Topic,
    /// An instruction of its own.
    Operation(Op),
    /// The first argument that is not NULL.
    Coalesce,
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) callee: Callee,
    /// The least and the greatest number of arguments.
    pub(crate) arguments: (usize, usize),
    /// What each argument must be.
    pub(crate) takes: Type,
    pub(crate) returns: Type,
}

const fn of_event(
    name: &'static str,
    usage: &'static str,
    attribute: Attribute,
    returns: Type,
) -> Function {
    let callee = Callee::Event(attribute);
    Function { name, usage, callee, arguments: (0, 0), takes: Type::Any, returns }
}

const fn of_number(name: &'static str, usage: &'static str, op: Op) -> Function {
    let callee = Callee::Operation(op);
    Function { name, usage, callee, arguments: (1, 1), takes: Type::Number, returns: Type::Number }
}

const fn of_text(name: &'static str, usage: &'static str, op: Op, returns: Type) -> Function {
    let callee = Callee::Operation(op);
    Function { name, usage, callee, arguments: (1, 1), takes: Type::Text, returns }
}

const fn of_texts(name: &'static str, usage: &'static str, op: Op) -> Function {
    let callee = Callee::Operation(op);
    Function { name, usage, callee, arguments: (2, 2), takes: Type::Text, returns: Type::Bool }
}

/// All functions.
pub(crate) static FUNCTIONS: [Function; 16] = [
    Function {
        name: "topic",
        usage: "topic() or topic(n)",
        callee: Callee::Topic,
        arguments: (0, 1),
        takes: Type::Number,
        returns: Type::Text,
    },
    of_event("client", "client()", Attribute::Client, Type::Text),
    of_event("qos", "qos()", Attribute::Qos, Type::Number),
    of_event("retained", "retained()", Attribute::Retained, Type::Bool),
    of_event("payload", "payload()", Attribute::Payload, Type::Text),
    of_number("abs", "abs(number)", Op::Absolute),
    of_number("floor", "floor(number)", Op::Floor),
    of_number("ceil", "ceil(number)", Op::Ceiling),
    of_number("round", "round(number)", Op::Round),
    of_text("lower", "lower(text)", Op::Lower, Type::Text),
    of_text("upper", "upper(text)", Op::Upper, Type::Text),
    of_text("length", "length(text)", Op::Length, Type::Number),
    of_texts("starts_with", "starts_with(text, start)", Op::StartsWith),
    of_texts("ends_with", "ends_with(text, end)", Op::EndsWith),
    of_texts("contains", "contains(text, part)", Op::Contains),
    Function {
        name: "coalesce",
        usage: "coalesce(value, value, ...)",
        callee: Callee::Coalesce,
        arguments: (1, usize::MAX),
        takes: Type::Any,
        returns: Type::Any,
    },
];

/// The names that other dialects give to some of them.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("len", "length"),
    ("char_length", "length"),
    ("ucase", "upper"),
    ("lcase", "lower"),
    ("ceiling", "ceil"),
    ("ifnull", "coalesce"),
    ("nvl", "coalesce"),
    ("clientid", "client"),
    ("client_id", "client"),
    ("retain", "retained"),
    ("startswith", "starts_with"),
    ("endswith", "ends_with"),
];

/// The function of a name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The function that somebody who wrote `name` may have meant.
pub(crate) fn similar(name: &str) -> Option<&'static Function> {
    let name = name.to_ascii_lowercase();
    if let Some((_, ours)) = OTHER_NAMES.iter().find(|(other, _)| *other == name) {
        return find(ours);
    }
    let nearest = FUNCTIONS.iter().min_by_key(|function| distance(&name, function.name))?;
    let near = distance(&name, nearest.name) <= 1 + nearest.name.len() / 5;
    near.then_some(nearest)
}

/// How many letters must be put in, taken out or changed to make one word of the other; as soon as
/// the lengths are too far apart for any use, just that difference.
fn distance(a: &str, b: &str) -> usize {
    const LONG: usize = 16;
    if a.len() > LONG || b.len() > LONG {
        return a.len().abs_diff(b.len()).max(LONG);
    }
    let mut row = [0_usize; LONG + 1];
    for (index, cell) in row.iter_mut().enumerate() {
        *cell = index;
    }
    for (index, letter) in a.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        row[0] = left;
        for (cell, other) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.get(b.len()).copied().unwrap_or(LONG)
}
