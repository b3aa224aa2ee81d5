//! One turn of a connection at the desk.

use std::sync::Arc;

use tokio::sync::Notify;
use tributary_core::Offset;
use tributary_core::record::Event;

use super::Shared;
use crate::runtime::clock::Moment;
use crate::runtime::ingest::{Desk, NotTaken};
use crate::runtime::sessions::Change;

/// One turn of a connection: the desk is taken when it is needed first.
pub(in crate::runtime) struct Turn<'a> {
    pub(in crate::runtime) shared: &'a Shared,
    pub(in crate::runtime) moment: Moment,
    desk: Option<Desk<'a>>,
    /// Something was left that the connection waits for.
    waits: bool,
}

impl<'a> Turn<'a> {
    pub(super) const fn new(shared: &'a Shared, moment: Moment) -> Self {
        Self { shared, moment, desk: None, waits: false }
    }

    /// Gives the desk back for now.
    pub(super) fn leave_desk(&mut self) {
        self.desk = None;
    }

    /// The connection waits for what was left.
    pub(super) const fn wait(&mut self) {
        self.waits = true;
    }

    pub(super) fn desk(&mut self) -> &mut Desk<'a> {
        self.desk.get_or_insert_with(|| self.shared.ingest.desk())
    }

    pub(super) fn append(&mut self, event: &Event<'_>) -> Result<Offset, NotTaken> {
        let offset = self.desk().append(event)?;
        self.waits = true;
        if event.retain {
            let age = self.shared.age(self.moment);
            self.shared.hub.retain(event, (offset, age), self.shared.ingest.durable());
        }
        Ok(offset)
    }

    /// Leaves a change that the connection waits for.
    pub(in crate::runtime) fn change(&mut self, name: &str, change: &Change<'_>) -> u64 {
        self.waits = true;
        self.desk().change(name, change)
    }

    /// Leaves a change that nobody waits for.
    pub(in crate::runtime) fn change_some_time(&mut self, name: &str, change: &Change<'_>) {
        self.desk().change(name, change);
    }

    /// Gives back the desk. How much was left that somebody waits for.
    pub(super) fn end(self, wake: &Arc<Notify>) -> usize {
        let waits = self.waits;
        self.desk.map_or(0, |mut desk| {
            if waits {
                desk.wake(wake);
            }
            desk.leave().max(usize::from(waits))
        })
    }

    pub(super) fn end_and_commit(self, wake: &Arc<Notify>) {
        let shared = self.shared;
        if self.end(wake) > 0 {
            shared.ingest.wake();
        }
    }
}
