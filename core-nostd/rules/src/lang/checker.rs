//! Finds what can never be meant: operands of the wrong type, comparisons with NULL, and text in
//! the wrong quotes. Fields may hold anything, so of them nothing is known.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::functions::{Callee, Function, Type};
use super::tree::{Id, Kind, Literal, Tree};
use super::{Diagnostic, Part};
use crate::limits::TOPIC_LEVEL_MAX;
use crate::set::Op;

/// Checks a whole expression. Goes along the nodes, which lie behind those below them.
pub(crate) fn check(tree: &Tree, part: Part) -> Result<(), Diagnostic> {
    let mut checker = Checker { tree, types: Vec::with_capacity(tree.nodes().len()) };
    for (_, node) in tree.nodes() {
        let found = checker.node(&node.kind, &node.span)?;
        checker.types.push(found);
    }
    let root = checker.of(tree.root());
    if part == Part::Where && !root.may_be(Type::Bool) {
        let span = tree.node(tree.root()).span.clone();
        let message = format!("a filter is true or false; this is {}", root.name());
        return Err(Diagnostic::new("R024", span, message)
            .help("compare it with something, as in temperature > 70"));
    }
    Ok(())
}

struct Checker<'t> {
    tree: &'t Tree,
    types: Vec<Type>,
}

impl Checker<'_> {
    fn of(&self, id: Id) -> Type {
        self.types.get(id.index()).copied().unwrap_or(Type::Any)
    }

    fn span(&self, id: Id) -> Range<usize> {
        self.tree.node(id).span.clone()
    }

    fn node(&self, kind: &Kind, span: &Range<usize>) -> Result<Type, Diagnostic> {
        match kind {
            Kind::Literal(literal) => Ok(match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) | Literal::Float(_) => Type::Number,
                Literal::Text(_) => Type::Text,
            }),
            Kind::Field { .. } => Ok(Type::Any),
            Kind::Unary(Op::Not, of) => self.condition("NOT", *of),
            Kind::Unary(_, of) => self.arithmetic("-", *of),
            Kind::Binary(op, left, right) => self.binary(*op, *left, *right),
            Kind::IsNull { .. } => Ok(Type::Bool),
            Kind::In { of, list, .. } => {
                for value in list {
                    self.text_in_quotes(*value)?;
                    self.comparable(*of, *value)?;
                }
                Ok(Type::Bool)
            }
            Kind::Between { of, low, high, .. } => {
                for bound in [*low, *high] {
                    self.not_null(bound)?;
                    self.text_in_quotes(bound)?;
                    self.comparable(*of, bound)?;
                }
                Ok(Type::Bool)
            }
            Kind::Call(function, arguments) => self.call(function, arguments, span),
        }
    }

    fn binary(&self, op: Op, left: Id, right: Id) -> Result<Type, Diagnostic> {
        match op {
            Op::And | Op::Or => {
                let name = if op == Op::And { "AND" } else { "OR" };
                self.condition(name, left)?;
                self.condition(name, right)
            }
            Op::Concatenate => {
                for side in [left, right] {
                    if self.of(side) == Type::Bool {
                        let message = "'||' joins text; this is true or false";
                        return Err(Diagnostic::new("R022", self.span(side), message)
                            .help("for one or the other write OR"));
                    }
                }
                Ok(Type::Text)
            }
            Op::Add => self.arithmetic("+", left).and_then(|_| self.arithmetic("+", right)),
            Op::Subtract => self.arithmetic("-", left).and_then(|_| self.arithmetic("-", right)),
            Op::Multiply => self.arithmetic("*", left).and_then(|_| self.arithmetic("*", right)),
            Op::Divide => self.arithmetic("/", left).and_then(|_| self.arithmetic("/", right)),
            Op::Remainder => self.arithmetic("%", left).and_then(|_| self.arithmetic("%", right)),
            _ => {
                self.not_null(left)?;
                self.not_null(right)?;
                self.text_in_quotes(right)?;
                self.comparable(left, right)
            }
        }
    }

    fn condition(&self, name: &str, id: Id) -> Result<Type, Diagnostic> {
        let found = self.of(id);
        if found.may_be(Type::Bool) {
            return Ok(Type::Bool);
        }
        let message = format!("{name} takes conditions; this is {}", found.name());
        Err(Diagnostic::new("R022", self.span(id), message)
            .help("repeat the comparison, as in a = 1 OR a = 2, or write a IN (1, 2)"))
    }

    fn arithmetic(&self, name: &str, id: Id) -> Result<Type, Diagnostic> {
        let found = self.of(id);
        if found.may_be(Type::Number) {
            return Ok(Type::Number);
        }
        let message = format!("'{name}' takes numbers; this is {}", found.name());
        let error = Diagnostic::new("R022", self.span(id), message);
        let joins = name == "+" && found == Type::Text;
        Err(if joins { error.help("text is joined with ||") } else { error })
    }

    fn comparable(&self, left: Id, right: Id) -> Result<Type, Diagnostic> {
        let (a, b) = (self.of(left), self.of(right));
        if a.may_be(b) {
            return Ok(Type::Bool);
        }
        let message = format!("{} cannot be compared with {}", b.name(), a.name());
        let error = Diagnostic::new("R022", self.span(right), message);
        let numbers = matches!((a, b), (Type::Text, Type::Number) | (Type::Number, Type::Text));
        Err(if numbers { error.help("'5' is text, 5 is a number") } else { error })
    }

    fn not_null(&self, id: Id) -> Result<(), Diagnostic> {
        if matches!(self.tree.node(id).kind, Kind::Literal(Literal::Null)) {
            let message = "a comparison with NULL is never true";
            return Err(Diagnostic::new("R023", self.span(id), message)
                .help("write IS NULL or IS NOT NULL"));
        }
        Ok(())
    }

    /// Where a value is expected, `"ok"` nearly always means the text.
    fn text_in_quotes(&self, id: Id) -> Result<(), Diagnostic> {
        if matches!(self.tree.node(id).kind, Kind::Field { needless_quotes: true, .. }) {
            let message = "this is the name of a field, because it stands in double quotes";
            return Err(Diagnostic::new("R025", self.span(id), message)
                .help("text stands in single quotes, as in 'ok'; this field needs no quotes"));
        }
        Ok(())
    }

    fn call(
        &self,
        function: &Function,
        arguments: &[Id],
        span: &Range<usize>,
    ) -> Result<Type, Diagnostic> {
        for argument in arguments {
            let found = self.of(*argument);
            if !found.may_be(function.takes) {
                let (name, takes) = (function.name, function.takes.name());
                let message = format!("{name} takes {takes}; this is {}", found.name());
                return Err(Diagnostic::new("R022", self.span(*argument), message)
                    .help(format!("it is written {}", function.usage)));
            }
        }
        match function.callee {
            Callee::Topic => self.topic_level(arguments, span)?,
            Callee::Operation(Op::StartsWith | Op::EndsWith | Op::Contains) => {
                arguments.iter().skip(1).try_for_each(|argument| self.text_in_quotes(*argument))?;
            }
            Callee::Coalesce => {
                let mut types = arguments.iter().map(|argument| self.of(*argument));
                let first = types.next().unwrap_or(Type::Any);
                return Ok(if types.all(|other| other == first) { first } else { Type::Any });
            }
            _ => {}
        }
        Ok(function.returns)
    }

    fn topic_level(&self, arguments: &[Id], span: &Range<usize>) -> Result<(), Diagnostic> {
        let level = match arguments.first().map(|argument| &self.tree.node(*argument).kind) {
            None => return Ok(()),
            Some(Kind::Literal(Literal::Int(level))) => usize::try_from(*level).ok(),
            Some(_) => None,
        };
        if level.is_some_and(|level| (1..=TOPIC_LEVEL_MAX).contains(&level)) {
            return Ok(());
        }
        let message = format!("a level of the topic is a number from 1 to {TOPIC_LEVEL_MAX}");
        Err(Diagnostic::new("R026", span.clone(), message)
            .help("topic(1) of 'plant/p1/telemetry' is 'plant'; topic() is all of it"))
    }
}
