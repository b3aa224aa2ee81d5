//! Who commits: the log thread, or a connection on the spot.
//!
//! From a socket to the log thread and back an event waits for two threads to wake, which takes
//! about as long as a fast disk's sync. So a connection that brings the last event that was expected
//! (`gathering.rs`), on a disk that has just been quick, commits itself: one device that waits for
//! each PUBACK gets it after one sync, not two. Under load, on slow cards and with `commit.delay` the
//! log thread commits, and connections go on reading meanwhile. Invariant: what is taken from the desk
//! is written before anything else is taken, so offsets stay in order; the writer's lock is held for
//! both.

use std::sync::{Arc, Mutex};

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use tributary_core::log::Media;
use tributary_core::time::Instant;

use super::gathering::Gathering;
use super::ingest::{Closed, Ingest};
use super::retention::Policy;
use super::writer::Writer;
use crate::io::clock::{micros, moment, moment_looked_at};
use crate::io::threads::pause;
use crate::sync::lock;

/// How long the log thread sleeps at most when nothing arrives.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same while a full log waits for the lanes.
const PATIENCE_FULL: Duration = Duration::from_millis(50);
/// The log is looked after so often, whoever commits.
const TENDED_MS: u64 = 500;
/// A connection commits on the spot only if the last commit took no longer: so long may it keep a
/// worker from its other connections.
const SPOT_COMMIT_US_MAX: u64 = 1_000;
/// A connection commits on the spot only if its read left no more events: more come from a client
/// that does not wait for each PUBACK, and is better read on.
const SPOT_EVENTS_MAX: usize = 4;
/// The log is at rest when nothing was committed for this part of the time that a commit takes.
const REST_DIVISOR: u64 = 4;

/// The log's writer, and whose turn it is to use it.
pub struct Committer<M: Media> {
    writer: Mutex<Writer<M>>,
    ingest: Arc<Ingest>,
    /// Distance between two commits in ms, to spare the card.
    delay_ms: AtomicU64,
    pace: Mutex<Pace>,
    gathering: Mutex<Gathering>,
}

/// How the last commit went, by a clock in microseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    ended_us: u64,
    took_us: u64,
}

impl<M: Media> Committer<M> {
    /// For the writer of the log that `ingest` gathers events for.
    #[must_use]
    pub fn new(writer: Writer<M>, ingest: Arc<Ingest>, delay: Duration) -> Self {
        let (writer, pace) = (Mutex::new(writer), Mutex::new(Pace::UNKNOWN));
        let delay_ms = AtomicU64::new(in_ms(delay));
        Self { writer, ingest, delay_ms, pace, gathering: Mutex::default() }
    }

    /// What goes when, and how far commits are apart, from now on.
    pub fn follow(&self, policy: Policy, delay: Duration) {
        lock(&self.writer).follow(policy);
        self.delay_ms.store(in_ms(delay), Ordering::Relaxed);
    }

    fn delay_ms(&self) -> u64 {
        self.delay_ms.load(Ordering::Relaxed)
    }

    /// The log thread: runs until the desk is closed for good and everything is durable.
    pub fn run(&self) {
        let (mut last, mut tended) = (Instant(0), Instant(0));
        loop {
            let is_full = self.ingest.closed() == Some(Closed::Full);
            let came = self.ingest.wait(if is_full { PATIENCE_FULL } else { PATIENCE });
            if !came && self.ingest.closed() == Some(Closed::Stopping) {
                return;
            }
            if came {
                self.hold_back(last);
            }
            if !came || self.gather() {
                self.turn();
                last = moment().now;
            }
            if moment().now.ms_since(tended) >= TENDED_MS {
                self.tend();
                tended = moment().now;
            }
        }
    }

    /// Commits all that waits.
    fn turn(&self) {
        self.commit(&mut lock(&self.writer));
        self.ingest.tell_followers();
    }

    /// Does what is due by time.
    fn tend(&self) {
        lock(&self.writer).tend(moment_looked_at());
        self.ingest.tell_followers();
    }

    /// A connection has left so many events at the desk, without waking the log thread: commits
    /// them on the spot, or wakes it. Followers are told by the caller, once it has answered, or by
    /// the log thread a little later.
    pub fn handle_left(&self, events: usize) {
        if events == 0 {
            return;
        }
        let expected = lock(&self.gathering).expected();
        let quick = self.delay_ms() == 0
            && self.ingest.waiting() >= expected
            && lock(&self.pace).lets_commit(micros(), events, expected);
        if quick && let Ok(mut writer) = self.writer.try_lock() {
            self.commit(&mut writer);
        } else {
            self.ingest.wake();
        }
    }

    fn commit(&self, writer: &mut Writer<M>) {
        let taken = self.ingest.take();
        let (any, events, told) = (!taken.is_empty(), taken.events(), taken.waiting.len());
        let begun = micros();
        writer.turn(moment(), taken);
        if any {
            let pace = Pace::of(begun, micros());
            *lock(&self.pace) = pace;
            let waiting = self.ingest.waiting();
            lock(&self.gathering).note_commit(events, (told, waiting), pace.took_us);
        }
    }

    /// Waits for those who are about to publish again. Tells whether there is anything to commit
    /// then: a connection may have done it.
    fn gather(&self) -> bool {
        let wanted = lock(&self.gathering).wanted();
        let Some((connections, us)) = wanted else { return true };
        let came = self.ingest.gather(connections, Duration::from_micros(us));
        if let Some(came) = came {
            lock(&self.gathering).note_waited(came);
        }
        came.is_some()
    }

    /// Spares the card: commits follow each other at the configured distance at least.
    fn hold_back(&self, last: Instant) {
        let delay_ms = self.delay_ms();
        let since_ms = moment().now.ms_since(last);
        if since_ms < delay_ms && self.ingest.closed().is_none() {
            pause(Duration::from_millis(delay_ms - since_ms));
        }
    }
}

fn in_ms(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

impl Pace {
    /// Before the first commit: it may be slow.
    const UNKNOWN: Self = Self { ended_us: 0, took_us: u64::MAX };

    fn of(begun_us: u64, ended_us: u64) -> Self {
        Self { ended_us, took_us: ended_us.saturating_sub(begun_us) }
    }

    /// Whether a connection that has left so many events had better commit itself, now that all
    /// who were expected have come.
    fn lets_commit(self, now_us: u64, events: usize, expected: usize) -> bool {
        let rest_us = now_us.saturating_sub(self.ended_us);
        events <= SPOT_EVENTS_MAX
            && self.took_us <= SPOT_COMMIT_US_MAX
            && (expected > 1 || rest_us >= self.took_us / REST_DIVISOR)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tributary_core::Offset;
    use tributary_core::log::{End, Entropy, Geometry, Item, ReadMedia, Reader, Tail};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::Timestamp;

    use super::*;
    use crate::io::crc::crc32c;
    use crate::runtime::clock::Clocks;
    use crate::runtime::opening::{Recovered, recover};

    const GEOMETRY: Geometry = Geometry { segments: 8, segment_bytes: 256 << 10, page_bytes: 4096 };
    /// Threads that commit, and events of each.
    const COMMITTERS: u64 = 4;
    const EVENTS: u64 = 300;
    /// For a thread to take what it must not.
    const LONG_ENOUGH_TO_BE_WRONG: Duration = Duration::from_millis(100);

    /// A disk that takes its time: while one commits, the others come as far as they can.
    #[derive(Clone)]
    struct SlowDisk(Arc<Mutex<Held>>);

    struct Held {
        segments: Vec<Vec<u8>>,
        end: Option<End>,
        tail: (u32, u32, Vec<u8>),
    }

    impl SlowDisk {
        fn new() -> Self {
            let segment = vec![0; GEOMETRY.segment_bytes as usize];
            let segments = vec![segment; GEOMETRY.segments as usize];
            Self(Arc::new(Mutex::new(Held { segments, end: None, tail: (0, 0, Vec::new()) })))
        }

        fn end(&self) -> End {
            lock(&self.0).end.expect("a log was opened")
        }
    }

    impl ReadMedia for SlowDisk {
        type Error = core::convert::Infallible;

        fn geometry(&self) -> Geometry {
            GEOMETRY
        }

        fn read(&self, segment: u32, at: u32, into: &mut [u8]) -> Result<(), Self::Error> {
            let held = lock(&self.0);
            let mut bytes = held.segments[segment as usize].clone();
            let (tail_segment, tail_at, tail) = &held.tail;
            if *tail_segment == segment {
                bytes[*tail_at as usize..*tail_at as usize + tail.len()].copy_from_slice(tail);
            }
            into.copy_from_slice(&bytes[at as usize..at as usize + into.len()]);
            Ok(())
        }
    }

    impl Media for SlowDisk {
        fn prepare(&mut self, _: u32) -> Result<(), Self::Error> {
            Ok(())
        }

        fn write(&mut self, segment: u32, at: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            let at = at as usize;
            lock(&self.0).segments[segment as usize][at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn barrier(&mut self, _: u32) -> Result<(), Self::Error> {
            (0..16).for_each(|_| thread::yield_now());
            Ok(())
        }

        fn settle(&mut self, segment: u32) -> Result<(), Self::Error> {
            self.barrier(segment)
        }

        fn publish(&mut self, end: End, _: Offset, tail: Tail<'_>) {
            let mut held = lock(&self.0);
            held.end = Some(end);
            held.tail = (tail.segment, tail.at, tail.bytes.to_vec());
        }
    }

    fn leave(ingest: &Ingest, payload: &str) -> Offset {
        let event = Event {
            topic: "plant",
            payload: payload.as_bytes(),
            client: "press",
            time: Timestamp(1_000),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        let mut desk = ingest.desk();
        let offset = desk.append(&event).expect("there is room");
        assert_eq!(desk.leave(), 1);
        offset
    }

    fn open(disk: &SlowDisk) -> (Committer<SlowDisk>, Arc<Ingest>) {
        let entropy = Entropy { log_id: 1, generation: 2, salt: 3 };
        let recovered = recover(disk.clone(), entropy, moment()).expect("it can be opened");
        let Recovered { log, snapshot, clocks, .. } = recovered;
        let ingest = Arc::new(Ingest::new(log.next_offset()));
        let clocks: Arc<Mutex<Clocks>> = Arc::new(Mutex::new(clocks));
        let writer = Writer::new(log, Arc::clone(&ingest), clocks, snapshot, Policy::default());
        (Committer::new(writer, Arc::clone(&ingest), Duration::ZERO), ingest)
    }

    /// Else who takes later could write first.
    #[test]
    fn nothing_is_taken_from_the_desk_while_another_writes() {
        let (committer, ingest) = open(&SlowDisk::new());
        leave(&ingest, "1");
        let writing = lock(&committer.writer);
        thread::scope(|scope| {
            scope.spawn(|| committer.turn());
            pause(LONG_ENOUGH_TO_BE_WRONG);
            assert!(ingest.wait(Duration::ZERO), "it is gone");
            drop(writing);
        });
        assert_eq!(ingest.durable(), Offset(1));
    }

    #[test]
    fn whoever_commits_each_event_stands_at_the_offset_that_it_was_given() {
        let disk = SlowDisk::new();
        let (committer, ingest) = open(&disk);
        let work = |number: u64| {
            let mut told = Vec::new();
            for serial in 0..EVENTS {
                let payload = format!("{number} {serial}");
                let offset = leave(&ingest, &payload);
                told.push((offset, payload));
                if serial % 3 == 0 { committer.handle_left(1) } else { committer.turn() }
            }
            told
        };
        let mut told: Vec<(Offset, String)> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..COMMITTERS).map(|number| scope.spawn(move || work(number))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        committer.turn();
        told.sort();
        let mut found = Vec::new();
        let (mut reader, mut buffer) = (Reader::new(Offset(0), crc32c), vec![0; 1 << 20]);
        while let Some(chunk) = reader.read(&disk, disk.end(), &mut buffer).expect("it is sound") {
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                found.extend(frame.map(|(offset, event)| {
                    (offset, String::from_utf8_lossy(event.payload).into_owned())
                }));
            }
        }
        assert_eq!(ingest.durable(), Offset(COMMITTERS * EVENTS));
        assert!(found == told, "events stand at other offsets than they were given");
    }

    #[test]
    fn a_lone_event_on_a_quick_disk_at_rest_is_committed_on_the_spot() {
        let pace = Pace::of(1_000, 1_100);
        assert!(pace.lets_commit(1_125, 1, 1));
        assert!(!pace.lets_commit(1_110, 1, 1), "others come at the same time");
        assert!(pace.lets_commit(1_110, 1, 10), "and all of them are there");
        assert!(!pace.lets_commit(1_125, SPOT_EVENTS_MAX + 1, 1), "a client with a window");
        assert!(!Pace::of(1_000, 2_001).lets_commit(9_000, 1, 1), "a slow card");
        assert!(!Pace::UNKNOWN.lets_commit(u64::MAX, 1, 1), "no commit was seen yet");
    }
}
