//! Why a session ends, and how long the next one waits for it.

use core::fmt;

use crate::reconcile::Halt;
use crate::settings::POSITIONS_TOPIC;
use crate::status::Refusal;
use crate::wire::{Api, Class, Code};

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The first broker of the session could not be reached.
    Unreachable(String),
    /// Something was not answered, or answered with an error that leaves something open.
    Ended(String),
    /// Another session has the transactional id. Two clones must not race each other.
    Fenced(String),
    /// Something that an operator must know of; trying again soon would do harm.
    Alarm(String),
    /// A broker does not let us in, or we do not trust it with more.
    Unauthenticated(Refusal),
    /// Kafka refuses something until somebody puts it right.
    Refused(Refusal),
    /// No session is to follow.
    Halt(Halt),
}

impl Failure {
    /// What a broker sent is no answer to what was asked.
    pub(crate) fn malformed(api: Api) -> Self {
        Self::Ended(format!("a broker sent something that is no answer to {api:?}"))
    }

    /// An answer that ends the session; `Dialect` and `Fenced` have their own words.
    pub(crate) fn answered(api: Api, code: Code) -> Self {
        match code.class() {
            Class::Fenced => Self::Fenced(format!(
                "another session uses the transactional id, or the transaction timed out: \
                 {api:?} was answered {code}"
            )),
            Class::Dialect => Self::Alarm(format!(
                "the cluster's transaction.version was changed: {api:?} was answered {code}"
            )),
            _ => Self::Ended(format!("{api:?} was answered {code}")),
        }
    }

    /// A refusal of the right, or of a setting, that the identity needs.
    pub(crate) fn refused_identity(identity: &str, code: Code) -> Self {
        let subject = match code {
            Code(17 | 29) => format!("topic {POSITIONS_TOPIC}"),
            Code(24 | 30) => format!("group {identity}"),
            _ => format!("transactional id {identity}"),
        };
        Self::refused(&subject, code)
    }

    /// A refusal that is about a topic, not about records.
    pub(crate) fn refused_topic(topic: &str, code: Code) -> Self {
        Self::of(format!("topic {topic}"), Some(topic), code)
    }

    /// A topic is not there, and must not be made.
    pub(crate) fn not_created(topic: &str, code: Code) -> Self {
        Self::of(format!("to make the topic {topic}, which does not exist"), Some(topic), code)
    }

    /// A refusal that is about nothing that some routes could do without.
    pub(crate) fn refused(subject: &str, code: Code) -> Self {
        Self::of(subject.to_owned(), None, code)
    }

    /// The lane has nowhere to keep its position without this topic.
    fn of(subject: String, topic: Option<&str>, code: Code) -> Self {
        Self::Refused(Refusal {
            subject,
            topic: topic.filter(|topic| *topic != POSITIONS_TOPIC).map(str::to_owned),
            partition: None,
            offsets: None,
            error: code.to_string(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Ended(why) | Self::Fenced(why) | Self::Alarm(why) => {
                f.write_str(why)
            }
            Self::Refused(refusal) | Self::Unauthenticated(refusal) => refusal.fmt(f),
            Self::Halt(halt) => halt.fmt(f),
        }
    }
}
