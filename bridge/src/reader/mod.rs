//! Reads topics of a cluster: what is committed, each partition in order, from known places on.
//!
//! A value, as the replicator: it is talked to in the same way ([`crate::Talk`]).
//! It is no member of a group and commits no position: who reads keeps what was found together with
//! the place behind it, and says so ([`Reader::handle_kept`]); before that nothing more is asked for.

mod answers;
mod batches;
mod found;

use std::collections::{BTreeMap, VecDeque};

use tributary_core::time::Instant;

use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::links::{Ask, Links, Use};
use crate::settings::Settings;
use crate::talk::Talker;
use crate::task::Task;
use crate::wire::{Address, Api, Dialect, ask};
pub use batches::ReadRecord;
pub use found::{Began, Edge, Found, ReaderStatus, Start};

/// How often it is looked whether a topic has more partitions, or is another one.
const METADATA_MS: u64 = 10 * 60_000;

/// A session that is younger is not begun again because a link has come back.
const RENEWED_MS: u64 = 10_000;

/// One reader of some topics.
#[derive(Debug)]
pub struct Reader {
    settings: Settings,
    /// How long an answer without records may be held back.
    wait_ms: u32,
    links: Links,
    found: VecDeque<Found>,
    /// What was found is not kept yet.
    is_unkept: bool,
    topics: BTreeMap<String, Topic>,
    session: Option<Session>,
    /// When the next session begins; `None` while there is one.
    next_session: Option<Instant>,
    sessions: usize,
    backoff: Backoff,
    is_cut_off: bool,
    status: ReaderStatus,
}

#[derive(Debug)]
struct Session {
    begun: Instant,
    /// Who is asked what any broker can answer.
    broker: Address,
    brokers: BTreeMap<i32, Address>,
    metadata: Task,
    /// Whether that is asked for because leaders have moved: once is enough.
    is_looking: bool,
    /// By broker what is asked of it as a leader.
    leaders: BTreeMap<i32, Task>,
    /// So that each partition is the first in turn.
    fetches: usize,
}

#[derive(Debug)]
struct Topic {
    start: Start,
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug)]
struct Partition {
    leader: i32,
    place: Place,
    /// Where it ended when this session began to read it, and whether that was reached.
    end: Option<u64>,
    at_end: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    At(u64),
    /// To be looked up, and why.
    Unknown(Edge, Began),
}

impl Reader {
    /// Reads these topics. `wait_ms`: how long a broker may hold back an answer without records.
    /// `seed` spreads back-offs, no more.
    ///
    /// # Panics
    /// If there is no broker to ask first.
    #[must_use]
    pub fn new(
        now: Instant,
        settings: Settings,
        topics: BTreeMap<String, Start>,
        wait_ms: u32,
        seed: u64,
    ) -> Self {
        assert!(!settings.bootstrap.is_empty(), "there must be a broker to ask first");
        let topic = |start| Topic { start, partitions: BTreeMap::new() };
        let mut reader = Self {
            links: Links::new(&settings),
            settings,
            wait_ms,
            found: VecDeque::new(),
            is_unkept: false,
            topics: topics.into_iter().map(|(name, start)| (name, topic(start))).collect(),
            session: None,
            next_session: Some(now),
            sessions: 0,
            backoff: Backoff::new(seed),
            is_cut_off: false,
            status: ReaderStatus::default(),
        };
        reader.advance(now);
        reader
    }

    /// An interface or a route has come back: what was connected over it may be dead, and an answer
    /// that is held back would not tell. So a session that is not new is begun again.
    pub fn handle_link_returned(&mut self, now: Instant) {
        let is_old = |session: &Session| now.ms_since(session.begun) >= RENEWED_MS;
        if self.session.as_ref().is_some_and(is_old) {
            self.end_session(now, &Failure::Unreachable("the link was away".to_owned()));
        }
        if self.is_cut_off {
            let at = self.backoff.after_return(now);
            self.next_session = self.next_session.map(|next| next.min(at));
        }
        self.advance(now);
    }

    /// All that was found is kept.
    pub fn handle_kept(&mut self, now: Instant) {
        self.is_unkept = false;
        self.advance(now);
    }

    /// The next thing found.
    pub fn poll_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> &ReaderStatus {
        &self.status
    }

    fn begin_session(&mut self, now: Instant) {
        let brokers = &self.settings.bootstrap;
        let (host, port) = brokers[self.sessions % brokers.len()].clone();
        self.sessions += 1;
        self.next_session = None;
        self.status.until = None;
        for partition in self.topics.values_mut().flat_map(|topic| topic.partitions.values_mut()) {
            (partition.end, partition.at_end) = (None, false);
        }
        self.session = Some(Session {
            begun: now,
            broker: Address { host, port },
            brokers: BTreeMap::new(),
            metadata: Task::default(),
            is_looking: false,
            leaders: BTreeMap::new(),
            fetches: 0,
        });
    }

    fn end_session(&mut self, now: Instant, failure: &Failure) {
        if self.session.take().is_none() {
            return;
        }
        self.links.close_all();
        self.is_cut_off = matches!(failure, Failure::Unreachable(_) | Failure::Ended(_));
        let next = self.backoff.next(now, failure);
        self.next_session = Some(next);
        self.status.is_live = false;
        self.status.until = Some(next);
        let is_refused = matches!(
            failure,
            Failure::Refused(_) | Failure::Unauthenticated(_) | Failure::Alarm(_)
        );
        self.status.refused = is_refused.then(|| failure.to_string());
        self.status.last_error = Some(failure.to_string());
    }

    fn ask(&mut self, now: Instant) -> Result<(), Failure> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if session.metadata.is_due()
            && let Some(conn) = self.links.reach(now, &session.broker)?
        {
            let version = self.links.version(conn, Api::Metadata, Dialect::Explicit)?;
            let request = ask::metadata(self.topics.keys().map(String::as_str));
            self.links.send(now, (conn, Api::Metadata, version), Ask::Metadata, &request);
            session.metadata.asked();
        }
        let due = session.leaders.iter().filter(|(_, task)| task.is_due());
        let due: Vec<i32> = due.map(|(leader, _)| *leader).collect();
        due.into_iter().try_for_each(|leader| self.ask_leader(now, leader))
    }

    /// Asks a leader where its partitions begin, or for their records.
    fn ask_leader(&mut self, now: Instant, leader: i32) -> Result<(), Failure> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let (Some(address), Some(task)) =
            (session.brokers.get(&leader), session.leaders.get_mut(&leader))
        else {
            return Ok(());
        };
        let led = self.topics.iter().flat_map(|(name, topic)| {
            let led = topic.partitions.iter().filter(|(_, partition)| partition.leader == leader);
            led.map(move |(index, partition)| (name.as_str(), *index, partition.place))
        });
        let (mut unknown, mut known) = (Vec::new(), Vec::new());
        for (name, index, place) in led {
            match place {
                Place::At(next) => known.push((name, index, next.cast_signed())),
                Place::Unknown(edge, _) => unknown.push((name, index, edge.moment())),
            }
        }
        if unknown.is_empty() && (known.is_empty() || self.is_unkept) {
            return Ok(());
        }
        let used_for = if unknown.is_empty() { Use::Waiting } else { Use::Answers };
        let Some(conn) = self.links.reach_for(now, address, used_for)? else { return Ok(()) };
        task.asked();
        if !unknown.is_empty() {
            let version = self.links.version(conn, Api::ListOffsets, Dialect::Explicit)?;
            let to = (conn, Api::ListOffsets, version);
            self.links.send(now, to, Ask::Offsets(leader), &ask::offsets(unknown.into_iter()));
            return Ok(());
        }
        (self.status.is_live, self.status.refused) = (true, None);
        let version = self.links.version(conn, Api::Fetch, Dialect::Explicit)?;
        let turn = session.fetches % known.len();
        known.rotate_left(turn);
        session.fetches += 1;
        let request = ask::fetch(known.into_iter(), self.wait_ms);
        let (to, ask) = ((conn, Api::Fetch, version), (Ask::Fetch(leader), self.wait_ms));
        self.links.send_patiently(now, to, ask, &request);
        Ok(())
    }
}
