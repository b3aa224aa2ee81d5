//! One node of a cluster, broker and controller in one: formatted, started, killed and started
//! again on the same port and data.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::real::cache::{self, Release};
use crate::real::process::{self, Process};
use crate::real::{ports, wait};

/// How long a broker may take to answer; after a kill it waits for its own old registration to end.
const START_MAX: Duration = Duration::from_mins(3);
const STOP_MAX: Duration = Duration::from_secs(30);

/// What Java is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// A quick start and little memory: its compiler stops early.
    #[default]
    Start,
    /// Throughput, as in production.
    Load,
}

/// Java with a release of Kafka on its class path.
#[derive(Clone, Debug)]
pub(super) struct Java {
    pub(super) release: Release,
    pub(super) speed: Speed,
    /// What it unpacks (libraries of codecs) goes where all of it goes away: one that is killed
    /// does not tidy up.
    pub(super) temporary: PathBuf,
}

impl Java {
    fn machine(&self) -> Command {
        let mut command = Command::new("java");
        command.args(["-XX:+UseSerialGC", "-XX:-UsePerfData"]);
        if self.speed == Speed::Start {
            command.arg("-XX:TieredStopAtLevel=1");
        }
        command.arg(format!("-Djava.io.tmpdir={}", self.temporary.display()));
        command
    }

    /// A tool, to be given its arguments.
    pub(super) fn tool(&self, class: &str) -> Result<Command> {
        let mut command = self.machine();
        command.args(["-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        command.arg("-cp").arg(cache::class_path(self.release)?).arg(class);
        Ok(command)
    }
}

/// Where clients reach a broker.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// The port that it listens on for readers and tools.
    pub direct: u16,
    /// A second one, which it announces as the proxy's: (own port, announced port).
    pub proxied: Option<(u16, u16)>,
    /// One with TLS and SASL, and one with mutual TLS, for whom [`super::super::security`] knows
    /// the rest.
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

/// Its place in the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) listeners: Listeners,
    /// The ports of all controllers, its own included.
    pub(super) controllers: &'a [u16],
}

/// The node.
#[derive(Debug)]
pub(super) struct Broker {
    java: Java,
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Broker {
    /// Writes `server.properties` into `dir`, with `more` behind them, and formats its data.
    pub(super) fn format(
        java: Java,
        dir: &Path,
        place: Place<'_>,
        (cluster_id, more): (&str, &str),
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let port = place.listeners.direct;
        let broker = Self { java, dir: dir.to_owned(), port, process: None };
        fs::write(broker.properties(), server_properties(dir, place) + more)?;
        broker.format_data(cluster_id)?;
        Ok(broker)
    }

    fn format_data(&self, cluster_id: &str) -> Result<()> {
        let mut format = self.java.tool("kafka.tools.StorageTool")?;
        format.args(["format", "-t", cluster_id, "-c"]).arg(self.properties());
        process::output(format).map(drop)
    }

    /// Forgets all that it has, as a node of another cluster.
    pub(super) fn format_anew(&mut self, cluster_id: &str) -> Result<()> {
        ensure!(self.process.is_none(), "the broker is running");
        fs::remove_dir_all(self.data())?;
        self.format_data(cluster_id)
    }

    /// Starts it; [`Self::await_answer`] tells when it serves.
    pub(super) fn start(&mut self) -> Result<()> {
        let archive = class_archive(self.java.release)?;
        self.start_with(&format!("-XX:SharedArchiveFile={}", archive.display()))
    }

    fn start_with(&mut self, archive_option: &str) -> Result<()> {
        ensure!(self.process.is_none(), "the broker is running");
        let mut command = self.java.machine();
        let heap = if self.java.speed == Speed::Load { "-Xmx512m" } else { "-Xmx256m" };
        command.args([heap, archive_option]);
        command.arg("-cp").arg(cache::class_path(self.java.release)?);
        command.arg("kafka.Kafka").arg(self.properties());
        self.process = Some(Process::start("kafka", command, &self.dir.join("broker.log"))?);
        Ok(())
    }

    pub(super) fn await_answer(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the broker is not running")?;
        wait::until("the broker's first answer", START_MAX, || {
            process.check_running()?;
            Ok(serves(self.port).ok())
        })
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.take().context("the broker is not running")?.kill()
    }

    /// Whether it has ended by itself; if so, it can be started again.
    pub(super) fn has_ended(&mut self) -> bool {
        let ended = self.process.as_mut().is_some_and(|process| process.check_running().is_err());
        if ended {
            self.process = None;
        }
        ended
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }
}

fn server_properties(dir: &Path, Place { number, listeners, controllers }: Place<'_>) -> String {
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
    let voters: Vec<String> =
        controllers.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}")).collect();
    let (replicas, in_sync) = (controllers.len(), controllers.len() / 2 + 1);
    // These let what a killed broker led move, or the broker come back, in seconds: the controller
    // waits for the old registration to end.
    let patience = if replicas == 1 {
        "broker.heartbeat.interval.ms=200\nbroker.session.timeout.ms=1000\n"
    } else {
        "broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n\
         controller.quorum.election.timeout.ms=1000\ncontroller.quorum.fetch.timeout.ms=2000\n"
    };
    format!(
        "process.roles=broker,controller
node.id={number}
controller.quorum.voters={}
listeners={listen},CONTROLLER://127.0.0.1:{}
advertised.listeners={announce}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,APART:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,MTLS:SSL
log.dirs={}
num.partitions=1
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
{patience}",
        voters.join(","),
        controllers[number - 1],
        dir.join("data").display()
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
        fs::rename(unfinished, &archive)?;
    }
    drop(making);
    Ok(archive)
}

fn make_class_archive(release: Release, archive: &Path) -> Result<()> {
    let dir = cache::kafka(release).join("archived-broker");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let java = Java { release, speed: Speed::default(), temporary: dir.clone() };
    let controllers = [ports::free()?];
    let place = Place { number: 1, listeners: Listeners::direct()?, controllers: &controllers };
    let mut broker = Broker::format(java, &dir, place, (super::CLUSTER_ID, ""))?;
    broker.start_with(&format!("-XX:ArchiveClassesAtExit={}", archive.display()))?;
    broker.await_answer()?;
    broker.process.take().context("it was just started")?.terminate(STOP_MAX)?;
    fs::remove_dir_all(dir)?;
    Ok(())
}
