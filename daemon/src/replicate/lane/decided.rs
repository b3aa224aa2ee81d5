//! A lane that has halted goes on where an operator has decided.

use tributary_bridge::{Said, State};
use tributary_core::Offset;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::{Claim, Lane};
use crate::runtime::hint::{LaneHint, Overruled};

impl<M: ReadMedia + Clone> Lane<M> {
    /// The decision stands in the log, as this hint.
    pub fn handle_decided(&mut self, now: Instant, hint: Option<LaneHint>) {
        let is_halted = matches!(self.replicator.status().state, State::Halted(_));
        let Some(hint) = hint.filter(|_| is_halted) else { return };
        self.claim = Claim::None;
        self.claimed = hint.hint.high;
        self.committed = hint.hint.low.clone();
        self.beginning.hint = Some(hint);
        self.replicator.handle_decided(now);
    }

    /// What was decided, as far as the log knows.
    pub(super) fn overruled(&self) -> Option<Said> {
        Some(match self.beginning.hint.as_ref()?.overruled.clone()? {
            Overruled::Nothing => Said::Nothing,
            Overruled::Position(offset, metadata) => Said::Position(Offset(offset), metadata),
            Overruled::Unstable => Said::Unstable,
        })
    }
}
