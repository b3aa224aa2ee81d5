//! Which requests each release answers, and in which versions.
//!
//! As the brokers themselves say, except: the oldest versions of Produce, which the codec cannot
//! read, are advertised like brokers do and close the connection; and Fetch, `ListOffsets` and
//! Metadata end where topic names end.

use core::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;

use crate::Kafka;

/// A request and its versions.
pub(crate) type Offered = (ApiKey, RangeInclusive<i16>);

/// The versions of `api` that `kafka` answers; `None`: it does not know the request.
pub(crate) fn offered(kafka: Kafka, api: ApiKey) -> Option<RangeInclusive<i16>> {
    all(kafka).iter().find(|(offered, _)| *offered == api).map(|(_, versions)| versions.clone())
}

/// Everything that `kafka` answers.
pub(crate) const fn all(kafka: Kafka) -> &'static [Offered] {
    match kafka {
        Kafka::V3_9_2 => &V3_9_2,
        Kafka::V4_1_2(_) => &V4_1_2,
    }
}

const V3_9_2: [Offered; 17] = [
    (ApiKey::Produce, 0..=11),
    (ApiKey::Fetch, 4..=12),
    (ApiKey::ListOffsets, 1..=9),
    (ApiKey::Metadata, 0..=12),
    (ApiKey::OffsetCommit, 2..=9),
    (ApiKey::OffsetFetch, 1..=9),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::AddPartitionsToTxn, 0..=5),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=4),
    (ApiKey::TxnOffsetCommit, 0..=4),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::SaslHandshake, 0..=1),
    (ApiKey::SaslAuthenticate, 0..=2),
];

const V4_1_2: [Offered; 17] = [
    (ApiKey::Produce, 0..=12),
    (ApiKey::Fetch, 4..=12),
    (ApiKey::ListOffsets, 1..=9),
    (ApiKey::Metadata, 0..=12),
    (ApiKey::OffsetCommit, 2..=9),
    (ApiKey::OffsetFetch, 1..=9),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::AddPartitionsToTxn, 0..=5),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::TxnOffsetCommit, 0..=5),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::SaslHandshake, 0..=1),
    (ApiKey::SaslAuthenticate, 0..=2),
];
