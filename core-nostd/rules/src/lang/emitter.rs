//! From a tree to instructions.
//!
//! A value that is at hand (a field, a constant, something of the event) is an operand as it is; what
//! must be computed goes to a register. `AND` and `OR` skip their right side where the left decides.

use alloc::format;
use alloc::vec::Vec;

use super::Diagnostic;
use super::functions::{Callee, Function};
use super::pool::Pool;
use super::tree::{Id, Kind, Literal, Tree};
use crate::limits::{INSTRUCTIONS_MAX, REGISTERS_MAX};
use crate::set::{Attribute, Instruction, Op, Operand, Shape};

/// Emits the program of an expression, all fields of which the pool knows.
pub(crate) fn emit(tree: &Tree, pool: &mut Pool) -> Result<Vec<Instruction>, Diagnostic> {
    let mut emitter = Emitter { tree, pool, code: Vec::new(), landed: 0 };
    let result = emitter.value(tree.root(), 0)?;
    emitter.push(Op::Return, 0, result, None);
    emitter.end_early();
    if emitter.code.len() > INSTRUCTIONS_MAX {
        let message = format!("too long: more than {INSTRUCTIONS_MAX} instructions");
        return Err(Diagnostic::new("R033", tree.node(tree.root()).span.clone(), message));
    }
    Ok(emitter.code)
}

struct Emitter<'e> {
    tree: &'e Tree,
    pool: &'e mut Pool,
    code: Vec<Instruction>,
    /// The last place that a jump goes to.
    landed: usize,
}

impl Emitter<'_> {
    /// Where the value of a node is: at hand, or computed in `free` or a register behind it.
    /// Registers before `free` stay as they are.
    fn value(&mut self, id: Id, free: u8) -> Result<Operand, Diagnostic> {
        let tree = self.tree;
        let node = tree.node(id);
        if usize::from(free) >= REGISTERS_MAX {
            let message =
                format!("nested too deep: this needs more than {REGISTERS_MAX} registers");
            return Err(Diagnostic::new("R015", node.span.clone(), message));
        }
        match &node.kind {
            Kind::Literal(literal) => self.literal(id, literal),
            Kind::Field { path, .. } => Ok(Operand::Field(self.pool.field(path))),
            Kind::Unary(op, of) => {
                let of = self.value(*of, free)?;
                Ok(self.push(*op, free, of, None))
            }
            Kind::Binary(..) => self.chain(id, free),
            Kind::IsNull { of, negated } => {
                let of = self.value(*of, free)?;
                self.push(Op::IsNull, free, of, None);
                Ok(self.negate_if(*negated, free))
            }
            Kind::In { of, list, negated } => {
                let found = self.in_list(*of, list, free)?;
                Ok(self.negate_if(*negated, found))
            }
            Kind::Between { of, low, high, negated } => {
                let found = self.between(*of, [*low, *high], free)?;
                Ok(self.negate_if(*negated, found))
            }
            Kind::Call(function, arguments) => self.call(function, arguments, free),
        }
    }

    fn literal(&mut self, id: Id, literal: &Literal) -> Result<Operand, Diagnostic> {
        self.pool.constant(literal).map(Operand::Constant).map_err(|_| {
            let span = self.tree.node(id).span.clone();
            Diagnostic::new("R032", span, "more constants than a set of routes may have")
        })
    }

    /// A run of operators to the left, without recursion: `a + b - c` may be as long as the text.
    fn chain(&mut self, id: Id, free: u8) -> Result<Operand, Diagnostic> {
        let tree = self.tree;
        let (mut first, mut links) = (id, Vec::new());
        while let Kind::Binary(op, left, right) = tree.node(first).kind {
            links.push((op, right));
            first = left;
        }
        let mut value = self.value(first, free)?;
        // The jumps of a run of AND, or of OR: all leave it at its end.
        let (mut run, mut jumps) = (None, Vec::new());
        for (op, right) in links.into_iter().rev() {
            if run.replace(op) != Some(op) {
                self.land(&mut jumps);
            }
            let jump = match op {
                Op::And => Op::JumpIfFalse,
                Op::Or => Op::JumpIfTrue,
                _ => {
                    let right = self.value(right, behind(value, free))?;
                    value = self.push(op, free, value, Some(right));
                    continue;
                }
            };
            let register = self.in_register(value, free);
            jumps.push(self.jump(jump, register));
            let right = self.value(right, register + 1)?;
            value = self.combine(op, register, right);
        }
        self.land(&mut jumps);
        Ok(value)
    }

    /// Answers in which register it is.
    fn in_list(&mut self, of: Id, list: &[Id], free: u8) -> Result<u8, Diagnostic> {
        let of = self.value(of, free)?;
        let found = behind(of, free);
        let mut jumps = Vec::new();
        for (index, value) in list.iter().enumerate() {
            if index == 0 {
                let value = self.value(*value, found)?;
                self.push(Op::Equal, found, of, Some(value));
            } else {
                jumps.push(self.jump(Op::JumpIfTrue, found));
                let value = self.value(*value, found + 1)?;
                let equal = self.push(Op::Equal, found + 1, of, Some(value));
                self.combine(Op::Or, found, equal);
            }
        }
        self.land(&mut jumps);
        Ok(found)
    }

    /// Answers in which register it is.
    fn between(&mut self, of: Id, [low, high]: [Id; 2], free: u8) -> Result<u8, Diagnostic> {
        let of = self.value(of, free)?;
        let found = behind(of, free);
        let low = self.value(low, found)?;
        self.push(Op::GreaterOrEqual, found, of, Some(low));
        let jump = self.jump(Op::JumpIfFalse, found);
        let high = self.value(high, found + 1)?;
        let below = self.push(Op::LessOrEqual, found + 1, of, Some(high));
        self.combine(Op::And, found, below);
        self.land(&mut Vec::from([jump]));
        Ok(found)
    }

    fn call(
        &mut self,
        function: &Function,
        arguments: &[Id],
        free: u8,
    ) -> Result<Operand, Diagnostic> {
        match (function.callee, arguments) {
            (Callee::Event(attribute), _) => Ok(Operand::Event(attribute)),
            (Callee::Topic, []) => Ok(Operand::Event(Attribute::Topic)),
            (Callee::Topic, [level, ..]) => {
                Ok(Operand::Event(Attribute::Level(self.level(*level))))
            }
            (Callee::Coalesce, arguments) => self.coalesce(arguments, free),
            (Callee::Operation(op), [first, rest @ ..]) => {
                let first = self.value(*first, free)?;
                let second = match rest {
                    [second, ..] => Some(self.value(*second, behind(first, free))?),
                    [] => None,
                };
                Ok(self.push(op, free, first, second))
            }
            (Callee::Operation(_), []) => unreachable!("the parser counts arguments"),
        }
    }

    fn level(&self, id: Id) -> u16 {
        match self.tree.node(id).kind {
            Kind::Literal(Literal::Int(level)) => u16::try_from(level).ok(),
            _ => None,
        }
        .expect("the checker accepts only literals up to TOPIC_LEVEL_MAX")
    }

    fn coalesce(&mut self, arguments: &[Id], free: u8) -> Result<Operand, Diagnostic> {
        let mut jumps = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            if index > 0 {
                jumps.push(self.jump(Op::JumpIfPresent, free));
            }
            let value = self.value(*argument, free)?;
            if value != at(free) {
                self.push(Op::Move, free, value, None);
            }
        }
        self.land(&mut jumps);
        Ok(at(free))
    }

    fn in_register(&mut self, value: Operand, free: u8) -> u8 {
        if let Operand::Register(register) = value {
            return register;
        }
        self.push(Op::Move, free, value, None);
        free
    }

    fn negate_if(&mut self, negated: bool, register: u8) -> Operand {
        if negated {
            self.push(Op::Not, register, at(register), None);
        }
        at(register)
    }

    fn push(&mut self, op: Op, register: u8, a: Operand, b: Option<Operand>) -> Operand {
        let (a, b) = (a.encode(), b.map_or(0, Operand::encode));
        self.code.push(Instruction { op, register, flags: 0, a, b, target: 0 });
        at(register)
    }

    /// The last instruction, if it compares into `register` and nothing jumps past it to here.
    fn last_comparison(&mut self, register: u8) -> Option<&mut Instruction> {
        let past = self.landed == self.code.len();
        let last = self.code.last_mut().filter(|_| !past)?;
        let compares = last.op.shape() == Shape::Comparison && last.target == 0;
        (compares && last.register == register).then_some(last)
    }

    /// Joins `register` with `right` by AND or OR. A comparison does that itself.
    fn combine(&mut self, op: Op, register: u8, right: Operand) -> Operand {
        let or = if op == Op::Or { Instruction::OR } else { 0 };
        if let Operand::Register(computed) = right
            && computed != register
            && let Some(last) = self.last_comparison(computed)
            && last.flags == 0
        {
            last.register = register;
            last.flags = Instruction::COMBINE | or;
            return at(register);
        }
        self.push(op, register, at(register), Some(right))
    }

    /// A jump whose target is not known yet. A comparison does that itself.
    fn jump(&mut self, op: Op, register: u8) -> usize {
        let or = if op == Op::JumpIfTrue { Instruction::OR } else { 0 };
        if op != Op::JumpIfPresent
            && let Some(last) = self.last_comparison(register)
            && (last.flags == 0 || last.flags == Instruction::COMBINE | or)
        {
            last.flags |= or;
            // Not 0 from now on, so that no second jump takes its place.
            last.target = u16::MAX;
        } else {
            self.push(op, 0, at(register), None);
        }
        self.code.len() - 1
    }

    /// Lets comparisons that jump to the return end the program themselves: jumps land where the
    /// register that they test holds the value, so what they decide is the result.
    fn end_early(&mut self) {
        let last = self.code.len() - 1;
        for instruction in &mut self.code {
            let jumps = instruction.op.shape() == Shape::Comparison && instruction.target != 0;
            if jumps && usize::from(instruction.target) == last {
                instruction.flags |= Instruction::END;
                instruction.target = 0;
            }
        }
    }

    /// Lets jumps go to the next instruction.
    fn land(&mut self, jumps: &mut Vec<usize>) {
        // Targets beyond 16 bits are cut: such a program is longer than INSTRUCTIONS_MAX, and refused.
        let target = u16::try_from(self.code.len()).unwrap_or(u16::MAX);
        if !jumps.is_empty() {
            self.landed = self.code.len();
        }
        for jump in jumps.drain(..) {
            if let Some(instruction) = self.code.get_mut(jump) {
                instruction.target = target;
            }
        }
    }
}

fn at(register: u8) -> Operand {
    Operand::Register(register)
}

/// The first register that is free while `value` is needed.
fn behind(value: Operand, free: u8) -> u8 {
    match value {
        Operand::Register(register) => register + 1,
        _ => free,
    }
}
