//! A position in the local log as Kafka keeps it for us.
//!
//! The offset is Kafka's committed offset. Its metadata says under which opening of the log it was
//! committed, and carries the lane's counters: `v1,<generation, 8 hex digits>,<account>`.

use tributary_core::Offset;

use crate::limits::ACCOUNT_BYTES_MAX;

/// How far a lane has come: everything below `offset` has been dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The next offset to ship.
    pub offset: Offset,
    /// The opening of the log under which this position was reached.
    pub generation: u32,
    /// The daemon's counters up to here, opaque to the bridge: at most [`ACCOUNT_BYTES_MAX`] bytes.
    pub account: String,
}

/// What the local log knows of a lane's position, in case Kafka has forgotten it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// L: the last position that is known to be committed in Kafka. Never what was merely judged
    /// and not selected: that is not in Kafka.
    pub low: Position,
    /// U: the highest offset that any `EndTxn` may have committed. Durable before that `EndTxn`.
    pub high: Offset,
}

impl Position {
    /// The metadata that goes with the committed offset.
    pub(crate) fn metadata(&self) -> String {
        format!("v1,{:08x},{}", self.generation, self.account)
    }

    /// Checks what the daemon hands in to follow `last`.
    ///
    /// # Panics
    ///
    /// Committing it would break the position: that is a bug of the daemon.
    pub(crate) fn check(&self, last: &Self) {
        let on = self.offset > last.offset;
        // While a route reads back, only the account tells how far it has come.
        let back = self.offset == last.offset && self.account != last.account;
        assert!(on || back, "a batch moves the position on: {self:?} after {last:?}");
        assert!(i64::try_from(self.offset.0).is_ok(), "Kafka takes a negative offset as none");
        assert_eq!(self.generation, last.generation, "a session runs under one generation");
        assert!(self.account.len() <= ACCOUNT_BYTES_MAX, "an account is limited");
    }

    /// What a hint must claim before a transaction may lead from `last` to here: more than `last`
    /// has, or nothing would tell that one was under way.
    pub(crate) fn claim_after(&self, last: &Self) -> Offset {
        self.offset.max(last.offset.plus(1))
    }

    /// Reads a committed offset and its metadata; `None` if they are not in our form.
    pub(crate) fn parse(offset: Offset, metadata: &str) -> Option<Self> {
        let (generation, account) = metadata.strip_prefix("v1,")?.split_once(',')?;
        let hex = generation.len() == 8 && generation.bytes().all(|b| b.is_ascii_hexdigit());
        let generation = u32::from_str_radix(generation, 16).ok().filter(|_| hex)?;
        Some(Self { offset, generation, account: account.to_owned() })
    }
}
