//! What logs of several pasts say has to be read, and what follows from what is found there.

use tempfile::TempDir;
use tributary_core::log::{Clock, ControlKind, Entropy, Frame, Log};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos, encode, encoded_len};
use tributary_core::time::{Age, Timestamp};

use super::*;
use crate::config::{Lane, Route, Start};
use crate::io::segments::{SegmentFiles, SegmentReader};
use crate::replicate::account::Account;
use crate::replicate::aside::{Standing, Wish};
use crate::replicate::letter::Fate;
use crate::replicate::table::{Table, Wanted};
use crate::runtime::opening::recover;

const LOG_ID: u64 = 7;
const HOUR_MS: i64 = 3_600_000;

/// A log in files, with its tables.
struct Past {
    log: Log<SegmentFiles, Box<[u8]>>,
    reader: SegmentReader,
    table: Table,
    _dir: TempDir,
}

impl Past {
    fn new(routes: &[(&str, Option<Start>)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let files = SegmentFiles::open(dir.path(), 16 << 20, true).expect("files");
        let reader = files.reader();
        let entropy = Entropy { log_id: LOG_ID, generation: 1, salt: 1 };
        let moment = crate::io::clock::moment();
        let log = recover(files, entropy, moment).expect("a new log").log;
        let mut past = Self { log: *log, reader, table: Table::none(), _dir: dir };
        past.ask_for(routes);
        past
    }

    fn ask_for(&mut self, routes: &[(&str, Option<Start>)]) {
        let wanted = Wanted::compile(&routes.iter().map(route).collect::<Vec<_>>(), true);
        let wanted = wanted.expect("they compile");
        self.put(self.table.succeed(&wanted, self.log.next_offset(), Offset(0)));
    }

    fn put(&mut self, table: Table) {
        let clock = clock(0);
        let body = table.encode();
        self.log.append_control(ControlKind::Routes, &body, clock).expect("there is room");
        self.log.commit().expect("a disk");
        self.table = table;
    }

    /// Events up to an offset, one each second.
    fn fill(&mut self, to: u64) {
        while self.log.next_offset().0 < to {
            let wall_ms = i64::try_from(self.log.next_offset().0).expect("few") * 1_000;
            self.append(wall_ms, &event(wall_ms));
        }
    }

    fn append(&mut self, wall_ms: i64, event: &Event<'_>) {
        let clock = clock(wall_ms);
        let mut body = vec![0; encoded_len(event, clock.wall)];
        encode(event, clock.wall, &mut body);
        self.log.append(&Frame { count: 1, clock, body: &body }).expect("there is room");
        self.log.commit().expect("a disk");
    }

    fn ground(
        &self,
        lane: Lane,
        doubt: core::ops::Range<u64>,
        account: &str,
    ) -> Result<Ground, String> {
        let account = Account::parse(account).expect("an account");
        Ground::read((&self.reader, self.reader.end()), lane, (&doubt, &account))
    }
}

fn clock(wall_ms: i64) -> Clock {
    Clock { wall: Timestamp(HOUR_MS * 24 + wall_ms), age: Age(5), trusted: true }
}

fn event(wall_ms: i64) -> Event<'static> {
    Event {
        topic: "plant",
        payload: b"x",
        client: "press",
        time: clock(wall_ms).wall,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    }
}

fn route(&(topic, start): &(&str, Option<Start>)) -> Route {
    Route { start, ..Route::everything(topic) }
}

/// Whose records of route "b" a lane has to look for, of these offsets.
fn of_b(ground: &Ground, offsets: &[u64]) -> Vec<u64> {
    let is_sought = |offset: &u64| ground.place("b", *offset).is_some();
    offsets.iter().copied().filter(is_sought).collect()
}

/// What is concluded where these records stand in Kafka.
fn verdict(ground: &Ground, start: u64, records: &[(&str, &[u64])]) -> Result<Verdict, String> {
    let mut evidence = Evidence::new(LOG_ID, start, ground.clone());
    for topic in &ground.topics {
        evidence.handle_found(&tests::began(topic, Began::First));
    }
    for (route, offsets) in records {
        let batch = tests::batch(LOG_ID, 0, route, offsets);
        evidence.handle_found(&tests::records(route, batch));
    }
    evidence.verdict()
}

/// Two routes; the second's topic is another lane's from 40 on, as the log says from 60 on, until 90.
fn with_an_aside() -> Past {
    let mut past = Past::new(&[("a", None), ("b", None)]);
    past.fill(60);
    let position = tributary_bridge::Position { offset: Offset(40), ..Default::default() };
    let wish = Wish { topic: "b".to_owned(), home: Lane::Normal, position };
    past.put(past.table.leave(&wish, Lane::Aside1, &Standing::default()));
    past.fill(90);
    past.put(past.table.come_back(Lane::Aside1, Offset(90)));
    past.fill(100);
    past
}

#[test]
fn what_is_aside_is_looked_for_by_the_lane_that_ships_it() {
    let past = with_an_aside();
    let around = [39, 40, 59, 60, 89, 90];
    let home = past.ground(Lane::Normal, 30..100, "").expect("a ground");
    assert_eq!(of_b(&home, &around), [39, 90]);
    assert!(around.iter().all(|offset| home.place("a", *offset).is_some()));
    let meanwhile = past.ground(Lane::Normal, 45..80, "").expect("a ground");
    assert!(meanwhile.topics.iter().eq(["a"]), "{meanwhile:?}");
    // The other lane is ahead: that says nothing of this one.
    let shown = verdict(&home, 30, &[("a", &[30, 41]), ("b", &[30, 70, 71])]);
    assert_eq!(shown.map(|it| it.at), Ok(42));
    let aside = past.ground(Lane::Aside1, 40..100, "").expect("a ground");
    assert!(aside.topics.iter().eq(["b"]), "{aside:?}");
    assert_eq!(of_b(&aside, &around), [40, 59, 60, 89]);
    assert_eq!(verdict(&aside, 40, &[("b", &[40, 70])]).map(|it| it.at), Ok(71));
}

#[test]
fn an_aside_that_is_forgotten_proves_nothing() {
    let mut past = with_an_aside();
    let forgotten = Table { asides: Vec::new(), ..past.table.clone() };
    past.put(forgotten);
    for lane in [Lane::Normal, Lane::Aside1] {
        let why = past.ground(lane, 50..95, "").map(drop);
        assert!(why.is_err_and(|why| why.contains("another lane's")), "{lane:?}");
    }
    assert!(past.ground(Lane::Normal, 92..95, "").is_ok(), "it was home by then");
    let nothing = past.ground(Lane::Aside2, 50..95, "").map(drop);
    assert!(nothing.is_err_and(|why| why.contains("not in the log")));
}

/// One route, and from 50 on another that begins with what is oldest.
fn with_a_look_back() -> Past {
    let mut past = Past::new(&[("a", None)]);
    past.fill(50);
    past.ask_for(&[("a", None), ("b", Some(Start::Oldest))]);
    past.fill(100);
    past
}

#[test]
fn what_was_read_back_is_found_and_is_not_read_back_again() {
    let past = with_a_look_back();
    // From before the table, at it, and from the middle of the look back.
    for (start, account, from) in
        [(40, "1.28.0.0;", 0), (50, "1.32.0.0;", 0), (50, "b=7;1.32.0.0;2.7.0.0;", 7)]
    {
        let ground = past.ground(Lane::Normal, start..60, account).expect("a ground");
        assert_eq!(of_b(&ground, &[0, 6, 7, 49, 50, 59, 60]).first(), Some(&from), "{account}");
        let nothing = verdict(&ground, start, &[]).expect("a verdict");
        assert_eq!((nothing.at, nothing.backfill.map_or(0, |it| it.0)), (start, from));
        let halfway = verdict(&ground, start, &[("a", &[45]), ("b", &[7, 8, 20])]);
        let backfill = Some(Offset(21));
        let known = u64::from(start < 50);
        let delivered: BTreeMap<_, _> =
            [(1, known), (2, 3)].into_iter().filter(|it| it.1 > 0).collect();
        assert_eq!(halfway, Ok(Verdict { at: 50, backfill, delivered, ..Verdict::default() }));
        let done = verdict(&ground, start, &[("b", &[20, 49])]).expect("a verdict");
        assert_eq!((done.at, done.backfill), (50, None));
        let further = verdict(&ground, start, &[("b", &[20]), ("a", &[55])]).expect("a verdict");
        assert_eq!((further.at, further.backfill), (56, None));
        assert_eq!(further.delivered, [(1, 1), (2, 1)].into());
    }
    let further = past.ground(Lane::Normal, 40..60, "1.28.0.0;").expect("a ground");
    let unseen = verdict(&further, 40, &[("a", &[55])]).expect("a verdict");
    assert_eq!(unseen.delivered, [(1, 1), (2, 0)].into(), "it was read back, and selected nothing");
    let before = verdict(&further, 40, &[("a", &[45])]).expect("a verdict");
    assert_eq!((before.at, before.delivered), (46, [(1, 1)].into()));
}

#[test]
fn the_times_of_what_is_read_back_count() {
    let past = with_a_look_back();
    let since = |account| past.ground(Lane::Normal, 50..60, account).expect("a ground").since;
    let hour_before = |second: i64| Some(Timestamp(clock(second * 1_000).wall.0 - HOUR_MS));
    assert_eq!(since("1.32.0.0;"), hour_before(0));
    assert_eq!(since("b=7;1.32.0.0;2.7.0.0;"), hour_before(7));
    let met = past.ground(Lane::Normal, 50..60, "1.32.0.0;2.32.0.0;").expect("a ground");
    assert_eq!((met.since, of_b(&met, &[0, 49, 50])), (hour_before(50), vec![50]));
}

#[test]
fn what_was_reading_back_under_a_table_that_is_gone_proves_nothing() {
    let past = with_a_look_back();
    let why = past.ground(Lane::Normal, 70..80, "b=7;1.32.0.0;2.7.0.0;").map(drop);
    assert!(why.is_err_and(|why| why.contains("reading back")));
}

#[test]
fn a_clock_that_was_put_back_makes_more_to_be_read() {
    let mut past = Past::new(&[("a", None)]);
    past.fill(10);
    past.append(3 * HOUR_MS, &event(3 * HOUR_MS));
    past.append(20_000, &event(20_000));
    let since = past.ground(Lane::Normal, 10..11, "").expect("a ground").since;
    assert_eq!(since, Some(Timestamp(clock(20_000).wall.0 - HOUR_MS)));
}

#[test]
fn a_record_that_bears_the_offset_of_another_event_proves_nothing() {
    let mut past = Past::new(&[("a", None), ("b", None)]);
    past.fill(10);
    let letter = Fate {
        first: None,
        log_id: LOG_ID,
        offset: Offset(3),
        route: "b",
        topic: "b",
        partition: 0,
        error: "",
        own: Properties::NONE,
    };
    let properties = letter.put_back(LOG_ID, true);
    let properties = Properties(&properties);
    past.append(10_000, &Event { origin: Origin::Replay, properties, ..event(3_000) });
    past.fill(20);
    let why = past.ground(Lane::Normal, 5..15, "").map(drop);
    assert!(why.is_err_and(|why| why.contains("event 10 was put back")));
    assert!(past.ground(Lane::Normal, 11..15, "").is_ok());
}

#[test]
fn who_was_told_of_gaps_is_asked_only_where_some_are_in_doubt() {
    let mut past = Past::new(&[("a", None)]);
    past.fill(100);
    past.log.trim(Offset(50), clock(0)).expect("there is room");
    past.log.commit().expect("a disk");
    let asked = |past: &Past, doubt, account| {
        let ground = past.ground(Lane::Normal, doubt, account).expect("a ground");
        ground.with_gaps(Some("gaps"), Lane::Normal).topics.contains("gaps")
    };
    assert!(asked(&past, 30..60, "1.1e.0.0;") && asked(&past, 49..60, "1.31.0.0;"));
    assert!(!asked(&past, 50..60, "1.32.0.0;"));
    past.ask_for(&[("a", None), ("b", Some(Start::Oldest))]);
    past.fill(120);
    assert!(!asked(&past, 40..110, "1.28.0.0;"), "the lane reads back: gaps prove nothing");
}
