//! Changes on their way to the log: those of one commit gather in one body.

use tributary_core::Offset;

use super::change::{Change, Noted};

/// A body is closed at this size: the next one is begun.
const BATCH_BYTES_ENOUGH: usize = 256 << 10;
/// The number of the first change stands in front.
const NUMBER_BYTES: usize = 8;

/// The body of a control record that is still being written.
#[derive(Debug)]
pub struct Batch {
    body: Vec<u8>,
    last: u64,
}

impl Batch {
    /// A body whose first change will have this number.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { body: first.to_le_bytes().to_vec(), last: first - 1 }
    }

    /// Whether the next change needs another body.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.body.len() >= BATCH_BYTES_ENOUGH
    }

    /// Adds a change of `client` that holds from the event at `at` on; its number.
    pub fn push(&mut self, client: &str, at: Offset, change: &Change<'_>) -> u64 {
        let noted = Noted { client, at: at.0, change: change.clone() };
        self.body = postcard::to_extend(&noted, core::mem::take(&mut self.body))
            .unwrap_or_else(|_| unreachable!("plain values into memory"));
        self.last += 1;
        self.last
    }

    /// Puts the changes that come next behind these; gives them back if that would be too much.
    pub(in crate::runtime) fn join(&mut self, later: Self) -> Option<Self> {
        if self.body.len() + later.bytes() > BATCH_BYTES_ENOUGH {
            return Some(later);
        }
        self.body.extend_from_slice(&later.body[NUMBER_BYTES..]);
        self.last = later.last;
        None
    }

    /// Bytes of the changes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.body.len() - NUMBER_BYTES
    }

    /// The number of the last change.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The body, as it is appended.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
