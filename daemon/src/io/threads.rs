//! Threads of our own, beside the runtime's workers.

use std::thread::{Builder, JoinHandle};

use core::time::Duration;

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
