//! What may happen on a bad day.

use fastrand::Rng;
use tributary_cluster::{BrokerId, FaultRates, Kafka, Permission, TransactionVersion};

use super::gateway::Gateway;
use super::ledger::{Completeness, Ledger};
use super::network::Way;
use super::process::Process;
use super::{Happening, World};
use crate::disk::Cut;

/// Longer than Kafka keeps offsets and transactional ids by default.
const WEEKS_MS: u64 = 30 * 24 * 3_600_000;

/// Something bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfortune {
    /// SIGKILL; started again after so long.
    Kill(u64),
    PowerCut,
    /// The power goes during the so-manyth write from now on.
    PowerCutAt(u64),
    /// A write or flush fails.
    DiskFails(u64),
    /// The way to the cluster is bad for so long.
    UpstreamAway(Way, u64),
    LinesBreak,
    /// Requests and answers are lost, connections cut, for the rest of the day.
    BrokersFail,
    BrokerStops(u64),
    BrokerStarts,
    LeaderMoves,
    CoordinatorMoves,
    /// Kafka lets nobody write to a topic, or see it, for so long.
    TopicRefused(Refused, u64),
    /// The operator wants other routes.
    Reconfigure,
    DeviceBreaks,
    /// Kafka forgets the positions.
    KafkaForgets,
    /// The machine is off for weeks.
    OffForWeeks,
    /// The cluster is upgraded, or its feature finalized.
    Upgrade,
    /// The disk says that barriers are done and does nothing; later the power goes.
    DiskLies,
    /// The disk as it is now is kept.
    Remember,
    /// The disk is as it was.
    RollBack,
    /// A second gateway with a copy of the disk.
    Clone,
}

/// What of a topic is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    topic: &'static str,
    is_hidden: bool,
}

impl Refused {
    fn draw(rng: &mut Rng) -> Self {
        Self { topic: ["hot", "cold", "all"][rng.usize(..3)], is_hidden: rng.bool() }
    }

    pub(super) fn permission(self) -> Permission {
        let topic = self.topic.to_owned();
        if self.is_hidden {
            Permission::DescribeTopic(topic)
        } else {
            Permission::WriteTopic(topic)
        }
    }
}

/// The misfortunes of a day.
pub(super) struct Day {
    pub(super) misfortunes: Vec<Misfortune>,
}

impl Day {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let count = rng.usize(..9);
        let mut misfortunes: Vec<_> = (0..count).map(|_| Misfortune::draw(rng)).collect();
        // What breaks a promise of the machine itself is rare.
        match rng.u8(..24) {
            0 => misfortunes.push(Misfortune::DiskLies),
            1 => misfortunes.extend([Misfortune::Remember, Misfortune::RollBack]),
            2 => misfortunes.push(Misfortune::Clone),
            // Long enough for a lane to go on without it.
            3..=7 => misfortunes.push(Misfortune::TopicRefused(Refused::draw(rng), 90_000)),
            _ => {}
        }
        Self { misfortunes }
    }
}

impl Misfortune {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..21) {
            0..=2 => Self::Kill(rng.u64(20..3_000)),
            3 => Self::PowerCut,
            4 | 5 => Self::PowerCutAt(rng.u64(..20)),
            6 => Self::DiskFails(rng.u64(..20)),
            7 => Self::UpstreamAway(Way::Closed, rng.u64(100..15_000)),
            8 => Self::UpstreamAway(Way::BlackHole, rng.u64(100..15_000)),
            9 => Self::LinesBreak,
            10 => Self::BrokersFail,
            11 => Self::BrokerStops(rng.u64(100..5_000)),
            12 => Self::LeaderMoves,
            13 => Self::CoordinatorMoves,
            14 | 15 => Self::Reconfigure,
            16 => Self::DeviceBreaks,
            17 => [Self::KafkaForgets, Self::OffForWeeks][rng.usize(..2)],
            18 | 19 => Self::TopicRefused(Refused::draw(rng), rng.u64(100..90_000)),
            _ => Self::Upgrade,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::PowerCut => "power cut",
            Self::PowerCutAt(_) => "power cut in a write",
            Self::DiskFails(_) => "disk fails",
            Self::UpstreamAway(Way::BlackHole, _) => "black hole",
            Self::UpstreamAway(..) => "upstream away",
            Self::LinesBreak => "lines break",
            Self::BrokersFail => "brokers fail",
            Self::BrokerStops(_) => "broker stops",
            Self::BrokerStarts => "brokers start",
            Self::LeaderMoves => "leader moves",
            Self::CoordinatorMoves => "coordinator moves",
            Self::Reconfigure => "reconfigure",
            Self::TopicRefused(..) => "topic refused",
            Self::DeviceBreaks => "device breaks",
            Self::KafkaForgets => "kafka forgets",
            Self::OffForWeeks => "off for weeks",
            Self::Upgrade => "upgrade",
            Self::DiskLies => "disk lies",
            Self::Remember => "remember",
            Self::RollBack => "roll back",
            Self::Clone => "clone",
        }
    }
}

impl World {
    pub(super) fn befall(&mut self, misfortune: Misfortune) {
        if self.healed {
            return;
        }
        self.misfortunes.push(misfortune.name());
        match misfortune {
            Misfortune::Kill(ms) => {
                self.crash(0);
                self.gateways[0].disk.be_well();
                self.soon(ms, Happening::Start(0));
            }
            Misfortune::PowerCut => self.power_cut(0),
            Misfortune::PowerCutAt(operations) => self.gateways[0].disk.cut_after(operations),
            Misfortune::DiskFails(operations) => self.gateways[0].disk.fail_after(operations),
            Misfortune::UpstreamAway(way, ms) => self.upstream_away(way, ms),
            Misfortune::LinesBreak => self.break_lines(),
            Misfortune::BrokersFail => self.let_brokers_fail(),
            Misfortune::BrokerStops(ms) => {
                let broker = self.some_broker();
                self.cluster.stop_broker(broker);
                self.drain_cluster();
                self.soon(ms, Happening::Befall(Misfortune::BrokerStarts));
            }
            Misfortune::BrokerStarts => self.start_brokers(),
            Misfortune::LeaderMoves => self.move_leaders(),
            Misfortune::CoordinatorMoves => self.move_coordinator(),
            Misfortune::Reconfigure => self.reconfigure(),
            Misfortune::TopicRefused(refused, ms) => {
                self.cluster.deny(refused.permission());
                self.soon(ms, Happening::Permit(refused));
            }
            Misfortune::DeviceBreaks => {
                let wire = self.rng.usize(..self.wires.len().max(1));
                if let Some(wire) = self.wires.keys().nth(wire).copied() {
                    self.hang_up(wire);
                }
            }
            Misfortune::KafkaForgets => self.forget(),
            Misfortune::OffForWeeks => self.sleep_for_weeks(),
            Misfortune::Upgrade => {
                self.cluster.set_kafka(Kafka::V4_1_2(TransactionVersion::V2));
                // Nodes restart one by one in an upgrade.
                self.break_lines();
            }
            Misfortune::DiskLies => {
                self.give_up(Completeness::Little);
                self.gateways[0].disk.ignore_barriers();
                let ms = self.rng.u64(..5_000);
                self.soon(ms, Happening::Befall(Misfortune::PowerCut));
            }
            Misfortune::Remember => {
                let seed = self.rng.u64(..);
                self.keepsake = Some(self.gateways[0].disk.copy(seed));
            }
            Misfortune::RollBack => self.roll_back(),
            Misfortune::Clone => self.clone_gateway(),
        }
    }

    fn let_brokers_fail(&mut self) {
        let rates = FaultRates {
            drop_request: self.rng.u16(..300),
            drop_answer: self.rng.u16(..300),
            cut_before: self.rng.u16(..300),
            cut_after: self.rng.u16(..300),
            delay: self.rng.u16(..1_000),
            delay_ms_max: 3_000,
        };
        self.cluster.set_fault_rates(rates);
    }

    pub(super) fn start_brokers(&mut self) {
        let brokers: Vec<BrokerId> = self.cluster.brokers().collect();
        for broker in brokers {
            self.cluster.start_broker(broker);
        }
        self.drain_cluster();
    }

    fn move_coordinator(&mut self) {
        let broker = self.some_broker();
        for group in self.identities() {
            self.cluster.move_coordinator(&group, broker);
            self.drain_cluster();
        }
    }

    fn some_broker(&mut self) -> BrokerId {
        let brokers: Vec<BrokerId> = self.cluster.brokers().collect();
        brokers[self.rng.usize(..brokers.len())]
    }

    fn identities(&self) -> Vec<String> {
        self.gateways[0].process.as_ref().map(Process::identities).unwrap_or_default()
    }

    fn upstream_away(&mut self, way: Way, ms: u64) {
        if way == Way::Open {
            if self.network.until <= self.now {
                self.network.heal();
            }
            return;
        }
        self.network.way = way;
        self.network.until = self.now + ms;
        if way == Way::Closed {
            self.break_lines();
        }
        self.soon(ms, Happening::Befall(Misfortune::UpstreamAway(Way::Open, 0)));
    }

    fn move_leaders(&mut self) {
        let topics: Vec<String> = self.cluster.topics().map(str::to_owned).collect();
        for topic in topics {
            let broker = self.some_broker();
            // A broker that is down leads nothing.
            self.cluster.move_leader(&topic, 0, broker).unwrap_or_default();
        }
        self.drain_cluster();
    }

    fn reconfigure(&mut self) {
        if self.gateways.len() > 1 {
            // A copy has no operator.
            return;
        }
        let configuration = Ledger::random_configuration(&mut self.rng);
        self.ledger.ask(configuration);
        let routes = self.ledger.routes();
        if let Some(process) = &mut self.gateways[0].process {
            process.put(&routes);
            let instant = self.gateways[0].instant(self.now);
            let process = self.gateways[0].process.as_mut();
            if process.is_some_and(|process| process.advance(instant)) {
                self.ledger.confirm();
            }
            self.commit_soon(0);
        }
    }

    fn forget(&mut self) {
        for group in self.identities() {
            self.may_doubt = true;
            self.cluster.forget_group(&group);
        }
    }

    fn sleep_for_weeks(&mut self) {
        if self.gateways.len() > 1 {
            // The copy would live through every second of them.
            return;
        }
        self.may_doubt = true;
        self.crash(0);
        self.gateways[0].disk.power_cut(Cut::Mixed);
        self.gateways[0].letters.power_cut(Cut::Mixed);
        // Everything that was under way comes to its end first.
        self.network.slept_ms += WEEKS_MS;
        self.gateways[0].switch_on(self.now + WEEKS_MS, 0);
        self.postpone(WEEKS_MS);
        self.soon(WEEKS_MS, Happening::Start(0));
    }

    /// What was to happen at the gateway and to it happens so much later.
    fn postpone(&mut self, ms: u64) {
        let agenda = core::mem::take(&mut self.agenda);
        for ((time, serial), happening) in agenda {
            let waits = matches!(
                happening,
                Happening::Befall(_)
                    | Happening::Heal
                    | Happening::Act(_)
                    | Happening::Attend(_)
                    | Happening::Start(_)
            );
            let time = if waits { time + ms } else { time };
            self.agenda.insert((time, serial), happening);
        }
    }

    fn roll_back(&mut self) {
        let Some(disk) = self.keepsake.take() else { return };
        self.give_up(Completeness::Some);
        self.crash(0);
        let mut gateway = Gateway::new(disk);
        gateway.switch_on(self.now, 0);
        self.gateways[0] = gateway;
        self.soon(100, Happening::Start(0));
    }

    fn clone_gateway(&mut self) {
        self.give_up(Completeness::Some);
        let disk = self.gateways[0].disk.copy(self.rng.u64(..));
        let mut gateway = Gateway::new(disk);
        gateway.switch_on(self.now, 0);
        self.gateways.push(gateway);
        self.files.push(None);
        let second = self.gateways.len() - 1;
        self.soon(10, Happening::Start(second));
    }
}
