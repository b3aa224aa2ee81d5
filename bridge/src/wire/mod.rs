//! Kafka's messages as the replicator needs them: capped versions, checked answers.
//!
//! Nothing of the codec crate is seen outside this module.

mod answers;
mod error;
mod frame;
mod requests;
mod schemas;
mod shape;

#[cfg(test)]
mod tests;

use core::fmt;
use std::collections::BTreeMap;

pub(crate) use answers::{Cluster, Described, Outcome};
pub(crate) use error::{Class, Code};
pub(crate) use frame::{Reply, encode, take_frame};
pub(crate) use requests::Ids;

use crate::settings::Delivery;

pub(crate) mod ask {
    //! Requests, by what they ask for.
    pub(crate) use super::requests::{
        add_offsets, add_partitions, authenticate, commit_offset, commit_position,
        committed_position, coordinator, create_topic, end_transaction, fetch, handshake, metadata,
        new_producer, offsets, produce, topic_settings, versions,
    };
}

pub(crate) mod read {
    //! Answers, by what was asked for.
    pub(crate) use super::answers::{
        Authenticated, Fetched, LookedUp, Produced, authenticated, coordinator, created, ended,
        fetched, handshaken, looked_up, metadata, new_producer, offset_committed, partitions_added,
        plain, position, position_committed, produced, topic_settings, versions,
    };
}

/// The requests that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names are Kafka's")]
#[repr(i16)]
pub(crate) enum Api {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
    DescribeConfigs = 32,
    SaslAuthenticate = 36,
}

/// What a cluster's `transaction.version` means for the requests of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Transaction versions 0 and 1: partitions are added to the transaction before it writes.
    Explicit,
    /// Transaction version 2 (KIP-890): the first write adds a partition, and every transaction
    /// has a new epoch.
    Implicit,
    /// No transactions.
    Plain,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Bytes that are no answer to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What one broker said it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    ranges: BTreeMap<i16, (i16, i16)>,
    /// The finalized level of the feature `transaction.version`; 0 where there is none.
    pub(crate) transaction_version: i16,
}

impl Api {
    /// First and last version that we send. Never the broker's newest: a version of the
    /// `Implicit` dialect, sent to a cluster that has not finalized it, blocks the transactional
    /// id until the coordinator restarts.
    pub(crate) const fn versions(self, dialect: Dialect) -> (i16, i16) {
        match (self, dialect) {
            (Self::SaslHandshake, _) => (1, 1),
            (Self::SaslAuthenticate, _) => (1, 2),
            (Self::ApiVersions, _) => (3, 3),
            // From 13 on topics are named by their ids.
            (Self::Fetch, _) => (4, 12),
            (Self::ListOffsets, _) => (2, 7),
            (Self::Metadata, _) => (7, 12),
            (Self::FindCoordinator, _) => (2, 4),
            (Self::InitProducerId, _)
            | (Self::TxnOffsetCommit, Dialect::Explicit | Dialect::Plain) => (3, 4),
            (Self::CreateTopics, _) => (4, 5),
            (Self::OffsetCommit, _) => (5, 8),
            (Self::OffsetFetch, _) => (7, 9),
            (Self::AddPartitionsToTxn | Self::AddOffsetsToTxn, _) => (1, 3),
            (Self::Produce, Dialect::Explicit | Dialect::Plain) => (7, 11),
            (Self::Produce, Dialect::Implicit) => (12, 12),
            (Self::DescribeConfigs, _) | (Self::EndTxn, Dialect::Explicit | Dialect::Plain) => {
                (1, 4)
            }
            (Self::TxnOffsetCommit | Self::EndTxn, Dialect::Implicit) => (5, 5),
        }
    }

    /// The first version with compact lengths and tagged fields (KIP-482).
    pub(crate) const fn flexible_since(self) -> i16 {
        match self {
            Self::Fetch => 12,
            Self::Produce | Self::Metadata => 9,
            Self::ListOffsets | Self::OffsetFetch => 6,
            Self::OffsetCommit => 8,
            Self::CreateTopics => 5,
            Self::DescribeConfigs => 4,
            Self::InitProducerId | Self::SaslAuthenticate => 2,
            Self::SaslHandshake => i16::MAX,
            Self::FindCoordinator
            | Self::ApiVersions
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::TxnOffsetCommit => 3,
        }
    }

    /// What a session of this dialect cannot do without.
    pub(crate) const fn required(dialect: Dialect) -> &'static [Self] {
        match dialect {
            Dialect::Explicit => &[
                Self::OffsetFetch,
                Self::TxnOffsetCommit,
                Self::Produce,
                Self::Metadata,
                Self::FindCoordinator,
                Self::InitProducerId,
                Self::AddPartitionsToTxn,
                Self::AddOffsetsToTxn,
                Self::EndTxn,
            ],
            Dialect::Plain => &[
                Self::OffsetFetch,
                Self::OffsetCommit,
                Self::Produce,
                Self::Metadata,
                Self::FindCoordinator,
                Self::InitProducerId,
            ],
            Dialect::Implicit => &[
                Self::OffsetFetch,
                Self::TxnOffsetCommit,
                Self::Produce,
                Self::Metadata,
                Self::FindCoordinator,
                Self::InitProducerId,
                Self::EndTxn,
            ],
        }
    }

    /// What the first version that we send is needed for, for people.
    pub(crate) const fn needed_for(self) -> &'static str {
        match self {
            Self::OffsetFetch => "to read the position only when it is stable (Kafka 2.5)",
            Self::OffsetCommit => "to commit the position (Kafka 2.1)",
            Self::TxnOffsetCommit => "to commit the position in the transaction (Kafka 2.5)",
            Self::ApiVersions => "to say what it can do (Kafka 2.4)",
            Self::SaslHandshake | Self::SaslAuthenticate => "to let us in by SASL (Kafka 2.2)",
            Self::CreateTopics => "to make missing topics (Kafka 2.4)",
            Self::DescribeConfigs => "to see how topics are set up (Kafka 1.1)",
            Self::Fetch | Self::ListOffsets => "to read a topic (Kafka 0.11)",
            Self::Produce
            | Self::Metadata
            | Self::FindCoordinator
            | Self::InitProducerId
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn => "for transactions (Kafka 2.5)",
        }
    }
}

impl Dialect {
    /// The dialect of a finalized level of `transaction.version`.
    pub(crate) const fn of(transaction_version: i16) -> Self {
        if transaction_version >= 2 { Self::Implicit } else { Self::Explicit }
    }

    /// The dialect of a session.
    pub(crate) const fn chosen(delivery: Delivery, transaction_version: i16) -> Self {
        match delivery {
            Delivery::ExactlyOnce => Self::of(transaction_version),
            Delivery::AtLeastOnce => Self::Plain,
        }
    }
}

impl Versions {
    /// The version to send to this broker, if it knows one that we may send.
    pub(crate) fn choose(&self, api: Api, dialect: Dialect) -> Option<i16> {
        let (least, most) = api.versions(dialect);
        let (min, max) = *self.ranges.get(&(api as i16))?;
        let chosen = most.min(max);
        (chosen >= least && chosen >= min).then_some(chosen)
    }
}

impl Address {
    /// An address as a broker advertises it; `None` if nothing can listen there.
    pub(crate) fn advertised(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let named = !host.is_empty() && host.len() <= 255;
        named.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
