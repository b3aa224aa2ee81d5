//! What a lane does about records that Kafka will never take: they become dead letters, durable
//! before the transaction that leaves them out can end.

use std::collections::BTreeSet;

use tributary_bridge::Undeliverable;
use tributary_core::log::ReadMedia;
use tributary_core::time::Instant;

use super::{Effect, Lane};
use crate::replicate::account::Account;
use crate::replicate::feed::{GAP_ROUTE, Present};
use crate::replicate::letter::Letter;

/// Dead letters to be kept.
#[derive(Clone, Debug, Default)]
pub struct Burial {
    /// Each is to be kept once: one that is there already was kept before a crash.
    pub letters: Vec<Letter>,
}

/// What is counted when the letters are durable: each by the number of its route.
#[derive(Debug, Default)]
pub(super) struct Mourning {
    kept: Vec<u32>,
    lost: Vec<u32>,
}

impl<M: ReadMedia + Clone> Lane<M> {
    /// Has letters made of the events behind refused records. An event that is gone meanwhile is
    /// lost.
    pub(super) fn bury(&mut self, refused: &[Undeliverable], present: &Present) {
        let (Some(feed), Some(handed)) = (&mut self.feed, &self.ahead.handed) else { return };
        let Some(table) = &handed.table else { return };
        let of_events = refused.iter().filter(|one| one.route != GAP_ROUTE).cloned();
        let refused: &[Undeliverable] = &of_events.collect::<Vec<_>>();
        let letters = feed.letters(self.beginning.settings.log_id, (refused, table), present);
        let found: BTreeSet<_> = letters.iter().map(|(route, l)| (l.key.0, *route)).collect();
        let (kept, lost): (Vec<_>, Vec<_>) =
            refused.iter().partition(|one| found.contains(&(one.offset, one.route)));
        let routes = |all: Vec<&Undeliverable>| all.iter().map(|one| one.route).collect();
        self.mourning = Some(Mourning { kept: routes(kept), lost: routes(lost) });
        let letters = letters.into_iter().map(|(_, letter)| letter).collect();
        self.effects.push_back(Effect::Bury(Burial { letters }));
    }

    /// The letters are durable, or why they cannot be.
    pub fn handle_buried(&mut self, now: Instant, done: Result<(), String>) {
        let (Some(Mourning { kept, lost }), Some(handed)) =
            (self.mourning.take(), &mut self.ahead.handed)
        else {
            return;
        };
        let next = done.map(|()| {
            let mut account = Account::parse(&handed.position.account).unwrap_or_default();
            account.bury(&kept, &lost);
            handed.position.account = account.to_string();
            handed.position.clone()
        });
        if let Ok(position) = &next {
            // What was filled ahead, and all that follows, is counted on top of it.
            self.begin_at(position);
        }
        self.replicator.handle_buried(now, next);
    }
}
