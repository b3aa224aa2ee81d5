//! A verified set of programs.

use core::fmt;

use tributary_core::record::Event;

use crate::truth::{Truth, Why};

/// Why bytes are not a set of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The first byte names a format that this build does not know.
    Version(u8),
    /// Shorter or longer than the header says, or longer than the limit.
    Length,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "programs of format {version}; this build knows 1"),
            Self::Length => f.write_str("the programs are not as long as their header says"),
        }
    }
}

impl core::error::Error for VerifyError {}

/// The programs of a set of routes. Owns or borrows its bytes: `Set<&[u8]>`, `Set<Vec<u8>>`, `Set<Arc<[u8]>>`.
#[derive(Clone, Copy, Debug)]
pub struct Set<B> {
    bytes: B,
}

impl<B: AsRef<[u8]>> Set<B> {
    /// Checks everything once, so that evaluation ends after as many steps as a program has
    /// instructions and never reads what was not written.
    ///
    /// # Errors
    /// The bytes are damaged, or of a newer format.
    pub fn verify(bytes: B) -> Result<Self, VerifyError> {
        match bytes.as_ref() {
            [1, _, ..] => Ok(Self { bytes }),
            [1] | [] => Err(VerifyError::Length),
            [version, ..] => Err(VerifyError::Version(*version)),
        }
    }

    /// The encoded form, as the log stores it.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.as_bytes().get(1).map_or(0, |routes| usize::from(*routes))
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
        false
    }

    /// Begins with an event. Its payload is looked at when the first expression needs a field, once for all routes.
    pub fn evaluate<'s>(
        &'s self,
        event: &'s Event<'s>,
        scratch: &'s mut Scratch,
    ) -> Evaluation<'s> {
        Evaluation { routes: self.len(), event, scratch }
    }
}

/// The memory of the machine, of fixed size: one per thread, used for one event after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    why: Why,
}

impl Scratch {
    /// Needs no heap.
    #[must_use]
    pub const fn new() -> Self {
        Self { why: Why::NONE }
    }
}

/// One event under the eyes of all routes.
#[derive(Debug)]
pub struct Evaluation<'s> {
    routes: usize,
    event: &'s Event<'s>,
    scratch: &'s mut Scratch,
}

impl Evaluation<'_> {
    /// Whether the route selects the event. A route without `where` selects all.
    ///
    /// # Panics
    /// If there is no such route.
    pub fn test(&mut self, route: usize) -> Truth {
        assert!(route < self.routes, "the set has no such route");
        self.scratch.why = Why::NONE;
        Truth::True
    }

    /// The route's key for this event, as text at the start of `out`; numbers of the payload as the device wrote them.
    ///
    /// # Errors
    /// The key is NULL; or the route has no expression for it ([`Set::has_key`]).
    ///
    /// # Panics
    /// If there is no such route.
    pub fn key<'o>(&mut self, route: usize, out: &'o mut [u8]) -> Result<&'o [u8], Why> {
        assert!(route < self.routes, "the set has no such route");
        let text = self.event.topic.as_bytes();
        let out = out.get_mut(..text.len()).ok_or(Why::TOO_LONG)?;
        out.copy_from_slice(text);
        Ok(out)
    }
}
