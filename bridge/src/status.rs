//! What people and metrics are told about a replicator.

use core::fmt;

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::batch::Codec;
use crate::reconcile::{Halt, Said};

/// A replicator's condition and its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it stands.
    pub state: State,
    /// What last went wrong, in words; kept until the next thing goes wrong.
    pub last_error: Option<String>,
    /// What Kafka refuses: the lane waits until that is put right. `None` once it goes on.
    pub refused: Option<Refusal>,
    /// How often in a row it has refused that topic, if it is about one.
    pub refusals: u32,
    /// The cluster's finalized `transaction.version`, as of the last session.
    pub transaction_version: Option<i16>,
    /// What the last transaction was compressed with.
    pub codec: Codec,
    /// What Kafka had said of the position when the replicator halted.
    pub said: Said,
    /// What was done since the replicator was made.
    pub counters: Counters,
}

/// Where a replicator stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No broker could be reached, and that is being tried again; or none was tried yet, or the
    /// replicator was stopped.
    #[default]
    Offline,
    /// Opening the first connection of a session.
    Connecting,
    /// A session is being set up.
    Starting,
    /// Transactions can run.
    Live,
    /// A session ended; nothing is shipped before `until`.
    BackingOff {
        /// When the next one begins, or goes on if it began in order to abort what was refused.
        until: Instant,
        /// Why the last one ended.
        reason: String,
    },
    /// Nothing happens before an operator decides and a new replicator is made.
    Halted(Halt),
}

/// Something that Kafka refuses for good as things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The topic concerned; for ids and groups their name.
    pub subject: String,
    /// The topic, if only what goes there is refused.
    pub topic: Option<String>,
    /// The partition concerned, if it is about records.
    pub partition: Option<i32>,
    /// First and last offset of the local log in the refused batch, if it is about records.
    pub offsets: Option<(Offset, Offset)>,
    /// Kafka's name for the error, with its number.
    pub error: String,
}

/// Cumulative counters of one replicator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Transactions that were committed.
    pub transactions: u64,
    /// Records in committed transactions.
    pub records: u64,
    /// Records that Kafka will never take, left out of committed transactions and kept elsewhere.
    pub undeliverable: u64,
    /// Records that got the send time because their topic did not take their own.
    pub restamped: u64,
    /// Bytes of the record batches in committed transactions, before compression.
    pub batch_bytes: u64,
    /// Bytes handed to connections.
    pub bytes_sent: u64,
    /// Requests sent again after an answer that asked for it.
    pub retries: u64,
    /// Milliseconds for which brokers have asked for quiet (KIP-219).
    pub throttled_ms: u64,
    /// Sessions ended because another one used the identity.
    pub fenced: u64,
}

impl Status {
    /// Kafka refuses something, perhaps again.
    pub(crate) fn note_refusal(&mut self, refusal: Refusal) {
        let last = self.refused.as_ref().and_then(|last| last.topic.as_ref());
        let again = refusal.topic.is_some() && last == refusal.topic.as_ref();
        self.refusals = u32::from(refusal.topic.is_some()) + if again { self.refusals } else { 0 };
        self.refused = Some(refusal);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka refuses {}", self.subject)?;
        if let Some(partition) = self.partition {
            write!(f, "-{partition}")?;
        }
        if let Some((first, last)) = self.offsets {
            write!(f, ", offsets {first} to {last}")?;
        }
        write!(f, ": {}", self.error)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("offline"),
            Self::Connecting => f.write_str("connecting"),
            Self::Starting => f.write_str("starting"),
            Self::Live => f.write_str("live"),
            Self::BackingOff { reason, .. } => write!(f, "backing off: {reason}"),
            Self::Halted(halt) => write!(f, "halted: {halt}"),
        }
    }
}
