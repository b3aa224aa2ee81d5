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

use super::entry::{
    CONSTANT_BYTES, EDGE_BYTES, Edge, NODE_BYTES, Node, PREFIX_BYTES, Program, ROUTE_BYTES, Route,
    decode_constant, decode_number, half, key_bit, prefix, word,
};
use super::instruction::Instruction;
use crate::limits::SET_BYTES_MAX;
use crate::value::{Number, Text, Value};

/// The format that this build writes and reads.
pub(crate) const VERSION: u8 = 1;
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

/// The sections of a set that was verified. Reads beyond a section's end answer nothing.
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
        decode_number(self.constants.get(index)?)
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
