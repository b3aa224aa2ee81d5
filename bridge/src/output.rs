//! What a replicator asks of who drives it.

use std::sync::Arc;

use bytes::Bytes;
use tributary_core::Offset;

use crate::position::Position;

/// Names one connection. Never used twice by one replicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A record that Kafka will never take, or that no batch may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// Offset of the event in the local log.
    pub offset: Offset,
    /// What made the record of it: [`crate::Record::route`].
    pub route: u32,
    /// The topic that it should have gone to.
    pub topic: Arc<str>,
    /// The topic's partition.
    pub partition: i32,
    /// Kafka's name for the error, its number, and the broker's words, or ours.
    pub error: String,
}

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
    /// Say who we are on this connection: `handle_credentials`.
    Authenticate {
        /// The connection.
        conn: ConnId,
        /// Whether the last credentials were refused: then a token that was kept will not do.
        fresh: bool,
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
    /// Keep these records, durably and once, then `handle_buried`: the transaction under way waits
    /// for it, and commits the rest.
    Bury(Vec<Undeliverable>),
    /// Kafka has committed everything below this position.
    Committed(Position),
    /// The status has changed.
    Changed,
}
