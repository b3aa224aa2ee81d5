//! The two steps that make a session safe: fencing its predecessor, and asking for the position.

use tributary_core::Offset;
use tributary_core::time::Instant;

use super::{Context, PATIENCE_MS, Session, Stage};
use crate::batch::Producer;
use crate::failure::Failure;
use crate::links::Ask;
use crate::output::Output;
use crate::reconcile::Said;
use crate::settings::Delivery;
use crate::task::{BUSY, MOVING, Task, UNSTABLE};
use crate::wire::{Api, Class, Code, Dialect, Outcome, ask};

/// Markers of a transaction that timed out are there so long after its time-out, at the latest.
const MARKERS_MS: u64 = 30_000;

impl Session {
    /// Fences its predecessor as soon as it can, but ships nothing before this moment.
    pub(crate) fn rest_until(&mut self, at: Instant) {
        self.fetch = Task::due_at(at);
    }

    /// Sends what is due: first `InitProducerId`, then, when that has fenced, `OffsetFetch`.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, dialect: Dialect) -> Result<(), Failure> {
        if self.parts.producer.is_none() {
            return self.ask_producer(cx, dialect);
        }
        if matches!(self.stage, Stage::Starting) && self.parts.topics.is_settled() {
            return self.ask_position(cx, dialect);
        }
        Ok(())
    }

    fn ask_producer(&mut self, cx: &mut Context<'_>, dialect: Dialect) -> Result<(), Failure> {
        // Any broker hands out producers that are merely idempotent.
        let transactional = dialect != Dialect::Plain;
        let any = (!transactional).then_some(&self.bootstrap);
        let Some(address) = any.or(self.parts.transactions.address()) else {
            return Ok(());
        };
        let Some(conn) = cx.links.reach(cx.now, address)? else {
            return Ok(());
        };
        if self.init.is_due() {
            let version = cx.links.version(conn, Api::InitProducerId, dialect)?;
            let timeout_ms = cx.settings.transaction_timeout_ms;
            let request = ask::new_producer(&cx.links.ids, timeout_ms, transactional);
            cx.links.send(cx.now, (conn, Api::InitProducerId, version), Ask::Producer, &request);
            self.init.asked();
        }
        Ok(())
    }

    fn ask_position(&mut self, cx: &mut Context<'_>, dialect: Dialect) -> Result<(), Failure> {
        let Some(address) = self.parts.group.address() else {
            return Ok(());
        };
        let Some(conn) = cx.links.reach(cx.now, address)? else {
            return Ok(());
        };
        if self.fetch.is_due() {
            let version = cx.links.version(conn, Api::OffsetFetch, dialect)?;
            let request = ask::committed_position(&cx.links.ids, version);
            cx.links.send(cx.now, (conn, Api::OffsetFetch, version), Ask::Position, &request);
            self.fetch.asked();
        }
        Ok(())
    }

    pub(super) fn handle_producer(
        &mut self,
        cx: &mut Context<'_>,
        producer: Outcome<Producer>,
    ) -> Result<(), Failure> {
        const API: Api = Api::InitProducerId;
        let code = match producer {
            Ok(producer) => {
                let transactional = self.delivery == Delivery::ExactlyOnce;
                self.parts.producer = Some(Producer { transactional, ..producer });
                self.init.done();
                return Ok(());
            }
            Err(code) => code,
        };
        cx.counters.retries += 1;
        self.is_too_patient = code == Code::TRANSACTION_TIMEOUT;
        let (waited, patience) = match code.class() {
            // The predecessor's transaction is being aborted.
            Class::Busy => (self.init.again(cx.now, BUSY), markers_ms(cx)),
            Class::Loading => (self.init.again(cx.now, MOVING), PATIENCE_MS),
            Class::Moved => {
                self.parts.transactions.moved();
                (self.init.again(cx.now, MOVING), PATIENCE_MS)
            }
            class if class.is_refusal() => return Err(refused(cx, code)),
            _ => return Err(Failure::answered(API, code)),
        };
        match code.class() {
            _ if waited <= patience => Ok(()),
            Class::Busy => Err(Failure::Alarm(format!(
                "the transactional id stays blocked: {API:?} was answered {code} for {} s; a \
                 restart of its coordinator helps, once transaction.version is not lower than before",
                waited / 1000
            ))),
            _ => Err(Failure::answered(API, code)),
        }
    }

    pub(super) fn handle_position(
        &mut self,
        cx: &mut Context<'_>,
        position: Outcome<Option<(u64, String)>>,
    ) -> Result<(), Failure> {
        const API: Api = Api::OffsetFetch;
        let code = match position {
            Ok(position) => {
                let said = position.map_or(Said::Nothing, |(offset, metadata)| {
                    Said::Position(Offset(offset), metadata)
                });
                self.ask_local(cx, said);
                return Ok(());
            }
            Err(code) => code,
        };
        cx.counters.retries += 1;
        match code.class() {
            Class::Unstable => {
                if self.fetch.again(cx.now, UNSTABLE) > markers_ms(cx) || self.has_waited {
                    self.ask_local(cx, Said::Unstable);
                }
                return Ok(());
            }
            Class::Loading => {}
            Class::Moved => self.parts.group.moved(),
            class if class.is_refusal() => return Err(refused(cx, code)),
            _ => return Err(Failure::answered(API, code)),
        }
        if self.fetch.again(cx.now, MOVING) > PATIENCE_MS {
            return Err(Failure::answered(API, code));
        }
        Ok(())
    }

    /// What Kafka says is held against what the log knows.
    fn ask_local(&mut self, cx: &mut Context<'_>, said: Said) {
        self.stage = Stage::Reconciling(said);
        self.fetch.done();
        cx.links.outputs.push_back(Output::NeedLocal);
    }
}

/// How long the predecessor's transaction may take to be over.
fn markers_ms(cx: &Context<'_>) -> u64 {
    u64::from(cx.settings.transaction_timeout_ms) + MARKERS_MS
}

/// The right to the identity is missing, or a setting does not suit the cluster.
fn refused(cx: &Context<'_>, code: Code) -> Failure {
    Failure::refused_identity(&cx.links.ids.identity, code)
}
