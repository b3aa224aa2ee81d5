//! Verifies passwords: a few threads of low priority, one hash at a time each, and a bounded queue. So
//! a storm of reconnects takes the memory of a few hashes, and leaves the processor to who is inside.
//!
//! A client that is verified once is known (`Door::is_known`) and does not come here again.

use core::net::IpAddr;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, Once, Weak};

use tributary_core::time::Instant;

use super::Door;
use super::admission::{Outcome, Ticket};
use super::credential::{self, Hash};
use crate::io::{clock, files, threads};
use crate::sync::lock;

/// Logins that wait; more are told that the server is busy, and come again.
const WAITING_MAX: usize = 10_000;
/// A login that has waited longer is told that the server is busy: its connection is about to end.
const WAIT_MS_MAX: u64 = 8_000;
/// Hashes at the same time: of seven megabytes each.
const THREADS_MAX: usize = 2;

/// A password to verify.
pub(super) struct Job {
    pub(super) ticket: Weak<Ticket>,
    pub(super) door: Arc<Door>,
    pub(super) address: IpAddr,
    /// `None`: there is no such user.
    pub(super) hash: Option<Arc<str>>,
    pub(super) since: Instant,
}

/// The threads and their queue, for all doors.
pub struct Verifier {
    queue: Mutex<VecDeque<Job>>,
    more: Condvar,
    started: Once,
}

impl Verifier {
    /// Without threads until the first password.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), more: Condvar::new(), started: Once::new() })
    }

    /// Whether there was room for it.
    pub(super) fn take(self: &Arc<Self>, job: Job) -> bool {
        self.started.call_once(|| self.start());
        let mut queue = lock(&self.queue);
        if queue.len() >= WAITING_MAX {
            return false;
        }
        queue.push_back(job);
        drop(queue);
        self.more.notify_one();
        true
    }

    fn start(self: &Arc<Self>) {
        let threads = threads::processors().div_ceil(2).clamp(1, THREADS_MAX);
        for _ in 0..threads {
            let verifier = Arc::clone(self);
            if let Err(error) = threads::spawn("passwords", move || verifier.run()) {
                tracing::error!(%error, "no thread for verifying passwords");
            }
        }
    }

    fn run(&self) {
        threads::yield_to_others();
        loop {
            let job = self.next();
            let is_quiet = lock(&self.queue).is_empty();
            job.work();
            job.door.write_dated(is_quiet);
        }
    }

    fn next(&self) -> Job {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.pop_front() {
                return job;
            }
            queue = self.more.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl Job {
    fn work(&self) {
        // Nobody waits any more.
        let Some(ticket) = self.ticket.upgrade() else { return };
        let now = clock::now();
        if now.ms_since(self.since) > WAIT_MS_MAX {
            return ticket.settle(Outcome::Busy);
        }
        let Ticket { user, password, tag, .. } = &*ticket;
        // Meanwhile another connection of the same device was verified.
        if self.door.is_known(user, tag) {
            return ticket.settle(Outcome::Good);
        }
        // Or others have guessed wrong, who came at the same time.
        if !self.door.may_try(now, self.address, user) {
            return ticket.settle(Outcome::TooOften);
        }
        let hash = self.hash.as_deref().and_then(|text| Hash::parse(text).ok());
        let is_good = if let Some(hash) = &hash {
            hash.verify(password)
        } else {
            credential::verify_nothing(password);
            false
        };
        let (true, Some(text)) = (is_good, &self.hash) else {
            self.door.note_bad(clock::now(), self.address, user);
            return ticket.settle(Outcome::Bad);
        };
        if !self.door.note_good(self.address, user, *tag, text) {
            // The password has changed meanwhile: the client comes again.
            return ticket.settle(Outcome::Busy);
        }
        ticket.settle(Outcome::Good);
        if hash.is_some_and(|hash| hash.is_dated()) {
            self.replace(&ticket, text);
        }
    }

    fn replace(&self, ticket: &Ticket, old: &Arc<str>) {
        match files::random() {
            Ok(salt) => {
                let new = credential::hash(&ticket.password, &salt);
                self.door.note_dated(&ticket.user, Arc::clone(old), new.into());
            }
            Err(error) => tracing::warn!(%error, "no salt for a stronger hash"),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::door::tests::{door, listener};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn guesses_that_came_at_once_are_held_up_like_others() {
        let door = door(&listener(), (Some(""), None));
        let guess = || {
            let tag = door.tag("ann", b"guess");
            let ticket = Ticket::new(("ann", b"guess"), tag, &Arc::default());
            let (door, since) = (Arc::clone(&door), clock::now());
            Job { ticket: Arc::downgrade(&ticket), door, address: HERE, hash: None, since }.work();
            ticket.outcome()
        };
        for expected in [Outcome::Bad, Outcome::Bad, Outcome::Bad, Outcome::TooOften] {
            assert_eq!(guess(), Some(expected));
        }
    }
}
