//! Connections to brokers: opens them, sees to their credentials, and moves bytes between sockets and
//! the replicator.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tributary_bridge::{Bytes, ConnId, Credentials, Output, Talk};

use super::clock::now;
use super::credentials::Login;
use super::dial::{self, Dialer, Stream, Trace};
use crate::config::upstream::Access;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Events that wait for the replicator; readers wait when there are more.
const EVENTS_MAX: usize = 64;

/// What happened on a connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// It is open.
    Connected(ConnId),
    /// Who we are on it, or why nobody knows.
    Credentials(ConnId, Result<Credentials, String>),
    /// Bytes came in.
    Bytes(ConnId, Vec<u8>),
    /// It is closed, or could not be opened; why, for people.
    Closed(ConnId, String),
}

/// All connections of one lane. Dropping it closes them.
pub struct Links {
    open: HashMap<ConnId, Link>,
    events: mpsc::Sender<LinkEvent>,
    dialer: Arc<Dialer>,
    login: Arc<Login>,
}

struct Link {
    outgoing: mpsc::UnboundedSender<Bytes>,
    task: AbortHandle,
}

impl Links {
    /// No connection yet, and where their events arrive.
    #[must_use]
    pub fn new(access: &Access) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (dialer, login) = (Arc::new(Dialer::new(access)), Arc::new(Login::new(access)));
        (Self { open: HashMap::new(), events, dialer, login }, receiver)
    }

    /// Opens a connection.
    pub fn connect(&mut self, conn: ConnId, host: String, port: u16) {
        // Bounded by the replicator: it sends one transaction and waits for its answers.
        let (outgoing, bytes) = mpsc::unbounded_channel();
        let dialer = Arc::clone(&self.dialer);
        let task = tokio::spawn(serve(conn, dialer, (host, port), bytes, self.events.clone()));
        self.open.insert(conn, Link { outgoing, task: task.abort_handle() });
    }

    /// Sees to the credentials of one login; `fresh`: those that were used before were refused.
    pub fn authenticate(&self, conn: ConnId, fresh: bool) {
        let (login, events) = (Arc::clone(&self.login), self.events.clone());
        tokio::spawn(async move {
            let event = LinkEvent::Credentials(conn, login.credentials(fresh).await);
            // If nobody listens any more, nobody needs to know.
            events.send(event).await.unwrap_or_default();
        });
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

/// Does what is asked for of connections, by one that asks for nothing else.
pub fn connect(talk: &mut dyn Talk, links: &mut Links) {
    while let Some(output) = talk.poll_output() {
        match output {
            Output::Connect { conn, host, port } => links.connect(conn, host, port),
            Output::Authenticate { conn, fresh } => links.authenticate(conn, fresh),
            Output::Send { conn, bytes } => links.send(conn, bytes),
            Output::Disconnect { conn } => links.disconnect(conn),
            // Those of a lane.
            _ => {}
        }
    }
}

/// Tells what has happened on a connection.
pub fn hand_over(event: Option<LinkEvent>, talk: &mut dyn Talk) {
    let now = now();
    match event {
        Some(LinkEvent::Connected(conn)) => talk.handle_connected(now, conn),
        Some(LinkEvent::Credentials(conn, credentials)) => {
            talk.handle_credentials(now, conn, credentials);
        }
        Some(LinkEvent::Bytes(conn, bytes)) => talk.handle_bytes(now, conn, &bytes),
        Some(LinkEvent::Closed(conn, why)) => talk.handle_closed(now, conn, &why),
        None => unreachable!("the links keep a sender"),
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
    dialer: Arc<Dialer>,
    (host, port): (String, u16),
    outgoing: mpsc::UnboundedReceiver<Bytes>,
    events: mpsc::Sender<LinkEvent>,
) {
    let why = match dialer.dial(&host, port, &mut Trace::default()).await {
        Err(error) => without_name(&error.to_string(), &host, port).to_owned(),
        Ok(stream) => {
            if events.send(LinkEvent::Connected(conn)).await.is_err() {
                return;
            }
            let error = exchange(conn, stream, outgoing, &events).await;
            dial::explain(&error)
        }
    };
    // If nobody listens any more, nobody needs to know.
    events.send(LinkEvent::Closed(conn, why)).await.unwrap_or_default();
}

/// Why there is no connection, for who names the broker anyway.
fn without_name<'e>(why: &'e str, host: &str, port: u16) -> &'e str {
    why.strip_prefix(&format!("{host}:{port}: ")).unwrap_or(why)
}

async fn exchange(
    conn: ConnId,
    stream: Box<dyn Stream>,
    outgoing: mpsc::UnboundedReceiver<Bytes>,
    events: &mpsc::Sender<LinkEvent>,
) -> std::io::Error {
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        error = receive(conn, read, events) => error,
        error = transmit(write, outgoing) => error,
    }
}

async fn receive(
    conn: ConnId,
    mut read: impl AsyncRead + Unpin,
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
    mut write: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<Bytes>,
) -> std::io::Error {
    while let Some(bytes) = outgoing.recv().await {
        if let Err(error) = write.write_all(&bytes).await {
            return error;
        }
        // TLS keeps what the socket did not take at once.
        if let Err(error) = write.flush().await {
            return error;
        }
    }
    std::io::Error::other("the lane has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_once() {
        let why = |why| without_name(why, "127.0.0.1", 28_899);
        assert_eq!(why("127.0.0.1:28899: Connection refused"), "Connection refused");
        assert_eq!(why("proxy p:1080: refuses"), "proxy p:1080: refuses");
    }
}
