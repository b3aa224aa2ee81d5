//! The operators between operands, and how tightly they bind.
//!
//! Loosest to tightest: `OR` · `AND` · `NOT` · comparisons, `IS`, `IN`, `BETWEEN` (which do not
//! chain) · `||` · `+ -` · `* / %` · unary minus.

use super::token::{Keyword, Kind, Symbol};
use crate::set::Op;

/// How tightly an operator binds its operands.
pub(super) mod power {
    pub(in crate::lang) const OR: u8 = 1;
    pub(in crate::lang) const AND: u8 = 2;
    pub(in crate::lang) const NOT: u8 = 3;
    pub(in crate::lang) const COMPARISON: u8 = 4;
    pub(in crate::lang) const CONCATENATE: u8 = 5;
    pub(in crate::lang) const SUM: u8 = 6;
    pub(in crate::lang) const PRODUCT: u8 = 7;
    pub(in crate::lang) const MINUS: u8 = 8;
}

/// The operator that a token is, if it takes an operand on each side.
pub(super) fn operator(token: &Kind) -> Option<Op> {
    Some(match token {
        Kind::Keyword(Keyword::Or) => Op::Or,
        Kind::Keyword(Keyword::And) => Op::And,
        Kind::Symbol(symbol) => match symbol {
            Symbol::Equal => Op::Equal,
            Symbol::NotEqual => Op::NotEqual,
            Symbol::Less => Op::Less,
            Symbol::LessOrEqual => Op::LessOrEqual,
            Symbol::Greater => Op::Greater,
            Symbol::GreaterOrEqual => Op::GreaterOrEqual,
            Symbol::Concatenate => Op::Concatenate,
            Symbol::Plus => Op::Add,
            Symbol::Minus => Op::Subtract,
            Symbol::Star => Op::Multiply,
            Symbol::Slash => Op::Divide,
            Symbol::Percent => Op::Remainder,
            _ => return None,
        },
        _ => return None,
    })
}

/// How tightly it binds, if an operand may stand before it.
pub(super) fn infix_power(token: &Kind) -> Option<u8> {
    Some(match token {
        Kind::Keyword(
            Keyword::Is | Keyword::In | Keyword::Between | Keyword::Not | Keyword::Like,
        ) => power::COMPARISON,
        token => match operator(token)? {
            Op::Or => power::OR,
            Op::And => power::AND,
            Op::Concatenate => power::CONCATENATE,
            Op::Add | Op::Subtract => power::SUM,
            Op::Multiply | Op::Divide | Op::Remainder => power::PRODUCT,
            _ => power::COMPARISON,
        },
    })
}
