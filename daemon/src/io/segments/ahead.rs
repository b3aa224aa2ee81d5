//! Making the files of segments before they are needed, slowly, on a thread of its own.
//!
//! A new log serves with its first file. Until the ring is complete the log may come to a segment
//! that is not made yet; then it makes it itself, and its clients wait.

use std::sync::{Arc, Weak};

use core::time::Duration;

use super::SegmentError;
use super::shared::Shared;
use crate::io::threads::{pause, spawn};

/// So much is written at once.
const STEP_BYTES: u64 = 256 << 10;
/// And then a card has time for what is to be acknowledged.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts the thread. It ends when the files are closed, or all are made.
pub(super) fn make_ahead(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::downgrade(shared);
    spawn("log-ahead", move || {
        if let Err(error) = make_all(&shared) {
            if let Some(shared) = shared.upgrade() {
                shared.note_smaller(&error);
            }
            tracing::warn!(%error, "the log stays smaller than configured");
        }
    })
    .map(drop)
}

fn make_all(shared: &Weak<Shared>) -> Result<(), SegmentError> {
    let mut segment = 0;
    while let Some(shared) = shared.upgrade() {
        if segment == shared.geometry.segments {
            return Ok(());
        }
        if !shared.make_longer(segment, STEP_BYTES)? {
            segment += 1;
            continue;
        }
        drop(shared);
        pause(PAUSE);
    }
    Ok(())
}
