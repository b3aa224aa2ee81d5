//! Looks whether a cluster lets this gateway do its work, step by step, by doing it: a transaction
//! without records under an identity of its own, `tributary.<gateway>.<zeros>.check`, so that no lane is
//! fenced and nothing is delivered.
//!
//! A value, as the replicator: it is talked to in the same way ([`crate::Talk`]).

mod mend;
mod reading;
mod replies;
mod settings;

use std::collections::{BTreeSet, VecDeque};

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::batch::Producer;
use crate::failure::Failure;
use crate::links::{Ask, Links, Role};
use crate::output::ConnId;
use crate::position::Position;
use crate::settings::{Delivery, POSITIONS_TOPIC, Settings};
use crate::talk::Talker;
use crate::task::Task;
use crate::wire::{Address, Api, Dialect, ask};

/// How long answers may ask for another try.
const PATIENCE_MS: u64 = 20_000;
/// In place of a log's id and a lane.
const LANE: &str = "check";

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub step: &'static str,
    /// What was found: how it is, or what is wrong.
    pub outcome: Result<String, String>,
    /// Commands by which an administrator mends it; empty if there is nothing to mend.
    pub mend: Vec<String>,
}

/// One look at a cluster.
#[derive(Debug)]
pub struct Checkup {
    settings: Settings,
    links: Links,
    findings: VecDeque<Finding>,
    /// The broker that answers what any can answer, and how many of the settings' failed before.
    broker: Address,
    tried: usize,
    stage: Stage,
    task: Task,
    asked_at: Instant,
    /// Topics that are to be written to.
    topics: Vec<String>,
    /// Topics that are to be read; and those that are there, each with who leads its first partition.
    reads: Vec<String>,
    readable: Vec<(String, Address)>,
    /// Whether missing topics are made.
    create: bool,
    /// How many brokers the cluster has.
    brokers: usize,
    /// Whom an administrator has to permit what.
    principal: String,
    coordinators: [Option<Address>; 2],
    producer: Option<Producer>,
    added: bool,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Topics,
    /// Asks how they are set up.
    Settings,
    /// Reads from these, the last one first.
    Read(Vec<(String, Address)>),
    /// Makes these, the last one first.
    Create(Vec<String>),
    Coordinator(Role),
    Producer,
    /// Adds these to the transaction, the last one first.
    Partitions(Vec<String>),
    Group,
    Position,
    End,
    Done,
}

impl Checkup {
    /// Looks at the cluster of `settings`, whose topics are to be written to, and others to be read. `create`:
    /// missing topics of the former are made. `principal` is only named in what an administrator is told to do.
    ///
    /// # Panics
    /// If there is no broker to ask first.
    #[must_use]
    pub fn new(
        now: Instant,
        settings: Settings,
        (topics, reads): (BTreeSet<String>, BTreeSet<String>),
        create: bool,
        principal: &str,
    ) -> Self {
        let settings = Settings { log_id: 0, lane: LANE.to_owned(), ..settings };
        let mut checkup = Self {
            links: Links::new(&settings),
            findings: VecDeque::new(),
            broker: broker(&settings, 0),
            tried: 0,
            stage: Stage::Topics,
            task: Task::default(),
            asked_at: now,
            topics: topics.into_iter().collect(),
            reads: reads.into_iter().collect(),
            readable: Vec::new(),
            create,
            brokers: 0,
            principal: principal.to_owned(),
            coordinators: [None, None],
            producer: None,
            added: false,
            settings,
        };
        checkup.advance(now);
        checkup
    }

    /// The next thing found.
    pub fn poll_finding(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    /// Whether nothing more is to be found.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn ask(&mut self, now: Instant) -> Result<(), Failure> {
        if !self.task.is_due() || self.is_done() {
            return Ok(());
        }
        let address = match &self.stage {
            Stage::Producer | Stage::Partitions(_) | Stage::Group | Stage::End => {
                self.coordinators[0].clone()
            }
            Stage::Position => self.coordinators[1].clone(),
            Stage::Read(topics) => topics.last().map(|(_, leader)| leader.clone()),
            Stage::Topics
            | Stage::Settings
            | Stage::Create(_)
            | Stage::Coordinator(_)
            | Stage::Done => None,
        };
        let address = address.unwrap_or_else(|| self.broker.clone());
        let Some(conn) = self.links.reach(now, &address)? else { return Ok(()) };
        self.task.asked();
        self.asked_at = now;
        self.send(now, conn)
    }

    fn send(&mut self, now: Instant, conn: ConnId) -> Result<(), Failure> {
        match self.stage {
            Stage::Topics | Stage::Settings | Stage::Read(_) | Stage::Create(_) => {
                self.send_about_topics(now, conn)
            }
            _ => self.send_about_identity(now, conn),
        }
    }

    fn send_about_topics(&mut self, now: Instant, conn: ConnId) -> Result<(), Failure> {
        let to = |api| {
            let version = self.links.version(conn, api, Dialect::Explicit)?;
            Ok((conn, api, version))
        };
        match &self.stage {
            Stage::Topics => {
                let names = self.topics.iter().chain(&self.reads).map(String::as_str);
                let names = names.chain([POSITIONS_TOPIC]).collect::<BTreeSet<_>>().into_iter();
                let request = ask::metadata(names);
                let to = to(Api::Metadata)?;
                self.links.send(now, to, Ask::Metadata, &request);
            }
            Stage::Settings => {
                let Ok(to) = to(Api::DescribeConfigs) else {
                    self.go_on_reading();
                    return self.ask(now);
                };
                let topics = self.topics.iter().map(String::as_str);
                let request = ask::topic_settings(topics, &settings::NAMES);
                self.links.send(now, to, Ask::Settings, &request);
            }
            Stage::Read(topics) => {
                let topic = topics.last().map_or("", |(topic, _)| topic.as_str());
                let request = ask::fetch([(topic, 0, 0)].into_iter(), 0);
                let to = to(Api::Fetch)?;
                self.links.send(now, to, Ask::Fetch(0), &request);
            }
            Stage::Create(missing) => {
                let topic = missing.last().map_or("", String::as_str);
                let timeout_ms = self.settings.request_timeout_ms / 2;
                let request = ask::create_topic(topic, self.settings.create, timeout_ms);
                let to = to(Api::CreateTopics)?;
                self.links.send(now, to, Ask::CreateTopic, &request);
            }
            _ => {}
        }
        Ok(())
    }

    fn send_about_identity(&mut self, now: Instant, conn: ConnId) -> Result<(), Failure> {
        let ids = self.links.ids.clone();
        let producer = self.producer.unwrap_or(Producer::new(0, 0));
        let to = |api| {
            let version = self.links.version(conn, api, Dialect::Explicit)?;
            Ok((conn, api, version))
        };
        match &self.stage {
            Stage::Coordinator(role) => {
                let role = *role;
                let to = to(Api::FindCoordinator)?;
                let request = ask::coordinator(&ids, role == Role::Transactions, to.2);
                self.links.send(now, to, Ask::Coordinator(role), &request);
            }
            Stage::Producer => {
                let timeout_ms = self.settings.transaction_timeout_ms;
                let request = ask::new_producer(&ids, timeout_ms, true);
                let to = to(Api::InitProducerId)?;
                self.links.send(now, to, Ask::Producer, &request);
            }
            Stage::Partitions(topics) => {
                let topic = topics.last().map_or("", String::as_str);
                let request = ask::add_partitions(&ids, producer, [(topic, 0)].into_iter());
                let to = to(Api::AddPartitionsToTxn)?;
                self.links.send(now, to, Ask::AddPartitions, &request);
            }
            Stage::Group => {
                let to = to(Api::AddOffsetsToTxn)?;
                self.links.send(now, to, Ask::AddOffsets, &ask::add_offsets(&ids, producer));
            }
            Stage::Position => {
                let account = "check".to_owned();
                let position = Position { offset: Offset(0), generation: 0, account };
                if self.settings.delivery == Delivery::AtLeastOnce {
                    let to = to(Api::OffsetCommit)?;
                    let request = ask::commit_offset(&ids, &position);
                    self.links.send(now, to, Ask::CommitPosition, &request);
                } else {
                    let to = to(Api::TxnOffsetCommit)?;
                    let request = ask::commit_position(&ids, producer, &position);
                    self.links.send(now, to, Ask::CommitPosition, &request);
                }
            }
            Stage::End => {
                let to = to(Api::EndTxn)?;
                self.links.send(now, to, Ask::End, &ask::end_transaction(&ids, producer));
            }
            _ => {}
        }
        Ok(())
    }

    /// The first step behind the topics.
    fn identity(&self) -> Stage {
        Stage::Coordinator(match self.settings.delivery {
            Delivery::ExactlyOnce => Role::Transactions,
            Delivery::AtLeastOnce => Role::Group,
        })
    }

    fn go_on(&mut self, stage: Stage) {
        self.stage = stage;
        self.task = Task::default();
    }

    fn found(&mut self, step: &'static str, outcome: Result<String, String>, mend: Vec<String>) {
        self.findings.push_back(Finding { step, outcome, mend });
    }

    /// The way is at fault. Brokers of the settings take turns; beyond them nothing can be looked at.
    fn end(&mut self, now: Instant, failure: &Failure) {
        if self.is_done() {
            return;
        }
        self.links.close_all();
        let step = match failure {
            Failure::Unauthenticated(_) => "login",
            _ => "connection",
        };
        self.found(step, Err(failure.to_string()), mend::of_failure(failure));
        self.tried += 1;
        let first = self.stage == Stage::Topics && !matches!(failure, Failure::Unauthenticated(_));
        if first && self.tried < self.settings.bootstrap.len() {
            self.broker = broker(&self.settings, self.tried);
            self.go_on(Stage::Topics);
            self.advance(now);
        } else {
            self.go_on(Stage::Done);
        }
    }
}

fn broker(settings: &Settings, index: usize) -> Address {
    let (host, port) = settings.bootstrap[index].clone();
    Address { host, port }
}
