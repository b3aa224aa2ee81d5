//! What the log knows of a lane's position, for the day on which Kafka has forgotten it.
//!
//! `low` is known to be committed; nothing above `high` can have been. The first eight bytes of
//! the body are the claim on offsets, little endian: recovery gives out none below it again. It is
//! `high`, but never beyond the durable end: what lies there was never given out.

use serde::{Deserialize, Serialize};
use tributary_bridge::{Hint, Position};
use tributary_core::Offset;

use crate::replicate::traffic::Spent;

/// The hint of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHint {
    /// The lane's name.
    pub lane: String,
    /// Its bounds.
    pub hint: Hint,
    /// Nothing that is selected lies between `low` and here, and the account here: a lane whose
    /// position is `low` goes on from here. So a route that selects one event in a million neither
    /// reads gigabytes again nor needs them kept.
    pub reached: Option<Reached>,
    /// What the lane has sent this month.
    pub spent: Spent,
    /// What Kafka had said when an operator decided that the lane goes on at `low`.
    pub overruled: Option<Overruled>,
}

/// What Kafka had said of a position when an operator decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overruled {
    /// That there is none.
    Nothing,
    /// Its offset and metadata.
    Position(u64, String),
    /// That it is unstable.
    Unstable,
}

/// How far a lane had judged when a hint was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The next offset to judge.
    pub offset: u64,
    /// The account up to there.
    pub account: String,
}

#[derive(Serialize, Deserialize)]
struct Body {
    lane: String,
    high: u64,
    low: u64,
    generation: u32,
    account: String,
}

/// What follows the body, unless there is nothing to say.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tail {
    reached: Option<Reached>,
    spent: Spent,
}

impl LaneHint {
    /// The body of a control record; everything below `durable` is durable.
    #[must_use]
    pub fn encode(&self, durable: Offset) -> Vec<u8> {
        let low = &self.hint.low;
        let body = Body {
            lane: self.lane.clone(),
            high: self.hint.high.0,
            low: low.offset.0,
            generation: low.generation,
            account: low.account.clone(),
        };
        let mut bytes = self.hint.high.min(durable).0.to_le_bytes().to_vec();
        let tail = Tail { reached: self.reached.clone(), spent: self.spent };
        let is_plain = tail == Tail::default() && self.overruled.is_none();
        let tail = (!is_plain).then(|| postcard::to_allocvec(&tail));
        let overruled = self.overruled.as_ref().map(postcard::to_allocvec);
        for part in [Some(postcard::to_allocvec(&body)), tail, overruled].into_iter().flatten() {
            bytes.extend(part.unwrap_or_else(|_| unreachable!("it encodes")));
        }
        bytes
    }

    /// Reads the body of a control record; `None` if a later version wrote it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<8>()?;
        let (body, rest): (Body, &[u8]) = postcard::take_from_bytes(rest).ok()?;
        let (tail, rest): (Tail, &[u8]) = match rest {
            [] => (Tail::default(), rest),
            _ => postcard::take_from_bytes(rest).ok()?,
        };
        let overruled = match rest {
            [] => None,
            _ => Some(postcard::from_bytes(rest).ok()?),
        };
        let low = Position {
            offset: Offset(body.low),
            generation: body.generation,
            account: body.account,
        };
        let hint = Hint { low, high: Offset(body.high) };
        let Tail { reached, spent } = tail;
        Some(Self { lane: body.lane, hint, reached, spent, overruled })
    }

    /// A lane that begins at `low` with nothing in doubt.
    #[must_use]
    pub fn beginning(lane: &str, low: Position) -> Self {
        let high = low.offset;
        let hint = Hint { low, high };
        Self {
            lane: lane.to_owned(),
            hint,
            reached: None,
            spent: Spent::default(),
            overruled: None,
        }
    }

    /// All below is in Kafka, or was not selected, as far as the log knows.
    #[must_use]
    pub fn settled(&self) -> Offset {
        let reached = self.reached.as_ref().map_or(0, |reached| reached.offset);
        self.hint.low.offset.max(Offset(reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_log_and_names_the_claim_first() {
        let low = Position { offset: Offset(5), generation: 9, account: "1.2.3.4;".to_owned() };
        let hint = LaneHint {
            lane: "normal".to_owned(),
            hint: Hint { low, high: Offset(0x0102) },
            reached: Some(Reached { offset: 0x0101, account: "1.2.4.4;".to_owned() }),
            spent: Spent { month: 682, bytes: 1 << 40 },
            overruled: None,
        };
        let position = Overruled::Position(9, "v1,00000007,".to_owned());
        for said in [Overruled::Nothing, position, Overruled::Unstable] {
            let decided = LaneHint { overruled: Some(said), ..hint.clone() };
            assert_eq!(LaneHint::decode(&decided.encode(Offset(0x0103))), Some(decided));
        }
        for (durable, claim) in [(0x0103, [2, 1, 0]), (0x0101, [1, 1, 0])] {
            let bytes = hint.encode(Offset(durable));
            assert_eq!(bytes[..3], claim);
            assert_eq!(LaneHint::decode(&bytes), Some(hint.clone()));
        }
    }

    #[test]
    fn a_hint_of_the_first_versions_is_read() {
        let (lane, account) = ("normal".to_owned(), "1.2.3.4;".to_owned());
        let body = Body { lane, high: 7, low: 5, generation: 9, account: account.clone() };
        let mut bytes = 7_u64.to_le_bytes().to_vec();
        bytes.extend(postcard::to_allocvec(&body).expect("it encodes"));
        let read = LaneHint::decode(&bytes).expect("it is whole");
        let low = Position { offset: Offset(5), generation: 9, account };
        assert_eq!(read.hint, Hint { low, high: Offset(7) });
        assert_eq!((read.reached, read.spent), (None, Spent::default()));
    }
}
