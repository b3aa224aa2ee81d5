//! What all connections together have read and cannot deal with yet: begins of packets, and what waits for us.
//!
//! Invariant: above [`UNREAD_BYTES_MAX`] nobody who sends more of a packet holds more than an equal
//! share of it, so together they hold twice as much at most; and less is read at once.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Bytes of all connections together, up to which nobody is looked at.
pub const UNREAD_BYTES_MAX: usize = 16 << 20;
/// Bytes read at once.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Bytes read at once while there is more than that.
const READ_BYTES_SCARCE: usize = 4 << 10;

/// The sum of what connections hold.
#[derive(Debug, Default)]
pub struct Unread {
    bytes: AtomicUsize,
    holders: AtomicUsize,
}

impl Unread {
    fn is_scarce(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > UNREAD_BYTES_MAX
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Portion {
    all: Arc<Unread>,
    bytes: usize,
}

impl Portion {
    pub(super) const fn new(all: Arc<Unread>) -> Self {
        Self { all, bytes: 0 }
    }

    /// How much to read at once.
    pub(super) fn read_bytes(&self) -> usize {
        if self.all.is_scarce() { READ_BYTES_SCARCE } else { READ_BYTES }
    }

    /// The connection holds so many bytes from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        let Unread { bytes: sum, holders } = &*self.all;
        if self.bytes == 0 {
            holders.fetch_add(1, Ordering::Relaxed);
        } else if bytes == 0 {
            holders.fetch_sub(1, Ordering::Relaxed);
        }
        if bytes > self.bytes {
            sum.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            sum.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Whether it is more than it may be.
    pub(super) fn is_too_much(&self) -> bool {
        let holders = self.all.holders.load(Ordering::Relaxed).max(1);
        self.all.is_scarce() && self.bytes > UNREAD_BYTES_MAX / holders
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_more_than_a_share_when_it_is_scarce() {
        let all = Arc::new(Unread::default());
        let mut large: Vec<Portion> = (0..64).map(|_| Portion::new(Arc::clone(&all))).collect();
        for portion in &mut large {
            portion.set(256 << 10);
            assert!(!portion.is_too_much() && portion.read_bytes() == READ_BYTES);
        }
        let mut small = Portion::new(Arc::clone(&all));
        small.set(10);
        assert!(!small.is_too_much() && small.read_bytes() == READ_BYTES_SCARCE);
        small.set(UNREAD_BYTES_MAX / 65 + 1);
        assert!(small.is_too_much() && large[0].is_too_much());
        large.pop();
        small.set(1);
        assert!(!small.is_too_much() && !large[0].is_too_much());
        drop((large, small));
        assert_eq!(
            (all.bytes.load(Ordering::Relaxed), all.holders.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
