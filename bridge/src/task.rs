//! One request that has to be answered well once, and is sent again while the answers ask for it.

use tributary_core::time::Instant;

/// Where a request stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    step: Step,
    /// Answers that asked for another try since it was last done or begun anew.
    tries: u32,
    /// When the first of them came.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Due,
    Pausing(Instant),
    Asked,
    Done,
}

/// How long to wait before another try: doubling from `first_ms` to `max_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    first_ms: u64,
    max_ms: u64,
}

/// After 51, the everyday answer between two transactions.
pub(crate) const BUSY: Pause = Pause { first_ms: 5, max_ms: 100 };
/// After 88, which lasts until markers are written.
pub(crate) const UNSTABLE: Pause = Pause { first_ms: 5, max_ms: 500 };
/// While leaders and coordinators move.
pub(crate) const MOVING: Pause = Pause { first_ms: 50, max_ms: 1000 };
/// While a topic that is to be read is not there.
pub(crate) const MISSING: Pause = Pause { first_ms: 1_000, max_ms: 30_000 };

impl Pause {
    /// When to try again for the `tries`th time (from 0).
    pub(crate) fn end(self, now: Instant, tries: u32) -> Instant {
        let doubled = self.first_ms.saturating_mul(1 << tries.min(16));
        now.plus_ms(doubled.min(self.max_ms))
    }
}

impl Task {
    /// Nothing to do before [`Self::restart`].
    pub(crate) const DONE: Self = Self { step: Step::Done, tries: 0, since: None };

    /// To be sent for the first time at this moment.
    pub(crate) fn due_at(at: Instant) -> Self {
        Self { step: Step::Pausing(at), ..Self::default() }
    }

    /// Ends a pause whose time has come: from then on it is no deadline any more, even if what the
    /// request needs is not there yet.
    pub(crate) fn wake(&mut self, now: Instant) {
        if matches!(self.step, Step::Pausing(until) if until <= now) {
            self.step = Step::Due;
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.step == Step::Due
    }

    /// Whether it was sent before, and is to be sent again.
    pub(crate) fn is_retried(&self) -> bool {
        self.tries > 0
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    pub(crate) fn asked(&mut self) {
        self.step = Step::Asked;
    }

    pub(crate) fn done(&mut self) {
        *self = Self::DONE;
    }

    /// To be sent as soon as possible, unless that is under way already.
    pub(crate) fn restart(&mut self) {
        if self.is_done() {
            *self = Self::default();
        }
    }

    /// To be sent again after a pause. Answers for how long the answers have been asking for it.
    pub(crate) fn again(&mut self, now: Instant, pause: Pause) -> u64 {
        self.step = Step::Pausing(pause.end(now, self.tries));
        self.tries = self.tries.saturating_add(1);
        now.ms_since(*self.since.get_or_insert(now))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.step {
            Step::Pausing(until) => Some(until),
            Step::Due | Step::Asked | Step::Done => None,
        }
    }
}
