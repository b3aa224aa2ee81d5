//! An expression as a tree. Nodes lie in one vector, each behind the nodes below it: so a tree of
//! any shape is checked by going along the vector, and dropped, without recursion.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::functions::Function;
use crate::set::Op;

/// A node, by its place in the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(usize);

/// A parsed expression.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// A node with its place in the text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Field {
        path: Path,
        /// The name stands in double quotes and would not have to.
        needless_quotes: bool,
    },
    /// `NOT` or a minus.
    Unary(Op, Id),
    /// An operator between two operands.
    Binary(Op, Id, Id),
    IsNull {
        of: Id,
        negated: bool,
    },
    In {
        of: Id,
        list: Vec<Id>,
        negated: bool,
    },
    Between {
        of: Id,
        low: Id,
        high: Id,
        negated: bool,
    },
    Call(&'static Function, Vec<Id>),
}

/// A value that the text spells out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// The way to a field.
pub(crate) type Path = Vec<Step>;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(u32),
}

impl Tree {
    pub(crate) fn push(&mut self, kind: Kind, span: Range<usize>) -> Id {
        self.nodes.push(Node { kind, span });
        Id(self.nodes.len() - 1)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id.0).expect("ids come from `push`, and nothing is ever taken out")
    }

    /// All nodes, each behind the nodes below it; the last one is the whole expression.
    pub(crate) fn nodes(&self) -> impl ExactSizeIterator<Item = (Id, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (Id(index), node))
    }

    pub(crate) fn root(&self) -> Id {
        Id(self.nodes.len().saturating_sub(1))
    }
}

impl Id {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}
