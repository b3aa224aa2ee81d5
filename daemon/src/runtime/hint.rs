//! What the log knows of a lane's position, for the day on which Kafka has forgotten it.
//!
//! `low` is known to be committed; nothing above `high` can have been. The first eight bytes of
//! the body are the claim on offsets, little endian: recovery gives out none below it again. It is
//! `high`, but never beyond the durable end: what lies there was never given out.

use serde::{Deserialize, Serialize};
use tributary_bridge::{Hint, Position};
use tributary_core::Offset;

/// The hint of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHint {
    /// The lane's name.
    pub lane: String,
    /// Its bounds.
    pub hint: Hint,
}

#[derive(Serialize, Deserialize)]
struct Body {
    lane: String,
    high: u64,
    low: u64,
    generation: u32,
    account: String,
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
        bytes.extend(postcard::to_allocvec(&body).unwrap_or_else(|_| unreachable!("it encodes")));
        bytes
    }

    /// Reads the body of a control record; `None` if a later version wrote it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<8>()?;
        let body: Body = postcard::from_bytes(rest).ok()?;
        let low = Position {
            offset: Offset(body.low),
            generation: body.generation,
            account: body.account,
        };
        let hint = Hint { low, high: Offset(body.high) };
        Some(Self { lane: body.lane, hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_log_and_names_the_claim_first() {
        let low = Position { offset: Offset(5), generation: 9, account: "1.2.3.4;".to_owned() };
        let hint = LaneHint { lane: "normal".to_owned(), hint: Hint { low, high: Offset(0x0102) } };
        for (durable, claim) in [(0x0103, [2, 1, 0]), (0x0101, [1, 1, 0])] {
            let bytes = hint.encode(Offset(durable));
            assert_eq!(bytes[..3], claim);
            assert_eq!(LaneHint::decode(&bytes), Some(hint.clone()));
        }
    }
}
