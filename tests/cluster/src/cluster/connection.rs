//! Connections: bytes become requests, one at a time; faults strike here, before or after a request
//! is applied.
//!
//! Invariant: answers of a connection leave in the order of its requests, because the next request
//! is not looked at while one is held.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::StrBytes;
use tributary_core::time::Instant;

use super::state::State;
use super::{ConnId, Output};
use crate::api::{self, Ask, Outcome};
use crate::faults::{FaultKind, Faults};
use crate::limits::{CONNECTION_BYTES_MAX, CONNECTIONS_MAX};
use crate::login::{Login, MECHANISMS};
use crate::wire::{self, Head, Request};
use crate::{BrokerId, Users};

/// All open connections, and what is to be sent on them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: BTreeMap<ConnId, Connection>,
    opened: u64,
    pub(super) outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Connection {
    broker: BrokerId,
    input: BytesMut,
    held: Option<Held>,
    login: Login,
    /// When a login has to have been repeated.
    expires: Option<Instant>,
}

/// Why a connection's next request is not looked at.
#[derive(Debug)]
enum Held {
    /// A request waits: for a change after `seen`, or for a time.
    Request { call: Call, until: Instant, seen: u64 },
    /// A fault delays a request.
    Delayed { call: Call, until: Instant },
    /// A fault delays an answer.
    Answer { bytes: Bytes, until: Instant },
}

/// A request and what a fault does to its answer.
#[derive(Debug)]
struct Call {
    head: Head,
    request: Request,
    arrived: Instant,
    fault: Option<FaultKind>,
}

impl Connection {
    fn new(broker: BrokerId) -> Self {
        Self { broker, input: BytesMut::new(), held: None, login: Login::Nobody, expires: None }
    }

    /// What comes of a request that is about the login, or that comes without one; `None`: any other.
    /// Who is not let in is told why; it is for the client to leave.
    fn enter(&mut self, state: &State, version: i16, request: &Request) -> Option<Outcome> {
        let users = state.settings.users.as_ref();
        match (request, users) {
            (Request::SaslHandshake(_), None) => {
                let error = Error::IllegalSaslState.code();
                Some(SaslHandshakeResponse::default().with_error_code(error).into())
            }
            (Request::SaslAuthenticate(_), None) => Some(Outcome::Close),
            (Request::SaslHandshake(request), Some(_)) => {
                let known = MECHANISMS.iter().find(|name| **name == request.mechanism.as_str());
                let mechanisms = MECHANISMS.map(StrBytes::from_static_str).to_vec();
                let answer = SaslHandshakeResponse::default().with_mechanisms(mechanisms);
                let Some(mechanism) = known else {
                    let error = Error::UnsupportedSaslMechanism.code();
                    return Some(answer.with_error_code(error).into());
                };
                self.login = Login::First(mechanism);
                Some(answer.into())
            }
            (Request::SaslAuthenticate(request), Some(users)) => {
                Some(self.authenticate(state.now, version, users, &request.auth_bytes))
            }
            (Request::ApiVersions(_) | Request::UnknownApiVersions, _) | (_, None) => None,
            (_, Some(_)) => {
                let late = self.expires.is_some_and(|at| at <= state.now);
                (self.login != Login::Done || late).then_some(Outcome::Close)
            }
        }
    }

    fn authenticate(
        &mut self,
        now: Instant,
        version: i16,
        users: &Users,
        message: &[u8],
    ) -> Outcome {
        let answer = SaslAuthenticateResponse::default();
        match self.login.handle(users, message) {
            Err(why) => {
                self.login = Login::Nobody;
                let why = Some(StrBytes::from_static_str(why));
                let error = Error::SaslAuthenticationFailed.code();
                answer.with_error_code(error).with_error_message(why).into()
            }
            Ok((bytes, next)) => {
                let lifetime = u64::try_from(users.lifetime_ms).ok().filter(|ms| *ms > 0);
                let mut answer = answer.with_auth_bytes(bytes.into());
                if next == Login::Done {
                    self.expires = lifetime.map(|ms| now.plus_ms(ms));
                    // The field is there since version 1.
                    if version > 0 {
                        answer = answer.with_session_lifetime_ms(users.lifetime_ms);
                    }
                }
                self.login = next;
                answer.into()
            }
        }
    }
}

impl Connections {
    pub(super) fn open(&mut self, broker: BrokerId) -> Option<ConnId> {
        if self.open.len() >= CONNECTIONS_MAX {
            return None;
        }
        self.opened += 1;
        let conn = ConnId(self.opened);
        self.open.insert(conn, Connection::new(broker));
        Some(conn)
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.open.remove(&conn);
    }

    pub(super) fn close_all(&mut self, broker: BrokerId) {
        let of_broker = self.open.iter().filter(|(_, connection)| connection.broker == broker);
        let conns: Vec<_> = of_broker.map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.close(conn);
        }
    }

    pub(super) fn take_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.open.get_mut(&conn) else { return };
        if connection.input.len() + bytes.len() > CONNECTION_BYTES_MAX {
            self.close(conn);
            return;
        }
        connection.input.extend_from_slice(bytes);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let until = |held: &Held| match held {
            Held::Request { until, .. }
            | Held::Delayed { until, .. }
            | Held::Answer { until, .. } => *until,
        };
        self.open.values().filter_map(|connection| connection.held.as_ref().map(until)).min()
    }

    /// Looks at every connection until none can go on.
    pub(super) fn run(&mut self, state: &mut State, faults: &mut Faults) {
        loop {
            let conns: Vec<ConnId> = self.open.keys().copied().collect();
            let before = state.changes;
            for conn in conns {
                while self.step(conn, state, faults) {
                    state.settle();
                }
            }
            if state.changes == before {
                return;
            }
        }
    }

    /// Goes on with what is held, or with the next request. Answers whether there was any.
    fn step(&mut self, conn: ConnId, state: &mut State, faults: &mut Faults) -> bool {
        let Some(connection) = self.open.get_mut(&conn) else { return false };
        match connection.held.take() {
            None => self.next_request(conn, state, faults),
            Some(Held::Request { call, until, seen }) => {
                if state.now < until && state.changes == seen {
                    connection.held = Some(Held::Request { call, until, seen });
                    return false;
                }
                self.apply(conn, state, call)
            }
            Some(Held::Delayed { call, until }) if until <= state.now => {
                self.apply(conn, state, call)
            }
            Some(Held::Answer { bytes, until }) if until <= state.now => {
                self.outputs.push_back(Output::Bytes { conn, bytes });
                true
            }
            held => {
                connection.held = held;
                false
            }
        }
    }

    fn next_request(&mut self, conn: ConnId, state: &mut State, faults: &mut Faults) -> bool {
        let Some(connection) = self.open.get_mut(&conn) else { return false };
        let frame = match wire::take_frame(&mut connection.input) {
            Ok(None) => return false,
            Ok(Some(frame)) => wire::decode(frame, state.settings.kafka),
            Err(malformed) => Err(malformed),
        };
        let Ok((head, request)) = frame else {
            self.close(conn);
            return false;
        };
        let fault = faults.strike(head.api, &mut state.random);
        let call = Call { head, request, arrived: state.now, fault };
        match fault {
            Some(FaultKind::DropRequest) => true,
            Some(FaultKind::CutBefore) => {
                self.close(conn);
                false
            }
            Some(FaultKind::DelayRequest(ms)) => {
                let until = state.now.plus_ms(ms);
                connection.held = Some(Held::Delayed { call, until });
                true
            }
            _ => self.apply(conn, state, call),
        }
    }

    /// Applies a request. Answers whether the connection may go on.
    fn apply(&mut self, conn: ConnId, state: &mut State, call: Call) -> bool {
        let Some(connection) = self.open.get_mut(&conn) else { return false };
        let Call { head, arrived, fault, .. } = call;
        let ask = Ask { broker: connection.broker, version: head.version, arrived };
        let outcome = match connection.enter(state, ask.version, &call.request) {
            Some(outcome) => outcome,
            None => api::handle(state, ask, &call.request),
        };
        match outcome {
            Outcome::Wait(until) => {
                connection.held = Some(Held::Request { call, until, seen: state.changes });
                false
            }
            Outcome::Close => {
                self.close(conn);
                false
            }
            Outcome::Silent => fault != Some(FaultKind::CutAfter) || self.cut(conn),
            Outcome::Answer(response) => {
                let bytes = wire::encode(head, &response);
                match fault {
                    Some(FaultKind::DropAnswer) => {}
                    Some(FaultKind::CutAfter) => return self.cut(conn),
                    Some(FaultKind::DelayAnswer(ms)) => {
                        let until = state.now.plus_ms(ms);
                        connection.held = Some(Held::Answer { bytes, until });
                    }
                    _ => self.outputs.push_back(Output::Bytes { conn, bytes }),
                }
                true
            }
        }
    }

    fn cut(&mut self, conn: ConnId) -> bool {
        self.close(conn);
        false
    }

    fn close(&mut self, conn: ConnId) {
        if self.open.remove(&conn).is_some() {
            self.outputs.push_back(Output::Close { conn });
        }
    }
}
