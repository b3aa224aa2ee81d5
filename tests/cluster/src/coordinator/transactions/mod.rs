//! The transaction coordinator: who may write under a transactional id, and what becomes of it.
//!
//! Follows Kafka's `TransactionCoordinator` of 3.9 and 4.1 (KIP-98, KIP-360, KIP-890).

mod transaction;

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError as Error;
use tributary_core::time::Instant;

use crate::Kafka;
use crate::limits::TRANSACTIONAL_IDS_MAX;
use transaction::Transaction;

/// Where the supply of producer ids begins.
const FIRST_PRODUCER_ID: i64 = 1000;

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// The version of transactions that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    /// Produce to 11, `TxnOffsetCommit` and `EndTxn` to 4.
    V0,
    /// Above.
    V2,
}

/// What takes part in a transaction and gets a marker when it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Participant {
    /// A partition of a topic.
    Partition(String, i32),
    /// The offsets of a group.
    Group(String),
}

/// Server settings that the coordinator follows; those of [`crate::Settings`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransactionSettings {
    pub(crate) kafka: Kafka,
    pub(crate) marker_delay_ms: u64,
    pub(crate) timeout_max_ms: u32,
    pub(crate) sweep_ms: u64,
    pub(crate) expiration_ms: u64,
    pub(crate) epoch_max: i16,
}

/// What a client asks of `InitProducerId` for a transactional id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitProducer<'a> {
    pub(crate) id: &'a str,
    pub(crate) timeout_ms: i32,
    /// The producer that the client believes to be (KIP-360).
    pub(crate) expected: Option<Producer>,
}

/// A decided transaction whose markers are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// As the markers carry it.
    pub(crate) producer: Producer,
    pub(crate) commit: bool,
    pub(crate) participants: BTreeSet<Participant>,
}

/// The supply of producer ids.
#[derive(Clone, Debug)]
pub(crate) struct ProducerIds(i64);

impl ProducerIds {
    /// An id that was not given to anyone before.
    pub(crate) const fn take(&mut self) -> i64 {
        let id = self.0;
        self.0 += 1;
        id
    }
}

/// All transactional ids.
#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    pub(crate) settings: TransactionSettings,
    pub(crate) producer_ids: ProducerIds,
    known: BTreeMap<String, Transaction>,
}

impl Transactions {
    pub(crate) const fn new(settings: TransactionSettings) -> Self {
        let producer_ids = ProducerIds(FIRST_PRODUCER_ID);
        Self { settings, producer_ids, known: BTreeMap::new() }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// `InitProducerId`: fences whoever used the id, aborts what is open, gives a new epoch.
    pub(crate) fn init_producer(
        &mut self,
        now: Instant,
        init: InitProducer<'_>,
    ) -> Result<Producer, Error> {
        let timeout_ms = u32::try_from(init.timeout_ms)
            .ok()
            .filter(|ms| (1..=self.settings.timeout_max_ms).contains(ms))
            .ok_or(Error::InvalidTransactionTimeout)?;
        self.forget_expired(now, init.id);
        if self.known.len() >= TRANSACTIONAL_IDS_MAX && !self.known.contains_key(init.id) {
            return Err(Error::PolicyViolation);
        }
        let (settings, ids) = (self.settings, &mut self.producer_ids);
        self.known
            .entry(init.id.to_owned())
            .or_insert_with(|| Transaction::new(now, ids.take()))
            .init(now, (init.expected, timeout_ms), (settings, ids))
    }

    /// `AddPartitionsToTxn`, `AddOffsetsToTxn`, and the implicit registration of version 2.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        caller: (&str, Producer, Client),
        participants: &BTreeSet<Participant>,
    ) -> Result<(), Error> {
        let (id, producer, client) = caller;
        let settings = self.settings;
        self.find(now, id)?.add(now, (producer, client, settings), participants)
    }

    /// Whether a participant was registered: what a broker asks before it takes a write of version
    /// 0 (KIP-890 part 1). Otherwise 120.
    pub(crate) fn verify(
        &mut self,
        now: Instant,
        caller: (&str, Producer),
        participant: &Participant,
    ) -> Result<(), Error> {
        let (id, producer) = caller;
        let settings = self.settings;
        self.find(now, id)?.verify(producer, settings, participant)
    }

    /// `EndTxn`. Answers who the producer is for its next transaction.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        caller: (&str, Producer, Client),
        commit: bool,
    ) -> Result<Producer, Error> {
        let (id, producer, client) = caller;
        self.forget_expired(now, id);
        let transaction = self.known.get_mut(id).ok_or(Error::InvalidProducerIdMapping)?;
        match client {
            Client::V0 => transaction.end_v0(now, producer, (commit, self.settings)),
            Client::V2 => {
                let commit = (commit, self.settings);
                transaction.end_v2(now, producer, commit, &mut self.producer_ids)
            }
        }
    }

    /// Takes a decided transaction whose markers are due. The id is free again from now on.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Ending> {
        self.known.values_mut().find_map(|transaction| transaction.take_due(now))
    }

    /// Aborts and fences every transaction that is open for longer than its timeout, if `now` is
    /// late enough for a look: brokers look at intervals.
    pub(crate) fn sweep(&mut self, now: Instant) {
        for transaction in self.known.values_mut() {
            transaction.sweep(now, self.settings);
        }
    }

    /// When markers or a sweep are due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let sweep_ms = self.settings.sweep_ms;
        self.known.values().filter_map(|transaction| transaction.poll_timeout(sweep_ms)).min()
    }

    /// The coordinator of the ids that `moved` selects is loaded anew: what it could not write is
    /// forgotten, markers that were pending are sent again.
    pub(crate) fn reload(&mut self, now: Instant, moved: impl Fn(&str) -> bool) {
        let again = now.plus_ms(self.settings.marker_delay_ms);
        for (_, transaction) in self.known.iter_mut().filter(|(id, _)| moved(id)) {
            transaction.reload(again);
        }
    }

    fn find(&mut self, now: Instant, id: &str) -> Result<&mut Transaction, Error> {
        self.forget_expired(now, id);
        self.known.get_mut(id).ok_or(Error::InvalidProducerIdMapping)
    }

    fn forget_expired(&mut self, now: Instant, id: &str) {
        let expiration_ms = self.settings.expiration_ms;
        if self.known.get(id).is_some_and(|found| found.has_expired(now, expiration_ms)) {
            self.known.remove(id);
        }
    }
}
