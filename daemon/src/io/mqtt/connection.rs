//! One MQTT connection: the task that waits, for the socket, the log, messages and deadlines. What lies
//! between the socket and MQTT (TLS, WebSocket, a proxy's header) is [`Layers`]: everything behind
//! is the same for all listeners.
//!
//! It reads into a buffer shared by the worker, so an idle client costs its session and little
//! more. Invariant: bytes that cannot be dealt with now stay unread.

use core::cell::RefCell;
use core::future::poll_fn;
use core::net::IpAddr;
use core::pin::{Pin, pin};
use core::task::{Poll, ready};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use core::time::Duration;

use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::Sleep;
use tributary_core::time::Instant;

use super::Inside;
use super::layers::{Fault, Layers};
use super::unread::{Portion, READ_BYTES};
use crate::door::{Place, Visit};
use crate::io::clock::{moment, now};
use crate::runtime::dialogue::Dialogue;

/// Wrapped bytes for the client that may wait before nothing more is read from it.
const WIRE_BYTES_MAX: usize = 64 << 10;
/// How often a connection is filled again before the others have their turn.
const REFILLS_MAX: usize = 16;
/// How long the last bytes for a client may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// One client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// Between the socket and MQTT, if there is anything.
    layers: Option<Box<Layers>>,
    inside: Arc<Inside>,
    dialogue: Dialogue,
    address: IpAddr,
    /// Of those that its address may have.
    place: Option<Place>,
    /// Whether the door knows what the layers have learned.
    is_introduced: bool,
    /// Read, and not dealt with yet.
    unread: Vec<u8>,
    /// As much of what all have read.
    portion: Portion,
    /// Whether `unread` is only the begin of a packet.
    wants_more: bool,
    /// The layers have come to their end; what was read before is still dealt with.
    ended: Option<io::Error>,
    /// To be written, or to be wrapped first.
    out: Vec<u8>,
    /// Wrapped, to be written.
    wire: Vec<u8>,
}

/// Runs out at a deadline or before. One that moves back, as a client's does with each packet,
/// leaves the timer as it is: it is set anew once it has run out.
struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    set_to: Option<Instant>,
}

impl Timer<'_> {
    fn set(&mut self, deadline: Instant) {
        if self.set_to.is_none_or(|set_to| deadline < set_to) {
            self.set_to = Some(deadline);
            let left = Duration::from_millis(deadline.ms_since(now()));
            self.sleep.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

impl Connection {
    /// `place` is the one of its address, once that is known.
    pub(super) fn new(
        stream: TcpStream,
        inside: Arc<Inside>,
        (address, place): (IpAddr, Option<Place>),
        layers: Option<Box<Layers>>,
    ) -> Self {
        let visit = Visit::new(Arc::clone(&inside.door), address);
        let dialogue = Dialogue::new(Arc::clone(&inside.shared), moment(), visit);
        let portion = Portion::new(Arc::clone(&inside.unread), dialogue.wake());
        Self {
            stream,
            layers,
            inside,
            dialogue,
            address,
            place,
            is_introduced: false,
            unread: Vec::new(),
            portion,
            wants_more: true,
            ended: None,
            out: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// Serves the client until one of the two has had enough. Borrowed: a future that owns what it
    /// was given holds it twice.
    pub(super) async fn run(&mut self) {
        let mut timer = Timer { sleep: pin!(tokio::time::sleep(Duration::ZERO)), set_to: None };
        while !self.dialogue.is_closed() {
            if self.turn(&mut timer).await.is_err() {
                break;
            }
        }
        // Boxed: while it lasts, a connection keeps no room for its end.
        if Box::pin(tokio::time::timeout(FAREWELL, self.finish())).await.is_err() {
            tracing::debug!("a client did not read its farewell");
        }
        self.dialogue.leave(moment());
    }

    /// Writes what is left.
    async fn finish(&mut self) -> io::Result<()> {
        self.say_good_bye()?;
        while !self.is_written() {
            self.stream.writable().await?;
            self.write()?;
        }
        Ok(())
    }

    fn is_written(&self) -> bool {
        self.out.is_empty() && self.wire.is_empty()
    }

    /// Wraps what is left, and the layers' own good-bye.
    fn say_good_bye(&mut self) -> io::Result<()> {
        if let Some(layers) = &mut self.layers {
            let out = core::mem::take(&mut self.out);
            layers.wrap(&out, &mut self.wire).map_err(broken)?;
            layers.close(&mut self.wire);
        }
        Ok(())
    }

    /// Waits for the next thing to happen and deals with it.
    async fn turn(&mut self, timer: &mut Timer<'_>) -> io::Result<()> {
        let shared = Arc::clone(&self.inside.shared);
        // Listened for before the desk is tried: room that is made in between is not missed.
        let mut space = self.dialogue.is_held().then(|| Box::pin(shared.ingest.space()));
        if space.is_some() {
            self.dialogue.retry(moment(), &mut self.out);
        }
        self.advance()?;
        let (bytes, may_go) = self.holds();
        self.portion.correct(bytes, may_go);
        if self.dialogue.is_held() && space.is_none() {
            return Ok(());
        }
        let is_done = !self.dialogue.is_held() && (self.unread.is_empty() || self.wants_more);
        if let Some(ended) = self.ended.take_if(|_| is_done) {
            return Err(ended);
        }
        if self.portion.is_given_up() {
            self.give_up();
        }
        if self.dialogue.is_closed() {
            return Ok(());
        }
        let wake = self.dialogue.wake();
        if let Some(deadline) = self.dialogue.deadline() {
            timer.set(deadline);
        }
        let has_room = self.dialogue.wants_bytes(&self.out) && self.wire.len() < WIRE_BYTES_MAX;
        let listens = self.ended.is_none() && self.wants_more && has_room;
        let has_output = !self.is_written();
        let read_bytes = self.portion.read_bytes();
        let (mut reader, writer) = self.stream.split();
        let socket = writer.as_ref();
        // What is rare is boxed: an idle connection keeps no room for it.
        let mut broken = (!has_output && !listens).then(|| Box::pin(socket.ready(Interest::ERROR)));
        tokio::select! {
            count = read(&mut reader, read_bytes), if listens => {
                let count = count?;
                drop(broken);
                SCRATCH.with_borrow_mut(|scratch| self.take(&scratch[..count]))?;
            }
            became = poll_fn(|context| socket.poll_write_ready(context)), if has_output => {
                became?;
                if !has_room {
                    self.dialogue.handle_taken(moment());
                }
            }
            _ = maybe(&mut broken), if broken.is_some() => {
                return Err(ErrorKind::ConnectionReset.into());
            }
            () = wake.notified() => self.dialogue.handle_wake(moment(), &mut self.out),
            () = maybe(&mut space), if space.is_some() => {}
            () = timer.sleep.as_mut(), if timer.set_to.is_some() => {
                timer.set_to = None;
                if self.dialogue.deadline().is_some_and(|deadline| deadline <= now()) {
                    self.dialogue.handle_timeout(moment(), &mut self.out);
                }
            }
        }
        Ok(())
    }

    /// Does all that can be done without waiting.
    fn advance(&mut self) -> io::Result<()> {
        for _ in 0..REFILLS_MAX {
            let full = !self.is_written();
            self.write()?;
            self.inside.shared.ingest.tell_followers();
            if full && self.is_written() {
                // There is room again for what waits, and nobody else will say so.
                self.dialogue.handle_wake(moment(), &mut self.out);
                if !self.is_written() {
                    continue;
                }
            }
            if self.unread.is_empty() || self.wants_more || !self.dialogue.wants_bytes(&self.out) {
                return Ok(());
            }
            let unread = core::mem::take(&mut self.unread);
            self.deal_with(&unread);
        }
        // The others on this worker have their turn.
        self.dialogue.wake().notify_one();
        Ok(())
    }

    /// Takes what was read.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.layers.is_some() {
            return self.unwrap(bytes);
        }
        if self.unread.is_empty() {
            self.deal_with(bytes);
        } else {
            self.unread.extend_from_slice(bytes);
            let unread = core::mem::take(&mut self.unread);
            self.deal_with(&unread);
        }
        Ok(())
    }

    /// Deals with all that was read; keeps the rest.
    fn deal_with(&mut self, bytes: &[u8]) {
        let progress = self.dialogue.handle_bytes(moment(), bytes, &mut self.out);
        self.wants_more = progress.wants_more || progress.used == bytes.len();
        self.unread.extend_from_slice(&bytes[progress.used..]);
        self.inside.committer.handle_left(progress.left);
        self.dialogue.handle_wake(moment(), &mut self.out);
        let (bytes, may_go) = self.holds();
        self.portion.set(bytes, may_go);
    }

    /// What it holds of what was read, and whether that may be given up: the begin of a packet, a CONNECT of
    /// which nobody knows yet who has sent it, or many long topics behind aliases.
    fn holds(&self) -> (usize, bool) {
        let is_begun = self.wants_more && !self.unread.is_empty();
        let bytes = self.unread.capacity() + self.dialogue.holds_bytes();
        (bytes, is_begun || self.dialogue.may_be_turned_out())
    }

    /// Ends the connection with what it holds: others need the room.
    fn give_up(&mut self) {
        tracing::info!(address = %self.address, "a client holds much, and others need the room");
        self.dialogue.turn_out(&mut self.out);
        self.unread = Vec::new();
        self.portion.set(0, false);
    }

    /// Takes what was read through the layers.
    fn unwrap(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        let handled = layers.handle(bytes, &mut self.unread, &mut self.wire);
        self.introduce()?;
        if !self.unread.is_empty() {
            let unread = core::mem::take(&mut self.unread);
            self.deal_with(&unread);
        }
        if let Err(fault) = handled {
            if let Fault::Broken(why) = &fault {
                tracing::info!(address = %self.address, %why, "a connection is refused");
            }
            self.ended = Some(broken(fault));
        }
        Ok(())
    }

    /// Tells the door what the layers have learned, before the first byte of MQTT is looked at.
    fn introduce(&mut self) -> io::Result<()> {
        let Some(layers) = self.layers.as_ref().filter(|layers| layers.is_open()) else {
            return Ok(());
        };
        if self.place.is_none() {
            self.address = layers.source().unwrap_or(self.address);
            let place = self.inside.door.place(self.address).ok_or(ErrorKind::QuotaExceeded)?;
            self.place = Some(place);
            if let Some(visit) = self.dialogue.visit() {
                visit.comes_from(self.address);
            }
        }
        if !self.is_introduced {
            self.is_introduced = true;
            if let (Some(user), Some(visit)) = (layers.user(), self.dialogue.visit()) {
                visit.show(&user);
            }
        }
        Ok(())
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        let Some(layers) = &mut self.layers else { return flush(&self.stream, &mut self.out) };
        loop {
            flush(&self.stream, &mut self.wire)?;
            if self.out.is_empty() || !self.wire.is_empty() {
                return Ok(());
            }
            let out = core::mem::take(&mut self.out);
            layers.wrap(&out, &mut self.wire).map_err(broken)?;
        }
    }
}

/// What `future` comes to, if there is one.
fn maybe<F: Future>(future: &mut Option<Pin<Box<F>>>) -> impl Future<Output = F::Output> {
    poll_fn(|context| match future {
        Some(future) => future.as_mut().poll(context),
        None => Poll::Pending,
    })
}

fn broken(fault: Fault) -> io::Error {
    match fault {
        Fault::Closed => ErrorKind::ConnectionReset.into(),
        Fault::Broken(why) => io::Error::new(ErrorKind::InvalidData, why),
    }
}

/// Reads into the worker's buffer, so many bytes at most; how many it were. A read that does not fill it has emptied the
/// socket, and nothing is asked of that again before the kernel says so.
///
/// # Errors
/// At the end of the stream, and when the connection is broken.
async fn read(reader: &mut ReadHalf<'_>, bytes: usize) -> io::Result<usize> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..bytes]);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
            match buffer.filled().len() {
                0 => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                count => Poll::Ready(Ok(count)),
            }
        })
    })
    .await
}

/// Writes as much of `bytes` as the socket takes, and keeps the rest.
fn flush(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.try_write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    if written == bytes.len() {
        // An idle client keeps no buffer.
        *bytes = Vec::new();
    } else {
        bytes.drain(..written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are thousands of them.
    #[test]
    fn an_idle_connection_takes_little() {
        fn size<F: Future>(_: impl FnOnce(&'static mut Connection) -> F) -> usize {
            size_of::<F>()
        }
        let (own, waiting) = (size_of::<Connection>(), size(Connection::run));
        assert!(own + waiting <= 1_000, "{own} and {waiting} bytes");
    }
}
