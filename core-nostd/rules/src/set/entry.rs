//! The entries of an encoded set's sections: what the bytes of each mean. The pictures are in `view`.

use crate::value::{Number, Place, Span, Value};

/// No slot.
pub(crate) const NO_SLOT: u16 = u16::MAX;

pub(crate) const ROUTE_BYTES: usize = 12;
pub(crate) const NODE_BYTES: usize = 24;
pub(crate) const EDGE_BYTES: usize = 16;
pub(crate) const CONSTANT_BYTES: usize = 16;

/// One route's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) where_: Program,
    pub(crate) key: Program,
}

/// A run of instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) first: u32,
    pub(crate) len: u16,
}

impl Route {
    pub(super) fn decode(bytes: &[u8; ROUTE_BYTES]) -> Self {
        Self {
            where_: Program { first: word(bytes, 0), len: half(bytes, 4) },
            key: Program { first: word(bytes, 8), len: half(bytes, 6) },
        }
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> [u8; ROUTE_BYTES] {
        let mut bytes = [0; ROUTE_BYTES];
        bytes[0..4].copy_from_slice(&self.where_.first.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.where_.len.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.key.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.key.first.to_le_bytes());
        bytes
    }
}

/// A place in a payload that expressions ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mask: u64,
    pub(crate) first_edge: u16,
    pub(crate) key_count: u16,
    pub(crate) index_count: u16,
    pub(crate) slot: u16,
    pub(crate) slots_start: u16,
    pub(crate) slots_end: u16,
    pub(crate) depth: u8,
}

impl Node {
    pub(super) fn decode(bytes: &[u8; NODE_BYTES]) -> Self {
        Self {
            mask: long(bytes, 0),
            first_edge: half(bytes, 8),
            key_count: half(bytes, 10),
            index_count: half(bytes, 12),
            slot: half(bytes, 14),
            slots_start: half(bytes, 16),
            slots_end: half(bytes, 18),
            depth: bytes[20],
        }
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> [u8; NODE_BYTES] {
        let mut bytes = [0; NODE_BYTES];
        bytes[0..8].copy_from_slice(&self.mask.to_le_bytes());
        let halves = [
            self.first_edge,
            self.key_count,
            self.index_count,
            self.slot,
            self.slots_start,
            self.slots_end,
        ];
        for (field, value) in bytes[8..20].chunks_exact_mut(2).zip(halves) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes[20] = self.depth;
        bytes
    }

    /// Its slot, if an expression asks for the place itself and not only for what is below.
    pub(crate) fn slot(&self) -> Option<usize> {
        (self.slot != NO_SLOT).then_some(usize::from(self.slot))
    }

    /// The slots of it and of all below.
    pub(crate) fn slots(&self) -> core::ops::Range<usize> {
        usize::from(self.slots_start)..usize::from(self.slots_end)
    }

    /// Its edges that are keys.
    pub(crate) fn keys(&self) -> core::ops::Range<usize> {
        let first = usize::from(self.first_edge);
        first..first + usize::from(self.key_count)
    }

    /// Its edges that are array indexes.
    pub(crate) fn indexes(&self) -> core::ops::Range<usize> {
        let first = self.keys().end;
        first..first + usize::from(self.index_count)
    }
}

/// One step from a node to a node below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) prefix: u64,
    pub(crate) start: u32,
    pub(crate) len: u16,
}

impl Edge {
    #[inline]
    pub(crate) fn decode(bytes: &[u8; EDGE_BYTES]) -> Self {
        Self { prefix: long(bytes, 0), start: word(bytes, 8), len: half(bytes, 12) }
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> [u8; EDGE_BYTES] {
        let mut bytes = [0; EDGE_BYTES];
        bytes[0..8].copy_from_slice(&self.prefix.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.start.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }
}

pub(super) const PREFIX_BYTES: usize = 8;

/// The first eight bytes of a key, filled up with 0.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    if let Some(bytes) = key.first_chunk::<PREFIX_BYTES>() {
        return u64::from_be_bytes(*bytes);
    }
    let (mut bits, mut shift) = (0, u64::BITS);
    for byte in key {
        bits = bits << 8 | u64::from(*byte);
        shift -= 8;
    }
    bits.checked_shl(shift).unwrap_or(0)
}

/// The bit of a node's mask for a key: of its length, first and last byte.
pub(crate) fn key_bit(key: &[u8]) -> u64 {
    let (first, last) = match key {
        [] => (0, 0),
        [first, ..] => (usize::from(*first), key.last().map_or(0, |last| usize::from(*last))),
    };
    1 << ((key.len().wrapping_mul(7) ^ first ^ last.wrapping_mul(3)) & 63)
}

/// The kinds of constants.
const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;

/// A constant, if it is a number.
#[inline]
pub(super) fn decode_number(bytes: &[u8; CONSTANT_BYTES]) -> Option<Number> {
    match bytes[0] {
        INT => Some(Number::Int(long(bytes, 8).cast_signed())),
        FLOAT => Some(Number::Float(f64::from_bits(long(bytes, 8)))),
        _ => None,
    }
}

/// A constant; `None` if it is of no kind that there is.
#[inline]
pub(super) fn decode_constant(bytes: &[u8; CONSTANT_BYTES]) -> Option<Value> {
    let (len, low, bits) = (word(bytes, 4), word(bytes, 8), long(bytes, 8));
    Some(match bytes[0] {
        NULL => Value::Null,
        BOOL => Value::Bool(bits == 1),
        INT => Value::Int(bits.cast_signed()),
        FLOAT => Value::Float { value: f64::from_bits(bits), start: 0, len: 0 },
        TEXT => Value::Text(Span { place: Place::Set, escaped: false, start: low, len }),
        _ => return None,
    })
}

/// The constant that stands for a value; it has a text in the set, if it is one.
pub(crate) fn constant_bytes(value: Value) -> [u8; CONSTANT_BYTES] {
    let (kind, len, bits) = match value {
        Value::Null | Value::Composite => (NULL, 0, 0),
        Value::Bool(value) => (BOOL, 0, u64::from(value)),
        Value::Int(value) => (INT, 0, value.cast_unsigned()),
        Value::Float { value, .. } => (FLOAT, 0, value.to_bits()),
        Value::Text(span) => (TEXT, span.len, u64::from(span.start)),
    };
    let mut bytes = [0; CONSTANT_BYTES];
    bytes[0] = kind;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..16].copy_from_slice(&bits.to_le_bytes());
    bytes
}

pub(super) fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn long<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(word(bytes, at + 4)) << 32 | u64::from(word(bytes, at))
}
