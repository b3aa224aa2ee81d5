//! Where a new session resumes: Kafka's answer against what the local log knows.
//!
//! Kafka's position wins wherever it has one. What cannot be decided from positions alone, or says
//! that somebody else used this identity, halts the lane: going on would lose or double records.

use core::fmt;

use tributary_core::Offset;

use crate::position::{Hint, Position};

/// What the local log knows at the start of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The log's current opening.
    pub generation: u32,
    /// Every opening that the log remembers, oldest first, with its first offset; the current one
    /// last.
    pub generations: Vec<(u32, Offset)>,
    /// The lane's hint, as it is durable. A lane that begins now has one too, with `high` equal to
    /// `low`.
    pub hint: Option<Hint>,
    /// What an operator has overruled, after a halt: as long as Kafka still says it, the lane goes on
    /// at the hint's `low`.
    pub overruled: Option<Said>,
    /// Whether the log has never held an event.
    pub log_is_empty: bool,
    /// The oldest offset that the log still holds.
    pub oldest: Offset,
    /// The offset after the newest durable event.
    pub end: Offset,
}

/// What Kafka has said of a lane's position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// It has none: it has forgotten or never knew it.
    #[default]
    Nothing,
    /// The offset and its metadata.
    Position(Offset, String),
    /// A transaction that has it is open, for longer than any lasts.
    Unstable,
}

/// Why a lane stands still until an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Kafka's position was committed by an opening that this log never had, or not by us at all:
    /// a clone of this gateway, or a disk that was rolled back.
    Identity {
        /// What Kafka holds.
        offset: Offset,
        /// Its metadata, shortened.
        metadata: String,
    },
    /// Kafka's position is beyond all that this log can have committed: as [`Halt::Identity`].
    Ahead {
        /// What Kafka holds.
        offset: Offset,
        /// The highest offset that may have been committed.
        high: Offset,
    },
    /// Whether records were committed can only be told by reading the data partitions.
    InDoubt {
        /// What Kafka holds; `None` if it has forgotten or never knew the position.
        kafka: Option<Offset>,
        /// The hint, if there is one: (L, U).
        hint: Option<(Offset, Offset)>,
    },
    /// The position stays unstable: Kafka lost the marker of a transaction (KAFKA-20734).
    HangingTransaction,
}

/// The position at which to resume, stated in terms of the current generation.
///
/// # Errors
///
/// The lane must halt; see [`Halt`].
pub fn reconcile(kafka: &Said, local: &Local) -> Result<Position, Halt> {
    if let Some(decided) = local.decided(kafka) {
        return decided;
    }
    match kafka {
        Said::Position(offset, metadata) => known_to_kafka(*offset, metadata, local),
        Said::Nothing => unknown_to_kafka(local),
        Said::Unstable => Err(Halt::HangingTransaction),
    }
}

/// The same where a record may come twice: what is in doubt is sent again.
///
/// # Errors
/// The lane must halt: somebody else uses the identity.
pub(crate) fn reconcile_at_least(kafka: &Said, local: &Local) -> Result<Position, Halt> {
    let halt = match reconcile(kafka, local) {
        Err(halt @ Halt::InDoubt { .. }) => halt,
        decided => return decided,
    };
    let said = match kafka {
        Said::Position(offset, metadata) => Position::parse(*offset, metadata),
        Said::Nothing | Said::Unstable => None,
    };
    let low = said.or_else(|| local.hint.as_ref().map(|hint| hint.low.clone()));
    let oldest =
        Position { offset: local.oldest, generation: local.generation, account: String::new() };
    local.resume(low.unwrap_or(oldest)).map_err(|_| halt)
}

fn known_to_kafka(offset: Offset, metadata: &str, local: &Local) -> Result<Position, Halt> {
    let foreign = || Halt::Identity { offset, metadata: shortened(metadata) };
    let position = Position::parse(offset, metadata).ok_or_else(foreign)?;
    local.rank(position.generation).ok_or_else(foreign)?;
    let Some(hint) = &local.hint else {
        return local.resume(position);
    };
    // Kafka went back behind what it had acknowledged. Compared as positions of this opening: a
    // session that resumed has restated an older opening's position as its own in the hint, and may
    // have ended before it committed anything.
    let (reached, low) = (local.restated(&position), local.restated(&hint.low));
    if reached < low {
        let hint = Some((hint.low.offset, hint.high));
        return Err(Halt::InDoubt { kafka: Some(reached), hint });
    }
    // A claim of a generation may have gone with that generation's tail.
    if offset > hint.high && !local.tail_is_lost(&position) {
        return Err(Halt::Ahead { offset, high: hint.high });
    }
    local.resume(position)
}

fn unknown_to_kafka(local: &Local) -> Result<Position, Halt> {
    match &local.hint {
        Some(hint) if hint.high <= hint.low.offset => local.resume(hint.low.clone()),
        Some(hint) => Err(Halt::InDoubt { kafka: None, hint: Some((hint.low.offset, hint.high)) }),
        None if local.log_is_empty => Ok(Position {
            offset: local.oldest,
            generation: local.generation,
            account: String::new(),
        }),
        None => Err(Halt::InDoubt { kafka: None, hint: None }),
    }
}

impl Local {
    /// Where to resume because an operator has decided so.
    pub(crate) fn decided(&self, kafka: &Said) -> Option<Result<Position, Halt>> {
        let hint = self.hint.as_ref().filter(|_| self.overruled.as_ref() == Some(kafka))?;
        Some(self.resume(hint.low.clone()))
    }

    /// The age rank of an opening: higher is younger; `None` if this log never had it.
    fn rank(&self, generation: u32) -> Option<usize> {
        if generation == self.generation {
            return Some(self.generations.len());
        }
        self.generations.iter().position(|&(known, _)| known == generation)
    }

    /// The offset at which the opening after `generation` began, if `generation` is an older one.
    fn end_of(&self, generation: u32) -> Option<Offset> {
        if generation == self.generation {
            return None;
        }
        let index = self.generations.iter().position(|&(known, _)| known == generation)?;
        self.generations.get(index + 1).map(|&(_, first)| first)
    }

    /// Whether `position` was reached by an older opening whose last events are gone.
    fn tail_is_lost(&self, position: &Position) -> bool {
        self.end_of(position.generation).is_some_and(|end| end < position.offset)
    }

    /// Where the given position is in the current opening: cut to what its own left behind.
    fn restated(&self, position: &Position) -> Offset {
        let end = self.end_of(position.generation);
        end.map_or(position.offset, |end| position.offset.min(end))
    }

    /// The given position as one of the current opening.
    fn resume(&self, position: Position) -> Result<Position, Halt> {
        let offset = self.restated(&position);
        if self.end_of(position.generation).is_none() && offset > self.end {
            return Err(Halt::Ahead { offset, high: self.end });
        }
        Ok(Position { offset, generation: self.generation, account: position.account })
    }
}

impl Halt {
    /// The state in a word or two, as `status` shows it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Identity { .. } | Self::Ahead { .. } => "identity",
            Self::InDoubt { .. } => "in doubt",
            Self::HangingTransaction => "hanging transaction",
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { offset, metadata } => write!(
                f,
                "identity: Kafka's position {offset} (\"{metadata}\") was not committed by this \
                 log: a clone of this gateway, or a disk that was rolled back"
            ),
            Self::Ahead { offset, high } => write!(
                f,
                "identity: Kafka's position {offset} is beyond {high}, the most that this log can \
                 have committed: a clone of this gateway, or a disk that was rolled back"
            ),
            Self::InDoubt { kafka: Some(offset), hint: Some((low, _)) } => write!(
                f,
                "in doubt: Kafka's position {offset} is below {low}, which it had acknowledged"
            ),
            Self::InDoubt { hint: Some((low, high)), .. } => write!(
                f,
                "in doubt: Kafka has no position, and records from {low} to {high} may have been \
                 committed"
            ),
            Self::InDoubt { .. } => {
                f.write_str("in doubt: neither Kafka nor the local log knows the position")
            }
            Self::HangingTransaction => f.write_str(
                "hanging transaction: the position is unstable for longer than any transaction \
                 lasts, so Kafka has lost a transaction marker (KAFKA-20734)",
            ),
        }
    }
}

/// The beginning of a text that may be long and may be anything.
fn shortened(text: &str) -> String {
    text.chars().take(40).filter(|c| !c.is_control()).collect()
}
