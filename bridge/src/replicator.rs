//! The replicator: one lane's sessions with a Kafka cluster, as a value.

use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::backoff::Backoff;
use crate::batch::{BatchBuilder, Chooser};
use crate::failure::Failure;
use crate::links::{Ask, Links};
use crate::output::{ConnId, Output};
use crate::position::Position;
use crate::reconcile::{Local, Said};
use crate::session::{Context, Memory, Session};
use crate::settings::Settings;
use crate::status::{State, Status};
use crate::talk::Talker;
use crate::transaction::{Pace, Patience, Transaction};
use crate::wire::{Address, Reply};

/// One lane's sessions with a Kafka cluster.
#[derive(Debug)]
pub struct Replicator {
    settings: Settings,
    status: Status,
    links: Links,
    session: Option<Session>,
    /// When the next session begins; `None` while there is one, and for good after a halt.
    next_session: Option<Instant>,
    /// Before this moment sessions fence, but ship nothing.
    rest: Instant,
    /// What the last session has left to the next.
    memory: Memory,
    pace: Pace,
    patience: Patience,
    chooser: Chooser,
    backoff: Backoff,
    /// Whether the last session ended because the cluster could not be reached.
    is_cut_off: bool,
}

impl Replicator {
    /// A replicator that begins its first session at once. `seed` spreads back-offs, no more.
    ///
    /// # Panics
    ///
    /// If there is no broker to ask first.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        assert!(!settings.bootstrap.is_empty(), "there must be a broker to ask first");
        let mut replicator = Self {
            status: Status::default(),
            links: Links::new(&settings),
            session: None,
            next_session: Some(now),
            rest: now,
            memory: Memory::default(),
            pace: Pace::new(&settings),
            patience: Patience::new(&settings),
            chooser: Chooser::new(settings.compression),
            backoff: Backoff::new(seed),
            is_cut_off: false,
            settings,
        };
        replicator.advance(now);
        replicator
    }

    /// The answer to [`Output::NeedLocal`], as of now.
    pub fn handle_local(&mut self, now: Instant, local: &Local) {
        self.with_session(now, |session, cx| session.handle_local(cx, local));
    }

    /// An interface or a route has come back. What waits or hangs because the cluster could not be
    /// reached is begun anew, at a moment that differs from gateway to gateway.
    pub fn handle_link_returned(&mut self, now: Instant) {
        if self.session.is_some() && self.links.is_stalled(now) {
            self.end_session(now, Failure::Unreachable("the link was away".to_owned()));
        }
        if self.is_cut_off && self.next_session.is_some() {
            let at = self.backoff.after_return(now);
            self.next_session = self.next_session.map(|next| next.min(at));
        }
        self.advance(now);
    }

    /// An empty batch that knows the topics and their partitions. Valid until the next
    /// [`Output::Resumed`].
    #[must_use]
    pub fn begin_batch(&mut self) -> BatchBuilder {
        let (limits, codec) = (self.pace.limits(), self.chooser.codec());
        match &mut self.session {
            Some(session) => session.begin_batch(limits, codec),
            None => BatchBuilder::new(Arc::default(), limits, codec),
        }
    }

    /// The records from the last position up to `next`, which is where the following batch begins.
    /// Only after [`Output::WantBatch`], once for each. Empty only if a push was answered
    /// [`crate::PushError::UnknownTopic`]; then `next` is not used. A batch that was not asked for
    /// is ignored: a new session resumes elsewhere.
    ///
    /// # Panics
    ///
    /// If the batch is empty without need, or `next` does not follow the last position.
    pub fn handle_batch(&mut self, now: Instant, batch: BatchBuilder, next: Position) {
        self.status.codec = self.chooser.codec();
        self.chooser.learn(batch.sample(), self.pace.rate());
        self.with_session(now, |session, cx| {
            session.handle_batch(cx, batch, next);
            Ok(())
        });
    }

    /// A hint that claims everything below `high` is durable. To lower a claim while idle, call
    /// this *before* the lower hint is appended, so that nothing is committed on the strength of
    /// the old one.
    pub fn handle_claimed(&mut self, now: Instant, high: Offset) {
        self.with_session(now, |session, cx| {
            session.handle_claimed(cx, high);
            Ok(())
        });
    }

    /// The answer to [`Output::Bury`]: the records are durable elsewhere, and `next` is the position
    /// of the transaction with an account of them; or why they cannot be kept, for people: then
    /// nothing is committed, and all of it is tried again later.
    ///
    /// # Panics
    ///
    /// If `next` has another offset than the position that was handed in.
    pub fn handle_buried(&mut self, now: Instant, kept: Result<Position, String>) {
        self.with_session(now, |session, _| {
            session.handle_buried(kept.map_err(Failure::Alarm)?);
            Ok(())
        });
    }

    /// After a halt an operator has decided: [`Local::overruled`] tells, and a session begins.
    pub fn handle_decided(&mut self, now: Instant) {
        if matches!(self.status.state, State::Halted(_)) {
            self.next_session = Some(now);
        }
        self.advance(now);
    }

    /// Whether no transaction is outstanding.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.transaction().is_none())
    }

    /// The condition, in words and numbers.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Closes every connection for good. A transaction that is open is aborted by the next
    /// session, of whatever process.
    pub fn stop(&mut self) {
        self.session = None;
        self.next_session = None;
        self.links.close_all();
        self.set_state(State::Offline);
    }

    /// Lets the session do something, and then all that follows from it.
    fn with_session(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> Result<(), Failure>,
    ) {
        let outcome = self.in_session(now, act);
        if let Some(Err(failure)) = outcome {
            self.end_session(now, failure);
        }
        self.advance(now);
    }

    fn in_session<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let session = self.session.as_mut()?;
        let measure = session.transaction().map(Transaction::measure);
        let committed = self.status.counters.transactions;
        let mut context = Context {
            now,
            links: &mut self.links,
            settings: &self.settings,
            counters: &mut self.status.counters,
        };
        let result = act(session, &mut context);
        if self.status.counters.transactions > committed {
            self.backoff.reset();
            (self.status.refused, self.status.refusals) = (None, 0);
            if let Some(measure) = measure {
                self.pace.committed(now, measure);
                self.patience.committed(now, measure.begun);
            }
        }
        Some(result)
    }

    /// The brokers of the settings take turns, then those that were seen.
    fn begin_session(&mut self, now: Instant) {
        self.next_session = None;
        let serial = self.status.counters.sessions + 1;
        self.status.counters.sessions = serial;
        let named = self.settings.bootstrap.iter();
        let named = named.map(|(host, port)| Address { host: host.clone(), port: *port });
        let mut brokers: Vec<Address> = named.collect();
        for seen in &self.memory.brokers {
            if !brokers.contains(seen) {
                brokers.push(seen.clone());
            }
        }
        let turn = usize::try_from((serial - 1) % brokers.len() as u64);
        let address = brokers.swap_remove(turn.expect("below the list's length"));
        let memory = core::mem::take(&mut self.memory);
        self.settings.transaction_timeout_ms = self.patience.transaction_ms();
        self.links.wait_for(self.patience.request_ms());
        let session = self.session.insert(Session::new(
            now,
            (serial, self.settings.delivery),
            address,
            memory,
        ));
        session.rest_until(self.rest);
        if self.status.said == Said::Unstable {
            session.expect_unstable();
        }
    }

    /// Drops everything of a session. What it had begun is settled by the next one.
    fn end_session(&mut self, now: Instant, failure: Failure) {
        let Some(session) = self.session.take() else {
            return;
        };
        let reached = session.transaction_version().is_some();
        let open = session.transaction().is_some();
        if let Some(transaction) = session.transaction()
            && matches!(failure, Failure::Ended(_))
        {
            self.pace.lost(transaction.is_divided());
            self.patience.lost(now, transaction);
        }
        let failure = match failure {
            // The next session asks for less.
            Failure::Refused(refusal) if session.is_too_patient() && self.patience.refused() => {
                Failure::Ended(refusal.to_string())
            }
            failure => failure,
        };
        self.status.said = session.said();
        self.memory = session.into_memory(&self.settings);
        self.links.close_all();
        let reason = failure.to_string();
        self.is_cut_off = matches!(failure, Failure::Unreachable(_) | Failure::Ended(_));
        let next = self.backoff.next(now, &failure);
        self.next_session = Some(next);
        if open && matches!(failure, Failure::Refused(_)) {
            // Whoever reads its partitions waits for its end: it is aborted before the long wait.
            self.rest = next;
            self.next_session = Some(now);
        }
        let until = next.max(self.rest);
        let state = match failure {
            Failure::Unreachable(_) if !reached => State::Offline,
            Failure::Halt(halt) => {
                self.next_session = None;
                State::Halted(halt)
            }
            Failure::Fenced(_) => {
                self.status.counters.fenced += 1;
                State::BackingOff { until, reason: reason.clone() }
            }
            Failure::Refused(refusal) | Failure::Unauthenticated(refusal) => {
                self.status.note_refusal(refusal);
                State::BackingOff { until, reason: reason.clone() }
            }
            Failure::Unreachable(_) | Failure::Ended(_) | Failure::Alarm(_) => {
                State::BackingOff { until, reason: reason.clone() }
            }
        };
        self.status.last_error = Some(reason);
        self.set_state(state);
    }

    /// Whether the last session did not find a broker.
    fn is_unreachable(&self) -> bool {
        self.status.state == State::Offline && self.status.last_error.is_some()
    }

    fn set_state(&mut self, state: State) {
        if self.status.state != state {
            self.status.state = state;
            self.links.outputs.push_back(Output::Changed);
        }
    }
}

impl Talker for Replicator {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }

    fn handle_reply(
        &mut self,
        now: Instant,
        conn: ConnId,
        answered: (Ask, Reply),
    ) -> Result<(), Failure> {
        let handled = self.in_session(now, |session, cx| session.handle_reply(cx, conn, answered));
        handled.unwrap_or(Ok(()))?;
        self.advance(now);
        Ok(())
    }

    fn wake(&mut self, now: Instant) -> Result<(), Failure> {
        let woken = self.in_session(now, |session, cx| session.handle_timeout(cx.now));
        woken.unwrap_or(Ok(()))
    }

    fn own_timeout(&self) -> Option<Instant> {
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        [self.next_session, session].into_iter().flatten().min()
    }

    fn fail(&mut self, now: Instant, failure: Failure) {
        self.end_session(now, failure);
    }

    /// Begins a session if it is time, and lets it send what can be sent.
    fn advance(&mut self, now: Instant) {
        if self.next_session.is_some_and(|at| at <= now) {
            self.begin_session(now);
        }
        if let Some(Err(failure)) = self.in_session(now, Session::advance) {
            self.end_session(now, failure);
        }
        self.status.counters.bytes_sent = self.links.bytes_sent;
        self.status.counters.throttled_ms = self.links.throttled_ms;
        if let Some(session) = &self.session {
            let version = session.transaction_version();
            self.status.transaction_version = version.or(self.status.transaction_version);
            let state = match session {
                session if session.is_live() => State::Live,
                // Every further try would be two changes.
                _ if version.is_none() && self.is_unreachable() => State::Offline,
                _ if now < self.rest => {
                    let reason = self.status.last_error.clone().unwrap_or_default();
                    State::BackingOff { until: self.rest, reason }
                }
                _ if version.is_some() => State::Starting,
                _ => State::Connecting,
            };
            self.set_state(state);
        }
    }
}
