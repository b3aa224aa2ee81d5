//! One transaction: {`Produce` ‖ `TxnOffsetCommit`}, then `EndTxn` when every answer is good and
//! the claim that covers it is durable.
//!
//! Before transaction version 2 the partitions and the group are added to it first. Answers that
//! ask for it are followed by the same bytes again; anything else ends the session.
//!
//! The claim is asked for at once, so that it costs no time; but behind a transaction that came to no end only before
//! `EndTxn`: what Kafka refuses for weeks leaves no claim behind, and so nothing in doubt when it forgets the position.
//!
//! Where only at least once is promised it is none to Kafka: `Produce`, and then `OffsetCommit`.

mod asking;
mod burial;
mod chain;
mod pace;
mod patience;
mod produce;

use std::collections::BTreeSet;

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::batch::{BatchBuilder, Producer, SealedBatch, SealedChain};
use crate::failure::Failure;
use crate::links::Ask;
use crate::output::{Output, Undeliverable};
use crate::position::Position;
use crate::session::{Context, Parts};
use crate::task::Task;
use crate::wire::{Api, Dialect, Reply, ask, read};

use asking::{due, follow, settle};
use burial::Burial;
use chain::Chain;
pub(crate) use chain::Lesson;
pub(crate) use pace::{Measure, Pace};
pub(crate) use patience::Patience;

/// More than a full transaction of one topic needs.
const BUFFERS_KEPT_MAX: usize = 8;

/// What a transaction is to do.
#[derive(Debug)]
pub(crate) struct Order {
    /// The position that it commits.
    pub(crate) next: Position,
    /// What has to be claimed before.
    pub(crate) claim: Offset,
    /// It is asked for only when nothing else is missing.
    pub(crate) claims_late: bool,
    pub(crate) chains: Vec<SealedChain>,
    /// Records that no batch may hold.
    pub(crate) unsent: Vec<Undeliverable>,
    pub(crate) size: Size,
}

/// How much a transaction carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) records: usize,
    /// As budgets count them.
    pub(crate) bytes: usize,
    /// Before compression.
    pub(crate) raw_bytes: usize,
}

/// A transaction that is under way.
#[derive(Debug)]
pub(crate) struct Transaction {
    next: Position,
    claim: Offset,
    claims_late: bool,
    size: Size,
    begun: Instant,
    deadline: Instant,
    chains: Vec<Chain>,
    unsent: Vec<Undeliverable>,
    add_partitions: Task,
    add_offsets: Task,
    commit: Task,
    end: Task,
    burial: Burial,
}

/// A transaction that Kafka has committed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) position: Position,
    pub(crate) records: u64,
    /// Records that it leaves out: they are kept elsewhere.
    pub(crate) undeliverable: u64,
    /// Bytes of their batches, before compression.
    pub(crate) bytes: u64,
    /// The producer of the next one, where Kafka names it.
    pub(crate) producer: Option<Producer>,
}

impl Size {
    pub(crate) fn of(batch: &BatchBuilder) -> Self {
        let (bytes, raw_bytes) = (batch.bytes(), batch.raw_bytes());
        Self { records: batch.len(), bytes, raw_bytes }
    }
}

impl Transaction {
    /// Commits a position and no records: it can be repeated, and needs no claim.
    pub(crate) fn of_position(cx: &mut Context<'_>, position: Position) -> Self {
        let (claim, size) = (position.offset, Size::default());
        let (chains, unsent) = (Vec::new(), Vec::new());
        let order = Order { next: position, claim, claims_late: false, chains, unsent, size };
        Self::new(cx, order, None)
    }

    /// Sends the batches of these topics one at a time.
    pub(crate) fn be_wary(&mut self, topics: &BTreeSet<String>) {
        let chains = self.chains.iter_mut();
        chains.filter(|chain| topics.contains(&*chain.topic)).for_each(Chain::be_wary);
    }

    pub(crate) fn new(cx: &mut Context<'_>, order: Order, claimed: Option<Offset>) -> Self {
        let Order { next, claim, claims_late, chains, unsent, size } = order;
        // Kafka refuses to add no partition.
        let add_partitions = if chains.is_empty() { Task::DONE } else { Task::default() };
        let transaction = Self {
            next,
            claim,
            claims_late,
            size,
            begun: cx.now,
            deadline: cx.now.plus_ms(u64::from(cx.settings.transaction_timeout_ms)),
            chains: chains.into_iter().map(Chain::new).collect(),
            unsent,
            add_partitions,
            add_offsets: Task::default(),
            commit: Task::default(),
            end: Task::default(),
            burial: Burial::None,
        };
        transaction.claim(cx, claimed);
        transaction
    }

    /// The measure of the link.
    pub(crate) fn measure(&self) -> Measure {
        let wire = self.chains.iter().map(Chain::bytes).sum();
        Measure { begun: self.begun, bytes: self.size.bytes, wire }
    }

    /// Whether all its records were made of the same event.
    fn is_of_one_event(&self) -> bool {
        let mut all = self.chains.iter().flat_map(Chain::offsets);
        let first = all.next();
        all.all(|offset| Some(offset) == first)
    }

    /// Asks for a claim that covers this transaction, unless there is one, or it is to be asked for later.
    pub(crate) fn claim(&self, cx: &mut Context<'_>, claimed: Option<Offset>) {
        if !self.claims_late && !self.is_claimed(claimed) {
            cx.links.outputs.push_back(Output::Claim(self.claim));
        }
    }

    /// Ends the pauses whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        for task in
            [&mut self.add_partitions, &mut self.add_offsets, &mut self.commit, &mut self.end]
        {
            task.wake(now);
        }
        for chain in &mut self.chains {
            chain.wake(now);
        }
    }

    /// Sends what can be sent.
    pub(crate) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts,
        dialect: Dialect,
    ) -> Result<(), Failure> {
        let Some(producer) = parts.producer else {
            return Ok(());
        };
        if dialect == Dialect::Explicit {
            self.send_additions(cx, parts, producer)?;
            if !(self.add_partitions.is_done() && self.add_offsets.is_done()) {
                return Ok(());
            }
        }
        self.send_batches(cx, parts, dialect)?;
        if dialect == Dialect::Plain {
            // What is not taken must not be passed.
            if self.chains.iter().all(Chain::is_done) && self.is_nothing_unburied(cx) {
                self.claim_at_last(cx, parts.claimed);
                if self.is_claimed(parts.claimed) {
                    self.send_offset(cx, parts)?;
                }
            }
            return Ok(());
        }
        self.send_position(cx, parts, (dialect, producer))?;
        let all_good = self.chains.iter().all(Chain::is_done) && self.commit.is_done();
        if all_good && !self.is_nothing_unburied(cx) {
            return Ok(());
        }
        if all_good {
            self.claim_at_last(cx, parts.claimed);
            if self.is_claimed(parts.claimed) {
                self.send_end(cx, parts, (dialect, producer))?;
            }
        }
        Ok(())
    }

    /// Takes an answer; the transaction is over when it says so.
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts,
        (ask, reply): (Ask, Reply),
    ) -> Result<Option<Ended>, Failure> {
        let api = reply.api;
        let malformed = |_| Failure::malformed(api);
        match ask {
            Ask::AddPartitions => {
                let (code, topic) = read::partitions_added(reply).map_err(malformed)?;
                let moved = settle(cx, &mut self.add_partitions, (api, code, topic))?;
                follow(moved, parts, Api::AddPartitionsToTxn);
            }
            Ask::AddOffsets => {
                let code = read::plain(reply).map_err(malformed)?;
                let moved = settle(cx, &mut self.add_offsets, (api, code, None))?;
                follow(moved, parts, api);
            }
            Ask::CommitPosition => {
                let is_plain = api == Api::OffsetCommit;
                let read = if is_plain { read::offset_committed } else { read::position_committed };
                let code = read(reply).map_err(malformed)?;
                let moved = settle(cx, &mut self.commit, (api, code, None))?;
                follow(moved, parts, api);
                if is_plain && self.commit.is_done() {
                    return Ok(Some(self.ended(parts, None)));
                }
            }
            Ask::Produce(places) => {
                let answers = read::produced(reply).map_err(malformed)?;
                for place in places {
                    self.handle_produced(cx, parts, place, &answers)?;
                }
            }
            Ask::End => match read::ended(reply).map_err(malformed)? {
                Ok(producer) => return Ok(Some(self.ended(parts, producer))),
                Err(code) => {
                    let moved = settle(cx, &mut self.end, (api, code, None))?;
                    follow(moved, parts, api);
                }
            },
            Ask::Versions
            | Ask::Handshake
            | Ask::Settings
            | Ask::Authenticate
            | Ask::Coordinator(_)
            | Ask::Metadata
            | Ask::CreateTopic
            | Ask::Offsets(_)
            | Ask::Fetch(_)
            | Ask::Producer
            | Ask::Position => {}
        }
        Ok(None)
    }

    /// The broker gives up a transaction after its time-out; so do we.
    pub(crate) fn handle_timeout(&self, now: Instant) -> Result<(), Failure> {
        if now < self.deadline {
            return Ok(());
        }
        Err(Failure::Ended(format!(
            "the transaction up to {} took longer than {} ms",
            self.next.offset,
            self.deadline.ms_since(self.begun)
        )))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let tasks = [&self.add_partitions, &self.add_offsets, &self.commit, &self.end];
        let tasks = tasks.into_iter().filter_map(Task::poll_timeout);
        let chains = self.chains.iter().filter_map(Chain::poll_timeout);
        tasks.chain(chains).chain([self.deadline]).min()
    }

    fn is_claimed(&self, claimed: Option<Offset>) -> bool {
        let is_of_position = self.chains.is_empty() && self.unsent.is_empty();
        is_of_position || claimed.is_some_and(|claimed| claimed >= self.claim)
    }

    /// Nothing else is missing any more.
    fn claim_at_last(&mut self, cx: &mut Context<'_>, claimed: Option<Offset>) {
        if core::mem::take(&mut self.claims_late) {
            self.claim(cx, claimed);
        }
    }

    /// The buffers of its batches, once it is over.
    pub(crate) fn take_buffers(&mut self) -> Vec<Vec<u8>> {
        let batches = self.chains.iter_mut().flat_map(Chain::take_batches);
        batches.filter_map(SealedBatch::into_buffer).take(BUFFERS_KEPT_MAX).collect()
    }

    fn ended(&mut self, parts: &mut Parts, producer: Option<Producer>) -> Ended {
        for chain in &self.chains {
            parts.give_back(&chain.topic, chain.partition, chain.left_out.len());
        }
        let position = core::mem::take(&mut self.next);
        let Size { records, raw_bytes, .. } = self.size;
        let undeliverable = self.left_out() as u64;
        let records = records as u64 - undeliverable;
        Ended { position, records, undeliverable, bytes: raw_bytes as u64, producer }
    }

    /// `AddPartitionsToTxn` and `AddOffsetsToTxn`, pipelined.
    fn send_additions(
        &mut self,
        cx: &mut Context<'_>,
        parts: &Parts,
        producer: Producer,
    ) -> Result<(), Failure> {
        let to = parts.transactions.address();
        let dialect = Dialect::Explicit;
        if let Some(to) = due(cx, &mut self.add_partitions, (to, Api::AddPartitionsToTxn, dialect))?
        {
            let partitions = self.chains.iter().map(|chain| (&*chain.topic, chain.partition));
            let request = ask::add_partitions(&cx.links.ids, producer, partitions);
            cx.links.send(cx.now, to, Ask::AddPartitions, &request);
        }
        if let Some(to) = due(cx, &mut self.add_offsets, (to, Api::AddOffsetsToTxn, dialect))? {
            let request = ask::add_offsets(&cx.links.ids, producer);
            cx.links.send(cx.now, to, Ask::AddOffsets, &request);
        }
        Ok(())
    }

    /// `TxnOffsetCommit`.
    fn send_position(
        &mut self,
        cx: &mut Context<'_>,
        parts: &Parts,
        (dialect, producer): (Dialect, Producer),
    ) -> Result<(), Failure> {
        let to = (parts.group.address(), Api::TxnOffsetCommit, dialect);
        if let Some(to) = due(cx, &mut self.commit, to)? {
            let request = ask::commit_position(&cx.links.ids, producer, &self.next);
            cx.links.send(cx.now, to, Ask::CommitPosition, &request);
        }
        Ok(())
    }

    /// `OffsetCommit`, behind the records.
    fn send_offset(&mut self, cx: &mut Context<'_>, parts: &Parts) -> Result<(), Failure> {
        let to = (parts.group.address(), Api::OffsetCommit, Dialect::Plain);
        if let Some(to) = due(cx, &mut self.commit, to)? {
            let request = ask::commit_offset(&cx.links.ids, &self.next);
            cx.links.send(cx.now, to, Ask::CommitPosition, &request);
        }
        Ok(())
    }

    /// `EndTxn`: the one request that makes a difference.
    fn send_end(
        &mut self,
        cx: &mut Context<'_>,
        parts: &Parts,
        (dialect, producer): (Dialect, Producer),
    ) -> Result<(), Failure> {
        let to = (parts.transactions.address(), Api::EndTxn, dialect);
        if let Some(to) = due(cx, &mut self.end, to)? {
            let request = ask::end_transaction(&cx.links.ids, producer);
            cx.links.send(cx.now, to, Ask::End, &request);
        }
        Ok(())
    }
}
