//! The daemon's sessions, desk, log, fan-out and door, joined as the daemon joins them, without threads and sockets.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use tempfile::NamedTempFile;
use tributary::config::{ClientIds, Listener, Origins};
use tributary::door::{Door, Rules, Verifier, Visit};
use tributary::runtime::clock::{Clocks, Moment};
use tributary::runtime::dialogue::{Dialogue, Shared};
use tributary::runtime::fanout::Fanout;
use tributary::runtime::hub::Hub;
use tributary::runtime::ingest::Ingest;
use tributary::runtime::keeper::Keeper;
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::retention::Policy;
use tributary::runtime::sessions::resume;
use tributary::runtime::writer::Writer;
use tributary_core::log::{Entropy, Geometry};
use tributary_core::time::{Instant, Timestamp};
use tributary_tests::disk::Disk;

const GEOMETRY: Geometry = Geometry { segments: 64, segment_bytes: 64 << 10, page_bytes: 4096 };
/// The right time when a life begins: 2026-06-01.
const WALL_AT_ORIGIN: i64 = 1_780_272_000_000;

/// What the gateway's wall clock is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The network sets it, always.
    Set,
    /// After a boot it is wrong until the network sets it.
    Late,
    /// It jumps, and nobody says when it is right.
    Jumping,
}

/// A gateway that runs.
pub(crate) struct Gateway {
    disk: Disk,
    shared: Arc<Shared>,
    writer: Writer<Disk>,
    fanout: Fanout<()>,
    keeper: Keeper,
    door: Arc<Door>,
    acl: NamedTempFile,
    generation: u32,
    clock: Clock,
    /// Since the beginning, and since the boot.
    time: u64,
    now: u64,
    /// What the wall clock is off by, and whether the network has set it.
    wall_off: i64,
    is_set: bool,
    /// The log is full and holds.
    holds: bool,
}

impl Gateway {
    pub(crate) fn new(seed: u64, clock: Clock, rules: &str) -> Result<Self> {
        let acl = NamedTempFile::new()?;
        let door = Door::new(load(acl.path(), rules)?, Verifier::new())?;
        let disk = Disk::new(GEOMETRY, seed);
        let is_set = clock != Clock::Jumping;
        let (time, now, wall_off) = (1_000, 1_000, 0);
        let moment = moment(now, WALL_AT_ORIGIN + i64::from(1_000), is_set);
        let (shared, writer, fanout) = begin(&disk, 1, moment)?;
        let keeper = Keeper::new(Arc::clone(&shared), moment);
        let generation = 1;
        Ok(Self {
            disk,
            shared,
            writer,
            fanout,
            keeper,
            door,
            acl,
            generation,
            clock,
            time,
            now,
            wall_off,
            is_set,
            holds: false,
        })
    }

    pub(crate) fn moment(&self) -> Moment {
        moment(self.now, WALL_AT_ORIGIN + self.time.cast_signed() + self.wall_off, self.is_set)
    }

    /// Since the beginning, in milliseconds.
    pub(crate) const fn time(&self) -> u64 {
        self.time
    }

    /// Whether the network has set its clock.
    pub(crate) const fn is_set(&self) -> bool {
        self.is_set
    }

    /// How long it has run, in milliseconds.
    pub(crate) const fn uptime(&self) -> u64 {
        self.now
    }

    /// Somebody connects.
    pub(crate) fn welcome(&self) -> Dialogue {
        let visit = Visit::new(Arc::clone(&self.door), IpAddr::V4(Ipv4Addr::LOCALHOST));
        Dialogue::new(Arc::clone(&self.shared), self.moment(), visit)
    }

    /// Time passes, and the wall clock may jump.
    pub(crate) fn pass(&mut self, ms: u64, jump: i64) {
        (self.time, self.now) = (self.time + ms, self.now + ms);
        self.wall_off += jump;
        self.keep();
    }

    /// The network sets the clock.
    pub(crate) fn set_clock(&mut self) {
        (self.wall_off, self.is_set) = (0, true);
    }

    /// The log is full from now on, and holds: it takes no events, and nothing that waits becomes durable. Or there is
    /// room again.
    pub(crate) fn hold(&mut self, holds: bool) {
        self.holds = holds;
        self.shared.ingest.hold(holds);
        self.keep();
    }

    pub(crate) const fn holds(&self) -> bool {
        self.holds
    }

    /// Does what is due.
    pub(crate) fn keep(&mut self) {
        self.keeper.turn(self.moment());
    }

    /// Makes durable what was left, and hands it out.
    pub(crate) fn commit(&mut self) {
        if self.holds {
            return;
        }
        self.writer.turn(self.moment(), self.shared.ingest.take());
        self.writer.tend(self.moment());
        while self.fanout.turn(&self.disk.reader(), self.disk.reader().end().0) {}
    }

    /// Other rules are in force from now on.
    pub(crate) fn put_rules(&self, rules: &str) -> Result<()> {
        self.door.put(load(self.acl.path(), rules)?);
        self.shared.hub.wake_all();
        Ok(())
    }

    /// The process is gone, with all that was not committed, and begins again after a while; the machine,
    /// too, if its clock is `booted` anew.
    pub(crate) fn crash(&mut self, booted: bool, off_ms: u64) -> Result<()> {
        self.generation += 1;
        self.holds = false;
        self.time += off_ms;
        self.now += off_ms;
        if booted {
            self.now = 0;
        }
        if booted && self.clock == Clock::Late {
            // Some begin in 1970, others where they were.
            let wall = WALL_AT_ORIGIN + self.time.cast_signed();
            self.wall_off = if off_ms.is_multiple_of(2) { -wall } else { -off_ms.cast_signed() };
            self.is_set = false;
        }
        let moment = self.moment();
        (self.shared, self.writer, self.fanout) = begin(&self.disk, self.generation, moment)?;
        self.keeper = Keeper::new(Arc::clone(&self.shared), moment);
        Ok(())
    }
}

fn moment(now: u64, wall: i64, is_set: bool) -> Moment {
    Moment { now: Instant(now), wall: Timestamp(wall), is_set }
}

fn begin(
    disk: &Disk,
    generation: u32,
    moment: Moment,
) -> Result<(Arc<Shared>, Writer<Disk>, Fanout<()>)> {
    let entropy = Entropy { log_id: 1, generation, salt: u64::from(generation) };
    let recovered = recover(disk.clone(), entropy, moment).map_err(|why| anyhow!("{why:?}"))?;
    let Recovered { log, snapshot, clocks, .. } = recovered;
    let ingest = Arc::new(Ingest::new(log.next_offset()));
    let clocks = Arc::new(Mutex::new(clocks));
    let (hub, reader) = (Arc::new(Hub::default()), disk.reader());
    let writer =
        Writer::new(log, Arc::clone(&ingest), Arc::clone(&clocks), snapshot, Policy::default());
    let (state, _) = resume(None, &reader, reader.end().0).map_err(|why| anyhow!("{why}"))?;
    ingest.number_changes_from(state.applied.change);
    let known: &Mutex<Clocks> = &clocks;
    let known = *known.lock().unwrap_or_else(PoisonError::into_inner);
    hub.restore(state, known.now(moment).age, &known.anchor());
    let fanout = Fanout::new(Arc::clone(&hub), ());
    let session_expiry_max_s = u32::MAX;
    let settings = tributary_mqtt::Settings { session_expiry_max_s, ..Default::default() };
    Ok((Arc::new(Shared { ingest, hub, clocks, settings }), writer, fanout))
}

fn load(path: &Path, rules: &str) -> Result<Rules> {
    std::fs::write(path, rules)?;
    let listener = Listener {
        address: (Ipv4Addr::LOCALHOST, 1883).into(),
        tls: None,
        websocket: false,
        proxy_protocol: false,
        users: None,
        acl: Some(path.to_owned()),
        anonymous: true,
        client_ids: ClientIds::Any,
        origins: Origins::Any,
        connections_max: 100,
        per_address_max: 100,
        connect_timeout: Duration::from_secs(10),
        keep_alive_max_s: 0,
    };
    Rules::load(&listener).map_err(|flaws| anyhow!("{flaws:?}"))
}

/// The log's clock is the daemon's from the beginning: what comes in at once is as old as it is.
#[test]
fn what_comes_in_when_a_log_opens_bears_the_age_that_it_has() -> Result<()> {
    let start = moment(1_000, WALL_AT_ORIGIN, true);
    let disk = Disk::new(GEOMETRY, 1);
    for generation in 1..4 {
        let entropy = Entropy { log_id: 1, generation, salt: u64::from(generation) };
        let recovered = recover(disk.clone(), entropy, start).map_err(|why| anyhow!("{why:?}"))?;
        assert_eq!(recovered.log.age(), recovered.clocks.now(start).age, "{generation}");
    }
    Ok(())
}
