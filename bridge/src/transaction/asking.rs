//! One request of a transaction: where it goes, and what its answer asks for.

use crate::failure::Failure;
use crate::output::ConnId;
use crate::session::{Context, Parts};
use crate::task::{BUSY, MOVING, Task};
use crate::wire::{Address, Api, Class, Code, Dialect};

/// Who has to be looked for before another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Nobody,
    Coordinator,
    Leader,
}

/// Where a request goes if it is due; it is then on its way.
pub(super) fn due(
    cx: &mut Context<'_>,
    task: &mut Task,
    (address, api, dialect): (Option<&Address>, Api, Dialect),
) -> Result<Option<(ConnId, Api, i16)>, Failure> {
    let Some(address) = address.filter(|_| task.is_due()) else {
        return Ok(None);
    };
    let Some(conn) = cx.links.reach(cx.now, address)? else {
        return Ok(None);
    };
    let version = cx.links.version(conn, api, dialect)?;
    task.asked();
    Ok(Some((conn, api, version)))
}

/// Does with a request what its answer asks for.
pub(super) fn settle(
    cx: &mut Context<'_>,
    task: &mut Task,
    (api, code, topic): (Api, Code, Option<String>),
) -> Result<Moved, Failure> {
    let (pause, moved) = match code.class() {
        Class::Good => {
            task.done();
            return Ok(Moved::Nobody);
        }
        Class::Busy => (BUSY, Moved::Nobody),
        Class::Loading => (MOVING, Moved::Nobody),
        Class::Moved => (MOVING, Moved::Coordinator),
        Class::Leader => (MOVING, Moved::Leader),
        class if class.is_refusal() => {
            return Err(match topic {
                Some(topic) if code.is_of_topic() => Failure::refused_topic(&topic, code),
                Some(topic) => Failure::refused(&format!("topic {topic}"), code),
                None => Failure::refused_identity(&cx.links.ids.identity, code),
            });
        }
        _ => return Err(Failure::answered(api, code)),
    };
    cx.counters.retries += 1;
    // The deadline of the transaction bounds the tries.
    task.again(cx.now, pause);
    Ok(moved)
}

/// Looks for who has moved; `api` tells which coordinator was asked.
pub(super) fn follow(moved: Moved, parts: &mut Parts, api: Api) {
    match (moved, api) {
        (Moved::Nobody, _) => {}
        (Moved::Coordinator, Api::TxnOffsetCommit | Api::OffsetCommit) => parts.group.moved(),
        (Moved::Coordinator, _) => parts.transactions.moved(),
        (Moved::Leader, _) => parts.topics.refresh(),
    }
}
