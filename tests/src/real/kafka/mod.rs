//! A Kafka cluster of one broker or of three: formatted, started, killed and started again on the
//! same ports.

mod broker;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use self::broker::{Broker, Java, Place};
pub use self::broker::{Listeners, Speed};
use super::cache::Release;
use super::{ports, process};

/// Any valid id will do: no two clusters ever meet.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
/// Of a cluster that stands where another was.
const OTHER_CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAg";

/// What a suite runs against: a release, and its level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// 3.9.2, whose transactions are of version 0.
    V392Tv0,
    /// 4.1.2 as it comes, with version 2.
    V412Tv2,
    /// 4.1.2 set down to version 1.
    V412Tv1,
    /// 4.1.2 set down to version 0, as one is that was upgraded from 3.9 and never told so.
    V412Tv0,
}

impl Setup {
    /// For directories and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V392Tv0 => "3.9.2-tv0",
            Self::V412Tv2 => "4.1.2-tv2",
            Self::V412Tv1 => "4.1.2-tv1",
            Self::V412Tv0 => "4.1.2-tv0",
        }
    }

    /// The whole name of a test that [`crate::on_both_releases`] has made for it.
    #[must_use]
    pub fn test(self, function: &str) -> String {
        match self.release() {
            Release::V3_9_2 => format!("{function}::on_3_9_2"),
            Release::V4_1_2 => format!("{function}::on_4_1_2"),
        }
    }

    /// The finalized level.
    #[must_use]
    pub const fn transaction_version(self) -> u16 {
        match self {
            Self::V392Tv0 | Self::V412Tv0 => 0,
            Self::V412Tv1 => 1,
            Self::V412Tv2 => 2,
        }
    }

    const fn release(self) -> Release {
        match self {
            Self::V392Tv0 => Release::V3_9_2,
            Self::V412Tv0 | Self::V412Tv1 | Self::V412Tv2 => Release::V4_1_2,
        }
    }
}

/// The cluster.
#[derive(Debug)]
pub struct Kafka {
    java: Java,
    brokers: Vec<Broker>,
}

impl Kafka {
    /// Formats a cluster of one broker under `dir`, starts it, and makes sure of its transaction
    /// version.
    ///
    /// # Errors
    /// It does not answer; with the end of its log.
    pub fn start(setup: Setup, dir: &Path, listeners: Listeners) -> Result<Self> {
        Self::start_with(setup, dir, listeners, "")
    }

    /// The same with more lines for `server.properties`: a key that stands there twice counts as
    /// the last one says.
    ///
    /// # Errors
    /// It does not answer; with the end of its log.
    pub fn start_with(setup: Setup, dir: &Path, listeners: Listeners, more: &str) -> Result<Self> {
        Self::format((setup, Speed::Start), dir, &[listeners], more)?.begin(setup)
    }

    /// A broker that is to be measured: its Java, and that of its tools, compiles all that it can.
    ///
    /// # Errors
    /// It does not answer; with the end of its log.
    pub fn start_for_load(
        setup: Setup,
        dir: &Path,
        listeners: Listeners,
        more: &str,
    ) -> Result<Self> {
        Self::format((setup, Speed::Load), dir, &[listeners], more)?.begin(setup)
    }

    /// Three brokers, of which two must have what is acknowledged.
    ///
    /// # Errors
    /// They do not answer; with the end of a log.
    pub fn start_three(setup: Setup, dir: &Path) -> Result<Self> {
        let listeners = [Listeners::direct()?, Listeners::direct()?, Listeners::direct()?];
        Self::format((setup, Speed::Start), dir, &listeners, "")?.begin(setup)
    }

    fn format(
        (setup, speed): (Setup, Speed),
        dir: &Path,
        listeners: &[Listeners],
        more: &str,
    ) -> Result<Self> {
        let java = Java { release: setup.release(), speed, temporary: dir.to_owned() };
        let controllers = listeners.iter().map(|_| ports::free()).collect::<Result<Vec<u16>>>()?;
        let mut brokers = Vec::new();
        for (&listeners, number) in listeners.iter().zip(1..) {
            let dir =
                if controllers.len() == 1 { dir.to_owned() } else { dir.join(number.to_string()) };
            let place = Place { number, listeners, controllers: &controllers };
            brokers.push(Broker::format(java.clone(), &dir, place, (CLUSTER_ID, more))?);
        }
        Ok(Self { java, brokers })
    }

    fn begin(mut self, setup: Setup) -> Result<Self> {
        self.restart()?;
        let level = setup.transaction_version();
        if self.transaction_version()? > level {
            self.set_transaction_version(level)?;
        }
        let found = self.transaction_version()?;
        ensure!(found == level, "transaction.version is {found}");
        Ok(self)
    }

    /// Starts all brokers again, on the same ports and data.
    ///
    /// # Errors
    /// They do not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.brokers.iter_mut().try_for_each(Broker::start)?;
        self.brokers.iter_mut().try_for_each(Broker::await_answer)
    }

    /// SIGKILL for all of them.
    ///
    /// # Errors
    /// One is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.brokers.iter_mut().try_for_each(Broker::kill)
    }

    /// SIGKILL for one.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill_broker(&mut self, number: usize) -> Result<()> {
        self.broker(number)?.kill()
    }

    /// Starts one again.
    ///
    /// # Errors
    /// It does not answer.
    pub fn restart_broker(&mut self, number: usize) -> Result<()> {
        let broker = self.broker(number)?;
        broker.start()?;
        broker.await_answer()
    }

    /// Whether the first broker has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.brokers[0].has_ended()
    }

    fn broker(&mut self, number: usize) -> Result<&mut Broker> {
        let at = number.checked_sub(1).context("brokers are numbered from 1")?;
        self.brokers.get_mut(at).with_context(|| format!("no broker {number}"))
    }

    /// Another cluster at the same address, which knows nothing of what this one had.
    ///
    /// # Errors
    /// It does not answer.
    pub fn rebuild(&mut self) -> Result<()> {
        self.kill()?;
        for broker in &mut self.brokers {
            broker.format_anew(OTHER_CLUSTER_ID)?;
        }
        self.restart()
    }

    /// The first segment of a topic's first partition, as the first broker keeps it.
    #[must_use]
    pub fn first_segment(&self, topic: &str) -> PathBuf {
        self.brokers[0].data().join(format!("{topic}-0/00000000000000000000.log"))
    }

    /// The first broker's port for readers and tools.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.brokers[0].port()
    }

    /// Host and port of each broker for readers and tools, with commas between them.
    #[must_use]
    pub fn address(&self) -> String {
        let addresses = self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port()));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Whether it is of a release before 4.0, where some tools have other names.
    #[must_use]
    pub const fn is_older_than_4(&self) -> bool {
        matches!(self.java.release, Release::V3_9_2)
    }

    /// A Java tool of this release, to be given its arguments.
    ///
    /// # Errors
    /// The release is not in the cache.
    pub fn java(&self, class: &str) -> Result<Command> {
        self.java.tool(class)
    }

    /// One that talks to this cluster.
    ///
    /// # Errors
    /// The release is not in the cache.
    pub fn tool(&self, class: &str) -> Result<Command> {
        let mut command = self.java(class)?;
        command.args(["--bootstrap-server", &self.address()]);
        Ok(command)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_topic(&self, topic: &str, partitions: u16) -> Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// Creates a topic with settings of its own, each as `name=value`.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_topic_with(&self, topic: &str, partitions: u16, settings: &[&str]) -> Result<()> {
        let mut command = self.tool(TOPICS)?;
        command.args(["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
        command.args(settings.iter().flat_map(|setting| ["--config", setting]));
        process::output(command).map(drop)
    }

    /// Deletes a topic with all that it has.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        let mut command = self.tool(TOPICS)?;
        command.args(["--delete", "--topic", topic]);
        process::output(command).map(drop)
    }

    /// The number of the broker that leads a topic's first partition; nothing while none does.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn leader(&self, topic: &str) -> Result<Option<usize>> {
        let mut command = self.tool(TOPICS)?;
        command.args(["--describe", "--topic", topic]);
        let text = process::output(command)?;
        let leader = text.split("Leader:").nth(1).context("the tool names a leader")?;
        Ok(leader.split_whitespace().next().and_then(|number| number.parse().ok()))
    }

    /// Changes the feature `transaction.version` while the cluster runs, as an operator would.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn set_transaction_version(&self, level: u16) -> Result<()> {
        let direction = if self.transaction_version()? < level { "upgrade" } else { "downgrade" };
        let mut command = self.tool(FEATURES)?;
        command.args([direction, "--feature", &format!("transaction.version={level}")]);
        process::output(command).map(drop)
    }

    /// The finalized level of `transaction.version`; 0 where the release does not know it.
    fn transaction_version(&self) -> Result<u16> {
        let mut command = self.tool(FEATURES)?;
        command.arg("describe");
        let text = process::output(command)?;
        let line = text.lines().find(|line| line.contains("transaction.version"));
        let Some(line) = line else { return Ok(0) };
        let level = line.split("FinalizedVersionLevel:").nth(1).unwrap_or_default();
        let level = level.split_whitespace().next().unwrap_or_default();
        level.parse().with_context(|| line.to_owned())
    }
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
