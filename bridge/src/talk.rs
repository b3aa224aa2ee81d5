//! Talking to brokers over connections that somebody else opens: what a replicator, a reader and a
//! checkup have in common.

use tributary_core::time::Instant;

use crate::failure::Failure;
use crate::links::{Ask, Links};
use crate::output::{ConnId, Output};
use crate::sasl::Credentials;
use crate::wire::Reply;

/// A value that talks to brokers: what happens on its connections goes in, what is to be done comes
/// out.
pub trait Talk {
    /// A connection is open.
    fn handle_connected(&mut self, now: Instant, conn: ConnId);

    /// The answer to [`Output::Authenticate`], made for this one login; or why there is none, for
    /// people.
    fn handle_credentials(
        &mut self,
        now: Instant,
        conn: ConnId,
        credentials: Result<Credentials, String>,
    );

    /// Bytes came in.
    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]);

    /// A connection is closed, or could not be opened; why, for people.
    fn handle_closed(&mut self, now: Instant, conn: ConnId, why: &str);

    /// A deadline of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`Self::handle_timeout`] is to be called, if nothing else comes first.
    #[must_use]
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next thing to do.
    fn poll_output(&mut self) -> Option<Output>;
}

/// What each of them does in its own way.
pub(crate) trait Talker {
    fn links(&self) -> &Links;

    fn links_mut(&mut self) -> &mut Links;

    /// What was asked for has come.
    fn handle_reply(
        &mut self,
        now: Instant,
        conn: ConnId,
        answered: (Ask, Reply),
    ) -> Result<(), Failure>;

    /// A deadline of its own may have come.
    fn wake(&mut self, now: Instant) -> Result<(), Failure>;

    /// The next deadline of its own.
    fn own_timeout(&self) -> Option<Instant>;

    /// The conversation cannot go on as it is.
    fn fail(&mut self, now: Instant, failure: Failure);

    /// Says what is to be said next.
    fn advance(&mut self, now: Instant);
}

impl<T: Talker> Talk for T {
    fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        self.links_mut().handle_connected(now, conn);
        self.advance(now);
    }

    fn handle_credentials(
        &mut self,
        now: Instant,
        conn: ConnId,
        credentials: Result<Credentials, String>,
    ) {
        if let Err(failure) = self.links_mut().handle_credentials(now, conn, credentials) {
            self.fail(now, failure);
        }
        self.advance(now);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.links_mut().receive(conn, bytes);
        loop {
            let handled = match self.links_mut().next_reply(now, conn) {
                Ok(None) => break,
                Ok(Some(answered)) => self.handle_reply(now, conn, answered),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = handled {
                self.fail(now, failure);
                break;
            }
        }
        self.advance(now);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, why: &str) {
        if let Err(failure) = self.links_mut().handle_closed(conn, why) {
            self.fail(now, failure);
        }
        self.advance(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let handled = self.links_mut().handle_timeout(now);
        if let Err(failure) = handled.and_then(|()| self.wake(now)) {
            self.fail(now, failure);
        }
        self.advance(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.links().poll_timeout(), self.own_timeout()].into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.links_mut().outputs.pop_front()
    }
}
