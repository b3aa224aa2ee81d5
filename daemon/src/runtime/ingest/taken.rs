//! What was left at the desk, on its way to the log.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tributary_core::Offset;
use tributary_core::log::ControlKind;

use super::Body;
use crate::runtime::sessions::Batch;

/// A control record to be written; its body is made when the offset at which it holds is known.
pub struct ControlRequest {
    /// What it is.
    pub kind: ControlKind,
    /// Makes the body from the offset and the oldest offset of the log.
    pub body: Box<dyn FnOnce(Offset, Offset) -> Vec<u8> + Send>,
    /// Told the offset at which it holds, once it is durable.
    pub done: oneshot::Sender<Offset>,
}

/// Everything that one commit makes durable.
#[derive(Default)]
pub struct Taken {
    /// Frames to be.
    pub bodies: VecDeque<Body>,
    /// Control records, behind the bodies.
    pub controls: Vec<ControlRequest>,
    /// Changes of sessions, in their order and behind all else: each holds behind events that were
    /// left before it.
    pub changes: VecDeque<Batch>,
    /// Connections that wait for any of it.
    pub waiting: Vec<Arc<Notify>>,
}

impl Taken {
    /// Puts what was taken later behind.
    pub fn append(&mut self, mut later: Self) {
        self.bodies.append(&mut later.bodies);
        self.controls.append(&mut later.controls);
        for batch in later.changes {
            let rest = match self.changes.back_mut() {
                Some(last) => last.join(batch),
                None => Some(batch),
            };
            self.changes.extend(rest);
        }
        self.waiting.append(&mut later.waiting);
    }

    /// Of those who wait each is told once, and who has gone is not told: what a log holds may wait for days, and
    /// its clients come again and again meanwhile.
    pub fn forget_who_has_gone(&mut self) {
        self.waiting.sort_unstable_by_key(Arc::as_ptr);
        self.waiting.dedup_by(|one, other| Arc::ptr_eq(one, other));
        self.waiting.retain(|waiting| Arc::strong_count(waiting) > 1);
    }

    /// How many events.
    #[must_use]
    pub fn events(&self) -> usize {
        self.bodies.iter().map(|body| body.count as usize).sum()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty() && self.controls.is_empty() && self.changes.is_empty()
    }

    /// Drops all of it, and wakes those who wait: it will not become durable.
    pub fn give_up(self) {
        for waiting in self.waiting {
            waiting.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_once_and_who_has_gone_is_not() {
        let (here, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut taken = Taken::default();
        for _ in 0..1_000 {
            taken.waiting.extend([Arc::clone(&here), Arc::clone(&gone)]);
        }
        drop(gone);
        taken.forget_who_has_gone();
        assert_eq!(taken.waiting.len(), 1);
        assert!(Arc::ptr_eq(&taken.waiting[0], &here));
    }
}
