//! The simulated world: devices, gateways, a network and a Kafka cluster in virtual time, and a bad
//! day. All of it follows from one number.
//!
//! The gateways are the daemon's own sessions, desk, log, routing tables, fold and replicator; the
//! disk loses or garbles what was not durable; clocks may be wrong; the cluster is
//! `tributary-cluster`. What the devices were promised is judged by a `ledger` that knows nothing
//! of the code.

mod account;
mod audience;
mod bytes;
mod conversation;
mod crowd;
mod device;
mod gateway;
mod judge;
mod ledger;
mod letters;
mod misfortune;
mod network;
mod plant;
mod process;
mod subscriber;
mod wills;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tributary_cluster::{Cluster, Kafka, Settings, TopicSettings, TransactionVersion};
use tributary_core::Offset;
use tributary_core::log::Geometry;
use tributary_core::time::Timestamp;

use crate::disk::Disk;
use audience::Audience;
use device::Device;
use gateway::{File, Gateway, WALL_AT_ORIGIN};
use ledger::{Completeness, Ledger, NARROW, narrow_bytes};
use misfortune::{Day, Misfortune, Refused};
use network::{Line, Network};
use plant::Wire;
use subscriber::Subscriber;
use wills::Wills;

/// No misfortune after this moment.
const DAY_MS: u64 = 20_000;
/// When all is well again, everything must have arrived after so long.
const PATIENCE_MS: u64 = 400_000;
/// Within which brokers write the markers of a transaction that is decided.
const MARKERS_MS: u64 = 1_000;
/// More happenings than any world needs: one that has more goes round in circles.
const HAPPENINGS_MAX: u64 = 400_000;

const GEOMETRY: Geometry = Geometry { segments: 64, segment_bytes: 32 << 10, page_bytes: 4096 };
/// A log that is full soon.
const SMALL: Geometry = Geometry { segments: 4, segment_bytes: 96 << 10, page_bytes: 4096 };

/// What came of a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of every byte that was exchanged, and when.
    pub digest: u64,
    /// Readings that were made.
    pub readings: u64,
    /// Readings that were acknowledged.
    pub acked: u64,
    /// Records that a consumer reads.
    pub records: u64,
    /// Records that the gateways count as lost, since their events made room in a full log.
    pub lost: u64,
    /// Events that made room.
    pub evicted: u64,
    /// Messages that came to subscribers.
    pub heard: u64,
    /// Wills that came to stand in the log.
    pub wills: u64,
    /// Topics that a lane went on without, and that came back.
    pub detours: [u64; 2],
    /// Virtual milliseconds.
    pub ms: u64,
    /// The state in which the first gateway's lane ended.
    pub state: &'static str,
    /// What happened, by name.
    pub misfortunes: Vec<&'static str>,
}

/// Something that happens at a moment.
#[derive(Debug)]
enum Happening {
    /// A device does the next thing it wants to do.
    Act(usize),
    /// A subscriber does the next thing it wants to do.
    Attend(usize),
    /// A gateway hands out what is durable.
    FanOut(usize),
    /// A gateway does what is due at some time.
    Keep(usize),
    /// Bytes of a device arrive at its gateway.
    ToGateway(u64, Vec<u8>),
    /// Bytes of a gateway arrive at a device.
    ToDevice(u64, Vec<u8>),
    /// A device notices that its connection is gone.
    Hangup(u64),
    /// A gateway commits.
    Commit(usize),
    /// A gateway's lane wanted to be woken.
    WakeLane(usize),
    /// A gateway's daemon starts.
    Start(usize),
    /// The cluster wanted to be woken.
    WakeCluster,
    /// A lane's connection is open, or is refused.
    Opened(Line),
    /// Bytes of a lane arrive at a broker.
    ToBroker(Line, Vec<u8>),
    /// Bytes of a broker arrive at a lane.
    ToLane(Line, Vec<u8>),
    /// One side of a lane's connection notices that the other is gone.
    Ended(Line, bool),
    /// What of a topic was refused is not any more.
    Permit(Refused),
    /// The next misfortune.
    Befall(Misfortune),
    /// All is well from now on.
    Heal,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a different excuse, or a moment passed")]
struct World {
    rng: Rng,
    now: u64,
    serial: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    digest: u64,
    cluster: Cluster,
    cluster_at: u64,
    network: Network,
    gateways: Vec<Gateway>,
    devices: Vec<Device>,
    subscribers: Vec<Subscriber>,
    audience: Audience,
    wills: Wills,
    /// So far the log was read for wills.
    wills_read: Offset,
    /// Of each gateway.
    files: Vec<File>,
    /// Events that sessions have missed, of gateways that failed.
    missed: u64,
    /// Topics that lanes went on without, and that came back, of processes that are gone.
    detours: [u64; 2],
    wires: BTreeMap<u64, Wire>,
    ledger: Ledger,
    completeness: Completeness,
    healed: bool,
    /// The disk of the first gateway as it once was.
    keepsake: Option<Disk>,
    /// Whether Kafka may have forgotten a position, and whether the log was copied or rolled back.
    may_doubt: bool,
    may_be_another: bool,
    /// The log is small and may be full: what leaves it unread is counted.
    is_small: bool,
    misfortunes: Vec<&'static str>,
}

/// Lives through the world of a seed.
///
/// # Errors
/// A promise that was broken; the seed repeats it.
pub fn live(seed: u64) -> Result<Outcome> {
    let mut world = World::new(seed);
    world.run().with_context(|| format!("seed {seed}; {:?}", world.misfortunes))
}

fn settings(seed: u64, is_forgetful: bool, rng: &mut Rng) -> Settings {
    let kafka = match rng.u8(..4) {
        0 => Kafka::V3_9_2,
        1 => Kafka::V4_1_2(TransactionVersion::V1),
        _ => Kafka::V4_1_2(TransactionVersion::V2),
    };
    let usual = Settings::default();
    let (offsets, identities) = (usual.offsets_retention_ms, usual.transactional_id_expiration_ms);
    Settings {
        brokers: rng.u16(1..=3),
        kafka,
        seed,
        wall_at_origin: Timestamp(WALL_AT_ORIGIN),
        marker_delay_ms: if rng.bool() { 0 } else { rng.u64(..200) },
        epoch_max: if rng.u8(..4) == 0 { rng.i16(2..8) } else { i16::MAX },
        cold_start: rng.bool(),
        offsets_retention_ms: if is_forgetful { 6_000 } else { offsets },
        transactional_id_expiration_ms: if is_forgetful { 9_000 } else { identities },
        ..usual
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // An outage of seconds is then what one of weeks is elsewhere.
        let is_forgetful = rng.u8(..12) == 0;
        let settings = settings(seed, is_forgetful, &mut rng);
        let is_small = rng.u8(..8) == 0;
        let disk = Disk::new(if is_small { SMALL } else { GEOMETRY }, rng.u64(..));
        let devices =
            (0..rng.usize(1..=4)).map(|number| Device::new(number, is_small, &mut rng)).collect();
        let subscribers: Vec<_> =
            (0..rng.usize(..4)).map(|number| Subscriber::new(number, &mut rng)).collect();
        let kinds = subscribers.iter().map(|subscriber| (subscriber.lasting, subscriber.qos));
        let audience = Audience::new(kinds);
        let ledger = Ledger::new(Ledger::random_configuration(&mut rng), is_small);
        let mut cluster = Cluster::new(settings);
        let batch_bytes_max = narrow_bytes(is_small);
        let narrow = TopicSettings { batch_bytes_max, ..TopicSettings::default() };
        cluster.create_topic(NARROW, narrow).expect("the cluster is new");
        let mut world = Self {
            now: 0,
            serial: 0,
            agenda: BTreeMap::new(),
            digest: 0xCBF2_9CE4_8422_2325,
            cluster,
            cluster_at: u64::MAX,
            network: Network::default(),
            gateways: vec![Gateway::new(disk)],
            devices,
            subscribers,
            audience,
            wills: Wills::default(),
            wills_read: Offset(0),
            files: vec![None],
            missed: 0,
            detours: [0; 2],
            wires: BTreeMap::new(),
            ledger,
            completeness: Completeness::All,
            healed: false,
            keepsake: None,
            may_doubt: is_forgetful,
            may_be_another: false,
            is_small,
            misfortunes: Vec::new(),
            rng,
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        let late = if self.rng.u8(..4) == 0 { self.rng.u64(..10_000) } else { 0 };
        self.gateways[0].switch_on(0, late);
        self.at(0, Happening::Start(0));
        for device in 0..self.devices.len() {
            let later = self.rng.u64(..500);
            self.at(later, Happening::Act(device));
        }
        for subscriber in 0..self.subscribers.len() {
            let later = self.rng.u64(..500);
            self.at(later, Happening::Attend(subscriber));
        }
        let day = Day::draw(&mut self.rng);
        for misfortune in day.misfortunes {
            let at = self.rng.u64(..DAY_MS);
            self.at(at, Happening::Befall(misfortune));
        }
        self.at(DAY_MS, Happening::Heal);
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.serial += 1;
        self.agenda.insert((time, self.serial), happening);
    }

    fn soon(&mut self, ms: u64, happening: Happening) {
        self.at(self.now + ms, happening);
    }

    fn run(&mut self) -> Result<Outcome> {
        let mut happenings = 0;
        while let Some(((time, _), happening)) = self.agenda.pop_first() {
            self.now = self.now.max(time);
            happenings += 1;
            ensure!(happenings < HAPPENINGS_MAX, "the world goes round in circles");
            self.happen(happening)?;
            if self.healed && happenings % 16 == 0 && self.is_at_rest() {
                break;
            }
            ensure!(self.now < DAY_MS + PATIENCE_MS + self.slept(), "{}", self.complaint());
        }
        self.judge()
    }

    /// Time that was skipped.
    fn slept(&self) -> u64 {
        self.network.slept_ms
    }

    fn happen(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Act(device) => self.act(device),
            Happening::Attend(subscriber) => self.attend(subscriber),
            Happening::FanOut(gateway) => self.fan_out(gateway),
            Happening::Keep(gateway) => self.keep(gateway),
            Happening::ToGateway(wire, bytes) => self.serve(wire, &bytes),
            Happening::ToDevice(wire, bytes) => self.hear(wire, &bytes)?,
            Happening::Hangup(wire) => self.hang_up(wire),
            Happening::Commit(gateway) => self.commit(gateway)?,
            Happening::WakeLane(gateway) => self.wake_lanes(gateway),
            Happening::Start(gateway) => self.start(gateway),
            Happening::WakeCluster => self.wake_cluster(),
            Happening::Opened(line) => self.opened(line),
            Happening::ToBroker(line, bytes) => self.reach_broker(line, &bytes),
            Happening::ToLane(line, bytes) => self.reach_lane(line, &bytes),
            Happening::Ended(line, at_lane) => self.ended(line, at_lane),
            Happening::Permit(refused) => self.cluster.allow(&refused.permission()),
            Happening::Befall(misfortune) => self.befall(misfortune),
            Happening::Heal => self.heal(),
        }
        Ok(())
    }

    /// Brings a gateway's file of sessions up to its log now and then, and loses it.
    fn keep_file(&mut self, gateway: usize) {
        let Some(process) = &self.gateways[gateway].process else { return };
        match self.rng.u8(..64) {
            // What leaves the log is in the file before.
            _ if self.is_small => process.fold(&mut self.files[gateway]),
            0 => self.files[gateway] = None,
            1..4 => process.fold(&mut self.files[gateway]),
            _ => {}
        }
    }

    fn note(&mut self, tag: u8, bytes: &[u8]) {
        let time = self.now.to_le_bytes();
        for byte in time.iter().chain([&tag]).chain(bytes) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}
