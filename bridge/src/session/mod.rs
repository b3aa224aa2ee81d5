//! One session: from the first connection to the failure that ends it.
//!
//! Driven by level, not by edge: whatever happens, [`Session::advance`] looks at what is known and
//! sends what can be sent. So the steps need no order of their own beyond what each one needs:
//!
//! ```text
//! ApiVersions ─► coordinators, topics ─► InitProducerId (fences) ─► OffsetFetch (stable)
//!     ─► reconcile with the local log ─► transactions
//! ```

mod coordinator;
mod lessons;
mod replies;
mod start;
mod topics;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::batch::{
    BatchBuilder, Codec, Origin, Producer, gateway_hash, sequence_after, sequence_before,
};
use crate::failure::Failure;
use crate::links::{Links, Role};
use crate::output::Output;
use crate::position::Position;
use crate::reconcile::{Local, Said, reconcile, reconcile_at_least};
use crate::settings::{BatchLimits, Delivery, Settings};
use crate::status::Counters;
use crate::task::Task;
use crate::transaction::{Order, Size, Transaction};
use crate::wire::{Address, Dialect};

pub(crate) use coordinator::Coordinator;
pub(crate) use lessons::Lessons;
pub(crate) use topics::Topics;

/// How long answers may ask for another try before the session gives up.
pub(crate) const PATIENCE_MS: u64 = 30_000;

/// What a session works with, and on whose behalf.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) links: &'a mut Links,
    pub(crate) settings: &'a Settings,
    pub(crate) counters: &'a mut Counters,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    serial: u64,
    delivery: Delivery,
    bootstrap: Address,
    /// Known from the first broker's answer.
    transaction_version: Option<i16>,
    stage: Stage,
    init: Task,
    fetch: Task,
    /// The one before has waited for as long as a transaction may be open.
    has_waited: bool,
    /// The cluster permits only shorter transactions.
    is_too_patient: bool,
    /// The last transaction, perhaps of an earlier session, came to no end.
    is_wary: bool,
    parts: Parts,
    transaction: Option<Transaction>,
    /// A topic that the last batch stopped at. It waits for the transaction: the records before it
    /// shall not suffer if it is refused.
    missing: Option<String>,
    origin: Arc<Origin>,
    /// Buffers of the last transaction, for the next one.
    spares: Vec<Vec<u8>>,
}

/// What outlives a session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Topics that were written to.
    pub(crate) names: BTreeSet<String>,
    /// Brokers that can be asked if those of the settings are gone.
    pub(crate) brokers: Vec<Address>,
    /// What topics have taught.
    pub(crate) lessons: Lessons,
    /// Whether the last transaction came to no end.
    pub(crate) is_wary: bool,
}

/// What transactions need of a session.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) transactions: Coordinator,
    pub(crate) group: Coordinator,
    pub(crate) topics: Topics,
    pub(crate) producer: Option<Producer>,
    /// The next sequence number of each topic and partition under the producer's epoch.
    sequences: BTreeMap<(String, i32), i32>,
    /// The hint up to which commits are durable as possible.
    pub(crate) claimed: Option<Offset>,
}

impl Parts {
    /// Sequence numbers that were given to records which Kafka did not take.
    pub(crate) fn give_back(&mut self, topic: &str, partition: i32, count: usize) {
        let count = i32::try_from(count).expect("records are limited");
        if count > 0
            && let Some(next) = self.sequences.get_mut(&(topic.to_owned(), partition))
        {
            *next = sequence_before(*next, count);
        }
    }
}

/// How far a session is.
#[derive(Debug)]
enum Stage {
    /// Until Kafka's position is known.
    Starting,
    /// The local log is being asked; with Kafka's position.
    Reconciling(Said),
    /// Transactions can run from here; whether a batch has been asked for.
    Live { position: Position, asked: bool },
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        (serial, delivery): (u64, Delivery),
        bootstrap: Address,
        memory: Memory,
    ) -> Self {
        let transactions = match delivery {
            Delivery::ExactlyOnce => Coordinator::new(Role::Transactions),
            Delivery::AtLeastOnce => Coordinator::unneeded(Role::Transactions),
        };
        Self {
            serial,
            delivery,
            bootstrap,
            transaction_version: None,
            stage: Stage::Starting,
            init: Task::default(),
            fetch: Task::default(),
            has_waited: false,
            is_too_patient: false,
            is_wary: memory.is_wary,
            parts: Parts {
                transactions,
                group: Coordinator::new(Role::Group),
                topics: Topics::new(now, memory),
                producer: None,
                sequences: BTreeMap::new(),
                claimed: None,
            },
            transaction: None,
            missing: None,
            origin: Arc::default(),
            spares: Vec::new(),
        }
    }

    /// That the position is unstable is known: an operator has decided what becomes of it.
    pub(crate) fn expect_unstable(&mut self) {
        self.has_waited = true;
    }

    /// Whether the cluster permits only shorter transactions than were asked for.
    pub(crate) fn is_too_patient(&self) -> bool {
        self.is_too_patient
    }

    /// The cluster's, as soon as a broker has said it.
    pub(crate) fn transaction_version(&self) -> Option<i16> {
        self.transaction_version
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live { .. })
    }

    pub(crate) fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// What Kafka has said of the position, while the local log is asked.
    pub(crate) fn said(&self) -> Said {
        match &self.stage {
            Stage::Reconciling(said) => said.clone(),
            _ => Said::default(),
        }
    }

    pub(crate) fn into_memory(mut self, settings: &Settings) -> Memory {
        // Of one that was lost, too: the next one is made the better for it.
        let is_wary = self.is_wary || self.transaction.is_some();
        let lessons = self.transaction.take().map(Transaction::into_lessons).unwrap_or_default();
        self.parts.topics.learn(&lessons, settings.batch.batch_bytes);
        Memory { is_wary, ..self.parts.topics.into_memory() }
    }

    pub(crate) fn begin_batch(&mut self, limits: BatchLimits, codec: Codec) -> BatchBuilder {
        let spares = core::mem::take(&mut self.spares);
        BatchBuilder::new(Arc::clone(&self.origin), limits, codec).with_spares(spares)
    }

    /// Sends everything that can be sent.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.transaction.is_none()
            && let Some(topic) = self.missing.take()
        {
            self.parts.topics.want(topic)?;
        }
        self.wake(cx.now);
        self.look_up(cx)?;
        let Some(dialect) = self.dialect() else {
            return Ok(());
        };
        self.start(cx, dialect)?;
        if let Some(transaction) = &mut self.transaction {
            transaction.advance(cx, &mut self.parts, dialect)?;
        }
        if let Stage::Live { asked, .. } = &mut self.stage
            && !*asked
            && self.transaction.is_none()
            && self.parts.topics.is_settled()
        {
            *asked = true;
            cx.links.outputs.push_back(Output::WantBatch);
        }
        Ok(())
    }

    /// What the local log knows; only when asked for.
    pub(crate) fn handle_local(
        &mut self,
        cx: &mut Context<'_>,
        local: &Local,
    ) -> Result<(), Failure> {
        let Stage::Reconciling(said) = &self.stage else {
            return Ok(());
        };
        let position = match self.delivery {
            Delivery::ExactlyOnce => reconcile(said, local),
            Delivery::AtLeastOnce => reconcile_at_least(said, local),
        };
        let position = position.map_err(Failure::Halt)?;
        let is_overruled = local.decided(said).is_some();
        self.parts.claimed = local.hint.as_ref().map(|hint| hint.high);
        if *said == Said::Nothing || is_overruled {
            // Kafka gets the position before it gets a record: were it silent again after a first
            // transaction that was interrupted, nothing could tell whether that was committed. It
            // also ends a transaction that hangs in the group: the producer's next one takes its place.
            self.transaction = Some(Transaction::of_position(cx, position.clone()));
        }
        cx.links.outputs.push_back(Output::Resumed(position.clone()));
        self.stage = Stage::Live { position, asked: false };
        self.renew_origin(cx.settings);
        Ok(())
    }

    /// A batch that was asked for in this session.
    pub(crate) fn handle_batch(
        &mut self,
        cx: &mut Context<'_>,
        mut batch: BatchBuilder,
        next: Position,
    ) {
        let (Stage::Live { position, asked }, Some(producer)) =
            (&mut self.stage, self.parts.producer)
        else {
            return;
        };
        if !*asked || batch.session() != self.serial || self.transaction.is_some() {
            return;
        }
        *asked = false;
        self.missing = batch.take_missing();
        if batch.is_empty() {
            assert!(self.missing.is_some(), "a transaction without records must not be");
            return;
        }
        next.check(position);
        self.parts.topics.refresh_if_old(cx.now);
        let (claim, size) = (next.claim_after(position), Size::of(&batch));
        let unsent = batch.left_out().to_vec();
        let sequences = &mut self.parts.sequences;
        let chains = batch.seal(producer, |topic, partition, count| {
            let next = sequences.entry((topic.to_owned(), partition)).or_default();
            core::mem::replace(next, sequence_after(*next, count))
        });
        let claims_late = self.is_wary;
        let order = Order { next, claim, claims_late, chains, unsent, size };
        let transaction = self.transaction.insert(Transaction::new(cx, order, self.parts.claimed));
        transaction.be_wary(&self.parts.topics.lessons.disordered);
    }

    /// What the transaction under way leaves out is durable elsewhere.
    pub(crate) fn handle_buried(&mut self, next: Position) {
        if let Some(transaction) = &mut self.transaction {
            transaction.handle_buried(next);
        }
    }

    /// A claim is durable, or is about to be lowered.
    pub(crate) fn handle_claimed(&mut self, cx: &mut Context<'_>, high: Offset) {
        self.parts.claimed = Some(high);
        if let Some(transaction) = &self.transaction {
            transaction.claim(cx, Some(high));
        }
    }

    pub(crate) fn handle_timeout(&self, now: Instant) -> Result<(), Failure> {
        self.transaction.as_ref().map_or(Ok(()), |transaction| transaction.handle_timeout(now))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let parts = &self.parts;
        [
            self.init.poll_timeout(),
            self.fetch.poll_timeout(),
            parts.transactions.poll_timeout(),
            parts.group.poll_timeout(),
            parts.topics.poll_timeout(),
            self.transaction.as_ref().and_then(Transaction::poll_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends the pauses whose time has come.
    fn wake(&mut self, now: Instant) {
        self.init.wake(now);
        self.fetch.wake(now);
        self.parts.transactions.wake(now);
        self.parts.group.wake(now);
        self.parts.topics.wake(now);
        if let Some(transaction) = &mut self.transaction {
            transaction.wake(now);
        }
    }

    /// Sends what any broker can answer. The connection is opened only when it is needed: a session
    /// does not depend on the broker that it began with.
    fn look_up(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let dialect = self.dialect();
        let parts = &mut self.parts;
        if !(parts.transactions.is_due() || parts.group.is_due() || parts.topics.is_due()) {
            return Ok(());
        }
        let Some(conn) = cx.links.reach(cx.now, &self.bootstrap)? else {
            return Ok(());
        };
        let Some(dialect) = dialect else {
            return Ok(());
        };
        parts.transactions.advance(cx, conn, dialect)?;
        parts.group.advance(cx, conn, dialect)?;
        parts.topics.advance(cx, conn, dialect)
    }

    fn dialect(&self) -> Option<Dialect> {
        self.transaction_version.map(|level| Dialect::chosen(self.delivery, level))
    }

    /// What builders know is a copy: they outlive changes.
    pub(super) fn renew_origin(&mut self, settings: &Settings) {
        let Stage::Live { position, .. } = &self.stage else {
            return;
        };
        self.origin = Arc::new(Origin {
            session: self.serial,
            log_id: settings.log_id,
            generation: position.generation,
            gateway_hash: gateway_hash(&settings.gateway),
            topics: self.parts.topics.writable(),
            send_time: self.parts.topics.lessons.send_time.clone(),
            batch_bytes: self.parts.topics.lessons.batch_bytes().collect(),
        });
    }
}
