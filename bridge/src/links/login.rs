//! Being let in by a broker: SASL after the greeting, and again before the session's lifetime ends
//! (KIP-152, KIP-368).
//!
//! A login that is due again waits for the next request: an idle connection says nothing. The broker
//! takes it on the same connection, behind what is still unanswered.

use tributary_core::time::Instant;

use super::{Ask, LinkState, Links};
use crate::failure::Failure;
use crate::output::{ConnId, Output};
use crate::sasl::{Credentials, Exchange, Next, SaslError, SecretBytes};
use crate::status::Refusal;
use crate::wire::{self, Api, Code, Dialect, Reply, Versions, read};

/// Of a session's lifetime, per cent after which the next request is preceded by a login. Java
/// clients take 85 to 95.
const LIFETIME_USED_PERCENT: u64 = 85;
const ILLEGAL_STATE: Code = Code(34);

/// How far a login is.
#[derive(Debug)]
pub(super) enum Login {
    /// The driver was asked for credentials.
    Asked { deadline: Instant },
    /// The broker was asked whether it takes the mechanism.
    Handshaking(Credentials),
    /// Messages go back and forth; who is to be let in.
    Exchanging(Exchange, String),
}

impl Links {
    /// Begins a login on a connection whose broker has said what it can do.
    pub(super) fn log_in(
        &mut self,
        now: Instant,
        conn: ConnId,
        versions: Versions,
    ) -> Result<(), Failure> {
        let deadline = now.plus_ms(self.opening_ms);
        let Some(link) = self.all.get_mut(&conn) else {
            return Ok(());
        };
        link.state = LinkState::Entering(versions, Login::Asked { deadline });
        for api in [Api::SaslHandshake, Api::SaslAuthenticate] {
            self.version(conn, api, Dialect::Explicit)?;
        }
        let fresh = core::mem::replace(&mut self.was_refused, false);
        self.outputs.push_back(Output::Authenticate { conn, fresh });
        Ok(())
    }

    /// The answer to [`Output::Authenticate`].
    pub(crate) fn handle_credentials(
        &mut self,
        now: Instant,
        conn: ConnId,
        credentials: Result<Credentials, String>,
    ) -> Result<(), Failure> {
        let Some(link) = self.all.get_mut(&conn) else {
            return Ok(());
        };
        let LinkState::Entering(_, login @ Login::Asked { .. }) = &mut link.state else {
            return Ok(());
        };
        let credentials = credentials.map_err(Failure::Unreachable)?;
        let mechanism = credentials.mechanism();
        *login = Login::Handshaking(credentials);
        let version = self.version(conn, Api::SaslHandshake, Dialect::Explicit)?;
        let to = (conn, Api::SaslHandshake, version);
        self.send(now, to, Ask::Handshake, &wire::ask::handshake(mechanism));
        Ok(())
    }

    /// The mechanism is taken, or not.
    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        conn: ConnId,
        reply: Reply,
    ) -> Result<(), Failure> {
        let malformed = |_| Failure::malformed(Api::SaslHandshake);
        let outcome = read::handshaken(reply).map_err(malformed)?;
        let Some(LinkState::Entering(_, login)) = self.all.get_mut(&conn).map(|l| &mut l.state)
        else {
            return Ok(());
        };
        let Login::Handshaking(credentials) = login else {
            return Ok(());
        };
        if let Err((code, mechanisms)) = outcome {
            return Err(not_taken(credentials.mechanism(), code, &mechanisms));
        }
        let subject = credentials.subject();
        let (exchange, first) = Exchange::begin(credentials).map_err(|e| failed(&subject, &e))?;
        *login = Login::Exchanging(exchange, subject);
        self.authenticate(now, conn, first)
    }

    /// The next message of the broker.
    pub(super) fn handle_authenticate(
        &mut self,
        now: Instant,
        conn: ConnId,
        reply: Reply,
    ) -> Result<(), Failure> {
        let malformed = |_| Failure::malformed(Api::SaslAuthenticate);
        let answer = read::authenticated(reply).map_err(malformed)?;
        let Some(LinkState::Entering(versions, login)) =
            self.all.get_mut(&conn).map(|l| &mut l.state)
        else {
            return Ok(());
        };
        let Login::Exchanging(exchange, subject) = login else {
            return Ok(());
        };
        if answer.code != Code::GOOD {
            let failure = refused(subject, exchange.reason(), answer);
            self.was_refused = true;
            return Err(failure);
        }
        match exchange.handle(&answer.bytes).map_err(|error| failed(subject, &error))? {
            Next::Send(bytes) => self.authenticate(now, conn, bytes),
            Next::Done => {
                let lifetime_ms = answer.lifetime_ms;
                let used = lifetime_ms.saturating_mul(LIFETIME_USED_PERCENT) / 100;
                let login_at = (lifetime_ms > 0).then(|| now.plus_ms(used));
                let versions = core::mem::take(versions);
                if let Some(link) = self.all.get_mut(&conn) {
                    link.state = LinkState::Ready { versions, login_at };
                }
                Ok(())
            }
        }
    }

    fn authenticate(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: SecretBytes,
    ) -> Result<(), Failure> {
        let version = self.version(conn, Api::SaslAuthenticate, Dialect::Explicit)?;
        let to = (conn, Api::SaslAuthenticate, version);
        self.send(now, to, Ask::Authenticate, &wire::ask::authenticate(bytes.0));
        Ok(())
    }
}

/// The exchange cannot go on, by our own judgement.
fn failed(subject: &str, error: &SaslError) -> Failure {
    unauthenticated(subject, error.to_string())
}

/// The broker does not let us in. Its own words first; it may have said more before.
fn refused(subject: &str, reason: Option<&str>, answer: read::Authenticated) -> Failure {
    let said = answer.message.unwrap_or_default();
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    let mut error = answer.code.to_string();
    for words in [said.as_str(), reason.unwrap_or_default()] {
        if !words.is_empty() {
            error = format!("{error}: {words}");
        }
    }
    unauthenticated(subject, error)
}

fn not_taken(mechanism: &str, code: Code, mechanisms: &[String]) -> Failure {
    let error = if code == ILLEGAL_STATE {
        format!("{code}: this listener has no SASL")
    } else {
        format!("{code}: it takes {}", mechanisms.join(", "))
    };
    unauthenticated(&format!("the SASL mechanism {mechanism}"), error)
}

fn unauthenticated(subject: &str, error: String) -> Failure {
    let subject = subject.to_owned();
    Failure::Unauthenticated(Refusal {
        subject,
        topic: None,
        partition: None,
        offsets: None,
        error,
    })
}
