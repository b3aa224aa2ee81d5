//! The replicator against a scripted broker. Nothing here waits: time is an argument.

mod broker;

mod failures;
mod hostile;
mod login;
mod patience;
mod session;
mod topics;
mod undeliverable;

/// Kafka's API keys.
mod key {
    pub(crate) const PRODUCE: i16 = 0;
    pub(crate) const METADATA: i16 = 3;
    pub(crate) const OFFSET_FETCH: i16 = 9;
    pub(crate) const FIND_COORDINATOR: i16 = 10;
    pub(crate) const SASL_HANDSHAKE: i16 = 17;
    pub(crate) const API_VERSIONS: i16 = 18;
    pub(crate) const CREATE_TOPICS: i16 = 19;
    pub(crate) const INIT_PRODUCER_ID: i16 = 22;
    pub(crate) const ADD_PARTITIONS: i16 = 24;
    pub(crate) const ADD_OFFSETS: i16 = 25;
    pub(crate) const END_TXN: i16 = 26;
    pub(crate) const TXN_OFFSET_COMMIT: i16 = 28;
    pub(crate) const SASL_AUTHENTICATE: i16 = 36;
}
