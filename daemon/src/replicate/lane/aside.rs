//! How a lane goes on without a topic that Kafka refuses, and how one that took it sends it home.

use tributary_bridge::State;
use tributary_core::log::ReadMedia;

use super::{Effect, Lane};
use crate::replicate::aside::{Aside, Detour, Wish};
use crate::replicate::feed::{Feed, Present};
use crate::replicate::table::Table;

/// How often in a row a topic is refused before its lane goes on without it.
const REFUSALS_MAX: u32 = 3;

/// What a lane knows of topics that are other lanes'.
#[derive(Debug, Default)]
pub(super) struct Detours {
    pub(super) asides: Vec<Aside>,
    /// The lane has nothing else than what is refused.
    is_alone: bool,
    /// What was asked for and is not answered yet.
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Leave,
    Return,
}

impl Detours {
    /// Whether nothing is to be shipped before the answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.asked == Some(Asked::Leave)
    }
}

impl<M: ReadMedia + Clone> Lane<M> {
    /// The routing table in force at the end of the log. To be told before [`Lane::work`].
    pub fn follow(&mut self, table: &Table) {
        let refused = self.replicator.status().refused.as_ref();
        let topic = refused.and_then(|refused| refused.topic.as_deref());
        let alone = topic.is_none_or(|topic| !table.has_others(topic, self.beginning.lane));
        self.detours.is_alone = alone;
        if self.detours.asides != table.asides {
            self.detours.asides.clone_from(&table.asides);
            if let Some(feed) = &mut self.feed {
                feed.follow(&table.asides);
            }
        }
    }

    /// A session has begun, and nothing is under way: if a topic was refused again and again, the
    /// lane asks to go on without it.
    pub(super) fn ask_to_leave(&mut self) {
        let status = self.replicator.status();
        let refused = status.refused.as_ref().filter(|_| status.refusals >= REFUSALS_MAX);
        let (Some(topic), Some(feed)) = (refused.and_then(|it| it.topic.clone()), &self.feed)
        else {
            return;
        };
        let is_of_gaps = Some(&topic) == self.beginning.gaps.as_ref();
        if self.beginning.lane.is_aside() || self.detours.is_alone || is_of_gaps {
            return;
        }
        self.detours.asked = Some(Asked::Leave);
        let wish = Wish { topic, home: self.beginning.lane, position: feed.position() };
        self.effects.push_back(Effect::Detour(Detour::Leave(wish)));
    }

    /// A lane that took what others went on without, and has come to the end, sends it home.
    pub(super) fn ask_to_return(&mut self, present: &Present) {
        let lane = self.beginning.lane;
        let is_at_end = |feed: &Feed<M>| {
            feed.next_offset() == present.end.offset && feed.account().0.backfill.is_none()
        };
        let is_due = self.detours.asked.is_none()
            && self.stopping.is_none()
            && !self.outstanding
            && self.replicator.status().state == State::Live
            && self.feed.as_ref().is_some_and(is_at_end)
            && self.detours.asides.iter().any(|it| it.lane == lane && it.until.is_none());
        if is_due {
            self.detours.asked = Some(Asked::Return);
            self.effects.push_back(Effect::Detour(Detour::Return(lane)));
        }
    }

    /// What was asked for is in force; or it cannot be, and is asked for again some time.
    pub fn handle_detour(&mut self) {
        self.detours.asked = None;
    }
}
