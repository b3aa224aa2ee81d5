//! Changes on their way to the log: those of one commit gather in one body.

use std::sync::{Arc, Mutex};

use core::sync::atomic::{AtomicU64, Ordering};

use tributary_core::Offset;

use super::change::{Change, Noted};
use crate::sync::lock;

/// A body is closed at this size: the next one is begun.
const BATCH_BYTES_ENOUGH: usize = 256 << 10;

/// Makes the body of a control record from the offset at which it holds and the oldest offset.
pub type MakeBody = Box<dyn FnOnce(Offset, Offset) -> Vec<u8> + Send>;

/// The body of a control record that is still being written.
#[derive(Clone, Debug)]
pub struct Batch {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    last: u64,
}

impl Batch {
    /// A body whose first change will have this number.
    #[must_use]
    pub fn new(first: u64) -> Self {
        let bytes = first.to_le_bytes().to_vec();
        Self { inner: Arc::new(Mutex::new(Inner { bytes, last: first - 1 })) }
    }

    /// Whether the next change needs another body.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes() >= BATCH_BYTES_ENOUGH
    }

    /// How many there are so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        lock(&self.inner).bytes.len()
    }

    /// Adds a change of `client` that holds from the event at `at` on; its number.
    #[must_use]
    pub fn push(&self, client: &str, at: u64, change: &Change<'_>) -> u64 {
        let noted = Noted { client, at, change: change.clone() };
        let mut inner = lock(&self.inner);
        let bytes = core::mem::take(&mut inner.bytes);
        inner.bytes = postcard::to_extend(&noted, bytes)
            .unwrap_or_else(|_| unreachable!("plain values into memory"));
        inner.last += 1;
        inner.last
    }

    /// What makes the body when it is appended, and notes the number of its last change then.
    #[must_use]
    pub fn body(&self, appended: &Arc<AtomicU64>) -> MakeBody {
        let (batch, appended) = (self.clone(), Arc::clone(appended));
        Box::new(move |_, _| {
            let mut inner = lock(&batch.inner);
            appended.store(inner.last, Ordering::Release);
            core::mem::take(&mut inner.bytes)
        })
    }
}
