//! What becomes of records that Kafka will never take: they are kept elsewhere, durably, before the
//! transaction that leaves them out can end.

use super::Transaction;
use super::chain::{Chain, Lesson};
use crate::output::Output;
use crate::position::Position;
use crate::session::Context;

/// How far it is with the records that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burial {
    /// None is, so far.
    None,
    /// Their keeping was asked for.
    Asked,
    /// They are durable elsewhere.
    Done,
}

impl Transaction {
    /// What was left out is durable elsewhere; `next` accounts for it, and is committed in the place
    /// of the position that was handed in.
    pub(crate) fn handle_buried(&mut self, next: Position) {
        if self.burial == Burial::Asked {
            assert_eq!(next.offset, self.next.offset, "a burial changes the account alone");
            self.burial = Burial::Done;
            self.next = next;
            // Kafka commits the last position that a transaction brought.
            self.commit.restart();
        }
    }

    /// Whether refused batches were divided.
    pub(crate) fn is_divided(&self) -> bool {
        self.chains.iter().any(|chain| chain.wary > 0 || !chain.left_out.is_empty())
    }

    /// Whether every record is in Kafka or kept elsewhere; asks for the keeping.
    pub(super) fn is_nothing_unburied(&mut self, cx: &mut Context<'_>) -> bool {
        if self.burial == Burial::None && self.left_out() > 0 {
            let refused = self.chains.iter().flat_map(|chain| &chain.left_out);
            let left_out = self.unsent.iter().chain(refused).cloned().collect();
            cx.links.outputs.push_back(Output::Bury(left_out));
            self.burial = Burial::Asked;
        }
        self.burial != Burial::Asked
    }

    /// What it has taught of its topics.
    pub(crate) fn into_lessons(self) -> Vec<Lesson> {
        self.chains.into_iter().map(Chain::into_lesson).collect()
    }

    /// How many records were left out.
    pub(super) fn left_out(&self) -> usize {
        self.unsent.len() + self.chains.iter().map(|chain| chain.left_out.len()).sum::<usize>()
    }
}
