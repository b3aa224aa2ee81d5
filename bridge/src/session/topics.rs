//! Topics, their partitions and leaders; making topics that are missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tributary_core::time::Instant;

use super::{Context, Lessons, Memory, PATIENCE_MS};
use crate::failure::Failure;
use crate::limits::{TOPIC_NAME_BYTES_MAX, TOPICS_MAX};
use crate::links::Ask;
use crate::output::ConnId;
use crate::settings::POSITIONS_TOPIC;
use crate::task::{MOVING, Task};
use crate::transaction::Lesson;
use crate::wire::{Address, Api, Class, Cluster, Code, Dialect, ask};

/// After this long, partitions may have been added: as old as Java's `metadata.max.age.ms`.
const FRESH_MS: u64 = 300_000;
/// Enough to find a cluster again whose other brokers were replaced.
const BROKERS_REMEMBERED: usize = 8;
const UNKNOWN_TOPIC: Code = Code(3);
const ALREADY_EXISTS: Code = Code(36);
const NOT_CONTROLLER: Code = Code(41);
const QUOTA: Code = Code(89);
const INVALID_TOPIC: Code = Code(17);

/// What a session knows of the cluster.
#[derive(Debug)]
pub(crate) struct Topics {
    /// Topics that are written to.
    names: BTreeSet<String>,
    /// What topics have taught.
    pub(crate) lessons: Lessons,
    /// Topics that must be there before the lane can go on.
    wanted: Vec<String>,
    cluster: Cluster,
    metadata: Task,
    create: Task,
    /// The topic that is being made.
    creating: Option<String>,
    asked_at: Instant,
    /// Brokers that an earlier session knew, until this one knows better.
    remembered: Vec<Address>,
}

impl Topics {
    /// Begins with the topics that the last session wrote to.
    pub(crate) fn new(now: Instant, memory: Memory) -> Self {
        Self {
            names: memory.names,
            lessons: memory.lessons,
            remembered: memory.brokers,
            wanted: vec![POSITIONS_TOPIC.to_owned()],
            cluster: Cluster::default(),
            metadata: Task::default(),
            create: Task::DONE,
            creating: None,
            asked_at: now,
        }
    }

    pub(crate) fn into_memory(self) -> Memory {
        let brokers: Vec<Address> =
            self.cluster.brokers.into_values().take(BROKERS_REMEMBERED).collect();
        let brokers = if brokers.is_empty() { self.remembered } else { brokers };
        Memory { names: self.names, brokers, lessons: self.lessons, is_wary: false }
    }

    /// Whether every topic that was wanted is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A record goes to this topic.
    pub(crate) fn want(&mut self, name: String) -> Result<(), Failure> {
        if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX {
            let shown: String = name.chars().take(40).collect();
            return Err(Failure::refused(&format!("topic {shown:?}"), INVALID_TOPIC));
        }
        if self.names.len() >= TOPICS_MAX {
            self.names.clear();
            self.lessons = Lessons::default();
        }
        self.wanted.push(name);
        self.metadata.restart();
        Ok(())
    }

    /// Takes note of what a transaction has taught. Whether that changes anything for the next.
    pub(crate) fn learn(&mut self, lessons: &[Lesson], batch_bytes_max: usize) -> bool {
        lessons.iter().fold(false, |any, lesson| self.lessons.learn(lesson, batch_bytes_max) | any)
    }

    /// What is known may be out of date.
    pub(crate) fn refresh(&mut self) {
        self.metadata.restart();
    }

    /// A partition is led by somebody else: by this one, or whom the next look-up names.
    pub(crate) fn follow(&mut self, place: (&str, i32), leader: Option<(i32, Address)>) {
        let Some((id, address)) = leader else { return self.refresh() };
        let leaders = self.cluster.topics.get_mut(place.0).and_then(|known| known.as_mut().ok());
        let place = usize::try_from(place.1).ok();
        if let Some(known) = leaders.zip(place).and_then(|(all, at)| all.get_mut(at)) {
            *known = id;
            self.cluster.brokers.insert(id, address);
        }
    }

    /// As [`Self::refresh`], if it is long since it was asked for.
    pub(crate) fn refresh_if_old(&mut self, now: Instant) {
        if now.ms_since(self.asked_at) >= FRESH_MS {
            self.refresh();
        }
    }

    /// Where the leader of a partition is, if there is one.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<&Address> {
        let leaders = self.cluster.topics.get(topic)?.as_ref().ok()?;
        let leader = leaders.get(usize::try_from(partition).ok()?)?;
        self.cluster.brokers.get(leader)
    }

    /// Topics that can be written to, in order, with the number of their partitions.
    pub(crate) fn writable(&self) -> Vec<(Arc<str>, u32)> {
        let known = self.cluster.topics.iter().filter_map(|(name, leaders)| {
            let partitions = u32::try_from(leaders.as_ref().ok()?.len()).ok()?;
            (partitions > 0).then(|| (Arc::from(name.as_str()), partitions))
        });
        known.collect()
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        self.create.wake(now);
        self.metadata.wake(now);
    }

    pub(crate) fn is_due(&self) -> bool {
        if self.creating.is_some() { self.create.is_due() } else { self.metadata.is_due() }
    }

    /// Sends what is due; `conn` leads to any broker.
    pub(crate) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        dialect: Dialect,
    ) -> Result<(), Failure> {
        if self.creating.is_some() {
            return self.create(cx, conn, dialect);
        }
        if self.metadata.is_due() {
            let version = cx.links.version(conn, Api::Metadata, dialect)?;
            let names = self.names.iter().chain(&self.wanted).map(String::as_str);
            let names: BTreeSet<&str> = names.chain([POSITIONS_TOPIC]).collect();
            let names = names.into_iter();
            let to = (conn, Api::Metadata, version);
            cx.links.send(cx.now, to, Ask::Metadata, &ask::metadata(names));
            self.metadata.asked();
            self.asked_at = cx.now;
        }
        Ok(())
    }

    pub(crate) fn handle_metadata(
        &mut self,
        cx: &mut Context<'_>,
        cluster: Cluster,
    ) -> Result<(), Failure> {
        self.cluster = cluster;
        let mut missing = None;
        for name in core::mem::take(&mut self.wanted) {
            match self.cluster.topics.get(&name) {
                Some(Ok(leaders)) if !leaders.is_empty() => {
                    if name != POSITIONS_TOPIC {
                        self.names.insert(name);
                    }
                    continue;
                }
                Some(Err(code)) if *code == UNKNOWN_TOPIC => missing = Some(name.clone()),
                Some(Err(code)) if code.class() != Class::Leader => {
                    return Err(Failure::refused_topic(&name, *code));
                }
                Some(_) | None => {}
            }
            self.wanted.push(name);
        }
        if self.wanted.is_empty() {
            self.metadata.done();
        } else {
            self.try_again(cx)?;
        }
        self.creating = missing;
        if self.creating.is_some() {
            self.create.restart();
        }
        Ok(())
    }

    pub(crate) fn handle_created(
        &mut self,
        cx: &mut Context<'_>,
        code: Code,
    ) -> Result<(), Failure> {
        let topic = self.creating.take().unwrap_or_default();
        self.create.done();
        let fine = [Code::GOOD, ALREADY_EXISTS, NOT_CONTROLLER, QUOTA].contains(&code);
        if fine || matches!(code.class(), Class::Leader | Class::Loading) {
            return Ok(());
        }
        if code.class().is_refusal() {
            return Err(Failure::not_created(&topic, code));
        }
        // A time-out, for example: whether it was made is seen in the metadata.
        self.try_again(cx)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let task = if self.creating.is_some() { &self.create } else { &self.metadata };
        task.poll_timeout()
    }

    /// Asks the controller; brokers that are not it forward (KIP-590) or answer 41.
    fn create(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        dialect: Dialect,
    ) -> Result<(), Failure> {
        let Some(topic) = self.creating.clone().filter(|_| self.create.is_due()) else {
            return Ok(());
        };
        let conn = match self.cluster.brokers.get(&self.cluster.controller) {
            None => conn,
            Some(controller) => match cx.links.reach(cx.now, controller)? {
                None => return Ok(()),
                Some(conn) => conn,
            },
        };
        let version = cx.links.version(conn, Api::CreateTopics, dialect)?;
        let timeout_ms = cx.settings.request_timeout_ms / 2;
        let request = ask::create_topic(&topic, cx.settings.create, timeout_ms);
        let to = (conn, Api::CreateTopics, version);
        cx.links.send(cx.now, to, Ask::CreateTopic, &request);
        self.create.asked();
        Ok(())
    }

    fn try_again(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        cx.counters.retries += 1;
        if self.metadata.again(cx.now, MOVING) > PATIENCE_MS {
            let topic = self.wanted.join(", ");
            return Err(Failure::Ended(format!("topic {topic} does not become available")));
        }
        Ok(())
    }
}
