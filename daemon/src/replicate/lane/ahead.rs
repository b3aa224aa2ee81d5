//! Filling the next transaction while one is under way: neither the processor nor the link waits for the other.
//!
//! Only on a backlog, on a link that takes its time, and where no budget and no other lane has a say. What is live waits
//! for the end of the transaction instead, and takes all that has come till then; and beside a broker that answers at
//! once a second transaction in memory gains nothing (`tests/bench-link alone`). The fold is then ahead of what was
//! handed in; where it has to be there again, it is made anew from there.

use std::sync::Arc;

use tributary_bridge::{BatchBuilder, Position};
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::{Beginning, Lane};
use crate::replicate::feed::{Feed, Filled, Present};
use crate::replicate::mapping::Origin;
use crate::replicate::table::Table;

/// Chunks that are read before answers of brokers are looked at.
const CHUNKS: usize = 1;

/// Behind a transaction of less than this part of the largest one the next is filled when it has ended: that takes no
/// time, and how much the link carries is known by then.
const WORTH: usize = 2;
/// A transaction that took so long was held up by the link.
const WORTH_MS: u64 = 500;

/// How the batch stands to the transaction before it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// A batch can be handed in.
    pub(super) is_wanted: bool,
    /// The batch was begun before that.
    is_begun: bool,
    /// Why nothing more can be filled into it.
    pub(super) held: Option<Filled>,
    /// What was handed in and is not known to be committed.
    pub(super) handed: Option<Handed>,
    /// How long the last transaction took.
    pub(super) took_ms: u64,
}

/// What was handed in.
#[derive(Debug)]
pub(super) struct Handed {
    /// The position behind it.
    pub(super) position: Position,
    /// The table under which its records were selected, all of them.
    pub(super) table: Option<Arc<Table>>,
}

impl<M: ReadMedia + Clone> Lane<M> {
    /// A batch can be handed in: the one that was filled ahead, if it has anything.
    pub(super) fn want_batch(&mut self) {
        self.ahead.is_wanted = true;
        if self.batch.as_ref().is_none_or(BatchBuilder::is_empty) {
            // One that knows what topics there are by now.
            (self.ahead.is_begun, self.ahead.held) = (false, None);
            self.batch = Some(self.replicator.begin_batch());
        }
    }

    pub(super) fn hand_in(&mut self, now: Instant, batch: BatchBuilder) {
        let Some(feed) = &self.feed else { return };
        let handed = Handed { position: feed.position(), table: feed.table() };
        let most = self.beginning.settings.batch.transaction_bytes;
        let is_full = self.saturated && batch.bytes() >= most / WORTH;
        let goes_on = is_full && self.ahead.took_ms >= WORTH_MS;
        self.replicator.handle_batch(now, batch, handed.position.clone());
        (self.ahead.is_wanted, self.ahead.handed) = (false, Some(handed));
        self.ahead.is_begun = goes_on;
        if goes_on {
            self.batch = Some(self.replicator.begin_batch());
        }
    }

    /// Fills a batch that is not wanted yet.
    pub(super) fn fill_ahead(&mut self, now: Instant, present: &Present) {
        let is_due = self.ahead.is_begun
            && self.ahead.held.is_none()
            && self.mourning.is_none()
            && self.stopping.is_none()
            && present.clock.trusted
            && present.traffic.is_free()
            && self.is_live();
        let (Some(feed), Some(batch), true) = (&mut self.feed, &mut self.batch, is_due) else {
            return;
        };
        if batch.is_empty() {
            self.filling_since = now;
        }
        batch.set_send_time(present.clock.wall);
        let filled = feed.fill(batch, (present, CHUNKS));
        self.more = filled == Filled::Halfway;
        if !matches!(filled, Filled::Halfway | Filled::All | Filled::Waits) {
            self.ahead.held = Some(filled);
        }
    }

    /// What was filled ahead is made anew if budgets, or other lanes, have a say by now.
    pub(super) fn give_up_ahead(&mut self, present: &Present) {
        if core::mem::take(&mut self.ahead.is_begun) && !present.traffic.is_free() {
            let position = self.committed.clone();
            self.begin_at(&position);
        }
    }

    /// The fold begins at a position, and with it a batch, if one is wanted.
    pub(super) fn begin_at(&mut self, position: &Position) {
        let Beginning { settings, generation, lane, gaps, .. } = &self.beginning;
        let origin = Origin::new(&settings.gateway, settings.log_id, gaps.clone());
        let from = (position, &*self.detours.asides);
        self.feed = Some(Feed::new((origin, *lane), *generation, self.log.clone(), from));
        (self.ahead.is_begun, self.ahead.held) = (false, None);
        self.outstanding = self.ahead.handed.is_some();
        self.batch = self.ahead.is_wanted.then(|| self.replicator.begin_batch());
    }
}
