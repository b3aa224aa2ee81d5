//! MQTT listeners and connections: sockets on one side, sessions, the desk and the hub on the
//! other.

mod connection;

use core::net::SocketAddr;
use std::io;
use std::sync::Arc;

use core::time::Duration;

use crate::io::segments::SegmentFiles;
use crate::runtime::committer::Committer;
use crate::runtime::dialogue::Shared;
use connection::Connection;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};

/// Connections at the same time; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections that the kernel keeps before they are accepted.
const BACKLOG: u32 = 1_024;
/// How long to wait when the machine has no more sockets to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// The places for connections of all listeners.
#[must_use]
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}

/// Who commits to a log in files.
pub type FileCommitter = Committer<SegmentFiles>;

/// What connections reach of the daemon.
#[derive(Clone)]
pub struct Inside {
    /// What all dialogues have in common.
    pub shared: Arc<Shared>,
    /// Who makes durable what they leave.
    pub committer: Arc<FileCommitter>,
}

/// A socket that listens for devices.
pub type Listener = TcpListener;

/// Opens a listening socket.
///
/// # Errors
/// If the address is taken or not ours.
pub fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until told to stop.
pub async fn accept(
    listener: Listener,
    inside: Inside,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &places) => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = Connection::new(stream, inside.clone());
                tokio::spawn(async move {
                    connection.run().await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an MQTT connection");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn accept_one(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}
