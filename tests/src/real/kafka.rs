//! A Kafka cluster of one broker: formatted, started, killed and started again on the same ports.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use super::cache::{self, Release};
use super::process::{self, Process};
use super::{ports, wait};

/// How long a broker may take to answer; after a kill it waits for its own old registration to end.
const START_MAX: Duration = Duration::from_mins(1);
const STOP_MAX: Duration = Duration::from_secs(30);
/// Any valid id will do: no two clusters ever meet.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// What a suite runs against: a release, and its level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// 3.9.2, whose transactions are of version 0.
    V392Tv0,
    /// 4.1.2 as it comes, with version 2.
    V412Tv2,
    /// 4.1.2 set down to version 1.
    V412Tv1,
}

impl Setup {
    /// For directories and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V392Tv0 => "3.9.2-tv0",
            Self::V412Tv2 => "4.1.2-tv2",
            Self::V412Tv1 => "4.1.2-tv1",
        }
    }

    /// The finalized level.
    #[must_use]
    pub const fn transaction_version(self) -> u16 {
        match self {
            Self::V392Tv0 => 0,
            Self::V412Tv1 => 1,
            Self::V412Tv2 => 2,
        }
    }

    const fn release(self) -> Release {
        match self {
            Self::V392Tv0 => Release::V3_9_2,
            Self::V412Tv1 | Self::V412Tv2 => Release::V4_1_2,
        }
    }
}

/// The broker.
#[derive(Debug)]
pub struct Kafka {
    release: Release,
    dir: PathBuf,
    port: u16,
    broker: Option<Process>,
    speed: Speed,
}

/// What Java is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// A quick start and little memory: its compiler stops early.
    #[default]
    Start,
    /// Throughput, as in production.
    Load,
}

/// Where clients reach the broker.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// The port that it listens on for readers and tools.
    pub direct: u16,
    /// A second one, which it announces as the proxy's: (own port, announced port).
    pub proxied: Option<(u16, u16)>,
    /// One with TLS and SASL, and one with mutual TLS, for whom [`super::security`] knows the rest.
    pub secure: Option<(u16, u16)>,
    /// One at an address of another network.
    pub apart: Option<SocketAddrV4>,
}

impl Listeners {
    /// One listener on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub fn direct() -> Result<Self> {
        Ok(Self { direct: ports::free()?, proxied: None, secure: None, apart: None })
    }
}

impl Kafka {
    /// Formats a cluster under `dir`, starts it, and makes sure of its transaction version.
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
        let kafka = Self::format(setup.release(), dir, listeners, more)?;
        kafka.begin(setup)
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
        let mut kafka = Self::format(setup.release(), dir, listeners, more)?;
        kafka.speed = Speed::Load;
        kafka.begin(setup)
    }

    fn begin(mut self, setup: Setup) -> Result<Self> {
        let kafka = &mut self;
        kafka.restart()?;
        if setup == Setup::V412Tv1 {
            kafka.set_transaction_version(setup.transaction_version())?;
        }
        let found = kafka.transaction_version()?;
        ensure!(found == setup.transaction_version(), "transaction.version is {found}");
        Ok(self)
    }

    fn format(release: Release, dir: &Path, listeners: Listeners, more: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (port, speed) = (listeners.direct, Speed::default());
        let kafka = Self { release, dir: dir.to_owned(), port, broker: None, speed };
        let properties = server_properties(dir, listeners, ports::free()?) + more;
        std::fs::write(kafka.properties(), properties)?;
        let mut format = kafka.java("kafka.tools.StorageTool")?;
        format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(kafka.properties());
        process::output(format)?;
        Ok(kafka)
    }

    /// Starts the broker again, on the same ports and data.
    ///
    /// # Errors
    /// It does not answer.
    pub fn restart(&mut self) -> Result<()> {
        let archive = class_archive(self.release)?;
        self.start_broker(&format!("-XX:SharedArchiveFile={}", archive.display()))
    }

    fn start_broker(&mut self, archive_option: &str) -> Result<()> {
        let mut command = self.virtual_machine();
        let heap = if self.speed == Speed::Load { "-Xmx512m" } else { "-Xmx256m" };
        command.args([heap, archive_option]);
        command.arg("-cp").arg(cache::class_path(self.release)?);
        command.arg("kafka.Kafka").arg(self.properties());
        let broker = Process::start("kafka", command, &self.dir.join("broker.log"))?;
        let broker = self.broker.insert(broker);
        wait::until("the broker's first answer", START_MAX, || {
            broker.check_running()?;
            Ok(serves(self.port).ok())
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.broker.take().context("the broker is not running")?.kill()
    }

    /// The first segment of a topic's first partition, as the broker keeps it.
    #[must_use]
    pub fn first_segment(&self, topic: &str) -> PathBuf {
        self.dir.join(format!("data/{topic}-0/00000000000000000000.log"))
    }

    /// Port for readers and tools.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port for readers and tools.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether it is of a release before 4.0, where some tools have other names.
    #[must_use]
    pub const fn is_older_than_4(&self) -> bool {
        matches!(self.release, Release::V3_9_2)
    }

    /// A Java tool of this release, to be given its arguments.
    ///
    /// # Errors
    /// The release is not in the cache.
    pub fn java(&self, class: &str) -> Result<Command> {
        let mut command = self.virtual_machine();
        command.args(["-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        command.arg("-cp").arg(cache::class_path(self.release)?).arg(class);
        Ok(command)
    }

    /// Java that leaves what it unpacks (libraries of codecs) where all of it goes
    /// away: one that is killed does not tidy up.
    fn virtual_machine(&self) -> Command {
        let mut command = Command::new("java");
        command.args(["-XX:+UseSerialGC", "-XX:-UsePerfData"]);
        if self.speed == Speed::Start {
            command.arg("-XX:TieredStopAtLevel=1");
        }
        command.arg(format!("-Djava.io.tmpdir={}", self.dir.display()));
        command
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
        let mut command = self.java("org.apache.kafka.tools.TopicCommand")?;
        command.args(["--bootstrap-server", &self.address(), "--create", "--topic", topic]);
        command.args(["--partitions", &partitions.to_string()]);
        command.args(settings.iter().flat_map(|setting| ["--config", setting]));
        process::output(command).map(drop)
    }

    /// Lowers the feature `transaction.version` while the cluster runs, as an operator would.
    fn set_transaction_version(&self, level: u16) -> Result<()> {
        let mut command = self.java("org.apache.kafka.tools.FeatureCommand")?;
        command.args(["--bootstrap-server", &self.address(), "downgrade"]);
        command.args(["--feature", &format!("transaction.version={level}")]);
        process::output(command).map(drop)
    }

    /// The finalized level of `transaction.version`; 0 where the release does not know it.
    fn transaction_version(&self) -> Result<u16> {
        let mut command = self.java("org.apache.kafka.tools.FeatureCommand")?;
        command.args(["--bootstrap-server", &self.address(), "describe"]);
        let text = process::output(command)?;
        let line = text.lines().find(|line| line.contains("transaction.version"));
        let Some(line) = line else { return Ok(0) };
        let level = line.split("FinalizedVersionLevel:").nth(1).unwrap_or_default();
        let level = level.split_whitespace().next().unwrap_or_default();
        level.parse().with_context(|| line.to_owned())
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }
}

fn server_properties(dir: &Path, listeners: Listeners, controller: u16) -> String {
    let direct = format!("PLAINTEXT://127.0.0.1:{}", listeners.direct);
    let proxied = |(own, announced): (u16, u16)| {
        let at = |port| format!(",PROXIED://127.0.0.1:{port}");
        (at(own), at(announced))
    };
    let secure = |(sasl, mtls)| format!(",SASL_SSL://localhost:{sasl},MTLS://localhost:{mtls}");
    let (own, announced) = listeners.proxied.map(proxied).unwrap_or_default();
    let secure = listeners.secure.map(secure).unwrap_or_default();
    let apart = listeners.apart.map(|at| format!(",APART://{at}")).unwrap_or_default();
    let (listen, announce) =
        (format!("{direct}{own}{secure}{apart}"), format!("{direct}{announced}{secure}{apart}"));
    let data = dir.join("data");
    // The last two let a killed broker come back in seconds: its controller waits for the old
    // registration to end.
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listen},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={announce}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,APART:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,MTLS:SSL
log.dirs={}
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1000
",
        data.display()
    )
}

/// An `ApiVersions` request, version 0: the first thing that a broker answers when it serves.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

fn serves(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&API_VERSIONS)?;
    let mut head = [0; 10];
    stream.read_exact(&mut head)?;
    ensure!(head[4..] == [0, 0, 0, 1, 0, 0], "not the answer to ApiVersions");
    Ok(())
}

/// Classes of a release in the form that Java maps instead of parsing: a broker starts in a third
/// of the time. Made once by a broker of its own.
fn class_archive(release: Release) -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let making = MAKING.lock().map_err(|_| anyhow::anyhow!("the archive could not be made"))?;
    let folder = cache::kafka(release);
    let archive = folder.join("broker.jsa");
    if !archive.exists() {
        let unfinished = folder.join("unfinished.jsa");
        make_class_archive(release, &unfinished)?;
        std::fs::rename(unfinished, &archive)?;
    }
    drop(making);
    Ok(archive)
}

fn make_class_archive(release: Release, archive: &Path) -> Result<()> {
    let dir = cache::kafka(release).join("archived-broker");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let mut kafka = Kafka::format(release, &dir, Listeners::direct()?, "")?;
    kafka.start_broker(&format!("-XX:ArchiveClassesAtExit={}", archive.display()))?;
    kafka.broker.take().context("it was just started")?.terminate(STOP_MAX)?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
