//! Waiting for a condition: the only place in the suites that pauses.

use core::time::Duration;
use std::time::Instant;

use anyhow::{Result, bail};

/// How long a condition that nobody announces goes unasked.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `condition` until it has an answer.
///
/// # Errors
/// The condition's own, and that `limit` passed without an answer to `what`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets `span` pass, for what happens at a given moment and not on a condition: the moment of a
/// kill, the hours of a bad day.
pub fn pass(span: Duration) {
    std::thread::sleep(span);
}
