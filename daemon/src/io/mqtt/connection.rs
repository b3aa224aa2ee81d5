//! One MQTT connection: the task that waits, for the socket, the log, messages and deadlines.
//!
//! It reads into a buffer shared by the worker, so an idle client costs its session and little
//! more. Invariant: bytes that cannot be dealt with now stay unread.

use core::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use core::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Inside;
use crate::io::clock::{moment, now};
use crate::runtime::dialogue::Dialogue;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
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
    inside: Inside,
    dialogue: Dialogue,
    /// Read, and not dealt with yet.
    unread: Vec<u8>,
    /// Whether `unread` is only the begin of a packet.
    wants_more: bool,
    /// To be written.
    out: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, inside: Inside) -> Self {
        let dialogue = Dialogue::new(Arc::clone(&inside.shared), moment());
        Self { stream, inside, dialogue, unread: Vec::new(), wants_more: true, out: Vec::new() }
    }

    /// Serves the client until one of the two has had enough.
    pub(super) async fn run(mut self) {
        while !self.dialogue.is_closed() {
            if self.turn().await.is_err() {
                break;
            }
        }
        let farewell = async {
            while !self.out.is_empty() {
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
        let reads = self.wants_more && self.dialogue.wants_bytes(&self.out);
        let interest = match (reads, self.out.is_empty()) {
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
            let full = !self.out.is_empty();
            self.write()?;
            if full && self.out.is_empty() {
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

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.try_write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if written == self.out.len() {
            // An idle client keeps no buffer.
            self.out = Vec::new();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }
}
