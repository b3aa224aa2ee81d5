//! What the programs of a set share: fields, constants and texts, each stored once.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::fields::{Fields, TooMany};
use super::tree::{Literal, Path};
use crate::limits::SET_BYTES_MAX;
use crate::set::{CONSTANT_BYTES, Counts, INDEX_MAX, Instruction, Route, constant_bytes};
use crate::value::{Place, Span, Value};

/// The set does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Everything beside the programs.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    fields: Fields,
    constants: Vec<[u8; CONSTANT_BYTES]>,
    places: BTreeMap<[u8; CONSTANT_BYTES], u16>,
    text: String,
    texts: BTreeMap<String, u32>,
}

impl Pool {
    /// Notes a field: all of them before the first program.
    pub(crate) fn want(&mut self, path: &Path) -> Result<(), TooMany> {
        self.fields.want(path)
    }

    /// Numbers the fields.
    pub(crate) fn number_fields(&mut self) {
        self.fields.number();
    }

    /// The slot of a field.
    pub(crate) fn field(&self, path: &Path) -> u16 {
        self.fields.slot(path)
    }

    /// The index of a constant.
    pub(crate) fn constant(&mut self, literal: &Literal) -> Result<u16, TooLarge> {
        let bytes = constant_bytes(match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Float(value) => Value::Float { value: *value, start: 0, len: 0 },
            Literal::Text(text) => {
                let (start, len) = self.intern(text)?;
                Value::Text(Span { place: Place::Set, escaped: false, start, len })
            }
        });
        if let Some(index) = self.places.get(&bytes) {
            return Ok(*index);
        }
        let index = self.constants.len();
        if index > INDEX_MAX {
            return Err(TooLarge);
        }
        let index = u16::try_from(index).map_err(|_| TooLarge)?;
        self.constants.push(bytes);
        self.places.insert(bytes, index);
        Ok(index)
    }

    fn intern(&mut self, text: &str) -> Result<(u32, u32), TooLarge> {
        let len = u32::try_from(text.len()).map_err(|_| TooLarge)?;
        if let Some(start) = self.texts.get(text) {
            return Ok((*start, len));
        }
        let start = u32::try_from(self.text.len()).map_err(|_| TooLarge)?;
        self.text.push_str(text);
        self.texts.insert(text.to_owned(), start);
        Ok((start, len))
    }

    /// Puts the sections one behind the other.
    pub(crate) fn assemble(
        mut self,
        routes: &[Route],
        code: &[Instruction],
    ) -> Result<Vec<u8>, TooLarge> {
        let fields = core::mem::take(&mut self.fields);
        let encoded = fields.encode(|key| self.intern(key))?;
        let narrow = |count: usize| u16::try_from(count).map_err(|_| TooLarge);
        let wide = |count: usize| u32::try_from(count).map_err(|_| TooLarge);
        let counts = Counts {
            routes: narrow(routes.len())?,
            slots: fields.len(),
            nodes: narrow(encoded.nodes.len())?,
            edges: narrow(encoded.edges.len())?,
            constants: narrow(self.constants.len())?,
            instructions: wide(code.len())?,
            text: wide(self.text.len())?,
        };
        let mut bytes = Vec::from(counts.encode());
        bytes.extend(routes.iter().flat_map(|route| route.encode()));
        bytes.extend(encoded.nodes.iter().flat_map(|node| node.encode()));
        bytes.extend(encoded.edges.iter().flat_map(|edge| edge.encode()));
        bytes.extend(self.constants.iter().flatten());
        bytes.extend(code.iter().flat_map(|instruction| instruction.encode()));
        bytes.extend_from_slice(self.text.as_bytes());
        if bytes.len() > SET_BYTES_MAX { Err(TooLarge) } else { Ok(bytes) }
    }
}
