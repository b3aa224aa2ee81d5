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

/// Runs a future on a thread of its own, for work that reads files.
///
/// # Errors
/// If the operating system gives no more threads or files.
pub fn spawn_async(
    name: &str,
    future: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    // Made where it is used: one that is dropped among tasks, because there is no thread for it, panics.
    let body = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            drop(tell);
            runtime.block_on(future);
        }
        Err(error) => drop(tell.send(error)),
    };
    let thread = spawn(name, body)?;
    told.recv().map_or(Ok(thread), Err)
}

/// Waits for the end of a thread.
pub async fn join(thread: JoinHandle<()>) {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    if !matches!(joined, Ok(Ok(()))) {
        tracing::error!("a thread of the daemon has panicked");
    }
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
