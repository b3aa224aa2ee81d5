//! Why a batch does not take a record.

use core::fmt;

/// Why a record was not taken. The batch is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The batch is full: hand it in, and push the record into the next.
    Full,
    /// The topic is not known yet, or does not exist. Hand the batch in, even an empty one: the
    /// topic is looked up, or made, and then a batch is wanted again.
    UnknownTopic,
    /// The record is larger than a batch may be. It will never fit: [`crate::BatchBuilder::leave_out`].
    TooLarge,
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
