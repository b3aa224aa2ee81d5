//! Threads of our own, beside the runtime's workers.

use std::thread::{Builder, JoinHandle};

use core::time::Duration;

/// How nice a thread is that yields to others; on Linux it is one thread's, not the process's.
const LOW_PRIORITY: i32 = 15;

/// Starts a named thread.
///
/// # Errors
/// If the operating system gives no more threads.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(body)
}

/// Lets the current thread rest.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Processors of this machine that we may use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, core::num::NonZero::get)
}

/// Gives the current thread what the others leave of the processors.
pub fn yield_to_others() {
    if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}
