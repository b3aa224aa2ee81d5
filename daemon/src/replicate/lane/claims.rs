//! What a lane leaves in the log about its position, and what it makes of it when it begins.

use tributary_bridge::{Delivery, Hint, Local, Position};
use tributary_core::Offset;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::{Effect, IDLE_MS, Lane};
use crate::replicate::feed::{Feed, Present};
use crate::runtime::hint::{LaneHint, Reached};

/// A lane that found nothing to ship notes how far it is after so many events.
const REACHED_STRIDE: u64 = 65_536;

/// Why a lane ships nothing more.
const LOG_FAILED: &str = "the log cannot be written: nothing can be claimed";

/// A hint that is being written.
#[derive(Debug)]
pub(super) enum Claim {
    /// None is.
    None,
    /// This one.
    Awaited(LaneHint),
    /// None ever will be: the log has failed, or is closed.
    Impossible,
}

impl Claim {
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }
}

impl<M: ReadMedia + Clone> Lane<M> {
    /// The hint under way is durable, or can never be: then nothing more can be claimed, and the
    /// lane stands still.
    pub fn handle_claimed(&mut self, now: Instant, is_durable: bool) {
        match core::mem::replace(&mut self.claim, Claim::None) {
            Claim::Awaited(hint) if is_durable => {
                self.claimed = hint.hint.high;
                self.replicator.handle_claimed(now, hint.hint.high);
                self.beginning.hint = Some(hint);
            }
            Claim::Awaited(_) => {
                self.claim = Claim::Impossible;
                // It stands as it is in the log, even if it was to be lowered.
                self.replicator.handle_claimed(now, self.claimed);
            }
            claim => self.claim = claim,
        }
    }

    /// Claims all that is durable, so that shipping a backlog claims once.
    pub(super) fn claim(&mut self, offset: Offset, present: &Present) {
        if !matches!(self.claim, Claim::Impossible) {
            let reached = self.reached_noted(present);
            self.write_hint((present.end.offset.max(offset), reached), present);
        }
    }

    /// Whether what is handed in now is claimed, or can be. Else it would be sent, never committed, and sent again.
    pub(super) fn may_claim(&mut self, present: &Present) -> bool {
        let is_covered = present.end.offset <= self.claimed;
        let may_be = is_covered || !matches!(self.claim, Claim::Impossible);
        if !may_be {
            self.stuck = Some(LOG_FAILED.to_owned());
        }
        may_be
    }

    /// What the log knows, as of now.
    pub(super) fn local(&self, present: &Present) -> Local {
        Local {
            generation: self.beginning.generation,
            generations: self.beginning.generations.clone(),
            hint: self.beginning.hint.as_ref().map(|lane| lane.hint.clone()),
            overruled: self.overruled(),
            log_is_empty: present.end.offset == Offset(0),
            oldest: present.oldest,
            end: present.end.offset,
        }
    }

    /// Where to go on reading from a position behind which nothing was selected for a while.
    pub(super) fn reached(&self, position: &Position, present: &Present) -> Option<Position> {
        let LaneHint { hint, reached, .. } = self.beginning.hint.as_ref()?;
        let same = hint.low.offset == position.offset && hint.low.account == position.account;
        let Reached { offset, account } = reached.clone().filter(|_| same)?;
        let valid = (position.offset..=present.end.offset).contains(&Offset(offset));
        valid.then_some(Position { offset: Offset(offset), account, ..position.clone() })
    }

    /// The same, as a hint notes it: it holds for as long as Kafka has this position.
    pub(super) fn reached_noted(&self, present: &Present) -> Option<Reached> {
        let reached = self.reached(&self.committed, present)?;
        Some(Reached { offset: reached.offset.0, account: reached.account })
    }

    /// A session that begins takes back what was claimed: its predecessor is fenced and the position does not move any
    /// more, so nothing behind that is in doubt. Whatever comes of the session, a long outage behind it leaves only
    /// what it has claimed itself.
    ///
    /// Where only at least once is promised nobody is fenced.
    pub(super) fn give_back(&mut self, now: Instant, present: &Present) {
        let low = self.committed.offset;
        let under_way = match &self.claim {
            Claim::Awaited(claim) => claim.hint.high,
            Claim::None => low,
            Claim::Impossible => return,
        };
        let is_fenced = self.beginning.settings.delivery == Delivery::ExactlyOnce;
        if is_fenced && self.claimed.max(under_way) > low {
            self.replicator.handle_claimed(now, low);
            let reached = self.reached_noted(present);
            self.write_hint((low, reached), present);
        }
    }

    /// An idle lane takes its claim back: after an outage of weeks, in which Kafka may forget the
    /// position, nothing is in doubt.
    ///
    /// Only in a session: one that has ended may have left a transaction whose end nobody knows.
    /// It also notes how far it has judged, when it has come far without finding anything.
    pub(super) fn release_claim(&mut self, now: Instant, present: &Present) {
        let rested = self.stopping.is_some() || now.ms_since(self.idle_since) >= IDLE_MS;
        let idle = self.is_live() && self.replicator.is_idle() && matches!(self.claim, Claim::None);
        if !(rested && idle) {
            return;
        }
        let low = self.beginning.hint.as_ref().map(|lane| lane.hint.low.offset);
        let release = self.claimed > self.committed.offset || low < Some(self.committed.offset);
        let reached = self.feed.as_ref().filter(|_| !self.outstanding).map(Feed::position);
        let reached = reached.filter(|reached| reached.offset > self.committed.offset);
        let noted = self.beginning.hint.as_ref().map_or(Offset(0), LaneHint::settled);
        let far = reached
            .as_ref()
            .is_some_and(|to| to.offset.0 - noted.0.min(to.offset.0) >= REACHED_STRIDE);
        if release || far {
            let low = self.committed.offset;
            self.replicator.handle_claimed(now, low);
            let reached = reached.map(|to| Reached { offset: to.offset.0, account: to.account });
            self.write_hint((low, reached), present);
        }
    }

    pub(super) fn write_hint(
        &mut self,
        (high, reached): (Offset, Option<Reached>),
        present: &Present,
    ) {
        let hint = Hint { low: self.committed.clone(), high };
        let lane = self.beginning.settings.lane.clone();
        let spent = present.traffic.spent;
        let hint = LaneHint { lane, hint, reached, spent, overruled: None };
        let body = hint.encode(present.end.offset);
        self.claim = Claim::Awaited(hint);
        self.effects.push_back(Effect::WriteHint(body));
    }
}
