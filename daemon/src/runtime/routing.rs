//! Puts routing tables into force.
//!
//! Invariant: a lane that begins has a hint in the log before it is in a table, so that a missing
//! hint always means damage.

use std::sync::{Arc, Mutex};

use tributary_bridge::Position;
use tributary_core::log::ControlKind;

use super::hint::LaneHint;
use super::ingest::Ingest;
use super::server::Failure;
use crate::config::{LANES, Lane};
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
        let broken = |_| Failure::Other("the log cannot be written".to_owned());
        for lane in wanted.lanes().filter(|lane| !current.begun[lane.index()]) {
            self.begin_lane(lane).await.map_err(broken)?;
        }
        let (sender, made) = tokio::sync::oneshot::channel();
        let written = self.ingest.write_control(ControlKind::Routes, move |at, oldest| {
            let table = current.succeed(&wanted, at, oldest);
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

    async fn begin_lane(&self, lane: Lane) -> Result<(), tokio::sync::oneshot::error::RecvError> {
        let generation = self.generation;
        let hint = move |offset| {
            let low = Position { offset, generation, account: String::new() };
            LaneHint::beginning(lane.name(), low)
        };
        let written =
            self.ingest.write_control(ControlKind::Hint, move |at, _| hint(at).encode(at));
        let at = written.await?;
        *lock(&self.hints[lane.index()]) = Some(hint(at));
        Ok(())
    }
}
