//! A set of programs, verified.

mod entry;
mod instruction;
mod verify;
mod view;

pub(crate) use entry::{Node, Program};
pub(crate) use instruction::{Attribute, Instruction, Op, Operand};
pub(crate) use view::View;
#[cfg(feature = "compile")]
pub(crate) use {
    entry::{CONSTANT_BYTES, Edge, NO_SLOT, Route, constant_bytes, key_bit, prefix},
    instruction::{INDEX_MAX, Shape},
    view::Counts,
};

pub use verify::{Fault, VerifyError};

use tributary_core::record::Event;

use crate::vm::{Evaluation, Scratch};

/// The programs of all routes. Owns or borrows its bytes, as `Set<&[u8]>`, `Set<Vec<u8>>` or
/// `Set<Arc<[u8]>>`.
#[derive(Clone, Copy, Debug)]
pub struct Set<B> {
    bytes: B,
    counts: view::Counts,
}

impl<B: AsRef<[u8]>> Set<B> {
    /// Checks everything once, so that an evaluation ends after at most as many steps as its program
    /// has instructions, and never reads what was not written. Takes time linear in the size.
    ///
    /// # Errors
    /// The bytes are damaged, or of another version.
    pub fn verify(bytes: B) -> Result<Self, VerifyError> {
        let counts = verify::verify(bytes.as_ref())?;
        Ok(Self { bytes, counts })
    }

    /// The encoded form, as the log stores it.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        usize::from(self.counts.routes)
    }

    /// Whether the set has no routes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the route has an expression for its key.
    ///
    /// # Panics
    /// If there is no such route.
    pub fn has_key(&self, route: usize) -> bool {
        assert!(route < self.len(), "the set has no such route");
        self.view().route(route).is_some_and(|route| route.key.len > 0)
    }

    /// Begins with an event. Its payload is read when the first expression needs a field, and then
    /// once for all routes.
    pub fn evaluate<'s>(
        &'s self,
        event: &'s Event<'s>,
        scratch: &'s mut Scratch,
    ) -> Evaluation<'s> {
        Evaluation::new(self.view(), event, scratch)
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.bytes.as_ref(), self.counts)
    }
}
