//! The replicator: one lane's sessions with a Kafka cluster, as a value.

use std::collections::VecDeque;

use bytes::Bytes;
use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::batch::BatchBuilder;
use crate::position::Position;
use crate::reconcile::Local;
use crate::settings::Settings;
use crate::status::Status;

/// Names one connection. Never used twice by one replicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the driver shall do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection; answer with `handle_connected` or `handle_closed`.
    Connect {
        /// Its name from now on.
        conn: ConnId,
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Send bytes on an open connection, in order.
    Send {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Close a connection, whether it is open yet or not. Nothing more is expected of it.
    Disconnect {
        /// The connection.
        conn: ConnId,
    },
    /// Say what the local log knows: `handle_local`.
    NeedLocal,
    /// A session is ready and the next record to ship is this one. Forget every batch in progress.
    Resumed(Position),
    /// Hand in a batch as soon as there is something to ship: `begin_batch`, `handle_batch`.
    WantBatch,
    /// Make a hint durable whose `high` is at least this offset, then `handle_claimed`.
    Claim(Offset),
    /// Kafka has committed everything below this position.
    Committed(Position),
    /// The status has changed.
    Changed,
}

/// One lane's sessions with a Kafka cluster.
#[derive(Debug)]
pub struct Replicator {
    settings: Settings,
    status: Status,
    outputs: VecDeque<Output>,
}

impl Replicator {
    /// A replicator that begins its first session at once: call `poll_output`. `seed` spreads the
    /// back-off of many gateways; it decides nothing else.
    #[must_use]
    pub fn new(_now: Instant, settings: Settings, _seed: u64) -> Self {
        Self { settings, status: Status::default(), outputs: VecDeque::new() }
    }

    /// The answer to [`Output::NeedLocal`], as of now.
    pub fn handle_local(&mut self, _now: Instant, _local: &Local) {}

    /// A connection is open.
    pub fn handle_connected(&mut self, _now: Instant, _conn: ConnId) {}

    /// Bytes came in.
    pub fn handle_bytes(&mut self, _now: Instant, _conn: ConnId, _bytes: &[u8]) {}

    /// A connection is closed, or could not be opened. `why` is for people.
    pub fn handle_closed(&mut self, _now: Instant, _conn: ConnId, _why: &str) {}

    /// A deadline of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When `handle_timeout` is to be called, if nothing else comes first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// An empty batch that knows the topics and their partitions. Valid until the next
    /// [`Output::Resumed`].
    #[must_use]
    pub fn begin_batch(&self) -> BatchBuilder {
        BatchBuilder::new()
    }

    /// The records from the last position up to `next`, which is where the following batch begins.
    /// Only after [`Output::WantBatch`], once for each. Empty only if a push was answered
    /// [`crate::PushError::UnknownTopic`]; then `next` is not used. An unasked batch is ignored: a
    /// new session resumes elsewhere.
    pub fn handle_batch(&mut self, _now: Instant, batch: BatchBuilder, _next: Position) {
        if batch.missing().is_some() {
            self.outputs.push_back(Output::WantBatch);
        }
    }

    /// A hint that claims everything below `high` is durable. To lower a claim while idle, call
    /// this *before* the lower hint is appended, so that nothing is committed on the strength of
    /// the old one.
    pub fn handle_claimed(&mut self, _now: Instant, _high: Offset) {}

    /// Whether no transaction is outstanding.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }

    /// The condition, in words and numbers.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Closes every connection for good. A transaction that is open is aborted by the next
    /// session, of whatever process.
    pub fn stop(&mut self) {
        self.outputs.push_back(Output::Changed);
        self.settings.bootstrap.clear();
    }
}
