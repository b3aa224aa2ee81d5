//! Where the coordinator of the transactional id, or of the group, is.

use tributary_core::time::Instant;

use super::{Context, PATIENCE_MS};
use crate::failure::Failure;
use crate::links::{Ask, Role};
use crate::output::ConnId;
use crate::task::{MOVING, Task};
use crate::wire::{Address, Api, Class, Dialect, Outcome, ask};

/// The search for one coordinator, and what it found.
#[derive(Debug)]
pub(crate) struct Coordinator {
    role: Role,
    task: Task,
    address: Option<Address>,
}

impl Coordinator {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, task: Task::default(), address: None }
    }

    /// One that is not needed, and never looked for.
    pub(crate) fn unneeded(role: Role) -> Self {
        Self { role, task: Task::DONE, address: None }
    }

    /// Where it is, unless it is being looked for.
    pub(crate) fn address(&self) -> Option<&Address> {
        self.address.as_ref().filter(|_| self.task.is_done())
    }

    /// It is not where it was.
    pub(crate) fn moved(&mut self) {
        self.task.restart();
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        self.task.wake(now);
    }

    pub(crate) fn is_due(&self) -> bool {
        self.task.is_due()
    }

    pub(crate) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        dialect: Dialect,
    ) -> Result<(), Failure> {
        if self.task.is_due() {
            let version = cx.links.version(conn, Api::FindCoordinator, dialect)?;
            let request = ask::coordinator(&cx.links.ids, self.role == Role::Transactions, version);
            let to = (conn, Api::FindCoordinator, version);
            cx.links.send(cx.now, to, Ask::Coordinator(self.role), &request);
            self.task.asked();
        }
        Ok(())
    }

    pub(crate) fn handle_answer(
        &mut self,
        cx: &mut Context<'_>,
        found: Outcome<Address>,
    ) -> Result<(), Failure> {
        let code = match found {
            Ok(address) => {
                self.address = Some(address);
                self.task.done();
                return Ok(());
            }
            Err(code) => code,
        };
        match code.class() {
            // The first search in a new cluster makes the internal topic.
            Class::Loading | Class::Moved => {
                cx.counters.retries += 1;
                if self.task.again(cx.now, MOVING) > PATIENCE_MS {
                    return Err(Failure::answered(Api::FindCoordinator, code));
                }
                Ok(())
            }
            class if class.is_refusal() => {
                Err(Failure::refused_identity(&cx.links.ids.identity, code))
            }
            _ => Err(Failure::answered(Api::FindCoordinator, code)),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.task.poll_timeout()
    }
}
