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
///
/// Invariant: what is kept of a connection is given up with its `Closed`, whoever ended it.
pub struct Links {
    open: HashMap<ConnId, Link>,
    happened: mpsc::Receiver<LinkEvent>,
    events: mpsc::Sender<LinkEvent>,
    dialer: Arc<Dialer>,
    login: Arc<Login>,
}

struct Link {
    outgoing: mpsc::UnboundedSender<Bytes>,
    task: AbortHandle,
}

impl Links {
    /// No connection yet.
    #[must_use]
    pub fn new(access: &Access) -> Self {
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let (dialer, login) = (Arc::new(Dialer::new(access)), Arc::new(Login::new(access)));
        Self { open: HashMap::new(), happened, events, dialer, login }
    }

    /// What happens next on any of them; may be given up at any time. A connection that is closed is
    /// forgotten here: nobody asks for that of one that is gone.
    pub async fn next(&mut self) -> LinkEvent {
        let Some(event) = self.happened.recv().await else {
            unreachable!("a sender is kept beside it");
        };
        if let LinkEvent::Closed(conn, _) = &event {
            self.open.remove(conn);
        }
        event
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
pub fn hand_over(event: LinkEvent, talk: &mut dyn Talk) {
    let now = now();
    match event {
        LinkEvent::Connected(conn) => talk.handle_connected(now, conn),
        LinkEvent::Credentials(conn, credentials) => {
            talk.handle_credentials(now, conn, credentials);
        }
        LinkEvent::Bytes(conn, bytes) => talk.handle_bytes(now, conn, &bytes),
        LinkEvent::Closed(conn, why) => talk.handle_closed(now, conn, &why),
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

    #[test]
    fn nothing_is_kept_of_connections_that_are_gone() {
        const TRIES: u64 = 1_000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let mut links = Links::new(&Access::default());
            // One that the other side ends.
            links.connect(ConnId(0), "127.0.0.1".to_owned(), port);
            drop(listener.accept().await.expect("a connection"));
            drop(listener);
            for conn in 1..=TRIES {
                links.connect(ConnId(conn), "127.0.0.1".to_owned(), port);
            }
            let mut closed = 0;
            while closed <= TRIES {
                closed += u64::from(matches!(links.next().await, LinkEvent::Closed(..)));
            }
            assert!(links.open.is_empty(), "{} are kept", links.open.len());
        });
    }
}
