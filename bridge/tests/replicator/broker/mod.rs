//! A scripted broker, and a world in which a replicator talks to it: no sockets, no waiting.
//!
//! It answers well by default and keeps what the protocol is about: epochs, the pending position
//! and the committed one. Tests say which answers shall be errors, or shall not come.

pub(crate) mod answers;
mod login;
mod produce;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tributary_bridge::{
    BatchBuilder, Bytes, ConnId, Credentials, Hint, Local, Output, Partitioner, Position,
    PushError, Record, Replicator, Settings, State, Talk as _,
};
use tributary_core::Offset;
use tributary_core::time::{Instant, Timestamp};

pub(crate) const GENERATION: u32 = 0xabcd;
pub(crate) const LOG_ID: u64 = 0x1234;

/// What a test wants of the next answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This error code.
    Code(i16),
    /// No answer; the request has no effect.
    Silence,
    /// It has its effect, but no answer comes.
    SilentSuccess,
    /// The answer comes only when the test says `release`.
    Late,
    /// The records at these places are invalid, says the answer (KIP-467).
    Blames(&'static [i32]),
}

/// One request as the broker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which broker, by port.
    pub(crate) port: u16,
    /// `Produce v12 hot-0 seq 0`.
    pub(crate) text: String,
    /// The request without its correlation id.
    pub(crate) body: Bytes,
}

/// The cluster's state.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) transaction_version: i16,
    /// Highest versions offered, by API key, where they differ from the usual.
    pub(crate) offered: BTreeMap<i16, i16>,
    /// Topics with the leaders' ports of their partitions; 0 for none.
    pub(crate) topics: BTreeMap<String, Vec<u16>>,
    pub(crate) coordinator: u16,
    pub(crate) producer: (i64, i16),
    /// Position and metadata.
    pub(crate) committed: Option<(i64, String)>,
    pub(crate) pending: Option<(i64, String)>,
    pub(crate) faults: BTreeMap<i16, VecDeque<Fault>>,
    pub(crate) seen: Vec<Seen>,
    /// Answers that wait for `release`: one holds up those behind it.
    pub(crate) late: Vec<(ConnId, Vec<u8>)>,
    /// Connections on which an answer is missing: nothing comes after it.
    pub(crate) silent: BTreeSet<ConnId>,
    /// How long a login holds; 0 for as long as the connection.
    pub(crate) lifetime_ms: i64,
    /// The places that the answer under way blames.
    pub(crate) blamed: &'static [i32],
    /// Whom an answer names that a broker does not lead a partition (KIP-951).
    pub(crate) leader: Option<u16>,
    /// What answers about metadata say.
    pub(crate) throttle_ms: i32,
}

/// A replicator, its brokers, and the driver's part.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) replicator: Replicator,
    pub(crate) broker: Broker,
    pub(crate) local: Local,
    /// Ports at which nobody listens.
    pub(crate) down: Vec<u16>,
    /// Ports at which it takes until `open` to be heard.
    pub(crate) slow: Vec<u16>,
    pub(crate) opening: Vec<(ConnId, u16)>,
    /// Whether claims are made durable at once.
    pub(crate) claims: bool,
    /// Whether refused records are kept at once; and the position that was handed in last.
    pub(crate) buries: bool,
    /// The clock at which batches are filled, if it can be trusted.
    pub(crate) wall: Option<Timestamp>,
    pub(crate) handed_in: Position,
    pub(crate) conns: BTreeMap<ConnId, u16>,
    pub(crate) connects: Vec<u16>,
    /// Outputs that are not about connections.
    pub(crate) told: Vec<Output>,
    pub(crate) wanted: bool,
    /// Changes of state that were told.
    pub(crate) changes: u32,
    /// Who we are, or why nobody knows; `None`: nothing is ever said.
    pub(crate) credentials: Option<Result<Credentials, String>>,
    /// For each login, whether it wanted other credentials than those before.
    pub(crate) logins: Vec<bool>,
}

impl World {
    /// A gateway with a new lane at offset 0, and a cluster that has the topics.
    pub(crate) fn new(transaction_version: i16) -> Self {
        Self::with(transaction_version, |_| {})
    }

    pub(crate) fn with(transaction_version: i16, change: impl FnOnce(&mut Settings)) -> Self {
        let bootstrap = vec![("kafka".to_owned(), 1)];
        let mut settings = Settings::new("gw", LOG_ID, bootstrap);
        change(&mut settings);
        let start = Position { offset: Offset(0), generation: GENERATION, account: String::new() };
        Self {
            now: Instant(1000),
            replicator: Replicator::new(Instant(1000), settings, 7),
            broker: Broker::new(transaction_version),
            local: Local {
                generation: GENERATION,
                generations: vec![(GENERATION, Offset(0))],
                hint: Some(Hint { low: start, high: Offset(0) }),
                overruled: None,
                log_is_empty: false,
                oldest: Offset(0),
                end: Offset(1_000_000),
            },
            down: Vec::new(),
            slow: Vec::new(),
            opening: Vec::new(),
            claims: true,
            buries: true,
            wall: None,
            handed_in: Position::default(),
            conns: BTreeMap::new(),
            connects: Vec::new(),
            told: Vec::new(),
            wanted: false,
            changes: 0,
            credentials: Some(Ok(Credentials::Plain {
                username: "gw".to_owned(),
                password: "pencil".into(),
            })),
            logins: Vec::new(),
        }
    }

    /// Lets everything happen that needs no time to pass.
    pub(crate) fn settle(&mut self) {
        while let Some(output) = self.replicator.poll_output() {
            self.do_output(output);
        }
    }

    fn do_output(&mut self, output: Output) {
        match output {
            Output::Connect { conn, host, port } => {
                assert_eq!(host, "kafka");
                self.connects.push(port);
                if self.slow.contains(&port) {
                    self.opening.push((conn, port));
                } else if self.down.contains(&port) {
                    self.replicator.handle_closed(self.now, conn, "refused");
                } else {
                    self.conns.insert(conn, port);
                    self.replicator.handle_connected(self.now, conn);
                }
            }
            Output::Send { conn, bytes } => {
                let port = self.conns[&conn];
                if let Some(answer) = self.broker.handle(conn, port, &bytes) {
                    self.replicator.handle_bytes(self.now, conn, &answer);
                }
            }
            Output::Authenticate { conn, fresh } => {
                self.logins.push(fresh);
                if let Some(credentials) = self.credentials.clone() {
                    self.replicator.handle_credentials(self.now, conn, credentials);
                }
            }
            Output::Disconnect { conn } => {
                self.conns.remove(&conn);
            }
            Output::NeedLocal => self.replicator.handle_local(self.now, &self.local),
            Output::Claim(high) => {
                self.told.push(Output::Claim(high));
                if self.claims {
                    self.replicator.handle_claimed(self.now, high);
                }
            }
            Output::Bury(_) => {
                self.told.push(output);
                if self.buries {
                    self.bury();
                }
            }
            Output::WantBatch => self.wanted = true,
            Output::Resumed(position) => {
                self.wanted = false;
                self.told.push(Output::Resumed(position));
            }
            Output::Committed(_) => self.told.push(output),
            Output::Changed => self.changes += 1,
        }
    }

    /// Lets time pass to the next deadline.
    pub(crate) fn tick(&mut self) {
        let next = self.replicator.poll_timeout().expect("a deadline");
        self.now = self.now.max(next);
        self.replicator.handle_timeout(self.now);
        self.settle();
        let next = self.replicator.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a deadline that stays is a busy loop");
    }

    /// Lets so much time pass, deadline by deadline.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.replicator.poll_timeout().is_some_and(|next| next <= end) {
            self.tick();
        }
        self.now = end;
    }

    /// Slow connections are open.
    pub(crate) fn open(&mut self) {
        self.slow.clear();
        for (conn, port) in core::mem::take(&mut self.opening) {
            self.conns.insert(conn, port);
            self.replicator.handle_connected(self.now, conn);
        }
        self.settle();
    }

    /// A connection breaks.
    pub(crate) fn cut(&mut self) {
        let (conn, _) = self.conns.pop_first().expect("a connection");
        self.replicator.handle_closed(self.now, conn, "reset");
        self.settle();
    }

    /// All connections break.
    pub(crate) fn cut_all(&mut self) {
        while !self.conns.is_empty() {
            self.cut();
        }
    }

    /// Delivers the answers that were kept back.
    pub(crate) fn release(&mut self) {
        for (conn, answer) in core::mem::take(&mut self.broker.late) {
            self.replicator.handle_bytes(self.now, conn, &answer);
        }
        self.settle();
    }

    /// Ships records with these offsets to a topic, as a driver does.
    pub(crate) fn ship(&mut self, topic: &str, offsets: core::ops::Range<u64>) {
        assert!(self.wanted, "{:?}", self.replicator.status());
        self.wanted = false;
        let mut batch = self.replicator.begin_batch();
        self.wall.into_iter().for_each(|wall| batch.set_send_time(wall));
        let mut next = offsets.start;
        for offset in offsets {
            if push(&mut batch, topic, offset).is_err() {
                break;
            }
            next = offset + 1;
        }
        self.hand_in(batch, next);
    }

    pub(crate) fn hand_in(&mut self, batch: BatchBuilder, next: u64) {
        let account = format!("n={next}");
        let next = Position { offset: Offset(next), generation: GENERATION, account };
        self.handed_in = next.clone();
        self.replicator.handle_batch(self.now, batch, next);
        self.settle();
    }

    /// Says that what was refused is kept.
    pub(crate) fn bury(&mut self) {
        let account = format!("{} buried", self.handed_in.account);
        let next = Position { account, ..self.handed_in.clone() };
        self.replicator.handle_buried(self.now, Ok(next));
    }

    /// Ships, and ships again once the topic is known.
    pub(crate) fn ship_new(&mut self, topic: &str, offsets: core::ops::Range<u64>) {
        self.ship(topic, offsets.clone());
        self.ship(topic, offsets);
    }

    /// A world that is live and knows the topic `hot`.
    pub(crate) fn live(transaction_version: i16) -> Self {
        let mut world = Self::new(transaction_version);
        world.settle();
        world.ship("hot", 0..1);
        assert_eq!(world.replicator.status().state, State::Live);
        world.forget();
        world
    }

    pub(crate) fn forget(&mut self) {
        self.broker.seen.clear();
        self.told.clear();
        self.connects.clear();
    }

    /// What the brokers have seen since the last call.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        core::mem::take(&mut self.broker.seen).into_iter().map(|seen| seen.text).collect()
    }

    pub(crate) fn fault(&mut self, api: i16, faults: impl IntoIterator<Item = Fault>) {
        self.broker.faults.entry(api).or_default().extend(faults);
    }

    pub(crate) fn committed(&self) -> Option<u64> {
        self.told.iter().rev().find_map(|output| match output {
            Output::Committed(position) => Some(position.offset.0),
            _ => None,
        })
    }

    pub(crate) fn resumed(&self) -> Option<u64> {
        self.told.iter().rev().find_map(|output| match output {
            Output::Resumed(position) => Some(position.offset.0),
            _ => None,
        })
    }

    /// Milliseconds until the next session, while there is none.
    /// What a driver leaves in the log: what was claimed since the last call, and what a session gives back that begins.
    pub(crate) fn keep_hint(&mut self) {
        for output in core::mem::take(&mut self.told) {
            let hint = self.local.hint.as_mut().expect("a lane has one");
            match output {
                Output::Claim(high) => hint.high = high,
                Output::Resumed(low) if hint.high > low.offset => {
                    let high = low.offset;
                    *hint = Hint { low, high };
                    self.replicator.handle_claimed(self.now, high);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn back_off_ms(&self) -> u64 {
        match &self.replicator.status().state {
            State::BackingOff { until, .. } => until.ms_since(self.now),
            state => panic!("{state:?}"),
        }
    }
}

/// A record of ten bytes.
pub(crate) fn push(batch: &mut BatchBuilder, topic: &str, offset: u64) -> Result<(), PushError> {
    batch.push(&Record {
        topic,
        partition: Partitioner::Gateway,
        offset: Offset(offset),
        route: 1,
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: b"0123456789",
        headers: &[],
    })
}
