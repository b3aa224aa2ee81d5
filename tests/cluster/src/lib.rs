//! A Kafka cluster as a value: brokers, partition logs, group offsets and the transaction
//! coordinator of Apache Kafka 3.9.2 and 4.1.2, driven by bytes and by time.
//!
//! It takes Kafka's place in the simulated world, in ordinary tests and in the demo. Bytes of a
//! connection go in with [`Cluster::handle_bytes`], answers come out of [`Cluster::poll_output`],
//! and [`Cluster::poll_timeout`] names the next moment at which something happens by itself. Same
//! seed, same input, same time: same answers. [`Served`] puts a cluster behind real sockets.
//!
//! What it answers in the corners follows Apache Kafka's source and what real brokers answered,
//! not the clients it is used to test: it is an independent reading of the protocol.
//!
//! ```
//! use tributary_cluster::{BrokerId, Cluster, Output, Settings};
//! use tributary_core::time::Instant;
//!
//! let mut cluster = Cluster::new(Settings::default());
//! let conn = cluster.connect(BrokerId(1)).expect("it is up");
//! // ApiVersions, version 0, correlation 7, no client name.
//! cluster.handle_bytes(Instant(0), conn, &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255]);
//! assert!(matches!(cluster.poll_output(), Some(Output::Bytes { .. })));
//! ```
//!
//! Deliberately absent: consumer groups with members (offsets need none), replication (a broker
//! that goes away hands its partitions to the next), compression by the broker, TLS, retention.

pub mod limits;

mod settings;

mod cluster;

mod access;
mod api;
mod coordinator;
mod faults;
mod log;
mod login;
mod read;
mod wire;
mod write;

mod served;

pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages::ApiKey;

pub use access::Permission;
pub use cluster::{Cluster, ConnId, Output};
pub use faults::{Fault, FaultKind, FaultRates};
pub use login::Users;
pub use read::{Position, ReadRecord};
pub use served::Served;
pub use settings::{BrokerId, Kafka, Settings, TopicSettings, TransactionVersion};
