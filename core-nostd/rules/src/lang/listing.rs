//! Programs in a form that people read.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::token::is_bare_name;
use crate::set::{Attribute, Edge, Instruction, Op, Operand, Program, Set, Shape, View};
use crate::value::Value;

/// The programs of one route, one instruction a line.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    view: View<'a>,
    route: usize,
}

impl<B: AsRef<[u8]>> Set<B> {
    /// The programs of a route, to be written out.
    ///
    /// # Panics
    /// If there is no such route.
    pub fn listing(&self, route: usize) -> Listing<'_> {
        assert!(route < self.len(), "the set has no such route");
        Listing { view: self.view(), route }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(route) = self.view.route(self.route) else {
            return Ok(());
        };
        self.program(f, "where", route.where_)?;
        self.program(f, "key", route.key)
    }
}

impl Listing<'_> {
    fn program(&self, f: &mut fmt::Formatter<'_>, name: &str, program: Program) -> fmt::Result {
        if program.len > 0 {
            writeln!(f, "{name}")?;
        }
        for (index, bytes) in self.view.program(program).iter().enumerate() {
            write!(f, "{index:>4}  ")?;
            match Instruction::decode(*bytes) {
                Some(instruction) => self.instruction(f, instruction)?,
                None => f.write_str("?")?,
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn instruction(&self, f: &mut fmt::Formatter<'_>, instruction: Instruction) -> fmt::Result {
        let Instruction { op, register, flags, a, b, target } = instruction;
        let a = self.operand(a);
        match op.shape() {
            Shape::End => write!(f, "return {a}"),
            Shape::Jump => {
                let condition = match op {
                    Op::JumpIfFalse => "is false",
                    Op::JumpIfTrue => "is true",
                    _ => "is not null",
                };
                write!(f, "if {a} {condition} go to {target}")
            }
            Shape::Unary if op == Op::Move => write!(f, "r{register} = {a}"),
            Shape::Unary => write!(f, "r{register} = {} {a}", symbol(op)),
            Shape::Binary => write!(f, "r{register} = {a} {} {}", symbol(op), self.operand(b)),
            Shape::Comparison => {
                let or = flags & Instruction::OR != 0;
                write!(f, "r{register} = ")?;
                if flags & Instruction::COMBINE != 0 {
                    write!(f, "r{register} {} ", if or { "OR" } else { "AND" })?;
                }
                write!(f, "{a} {} {}", symbol(op), self.operand(b))?;
                match target {
                    _ if flags & Instruction::END != 0 => write!(f, "; if {or} return it"),
                    0 => Ok(()),
                    target => write!(f, "; if {or} go to {target}"),
                }
            }
        }
    }

    fn operand(&self, operand: u16) -> String {
        let mut text = String::new();
        let written = match Operand::decode(operand) {
            Some(Operand::Register(index)) => write!(text, "r{index}"),
            Some(Operand::Field(slot)) => self.field(&mut text, slot),
            Some(Operand::Constant(index)) => self.constant(&mut text, index),
            Some(Operand::Event(attribute)) => match attribute {
                Attribute::Topic => text.write_str("topic()"),
                Attribute::Client => text.write_str("client()"),
                Attribute::Qos => text.write_str("qos()"),
                Attribute::Retained => text.write_str("retained()"),
                Attribute::Payload => text.write_str("payload()"),
                Attribute::Level(level) => write!(text, "topic({level})"),
            },
            None => text.write_str("?"),
        };
        written.expect("writing to a string does not fail");
        text
    }

    fn constant(&self, text: &mut String, index: u16) -> fmt::Result {
        match self.view.constant(usize::from(index)) {
            None | Some(Value::Null | Value::Composite) => text.write_str("NULL"),
            Some(Value::Bool(value)) => text.write_str(if value { "TRUE" } else { "FALSE" }),
            Some(Value::Int(value)) => write!(text, "{value}"),
            Some(Value::Float { value, .. }) => write!(text, "{value:?}"),
            Some(Value::Text(span)) => {
                let start = span.start as usize;
                let bytes =
                    self.view.text.get(start..start + span.len as usize).unwrap_or_default();
                write!(text, "'{}'", String::from_utf8_lossy(bytes).replace('\'', "''"))
            }
        }
    }

    /// The path of a slot: from its node up to the root, then written the other way round.
    fn field(&self, text: &mut String, slot: u16) -> fmt::Result {
        let nodes = self.view.nodes.len();
        let own = (0..nodes).find(|node| self.slot(*node) == Some(usize::from(slot)));
        let (mut node, mut steps) = (own.unwrap_or_default(), Vec::new());
        while let Some(edge) = node.checked_sub(1) {
            let parent = (0..node).find_map(|index| {
                let parent = self.view.node(u16::try_from(index).ok()?)?;
                let key = parent.keys().contains(&edge);
                (key || parent.indexes().contains(&edge)).then_some((index, key))
            });
            let (Some((parent, key)), Some(edge)) = (parent, self.view.edges.get(edge)) else {
                return text.write_str("?");
            };
            steps.push((Edge::decode(edge), key));
            node = parent;
        }
        for (edge, key) in steps.into_iter().rev() {
            if !key {
                write!(text, "[{}]", edge.start)?;
                continue;
            }
            let dot = if text.is_empty() { "" } else { "." };
            let name = String::from_utf8_lossy(self.view.key(edge).bytes);
            if is_bare_name(&name) {
                write!(text, "{dot}{name}")?;
            } else {
                write!(text, "{dot}\"{}\"", name.replace('"', "\"\""))?;
            }
        }
        Ok(())
    }

    fn slot(&self, node: usize) -> Option<usize> {
        self.view.node(u16::try_from(node).ok()?)?.slot()
    }
}

fn symbol(op: Op) -> &'static str {
    match op {
        Op::Return | Op::Move | Op::JumpIfFalse | Op::JumpIfTrue | Op::JumpIfPresent => "",
        Op::Not => "NOT",
        Op::And => "AND",
        Op::Or => "OR",
        Op::IsNull => "is null",
        Op::Equal => "=",
        Op::NotEqual => "<>",
        Op::Less => "<",
        Op::LessOrEqual => "<=",
        Op::Greater => ">",
        Op::GreaterOrEqual => ">=",
        Op::Add => "+",
        Op::Subtract | Op::Negate => "-",
        Op::Multiply => "*",
        Op::Divide => "/",
        Op::Remainder => "%",
        Op::Concatenate => "||",
        Op::Absolute => "abs",
        Op::Floor => "floor",
        Op::Ceiling => "ceil",
        Op::Round => "round",
        Op::Lower => "lower",
        Op::Upper => "upper",
        Op::Length => "length",
        Op::StartsWith => "starts_with",
        Op::EndsWith => "ends_with",
        Op::Contains => "contains",
    }
}
