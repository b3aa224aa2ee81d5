//! Where connections leave events for the log thread, and wait until they are durable.
//!
//! Group commit: while one commit is under way, everything that arrives gathers in the next
//! batch of bodies; when it ends, the next takes them all. No timer, no queue per client.
//! Invariant: offsets are given out in the order in which bodies are taken.

mod desk;
mod taken;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use core::time::Duration;

use super::retention::Positions;
use super::sessions::Batch;
use crate::downlink::place::Place;
use crate::sync::lock;
pub use desk::Desk;
pub use taken::{ControlRequest, Taken};
use tokio::sync::{Notify, oneshot};
use tributary_core::Offset;
use tributary_core::log::{BODY_BYTES_MAX, ControlKind, FRAME_RECORDS_MAX};
use tributary_core::time::Timestamp;

/// Bytes of events in memory that are not durable yet, of all clients together.
pub const WAITING_BYTES_MAX: usize = 8 << 20;
/// Changes of sessions in memory that are not durable, of all clients together, in bytes: above it no
/// client is read.
pub const CHANGE_BYTES_MAX: usize = 4 << 20;
/// A body is closed at this size, so that one frame is one large write and readers need no more.
const BODY_BYTES_ENOUGH: usize = 256 << 10;
/// Bytes of changes of sessions that wait for a full log: beyond, nobody begins a session that lasts, or
/// subscribes in one.
pub const CHANGES_WAITING_BYTES_MAX: usize = 256 << 10;
/// Bodies kept for reuse.
const SPARE_BODIES_MAX: usize = 8;

/// Events of one future frame, encoded.
#[derive(Debug, Default)]
pub struct Body {
    /// Encoded records, one behind the other.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u32,
    /// The wall time that the records' times are relative to.
    pub time: Timestamp,
    /// How far Kafka topics are read with these events.
    pub places: Vec<Place>,
}

impl Body {
    /// Whether a record of `length` bytes, give or take its time, goes into the next frame.
    fn is_full(&self, length: usize) -> bool {
        self.bytes.len() >= BODY_BYTES_ENOUGH
            || self.bytes.len() + length + 10 > BODY_BYTES_MAX
            || self.count == FRAME_RECORDS_MAX
    }
}

/// Why no event is taken at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The log cannot be written any more.
    Failed,
    /// The log is full and waits until its oldest events are shipped.
    Full,
    /// The daemon is shutting down.
    Stopping,
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Too much is waiting for the disk: try again when told.
    Busy,
    /// Not now.
    Closed(Closed),
}

struct State {
    taken: Taken,
    bytes: usize,
    next: Offset,
    spare: Vec<Body>,
    closed: Option<Closed>,
    next_change: u64,
    /// Bytes of changes that are not durable.
    change_bytes: usize,
    /// The log thread waits until so many connections do.
    wanted: usize,
    /// The log thread sleeps, and nobody has woken it yet.
    asleep: bool,
}

impl State {
    /// Whether the log thread waits for more connections than have come.
    fn is_gathering(&self) -> bool {
        self.taken.waiting.len() < self.wanted
    }
}

/// Shared by the connections (in) and the log thread (out).
pub struct Ingest {
    state: Mutex<State>,
    work: Condvar,
    durable: AtomicU64,
    /// The last change of a session that is durable.
    durable_change: AtomicU64,
    /// More changes wait than may.
    crowded: AtomicBool,
    space: Notify,
    positions: Positions,
    refused: AtomicU64,
    /// The log cannot be written any more.
    failed: AtomicBool,
    /// Followers have not been told of the last commit.
    untold: AtomicBool,
    progress: tokio::sync::watch::Sender<Offset>,
}

impl Ingest {
    /// For a log whose next offset is `next`; everything below is durable.
    #[must_use]
    pub fn new(next: Offset) -> Self {
        Self {
            state: Mutex::new(State {
                taken: Taken::default(),
                bytes: 0,
                next,
                spare: Vec::new(),
                closed: None,
                next_change: 1,
                change_bytes: 0,
                wanted: 0,
                asleep: false,
            }),
            work: Condvar::new(),
            durable: AtomicU64::new(next.0),
            durable_change: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
            space: Notify::new(),
            positions: Positions::default(),
            refused: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            untold: AtomicBool::new(false),
            progress: tokio::sync::watch::Sender::new(next),
        }
    }

    /// For leaving events: take it once for all events of one read.
    pub fn desk(&self) -> Desk<'_> {
        Desk { state: self.lock(), ingest: self, left: 0 }
    }

    /// Everything below this offset survives a power cut.
    pub fn durable(&self) -> Offset {
        Offset(self.durable.load(Ordering::Acquire))
    }

    /// The changes of sessions go on with this number.
    pub fn number_changes_from(&self, next: u64) {
        self.lock().next_change = next.max(1);
    }

    /// Changes of sessions up to this number survive a power cut.
    pub fn durable_change(&self) -> u64 {
        self.durable_change.load(Ordering::Acquire)
    }

    /// Follows the durable end, as far as it was [told](Self::tell_followers).
    pub fn follow(&self) -> tokio::sync::watch::Receiver<Offset> {
        self.progress.subscribe()
    }

    /// Resolves when there may be room again after [`NotTaken`].
    pub fn space(&self) -> tokio::sync::futures::Notified<'_> {
        self.space.notified()
    }

    /// Whether no client is to be read now: more changes of sessions wait than may. One of a few bytes
    /// that a client sends may be a thousand for the log.
    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Acquire)
    }

    /// Has a control record written. The receiver gets its offset once it is durable; it is
    /// dropped if the log can no longer be written.
    pub fn write_control(
        &self,
        kind: ControlKind,
        body: impl FnOnce(Offset, Offset) -> Vec<u8> + Send + 'static,
    ) -> oneshot::Receiver<Offset> {
        let (done, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.taken.controls.push(ControlRequest { kind, body: Box::new(body), done });
        self.rouse(&mut state);
        receiver
    }

    /// Where the lanes are.
    pub const fn positions(&self) -> &Positions {
        &self.positions
    }

    /// An event was refused, and whoever published it was told, or publishes at QoS 0.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Events that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Closes the desk because the log is full, or opens it again after that.
    pub fn hold(&self, full: bool) {
        let wanted = full.then_some(Closed::Full);
        let mut state = self.lock();
        if state.closed == wanted || state.closed.is_some_and(|closed| closed != Closed::Full) {
            return;
        }
        state.closed = wanted;
        drop(state);
        self.space.notify_waiters();
    }

    /// Closes the desk for good. A log that fails is past help, and who stops does not wait for it.
    pub fn close(&self, closed: Closed) {
        self.failed.fetch_or(closed == Closed::Failed, Ordering::AcqRel);
        let mut state = self.lock();
        if state.closed != Some(Closed::Stopping) {
            state.closed = Some(closed);
        }
        self.rouse(&mut state);
        drop(state);
        self.space.notify_waiters();
    }

    /// Whether the desk is closed, and why.
    pub fn closed(&self) -> Option<Closed> {
        self.lock().closed
    }

    /// Whether nothing more will become durable: the log cannot be written.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// For the log thread: waits until something is to be written, or nothing was for `patience`.
    /// Tells whether something is.
    pub fn wait(&self, patience: Duration) -> bool {
        let empty =
            |state: &mut State| state.taken.is_empty() && state.closed != Some(Closed::Stopping);
        !self.sleep_while(patience, empty).taken.is_empty()
    }

    /// For the log thread: waits until so many connections wait for a commit, or `patience` is
    /// over. Tells whether they do; nothing, if what waited was taken meanwhile.
    pub fn gather(&self, connections: usize, patience: Duration) -> Option<bool> {
        let too_few = |state: &mut State| state.is_gathering() && state.closed.is_none();
        self.lock().wanted = connections;
        let mut state = self.sleep_while(patience, too_few);
        let came = !state.is_gathering();
        let wanted = core::mem::take(&mut state.wanted);
        (wanted > 0).then_some(came)
    }

    /// The log thread sleeps while `idle` holds, for so long at most.
    fn sleep_while(
        &self,
        patience: Duration,
        mut idle: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        let sleeps = |state: &mut State| {
            state.asleep = idle(state);
            state.asleep
        };
        let waited = self.work.wait_timeout_while(self.lock(), patience, sleeps);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.asleep = false;
        state
    }

    /// Wakes the log thread if it sleeps: to wake who is awake costs a system call for nothing.
    fn rouse(&self, state: &mut State) {
        if core::mem::take(&mut state.asleep) {
            self.work.notify_one();
        }
    }

    /// Connections that wait for the next commit.
    pub fn waiting(&self) -> usize {
        self.lock().taken.waiting.len()
    }

    /// Wakes the log thread, unless it waits for more.
    pub fn wake(&self) {
        let mut state = self.lock();
        if !state.is_gathering() {
            self.rouse(&mut state);
        }
    }

    /// For who commits: takes all that waits.
    pub fn take(&self) -> Taken {
        let mut state = self.lock();
        state.wanted = 0;
        core::mem::take(&mut state.taken)
    }

    /// For who commits: everything below `end` is durable; what was taken has served. Connections are
    /// told at once, followers by [`tell_followers`](Self::tell_followers).
    pub fn committed(&self, end: Offset, taken: Taken) {
        self.durable.store(end.0, Ordering::Release);
        if let Some(batch) = taken.changes.back() {
            self.durable_change.store(batch.last(), Ordering::Release);
        }
        let mut state = self.lock();
        state.change_bytes -= taken.changes.iter().map(Batch::bytes).sum::<usize>();
        if state.change_bytes < CHANGE_BYTES_MAX && self.crowded.swap(false, Ordering::AcqRel) {
            self.space.notify_waiters();
        }
        for mut body in taken.bodies {
            state.bytes -= body.bytes.len();
            if state.spare.len() < SPARE_BODIES_MAX && body.bytes.capacity() <= BODY_BYTES_MAX {
                body.bytes.clear();
                body.count = 0;
                body.places.clear();
                state.spare.push(body);
            }
        }
        drop(state);
        for waiting in taken.waiting {
            waiting.notify_one();
        }
        self.space.notify_waiters();
        self.untold.store(true, Ordering::Release);
    }

    /// Tells followers of the last commit, unless they know. Waking them takes time: a connection that
    /// has committed itself sends its PUBACK first.
    pub fn tell_followers(&self) {
        if self.untold.load(Ordering::Acquire) && self.untold.swap(false, Ordering::AcqRel) {
            self.progress.send_modify(|end| *end = self.durable().max(*end));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::runtime::sessions::{Change, read_batch};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};

    fn event(payload: &[u8]) -> Event<'_> {
        Event {
            topic: "a/b",
            payload,
            client: "c",
            time: Timestamp(1_000),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        }
    }

    #[test]
    fn what_arrives_gathers_until_it_is_taken_and_counts_until_it_is_durable() {
        let ingest = Ingest::new(Offset(7));
        let waiter = Arc::new(Notify::new());
        let mut desk = ingest.desk();
        assert_eq!(desk.append(&event(b"1")), Ok(Offset(7)));
        assert_eq!(desk.append(&event(b"2")), Ok(Offset(8)));
        desk.wake(&waiter);
        drop(desk);
        let taken = ingest.take();
        assert_eq!(taken.bodies.iter().map(|body| body.count).sum::<u32>(), 2);
        assert_eq!(ingest.durable(), Offset(7));
        ingest.committed(Offset(9), taken);
        assert_eq!(ingest.durable(), Offset(9));
        assert_eq!(ingest.lock().bytes, 0);
    }

    #[test]
    fn the_log_thread_is_told_who_came_and_whether_another_was_first() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let ingest = Ingest::new(Offset(0));
        let leave = |count| {
            for _ in 0..count {
                let mut desk = ingest.desk();
                desk.append(&event(b"1")).expect("room");
                desk.wake(&Arc::new(Notify::new()));
            }
        };
        leave(2);
        assert_eq!(ingest.gather(3, Duration::ZERO), Some(false));
        assert_eq!(ingest.gather(2, PATIENCE), Some(true));
        std::thread::scope(|scope| {
            let log = scope.spawn(|| ingest.gather(4, PATIENCE));
            while ingest.lock().wanted == 0 {
                std::thread::yield_now();
            }
            drop(ingest.take());
            ingest.wake();
            assert_eq!(log.join().expect("no panic"), None);
        });
    }

    #[test]
    fn memory_is_bounded_and_a_closed_desk_says_why() {
        let ingest = Ingest::new(Offset(0));
        let large = vec![b'x'; 200 << 10];
        let mut desk = ingest.desk();
        let taken = (0..100).take_while(|_| desk.append(&event(&large)).is_ok()).count();
        assert!((40..=42).contains(&taken), "{taken}");
        assert_eq!(desk.append(&event(b"1")), Err(NotTaken::Busy));
        drop(desk);
        ingest.close(Closed::Failed);
        assert_eq!(ingest.desk().append(&event(b"1")), Err(NotTaken::Closed(Closed::Failed)));
    }

    #[test]
    fn changes_that_wait_are_bounded_until_they_are_durable() {
        let ingest = Ingest::new(Offset(0));
        let client = "c".repeat(1 << 10);
        let change = Change::Subscribed { filter: "#", options: 0, identifier: 0 };
        let leave = || {
            (0..).take_while(|_| {
                ingest.desk().change(&client, &change);
                !ingest.is_crowded()
            })
        };
        for _ in 0..2 {
            let left = leave().count();
            assert!((4_000..4_100).contains(&left), "{left}");
            ingest.committed(Offset(0), ingest.take());
            assert!(!ingest.is_crowded());
        }
    }

    #[test]
    fn changes_gather_in_few_bodies_and_count_until_they_are_durable() {
        let ingest = Ingest::new(Offset(0));
        let mut pending = Taken::default();
        let mut last = 0;
        ingest.hold(true);
        while ingest.desk().has_room_for_changes() {
            last = ingest.desk().change("press", &Change::Unsubscribed { filter: "plant/#" });
            pending.append(ingest.take());
        }
        assert!((5_000..CHANGES_WAITING_BYTES_MAX as u64).contains(&last), "{last}");
        let sizes: Vec<_> = pending.changes.iter().map(Batch::bytes).collect();
        assert!(sizes.len() <= 2 && sizes.iter().sum::<usize>() >= CHANGES_WAITING_BYTES_MAX);
        let read = pending.changes.iter().flat_map(|batch| read_batch(batch.body()));
        assert!(read.map(|(number, _)| number).eq(1..=last), "each has its number");
        assert_eq!(ingest.durable_change(), 0);
        ingest.committed(Offset(0), pending);
        assert_eq!(ingest.durable_change(), last);
        assert!(ingest.desk().has_room_for_changes());
    }

    #[test]
    fn who_stops_does_not_wait_for_a_log_that_fails() {
        let ingest = Ingest::new(Offset(0));
        ingest.close(Closed::Stopping);
        ingest.close(Closed::Failed);
        assert_eq!((ingest.closed(), ingest.is_failed()), (Some(Closed::Stopping), true));
        let ingest = Ingest::new(Offset(0));
        ingest.close(Closed::Failed);
        ingest.close(Closed::Stopping);
        assert_eq!((ingest.closed(), ingest.is_failed()), (Some(Closed::Stopping), true));
    }
}
