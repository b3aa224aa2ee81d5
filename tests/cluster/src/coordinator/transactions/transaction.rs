//! What becomes of one transactional id: `TransactionMetadata` and its transitions.
//!
//! A transaction is `Ending` from the decision until its markers are written; meanwhile everything
//! about its id is answered 51. In version 2 the epoch grows with each transaction: the marker
//! carries the new one.
//!
//! Each change is a write to the coordinator's log. One that stems from a client of version 2
//! cannot be written while the cluster is at version 0: it is answered 35, and the change stays
//! pending, so that the id answers 51 until the coordinator is loaded anew.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::Instant;

use super::{Client, Ending, Participant, Producer, ProducerIds, TransactionSettings};
use crate::{Kafka, TransactionVersion};

/// One transactional id.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    /// Epoch -1: made just now, not given to a client yet.
    producer: Producer,
    /// The id before the last rotation, and the epoch before the last change (KIP-360).
    previous_id: i64,
    last_epoch: i16,
    /// What follows when the epochs are used up and the markers are written.
    next_id: Option<i64>,
    state: State,
    /// The version that the client spoke last.
    client: Client,
    timeout_ms: u64,
    started: Instant,
    updated: Instant,
    participants: BTreeSet<Participant>,
    /// A change is pending that can never be written.
    wedged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    Ending { commit: bool, due: Instant },
    Ended { commit: bool },
}

const NO_EPOCH: i16 = -1;
const NO_ID: i64 = -1;

impl Transaction {
    pub(super) const fn new(now: Instant, producer_id: i64) -> Self {
        Self {
            producer: Producer { id: producer_id, epoch: NO_EPOCH },
            previous_id: NO_ID,
            last_epoch: NO_EPOCH,
            next_id: None,
            state: State::Empty,
            client: Client::V0,
            timeout_ms: 0,
            started: now,
            updated: now,
            participants: BTreeSet::new(),
            wedged: false,
        }
    }

    pub(super) fn init(
        &mut self,
        now: Instant,
        (expected, timeout_ms): (Option<Producer>, u32),
        (settings, ids): (TransactionSettings, &mut ProducerIds),
    ) -> Result<Producer, Error> {
        if self.is_pending() {
            return Err(Error::ConcurrentTransactions);
        }
        self.check_expected(expected, settings.epoch_max)?;
        self.check_write(self.client, settings.kafka)?;
        if self.state == State::Ongoing {
            self.fence(now, settings);
            return Err(Error::ConcurrentTransactions);
        }
        self.next_session(expected, settings.epoch_max, ids)?;
        self.timeout_ms = u64::from(timeout_ms);
        self.state = State::Empty;
        self.updated = now;
        Ok(self.producer)
    }

    pub(super) fn add(
        &mut self,
        now: Instant,
        (producer, client, settings): (Producer, Client, TransactionSettings),
        participants: &BTreeSet<Participant>,
    ) -> Result<(), Error> {
        self.check_caller(producer, settings)?;
        let ongoing = self.state == State::Ongoing;
        if ongoing && participants.is_subset(&self.participants) {
            return Ok(());
        }
        self.check_write(client, settings.kafka)?;
        self.client = client;
        if !ongoing {
            self.state = State::Ongoing;
            self.started = now;
        }
        self.participants.extend(participants.iter().cloned());
        self.updated = now;
        Ok(())
    }

    pub(super) fn verify(
        &self,
        producer: Producer,
        settings: TransactionSettings,
        participant: &Participant,
    ) -> Result<(), Error> {
        self.check_caller(producer, settings)?;
        if self.participants.contains(participant) {
            Ok(())
        } else {
            Err(Error::TransactionAbortable)
        }
    }

    pub(super) fn end_v0(
        &mut self,
        now: Instant,
        producer: Producer,
        (commit, settings): (bool, TransactionSettings),
    ) -> Result<Producer, Error> {
        self.check_producer(producer, settings.epoch_max)?;
        if self.is_pending() {
            return Err(Error::ConcurrentTransactions);
        }
        match self.state {
            State::Ongoing => {
                self.client = Client::V0;
                self.decide(now, commit, settings);
                Ok(producer)
            }
            State::Ended { commit: ended } if ended == commit => Ok(producer),
            _ => Err(Error::InvalidTxnState),
        }
    }

    /// The next epoch belongs to the next transaction, so a repeated call is told by its old one.
    pub(super) fn end_v2(
        &mut self,
        now: Instant,
        producer: Producer,
        (commit, settings): (bool, TransactionSettings),
        ids: &mut ProducerIds,
    ) -> Result<Producer, Error> {
        if self.is_pending() {
            return Err(Error::ConcurrentTransactions);
        }
        let after_rotation = self.previous_id == producer.id
            && producer.epoch == settings.epoch_max - 1
            && self.producer.epoch == 0;
        let after_change = producer.epoch.checked_add(1) == Some(self.producer.epoch);
        let is_retry = after_rotation || (self.producer.id == producer.id && after_change);
        match self.state {
            State::Ended { commit: ended } if is_retry => {
                if ended == commit {
                    Ok(self.producer)
                } else {
                    Err(Error::InvalidTxnState)
                }
            }
            state => {
                self.check_producer(producer, settings.epoch_max)?;
                if commit && state != State::Ongoing {
                    return Err(Error::InvalidTxnState);
                }
                self.check_write(Client::V2, settings.kafka)?;
                self.client = Client::V2;
                self.next_id = self.is_exhausted(settings.epoch_max).then(|| ids.take());
                self.last_epoch = self.producer.epoch;
                self.producer.epoch += 1;
                self.decide(now, commit, settings);
                Ok(self.next_id.map_or(self.producer, |id| Producer { id, epoch: 0 }))
            }
        }
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Ending> {
        let State::Ending { commit, due } = self.state else { return None };
        if due > now {
            return None;
        }
        let participants = core::mem::take(&mut self.participants);
        let ending = Ending { producer: self.producer, commit, participants };
        self.state = State::Ended { commit };
        if let Some(id) = self.next_id.take() {
            self.previous_id = self.producer.id;
            self.producer = Producer { id, epoch: 0 };
        }
        Some(ending)
    }

    pub(super) fn sweep(&mut self, now: Instant, settings: TransactionSettings) {
        let late = self.sweep_at(settings.sweep_ms).is_some_and(|at| at <= now);
        if late && self.check_write(self.client, settings.kafka).is_ok() {
            self.fence(now, settings);
        }
    }

    pub(super) fn poll_timeout(&self, sweep_ms: u64) -> Option<Instant> {
        match self.state {
            State::Ending { due, .. } => Some(due),
            _ => self.sweep_at(sweep_ms),
        }
    }

    pub(super) fn has_expired(&self, now: Instant, expiration_ms: u64) -> bool {
        let idle = matches!(self.state, State::Empty | State::Ended { .. });
        idle && now.ms_since(self.updated) >= expiration_ms
    }

    pub(super) fn reload(&mut self, again: Instant) {
        self.wedged = false;
        if let State::Ending { due, .. } = &mut self.state {
            *due = (*due).max(again);
        }
    }

    const fn is_pending(&self) -> bool {
        self.wedged || matches!(self.state, State::Ending { .. })
    }

    /// No epoch is left that a client could be given after this one.
    const fn is_exhausted(&self, epoch_max: i16) -> bool {
        self.producer.epoch >= epoch_max - 1
    }

    /// A change of a client of this version can be written to the coordinator's log. If not, it
    /// stays pending.
    fn check_write(&mut self, client: Client, kafka: Kafka) -> Result<(), Error> {
        if client == Client::V2 && kafka.transaction_version() == TransactionVersion::V0 {
            self.wedged = true;
            return Err(Error::UnsupportedVersion);
        }
        Ok(())
    }

    fn check_expected(&self, expected: Option<Producer>, epoch_max: i16) -> Result<(), Error> {
        let known = expected.is_none_or(|expected| {
            self.producer.epoch == NO_EPOCH
                || expected.id == self.producer.id
                || (expected.id == self.previous_id && expected.epoch >= epoch_max - 1)
        });
        if known { Ok(()) } else { Err(Error::ProducerFenced) }
    }

    /// 3.9 looks at the caller first and then at what is pending, 4.1 the other way round.
    fn check_caller(&self, producer: Producer, settings: TransactionSettings) -> Result<(), Error> {
        if self.is_pending() && settings.kafka != Kafka::V3_9_2 {
            return Err(Error::ConcurrentTransactions);
        }
        self.check_producer(producer, settings.epoch_max)?;
        if self.is_pending() { Err(Error::ConcurrentTransactions) } else { Ok(()) }
    }

    /// The caller is the producer, and its epoch one that clients are given: the largest is only
    /// ever in a marker.
    fn check_producer(&self, producer: Producer, epoch_max: i16) -> Result<(), Error> {
        if self.producer.id != producer.id {
            Err(Error::InvalidProducerIdMapping)
        } else if self.producer.epoch != producer.epoch || producer.epoch >= epoch_max {
            Err(Error::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// The producer of a new session: the next epoch, or a new id when epochs are used up.
    fn next_session(
        &mut self,
        expected: Option<Producer>,
        epoch_max: i16,
        ids: &mut ProducerIds,
    ) -> Result<(), Error> {
        let current = self.producer.epoch;
        let as_expected =
            expected.is_none_or(|expected| current == NO_EPOCH || expected.epoch == current);
        match expected {
            // A retry of a call whose answer was lost.
            Some(expected) if !as_expected && expected.epoch == self.last_epoch => return Ok(()),
            Some(_) if !as_expected => return Err(Error::ProducerFenced),
            Some(_) => self.last_epoch = current,
            None => self.last_epoch = NO_EPOCH,
        }
        if self.is_exhausted(epoch_max) {
            self.previous_id = self.producer.id;
            self.producer = Producer { id: ids.take(), epoch: 0 };
        } else {
            self.producer.epoch += 1;
        }
        Ok(())
    }

    /// Aborts the open transaction under a new epoch, so that nothing late of the old one counts.
    fn fence(&mut self, now: Instant, settings: TransactionSettings) {
        self.last_epoch = match self.client {
            Client::V0 => NO_EPOCH,
            Client::V2 => self.producer.epoch,
        };
        self.producer.epoch += 1;
        self.decide(now, false, settings);
    }

    fn decide(&mut self, now: Instant, commit: bool, settings: TransactionSettings) {
        self.state = State::Ending { commit, due: now.plus_ms(settings.marker_delay_ms) };
        self.updated = now;
    }

    /// The first look that finds the transaction too old.
    fn sweep_at(&self, sweep_ms: u64) -> Option<Instant> {
        let open = self.state == State::Ongoing && !self.wedged;
        let late = self.started.plus_ms(self.timeout_ms).plus_ms(1).0;
        let interval = sweep_ms.max(1);
        open.then(|| Instant(late.div_ceil(interval).saturating_mul(interval)))
    }
}
