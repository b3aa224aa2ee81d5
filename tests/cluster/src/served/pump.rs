//! The thread's side: moves bytes between sockets and the cluster, and time into it. No protocol.

use std::collections::BTreeMap;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel};
use tokio::task::JoinSet;

use super::Shared;
use crate::{BrokerId, ConnId, Output};

/// Events that wait to be looked at; readers wait beyond.
const EVENTS_MAX: usize = 64;

/// Answers that wait for a client to read them; beyond, it is cut off.
const ANSWERS_MAX: usize = 1024;

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// What the owner wants. The sender is told when it is done.
#[derive(Debug)]
pub(super) enum Command {
    Listen(Vec<StdListener>, SyncSender<()>),
    GoAway(SyncSender<()>),
    End,
}

/// What the sockets bring.
enum Event {
    Accepted(BrokerId, TcpStream),
    Arrived(ConnId, Bytes),
    Closed(ConnId),
}

/// The loop of the thread, and what it holds.
pub(super) struct Pump {
    shared: Arc<Shared>,
    commands: UnboundedReceiver<Command>,
    events: Receiver<Event>,
    events_in: Sender<Event>,
    listeners: JoinSet<()>,
    sockets: JoinSet<()>,
    answers: BTreeMap<ConnId, Sender<Bytes>>,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, commands: UnboundedReceiver<Command>) -> Self {
        let (events_in, events) = channel(EVENTS_MAX);
        Self {
            shared,
            commands,
            events,
            events_in,
            listeners: JoinSet::new(),
            sockets: JoinSet::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let next = self.turn();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Listen(listeners, done)) => self.listen(listeners, &done),
                    Some(Command::GoAway(done)) => self.go_away(Some(&done)).await,
                    Some(Command::End) | None => return self.go_away(None).await,
                },
                Some(event) = self.events.recv() => self.handle(event),
                Some(_) = self.sockets.join_next() => {}
                () = self.shared.touched.notified() => {}
                () = timer => {}
            }
        }
    }

    /// Lets the cluster go on and hands out what it says. Answers when its next deadline is.
    fn turn(&mut self) -> Option<tokio::time::Instant> {
        let shared = Arc::clone(&self.shared);
        let mut cluster = shared.lock();
        cluster.handle_timeout(shared.now());
        while let Some(output) = cluster.poll_output() {
            match output {
                Output::Close { conn } => {
                    self.answers.remove(&conn);
                }
                Output::Bytes { conn, bytes } => {
                    let sent = self.answers.get(&conn).map(|answers| answers.try_send(bytes));
                    if matches!(sent, Some(Err(_))) {
                        self.answers.remove(&conn);
                        cluster.disconnect(conn);
                    }
                }
            }
        }
        cluster.poll_timeout().map(|at| shared.moment(at))
    }

    fn handle(&mut self, event: Event) {
        let now = self.shared.now();
        match event {
            Event::Accepted(broker, stream) => {
                // A broker that is down drops the stream, which closes it.
                if let Some(conn) = self.shared.lock().connect(broker) {
                    let (answers, to_send) = channel(ANSWERS_MAX);
                    self.answers.insert(conn, answers);
                    self.sockets.spawn(serve(stream, conn, (self.events_in.clone(), to_send)));
                }
            }
            Event::Arrived(conn, bytes) => {
                if self.answers.contains_key(&conn) {
                    self.shared.lock().handle_bytes(now, conn, &bytes);
                }
            }
            Event::Closed(conn) => {
                self.answers.remove(&conn);
                self.shared.lock().disconnect(conn);
            }
        }
    }

    fn listen(&mut self, listeners: Vec<StdListener>, done: &SyncSender<()>) {
        for (id, listener) in (1..).map(BrokerId).zip(listeners) {
            let listener = TcpListener::from_std(listener).expect("the runtime has its driver");
            self.listeners.spawn(accept(listener, id, self.events_in.clone()));
        }
        tell(done);
    }

    async fn go_away(&mut self, done: Option<&SyncSender<()>>) {
        self.listeners.shutdown().await;
        self.sockets.shutdown().await;
        let mut conns = core::mem::take(&mut self.answers);
        while let Ok(event) = self.events.try_recv() {
            drop(event);
        }
        while let Some((conn, _)) = conns.pop_first() {
            self.shared.lock().disconnect(conn);
        }
        if let Some(done) = done {
            tell(done);
        }
    }
}

fn tell(done: &SyncSender<()>) {
    assert!(done.send(()).is_ok(), "the owner waits for it");
}

async fn accept(listener: TcpListener, broker: BrokerId, events: Sender<Event>) {
    while let Ok((stream, _)) = listener.accept().await {
        if events.send(Event::Accepted(broker, stream)).await.is_err() {
            return;
        }
    }
}

/// Reads until the client closes, writes until the cluster does.
async fn serve(
    mut stream: TcpStream,
    conn: ConnId,
    (events, mut answers): (Sender<Event>, Receiver<Bytes>),
) {
    let mut input = BytesMut::new();
    // Answers are small and waited for: they must not wait for each other.
    let mut usable = stream.set_nodelay(true).is_ok();
    while usable {
        input.reserve(READ_BYTES);
        let event = tokio::select! {
            read = stream.read_buf(&mut input) => match read {
                Ok(1..) => Event::Arrived(conn, input.split().freeze()),
                Ok(0) | Err(_) => Event::Closed(conn),
            },
            answer = answers.recv() => match answer {
                None => return,
                Some(bytes) if stream.write_all(&bytes).await.is_ok() => continue,
                Some(_) => Event::Closed(conn),
            },
        };
        usable = matches!(event, Event::Arrived(..));
        if events.send(event).await.is_err() {
            return;
        }
    }
}
