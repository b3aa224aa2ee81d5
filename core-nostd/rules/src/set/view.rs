//! The sections of an encoded set. The format, all numbers little-endian:
//!
//! ```text
//! 0        version = 1
//! 1        0
//! 2..4     R, number of routes
//! 4..6     S, number of slots (fields)
//! 6..8     N, number of nodes, at least 1
//! 8..10    E, number of edges
//! 10..12   C, number of constants
//! 12..16   I, number of instructions of all programs
//! 16..20   T, bytes of text
//! 20..     R routes (12 bytes) · N nodes (24) · E edges (16) · C constants (16) · I instructions (8) · T bytes of UTF-8
//!
//! route    0..4  first instruction of `where`     4..6  their number, 0: there is no `where`
//!          6..8  the number of `key`'s            8..12 first instruction of `key`
//!
//! node     a place in a payload that expressions ask for; node 0 is the whole payload
//!          0..8   one bit per key below it (`key_bit`): most keys of a payload are refused by it
//!          8..10  its first edge                  10..12 its edges that are keys, ordered by (length, bytes)
//!          12..14 its edges that are array indexes, ordered, behind the keys
//!          14..16 its slot, 0xFFFF: none          16..18 first slot of it and all below
//!          18..20 end of these slots              20     depth, 0 for node 0        21..24 0
//!
//! edge     0..8   key: its first eight bytes, most significant first, filled up with 0 · index: 0
//!          8..12  key: start of its text · index: the index
//!          12..14 key: length of its text · index: 0      14..16 0
//!          edge e leads to node e + 1; the edges of the nodes follow each other as the nodes do
//!
//! constant 0    0 NULL · 1 boolean · 2 integer · 3 float · 4 text     1..4 0
//!          4..8 text: its length, else 0
//!          8..16 boolean: 0 or 1 · integer: i64 · float: the bits of the f64 · text: its start
//! ```
//!
//! Instructions: see `instruction`.

use super::instruction::Instruction;
use crate::limits::SET_BYTES_MAX;
use crate::value::{Number, Place, Span, Text, Value};

/// The format that this build writes and reads.
pub(crate) const VERSION: u8 = 1;
/// No slot.
pub(crate) const NO_SLOT: u16 = u16::MAX;

pub(crate) const ROUTE_BYTES: usize = 12;
pub(crate) const NODE_BYTES: usize = 24;
pub(crate) const EDGE_BYTES: usize = 16;
pub(crate) const CONSTANT_BYTES: usize = 16;

/// How many entries each section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) routes: u16,
    pub(crate) slots: u16,
    pub(crate) nodes: u16,
    pub(crate) edges: u16,
    pub(crate) constants: u16,
    pub(crate) instructions: u32,
    pub(crate) text: u32,
}

impl Counts {
    pub(crate) const HEADER_BYTES: usize = 20;

    /// Reads the header and compares it with the length.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<{ Self::HEADER_BYTES }>()?;
        if bytes.len() > SET_BYTES_MAX || header[1] != 0 {
            return None;
        }
        let counts = Self {
            routes: half(header, 2),
            slots: half(header, 4),
            nodes: half(header, 6),
            edges: half(header, 8),
            constants: half(header, 10),
            instructions: word(header, 12),
            text: word(header, 16),
        };
        let sections = u64::from(counts.routes) * ROUTE_BYTES as u64
            + u64::from(counts.nodes) * NODE_BYTES as u64
            + u64::from(counts.edges) * EDGE_BYTES as u64
            + u64::from(counts.constants) * CONSTANT_BYTES as u64
            + u64::from(counts.instructions) * Instruction::BYTES as u64
            + u64::from(counts.text);
        (sections == rest.len() as u64).then_some(counts)
    }

    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> [u8; Self::HEADER_BYTES] {
        let mut header = [0; Self::HEADER_BYTES];
        header[0] = VERSION;
        let halves = [self.routes, self.slots, self.nodes, self.edges, self.constants];
        for (field, value) in header[2..12].chunks_exact_mut(2).zip(halves) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        header[12..16].copy_from_slice(&self.instructions.to_le_bytes());
        header[16..20].copy_from_slice(&self.text.to_le_bytes());
        header
    }
}

/// The sections of a set that was verified. Reads beyond a section's end answer nothing, so even a
/// storage that changed its bytes afterwards could only give wrong answers, never a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) slots: u16,
    pub(crate) routes: &'a [[u8; ROUTE_BYTES]],
    pub(crate) nodes: &'a [[u8; NODE_BYTES]],
    pub(crate) edges: &'a [[u8; EDGE_BYTES]],
    pub(crate) constants: &'a [[u8; CONSTANT_BYTES]],
    pub(crate) instructions: &'a [[u8; Instruction::BYTES]],
    pub(crate) text: &'a [u8],
}

impl<'a> View<'a> {
    pub(crate) fn new(bytes: &'a [u8], counts: Counts) -> Self {
        let mut rest = bytes.get(Counts::HEADER_BYTES..).unwrap_or_default();
        Self {
            slots: counts.slots,
            routes: section(&mut rest, usize::from(counts.routes)),
            nodes: section(&mut rest, usize::from(counts.nodes)),
            edges: section(&mut rest, usize::from(counts.edges)),
            constants: section(&mut rest, usize::from(counts.constants)),
            instructions: section(&mut rest, counts.instructions as usize),
            text: rest,
        }
    }

    pub(crate) fn route(&self, index: usize) -> Option<Route> {
        self.routes.get(index).map(Route::decode)
    }

    pub(crate) fn node(&self, index: u16) -> Option<Node> {
        self.nodes.get(usize::from(index)).map(Node::decode)
    }

    pub(crate) fn constant(&self, index: usize) -> Option<Value> {
        self.constants.get(index).and_then(decode_constant)
    }

    /// A constant that is a number.
    #[inline]
    pub(crate) fn number(&self, index: usize) -> Option<Number> {
        let bytes = self.constants.get(index)?;
        match bytes[0] {
            INT => Some(Number::Int(long(bytes, 8).cast_signed())),
            FLOAT => Some(Number::Float(f64::from_bits(long(bytes, 8)))),
            _ => None,
        }
    }

    pub(crate) fn program(&self, program: Program) -> &'a [[u8; Instruction::BYTES]] {
        let first = program.first as usize;
        let len = usize::from(program.len);
        self.instructions.get(first..).and_then(|rest| rest.get(..len)).unwrap_or_default()
    }

    /// The node that `key` leads to.
    #[inline]
    pub(crate) fn key_child(&self, node: &Node, key: Text<'_>) -> Option<u16> {
        if key.escaped {
            return self.escaped_key_child(node, key);
        }
        if node.mask & key_bit(key.bytes) == 0 {
            return None;
        }
        let (len, prefix) = (key.bytes.len(), prefix(key.bytes));
        let edges = self.edges.get(node.keys())?;
        let wanted = |edge: &Edge| (usize::from(edge.len), edge.prefix).cmp(&(len, prefix));
        let first = edges.partition_point(|edge| wanted(&Edge::decode(edge)).is_lt());
        let mut same =
            edges.iter().map(Edge::decode).skip(first).take_while(|edge| wanted(edge).is_eq());
        let found = same.position(|edge| len <= PREFIX_BYTES || self.key(edge).bytes == key.bytes);
        child(node.keys().start + first + found?)
    }

    #[cold]
    fn escaped_key_child(&self, node: &Node, key: Text<'_>) -> Option<u16> {
        let edges = self.edges.get(node.keys())?;
        let found = edges.iter().position(|edge| self.key(Edge::decode(edge)).order(key).is_eq());
        child(node.keys().start + found?)
    }

    /// The node that an array's element leads to.
    pub(crate) fn index_child(&self, node: &Node, index: usize) -> Option<u16> {
        let index = u32::try_from(index).ok()?;
        let edges = self.edges.get(node.indexes())?;
        let found = edges.binary_search_by(|edge| Edge::decode(edge).start.cmp(&index));
        child(node.indexes().start + found.ok()?)
    }

    /// The text of an edge that is a key.
    pub(crate) fn key(&self, edge: Edge) -> Text<'a> {
        let start = edge.start as usize;
        let bytes = self.text.get(start..).and_then(|rest| rest.get(..usize::from(edge.len)));
        Text { bytes: bytes.unwrap_or_default(), escaped: false }
    }
}

/// The node that an edge leads to.
fn child(edge: usize) -> Option<u16> {
    u16::try_from(edge + 1).ok()
}

/// Cuts a section of `count` entries off the front.
fn section<'a, const N: usize>(rest: &mut &'a [u8], count: usize) -> &'a [[u8; N]] {
    let (section, behind) = rest.split_at_checked(count * N).unwrap_or_default();
    *rest = behind;
    section.as_chunks().0
}

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
    fn decode(bytes: &[u8; ROUTE_BYTES]) -> Self {
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
    fn decode(bytes: &[u8; NODE_BYTES]) -> Self {
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

const PREFIX_BYTES: usize = 8;

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

#[inline]
fn decode_constant(bytes: &[u8; CONSTANT_BYTES]) -> Option<Value> {
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

fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(word(bytes, at + 4)) << 32 | u64::from(word(bytes, at))
}
