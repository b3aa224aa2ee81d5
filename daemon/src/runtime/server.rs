//! Starts the daemon, changes it on reload, and ends it in order.
//!
//! A switchboard. The order at the end is the promise kept to the last: connections first (what is
//! durable is acknowledged), then the lanes (transactions end, claims are taken back), then
//! the log.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use core::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tributary_mqtt::Settings as MqttSettings;

use super::answers::{Constants, Daemon};
use super::clock::Clocks;
use super::commands::FileCommands;
use super::committer::Committer;
use super::cursors::Cursors;
use super::dead_letters::{FileLetters, Input};
use super::dialogue::Shared;
use super::doors::Doors;
use super::downlinks::{Downlinks, Keeping};
use super::fanout;
use super::folding::{self, Folding, Trouble};
use super::hub::Hub;
use super::ingest::{Closed, Ingest};
use super::keeper;
use super::lanes::Lanes;
use super::opening::{self, Opened, Recovered};
use super::retention::Policy;
use super::routing::Routing;
use super::scrub::{self, Damage};
use super::sessions::State;
use super::sources::Sources;
use super::writer::Writer;
use crate::config::{Config, Lane};
use crate::io::mqtt::{FileCommitter, Inside};
use crate::io::segments::{Place, SegmentReader};
use crate::io::signals::{Asked, Signals, connections_max, raise_open_files};
use crate::io::threads::{join, spawn_async};
use crate::io::{clock, control, mqtt, threads};
use crate::replicate::drive::DetourAsked;
use crate::replicate::table::Wanted;
use crate::sync::lock;

/// How long connections may take to be told good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why the daemon does not run.
#[derive(Debug)]
pub enum Failure {
    /// The data directory cannot be used; what to do is in the message.
    Directory(String),
    /// Anything else.
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Runs the daemon until it is told to stop. `path` is read again on reload.
///
/// # Errors
/// If it cannot start.
pub fn run(config: &Config, path: Option<PathBuf>) -> Result<(), Failure> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // First: who restarts a daemon and has it read its files again does not wait for it to be there.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let wanted = compile(config)?;
    let opened = opening::open(config)?;
    let ended = runtime.block_on(async {
        let (server, sockets) = Server::start(config, path, opened)?;
        server.apply(wanted, config).await?;
        server.open(sockets);
        server.take_from(config).await;
        server.serve(signals).await
    });
    runtime.shutdown_timeout(FAREWELL);
    ended
}

pub(super) struct Server {
    /// Where the configuration was read, and as what at the start.
    pub(super) path: Option<PathBuf>,
    pub(super) started: Config,
    pub(super) doors: Doors,
    pub(super) daemon: Arc<Daemon>,
    pub(super) committer: Arc<FileCommitter>,
    lanes: Lanes,
    detours: mpsc::Receiver<DetourAsked>,
    shared: Arc<Shared>,
    fold: Mutex<Option<JoinHandle<()>>>,
    fold_stop: watch::Sender<bool>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

/// Where devices and people will be let in.
struct Sockets {
    control: Option<control::Listener>,
    listeners: Vec<mqtt::Listener>,
}

impl Server {
    /// Starts everything that works inside, and takes the addresses.
    fn start(
        config: &Config,
        path: Option<PathBuf>,
        opened: Opened,
    ) -> Result<(Self, Sockets), Failure> {
        let Opened { recovered, reader, gateway, place, damage, generations, sessions } = opened;
        let damage = Arc::new(damage);
        let Recovered { log, snapshot, clocks, .. } = recovered;
        let (id, generation, table) = (log.id(), log.generation(), opening::table_of(&snapshot)?);
        let hints = Lane::ALL.map(|lane| Arc::new(Mutex::new(snapshot.hint(lane.name()))));
        let ingest = Arc::new(Ingest::new(log.next_offset()));
        let cursors = Arc::new(Cursors::restore(&snapshot, Arc::clone(&ingest)));
        let (commands, keeping) = open_commands(config, id.0, &reader);
        let downlinks = Downlinks::new(snapshot.places().clone(), keeping);
        let clocks = Arc::new(Mutex::new(clocks));
        let policy = Policy::of(&config.log);
        let (hub, known) = (Arc::new(Hub::default()), *lock(&clocks));
        let (folding, trouble) = restore(sessions, (&ingest, &hub, &known))?;
        let writer = Writer::new(log, Arc::clone(&ingest), Arc::clone(&clocks), snapshot, policy)
            .with_last_look(folding::last_look(&folding));
        // First: who finds an open MQTT port may ask.
        let control = control::listen(&config.log.dir);
        let (doors, sockets) = Doors::open(config)?;
        let listeners = doors.describe(&sockets);
        let letters = open_letters(config, id.0, &reader);
        let daemon = Arc::new(Daemon {
            constants: constants(config, gateway, place, Arc::clone(&damage), listeners),
            ingest: Arc::clone(&ingest),
            hub: Arc::clone(&hub),
            clocks,
            log: reader.clone(),
            cursors,
            facts: writer.facts(),
            sources: Sources::default(),
            downlinks,
            doors: doors.all().to_vec(),
            letters: Arc::new(Mutex::new(letters)),
            upstream: Mutex::new(None),
            table: Arc::new(Mutex::new(table)),
            hints: hints.clone(),
            done: Arc::default(),
            replay: Arc::default(),
            halted: Arc::default(),
            folding: trouble,
        });
        let committer = Committer::new(writer, Arc::clone(&ingest), config.log.commit_delay);
        let committer = Arc::new(committer);
        let log_thread = Arc::clone(&committer);
        let writer = threads::spawn("log", move || log_thread.run())?;
        scrub::start(reader.clone(), damage)?;
        spawn_async("fan-out", fanout::run(reader, (hub, commands), ingest.follow()))?;
        let shared = Arc::new(shared_of(&daemon));
        tokio::spawn(keeper::run(Arc::clone(&shared)));
        let (fold, fold_stop) = start_folding(folding, &shared.ingest)?;
        let (lanes, detours) = Lanes::new(hints, generation, generations);
        let server = Self {
            path,
            started: config.clone(),
            doors,
            daemon,
            committer,
            lanes,
            detours,
            shared,
            fold: Mutex::new(Some(fold)),
            fold_stop,
            writer: Mutex::new(Some(writer)),
            stop: watch::Sender::new(false),
        };
        Ok((server, Sockets { control, listeners: sockets }))
    }

    /// Lets devices and people in: from here on the routes in force are the configuration's.
    fn open(&self, sockets: Sockets) {
        let Sockets { control, listeners } = sockets;
        let control = (self.started.log.dir.clone(), control);
        tokio::spawn(control::serve(control, Arc::clone(&self.daemon), self.stop.subscribe()));
        let shared = Arc::clone(&self.shared);
        let unread = Arc::default();
        let connections_max = connections_max();
        let sockets = Arc::new(Semaphore::new(connections_max));
        let wanted = self.doors.all().iter().map(|door| door.rules().listener.connections_max);
        if wanted.max() > Some(connections_max) {
            tracing::warn!(
                connections_max,
                "the limit of open files allows so many: more wait (`ulimit -Hn`)"
            );
        }
        for (listener, door) in listeners.into_iter().zip(self.doors.all()) {
            let inside = Inside {
                shared: Arc::clone(&shared),
                committer: Arc::clone(&self.committer),
                door: Arc::clone(door),
                unread: Arc::clone(&unread),
                sockets: Arc::clone(&sockets),
            };
            tokio::spawn(mqtt::accept(listener, inside, self.stop.subscribe()));
        }
        tokio::spawn(mqtt::watch_certificates(self.doors.all().to_vec(), self.stop.subscribe()));
    }

    /// Takes messages from the brokers of a configuration, and commands from its topics; no others.
    pub(super) async fn take_from(&self, config: &Config) {
        let Daemon { sources, downlinks, constants, facts, .. } = &*self.daemon;
        sources.follow(&config.sources, &constants.gateway, &self.shared).await;
        let id = lock(facts).id.0;
        let (wanted, us) = ((config.upstream.as_ref(), &config.downlinks[..]), &*constants.gateway);
        downlinks.follow(wanted, (us, id), &self.shared).await;
    }

    /// Puts routes and upstream of a configuration into force.
    pub(super) async fn apply(&self, wanted: Wanted, config: &Config) -> Result<(), Failure> {
        self.put_table(wanted).await?;
        Ok(self.lanes.follow(config.upstream.as_ref(), &self.daemon).await?)
    }

    /// Has the routing table follow the configuration, from the next event on.
    async fn put_table(&self, wanted: Wanted) -> Result<(), Failure> {
        self.routing().put(wanted).await
    }

    fn routing(&self) -> Routing<'_> {
        let Daemon { ingest, table, .. } = &*self.daemon;
        let Lanes { hints, generation, .. } = &self.lanes;
        Routing { ingest, table, hints, generation: *generation }
    }

    /// Puts a table into force that a lane asks for.
    async fn detour(&self, (detour, answer): DetourAsked) {
        let standing = self.lanes.standing().await;
        // A log that cannot be written is told of where it fails.
        if matches!(self.routing().detour(detour, &standing).await, Ok(true))
            && let Err(error) = self.lanes.follow_table(&self.daemon).await
        {
            tracing::error!(%error, "a lane cannot be started");
        }
        answer.send(()).unwrap_or_default();
    }

    /// Waits for signals; ends everything in order.
    async fn serve(mut self, mut signals: Signals) -> Result<(), Failure> {
        for listener in &self.daemon.constants.listeners {
            tracing::info!(listener, "listening for MQTT");
        }
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Reload => self.reload().await,
                    Asked::Stop => break,
                },
                Some(asked) = self.detours.recv() => self.detour(asked).await,
                () = self.daemon.halted.notified() => {
                    let daemon = Arc::clone(&self.daemon);
                    tokio::spawn(async move { daemon.settle_doubts().await });
                }
            }
        }
        tracing::info!("stopping");
        self.stop.send_replace(true);
        self.daemon.sources.stop().await;
        self.daemon.downlinks.stop().await;
        self.farewell().await;
        self.lanes.stop(&self.daemon).await;
        self.daemon.ingest.close(Closed::Stopping);
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            join(writer).await;
        }
        self.fold_stop.send_replace(true);
        let fold = lock(&self.fold).take();
        if let Some(fold) = fold {
            join(fold).await;
        }
        tracing::info!(durable = self.daemon.ingest.durable().0, "stopped");
        Ok(())
    }

    /// Gives the connections time to be answered and to leave.
    async fn farewell(&self) {
        self.daemon.hub.shut_down();
        let started = clock::now();
        while self.daemon.hub.connections() + self.daemon.hub.wills() > 0
            && u128::from(clock::now().ms_since(started)) < FAREWELL.as_millis()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(super) fn compile(config: &Config) -> Result<Wanted, Failure> {
    Wanted::compile(&config.routes, config.upstream.is_some())
        .map_err(|error| Failure::Other(format!("the routes do not compile: {error}")))
}

/// What connections have in common.
fn shared_of(daemon: &Daemon) -> Shared {
    Shared {
        ingest: Arc::clone(&daemon.ingest),
        hub: Arc::clone(&daemon.hub),
        clocks: Arc::clone(&daemon.clocks),
        settings: MqttSettings::default(),
    }
}

fn constants(
    config: &Config,
    gateway: String,
    place: Place,
    damage: Arc<Damage>,
    listeners: Vec<String>,
) -> Constants {
    Constants {
        gateway,
        listeners,
        dir: config.log.dir.display().to_string(),
        place,
        size: config.log.bytes_max,
        damage,
        started: clock::now(),
    }
}

/// Has sessions go on as they are known.
fn restore(
    (mut folding, state): (Folding, State),
    into: (&Ingest, &Hub, &Clocks),
) -> Result<(Arc<Mutex<Folding>>, Trouble), Failure> {
    folding
        .restore(state, into)
        .map_err(|error| Failure::Directory(format!("the log's sessions: {error}")))?;
    let trouble = folding.trouble();
    Ok((Arc::new(Mutex::new(folding)), trouble))
}

/// Keeps the file of sessions not far behind the log; with what ends that.
fn start_folding(
    folding: Arc<Mutex<Folding>>,
    ingest: &Ingest,
) -> io::Result<(JoinHandle<()>, watch::Sender<bool>)> {
    let stop = watch::Sender::new(false);
    let fold = folding::run(folding, ingest.follow(), stop.subscribe());
    Ok((spawn_async("sessions", fold)?, stop))
}

/// The stream of dead letters, and what is settled of those that were put back. The input is served, come
/// what may of it.
fn open_letters(config: &Config, log_id: u64, reader: &SegmentReader) -> FileLetters {
    let (dir, size) = (&config.log.dir, config.log.bytes_max);
    let mut letters = FileLetters::of_files(dir, size, clock::moment());
    let input = Input { log_id, reader, end: reader.end() };
    if let Err(why) = letters.settle(clock::moment(), &input) {
        tracing::error!(why, "which dead letters were put back is found out at the next start");
    }
    letters
}

/// The stream of commands: for who reads them, and for who keeps them.
fn open_commands(
    config: &Config,
    log_id: u64,
    reader: &SegmentReader,
) -> (Arc<Mutex<FileCommands>>, Keeping) {
    let (dir, size) = (&config.log.dir, config.log.bytes_max);
    let commands = FileCommands::of_files(dir, size, log_id, clock::moment());
    let commands = Arc::new(Mutex::new(commands));
    (Arc::clone(&commands), Keeping::new(commands, reader.clone()))
}
