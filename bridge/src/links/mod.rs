//! Connections to brokers: one for each address and use, requests pipelined and answered in order.
//!
//! Every connection begins with `ApiVersions`, then a login where one is configured (`login`). A broker
//! that throttles is not spoken to until its time is over (KIP-219). What is not answered in time, or not with what was
//! asked for, is a failure of the session; a connection that closes while nothing is outstanding
//! is not, and is opened again when it is needed.

mod ask;
mod login;
mod words;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use tributary_core::time::Instant;

use crate::failure::Failure;
use crate::output::{ConnId, Output};
use crate::settings::Settings;
use crate::wire::{self, Address, Api, Dialect, Ids, Reply, Versions};
pub(crate) use ask::{Ask, Role, Use};
use login::Login;

/// A broker's throttle time is believed up to here; Kafka's own quotas reach 11 s by default.
const THROTTLE_MS_MAX: u64 = 60_000;
/// Unanswered for so long, a request is taken for lost when the link comes back: the first
/// retransmissions of TCP are over by then, and the next one may be far.
const STALLED_MS: u64 = 2_000;

/// All connections of a replicator, and what it wants done.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) ids: Ids,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) bytes_sent: u64,
    /// How long brokers have asked us to be quiet, in all.
    pub(crate) throttled_ms: u64,
    all: BTreeMap<ConnId, Link>,
    conns: u64,
    correlation: i32,
    /// How long a connection may take to open.
    opening_ms: u64,
    /// How long an answer may take.
    timeout_ms: u64,
    /// Whether brokers want a login.
    authenticate: bool,
    encrypted: bool,
    /// Whether the last credentials were refused.
    was_refused: bool,
}

#[derive(Debug)]
struct Link {
    address: Address,
    used_for: Use,
    state: LinkState,
    received: BytesMut,
    pending: VecDeque<Pending>,
    /// The broker looks at nothing before.
    quiet_until: Option<Instant>,
    /// Whether anything but the greeting was ever answered.
    has_answered: bool,
}

#[derive(Debug)]
enum LinkState {
    Connecting {
        deadline: Instant,
    },
    Greeting,
    /// A login is under way.
    Entering(Versions, Login),
    /// Requests can be sent; when a login has to precede the next one.
    Ready {
        versions: Versions,
        login_at: Option<Instant>,
    },
}

#[derive(Debug)]
struct Pending {
    ask: Ask,
    api: Api,
    version: i16,
    correlation: i32,
    deadline: Instant,
}

impl Links {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            ids: Ids::new(settings),
            outputs: VecDeque::new(),
            bytes_sent: 0,
            throttled_ms: 0,
            all: BTreeMap::new(),
            conns: 0,
            correlation: 0,
            opening_ms: u64::from(settings.request_timeout_ms),
            timeout_ms: u64::from(settings.request_timeout_ms),
            authenticate: settings.authenticate,
            encrypted: settings.encrypted,
            was_refused: false,
        }
    }

    /// Answers may take so long from now on; only while there is no connection.
    pub(crate) fn wait_for(&mut self, timeout_ms: u32) {
        self.timeout_ms = u64::from(timeout_ms);
    }

    /// The connection to `address`, if it is ready; else it is being opened, a login is under way,
    /// or the broker wants quiet.
    pub(crate) fn reach(
        &mut self,
        now: Instant,
        address: &Address,
    ) -> Result<Option<ConnId>, Failure> {
        self.reach_for(now, address, Use::Answers)
    }

    /// The same of a connection for this use alone.
    pub(crate) fn reach_for(
        &mut self,
        now: Instant,
        address: &Address,
        used_for: Use,
    ) -> Result<Option<ConnId>, Failure> {
        let is_it = |link: &Link| link.address == *address && link.used_for == used_for;
        let known = self.all.iter_mut().find(|(_, link)| is_it(link));
        if let Some((conn, link)) = known {
            let conn = *conn;
            let LinkState::Ready { versions, login_at } = &mut link.state else {
                return Ok(None);
            };
            if link.quiet_until.is_some_and(|until| now < until) {
                return Ok(None);
            }
            if login_at.is_some_and(|at| at <= now) {
                let versions = core::mem::take(versions);
                self.log_in(now, conn, versions)?;
                return Ok(None);
            }
            return Ok(Some(conn));
        }
        self.conns += 1;
        let conn = ConnId(self.conns);
        let deadline = now.plus_ms(self.opening_ms);
        let link = Link {
            address: address.clone(),
            used_for,
            state: LinkState::Connecting { deadline },
            received: BytesMut::new(),
            pending: VecDeque::new(),
            quiet_until: None,
            has_answered: false,
        };
        self.all.insert(conn, link);
        let Address { host, port } = address.clone();
        self.outputs.push_back(Output::Connect { conn, host, port });
        Ok(None)
    }

    /// The version in which a broker is asked.
    pub(crate) fn version(&self, conn: ConnId, api: Api, dialect: Dialect) -> Result<i16, Failure> {
        let version = self.all.get(&conn).and_then(|link| link.can(api, dialect));
        version.ok_or_else(|| self.lacks(conn, api, dialect))
    }

    /// Sends a request on a connection that [`Self::reach`] gave.
    pub(crate) fn send<R: Request>(
        &mut self,
        now: Instant,
        to: (ConnId, Api, i16),
        ask: Ask,
        request: &R,
    ) {
        self.send_patiently(now, to, (ask, 0), request);
    }

    /// The same for a request whose answer may be held back for so many milliseconds.
    pub(crate) fn send_patiently<R: Request>(
        &mut self,
        now: Instant,
        to: (ConnId, Api, i16),
        (ask, wait_ms): (Ask, u32),
        request: &R,
    ) {
        let (conn, api, version) = to;
        let Some(link) = self.all.get_mut(&conn) else {
            return;
        };
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let correlation = self.correlation;
        let bytes: Bytes = wire::encode(version, correlation, &self.ids.client, request);
        self.bytes_sent += bytes.len() as u64;
        let deadline = now.plus_ms(self.timeout_ms + u64::from(wait_ms));
        link.pending.push_back(Pending { ask, api, version, correlation, deadline });
        self.outputs.push_back(Output::Send { conn, bytes });
    }

    pub(crate) fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        const VERSION: i16 = Api::ApiVersions.versions(Dialect::Explicit).1;
        let Some(link) = self.all.get_mut(&conn) else {
            return;
        };
        if matches!(link.state, LinkState::Connecting { .. }) {
            link.state = LinkState::Greeting;
            let to = (conn, Api::ApiVersions, VERSION);
            self.send(now, to, Ask::Versions, &wire::ask::versions());
        }
    }

    /// A broker has said what it can do.
    pub(crate) fn greeted(
        &mut self,
        now: Instant,
        conn: ConnId,
        versions: Versions,
    ) -> Result<(), Failure> {
        if self.authenticate {
            return self.log_in(now, conn, versions);
        }
        if let Some(link) = self.all.get_mut(&conn) {
            link.state = LinkState::Ready { versions, login_at: None };
        }
        Ok(())
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(link) = self.all.get_mut(&conn) {
            link.received.extend_from_slice(bytes);
        }
    }

    /// The next answer on a connection that a session waits for, with what it answers. Those of a login
    /// are dealt with here.
    pub(crate) fn next_reply(
        &mut self,
        now: Instant,
        conn: ConnId,
    ) -> Result<Option<(Ask, Reply)>, Failure> {
        while let Some((ask, reply)) = self.take_reply(now, conn)? {
            match ask {
                Ask::Handshake => self.handle_handshake(now, conn, reply)?,
                Ask::Authenticate => self.handle_authenticate(now, conn, reply)?,
                ask => return Ok(Some((ask, reply))),
            }
        }
        Ok(None)
    }

    fn take_reply(&mut self, now: Instant, conn: ConnId) -> Result<Option<(Ask, Reply)>, Failure> {
        let Some(link) = self.all.get_mut(&conn) else {
            return Ok(None);
        };
        let asked = link.pending.front().map_or(Api::ApiVersions, |pending| pending.api);
        let greeting = matches!(link.state, LinkState::Greeting);
        let address = link.address.clone();
        let malformed = |_| {
            if !greeting {
                return Failure::malformed(asked);
            }
            Failure::Ended(format!(
                "{address} does not speak Kafka's protocol; a listener with TLS answers so when \
                 spoken to without"
            ))
        };
        let Some(frame) = wire::take_frame(&mut link.received).map_err(malformed)? else {
            return Ok(None);
        };
        let Some(Pending { ask, api, version, correlation, .. }) = link.pending.pop_front() else {
            return Err(Failure::Ended(format!("{} answers what was not asked", link.address)));
        };
        let reply =
            Reply::open(frame, api, version, correlation).map_err(|_| Failure::malformed(asked))?;
        link.has_answered |= !greeting;
        let quiet_ms = u64::from(reply.throttle_ms).min(THROTTLE_MS_MAX);
        if quiet_ms > 0 {
            self.throttled_ms += quiet_ms;
            let until = now.plus_ms(quiet_ms);
            link.quiet_until = link.quiet_until.max(Some(until));
            for pending in &mut link.pending {
                pending.deadline = pending.deadline.plus_ms(quiet_ms);
            }
        }
        Ok(Some((ask, reply)))
    }

    /// A connection is gone.
    pub(crate) fn handle_closed(&mut self, conn: ConnId, why: &str) -> Result<(), Failure> {
        let Some(link) = self.all.remove(&conn) else {
            return Ok(());
        };
        let address = &link.address;
        match (&link.state, link.pending.front()) {
            (LinkState::Connecting { .. }, _) => {
                Err(Failure::Unreachable(format!("no connection to {address}: {why}")))
            }
            (state, Some(pending)) => {
                let hint = self.hint(state, link.has_answered);
                Err(Failure::Ended(format!(
                    "{address} closed the connection and left {:?} unanswered: {why}{hint}",
                    pending.api
                )))
            }
            (_, None) => Ok(()),
        }
    }

    /// Whether something hangs that a link which has just come back would not set free at once: a
    /// connection that is being opened, or an answer that is overdue.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        let since = |deadline: Instant| self.timeout_ms.saturating_sub(deadline.ms_since(now));
        self.all.values().any(|link| match (&link.state, link.pending.front()) {
            (LinkState::Connecting { .. }, _) => true,
            (_, Some(pending)) => since(pending.deadline) >= STALLED_MS,
            (_, None) => false,
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Failure> {
        for link in self.all.values_mut() {
            if link.quiet_until.is_some_and(|until| until <= now) {
                link.quiet_until = None;
            }
            let address = &link.address;
            match (&link.state, link.pending.front()) {
                (LinkState::Connecting { deadline }, _) if *deadline <= now => {
                    return Err(Failure::Unreachable(format!("{address} does not answer")));
                }
                (LinkState::Entering(_, Login::Asked { deadline }), None) if *deadline <= now => {
                    let why = format!("no credentials for {address} were to be had in time");
                    return Err(Failure::Unreachable(why));
                }
                (_, Some(pending)) if pending.deadline <= now => {
                    return Err(Failure::Ended(format!(
                        "{address} has not answered {:?} for {} ms",
                        pending.api, self.timeout_ms
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = |link: &Link| match (&link.state, link.pending.front()) {
            (LinkState::Connecting { deadline }, _)
            | (LinkState::Entering(_, Login::Asked { deadline }), None) => Some(*deadline),
            (_, pending) => pending.map(|pending| pending.deadline),
        };
        let quiet = self.all.values().filter_map(|link| link.quiet_until);
        self.all.values().filter_map(deadline).chain(quiet).min()
    }

    /// Gives up what is waited for there, if anything is.
    pub(crate) fn hang_up(&mut self, address: &Address, used_for: Use) {
        let is_it = |link: &Link| link.address == *address && link.used_for == used_for;
        let found = self.all.iter().find(|(_, link)| is_it(link)).map(|(conn, _)| *conn);
        if let Some(conn) = found {
            self.all.remove(&conn);
            self.outputs.push_back(Output::Disconnect { conn });
        }
    }

    /// Closes every connection; what is still unsent is not sent.
    pub(crate) fn close_all(&mut self) {
        let moot = |output: &Output| {
            matches!(
                output,
                Output::Send { .. }
                    | Output::Authenticate { .. }
                    | Output::NeedLocal
                    | Output::WantBatch
                    | Output::Claim(_)
            )
        };
        self.outputs.retain(|output| !moot(output));
        for conn in core::mem::take(&mut self.all).into_keys() {
            self.outputs.push_back(Output::Disconnect { conn });
        }
    }
}

impl Link {
    fn can(&self, api: Api, dialect: Dialect) -> Option<i16> {
        match &self.state {
            LinkState::Entering(versions, _) | LinkState::Ready { versions, .. } => {
                versions.choose(api, dialect)
            }
            LinkState::Connecting { .. } | LinkState::Greeting => None,
        }
    }
}
