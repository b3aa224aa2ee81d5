//! What a reader makes of the answers.

use std::collections::BTreeSet;

use tributary_core::time::Instant;

use super::batches::{Decoded, decode};
use super::{Began, Edge, Found, METADATA_MS, Partition, Place, Reader};
use crate::failure::Failure;
use crate::limits::{READ_MEMORY_BYTES_MAX, READ_PARTITIONS_MAX};
use crate::links::{Ask, Links, Use};
use crate::output::ConnId;
use crate::talk::Talker;
use crate::task::{MISSING, MOVING, Task};
use crate::wire::{Api, Class, Cluster, Code, Dialect, Reply, read};

const OUT_OF_RANGE: Code = Code(1);
const UNKNOWN_TOPIC: Code = Code(3);
/// A broker that does not lead any more what it was asked for is not asked again before.
const ASIDE_MS: u64 = 200;
/// Offsets that a new leader does not know yet.
const NOT_AVAILABLE: Code = Code(78);

impl Talker for Reader {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }

    fn handle_reply(
        &mut self,
        now: Instant,
        conn: ConnId,
        (ask, reply): (Ask, Reply),
    ) -> Result<(), Failure> {
        let api = reply.api;
        let malformed = |_| Failure::malformed(api);
        match ask {
            Ask::Versions => {
                let Ok(versions) = read::versions(reply).map_err(malformed)? else {
                    return Err(self.links.lacks(conn, Api::ApiVersions, Dialect::Explicit));
                };
                self.links.greeted(now, conn, versions)
            }
            Ask::Metadata => {
                let cluster = read::metadata(reply).map_err(malformed)?;
                self.handle_metadata(now, cluster)
            }
            Ask::Offsets(leader) => {
                let found = read::looked_up(reply).map_err(malformed)?;
                self.go_on(leader);
                found.into_iter().try_for_each(|found| self.handle_looked_up(now, found))
            }
            Ask::Fetch(leader) => {
                let found = read::fetched(reply).map_err(malformed)?;
                let found = found.map_err(|code| Failure::answered(api, code))?;
                self.go_on(leader);
                self.backoff.reset();
                let mut budget = READ_MEMORY_BYTES_MAX;
                let mut found = found.into_iter();
                found.try_for_each(|found| self.handle_fetched(now, found, &mut budget))
            }
            // Those of a replicator, and of a login.
            _ => Ok(()),
        }
    }

    fn wake(&mut self, now: Instant) -> Result<(), Failure> {
        if let Some(session) = &mut self.session {
            session.metadata.wake(now);
            session.leaders.values_mut().for_each(|task| task.wake(now));
        }
        Ok(())
    }

    fn own_timeout(&self) -> Option<Instant> {
        let tasks = self.session.iter().flat_map(|session| {
            let leaders = session.leaders.values().filter_map(Task::poll_timeout);
            leaders.chain(session.metadata.poll_timeout())
        });
        tasks.chain(self.next_session).min()
    }

    fn fail(&mut self, now: Instant, failure: Failure) {
        self.end_session(now, &failure);
    }

    /// Begins a session if it is time, and asks what is due.
    fn advance(&mut self, now: Instant) {
        if self.next_session.is_some_and(|at| at <= now) {
            self.begin_session(now);
        }
        if let Err(failure) = self.ask(now) {
            self.end_session(now, &failure);
        }
    }
}

impl Reader {
    /// The leader may be asked again.
    fn go_on(&mut self, leader: i32) {
        let task = self.session.as_mut().and_then(|it| it.leaders.get_mut(&leader));
        if let Some(task) = task {
            *task = Task::default();
        }
    }

    fn handle_metadata(&mut self, now: Instant, cluster: Cluster) -> Result<(), Failure> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let (mut missing, mut leaderless, mut joined) = (BTreeSet::new(), false, BTreeSet::new());
        for (name, topic) in &mut self.topics {
            let leaders = match cluster.topics.get(name) {
                Some(Ok(leaders)) => leaders,
                Some(Err(code)) if code.class().is_refusal() => {
                    return Err(Failure::refused_topic(name, *code));
                }
                Some(Err(code)) if *code != UNKNOWN_TOPIC => {
                    leaderless = true;
                    continue;
                }
                Some(Err(_)) | None => {
                    missing.insert(name.clone());
                    continue;
                }
            };
            if leaders.len() > READ_PARTITIONS_MAX {
                return Err(Failure::Alarm(format!(
                    "topic {name} has {} partitions, and at most {READ_PARTITIONS_MAX} are read",
                    leaders.len()
                )));
            }
            let id = cluster.ids.get(name).copied();
            let mut first = Began::First;
            if topic.start.id.is_some() && id.is_some() && topic.start.id != id {
                topic.partitions.clear();
                topic.start.next.clear();
                topic.start.others = Edge::End;
                first = Began::Recreated;
            }
            topic.start.id = id.or(topic.start.id);
            for (index, &leader) in (0..).zip(leaders) {
                let place = topic.start.next.get(&index).map(|next| Place::At(*next));
                let place = place.unwrap_or(Place::Unknown(topic.start.others, first));
                let new = Partition { leader: -1, place, end: None, at_end: false };
                let partition = topic.partitions.entry(index).or_insert(new);
                if partition.leader != leader {
                    partition.leader = leader;
                    joined.insert(leader);
                }
                leaderless |= leader < 0;
                session.leaders.entry(leader).or_default();
            }
        }
        session.brokers = cluster.brokers;
        // An answer that is held back there knows nothing of them.
        for leader in joined {
            if let (Some(address), Some(task)) =
                (session.brokers.get(&leader), session.leaders.get_mut(&leader))
            {
                self.links.hang_up(address, Use::Waiting);
                *task = Task::default();
            }
        }
        let unknown =
            session.leaders.keys().any(|it| *it >= 0 && !session.brokers.contains_key(it));
        session.is_looking = leaderless || unknown;
        if session.is_looking {
            session.metadata.again(now, MOVING);
        } else if !missing.is_empty() {
            session.metadata.again(now, MISSING);
        } else {
            session.metadata = Task::due_at(now.plus_ms(METADATA_MS));
        }
        self.status.missing = missing;
        Ok(())
    }

    /// Leaders are elsewhere; who asks again before it is known where waits.
    fn look_for_leaders(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if !session.is_looking {
            session.is_looking = true;
            session.metadata.again(now, MOVING);
        }
        for task in session.leaders.values_mut().filter(|task| task.is_due()) {
            *task = Task::due_at(now.plus_ms(ASIDE_MS));
        }
    }

    fn handle_looked_up(&mut self, now: Instant, found: read::LookedUp) -> Result<(), Failure> {
        let read::LookedUp { topic: name, partition: index, code, offset } = found;
        if code != Code::GOOD {
            return self.handle_error(now, &name, code, Api::ListOffsets);
        }
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        let (id, partitions) = (topic.start.id, topic.partitions.len());
        let Some(partition) = topic.partitions.get_mut(&index) else { return Ok(()) };
        let Place::Unknown(edge, why) = partition.place else { return Ok(()) };
        let next = match (offset, why, edge) {
            // No record is as young.
            (None, ..) => {
                partition.place = Place::Unknown(Edge::Last, why);
                return Ok(());
            }
            (Some(oldest), Began::Gone(place), _) if oldest < place => {
                partition.place = Place::Unknown(Edge::End, Began::Beyond(place));
                return Ok(());
            }
            (Some(offset), _, Edge::Last | Edge::Before(_)) => offset.saturating_sub(1),
            (Some(offset), _, Edge::Beginning | Edge::End) => offset,
        };
        partition.place = Place::At(next);
        self.is_unkept = true;
        let (topic, partition) = (name, index);
        self.found.push_back(Found::Began { topic, id, partition, partitions, next, why });
        Ok(())
    }

    fn handle_fetched(
        &mut self,
        now: Instant,
        found: read::Fetched,
        budget: &mut usize,
    ) -> Result<(), Failure> {
        let read::Fetched { topic: name, partition: index, code, .. } = found;
        if code != Code::GOOD && code != OUT_OF_RANGE {
            return self.handle_error(now, &name, code, Api::Fetch);
        }
        let partition = self.topics.get_mut(&name).and_then(|it| it.partitions.get_mut(&index));
        let Some(partition) = partition else { return Ok(()) };
        let Place::At(from) = partition.place else { return Ok(()) };
        if code == OUT_OF_RANGE {
            partition.place = Place::Unknown(Edge::Beginning, Began::Gone(from));
            return Ok(());
        }
        let decoded = decode(found.records, found.aborted, from, budget);
        let Decoded { records, unreadable, next } = decoded.map_err(|_| {
            let words = "cannot be read: they are damaged, or older than Kafka 0.11";
            Failure::Alarm(format!("records of {name}-{index} from {from} on {words}"))
        })?;
        let next = next.unwrap_or(from).max(from);
        let end = *partition.end.get_or_insert(found.end);
        let reached = next >= end && !partition.at_end;
        partition.at_end |= reached;
        if next > from {
            partition.place = Place::At(next);
            self.is_unkept = true;
            let topic = name.clone();
            let partition = index;
            self.found.push_back(Found::Records { topic, partition, records, unreadable, next });
        }
        if reached {
            self.found.push_back(Found::AtEnd { topic: name, partition: index });
        }
        Ok(())
    }

    fn handle_error(
        &mut self,
        now: Instant,
        topic: &str,
        code: Code,
        api: Api,
    ) -> Result<(), Failure> {
        match code.class() {
            Class::Leader | Class::Loading | Class::Moved => self.look_for_leaders(now),
            _ if code == NOT_AVAILABLE => self.look_for_leaders(now),
            class if class.is_refusal() => return Err(Failure::refused_topic(topic, code)),
            _ => return Err(Failure::answered(api, code)),
        }
        Ok(())
    }
}
