//! Replicates finished records into Apache Kafka, exactly once.
//!
//! The [`Replicator`] is a value: bytes from brokers, batches and time go in; bytes for brokers,
//! wishes and the next deadline come out. There is no socket, clock, thread or random source here.
//!
//! The protocol is one transaction per batch: {`Produce` ‖ `TxnOffsetCommit`}, then, when every
//! answer is good, `EndTxn`. The position travels in the transaction, so records and position are
//! committed together or not at all. A new session fences its predecessor (`InitProducerId`) and
//! asks Kafka for the position (`OffsetFetch` with `require_stable`, KIP-447); no other memory of
//! the position counts while Kafka has one.
//!
//! Where an operator asks for [`Delivery::AtLeastOnce`] there are no transactions: the records go by an
//! idempotent producer, and the position is committed when they are taken.
//!
//! It is crash-only: what is not answered, or answered with an error that leaves something open,
//! ends the session. Nothing is resolved in place and `EndTxn(abort)` is never sent: the next
//! session's `InitProducerId` aborts, and with the epoch it bumps nothing of the old session can
//! arrive late (KIP-360, KIP-890).

pub mod limits;

mod backoff;
mod batch;
mod checkup;
mod failure;
mod links;
mod output;
mod position;
mod reader;
mod reconcile;
mod replicator;
mod sasl;
mod session;
mod settings;
mod status;
mod talk;
mod task;
mod transaction;
mod wire;

pub use batch::{BatchBuilder, Codec, Compression, Costs, Header, Partitioner, PushError, Record};
pub use bytes::Bytes;
pub use checkup::{Checkup, Finding};
pub use output::{ConnId, Output, Undeliverable};
pub use position::{Hint, Position};
pub use reader::{Began, Edge, Found, ReadRecord, Reader, ReaderStatus, Start};
pub use reconcile::{Halt, Local, Said, reconcile};
pub use replicator::Replicator;
pub use sasl::{Credentials, Hash, SaslError};
pub use secrecy;
pub use settings::{BatchLimits, Creation, Delivery, Settings};
pub use status::{Counters, Refusal, State, Status};
pub use talk::Talk;
