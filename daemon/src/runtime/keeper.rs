//! Looks after what is due at some time: wills, the ends of sessions and of retained messages, how far sessions
//! have come, and what the daemon tells of itself under `$SYS`.

use std::sync::Arc;

use core::time::Duration;

use tributary_core::record::Event;
use tributary_core::time::Age;

use super::clock::Moment;
use super::dialogue::Shared;
use super::hub::DueWill;
use super::ingest::{Closed, Desk, NotTaken};
use super::sessions::Change;
use super::system::{self, System};
use crate::io::clock::moment;
use crate::sync::lock;

/// How often the log is told how far the sessions have come, in milliseconds.
const PROGRESS_EVERY_MS: u64 = 1_000;
/// The log is told of a session that got nothing, too, when it has moved on by so many events.
const STALE_EVENTS: u64 = 100_000;

/// What is due.
pub struct Keeper {
    shared: Arc<Shared>,
    progress_at: Age,
    system: System,
    system_at: Age,
}

impl Keeper {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, moment: Moment) -> Self {
        let system = System::new(&shared, moment);
        Self { shared, progress_at: Age(0), system, system_at: Age(0) }
    }

    /// Does what is due. Milliseconds until there may be more, or `None` if there is room to wait
    /// for first.
    pub fn turn(&mut self, moment: Moment) -> Option<u64> {
        let age = self.shared.age(moment);
        let Shared { ingest, hub, .. } = &*self.shared;
        if !settle_due(&self.shared, moment, &mut ingest.desk()) {
            return None;
        }
        if age >= self.progress_at {
            self.progress_at = Age(age.0 + PROGRESS_EVERY_MS);
            let anchor = lock(&self.shared.clocks).anchor();
            hub.forget_over(age, &anchor);
            let mut desk = ingest.desk();
            // In a full log it would only wait, once for each second.
            if !desk.is_full() {
                hub.note_progress(&mut desk, STALE_EVENTS);
            }
        }
        if age >= self.system_at {
            self.system_at = Age(age.0 + system::EVERY_MS);
            self.system.announce(&self.shared, moment);
        }
        let due = hub.next_due().map_or(u64::MAX, |due| due.0.saturating_sub(age.0));
        Some(due.min(self.progress_at.0 - age.0))
    }
}

/// Ends the sessions whose time is over and leaves the wills that are due for the log, with the
/// changes that say so: in one commit, and before the client comes again. Whether there was room.
pub(super) fn settle_due(shared: &Shared, moment: Moment, desk: &mut Desk<'_>) -> bool {
    let hub = &shared.hub;
    let late = lock(&shared.clocks).late_outage();
    if let Some(outage) = late {
        hub.count_time_off(&outage);
    }
    hub.handle_due(shared.age(moment), desk);
    while let Some(due) = hub.take_will() {
        if !publish(shared, moment, (&due, false), desk) {
            hub.put_will_back(due);
            return false;
        }
    }
    true
}

/// Leaves the wills of a client that comes again for the log, room or not: what it begins now would have the log
/// forget them, so they wait in front of that.
pub(super) fn settle_wills_of(shared: &Shared, moment: Moment, name: &str, desk: &mut Desk<'_>) {
    while let Some(due) = shared.hub.take_will_of(name) {
        publish(shared, moment, (&due, true), desk);
    }
}

/// Leaves a will for the log. Whether there was room. A log that has failed has none, and one that is closed for the
/// end of the daemon still knows it at the next start. A will for which there is no room among what is retained is not
/// kept: nobody is there to be told.
fn publish(
    shared: &Shared,
    moment: Moment,
    (due, is_before_change): (&DueWill, bool),
    desk: &mut Desk<'_>,
) -> bool {
    let Shared { ingest, hub, .. } = shared;
    let event = due.will.event(&due.client, moment.wall);
    let is_kept = event.retain && shared.has_room_for(&event, moment);
    let left = Event { retain: is_kept, ..event };
    let left =
        if is_before_change { Ok(desk.append_before_change(&left)) } else { desk.append(&left) };
    match left {
        Err(NotTaken::Busy | NotTaken::Closed(Closed::Full | Closed::Stopping)) => false,
        Err(NotTaken::Closed(closed)) => {
            tracing::error!(client = &*due.client, ?closed, "a will is lost");
            true
        }
        Ok(offset) => {
            let over = if hub.goes_on(due) { Change::WillPublished } else { Change::Ended };
            desk.change(&due.client, &over);
            if is_kept {
                hub.retain(&event, (offset, shared.age(moment)), ingest.durable());
            } else if event.retain {
                hub.note_unretained(moment.now, &event);
            }
            true
        }
    }
}

/// Runs for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut keeper = Keeper::new(Arc::clone(&shared), moment());
    loop {
        let space = shared.ingest.space();
        match keeper.turn(moment()) {
            None => space.await,
            Some(ms) => {
                let pause = tokio::time::sleep(Duration::from_millis(ms.max(1)));
                tokio::select! {
                    () = pause => {}
                    () = shared.hub.timers_changed() => {}
                }
            }
        }
    }
}
