//! Measures an answer before it is decoded.
//!
//! The codec allocates what a count on the wire says, before it looks at the elements: eight bytes
//! can ask for gigabytes. So every answer is first walked along its schema, without allocation: it
//! must fill its frame exactly, and its elements and tagged fields together stay below
//! [`ELEMENTS_MAX`], integers aside. What the walk accepts, the codec may decode.

use super::schemas::schema;
use super::{Api, Malformed};
use crate::limits::ELEMENTS_MAX;

/// The schema of one field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// First and last version that has the field.
    pub(super) versions: (i16, i16),
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, nullable or not.
    Text,
    /// Bytes, nullable or not.
    Blob,
    /// Four bytes: for how long the broker will not look at this connection (KIP-219).
    Throttle,
    /// An array of structures.
    Array(&'static [Field]),
    /// An array of 32-bit integers.
    Integers,
    /// The tagged fields of a structure that the codec decodes, by tag.
    Tagged(&'static [(u32, Field)]),
    /// A structure as the value of a tagged field.
    Struct(&'static [Field]),
}

/// Checks an answer's body.
pub(super) fn check(api: Api, version: i16, body: &[u8]) -> Result<(), Malformed> {
    walk(api, version, body).map(drop)
}

/// For how long the broker will not look at the connection; 0 too where the body is no answer,
/// which is found when it is decoded.
pub(super) fn throttle_ms(api: Api, version: i16, body: &[u8]) -> u32 {
    walk(api, version, body).unwrap_or(0)
}

fn walk(api: Api, version: i16, body: &[u8]) -> Result<u32, Malformed> {
    let flexible = version >= api.flexible_since();
    let mut walk = Walk { rest: body, version, flexible, elements: 0, throttle_ms: 0 };
    walk.fields(schema(api))?;
    if walk.rest.is_empty() { Ok(walk.throttle_ms) } else { Err(Malformed) }
}

/// The bytes after the tagged fields of a response header.
pub(super) fn after_tags(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut walk = Walk { rest: bytes, version: 0, flexible: true, elements: 0, throttle_ms: 0 };
    walk.tagged(&[])?;
    Ok(walk.rest)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
    throttle_ms: u32,
}

impl Walk<'_> {
    /// Schemas are constants of small depth, so the recursion is bounded.
    fn fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        fields.iter().try_for_each(|field| self.field(field))
    }

    fn field(&mut self, field: &Field) -> Result<(), Malformed> {
        let (from, to) = field.versions;
        if !(from..=to).contains(&self.version) {
            return Ok(());
        }
        match field.kind {
            Kind::Fixed(bytes) => self.skip(bytes),
            Kind::Text => {
                let bytes = if self.flexible {
                    self.varint()?.saturating_sub(1)
                } else {
                    u32::try_from(i16::from_be_bytes(self.array()?)).unwrap_or(0)
                };
                self.skip(bytes as usize)
            }
            Kind::Blob => {
                let bytes = self.length()?;
                self.skip(bytes)
            }
            Kind::Throttle => {
                self.throttle_ms = u32::try_from(i32::from_be_bytes(self.array()?)).unwrap_or(0);
                Ok(())
            }
            Kind::Integers => {
                // They are as large in memory as here: their bytes bound them.
                let count = self.length()?;
                self.skip(count.checked_mul(4).ok_or(Malformed)?)
            }
            Kind::Array(fields) => (0..self.count()?).try_for_each(|_| self.fields(fields)),
            Kind::Struct(fields) => self.fields(fields),
            Kind::Tagged(known) if self.flexible => self.tagged(known),
            Kind::Tagged(_) => Ok(()),
        }
    }

    fn tagged(&mut self, known: &[(u32, Field)]) -> Result<(), Malformed> {
        let tags = self.varint()? as usize;
        self.spend(tags)?;
        for _ in 0..tags {
            let tag = self.varint()?;
            let bytes = self.varint()? as usize;
            let (value, after) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
            if let Some((_, field)) = known.iter().find(|(name, _)| *name == tag) {
                self.rest = value;
                self.field(field)?;
                if !self.rest.is_empty() {
                    return Err(Malformed);
                }
            }
            self.rest = after;
        }
        Ok(())
    }

    /// The count of an array; a null array has none.
    fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.length()?;
        self.spend(count)?;
        Ok(count)
    }

    /// The length of an array or of bytes; 0 where it is null.
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            u32::try_from(i32::from_be_bytes(self.array()?)).unwrap_or(0)
        };
        Ok(length as usize)
    }

    fn spend(&mut self, elements: usize) -> Result<(), Malformed> {
        self.elements = self.elements.saturating_add(elements);
        if self.elements > ELEMENTS_MAX { Err(Malformed) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.rest = self.rest.get(bytes..).ok_or(Malformed)?;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    /// An unsigned varint of at most 32 bits.
    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| Malformed);
            }
        }
        Err(Malformed)
    }
}
