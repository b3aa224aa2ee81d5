//! Connections to brokers: opens them, and moves bytes between sockets and the replicator.

use std::collections::HashMap;

use core::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tributary_bridge::{Bytes, ConnId};

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Events that wait for the replicator; readers wait when there are more.
const EVENTS_MAX: usize = 64;

/// What happened on a connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// It is open.
    Connected(ConnId),
    /// Bytes came in.
    Bytes(ConnId, Vec<u8>),
    /// It is closed, or could not be opened; why, for people.
    Closed(ConnId, String),
}

/// All connections of one lane. Dropping it closes them.
pub struct Links {
    open: HashMap<ConnId, Link>,
    events: mpsc::Sender<LinkEvent>,
}

struct Link {
    outgoing: mpsc::UnboundedSender<Bytes>,
    task: AbortHandle,
}

impl Links {
    /// No connection yet, and where their events arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<LinkEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        (Self { open: HashMap::new(), events }, receiver)
    }

    /// Opens a connection.
    pub fn connect(&mut self, conn: ConnId, host: String, port: u16) {
        // Bounded by the replicator: it sends one transaction and waits for its answers.
        let (outgoing, bytes) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(conn, host, port, bytes, self.events.clone()));
        self.open.insert(conn, Link { outgoing, task: task.abort_handle() });
    }

    /// Sends bytes; on a connection that has failed they are dropped, its `Closed` is on the way.
    pub fn send(&self, conn: ConnId, bytes: Bytes) {
        if let Some(link) = self.open.get(&conn) {
            link.outgoing.send(bytes).unwrap_or_default();
        }
    }

    /// Closes a connection.
    pub fn disconnect(&mut self, conn: ConnId) {
        if let Some(link) = self.open.remove(&conn) {
            link.task.abort();
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in self.open.values() {
            link.task.abort();
        }
    }
}

async fn serve(
    conn: ConnId,
    host: String,
    port: u16,
    outgoing: mpsc::UnboundedReceiver<Bytes>,
    events: mpsc::Sender<LinkEvent>,
) {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port)));
    let why = match opened.await {
        Err(_) => format!("{host}:{port} does not answer"),
        Ok(Err(error)) => format!("cannot connect to {host}:{port}: {error}"),
        Ok(Ok(stream)) => {
            if events.send(LinkEvent::Connected(conn)).await.is_err() {
                return;
            }
            let error = exchange(conn, stream, outgoing, &events).await;
            format!("connection to {host}:{port} lost: {error}")
        }
    };
    // If nobody listens any more, nobody needs to know.
    events.send(LinkEvent::Closed(conn, why)).await.unwrap_or_default();
}

async fn exchange(
    conn: ConnId,
    stream: TcpStream,
    outgoing: mpsc::UnboundedReceiver<Bytes>,
    events: &mpsc::Sender<LinkEvent>,
) -> std::io::Error {
    if let Err(error) = stream.set_nodelay(true) {
        return error;
    }
    let (read, write) = stream.into_split();
    tokio::select! {
        error = receive(conn, read, events) => error,
        error = transmit(write, outgoing) => error,
    }
}

async fn receive(
    conn: ConnId,
    mut read: OwnedReadHalf,
    events: &mpsc::Sender<LinkEvent>,
) -> std::io::Error {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match read.read(&mut buffer).await {
            Err(error) => return error,
            Ok(0) => return std::io::Error::other("closed by the broker"),
            Ok(count) => {
                let event = LinkEvent::Bytes(conn, buffer[..count].to_vec());
                if events.send(event).await.is_err() {
                    return std::io::Error::other("the lane has ended");
                }
            }
        }
    }
}

async fn transmit(
    mut write: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Bytes>,
) -> std::io::Error {
    while let Some(bytes) = outgoing.recv().await {
        if let Err(error) = write.write_all(&bytes).await {
            return error;
        }
    }
    std::io::Error::other("the lane has ended")
}
