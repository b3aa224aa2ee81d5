//! Puts routing tables into force.
//!
//! Invariant: a lane that begins has a hint in the log before it is in a table, so that a missing
//! hint always means damage.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot::error::RecvError;
use tributary_bridge::Position;
use tributary_core::Offset;
use tributary_core::log::ControlKind;

use super::hint::LaneHint;
use super::ingest::Ingest;
use super::server::Failure;
use crate::config::{LANES, Lane};
use crate::replicate::aside::{self, Detour, Standing};
use crate::replicate::table::{Table, Wanted};
use crate::sync::lock;

/// The hints of all lanes as they stand in the log.
pub type Hints = [Arc<Mutex<Option<LaneHint>>>; LANES];

/// What a routing table is put into force with.
pub struct Routing<'a> {
    /// Where control records are left.
    pub ingest: &'a Ingest,
    /// The table in force at the end of the log.
    pub table: &'a Mutex<Table>,
    /// The lanes' hints.
    pub hints: &'a Hints,
    /// This opening of the log.
    pub generation: u32,
}

impl Routing<'_> {
    /// Has the routing table follow the configuration, from the next event on.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub async fn put(&self, wanted: Wanted) -> Result<(), Failure> {
        let current = lock(self.table).clone();
        if !current.differs(&wanted) {
            return Ok(());
        }
        for lane in wanted.lanes().filter(|lane| !current.begun[lane.index()]) {
            self.begin_lane(lane).await.map_err(broken)?;
        }
        self.write_table(move |at, oldest| current.succeed(&wanted, at, oldest)).await
    }

    /// Has a lane go on without a topic, or takes one back. Whether that is in force.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub async fn detour(&self, detour: Detour, standing: &Standing) -> Result<bool, Failure> {
        let current = lock(self.table).clone();
        match detour {
            Detour::Leave(wish) => {
                let Some(lane) = current.free_lane(&wish, standing) else { return Ok(false) };
                let known = lock(&self.hints[lane.index()]).clone();
                let hint = aside::beginning(&wish, lane, known);
                self.write_hint(lane, move |_| hint.clone()).await.map_err(broken)?;
                let (topic, home) = (&wish.topic, wish.home.name());
                let from = wish.position.offset.0;
                tracing::warn!(
                    topic,
                    home,
                    lane = lane.name(),
                    from,
                    "lane goes on without a topic"
                );
                let table = current.leave(&wish, lane, standing);
                self.write_table(move |_, _| table).await?;
            }
            Detour::Return(lane) => {
                tracing::info!(lane = lane.name(), "topics go back to their lanes");
                self.write_table(move |at, _| current.come_back(lane, at)).await?;
            }
        }
        Ok(true)
    }

    async fn write_table(
        &self,
        succeed: impl FnOnce(Offset, Offset) -> Table + Send + 'static,
    ) -> Result<(), Failure> {
        let (sender, made) = tokio::sync::oneshot::channel();
        let written = self.ingest.write_control(ControlKind::Routes, move |at, oldest| {
            let table = succeed(at, oldest);
            let body = table.encode();
            sender.send(table).unwrap_or_default();
            body
        });
        let at = written.await.map_err(broken)?;
        let table = made.await.map_err(broken)?;
        tracing::info!(offset = at.0, routes = table.routes.len(), "routing table in force");
        *lock(self.table) = table;
        Ok(())
    }

    async fn begin_lane(&self, lane: Lane) -> Result<(), RecvError> {
        let generation = self.generation;
        let hint = move |offset| {
            let low = Position { offset, generation, account: String::new() };
            LaneHint::beginning(lane.name(), low)
        };
        self.write_hint(lane, hint).await
    }

    async fn write_hint(
        &self,
        lane: Lane,
        hint: impl Fn(Offset) -> LaneHint + Clone + Send + 'static,
    ) -> Result<(), RecvError> {
        let make = hint.clone();
        let written =
            self.ingest.write_control(ControlKind::Hint, move |at, _| make(at).encode(at));
        let at = written.await?;
        *lock(&self.hints[lane.index()]) = Some(hint(at));
        Ok(())
    }
}

fn broken(_: RecvError) -> Failure {
    Failure::Other("the log cannot be written".to_owned())
}
