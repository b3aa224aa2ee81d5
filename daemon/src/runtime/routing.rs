//! Puts routing tables into force.
//!
//! Invariant: a lane that begins has a hint in the log before it has a table, so that a missing
//! hint always means damage.

use std::sync::Mutex;

use tributary_bridge::{Hint, Position};
use tributary_core::log::ControlKind;

use super::hint::LaneHint;
use super::ingest::Ingest;
use super::server::Failure;
use crate::replicate::table::{Table, Wanted};
use crate::sync::lock;

/// The one lane.
pub const LANE: &str = "normal";

/// What a routing table is put into force with.
pub struct Routing<'a> {
    /// Where control records are left.
    pub ingest: &'a Ingest,
    /// The table in force at the end of the log.
    pub table: &'a Mutex<Table>,
    /// The lane's hint.
    pub hint: &'a Mutex<Option<Hint>>,
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
        if wanted.lane && current.lane_since.is_none() {
            self.begin_lane().await.map_err(broken)?;
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

    async fn begin_lane(&self) -> Result<(), tokio::sync::oneshot::error::RecvError> {
        let generation = self.generation;
        let written = self.ingest.write_control(ControlKind::Hint, move |at, _| {
            let low = Position { offset: at, generation, account: String::new() };
            let hint = Hint { low, high: at };
            LaneHint { lane: LANE.to_owned(), hint }.encode(at)
        });
        let offset = written.await?;
        let low = Position { offset, generation, account: String::new() };
        *lock(self.hint) = Some(Hint { low, high: offset });
        Ok(())
    }
}
