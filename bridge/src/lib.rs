//! The replicator.
