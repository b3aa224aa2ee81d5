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

static NEXT: AtomicU16 = AtomicU16::new(FIRST);

/// A port of the loopback address that nobody listens on, never given twice by this process.
///
/// # Errors
/// None is left.
pub fn free() -> Result<u16> {
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port > LAST {
            bail!("no free port from {FIRST} to {LAST}");
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
