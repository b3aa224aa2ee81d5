//! Connections to brokers: one for each address, requests pipelined and answered in order.
//!
//! Every connection begins with `ApiVersions`. What is not answered in time, or not with what was
//! asked for, is a failure of the session; a connection that closes while nothing is outstanding
//! is not, and is opened again when it is needed.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use tributary_core::time::Instant;

use crate::failure::Failure;
use crate::replicator::{ConnId, Output};
use crate::status::Refusal;
use crate::wire::{self, Address, Api, Dialect, Ids, Reply, Versions};

/// What a request was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Versions,
    Coordinator(Role),
    Metadata,
    CreateTopic,
    Producer,
    Position,
    AddPartitions,
    AddOffsets,
    /// The batches in it: index of the chain, index in the chain.
    Produce(Vec<(usize, usize)>),
    CommitPosition,
    End,
}

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Transactions,
    Group,
}

/// All connections of a replicator, and what it wants done.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) ids: Ids,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) bytes_sent: u64,
    all: BTreeMap<ConnId, Link>,
    conns: u64,
    correlation: i32,
    timeout_ms: u64,
}

#[derive(Debug)]
struct Link {
    address: Address,
    state: LinkState,
    received: BytesMut,
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
enum LinkState {
    Connecting { deadline: Instant },
    Greeting,
    Ready(Versions),
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
    pub(crate) fn new(ids: Ids, timeout_ms: u32) -> Self {
        Self {
            ids,
            outputs: VecDeque::new(),
            bytes_sent: 0,
            all: BTreeMap::new(),
            conns: 0,
            correlation: 0,
            timeout_ms: u64::from(timeout_ms),
        }
    }

    /// The connection to `address`, if it is ready; else it is being opened.
    pub(crate) fn reach(&mut self, now: Instant, address: &Address) -> Option<ConnId> {
        let known = self.all.iter().find(|(_, link)| link.address == *address);
        if let Some((conn, link)) = known {
            return matches!(link.state, LinkState::Ready(_)).then_some(*conn);
        }
        self.conns += 1;
        let conn = ConnId(self.conns);
        let deadline = now.plus_ms(self.timeout_ms);
        let link = Link {
            address: address.clone(),
            state: LinkState::Connecting { deadline },
            received: BytesMut::new(),
            pending: VecDeque::new(),
        };
        self.all.insert(conn, link);
        let Address { host, port } = address.clone();
        self.outputs.push_back(Output::Connect { conn, host, port });
        None
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
        let (conn, api, version) = to;
        let Some(link) = self.all.get_mut(&conn) else {
            return;
        };
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let correlation = self.correlation;
        let bytes: Bytes = wire::encode(version, correlation, &self.ids.client, request);
        self.bytes_sent += bytes.len() as u64;
        let deadline = now.plus_ms(self.timeout_ms);
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
    pub(crate) fn greeted(&mut self, conn: ConnId, versions: Versions) {
        if let Some(link) = self.all.get_mut(&conn) {
            link.state = LinkState::Ready(versions);
        }
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(link) = self.all.get_mut(&conn) {
            link.received.extend_from_slice(bytes);
        }
    }

    /// The next answer on a connection, with what it answers.
    pub(crate) fn next_reply(&mut self, conn: ConnId) -> Result<Option<(Ask, Reply)>, Failure> {
        let Some(link) = self.all.get_mut(&conn) else {
            return Ok(None);
        };
        let asked = link.pending.front().map_or(Api::ApiVersions, |pending| pending.api);
        let malformed = |_| Failure::malformed(asked);
        let Some(frame) = wire::take_frame(&mut link.received).map_err(malformed)? else {
            return Ok(None);
        };
        let Some(Pending { ask, api, version, correlation, .. }) = link.pending.pop_front() else {
            return Err(Failure::Ended(format!("{} answers what was not asked", link.address)));
        };
        let reply = Reply::open(frame, api, version, correlation).map_err(malformed)?;
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
            (_, Some(pending)) => Err(Failure::Ended(format!(
                "{address} closed the connection and left {:?} unanswered: {why}",
                pending.api
            ))),
            (_, None) => Ok(()),
        }
    }

    pub(crate) fn handle_timeout(&self, now: Instant) -> Result<(), Failure> {
        for link in self.all.values() {
            let address = &link.address;
            match (&link.state, link.pending.front()) {
                (LinkState::Connecting { deadline }, _) if *deadline <= now => {
                    return Err(Failure::Unreachable(format!("{address} does not answer")));
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
            (LinkState::Connecting { deadline }, _) => Some(*deadline),
            (_, pending) => pending.map(|pending| pending.deadline),
        };
        self.all.values().filter_map(deadline).min()
    }

    /// Closes every connection; what is still unsent is not sent.
    pub(crate) fn close_all(&mut self) {
        let moot = |output: &Output| {
            matches!(
                output,
                Output::Send { .. } | Output::NeedLocal | Output::WantBatch | Output::Claim(_)
            )
        };
        self.outputs.retain(|output| !moot(output));
        for conn in core::mem::take(&mut self.all).into_keys() {
            self.outputs.push_back(Output::Disconnect { conn });
        }
    }

    /// Why exactly once is not possible with this broker.
    pub(crate) fn lacks(&self, conn: ConnId, api: Api, dialect: Dialect) -> Failure {
        let at = self.all.get(&conn).map_or_else(String::new, |link| link.address.to_string());
        Failure::Refused(Refusal {
            subject: format!("an exactly-once session at {at}"),
            partition: None,
            offsets: None,
            error: format!(
                "the broker lacks {api:?} {}, {}",
                api.versions(dialect).0,
                api.needed_for()
            ),
        })
    }
}

impl Link {
    fn can(&self, api: Api, dialect: Dialect) -> Option<i16> {
        match &self.state {
            LinkState::Ready(versions) => versions.choose(api, dialect),
            LinkState::Connecting { .. } | LinkState::Greeting => None,
        }
    }
}
