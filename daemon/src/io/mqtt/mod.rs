//! MQTT listeners and connections: sockets on one side, sessions, the desk and the hub on the
//! other.

mod certificate;
mod connection;
pub mod layers;
mod proxy;
mod renewal;
mod unread;
mod websocket;

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::sync::Arc;

use core::time::Duration;

use crate::door::Door;
use crate::io::segments::SegmentFiles;
use crate::runtime::committer::Committer;
use crate::runtime::dialogue::Shared;
use connection::Connection;
use layers::Wrapping;
pub use renewal::watch_certificates;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
pub use unread::{UNREAD_BYTES_MAX, Unread};

/// Connections that the kernel keeps before they are accepted.
const BACKLOG: u32 = 1_024;
/// How long to wait when the machine has no more sockets to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Who commits to a log in files.
pub type FileCommitter = Committer<SegmentFiles>;

/// What connections reach of the daemon.
#[derive(Clone)]
pub struct Inside {
    /// What all dialogues have in common.
    pub shared: Arc<Shared>,
    /// Who makes durable what they leave.
    pub committer: Arc<FileCommitter>,
    /// Where they come in.
    pub door: Arc<Door>,
    /// What they have read, all together.
    pub unread: Arc<Unread>,
    /// Sockets that the machine has for them, at all doors.
    pub sockets: Arc<Semaphore>,
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

/// Accepts connections at a door until told to stop.
pub async fn accept(listener: Listener, inside: Inside, mut stop: watch::Receiver<bool>) {
    let inside = Arc::new(inside);
    let places = Arc::new(Semaphore::new(inside.door.rules().listener.connections_max));
    let mut is_exhausted = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, [&places, &inside.sockets]) => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((arrival, place)) => {
                is_exhausted = false;
                if let Some(mut connection) = admit(arrival, Arc::clone(&inside)) {
                    tokio::spawn(async move {
                        connection.run().await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                if !core::mem::replace(&mut is_exhausted, true) {
                    tracing::warn!(%error, "cannot accept MQTT connections for now");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// A connection that was accepted, if its address may have one more.
fn admit((stream, address): (TcpStream, IpAddr), inside: Arc<Inside>) -> Option<Connection> {
    let rules = inside.door.rules();
    // Behind a proxy the address is known later.
    let place =
        if rules.listener.proxy_protocol { None } else { Some(inside.door.place(address)?) };
    let wrapping = Wrapping {
        proxy: rules.listener.proxy_protocol,
        tls: rules.tls.clone().zip(rules.listener.tls.as_ref().map(|tls| tls.user_from)),
        websocket: rules.listener.websocket,
        origins: rules.listener.origins.clone(),
    };
    match layers::Layers::new(&wrapping) {
        Ok(layers) => Some(Connection::new(stream, inside, (address, place), layers)),
        Err(fault) => {
            tracing::error!(?fault, "TLS cannot be begun");
            None
        }
    }
}

async fn accept_one(
    listener: &Listener,
    [places, sockets]: [&Arc<Semaphore>; 2],
) -> io::Result<((TcpStream, IpAddr), [OwnedSemaphorePermit; 2])> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let socket = Arc::clone(sockets).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(((stream, address.ip().to_canonical()), [place, socket]))
}
