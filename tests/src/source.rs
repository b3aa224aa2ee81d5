//! What a daemon takes from another broker: how its only source stands, and what has come in.

use core::time::Duration;
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::wait;

const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Messages of a device.
#[must_use]
pub fn readings(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("reading {number}")).collect()
}

/// What `status` says of the only source.
fn status(daemon: &Daemon) -> Result<Value> {
    let status = daemon.status()?;
    let sources = status["sources"].as_array().context("status lists the sources")?;
    ensure!(sources.len() == 1, "{sources:?}");
    Ok(sources[0].clone())
}

/// Waits until `wanted` holds of what `status` says of the source.
///
/// # Errors
/// Not in time.
pub fn await_source(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait::until("the source", ANSWER_MAX, || {
        last = status(daemon)?;
        Ok(wanted(&last).then(|| last.clone()))
    });
    found.with_context(|| format!("{last:#}\n{}", daemon.log_lines().unwrap_or_default()))
}

/// Waits until messages are taken.
///
/// # Errors
/// Not in time.
pub fn await_connection(daemon: &Daemon) -> Result<()> {
    await_source(daemon, |source| source["connected"] == true).map(drop)
}

/// The payloads of a topic, in the order of the log.
///
/// # Errors
/// The daemon does not answer.
pub fn all(daemon: &Daemon, topic: &str) -> Result<Vec<String>> {
    let events = daemon.events()?.into_iter().filter(|event| event.topic == topic);
    Ok(events.map(|event| event.payload).collect())
}

/// Waits until all messages have come in, each first behind those before it.
///
/// # Errors
/// Not in time, or in another order.
pub fn await_all(daemon: &Daemon, topic: &str, messages: &[String]) -> Result<()> {
    let mut found = Vec::new();
    let whole = wait::until("all messages", ANSWER_MAX, || {
        let mut seen = BTreeSet::new();
        found = all(daemon, topic)?;
        found.retain(|payload| seen.insert(payload.clone()));
        Ok((found.len() >= messages.len()).then_some(()))
    });
    whole.with_context(|| format!("{} of {}", found.len(), messages.len()))?;
    ensure!(found == messages, "not in order: {found:?}");
    Ok(())
}
