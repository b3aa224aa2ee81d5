//! What goes when: a full log drops or holds, age is kept on a clock that cannot jump.

use core::cell::RefCell;
use core::num::NonZeroU16;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use tributary::config::WhenFull;
use tributary::downlink::place::{Place, TopicPlaces};
use tributary::io::crc::crc32c;
use tributary::runtime::clock::{Clocks, Moment};
use tributary::runtime::cursors::CursorRecord;
use tributary::runtime::facts::Facts;
use tributary::runtime::ingest::{Closed, Ingest, NotTaken};
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::retention::{Gone, Policy};
use tributary::runtime::sessions::{Change, State, read_batch, replay};
use tributary::runtime::writer::Writer;
use tributary_cluster::{Kafka, Served, Settings, TopicSettings};
use tributary_core::Offset;
use tributary_core::log::{ControlKind, Counters, Entropy, Geometry, Item, Reader};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Instant, Timestamp};
use tributary_tests::daemon::Daemon;
use tributary_tests::disk::{Cut, Disk};
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const RING: Geometry = Geometry { segments: 4, segment_bytes: 64 << 10, page_bytes: 4096 };
const NOON: i64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const HOLD: Policy = Policy { max_age: None, when_full: WhenFull::Hold };
const YEARS_MS: i64 = 14 * 365 * 24 * 3_600_000;

/// A log as the daemon keeps it, on a simulated disk.
struct Keeper {
    disk: Disk,
    writer: Writer<Disk>,
    ingest: Arc<Ingest>,
    facts: Arc<Mutex<Facts>>,
    now: Moment,
}

impl Keeper {
    fn open(disk: Disk, policy: Policy, now: Moment, generation: u32) -> Self {
        let entropy = Entropy { log_id: 1, generation, salt: u64::from(generation) };
        let recovered = recover(disk.clone(), entropy, now).expect("it always starts");
        let Recovered { log, snapshot, clocks, .. } = recovered;
        let ingest = Arc::new(Ingest::new(log.next_offset()));
        let clocks: Arc<Mutex<Clocks>> = Arc::new(Mutex::new(clocks));
        let writer = Writer::new(log, Arc::clone(&ingest), clocks, snapshot, policy);
        let facts = writer.facts();
        Self { disk, writer, ingest, facts, now }
    }

    fn new(policy: Policy) -> Self {
        Self::of(RING, policy)
    }

    fn of(geometry: Geometry, policy: Policy) -> Self {
        Self::on(Disk::new(geometry, 1), policy)
    }

    /// On a disk that is full before the ring has its length.
    fn with_room(policy: Policy, segments: u32) -> Self {
        let disk = Disk::new(RING, 1);
        disk.limit_room(segments);
        Self::on(disk, policy)
    }

    fn on(disk: Disk, policy: Policy) -> Self {
        let noon = Moment { now: Instant(0), wall: Timestamp(NOON), is_set: false };
        let keeper = Self::open(disk, policy, noon, 1);
        keeper.ingest.positions().complete();
        keeper
    }

    /// With a log that is full and holds, since a lane has shipped nothing.
    fn that_holds(geometry: Geometry) -> Self {
        let mut keeper = Self::of(geometry, HOLD);
        keeper.ingest.positions().set("normal", Offset(0));
        while keeper.publish(2_000).is_ok() {
            assert!(keeper.ingest.durable().0 < 400, "the ring is full");
            keeper.turn();
        }
        keeper
    }

    /// A change of a session, of about 200 bytes; its number.
    fn subscribe(&self) -> u64 {
        let filter = "x".repeat(180);
        let subscribed = Change::Subscribed { filter: &filter, options: 1, identifier: 0 };
        self.ingest.desk().change("c", &subscribed)
    }

    fn publish(&self, payload_bytes: usize) -> Result<Offset, NotTaken> {
        self.ingest.desk().append(&event(&vec![7; payload_bytes], self.now.wall))
    }

    fn turn(&mut self) {
        self.writer.turn(self.now, self.ingest.take());
        self.writer.tend(self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now.now.0 += ms;
        self.now.wall.0 += ms.cast_signed();
        self.turn();
    }

    fn gone(&self) -> Gone {
        self.facts.lock().expect("nobody panicked").gone.clone()
    }

    fn counters(&self) -> Counters {
        self.facts.lock().expect("nobody panicked").counters
    }

    fn read(&self) -> (Vec<u64>, Gaps) {
        read(&self.disk)
    }

    /// The changes of sessions in the log: their numbers; and for each the offset at which it holds
    /// with that of the next event where it stands.
    fn changes(&self) -> (Vec<u64>, Vec<(u64, u64)>) {
        let (end, _) = self.disk.reader().end();
        let (mut reader, mut buffer) = (Reader::with_controls(Offset(0), crc32c), vec![0; 1 << 16]);
        let (mut numbers, mut places) = (Vec::new(), Vec::new());
        while let Some(chunk) = reader.read(&self.disk.reader(), end, &mut buffer).expect("it fits")
        {
            for item in chunk {
                let Item::Control(control) = item else { continue };
                if control.kind == ControlKind::Sessions {
                    for (number, noted) in read_batch(control.body) {
                        numbers.push(number);
                        places.push((noted.at, control.at.0));
                    }
                }
            }
        }
        (numbers, places)
    }
}

fn event(payload: &[u8], time: Timestamp) -> Event<'_> {
    Event {
        topic: "t",
        payload,
        client: "c",
        time,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    }
}

type Gaps = Vec<(Range<u64>, &'static str)>;

/// What a reader gets: offsets of events, and gaps with their causes.
fn read(disk: &Disk) -> (Vec<u64>, Gaps) {
    let (end, _) = disk.reader().end();
    let (mut reader, mut buffer) = (Reader::new(Offset(0), crc32c), vec![0; 1 << 16]);
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.read(&disk.reader(), end, &mut buffer).expect("frames fit") {
        for item in chunk {
            match item {
                Item::Events(frame) => events.extend(frame.map(|(offset, _)| offset.0)),
                Item::Gap { range, cause } => {
                    gaps.push((range.start.0..range.end.0, cause.name()));
                }
                Item::Control(_) => {}
            }
        }
    }
    (events, gaps)
}

#[test]
fn what_is_dropped_is_counted_for_each_lane_and_told_to_readers() {
    let mut keeper = Keeper::new(Policy::default());
    keeper.ingest.positions().set("high", Offset(1_000));
    keeper.ingest.positions().set("bulk", Offset(7));
    for _ in 0..200 {
        keeper.publish(2_000).expect("taken");
        keeper.turn();
    }
    let gone = keeper.gone();
    assert!((50..150).contains(&gone.evicted), "{gone:?}");
    assert_eq!(gone.unshipped.get("bulk"), Some(&(gone.evicted - 7)));
    assert_eq!(gone.unshipped.get("high"), None, "it had shipped them");
    let (events, gaps) = keeper.read();
    assert_eq!(gaps, [(0..gone.evicted, "evicted")]);
    assert_eq!(events, (gone.evicted..200).collect::<Vec<_>>());
}

#[test]
fn a_log_that_holds_takes_nothing_until_lanes_have_shipped() {
    let mut keeper = Keeper::new(HOLD);
    keeper.ingest.positions().set("normal", Offset(0));
    let mut taken = 0;
    while keeper.publish(2_000).is_ok() {
        taken += 1;
        assert!(taken < 200, "the ring is full");
        keeper.turn();
    }
    assert_eq!(keeper.publish(1), Err(NotTaken::Closed(Closed::Full)));
    let durable = keeper.ingest.durable().0;
    assert_eq!(durable, taken - 1, "the last one waits, and nobody is told that it is durable");
    assert_eq!(keeper.gone(), Gone::default());
    // Lanes can note what they do, hundreds of times.
    for _ in 0..20 {
        let mut noted = keeper.ingest.write_control(ControlKind::Hint, |_, _| vec![0; 60]);
        keeper.turn();
        assert!(noted.try_recv().is_ok());
    }
    assert_eq!((keeper.gone(), keeper.ingest.durable().0), (Gone::default(), durable));
    // Half a segment shipped makes no room; a whole one does.
    keeper.ingest.positions().set("normal", Offset(10));
    keeper.turn();
    assert_eq!(keeper.ingest.durable().0, durable);
    keeper.ingest.positions().set("normal", Offset(40));
    keeper.turn();
    assert_eq!(keeper.ingest.durable().0, taken, "what waited is durable");
    assert_eq!(keeper.publish(1), Ok(Offset(taken)));
    keeper.turn();
    let gone = keeper.gone();
    assert!(gone.evicted > 0 && gone.evicted <= 40 && gone.unshipped.is_empty(), "{gone:?}");
    assert_eq!(keeper.read().0, (gone.evicted..=taken).collect::<Vec<_>>());
}

/// Sessions begin and end while Kafka is away, for days.
#[test]
fn what_sessions_have_to_remember_waits_for_a_full_log_like_events() {
    let mut keeper = Keeper::that_holds(RING);
    let durable = keeper.ingest.durable().0;
    let first = keeper.ingest.durable_change() + 1;
    let mut last = 0;
    for _ in 0..90 {
        last = keeper.subscribe();
        keeper.turn();
    }
    assert_eq!((keeper.gone(), keeper.ingest.durable().0), (Gone::default(), durable));
    assert_eq!(keeper.ingest.durable_change(), 0, "what is not durable is not announced");
    // Lanes are not held up by it, nor by readers.
    let mut noted = keeper.ingest.write_control(ControlKind::Hint, |_, _| vec![0; 60]);
    keeper.turn();
    assert!(noted.try_recv().is_ok());
    // What waited comes in its order, behind the events that came before it.
    keeper.ingest.positions().set("normal", Offset(60));
    keeper.turn();
    assert_eq!(keeper.ingest.durable_change(), last);
    assert_eq!(keeper.ingest.durable().0, durable + 1);
    let (changes, ends) = keeper.changes();
    assert_eq!(changes, (first..=last).collect::<Vec<_>>());
    assert!(ends.iter().all(|(at, end)| at <= end), "a change before an event: {ends:?}");
}

#[test]
fn sessions_alone_fill_a_log_that_holds_and_evict_nothing() {
    let mut keeper = Keeper::new(HOLD);
    keeper.ingest.positions().set("normal", Offset(0));
    keeper.publish(9).expect("taken");
    let mut changes = 0;
    while keeper.ingest.closed().is_none() {
        keeper.subscribe();
        keeper.turn();
        changes += 1;
        assert!(changes < 2_000, "the ring is full");
    }
    assert_eq!((keeper.gone(), keeper.ingest.closed()), (Gone::default(), Some(Closed::Full)));
    keeper.ingest.positions().set("normal", Offset(1));
    keeper.turn();
    assert_eq!((keeper.ingest.closed(), keeper.ingest.durable_change()), (None, changes));
}

/// It would hold for events that a crash takes away, and their offsets go to others.
#[test]
fn no_change_of_a_session_holds_behind_the_end_of_the_log() {
    let mut keeper = Keeper::that_holds(RING);
    keeper.subscribe();
    keeper.turn();
    let (_, ends) = keeper.changes();
    assert_eq!(ends, [], "it waits for the event that waits");
    let Keeper { disk, now, .. } = keeper;
    disk.be_well();
    let keeper = Keeper::open(disk, HOLD, now, 2);
    assert_eq!(keeper.changes().1, []);
}

/// The reserve is for lanes. A reader that goes through a full log notes its place again and again.
#[test]
fn named_readers_evict_nothing_that_is_held() {
    let mut keeper = Keeper::that_holds(Geometry { segment_bytes: 128 << 10, ..RING });
    let mut waiting = Vec::new();
    for position in 0..500 {
        let record =
            CursorRecord { name: "reader".into(), position, lost: 0, forgotten: false }.encode();
        waiting.push(keeper.ingest.write_control(ControlKind::Cursor, move |_, _| record));
        keeper.turn();
    }
    assert_eq!(keeper.gone(), Gone::default());
    let mut noted = keeper.ingest.write_control(ControlKind::Hint, |_, _| vec![0; 60]);
    keeper.turn();
    assert!(noted.try_recv().is_ok(), "there is room for what lanes have to note");
    assert!(waiting.pop().is_some_and(|mut last| last.try_recv().is_err()));
    keeper.ingest.positions().set("normal", Offset(120));
    keeper.turn();
    assert!(waiting.pop().is_some_and(|mut last| last.try_recv().is_ok()));
}

#[test]
fn a_log_that_holds_gives_up_nothing_before_lanes_have_told_where_they_are() {
    let policy = Policy { when_full: WhenFull::Hold, ..hours(1) };
    let mut keeper = Keeper::new(policy);
    for _ in 0..10 {
        keeper.publish(9).expect("taken");
        keeper.turn();
    }
    let Keeper { disk, now, .. } = keeper;
    disk.be_well();
    // The log works before there are lanes.
    let mut keeper = Keeper::open(disk, policy, now, 2);
    keeper.pass(5 * HOUR_MS);
    while keeper.publish(2_000).is_ok() {
        assert!(keeper.ingest.durable().0 < 200, "the ring is full");
        keeper.turn();
    }
    assert_eq!(keeper.gone(), Gone::default());
    keeper.ingest.positions().set("normal", Offset(3));
    keeper.ingest.positions().complete();
    keeper.pass(HOUR_MS);
    assert_eq!(keeper.gone().expired, 3);
}

#[test]
fn a_disk_that_fails_in_the_last_commit_keeps_nobody_from_stopping() {
    let mut keeper = Keeper::new(Policy::default());
    keeper.publish(9).expect("taken");
    keeper.ingest.close(Closed::Stopping);
    keeper.disk.cut_after(0);
    keeper.turn();
    assert!(keeper.ingest.is_failed());
    assert_eq!(keeper.ingest.closed(), Some(Closed::Stopping), "the log thread would not end");
}

#[test]
fn a_log_that_holds_does_so_also_where_the_disk_is_full_before_the_ring_has_its_length() {
    let policy = Policy { when_full: WhenFull::Hold, ..Policy::default() };
    let mut keeper = Keeper::with_room(policy, 3);
    keeper.ingest.positions().set("normal", Offset(0));
    let mut taken = 0;
    while keeper.publish(2_000).is_ok() {
        taken += 1;
        assert!(taken < 200, "the ring is full");
        keeper.turn();
    }
    assert_eq!(keeper.gone(), Gone::default());
    assert_eq!(keeper.ingest.durable().0, taken - 1);
    for _ in 0..300 {
        keeper.turn();
    }
    assert_eq!(keeper.gone(), Gone::default());
    // There is room again, and after a while somebody asks.
    keeper.disk.limit_room(4);
    for _ in 0..300 {
        keeper.turn();
    }
    assert_eq!((keeper.gone(), keeper.ingest.durable().0), (Gone::default(), taken));
}

#[test]
fn a_next_segment_that_cannot_be_begun_evicts_nothing_that_is_held() {
    let mut failures = 0;
    for operations in 0..16 {
        let mut keeper = Keeper::new(Policy { when_full: WhenFull::Hold, ..Policy::default() });
        keeper.ingest.positions().set("normal", Offset(0));
        while keeper.publish(2_000).is_ok() {
            keeper.turn();
        }
        // The oldest segment may go; the one behind it, of which a part is shipped, may not.
        keeper.ingest.positions().set("normal", Offset(40));
        keeper.disk.fail_after(operations);
        for _ in 0..5 {
            keeper.turn();
            if keeper.publish(2_000).is_err() {
                break;
            }
        }
        let gone = keeper.gone();
        failures += keeper.counters().failures;
        assert!(gone.unshipped.is_empty(), "operation {operations}: {gone:?}");
    }
    assert!(failures > 12, "{failures} operations");
}

#[test]
fn a_segment_that_fails_evicts_nothing_that_is_held() {
    for operations in 0..3 {
        let mut keeper = Keeper::that_holds(RING);
        let durable = keeper.ingest.durable().0;
        keeper.disk.fail_after(operations);
        let mut noted = keeper.ingest.write_control(ControlKind::Hint, |_, _| vec![0; 60]);
        keeper.turn();
        if noted.try_recv().is_ok() {
            assert_eq!(operations, 2, "a commit is a write and a barrier");
            continue;
        }
        assert_eq!(keeper.ingest.closed(), Some(Closed::Failed));
        assert_eq!(keeper.gone(), Gone::default());
        let (events, gaps) = keeper.read();
        assert_eq!((events, gaps), ((0..durable).collect::<Vec<_>>(), Vec::new()));
    }
}

/// A log that has read a Kafka topic, with a routing table of so many bytes, and its segment nearly full.
fn that_reads_a_topic(table_bytes: usize) -> Keeper {
    let mut keeper = Keeper::new(Policy::default());
    let topic = TopicPlaces { topic: "commands".to_owned(), ..TopicPlaces::default() };
    let kinds = [ControlKind::Routes, ControlKind::Downlink];
    for (kind, body) in kinds.into_iter().zip([vec![1; table_bytes], topic.encode()]) {
        drop(keeper.ingest.write_control(kind, move |_, _| body));
    }
    keeper.turn();
    for _ in 0..18 {
        keeper.publish(2_000).expect("taken");
        keeper.turn();
    }
    keeper
}

#[test]
fn how_far_a_topic_was_read_is_known_behind_a_new_segment_that_fails() {
    let mut failures = 0;
    // Of some of these tables the topic's record reaches from one page into the next.
    for (table_bytes, operations) in (0..16 * 16).map(|n| (7_960 + n / 16 * 16, n as u64 % 16)) {
        let mut keeper = that_reads_a_topic(table_bytes);
        // A command has room in this segment, the event behind it begins the next.
        let place = Place { topic: "commands".to_owned(), partition: 3, next: 7 };
        let command = event(&[7; 9], keeper.now.wall);
        let command = keeper.ingest.desk().append_read(&command, place).expect("taken");
        let mut taken = keeper.ingest.take();
        let last = keeper.publish(9_000).expect("taken");
        taken.append(keeper.ingest.take());
        keeper.disk.fail_after(operations);
        keeper.writer.turn(keeper.now, taken);
        failures += u32::from(keeper.counters().failures > 0);
        if keeper.ingest.durable() <= last {
            continue;
        }
        keeper.disk.power_cut(Cut::Lost);
        let entropy = Entropy { log_id: 1, generation: 2, salt: 2 };
        let found = recover(keeper.disk.clone(), entropy, keeper.now).expect("it starts");
        let places = found.snapshot.places().get("commands").expect("it was named");
        // Events from there on are looked at: they tell it, too.
        let is_known = places.at <= command.0 || places.next.get(&3) == Some(&7);
        assert!(is_known, "{places:?}; {table_bytes}, operation {operations}");
    }
    assert!(failures > 100, "{failures} operations");
}

#[test]
fn what_goes_when_can_be_changed_while_it_runs() {
    let hold = Policy { when_full: WhenFull::Hold, ..Policy::default() };
    let mut keeper = Keeper::new(Policy::default());
    keeper.ingest.positions().set("normal", Offset(0));
    let publish = |keeper: &mut Keeper| {
        for _ in 0..200 {
            if keeper.publish(2_000).is_err() {
                return;
            }
            keeper.turn();
        }
    };
    publish(&mut keeper);
    let evicted = keeper.gone().evicted;
    assert!(evicted > 0);
    keeper.writer.follow(hold);
    publish(&mut keeper);
    assert_eq!(keeper.publish(1), Err(NotTaken::Closed(Closed::Full)));
    assert_eq!(keeper.gone().evicted, evicted);
    keeper.writer.follow(Policy::default());
    keeper.turn();
    publish(&mut keeper);
    assert!(keeper.gone().evicted > evicted + 100);
    keeper.pass(5 * HOUR_MS);
    assert_eq!(keeper.gone().expired, 0);
    keeper.writer.follow(hours(1));
    keeper.turn();
    assert!(keeper.gone().expired > 0);
}

#[test]
fn without_a_lane_nothing_is_held() {
    let mut keeper = Keeper::new(HOLD);
    for _ in 0..200 {
        keeper.publish(2_000).expect("taken");
        keeper.turn();
    }
    assert!(keeper.gone().evicted > 0);
}

fn hours(hours: u64) -> Policy {
    Policy { max_age: Some(Duration::from_millis(hours * HOUR_MS)), ..Policy::default() }
}

#[test]
fn events_go_at_their_age_to_the_minute_and_after_a_restart_too() {
    let mut keeper = Keeper::new(hours(2));
    keeper.ingest.positions().set("normal", Offset(5));
    for _ in 0..120 {
        keeper.publish(900).expect("taken");
        keeper.pass(60_000);
    }
    assert_eq!(keeper.gone(), Gone::default(), "none is older than two hours");
    keeper.pass(30 * 60_000);
    let gone = keeper.gone();
    assert!((29..=31).contains(&gone.expired), "{gone:?}");
    assert_eq!(gone.unshipped.get("normal"), Some(&(gone.expired - 5)));
    let (events, gaps) = keeper.read();
    assert_eq!(gaps, [(0..gone.expired, "evicted")]);
    assert_eq!(events, (gone.expired..120).collect::<Vec<_>>());
    let Keeper { disk, now, .. } = keeper;
    disk.be_well();
    let mut keeper = Keeper::open(disk, hours(2), now, 2);
    assert_eq!(keeper.read().1, [(0..gone.expired, "evicted")], "gone for good");
    keeper.pass(3 * HOUR_MS);
    let (events, gaps) = keeper.read();
    assert_eq!((events, gaps), (vec![], vec![(0..120, "evicted")]));
}

thread_local! {
    /// For who looks last: a simulated disk stays in its thread.
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

#[test]
fn who_looks_last_can_read_all_that_goes() {
    for (policy, segments) in [(Policy::default(), 4), (Policy::default(), 3), (hours(2), 4)] {
        let mut keeper = Keeper::with_room(policy, segments);
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        DISK.set(Some(keeper.disk.clone()));
        let looked = Arc::clone(&seen);
        keeper.writer = keeper.writer.with_last_look(Box::new(move |below| {
            let mut looked = looked.lock().expect("nobody panicked");
            let next = looked.last().map_or(0, |last| last + 1);
            let there = DISK.with_borrow(|disk| read(disk.as_ref().expect("it was set")).0);
            looked.extend(there.iter().filter(|at| (next..below.0).contains(*at)));
        }));
        for _ in 0..300 {
            keeper.publish(900).expect("taken");
            keeper.pass(60_000);
        }
        let Gone { evicted, expired, .. } = keeper.gone();
        assert!(evicted + expired > 20, "evicted {evicted}, expired {expired}");
        assert_eq!(expired > 0, policy.max_age.is_some());
        let seen = seen.lock().expect("nobody panicked");
        assert_eq!(*seen, (0..evicted + expired).collect::<Vec<_>>());
    }
}

/// Folds what the log has behind a state.
fn fold(state: &mut State) {
    DISK.with_borrow(|disk| {
        let reader = disk.as_ref().expect("it was set").reader();
        replay(state, &reader, reader.end().0).expect("it can be read");
    });
}

/// Sessions may fill a ring with what they tell while no event comes.
#[test]
fn who_looks_last_can_read_what_stands_in_segments_without_events() {
    for events in [0, 1] {
        let mut keeper = Keeper::new(Policy::default());
        let known: Arc<Mutex<State>> = Arc::default();
        DISK.set(Some(keeper.disk.clone()));
        let folded = Arc::clone(&known);
        keeper.writer = keeper.writer.with_last_look(Box::new(move |below| {
            let mut folded = folded.lock().expect("nobody panicked");
            if folded.applied.offset <= below.0 {
                fold(&mut folded);
            }
        }));
        for _ in 0..events {
            keeper.publish(9).expect("taken");
        }
        let filter = "x".repeat(180);
        let change = Change::Subscribed { filter: &filter, options: 1, identifier: 0 };
        for number in 0..3_000 {
            keeper.ingest.desk().change(&format!("c{number}"), &change);
            keeper.turn();
        }
        let mut known = known.lock().expect("nobody panicked");
        fold(&mut known);
        assert_eq!(known.clients.len(), 3_000, "{events}");
    }
}

#[test]
fn shipped_or_not_a_log_that_holds_keeps_what_lanes_have_not() {
    let mut keeper = Keeper::new(Policy { when_full: WhenFull::Hold, ..hours(1) });
    keeper.ingest.positions().set("normal", Offset(3));
    for _ in 0..10 {
        keeper.publish(9).expect("taken");
        keeper.turn();
    }
    keeper.pass(5 * HOUR_MS);
    assert_eq!(keeper.gone().expired, 3);
    assert_eq!(keeper.read().0, (3..10).collect::<Vec<_>>());
}

#[test]
fn no_wrong_clock_makes_an_event_go() {
    let mut keeper = Keeper::new(hours(1));
    keeper.publish(9).expect("taken");
    keeper.turn();
    // The clock jumps to 2040 and back while the daemon runs, and across restarts.
    let walls = [NOON, NOON + YEARS_MS, NOON, 0, NOON + YEARS_MS, NOON, NOON + 60_000];
    for (generation, wall) in (2..).zip(walls.windows(2)) {
        let [wall, at_boot] = wall.try_into().expect("two");
        keeper.now.wall = Timestamp(wall);
        keeper.pass(1_000);
        keeper.publish(9).expect("taken");
        keeper.turn();
        let Keeper { disk, now, .. } = keeper;
        disk.be_well();
        let boot = Moment { now: Instant(0), wall: Timestamp(at_boot), ..now };
        keeper = Keeper::open(disk, hours(1), boot, generation);
        keeper.pass(1_000);
        assert_eq!(keeper.read().0, (0..u64::from(generation)).collect::<Vec<_>>(), "{wall}");
    }
    // Then the network sets it, and sets it again after an outage of two hours: that counts.
    keeper.now.is_set = true;
    keeper.pass(1_000);
    keeper.publish(9).expect("taken");
    keeper.turn();
    assert_eq!(keeper.gone().expired, 0);
    let Keeper { disk, mut now, .. } = keeper;
    disk.be_well();
    now.wall.0 += 2 * HOUR_MS.cast_signed();
    let mut keeper = Keeper::open(disk, hours(1), Moment { now: Instant(0), ..now }, 9);
    keeper.pass(1_000);
    assert_eq!(keeper.gone().expired, 8);
}

/// Sends and receives MQTT, byte by byte.
struct Wire(TcpStream);

impl Wire {
    fn connect(port: u16, version: u8, keep_alive_s: u8) -> Result<Self> {
        let mut wire = Self(TcpStream::connect(("127.0.0.1", port))?);
        wire.0.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, keep_alive_s];
        body.extend(if version == 5 { &[0, 0, 1, b'5'][..] } else { &[0, 1, b'4'][..] });
        wire.send(0x10, &body)?;
        ensure!(wire.packet()?.0 == 0x20, "a CONNACK");
        Ok(wire)
    }

    fn publish(&mut self, version: u8, id: NonZeroU16, payload: &[u8]) -> Result<()> {
        let mut body = vec![0, 17];
        body.extend(b"plant/1/telemetry");
        body.extend(id.get().to_be_bytes());
        body.extend((version == 5).then_some(0));
        body.extend(payload);
        self.send(0x32, &body)
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut packet = vec![kind];
        let mut left = body.len();
        while left >= 0x80 {
            packet.push(u8::try_from(left % 0x80)? | 0x80);
            left /= 0x80;
        }
        packet.push(u8::try_from(left)?);
        packet.extend(body);
        Ok(self.0.write_all(&packet)?)
    }

    /// The next packet, if it is a short one.
    fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

/// What is published: numbered, and large.
fn large(seq: usize) -> String {
    format!("{{\"seq\":{seq},\"x\":\"{}\"}}", "x".repeat(60_000))
}

/// A daemon with a small log that holds.
fn that_holds(sections: &str) -> Result<Daemon> {
    let mut daemon = Daemon::start(TRIBUTARY, sections)?;
    daemon.stop()?;
    let config = fs::read_to_string(daemon.config())?;
    let held = config.replace("\"64 MiB\"", "\"16 MiB\"\nwhen_full = \"hold\"");
    fs::write(daemon.config(), held)?;
    daemon.restart()?;
    Ok(daemon)
}

#[test]
fn a_daemon_that_holds_makes_devices_wait_and_loses_nothing() -> Result<()> {
    const EVENTS: u16 = 330;
    let mut cluster =
        tributary_cluster::Cluster::new(Settings { kafka: Kafka::V3_9_2, ..Settings::default() });
    cluster.create_topic("all", TopicSettings::default()).ok().context("a new topic")?;
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let route = "[[route]]\nfrom = \"plant/+/telemetry\"\ntopic = \"all\"\n";
    let upstream = format!("[upstream]\nbrokers = [{}]\n{route}", brokers.join(", "));
    let daemon = that_holds(&upstream)?;
    served.go_away();

    // A device that speaks 3.1.1 and would be dropped after 3 s of silence.
    let mut device = Wire::connect(daemon.port(), 4, 2)?;
    let mut answers = Wire(device.0.try_clone()?);
    let acked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&acked);
    let reading = std::thread::spawn(move || {
        while counter.load(Ordering::Relaxed) < usize::from(EVENTS) {
            match answers.packet()?.0 {
                0x40 => drop(counter.fetch_add(1, Ordering::Relaxed)),
                kind => ensure!(kind == 0xD0, "a PUBACK or a PINGRESP, and not {kind:#x}"),
            }
        }
        Ok(())
    });
    let counter = Arc::clone(&acked);
    let sending = std::thread::spawn(move || {
        for id in (1..=EVENTS).filter_map(NonZeroU16::new) {
            device.publish(4, id, large(usize::from(id.get())).as_bytes())?;
        }
        while counter.load(Ordering::Relaxed) < usize::from(EVENTS) {
            device.send(0xC0, &[])?;
            wait::pass(Duration::from_millis(300));
        }
        anyhow::Ok(device)
    });
    let limit = Duration::from_mins(1);
    wait::until("a full log", limit, || {
        let status = daemon.status()?;
        Ok(status["log"]["refusing"].as_str().is_some_and(|why| why.contains("full")).then_some(()))
    })?;
    let before = acked.load(Ordering::Relaxed);
    ensure!((100..usize::from(EVENTS)).contains(&before), "{before} are acknowledged");
    // Who speaks MQTT 5 is told.
    let mut five = Wire::connect(daemon.port(), 5, 60)?;
    five.publish(5, NonZeroU16::MIN, b"{}")?;
    let (kind, body) = five.packet()?;
    ensure!((kind, &body[..3]) == (0x40, &[0, 1, 0x97][..]), "{kind:#x} {body:x?}");
    wait::pass(Duration::from_secs(4));
    let status = daemon.status()?;
    ensure!(status["log"]["evicted"] == 0 && status["log"]["refused"] == 1, "{status:#}");
    let durable = status["log"]["durable"].as_u64().context("durable")?;
    ensure!(durable >= acked.load(Ordering::Relaxed) as u64, "no false acknowledgement");

    served.come_back()?;
    reading.join().expect("no panic")?;
    drop(sending.join().expect("no panic")?);
    daemon.drain()?;
    let status = daemon.status()?;
    ensure!(status["log"]["durable"] == u64::from(EVENTS), "{status:#}");
    ensure!(status["log"]["unshipped"] == serde_json::json!({}), "{status:#}");
    ensure!(status["routes"][0]["delivered"] == u64::from(EVENTS), "{status:#}");
    ensure!(status["routes"][0]["lost"] == 0, "{status:#}");
    ensure!(status["log"]["refusing"].is_null(), "{status:#}");
    Ok(())
}
