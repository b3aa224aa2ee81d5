//! Drives one lane: waits for its connections, the log and the clock, and does what the [`Lane`]
//! asks for.
//!
//! Invariant: the lane learns of a claim only when it is durable in the log.

use std::sync::{Arc, Mutex};

use core::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tributary_core::Offset;
use tributary_core::log::ControlKind;

use super::aside::Detour;
use super::feed::Present;
use super::lane::{Beginning, Effect, Lane};
use super::report::{Counters, Report};
use super::table::Table;
use super::traffic::{Traffic, View};
use crate::config::upstream::Access;
use crate::io::clock::{moment, now, wall};
use crate::io::kafka::{self, Links};
use crate::io::network::Watch;
use crate::io::segments::SegmentReader;
use crate::runtime::clock::Clocks;
use crate::runtime::dead_letters::FileLetters;
use crate::runtime::hint::LaneHint;
use crate::runtime::ingest::Ingest;
use crate::sync::lock;

/// What a lane needs of the daemon.
pub struct Context {
    /// What the lane begins with.
    pub beginning: Beginning,
    /// How the cluster is reached.
    pub access: Access,
    /// The lane's hint as it stands in the log, for the lane that follows this one.
    pub hint: Arc<Mutex<Option<LaneHint>>>,
    /// What the lanes share.
    pub traffic: Arc<Mutex<Traffic>>,
    /// The routing table in force at the end of the log.
    pub table: Arc<Mutex<Table>>,
    /// The log, to read.
    pub log: SegmentReader,
    /// The log, to write hints.
    pub ingest: Arc<Ingest>,
    /// The stream of dead letters.
    pub letters: Arc<Mutex<FileLetters>>,
    /// The time.
    pub clocks: Arc<Mutex<Clocks>>,
    /// Where it asks for other routing tables.
    pub detours: mpsc::Sender<DetourAsked>,
    /// Where the lane tells how it stands.
    pub report: Arc<Mutex<Report>>,
    /// What all lanes have done, those that have ended among them.
    pub done: Arc<Mutex<Counters>>,
    /// Told when an operator has decided where the lane goes on: the hint says.
    pub decided: Arc<Notify>,
    /// Told when the lane has halted.
    pub halted: Arc<Notify>,
    /// Becomes true when the lane is to end.
    pub stop: watch::Receiver<bool>,
}

/// What was left for the log, or asked for, and is not done yet.
struct Awaited {
    claim: Option<oneshot::Receiver<Offset>>,
    detour: Option<oneshot::Receiver<()>>,
}

/// A routing table that a lane asks for; and who waits for it.
pub type DetourAsked = (Detour, oneshot::Sender<()>);

/// Runs a lane until it is told to stop, or has nothing left to do. Needs a tokio runtime with I/O and time.
pub async fn run(context: Context) {
    let Context { beginning, access, hint, traffic, table, log, .. } = context;
    let Context {
        ingest, letters, clocks, detours, report, done, decided, halted, mut stop, ..
    } = context;
    let name = beginning.lane;
    lock(&traffic).reset(name);
    let mut lane = Lane::new(now(), beginning, log.clone());
    let mut links = Links::new(&access);
    let network = Watch::new();
    let mut awaited = Awaited { claim: None, detour: None };
    let mut durable = ingest.follow();
    loop {
        durable.mark_unchanged();
        let view = lock(&traffic).view(now(), wall(), name);
        lane.follow(&lock(&table));
        lane.work(now(), &present(&log, &clocks, view));
        let mut goes_on = false;
        while let Some(effect) = lane.poll_effect() {
            match effect {
                Effect::WriteHint(body) => {
                    let written = ingest.write_control(ControlKind::Hint, move |_, _| body);
                    awaited.claim = Some(written);
                }
                Effect::Detour(wish) => {
                    let (answer, answered) = oneshot::channel();
                    // Each lane asks for one at a time, and there is room for all of them.
                    detours.try_send((wish, answer)).unwrap_or_default();
                    awaited.detour = Some(answered);
                }
                Effect::Bury(burial) => {
                    let done = lock(&letters).bury(moment(), name, &burial);
                    lane.handle_buried(now(), done);
                    goes_on = true;
                }
                effect => connect(effect, &mut links),
            }
        }
        if goes_on {
            continue;
        }
        let is_spent = tell(&lane, name, (&report, &done, &halted), (&ingest, &traffic, &table));
        if is_spent || lane.is_done(now()) {
            lock(&traffic).reset(name);
            return;
        }
        let pause = Duration::from_millis(lane.poll_timeout(now()).ms_since(now()));
        tokio::select! {
            event = links.next() => kafka::hand_over(event, lane.talk()),
            written = claimed(&mut awaited.claim) => {
                awaited.claim = None;
                lane.handle_claimed(now(), written);
                lock(&hint).clone_from(lane.hint());
            }
            () = answered(&mut awaited.detour) => {
                awaited.detour = None;
                lane.handle_detour();
            }
            () = decided.notified() => {
                let hint = lock(&hint).clone();
                lane.handle_decided(now(), hint);
            }
            () = network.returned() => lane.handle_link_returned(now()),
            Ok(()) = durable.changed() => {}
            Ok(()) = stop.changed() => lane.handle_stop(now()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tells how a lane stands. Whether it has nothing left to do.
fn tell(
    lane: &Lane<SegmentReader>,
    name: crate::config::Lane,
    (report, done, halted): (&Mutex<Report>, &Mutex<Counters>, &Notify),
    (ingest, traffic, table): (&Ingest, &Mutex<Traffic>, &Mutex<Table>),
) -> bool {
    let position = {
        let mut report = lock(report);
        let (was_halted, before) = (report.halted.is_some(), report.counters);
        lane.tell(now(), &mut report);
        lock(done).add(report.counters.since(before));
        if !was_halted && report.halted.is_some() {
            halted.notify_one();
        }
        report.position(name, &lock(table))
    };
    ingest.positions().set(name.name(), position);
    lock(traffic).tell(now(), wall(), name, lane.news());
    // Under a table that comes later the lane is begun anew: either it sees that one, or is seen to be over.
    let mut report = lock(report);
    let is_spent = lane.is_spent(&lock(table));
    report.is_over |= is_spent;
    if is_spent {
        // It needs nothing of the log any more.
        ingest.positions().remove(name.name());
    }
    is_spent
}

/// Does what concerns connections.
fn connect(effect: Effect, links: &mut Links) {
    match effect {
        Effect::Connect { conn, host, port } => links.connect(conn, host, port),
        Effect::Send { conn, bytes } => links.send(conn, bytes),
        Effect::Authenticate { conn, fresh } => links.authenticate(conn, fresh),
        Effect::Disconnect { conn } => links.disconnect(conn),
        Effect::WriteHint(_) | Effect::Detour(_) | Effect::Bury(_) => {
            unreachable!("it concerns the log")
        }
    }
}

fn present(log: &SegmentReader, clocks: &Mutex<Clocks>, traffic: View) -> Present {
    let clocks = lock(clocks);
    Present {
        end: log.end(),
        oldest: log.oldest(),
        clock: clocks.now(moment()),
        anchor: clocks.anchor(),
        traffic,
    }
}

/// Resolves when the routing table that was asked for is in force, or will not be.
async fn answered(detour: &mut Option<oneshot::Receiver<()>>) {
    match detour {
        None => core::future::pending().await,
        Some(answered) => answered.await.unwrap_or_default(),
    }
}

/// Resolves when the claim under way is durable, or can never be (`false`).
async fn claimed(claim: &mut Option<oneshot::Receiver<Offset>>) -> bool {
    match claim {
        None => core::future::pending().await,
        Some(written) => written.await.is_ok(),
    }
}
