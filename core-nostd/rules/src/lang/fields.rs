//! The fields that the expressions of a set name, as the tree that the scan goes along.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::tree::{Path, Step};
use crate::limits::FIELDS_MAX;
use crate::set::{Edge, NO_SLOT, Node, key_bit, prefix};

/// More than `FIELDS_MAX` fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The fields seen so far, each with its slot. In the order of a map a path stands before those
/// that continue it, so the slots of a place and of all below it follow each other.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    slots: BTreeMap<Path, u16>,
}

/// The sections of a set that describe its fields.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

/// The paths `start..end` begin with the same steps, as many as `depth`.
#[derive(Clone, Copy, Debug)]
struct Group {
    depth: u8,
    start: usize,
    end: usize,
}

impl Fields {
    /// Notes a field.
    pub(crate) fn want(&mut self, path: &Path) -> Result<(), TooMany> {
        if !self.slots.contains_key(path) {
            if self.slots.len() == FIELDS_MAX {
                return Err(TooMany);
            }
            self.slots.insert(path.clone(), 0);
        }
        Ok(())
    }

    /// Numbers the slots, when all fields are noted.
    pub(crate) fn number(&mut self) {
        for (slot, number) in self.slots.values_mut().zip(0..) {
            *slot = number;
        }
    }

    /// The slot of a field.
    pub(crate) fn slot(&self, path: &Path) -> u16 {
        *self.slots.get(path).expect("every field is noted before the first program is made")
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u16 {
        narrow(self.slots.len())
    }

    /// Encodes the tree level by level, so that edge e leads to node e + 1. `intern` gives a text
    /// its place.
    pub(crate) fn encode<E>(
        &self,
        mut intern: impl FnMut(&str) -> Result<(u32, u32), E>,
    ) -> Result<Encoded, E> {
        let paths: Vec<&Path> = self.slots.keys().collect();
        let mut groups = Vec::from([Group { depth: 0, start: 0, end: paths.len() }]);
        let mut encoded = Encoded::default();
        let mut next = 0;
        while let Some(group) = groups.get(next).copied() {
            next += 1;
            let mut node = Node {
                first_edge: narrow(encoded.edges.len()),
                slot: NO_SLOT,
                slots_start: narrow(group.start),
                slots_end: narrow(group.end),
                depth: group.depth,
                ..Node::default()
            };
            for (step, child) in children(&paths, group, &mut node.slot) {
                encoded.edges.push(match step {
                    Step::Key(key) => {
                        node.key_count += 1;
                        node.mask |= key_bit(key.as_bytes());
                        let (start, len) = intern(key)?;
                        Edge { prefix: prefix(key.as_bytes()), start, len: narrow(len as usize) }
                    }
                    Step::Index(index) => {
                        node.index_count += 1;
                        Edge { prefix: 0, start: *index, len: 0 }
                    }
                });
                groups.push(child);
            }
            encoded.nodes.push(node);
        }
        Ok(encoded)
    }
}

/// The groups one step further, in the order of edges; and the slot of the path that ends here.
fn children<'p>(paths: &[&'p Path], group: Group, slot: &mut u16) -> Vec<(&'p Step, Group)> {
    let mut children: Vec<(&Step, Group)> = Vec::new();
    for (index, path) in paths.iter().enumerate().take(group.end).skip(group.start) {
        match (path.get(usize::from(group.depth)), children.last_mut()) {
            (None, _) => *slot = narrow(index),
            (Some(step), Some((last, child))) if step == *last => child.end = index + 1,
            (Some(step), _) => {
                let child = Group { depth: group.depth + 1, start: index, end: index + 1 };
                children.push((step, child));
            }
        }
    }
    children.sort_by_key(|(step, _)| match step {
        Step::Key(key) => (false, key.len(), key.as_str(), 0),
        Step::Index(index) => (true, 0, "", *index),
    });
    children
}

fn narrow(count: usize) -> u16 {
    u16::try_from(count).expect(
        "FIELDS_MAX paths of PATH_LEVELS_MAX steps, each from at most SOURCE_BYTES_MAX bytes",
    )
}
