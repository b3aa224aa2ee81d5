//! What the answers mean, and which step follows.

use tributary_core::time::Instant;

use super::{Checkup, PATIENCE_MS, Stage, mend};
use crate::batch::Producer;
use crate::failure::Failure;
use crate::links::{Ask, Links, Role};
use crate::output::ConnId;
use crate::settings::{Delivery, POSITIONS_TOPIC};
use crate::talk::Talker;
use crate::task::MOVING;
use crate::wire::{Address, Api, Class, Cluster, Code, Dialect, Outcome, Reply, Versions, read};

pub(super) const UNKNOWN_TOPIC: Code = Code(3);
const ALREADY_EXISTS: Code = Code(36);

impl Talker for Checkup {
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
                self.greeted(now, conn, versions)?;
            }
            Ask::Metadata => {
                let cluster = read::metadata(reply).map_err(malformed)?;
                self.topics_found(now, &cluster);
            }
            Ask::Settings => {
                let found = read::topic_settings(reply).map_err(malformed)?;
                self.settings_found(now, &found);
            }
            Ask::CreateTopic => {
                let code = read::created(reply).map_err(malformed)?;
                self.created(now, code);
            }
            Ask::Coordinator(role) => {
                let found = read::coordinator(reply).map_err(malformed)?;
                self.coordinator_found(now, role, found);
            }
            Ask::Producer => {
                let found = read::new_producer(reply).map_err(malformed)?;
                self.producer_found(now, found);
            }
            Ask::AddPartitions => {
                let (code, _) = read::partitions_added(reply).map_err(malformed)?;
                self.partition_added(now, code);
            }
            Ask::AddOffsets => {
                let code = read::plain(reply).map_err(malformed)?;
                let next = if self.added { Stage::End } else { Stage::Done };
                self.step_answered(now, "group", code, next);
                if code == Code::GOOD {
                    self.go_on(Stage::Position);
                }
            }
            Ask::CommitPosition => {
                let is_plain = api == Api::OffsetCommit;
                let read = if is_plain { read::offset_committed } else { read::position_committed };
                let code = read(reply).map_err(malformed)?;
                let next = if is_plain { Stage::Done } else { Stage::End };
                self.step_answered(now, "position", code, next);
            }
            Ask::End => {
                let code = read::ended(reply).map_err(malformed)?.err().unwrap_or(Code::GOOD);
                self.step_answered(now, "transaction", code, Stage::Done);
            }
            Ask::Handshake
            | Ask::Authenticate
            | Ask::Produce(_)
            | Ask::Position
            | Ask::Offsets(_) => {}
            Ask::Fetch(_) => {
                let found = read::fetched(reply).map_err(malformed)?;
                self.was_read(now, found);
            }
        }
        Ok(())
    }

    fn wake(&mut self, now: Instant) -> Result<(), Failure> {
        self.task.wake(now);
        Ok(())
    }

    fn own_timeout(&self) -> Option<Instant> {
        self.task.poll_timeout()
    }

    fn fail(&mut self, now: Instant, failure: Failure) {
        self.end(now, &failure);
    }

    /// Asks what is due.
    fn advance(&mut self, now: Instant) {
        if let Err(failure) = self.ask(now) {
            self.fail(now, failure);
        }
    }
}

impl Checkup {
    /// A broker has said what it can do.
    fn greeted(&mut self, now: Instant, conn: ConnId, versions: Versions) -> Result<(), Failure> {
        let level = versions.transaction_version;
        self.links.greeted(now, conn, versions)?;
        let dialect = match self.settings.delivery {
            Delivery::ExactlyOnce => Dialect::Explicit,
            Delivery::AtLeastOnce => Dialect::Plain,
        };
        for api in Api::required(dialect) {
            self.links.version(conn, *api, dialect)?;
        }
        if self.stage == Stage::Topics {
            let words = format!("speaks all that is needed; transaction.version {level}");
            self.found("broker", Ok(words), Vec::new());
        }
        Ok(())
    }

    fn topics_found(&mut self, now: Instant, cluster: &Cluster) {
        let ms = now.ms_since(self.asked_at);
        self.brokers = cluster.brokers.len();
        if !self.task.is_retried() {
            let words = format!("{} brokers, round trip {ms} ms", self.brokers);
            self.found("cluster", Ok(words), Vec::new());
        }
        let mut missing = Vec::new();
        let wanted: Vec<String> =
            self.topics.iter().cloned().chain([POSITIONS_TOPIC.to_owned()]).collect();
        for name in wanted {
            match cluster.topics.get(&name) {
                Some(Ok(leaders)) => {
                    let words = format!("{name}: {} partitions", leaders.len());
                    self.found("topic", Ok(words), Vec::new());
                }
                Some(Err(code)) if *code != UNKNOWN_TOPIC => {
                    let right = if name == POSITIONS_TOPIC { "Read" } else { "Write" };
                    let words = format!("{name}: {code}");
                    let mend = self.permit(&["--operation", right, "--topic", &name]);
                    self.found("topic", Err(words), mend);
                    self.topics.retain(|topic| *topic != name);
                }
                Some(Err(_)) | None => missing.push(name),
            }
        }
        self.readable = self.topics_to_read(cluster);
        if self.create && !missing.is_empty() {
            self.go_on(Stage::Create(missing));
            return;
        }
        for name in missing {
            let words = format!("{name} does not exist");
            let mend = mend::create_topic(&self.broker, &name);
            self.found("topic", Err(words), mend);
            self.topics.retain(|topic| *topic != name);
        }
        self.go_on_with_settings();
    }

    fn created(&mut self, now: Instant, code: Code) {
        let Stage::Create(missing) = &mut self.stage else { return };
        let name = missing.last().cloned().unwrap_or_default();
        if self.is_retriable(now, code) {
            return;
        }
        let Stage::Create(missing) = &mut self.stage else { return };
        missing.pop();
        let rest = core::mem::take(missing);
        if [Code::GOOD, ALREADY_EXISTS].contains(&code) {
            self.found("topic", Ok(format!("{name} was made")), Vec::new());
        } else {
            let mend = mend::create_topic(&self.broker, &name);
            self.found("topic", Err(format!("{name} cannot be made: {code}")), mend);
            self.topics.retain(|topic| *topic != name);
        }
        if rest.is_empty() {
            self.go_on_with_settings();
        } else {
            self.go_on(Stage::Create(rest));
        }
    }

    fn coordinator_found(&mut self, now: Instant, role: Role, found: Outcome<Address>) {
        let is_plain = self.settings.delivery == Delivery::AtLeastOnce;
        let (step, place, next) = match role {
            Role::Transactions => ("transactional id", 0, Stage::Coordinator(Role::Group)),
            Role::Group if is_plain => ("group", 1, Stage::Position),
            Role::Group => ("group", 1, Stage::Producer),
        };
        match found {
            Err(code) => self.step_answered(now, step, code, Stage::Done),
            Ok(address) => {
                self.coordinators[place] = Some(address);
                self.go_on(next);
            }
        }
    }

    fn producer_found(&mut self, now: Instant, found: Outcome<Producer>) {
        match found {
            Err(code) => self.step_answered(now, "transactional id", code, Stage::Done),
            Ok(producer) => {
                self.producer = Some(producer);
                let words = format!("{} may be used", self.links.ids.identity);
                self.found("transactional id", Ok(words), Vec::new());
                let mut topics = self.topics.clone();
                topics.reverse();
                self.go_on_with_partitions(topics);
            }
        }
    }

    fn go_on_with_partitions(&mut self, topics: Vec<String>) {
        self.go_on(if topics.is_empty() { Stage::Group } else { Stage::Partitions(topics) });
    }

    fn partition_added(&mut self, now: Instant, code: Code) {
        let Stage::Partitions(topics) = &self.stage else { return };
        let mut topics = topics.clone();
        if self.is_retriable(now, code) {
            return;
        }
        let name = topics.pop().unwrap_or_default();
        if code == Code::GOOD {
            self.added = true;
            self.found("write", Ok(format!("{name} may be written to")), Vec::new());
        } else {
            let mend = self.permit(&["--operation", "Write", "--topic", &name]);
            self.found("write", Err(format!("{name}: {code}")), mend);
        }
        self.go_on_with_partitions(topics);
    }

    /// The answer to a step that is about the identity. What follows if it is good, or if it is not.
    fn step_answered(&mut self, now: Instant, step: &'static str, code: Code, next: Stage) {
        if self.is_retriable(now, code) {
            return;
        }
        if code == Code::GOOD {
            self.added = true;
            let words = match step {
                "group" => format!("{} may be used", self.links.ids.identity),
                "position" => format!("positions can be kept in {POSITIONS_TOPIC}"),
                _ => "a transaction without records was committed".to_owned(),
            };
            self.found(step, Ok(words), Vec::new());
        } else {
            let prefix = format!("tributary.{}.", self.settings.gateway);
            let of_prefix = ["--resource-pattern-type", "prefixed"];
            let rights: Vec<&str> = match step {
                "transactional id" => {
                    let id = ["--operation", "Write", "--operation", "Describe"];
                    id.into_iter().chain(["--transactional-id", &prefix]).chain(of_prefix).collect()
                }
                "group" => ["--operation", "Read", "--group", &prefix]
                    .into_iter()
                    .chain(of_prefix)
                    .collect(),
                "position" => vec!["--operation", "Read", "--topic", POSITIONS_TOPIC],
                _ => Vec::new(),
            };
            let denied = matches!(code, Code(29 | 30 | 53));
            let mend = if denied { self.permit(&rights) } else { Vec::new() };
            self.found(step, Err(format!("{}: {code}", self.links.ids.identity)), mend);
        }
        self.go_on(next);
    }

    /// Whether the answer asks for another try, which is then under way.
    pub(super) fn is_retriable(&mut self, now: Instant, code: Code) -> bool {
        let again =
            matches!(code.class(), Class::Busy | Class::Loading | Class::Moved | Class::Leader);
        again && code != UNKNOWN_TOPIC && self.task.again(now, MOVING) <= PATIENCE_MS
    }

    pub(super) fn permit(&self, rights: &[&str]) -> Vec<String> {
        mend::permit(&self.broker, &self.principal, rights)
    }
}
