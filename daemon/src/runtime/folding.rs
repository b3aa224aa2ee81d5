//! Keeps the file of sessions not far behind the log: at the start, while it grows, and at the end.
//!
//! The file is never asked whether the daemon may run. One that does not serve (damaged, of another log,
//! ahead of this one, with rows that nobody can read) is set aside, and made anew with all that is known;
//! one that cannot be reached is tried again. What is wrong is told once, and by `status`.

use core::fmt::Write;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{End, Geometry, LogId, ReadError, ReadMedia};

use super::clock::Clocks;
use super::hub::Hub;
use super::ingest::Ingest;
use super::retention::LastLook;
use super::sessions::{Lost, State, replay, resume};
use crate::io::clock::moment;
use crate::io::segments::SegmentReader;
use crate::io::sessions::{ASIDE, Found, SessionStore, StoreError};
use crate::sync::lock;

/// What a start may have to read of the log, in bytes: more is folded into the file.
const REPLAY_BYTES_MAX: u64 = 16 << 20;
/// Of a small log, so many parts of it: who gives up events should not have to wait for the file.
const REPLAY_PART: u64 = 8;
/// But not more often than that.
const PAUSE: Duration = Duration::from_millis(500);
/// Nor than that while it cannot be done.
const PAUSE_IN_TROUBLE: Duration = Duration::from_secs(10);
/// Rows that are named when they cannot be read.
const ROWS_NAMED_MAX: usize = 100;

/// The file, if it can be used, and where it stands.
pub(super) struct Folding {
    dir: PathBuf,
    id: LogId,
    log: SegmentReader,
    store: Option<SessionStore>,
    /// What the file has to hold that is to be made anew, until the disk takes it.
    owed: Option<State>,
    folded: Option<End>,
    /// What is missing in the log below was told.
    told: Offset,
    trouble: Trouble,
}

/// Why sessions are not folded, while they are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    why: Arc<Mutex<Option<String>>>,
}

/// What there is of the log.
pub(super) struct Extent<'a, M> {
    pub(super) media: &'a M,
    pub(super) end: End,
    /// The next event gets this offset, if any is missing behind the end.
    pub(super) next: Offset,
    /// Whether it survives a power cut: the file must not know more than the log does then.
    pub(super) is_durable: bool,
}

impl Folding {
    /// What the file of the log in this directory and the log know; the file knows it, too, then.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn begin<M: ReadMedia>(
        (dir, id): (&Path, LogId),
        log: SegmentReader,
        all: &Extent<'_, M>,
    ) -> Result<(Self, State), ReadError> {
        let mut folding = Self {
            dir: dir.to_owned(),
            id,
            log,
            store: None,
            owed: None,
            folded: None,
            told: Offset(0),
            trouble: Trouble::default(),
        };
        let state = match folding.catch_up(all, Rows::All)? {
            Ok(state) => state,
            Err(error) => {
                folding.fail(&error);
                folding.log_alone(all)?
            }
        };
        Ok((folding, state))
    }

    /// Has sessions and retained messages go on as they are known, and with what the opening has found out.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn restore(
        &mut self,
        mut state: State,
        (ingest, hub, clocks): (&Ingest, &Hub, &Clocks),
    ) -> Result<(), ReadError> {
        let end = self.log.end();
        let lost = replay(&mut state, &self.log, end)?;
        self.tell(&lost, end);
        ingest.number_changes_from(state.applied.change);
        let (clients, retained) = (state.clients.len(), state.retained.len());
        hub.restore(state, clocks.now(moment()).age, &clocks.anchor());
        tracing::info!(clients, retained, "sessions restored");
        Ok(())
    }

    /// Where it tells what keeps it from its work.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Folds what the log has beyond the file into it.
    pub(super) fn fold(&mut self) {
        let (log, end) = (self.log.clone(), self.log.end());
        let all = Extent { media: &log, end, next: end.offset, is_durable: true };
        match self.catch_up(&all, Rows::Clients) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.fail(&error),
            Err(error) => self.fail(&StoreError::Device(error.to_string())),
        }
    }

    /// Brings the file up to the log; what they know.
    fn catch_up<M: ReadMedia>(
        &mut self,
        all: &Extent<'_, M>,
        rows: Rows,
    ) -> Result<Result<State, StoreError>, ReadError> {
        if let Err(error) = self.pay() {
            return Ok(Err(error));
        }
        let found = match self.read(all, rows) {
            Ok(found) if found.has_all() => return self.go_on(all, found.state),
            Ok(_) if rows == Rows::Clients => self.read(all, Rows::All),
            found => found,
        };
        match found {
            Ok(found) => {
                let why = describe(&found);
                let state = self.without_rows(all, found)?;
                Ok(Ok(self.make_anew(all, &why, state)))
            }
            Err(StoreError::Damaged(why)) => {
                let state = self.log_alone(all)?;
                Ok(Ok(self.make_anew(all, &why, state)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// What the file holds. One that is ahead of the log knows what has not happened.
    fn read<M>(&mut self, all: &Extent<'_, M>, rows: Rows) -> Result<Found, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => SessionStore::open(&self.dir, self.id.0)?,
        };
        let found = store.load(rows == Rows::All)?;
        if found.state.applied.offset > all.next.0 {
            return Err(StoreError::Damaged("it is ahead of the log".into()));
        }
        self.store = Some(store);
        Ok(found)
    }

    fn go_on<M: ReadMedia>(
        &mut self,
        all: &Extent<'_, M>,
        mut state: State,
    ) -> Result<Result<State, StoreError>, ReadError> {
        let before = state.applied;
        let lost = replay(&mut state, all.media, all.end)?;
        self.tell(&lost, all.end);
        if !all.is_durable {
            return Ok(Ok(state));
        }
        if state.applied != before
            && let Some(store) = &mut self.store
            && let Err(error) = store.write(&mut state)
        {
            return Ok(Err(error));
        }
        self.has_folded(all.end);
        Ok(Ok(state))
    }

    /// What the log tells alone.
    fn log_alone<M: ReadMedia>(&mut self, all: &Extent<'_, M>) -> Result<State, ReadError> {
        let (state, lost) = resume(None, all.media, all.end)?;
        // What only the file knew of an earlier loss is lost with it.
        self.told = Offset(0);
        self.tell(&lost, all.end);
        Ok(state)
    }

    /// What the file holds, and for the rows that nobody can read what the log tells of them.
    fn without_rows<M: ReadMedia>(
        &mut self,
        all: &Extent<'_, M>,
        found: Found,
    ) -> Result<State, ReadError> {
        let Found { mut state, clients, topics, groups } = found;
        let lost = replay(&mut state, all.media, all.end)?;
        self.tell(&lost, all.end);
        let (mut told, _) = resume(None, all.media, all.end)?;
        for name in clients {
            state.clients.remove(&name);
            state.clients.extend(told.clients.remove_entry(&name));
        }
        for topic in topics {
            state.retained.remove(&topic);
            state.retained.extend(told.retained.remove_entry(&topic));
        }
        for filter in groups {
            state.groups.remove(&filter);
            state.groups.extend(told.groups.remove_entry(&filter));
        }
        Ok(state)
    }

    /// The file does not serve: it is set aside, and one that does is made.
    fn make_anew<M>(&mut self, all: &Extent<'_, M>, why: &str, state: State) -> State {
        let dir = self.dir.display();
        tracing::warn!(
            why,
            "the file of sessions does not serve: it is kept as {dir}/{ASIDE}, and made anew from what \
             can be read of it and from the log"
        );
        self.store = None;
        self.owed = Some(state.clone());
        if all.is_durable {
            match self.pay() {
                Ok(()) => self.has_folded(all.end),
                Err(error) => self.fail(&error),
            }
        }
        state
    }

    fn pay(&mut self) -> Result<(), StoreError> {
        if let Some(state) = &self.owed {
            self.store = Some(SessionStore::create(&self.dir, self.id.0, state)?);
            self.owed = None;
        }
        Ok(())
    }

    fn has_folded(&mut self, end: End) {
        self.folded = Some(end);
        self.trouble.ends();
    }

    /// What went wrong once goes wrong again: the file is opened anew.
    fn fail(&mut self, error: &StoreError) {
        self.store = None;
        self.trouble.begins(&error.to_string());
    }

    fn tell(&mut self, lost: &Lost, end: End) {
        for range in lost.iter().filter(|range| range.end > self.told) {
            tracing::warn!(
                first = range.start.0,
                end = range.end.0,
                "sessions and retained messages that only these events told of are lost"
            );
        }
        self.told = self.told.max(end.offset);
    }

    fn is_due(&self) -> bool {
        self.trouble.why().is_some() || self.is_behind()
    }

    fn is_behind(&self) -> bool {
        let Geometry { segments, segment_bytes, .. } = self.log.geometry();
        let log_bytes = u64::from(segments) * u64::from(segment_bytes);
        let bytes_max = REPLAY_BYTES_MAX.min(log_bytes / REPLAY_PART);
        let folded = self.folded.map_or(0, |end| place(&self.log, end));
        place(&self.log, self.log.end()) - folded > bytes_max
    }

    /// Events below this offset are about to go: folds them, unless that was done. What is told at the very
    /// end of them may be newer than what was folded there.
    fn fold_before(&mut self, below: Offset) {
        if self.folded.is_none_or(|end| end.offset <= below) {
            self.fold();
        }
    }
}

/// What is read of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// What a fold needs: retained messages are only replaced.
    Clients,
    All,
}

impl Trouble {
    /// Why sessions are not folded.
    pub(super) fn why(&self) -> Option<String> {
        lock(&self.why).clone()
    }

    fn begins(&self, why: &str) {
        if lock(&self.why).replace(why.to_owned()).as_deref() != Some(why) {
            tracing::error!(why, "sessions are not folded: the next start reads more of the log");
        }
    }

    fn ends(&self) {
        if lock(&self.why).take().is_some() {
            tracing::info!("sessions are folded again");
        }
    }
}

/// For who gives up events: sessions are in the file before the log is without them.
pub(super) fn last_look(folding: &Arc<Mutex<Folding>>) -> LastLook {
    let folding = Arc::clone(folding);
    Box::new(move |below| lock(&folding).fold_before(below))
}

/// Runs until `stop`.
pub(super) async fn run(
    folding: Arc<Mutex<Folding>>,
    mut durable: watch::Receiver<Offset>,
    mut stop: watch::Receiver<bool>,
) {
    let trouble = lock(&folding).trouble();
    // Looks only now and then: to be woken by each commit would hold up who commits.
    loop {
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { break },
            _ = stop.changed() => break,
        }
        let pause = if trouble.why().is_some() { PAUSE_IN_TROUBLE } else { PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => break,
        }
        let mut folding = lock(&folding);
        if folding.is_due() {
            folding.fold();
        }
    }
    lock(&folding).fold();
}

/// The rows that cannot be read.
fn describe(found: &Found) -> String {
    let clients = found.clients.iter().map(|name| ("client", name));
    let topics = found.topics.iter().map(|name| ("topic", name));
    let groups = found.groups.iter().map(|name| ("shared subscription", name));
    let mut why = String::from("rows of it cannot be read");
    let rows = clients.chain(topics).chain(groups);
    let more = rows.clone().count().saturating_sub(ROWS_NAMED_MAX);
    for (kind, name) in rows.take(ROWS_NAMED_MAX) {
        let written = write!(why, ", {kind} `{name}`");
        debug_assert!(written.is_ok(), "strings grow");
    }
    if more > 0 { format!("{why} and {more} more") } else { why }
}

/// The bytes of the log up to a place.
fn place(log: &SegmentReader, end: End) -> u64 {
    end.sequence * u64::from(log.geometry().segment_bytes) + u64::from(end.at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;

    use tempfile::TempDir;
    use tributary_core::log::{Clock, ControlKind, Entropy, Frame, Log};
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos, encode, encoded_len};
    use tributary_core::time::{Age, Timestamp};

    use super::*;
    use crate::io::segments::SegmentFiles;
    use crate::runtime::opening::recover;
    use crate::runtime::sessions::{Batch, Change};

    const CLOCK: Clock = Clock { wall: Timestamp(5), age: Age(5), trusted: true };
    const FILE: &str = "sessions.redb";
    const NEW: &str = "sessions.redb.new";

    /// A log in files.
    struct Kept {
        dir: TempDir,
        log: Box<Log<SegmentFiles, Box<[u8]>>>,
        reader: SegmentReader,
        change: u64,
    }

    impl Kept {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = SegmentFiles::open(dir.path(), 16 << 20, true).unwrap();
            let reader = files.reader();
            let entropy = Entropy { log_id: 1, generation: 1, salt: 1 };
            let log = recover(files, entropy, moment()).unwrap().log;
            Self { dir, log, reader, change: 1 }
        }

        fn retain(&mut self, topic: &str) {
            self.retain_bytes(topic, b"x");
        }

        fn retain_bytes(&mut self, topic: &str, payload: &[u8]) {
            self.retain_for((topic, payload), &[], CLOCK.age.0);
        }

        /// What comes at such an age, with these properties.
        fn retain_for(&mut self, (topic, payload): (&str, &[u8]), properties: &[u8], age: u64) {
            let clock = Clock { age: Age(age), ..CLOCK };
            let event = Event {
                topic,
                payload,
                client: "press",
                time: clock.wall,
                qos: Qos::AtLeastOnce,
                retain: true,
                origin: Origin::Device,
                packet_id: None,
                properties: Properties(properties),
            };
            let mut body = vec![0; encoded_len(&event, clock.wall)];
            encode(&event, clock.wall, &mut body);
            self.log.append(&Frame { count: 1, clock, body: &body }).unwrap();
            self.log.commit().unwrap();
        }

        fn begun(&mut self, client: &str) {
            let mut batch = Batch::new(self.change);
            let change = Change::Begun { fresh: true, expiry_s: 60, will: None };
            self.change = 1 + batch.push(client, self.log.next_offset(), &change);
            self.log.append_control(ControlKind::Sessions, batch.body(), CLOCK).unwrap();
            self.log.commit().unwrap();
        }

        fn begin(&self) -> (Folding, State) {
            let (media, end) = (&self.reader, self.reader.end());
            let all = Extent { media, end, next: end.offset, is_durable: true };
            Folding::begin((self.dir.path(), LogId(1)), self.reader.clone(), &all).unwrap()
        }

        fn has(&self, name: &str) -> bool {
            self.dir.path().join(name).exists()
        }
    }

    fn known(folding: &Folding) -> State {
        folding.store.as_ref().unwrap().load(true).unwrap().state
    }

    fn topics(state: &State) -> Vec<&str> {
        state.retained.keys().map(String::as_str).collect()
    }

    fn clients(state: &State) -> Vec<&str> {
        state.clients.keys().map(String::as_str).collect()
    }

    /// What is told while something is done.
    fn told(what: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                lock(&self.0).extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, what);
        let lines = lock(&lines.0).clone();
        String::from_utf8(lines).unwrap()
    }

    /// At a place that was folded something may have been told since.
    #[test]
    fn what_is_about_to_go_is_folded_once() {
        let mut kept = Kept::new();
        let (mut folding, _) = kept.begin();
        kept.retain("a");
        folding.fold_before(Offset(0));
        assert_eq!(topics(&known(&folding)), ["a"]);
        kept.retain("b");
        folding.fold_before(Offset(0));
        assert_eq!(topics(&known(&folding)), ["a"], "what is about to go was folded");
        folding.fold_before(Offset(1));
        assert_eq!(topics(&known(&folding)), ["a", "b"]);
    }

    #[test]
    fn a_start_leaves_the_file_as_far_as_the_log() {
        let mut kept = Kept::new();
        drop(kept.begin());
        kept.retain("a");
        kept.begun("ann");
        let (folding, state) = kept.begin();
        assert_eq!((topics(&state), clients(&state)), (vec!["a"], vec!["ann"]));
        assert_eq!(known(&folding).applied, state.applied);
        assert_eq!(folding.folded, Some(kept.reader.end()));
    }

    /// A hundred seconds: the file is looked through less often than each second.
    const ENDS: &[u8] = &[2, 0, 0, 0, 100];

    /// Also what was written to the file long before, and is not read for a fold.
    #[test]
    fn what_is_over_by_the_clock_of_the_log_is_forgotten() {
        let mut kept = Kept::new();
        kept.retain_for(("a", b"x"), ENDS, 500);
        kept.retain("b");
        let (mut folding, state) = kept.begin();
        assert_eq!(topics(&state), ["a", "b"]);
        for (topic, age, left) in
            [("c", 100_499, &["a", "b", "c"][..]), ("d", 160_500, &["b", "c", "d"])]
        {
            kept.retain_for((topic, b"x"), ENDS, age);
            folding.fold();
            assert_eq!(topics(&known(&folding)), left);
        }
        // The same by the log alone, however late it is.
        drop(folding);
        fs::remove_file(kept.dir.path().join(FILE)).unwrap();
        let (folding, state) = kept.begin();
        assert_eq!(
            (topics(&state), topics(&known(&folding))),
            (vec!["b", "c", "d"], topics(&state))
        );
        kept.retain_for(("e", b"x"), &[], 500_000);
        drop(folding);
        let (folding, state) = kept.begin();
        assert_eq!((topics(&state), topics(&known(&folding))), (vec!["b", "e"], topics(&state)));
    }

    /// An hour off was found out: what came in behind it is no older.
    #[test]
    fn what_came_in_behind_time_off_is_not_forgotten_sooner() {
        const HOUR: u64 = 3_600_000;
        let mut kept = Kept::new();
        kept.retain_for(("a", b"x"), ENDS, 500);
        let rest = (vec![(100_u64, 600_u64, HOUR)], None::<(u64, i64)>);
        let anchor = postcard::to_allocvec(&(HOUR + 700, 5_i64, true, rest)).unwrap();
        kept.log.append_control(ControlKind::Anchor, &anchor, CLOCK).unwrap();
        let (mut folding, _) = kept.begin();
        for (age, left) in [(HOUR + 100_499, &["a", "b"][..]), (HOUR + 160_500, &["b"])] {
            kept.retain_for(("b", b"x"), &[], age);
            folding.fold();
            assert_eq!(topics(&known(&folding)), left, "at {age}");
        }
    }

    /// What a barrier has not come behind may be gone with the next power cut: the file would be ahead.
    #[test]
    fn what_may_not_be_durable_is_not_folded() {
        let mut kept = Kept::new();
        drop(kept.begin());
        kept.retain("a");
        let end = kept.reader.end();
        let all = Extent { media: &kept.reader, end, next: end.offset, is_durable: false };
        let place = (kept.dir.path(), LogId(1));
        let (folding, state) = Folding::begin(place, kept.reader.clone(), &all).unwrap();
        assert_eq!(topics(&state), ["a"]);
        assert_eq!((topics(&known(&folding)), folding.folded), (vec![], None));
    }

    #[test]
    fn a_file_ahead_of_the_log_is_set_aside_and_made_anew() {
        let mut kept = Kept::new();
        kept.retain("a");
        let mut ahead = State::default();
        ahead.applied.offset = 2;
        drop(SessionStore::create(kept.dir.path(), 1, &ahead).unwrap());
        let said = told(|| {
            let (mut folding, state) = kept.begin();
            assert_eq!(topics(&state), ["a"]);
            kept.retain("b");
            folding.fold();
            assert_eq!((topics(&known(&folding)), folding.trouble.why()), (vec!["a", "b"], None));
        });
        assert_eq!(said.matches("ahead of the log").count(), 1, "{said}");
        assert!(kept.has(ASIDE));
    }

    /// Offsets that are missing behind the end of a damaged log happened.
    #[test]
    fn a_file_that_knows_what_the_log_has_lost_serves() {
        let mut kept = Kept::new();
        kept.retain("a");
        let mut further = State::default();
        further.applied.offset = 2;
        drop(SessionStore::create(kept.dir.path(), 1, &further).unwrap());
        let end = kept.reader.end();
        let all = Extent { media: &kept.reader, end, next: Offset(2), is_durable: true };
        let place = (kept.dir.path(), LogId(1));
        let (_, state) = Folding::begin(place, kept.reader.clone(), &all).unwrap();
        assert_eq!((state.applied.offset, kept.has(ASIDE)), (2, false));
    }

    #[test]
    fn rows_that_cannot_be_read_are_told_again_by_the_log_and_cost_no_other() {
        for at_start in [true, false] {
            let mut kept = Kept::new();
            kept.begun("ann");
            kept.retain("a");
            let (mut folding, mut state) = kept.begin();
            // The log has given up what told of these.
            state.clients.insert("bob".to_owned(), state.clients["ann"].clone());
            state.clients.insert("cid".to_owned(), state.clients["ann"].clone());
            state.retained.insert("b".to_owned(), state.retained["a"].clone());
            let store = SessionStore::create(kept.dir.path(), 1, &state).unwrap();
            store.spoil("ann", "a");
            store.spoil("cid", "c");
            fs::remove_file(kept.dir.path().join(ASIDE)).unwrap();
            kept.retain("d");
            let said = told(|| {
                if at_start {
                    drop(store);
                    (folding, state) = kept.begin();
                    assert_eq!(state.clients, known(&folding).clients);
                } else {
                    folding.store = Some(store);
                    folding.fold();
                }
            });
            let known = known(&folding);
            assert_eq!(clients(&known), ["ann", "bob"]);
            assert_eq!(topics(&known), ["a", "b", "d"]);
            assert!(said.contains("client `ann`, client `cid`, topic `a`, topic `c`"), "{said}");
            assert!(kept.has(ASIDE));
            drop(folding);
            assert_eq!(told(|| drop(kept.begin())), "", "once");
        }
    }

    #[test]
    fn what_cannot_be_made_anew_is_owed() {
        let mut kept = Kept::new();
        kept.retain("a");
        let (folding, mut state) = kept.begin();
        state.retained.insert("b".to_owned(), state.retained["a"].clone());
        drop((folding, SessionStore::create(kept.dir.path(), 1, &state).unwrap()));
        let (folding, _) = kept.begin();
        folding.store.as_ref().unwrap().spoil("ann", "c");
        drop(folding);
        fs::remove_file(kept.dir.path().join(ASIDE)).unwrap();
        fs::create_dir(kept.dir.path().join(NEW)).unwrap();
        let (mut folding, state) = kept.begin();
        assert_eq!(topics(&state), ["a", "b"]);
        let said = told(|| (0..3).for_each(|_| folding.fold()));
        assert!(folding.trouble.why().is_some());
        assert_eq!((said.as_str(), kept.has(ASIDE), kept.has(FILE)), ("", false, true));
        kept.retain("d");
        fs::remove_dir(kept.dir.path().join(NEW)).unwrap();
        folding.fold();
        assert_eq!(topics(&known(&folding)), ["a", "b", "d"]);
        assert_eq!((folding.trouble.why(), kept.has(ASIDE)), (None, true));
    }

    #[test]
    fn a_file_that_cannot_be_reached_is_tried_again() {
        let mut kept = Kept::new();
        kept.retain("a");
        fs::create_dir(kept.dir.path().join(FILE)).unwrap();
        let (mut folding, state) = kept.begin();
        assert_eq!(topics(&state), ["a"]);
        assert!(folding.trouble.why().is_some() && folding.is_due());
        fs::remove_dir(kept.dir.path().join(FILE)).unwrap();
        folding.fold();
        assert_eq!((topics(&known(&folding)), folding.trouble.why()), (vec!["a"], None));
    }

    /// What has failed once would fail for ever: it is opened again.
    #[test]
    fn a_disk_that_was_full_is_tried_again() {
        let mut kept = Kept::new();
        let (mut folding, _) = kept.begin();
        kept.retain("a");
        folding.store = Some(SessionStore::on_a_full_disk(1));
        folding.fold();
        assert!(folding.trouble.why().is_some() && folding.is_due());
        folding.fold();
        assert_eq!((topics(&known(&folding)), folding.trouble.why()), (vec!["a"], None));
    }

    /// Told by the start, or by a fold, and not by the next one again.
    #[test]
    fn what_the_log_has_lost_is_told_once() {
        const LOST: &str = "that only these events told of are lost";
        for (at_start, with_file) in [(true, true), (true, false), (false, true)] {
            let mut kept = Kept::new();
            let (folding, _) = kept.begin();
            let mut folding = Some(folding);
            for topic in ["a", "b", "c"] {
                kept.retain_bytes(topic, &[7; 16_000]);
            }
            let segment = kept.dir.path().join("input-00000.seg");
            let mut bytes = fs::read(&segment).unwrap();
            let middle = bytes.len().min(40_000);
            bytes[middle..middle + 4_096].fill(0);
            fs::write(&segment, bytes).unwrap();
            let place = kept.dir.path().join(FILE);
            let said = told(|| {
                if at_start {
                    drop(folding.take());
                    if !with_file {
                        fs::remove_file(&place).unwrap();
                        fs::create_dir(&place).unwrap();
                    }
                    folding = Some(kept.begin().0);
                }
                if !with_file {
                    fs::remove_dir(&place).unwrap();
                }
                folding.as_mut().unwrap().fold();
            });
            let folding = folding.as_mut().unwrap();
            assert_eq!(topics(&known(folding)), ["a", "c"]);
            assert_eq!(said.matches(LOST).count(), 1, "{at_start} {with_file}: {said}");
            kept.retain("d");
            assert_eq!(told(|| folding.fold()), "");
        }
    }
}
