//! Ports for servers that must come back on the same one.
//!
//! They lie below the range from which the kernel takes ports for outgoing connections: so no client
//! can take the port of a server that is being restarted.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU16, Ordering};
use std::net::TcpListener;

use anyhow::{Result, bail};

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// Processes that run at the same time begin so far apart.
const STRIDE: u16 = 100;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address that nobody listens on, never given twice by this process.
///
/// # Errors
/// None is left.
pub fn free() -> Result<u16> {
    let count = LAST - FIRST + 1;
    let process = u16::try_from(std::process::id() % u32::from(count / STRIDE))?;
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        if taken >= count {
            bail!("no free port from {FIRST} to {LAST}");
        }
        let port = FIRST + (process * STRIDE + taken) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
