//! Whether a commit had better wait a moment for more.
//!
//! Clients that wait for each PUBACK publish again as soon as they have it. A commit that begins
//! with the first of them leaves the others to the next one: two groups form and take turns, and
//! each event waits for two syncs. So the next commit waits until as many have come as were there
//! before, but not for long, and not again for a while after they have not come (as `PostgreSQL`'s
//! `commit_delay` and `commit_siblings`, with the numbers measured instead of configured).

/// The longest wait in microseconds, on any disk.
const WAIT_US_MAX: u64 = 1_000;
/// And this part of what a commit takes.
const WAIT_DIVISOR: u64 = 2;
/// Clients that leave more events at once do not wait for each PUBACK.
const EVENTS_PER_WAITER_MAX: usize = 2;
/// Commits without a wait after one in vain: doubled each time, up to this.
const PAUSE_MAX: u32 = 256;

/// What the last commits say of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gathering {
    /// Connections that were told of the last commit, or waited for the next one by then.
    expected: usize,
    wait_us: u64,
    /// Commits that still go without a wait, and how many the last time.
    pause: u32,
    pause_length: u32,
}

impl Gathering {
    /// A commit of so many events took so long; `told` connections waited for it, and `waiting`
    /// wait for the next one.
    pub(super) fn note_commit(&mut self, events: usize, (told, waiting): (usize, usize), us: u64) {
        let each = events <= told.saturating_mul(EVENTS_PER_WAITER_MAX);
        self.expected = if each { told + waiting } else { usize::MAX };
        self.wait_us = (us / WAIT_DIVISOR).min(WAIT_US_MAX);
    }

    /// How many connections are expected to wait for the next commit.
    pub(super) const fn expected(&self) -> usize {
        self.expected
    }

    /// How many connections to wait for before the next commit, and how long in microseconds.
    pub(super) const fn wanted(&mut self) -> Option<(usize, u64)> {
        if self.expected <= 1 || self.expected == usize::MAX {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        Some((self.expected, self.wait_us))
    }

    /// Whether those came.
    pub(super) fn note_waited(&mut self, came: bool) {
        self.pause_length = if came { 0 } else { (self.pause_length * 2 + 1).min(PAUSE_MAX) };
        self.pause = self.pause_length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_that_take_turns_become_one() {
        let mut gathering = Gathering::default();
        gathering.note_commit(5, (5, 5), 100);
        assert_eq!(gathering.wanted(), Some((10, 50)));
        gathering.note_waited(true);
        gathering.note_commit(10, (10, 0), 100);
        assert_eq!(gathering.wanted(), Some((10, 50)));
    }

    #[test]
    fn nobody_waits_for_who_does_not_come_or_is_alone() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.wanted(), None, "nothing is known yet");
        gathering.note_commit(3, (3, 1), 8_000);
        assert_eq!(gathering.wanted(), Some((4, WAIT_US_MAX)), "a slow card");
        for pause in [1, 3, 7] {
            gathering.note_waited(false);
            let skipped = (0..PAUSE_MAX).take_while(|_| gathering.wanted().is_none()).count();
            assert_eq!(skipped, pause, "commits");
        }
        gathering.note_commit(1, (1, 0), 100);
        assert_eq!(gathering.wanted(), None, "one client");
        gathering.note_commit(500, (50, 50), 100);
        assert_eq!(gathering.wanted(), None, "clients with a window");
    }
}
