//! One MQTT connection: the task that waits, for the socket, the log, messages and deadlines. What lies
//! between the socket and MQTT (TLS, WebSocket, a proxy's header) is [`Layers`]: everything behind
//! is the same for all listeners.
//!
//! It reads into a buffer shared by the worker, so an idle client costs its session and little
//! more. Invariant: bytes that cannot be dealt with now stay unread.

use core::cell::RefCell;
use core::net::IpAddr;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use core::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Inside;
use super::layers::{Fault, Layers};
use crate::door::{Place, Visit};
use crate::io::clock::{moment, now};
use crate::runtime::dialogue::Dialogue;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Wrapped bytes for the client that may wait before nothing more is read from it.
const WIRE_BYTES_MAX: usize = 64 << 10;
/// How long the last bytes for a client may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a connection without a deadline sleeps.
const NO_DEADLINE: Duration = Duration::from_hours(1);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// One client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// Between the socket and MQTT, if there is anything.
    layers: Option<Box<Layers>>,
    inside: Inside,
    dialogue: Dialogue,
    address: IpAddr,
    /// Of those that its address may have.
    place: Option<Place>,
    /// Whether the door knows what the layers have learned.
    is_introduced: bool,
    /// Read, and not dealt with yet.
    unread: Vec<u8>,
    /// Whether `unread` is only the begin of a packet.
    wants_more: bool,
    /// To be written, or to be wrapped first.
    out: Vec<u8>,
    /// Wrapped, to be written.
    wire: Vec<u8>,
}

impl Connection {
    /// `place` is the one of its address, once that is known.
    pub(super) fn new(
        stream: TcpStream,
        inside: Inside,
        (address, place): (IpAddr, Option<Place>),
        layers: Option<Box<Layers>>,
    ) -> Self {
        let visit = Visit::new(Arc::clone(&inside.door), address);
        let dialogue = Dialogue::new(Arc::clone(&inside.shared), moment(), visit);
        Self {
            stream,
            layers,
            inside,
            dialogue,
            address,
            place,
            is_introduced: false,
            unread: Vec::new(),
            wants_more: true,
            out: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// Serves the client until one of the two has had enough.
    pub(super) async fn run(mut self) {
        while !self.dialogue.is_closed() {
            if self.turn().await.is_err() {
                break;
            }
        }
        let farewell = async {
            self.say_good_bye()?;
            while !self.is_written() {
                self.stream.writable().await?;
                self.write()?;
            }
            io::Result::Ok(())
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::debug!("a client did not read its farewell");
        }
        self.dialogue.leave(moment());
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
    async fn turn(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.inside.shared);
        // Listened for before the desk is tried: room that is made in between is not missed.
        let space = shared.ingest.space();
        self.dialogue.retry(moment(), &mut self.out);
        self.advance()?;
        if self.dialogue.is_closed() {
            return Ok(());
        }
        let wake = self.dialogue.wake();
        let deadline = self
            .dialogue
            .deadline()
            .map_or(NO_DEADLINE, |at| Duration::from_millis(at.ms_since(now())));
        let reads = self.wants_more
            && self.dialogue.wants_bytes(&self.out)
            && self.wire.len() < WIRE_BYTES_MAX;
        let interest = match (reads, self.is_written()) {
            (true, true) => Some(Interest::READABLE),
            (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, false) => Some(Interest::WRITABLE),
            (false, true) => None,
        };
        tokio::select! {
            state = self.stream.ready(interest.unwrap_or(Interest::ERROR)) => {
                let state = state?;
                if reads && state.is_readable() {
                    self.read()?;
                } else if interest.is_none() {
                    return Err(ErrorKind::ConnectionReset.into());
                }
            }
            () = wake.notified() => self.dialogue.handle_wake(moment(), &mut self.out),
            () = space, if self.dialogue.is_held() => {}
            () = tokio::time::sleep(deadline) => self.dialogue.handle_timeout(moment(), &mut self.out),
        }
        Ok(())
    }

    /// Does all that can be done without waiting.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let full = !self.is_written();
            self.write()?;
            if full && self.is_written() {
                // There is room again for what waits.
                self.dialogue.handle_wake(moment(), &mut self.out);
            }
            if self.unread.is_empty() || self.wants_more || !self.dialogue.wants_bytes(&self.out) {
                return self.write();
            }
            let unread = core::mem::take(&mut self.unread);
            self.deal_with(&unread);
        }
    }

    fn read(&mut self) -> io::Result<()> {
        if self.layers.is_some() {
            return self.read_wrapped();
        }
        if self.unread.is_empty() {
            return SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.deal_with(&scratch[..count]);
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error),
            });
        }
        self.unread.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.unread) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                let unread = core::mem::take(&mut self.unread);
                self.deal_with(&unread);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deals with all that was read; keeps the rest.
    fn deal_with(&mut self, bytes: &[u8]) {
        let progress = self.dialogue.handle_bytes(moment(), bytes, &mut self.out);
        self.wants_more = progress.wants_more || progress.used == bytes.len();
        self.unread.extend_from_slice(&bytes[progress.used..]);
        self.inside.committer.handle_left(progress.left);
        self.dialogue.handle_wake(moment(), &mut self.out);
    }

    /// Reads through the layers.
    fn read_wrapped(&mut self) -> io::Result<()> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        let (stream, unread, wire) = (&self.stream, &mut self.unread, &mut self.wire);
        let handled = SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(layers.handle(&scratch[..count], unread, wire)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Ok(())),
            Err(error) => Err(error),
        })?;
        self.introduce()?;
        if !self.unread.is_empty() {
            let unread = core::mem::take(&mut self.unread);
            self.deal_with(&unread);
        }
        handled.map_err(|fault| {
            if let Fault::Broken(why) = &fault {
                tracing::info!(address = %self.address, %why, "a connection is refused");
            }
            broken(fault)
        })
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
            self.dialogue.visit().comes_from(self.address);
        }
        if !self.is_introduced {
            self.is_introduced = true;
            if let Some(user) = layers.user() {
                self.dialogue.visit().show(&user);
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

fn broken(fault: Fault) -> io::Error {
    match fault {
        Fault::Closed => ErrorKind::ConnectionReset.into(),
        Fault::Broken(why) => io::Error::new(ErrorKind::InvalidData, why),
    }
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
