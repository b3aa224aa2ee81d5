//! One instruction: eight bytes.
//!
//! ```text
//! byte 0     operation, a number of the table `OPS`
//!      1     register that receives the result (0 where there is none);
//!            comparisons also: bit 5, combine with what the register holds; bit 6, by OR instead of
//!            AND; bit 7, a result that decides ends the program
//!      2..4  operand a   (0 where there is none)
//!      4..6  operand b   (0 where there is none)
//!      6..8  jumps: the index in this program to go on at (0 elsewhere);
//!            comparisons: where to go on if the result decides (FALSE for AND, TRUE for OR), or 0
//!
//! operand    bits 15..14 say what it is, bits 13..0 which one:
//!            0 register · 1 field (its slot) · 2 constant ·
//!            3 the event: 0 topic, 1 client, 2 QoS, 3 retained, 4 payload, 64 + n: level n of the topic, from 1
//! ```

use crate::limits::{REGISTERS_MAX, TOPIC_LEVEL_MAX};

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Ends the program with a.
    Return,
    Move,
    /// Goes on at the target if a is FALSE.
    JumpIfFalse,
    /// Goes on at the target if a is TRUE.
    JumpIfTrue,
    /// Goes on at the target unless a is NULL.
    JumpIfPresent,
    Not,
    And,
    Or,
    IsNull,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Negate,
    Concatenate,
    Absolute,
    Floor,
    Ceiling,
    Round,
    Lower,
    Upper,
    Length,
    StartsWith,
    EndsWith,
    Contains,
}

/// Position is the encoding: append only.
const OPS: [Op; 32] = [
    Op::Return,
    Op::Move,
    Op::JumpIfFalse,
    Op::JumpIfTrue,
    Op::JumpIfPresent,
    Op::Not,
    Op::And,
    Op::Or,
    Op::IsNull,
    Op::Equal,
    Op::NotEqual,
    Op::Less,
    Op::LessOrEqual,
    Op::Greater,
    Op::GreaterOrEqual,
    Op::Add,
    Op::Subtract,
    Op::Multiply,
    Op::Divide,
    Op::Remainder,
    Op::Negate,
    Op::Concatenate,
    Op::Absolute,
    Op::Floor,
    Op::Ceiling,
    Op::Round,
    Op::Lower,
    Op::Upper,
    Op::Length,
    Op::StartsWith,
    Op::EndsWith,
    Op::Contains,
];

/// Which parts of an instruction an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Reads a and ends.
    End,
    /// Reads a and may jump.
    Jump,
    /// Reads a, writes a register.
    Unary,
    /// Reads a and b, writes a register.
    Binary,
    /// Reads a and b, writes a register, which it may read before, and may jump.
    Comparison,
}

impl Op {
    pub(crate) fn decode(byte: u8) -> Option<Self> {
        OPS.get(usize::from(byte)).copied()
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::Return => Shape::End,
            Self::JumpIfFalse | Self::JumpIfTrue | Self::JumpIfPresent => Shape::Jump,
            Self::Move
            | Self::Not
            | Self::IsNull
            | Self::Negate
            | Self::Absolute
            | Self::Floor
            | Self::Ceiling
            | Self::Round
            | Self::Lower
            | Self::Upper
            | Self::Length => Shape::Unary,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual => Shape::Comparison,
            Self::And
            | Self::Or
            | Self::Add
            | Self::Subtract
            | Self::Multiply
            | Self::Divide
            | Self::Remainder
            | Self::Concatenate
            | Self::StartsWith
            | Self::EndsWith
            | Self::Contains => Shape::Binary,
        }
    }
}

/// What an operator works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Register(u8),
    Field(u16),
    Constant(u16),
    Event(Attribute),
}

/// What an expression may ask of the event beside its payload's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Topic,
    Client,
    Qos,
    Retained,
    Payload,
    /// A level of the topic, from 1.
    Level(u16),
}

const INDEX_BITS: u32 = 14;
const INDEX_MASK: u16 = (1 << INDEX_BITS) - 1;
const LEVEL_BASE: u16 = 64;
const REGISTER_MASK: u8 = (1 << 5) - 1;
const _: () = assert!(REGISTERS_MAX == REGISTER_MASK as usize + 1, "every register has a number");

/// The largest index that an operand can name.
#[cfg(feature = "compile")]
pub(crate) const INDEX_MAX: usize = INDEX_MASK as usize;

impl Operand {
    pub(crate) const REGISTER: u16 = 0;
    pub(crate) const FIELD: u16 = 1;
    pub(crate) const CONSTANT: u16 = 2;

    /// Which of the kinds above it is; else something of the event.
    pub(crate) const fn kind(bits: u16) -> u16 {
        bits >> INDEX_BITS
    }

    /// Which one of its kind.
    pub(crate) const fn index(bits: u16) -> usize {
        (bits & INDEX_MASK) as usize
    }

    pub(crate) fn decode(bits: u16) -> Option<Self> {
        let index = bits & INDEX_MASK;
        Some(match Self::kind(bits) {
            Self::REGISTER => Self::Register(u8::try_from(index).ok()?),
            Self::FIELD => Self::Field(index),
            Self::CONSTANT => Self::Constant(index),
            _ => Self::Event(match index {
                0 => Attribute::Topic,
                1 => Attribute::Client,
                2 => Attribute::Qos,
                3 => Attribute::Retained,
                4 => Attribute::Payload,
                _ => {
                    let level = index.checked_sub(LEVEL_BASE)?;
                    if level == 0 || usize::from(level) > TOPIC_LEVEL_MAX {
                        return None;
                    }
                    Attribute::Level(level)
                }
            }),
        })
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> u16 {
        let (kind, index) = match self {
            Self::Register(index) => (Self::REGISTER, u16::from(index)),
            Self::Field(index) => (Self::FIELD, index),
            Self::Constant(index) => (Self::CONSTANT, index),
            Self::Event(attribute) => (
                3,
                match attribute {
                    Attribute::Topic => 0,
                    Attribute::Client => 1,
                    Attribute::Qos => 2,
                    Attribute::Retained => 3,
                    Attribute::Payload => 4,
                    Attribute::Level(level) => LEVEL_BASE + level,
                },
            ),
        };
        assert!(index <= INDEX_MASK, "the compiler keeps every index below the limit");
        kind << INDEX_BITS | index
    }
}

/// An instruction with its operands still packed, so that the machine unpacks only what it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) register: u8,
    /// The bits of byte 1 beside the register.
    pub(crate) flags: u8,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) target: u16,
}

impl Instruction {
    pub(crate) const BYTES: usize = 8;
    /// The result of a comparison is combined with what the register holds.
    pub(crate) const COMBINE: u8 = 1 << 5;
    /// By OR, which TRUE decides; else by AND, which FALSE decides.
    pub(crate) const OR: u8 = 1 << 6;
    /// A result that decides is the program's.
    pub(crate) const END: u8 = 1 << 7;

    pub(crate) fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [op, register, a0, a1, b0, b1, t0, t1] = bytes;
        Some(Self {
            op: Op::decode(op)?,
            register: register & REGISTER_MASK,
            flags: register & !REGISTER_MASK,
            a: u16::from_le_bytes([a0, a1]),
            b: u16::from_le_bytes([b0, b1]),
            target: u16::from_le_bytes([t0, t1]),
        })
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let [a0, a1] = self.a.to_le_bytes();
        let [b0, b1] = self.b.to_le_bytes();
        let [t0, t1] = self.target.to_le_bytes();
        [self.op as u8, self.register | self.flags, a0, a1, b0, b1, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_in_the_table_is_the_number_of_the_operation() {
        for (index, op) in OPS.iter().enumerate() {
            assert_eq!(*op as usize, index);
        }
        assert_eq!(Op::decode(32), None);
    }

    #[test]
    fn operands_that_do_not_exist_do_not_decode() {
        for bits in [0xC005, 0xC040, 0xC0C1, u16::MAX] {
            assert_eq!(Operand::decode(bits), None, "{bits:#x}");
        }
        assert_eq!(Operand::decode(0xC041), Some(Operand::Event(Attribute::Level(1))));
    }
}
