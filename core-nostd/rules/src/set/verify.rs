//! Checks an encoded set once, so that evaluation may rely on it.
//!
//! What holds afterwards: every index is in range; jumps go forward only and stay in their program,
//! so that a program ends after at most as many steps as it has instructions; no register is read
//! before it was written on every way there; the walk over a payload goes at most `PATH_LEVELS_MAX`
//! levels deep. Needs no memory that grows with the set, and time linear in its size.

use core::fmt;

use super::entry::{Edge, Node, Program, constant_bytes, key_bit, prefix};
use super::instruction::{Instruction, Operand, Shape};
use super::view::{Counts, VERSION, View};
use crate::limits::{FIELDS_MAX, INSTRUCTIONS_MAX, PATH_LEVELS_MAX, REGISTERS_MAX, ROUTES_MAX};
use crate::value::Value;

/// Why bytes are not a set of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The first byte names a format that this build does not know.
    Version(u8),
    /// Shorter or longer than the header says, or longer than the limit.
    Length,
    /// More routes or fields than there may be.
    Limit,
    /// The text is not UTF-8.
    Text,
    /// A place in the payload, by its index, makes no sense.
    Node(u16),
    /// A constant, by its index, makes no sense.
    Constant(u16),
    /// A route, by its index, has a program that is not in the set or too long.
    Route(u16),
    /// An instruction, by its index in the set, breaks a rule.
    Instruction(u32, Fault),
}

/// The rule that an instruction breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such operation, or a part that it does not use is not 0.
    Unknown,
    /// It names a register, field, constant or attribute that does not exist.
    Range,
    /// It reads a register that need not have been written.
    Unwritten,
    /// It jumps backwards, to itself, or out of its program.
    Jump,
    /// The program ends in the middle, or not at its end.
    End,
    /// More jumps are open at once than there are registers.
    Nesting,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "programs of format {version}; this build knows {VERSION}")
            }
            Self::Length => f.write_str("the programs are not as long as their header says"),
            Self::Limit => f.write_str("more routes or fields than there may be"),
            Self::Text => f.write_str("the programs' text is not UTF-8"),
            Self::Node(index) => write!(f, "path node {index} makes no sense"),
            Self::Constant(index) => write!(f, "constant {index} makes no sense"),
            Self::Route(index) => write!(f, "route {index} has no such program"),
            Self::Instruction(index, fault) => write!(f, "instruction {index}: {fault:?}"),
        }
    }
}

impl core::error::Error for VerifyError {}

/// Checks everything.
pub(crate) fn verify(bytes: &[u8]) -> Result<Counts, VerifyError> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => return Err(VerifyError::Version(*version)),
        None => return Err(VerifyError::Length),
    }
    let counts = Counts::decode(bytes).ok_or(VerifyError::Length)?;
    if usize::from(counts.routes) > ROUTES_MAX || usize::from(counts.slots) > FIELDS_MAX {
        return Err(VerifyError::Limit);
    }
    let view = View::new(bytes, counts);
    let text = core::str::from_utf8(view.text).map_err(|_| VerifyError::Text)?;
    for index in 0..counts.constants {
        verify_constant(&view, text, index).ok_or(VerifyError::Constant(index))?;
    }
    verify_nodes(&view, text)?;
    for index in 0..counts.routes {
        let route = view.route(usize::from(index)).ok_or(VerifyError::Route(index))?;
        for program in [route.where_, route.key] {
            verify_program(&view, program, index)?;
        }
    }
    Ok(counts)
}

fn verify_constant(view: &View<'_>, text: &str, index: u16) -> Option<()> {
    let value = view.constant(usize::from(index))?;
    let valid = match value {
        Value::Text(span) => piece(text, span.start, span.len).is_some(),
        Value::Float { value, .. } => value.is_finite(),
        _ => true,
    };
    // One value has one encoding: whatever it does not use is 0.
    let canonical = view.constants.get(usize::from(index)) == Some(&constant_bytes(value));
    (valid && canonical).then_some(())
}

fn piece(text: &str, start: u32, len: u32) -> Option<&str> {
    text.get(start as usize..start.checked_add(len)? as usize)
}

/// The nodes form a tree: edge e leads to node e + 1, one level deeper than the node it is of.
fn verify_nodes(view: &View<'_>, text: &str) -> Result<(), VerifyError> {
    let root = view.node(0).ok_or(VerifyError::Node(0))?;
    let all_slots = root.slots() == (0..usize::from(view.slots));
    if root.depth != 0 || !all_slots || view.edges.len() + 1 != view.nodes.len() {
        return Err(VerifyError::Node(0));
    }
    let mut edges = 0;
    for index in 0..view.nodes.len() {
        let index = u16::try_from(index).map_err(|_| VerifyError::Limit)?;
        let node = view.node(index).ok_or(VerifyError::Node(index))?;
        if usize::from(node.first_edge) != edges {
            return Err(VerifyError::Node(index));
        }
        verify_node(view, text, &node).ok_or(VerifyError::Node(index))?;
        edges = node.indexes().end;
    }
    if edges == view.edges.len() { Ok(()) } else { Err(VerifyError::Node(0)) }
}

fn verify_node(view: &View<'_>, text: &str, node: &Node) -> Option<()> {
    let slots = node.slots();
    let own = node.slot().is_none_or(|slot| slots.contains(&slot));
    if !own || slots.start > slots.end || usize::from(node.depth) > PATH_LEVELS_MAX {
        return None;
    }
    let (mut mask, mut previous) = (0, None);
    for edge in view.edges.get(node.keys())? {
        let edge = Edge::decode(edge);
        let key = piece(text, edge.start, u32::from(edge.len))?;
        let order = Some((key.len(), key));
        if previous >= order || edge.prefix != prefix(key.as_bytes()) {
            return None;
        }
        previous = order;
        mask |= key_bit(key.as_bytes());
    }
    let mut previous = None;
    for edge in view.edges.get(node.indexes())? {
        let edge = Edge::decode(edge);
        if edge.len != 0 || edge.prefix != 0 || previous >= Some(edge.start) {
            return None;
        }
        previous = Some(edge.start);
    }
    for edge in node.keys().start..node.indexes().end {
        let child = view.node(u16::try_from(edge + 1).ok()?)?;
        let inside = node.slots_start <= child.slots_start && child.slots_end <= node.slots_end;
        if !inside || child.depth != node.depth.checked_add(1)? {
            return None;
        }
    }
    (mask == node.mask).then_some(())
}

fn verify_program(view: &View<'_>, program: Program, route: u16) -> Result<(), VerifyError> {
    let code = view.program(program);
    let len = usize::from(program.len);
    if code.len() != len || len > INSTRUCTIONS_MAX {
        return Err(VerifyError::Route(route));
    }
    let mut flow = Flow::default();
    for ((at, bytes), index) in code.iter().enumerate().zip(program.first..) {
        verify_instruction(view, &mut flow, *bytes, at, len)
            .map_err(|fault| VerifyError::Instruction(index, fault))?;
    }
    Ok(())
}

fn verify_instruction(
    view: &View<'_>,
    flow: &mut Flow,
    bytes: [u8; Instruction::BYTES],
    at: usize,
    len: usize,
) -> Result<(), Fault> {
    let instruction = Instruction::decode(bytes).ok_or(Fault::Unknown)?;
    let Instruction { op, register, flags, a, b, target } = instruction;
    let shape = op.shape();
    flow.arrive(at);
    flow.read(view, a)?;
    if matches!(shape, Shape::Binary | Shape::Comparison) {
        flow.read(view, b)?;
    } else if b != 0 {
        return Err(Fault::Unknown);
    }
    if (shape == Shape::End) != (at + 1 == len) {
        return Err(Fault::End);
    }
    let jumps = match shape {
        Shape::Comparison => target != 0,
        Shape::Jump => true,
        _ if target != 0 => return Err(Fault::Unknown),
        _ => false,
    };
    if jumps && (usize::from(target) <= at || usize::from(target) >= len) {
        return Err(Fault::Jump);
    }
    let combines = flags & Instruction::COMBINE != 0;
    let (or, ends) = (flags & Instruction::OR != 0, flags & Instruction::END != 0);
    match shape {
        Shape::Comparison if ends && jumps => return Err(Fault::Unknown),
        Shape::Comparison if or && !combines && !jumps && !ends => return Err(Fault::Unknown),
        Shape::Comparison if combines => flow.read_register(register)?,
        Shape::Comparison => {}
        _ if flags != 0 => return Err(Fault::Unknown),
        Shape::End | Shape::Jump if register != 0 => return Err(Fault::Unknown),
        _ => {}
    }
    if !matches!(shape, Shape::End | Shape::Jump) {
        flow.written |= 1 << register;
    }
    if jumps { flow.jump(target) } else { Ok(()) }
}

/// Which registers are written, here and at the targets of the jumps that are still open.
#[derive(Debug, Default)]
struct Flow {
    written: u32,
    open: [Option<(u16, u32)>; REGISTERS_MAX],
}

impl Flow {
    /// Control may also come from the jumps to here: what they had not written is not written.
    fn arrive(&mut self, at: usize) {
        for open in &mut self.open {
            if let Some((target, written)) = *open
                && usize::from(target) == at
            {
                self.written &= written;
                *open = None;
            }
        }
    }

    fn jump(&mut self, target: u16) -> Result<(), Fault> {
        let mut free = None;
        for open in &mut self.open {
            match open {
                Some((other, written)) if *other == target => {
                    *written &= self.written;
                    return Ok(());
                }
                None => free = Some(open),
                Some(_) => {}
            }
        }
        *free.ok_or(Fault::Nesting)? = Some((target, self.written));
        Ok(())
    }

    fn read(&self, view: &View<'_>, operand: u16) -> Result<(), Fault> {
        let below = |index: usize, len: usize| if index < len { Ok(()) } else { Err(Fault::Range) };
        match Operand::decode(operand).ok_or(Fault::Range)? {
            Operand::Register(index) => self.read_register(index),
            Operand::Field(index) => below(usize::from(index), usize::from(view.slots)),
            Operand::Constant(index) => below(usize::from(index), view.constants.len()),
            Operand::Event(_) => Ok(()),
        }
    }

    fn read_register(&self, register: u8) -> Result<(), Fault> {
        if usize::from(register) >= REGISTERS_MAX {
            return Err(Fault::Range);
        }
        if self.written >> register & 1 == 1 { Ok(()) } else { Err(Fault::Unwritten) }
    }
}
