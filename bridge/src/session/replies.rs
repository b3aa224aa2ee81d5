//! What a session does with each answer.

use super::{Context, Session, Stage};
use crate::failure::Failure;
use crate::links::{Ask, Role};
use crate::output::{ConnId, Output};
use crate::transaction::Transaction;
use crate::wire::{Api, Dialect, Outcome, Reply, Versions, read};

impl Session {
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        (ask, reply): (Ask, Reply),
    ) -> Result<(), Failure> {
        let api = reply.api;
        let malformed = |_| Failure::malformed(api);
        match ask {
            Ask::Versions => {
                let versions = read::versions(reply).map_err(malformed)?;
                self.handle_versions(cx, conn, versions)
            }
            // Dealt with before they come here, or asked by readers alone.
            Ask::Handshake
            | Ask::Authenticate
            | Ask::Settings
            | Ask::Offsets(_)
            | Ask::Fetch(_) => Ok(()),
            Ask::Coordinator(role) => {
                let found = read::coordinator(reply).map_err(malformed)?;
                match role {
                    Role::Transactions => self.parts.transactions.handle_answer(cx, found),
                    Role::Group => self.parts.group.handle_answer(cx, found),
                }
            }
            Ask::Metadata => {
                let cluster = read::metadata(reply).map_err(malformed)?;
                self.parts.topics.handle_metadata(cx, cluster)?;
                self.renew_origin(cx.settings);
                Ok(())
            }
            Ask::CreateTopic => {
                let code = read::created(reply).map_err(malformed)?;
                self.parts.topics.handle_created(cx, code)
            }
            Ask::Producer => {
                let producer = read::new_producer(reply).map_err(malformed)?;
                self.handle_producer(cx, producer)
            }
            Ask::Position => {
                let position = read::position(reply).map_err(malformed)?;
                self.handle_position(cx, position)
            }
            Ask::AddPartitions
            | Ask::AddOffsets
            | Ask::Produce(_)
            | Ask::CommitPosition
            | Ask::End => self.handle_transaction_reply(cx, (ask, reply)),
        }
    }

    /// Every broker must be of the session's dialect: the requests that transaction version 2
    /// implies would block the transactional id at one that does not know of it yet.
    fn handle_versions(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        versions: Outcome<Versions>,
    ) -> Result<(), Failure> {
        let Ok(versions) = versions else {
            return Err(cx.links.lacks(conn, Api::ApiVersions, Dialect::Explicit));
        };
        let offered = Dialect::of(versions.transaction_version);
        let level = *self.transaction_version.get_or_insert(versions.transaction_version);
        let dialect = Dialect::chosen(cx.settings.delivery, level);
        cx.links.greeted(cx.now, conn, versions)?;
        if dialect == Dialect::Implicit && offered == Dialect::Explicit {
            return Err(Failure::Ended("brokers disagree about transaction.version".to_owned()));
        }
        for api in Api::required(dialect) {
            cx.links.version(conn, *api, dialect)?;
        }
        Ok(())
    }

    fn handle_transaction_reply(
        &mut self,
        cx: &mut Context<'_>,
        reply: (Ask, Reply),
    ) -> Result<(), Failure> {
        let Some(transaction) = &mut self.transaction else {
            return Ok(());
        };
        let Some(ended) = transaction.handle_reply(cx, &mut self.parts, reply)? else {
            return Ok(());
        };
        self.spares = transaction.take_buffers();
        // Kafka numbers batches anew under a new epoch.
        if let Some(producer) = ended.producer
            && self.parts.producer != Some(producer)
        {
            self.parts.producer = Some(producer);
            self.parts.sequences.clear();
        }
        let lessons = self.transaction.take().map(Transaction::into_lessons).unwrap_or_default();
        cx.counters.restamped += lessons.iter().map(|it| it.restamped as u64).sum::<u64>();
        if self.parts.topics.learn(&lessons, cx.settings.batch.batch_bytes) {
            self.renew_origin(cx.settings);
        }
        // That a position alone was taken tells nothing of records.
        self.is_wary &= ended.records + ended.undeliverable == 0;
        cx.counters.transactions += 1;
        cx.counters.records += ended.records;
        cx.counters.undeliverable += ended.undeliverable;
        cx.counters.batch_bytes += ended.bytes;
        cx.links.outputs.push_back(Output::Committed(ended.position.clone()));
        if let Stage::Live { position, .. } = &mut self.stage {
            *position = ended.position;
        }
        Ok(())
    }
}
