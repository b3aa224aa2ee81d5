//! Kafka's error codes, by what a crash-only client does about them.

use core::fmt;

use kafka_protocol::ResponseError;

/// An error code as it came; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) i16);

/// What an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It was done.
    Good,
    /// 51: the markers of the last transaction are still being written. Everyday; again at once.
    Busy,
    /// The coordinator is there but not ready. Again.
    Loading,
    /// The coordinator is elsewhere. Find it, then again.
    Moved,
    /// The partition's leader is elsewhere, or not there yet; nothing was appended. Look it up,
    /// then again.
    Leader,
    /// 88: a transaction that touches the position is still open.
    Unstable,
    /// 35: the cluster's `transaction.version` was changed under the session.
    Dialect,
    /// Another session uses the transactional id, or the transaction timed out.
    Fenced,
    /// 45: an earlier batch is missing.
    OutOfOrder,
    /// Of a batch: a record in it, or its size, will never be taken.
    Record,
    /// Of a batch: the topic does not take a timestamp in it.
    Timestamp,
    /// Kafka will not take it as things stand.
    Refused,
    /// Ends the session. Also where Kafka does not know itself whether something was done (7,
    /// 20): that is as good as no answer.
    Final,
}

impl Code {
    pub(crate) const GOOD: Self = Self(0);
    /// What was received is not what the checksum says.
    pub(crate) const CORRUPT: Self = Self(2);

    /// Of a batch: it is larger than its topic takes.
    pub(crate) const TOO_LARGE: Self = Self(10);

    /// The cluster does not permit transactions of the time-out that was asked for.
    pub(crate) const TRANSACTION_TIMEOUT: Self = Self(50);

    /// Whether a topic is refused, rather than what we are or all that we send: its name, the right
    /// to it, its policy.
    pub(crate) const fn is_of_topic(self) -> bool {
        matches!(self.0, 17 | 29 | 44)
    }

    pub(crate) const fn class(self) -> Class {
        match self.0 {
            0 => Class::Good,
            51 => Class::Busy,
            14 => Class::Loading,
            15 | 16 => Class::Moved,
            3 | 5 | 6 | 9 | 19 | 56 | 74 | 75 | 100 | 103 => Class::Leader,
            88 => Class::Unstable,
            35 => Class::Dialect,
            47 | 90 => Class::Fenced,
            45 => Class::OutOfOrder,
            2 | 10 | 18 | 87 => Class::Record,
            32 => Class::Timestamp,
            12 | 17 | 24 | 29 | 30 | 31 | 37 | 38 | 40 | 43 | 44 | 50 | 53 | 54 | 76 => {
                Class::Refused
            }
            _ => Class::Final,
        }
    }
}

impl Class {
    /// Whether somebody has to put something right before it is taken, where it is not about
    /// records.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Record | Self::Timestamp)
    }
}

impl fmt::Display for Code {
    /// Kafka's own name for it and the number: `NOT_COORDINATOR (16)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ResponseError::try_from_code(self.0) {
            None => f.write_str("NONE (0)"),
            Some(ResponseError::Unknown(code)) => write!(f, "error {code}"),
            Some(error) => {
                for (index, letter) in error.to_string().chars().enumerate() {
                    if letter.is_ascii_uppercase() && index > 0 {
                        f.write_str("_")?;
                    }
                    write!(f, "{}", letter.to_ascii_uppercase())?;
                }
                write!(f, " ({})", self.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_that_people_search_for() {
        assert_eq!(Code(16).to_string(), "NOT_COORDINATOR (16)");
        assert_eq!(Code(53).to_string(), "TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53)");
        assert_eq!(Code(9999).to_string(), "error 9999");
    }
}
