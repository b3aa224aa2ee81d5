//! Devices and their gateways: what happens between them, and to them.

use anyhow::Result;
use fastrand::Rng;
use tributary_cluster::FaultRates;
use tributary_core::Offset;
use tributary_core::time::Instant;

use super::{Happening, World};
use crate::disk::Cut;

/// A client of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Device(usize),
    Subscriber(usize),
}

/// A client's connection.
pub(super) struct Wire {
    pub(super) who: Who,
    pub(super) gateway: usize,
    /// The latest arrival in each direction: bytes do not overtake each other.
    arrivals: [u64; 2],
}

impl World {
    pub(super) fn act(&mut self, device: usize) {
        if self.devices[device].is_done() {
            return;
        }
        match self.wire_of(Who::Device(device)) {
            None => self.connect(device),
            Some(wire) => {
                let Self { devices, ledger, rng, .. } = self;
                if let Some(bytes) = devices[device].publish(ledger, rng) {
                    self.send_to_gateway(wire, bytes);
                }
            }
        }
        let pause = if self.is_small { 150 } else { 900 };
        let later = self.rng.u64(1..if self.healed { 20 } else { pause });
        self.soon(later, Happening::Act(device));
    }

    pub(super) fn wire_of(&self, who: Who) -> Option<u64> {
        self.wires.iter().find(|(_, wire)| wire.who == who).map(|(id, _)| *id)
    }

    fn connect(&mut self, device: usize) {
        let gateway = device % self.gateways.len();
        if let Some(wire) = self.open_wire(Who::Device(device), gateway) {
            let greeting = self.devices[device].greet();
            self.send_to_gateway(wire, greeting);
        }
    }

    /// A connection to a gateway, if it takes any: the doors open when the routes are in force.
    pub(super) fn open_wire(&mut self, who: Who, gateway: usize) -> Option<u64> {
        let moment = self.gateways[gateway].moment(self.now);
        let process = self.gateways[gateway].process.as_mut()?;
        if process.lanes.is_empty() {
            return None;
        }
        self.serial += 1;
        let id = self.serial;
        process.welcome(id, moment);
        self.wires.insert(id, Wire { who, gateway, arrivals: [0, 0] });
        Some(id)
    }

    pub(super) fn send_to_gateway(&mut self, wire: u64, bytes: Vec<u8>) {
        let at = self.arrival(wire, 0);
        self.at(at, Happening::ToGateway(wire, bytes));
    }

    fn arrival(&mut self, wire: u64, direction: usize) -> u64 {
        let later = self.now + self.rng.u64(..20);
        let arrivals = &mut self.wires.get_mut(&wire).expect("it is there").arrivals;
        arrivals[direction] = arrivals[direction].max(later);
        arrivals[direction]
    }

    pub(super) fn serve(&mut self, wire: u64, bytes: &[u8]) {
        self.note(1, bytes);
        let Some(gateway) = self.wires.get(&wire).map(|wire| wire.gateway) else { return };
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        let Some(conversation) = process.conversations.get_mut(&wire) else { return };
        let (out, is_closed) = conversation.serve(moment, bytes);
        if !out.is_empty() {
            let at = self.arrival(wire, 1);
            self.at(at, Happening::ToDevice(wire, out));
        }
        if is_closed {
            self.let_go(wire);
            self.leave(gateway, wire);
            let at = self.arrival(wire, 1);
            self.at(at, Happening::Hangup(wire));
        }
        self.commit_soon(gateway);
        self.fan_out_soon(gateway);
    }

    fn leave(&mut self, gateway: usize, wire: u64) {
        let moment = self.gateways[gateway].moment(self.now);
        if let Some(process) = &mut self.gateways[gateway].process
            && let Some(conversation) = process.conversations.remove(&wire)
        {
            conversation.leave(moment);
            self.keep_within(gateway, 1);
            self.commit_soon(gateway);
        }
    }

    pub(super) fn hear(&mut self, wire: u64, bytes: &[u8]) -> Result<()> {
        self.note(2, bytes);
        let Some(who) = self.wires.get(&wire).map(|wire| wire.who) else { return Ok(()) };
        let device = match who {
            Who::Device(device) => device,
            Who::Subscriber(number) => return self.listen(wire, number, bytes),
        };
        let answers = self.devices[device].handle_bytes(bytes, &mut self.ledger)?;
        if self.devices[device].is_away() {
            self.hang_up(wire);
        } else if !answers.is_empty() {
            self.send_to_gateway(wire, answers);
        }
        Ok(())
    }

    /// A device's connection is gone, for both.
    pub(super) fn hang_up(&mut self, wire: u64) {
        if let Some(Wire { who, gateway, .. }) = self.wires.remove(&wire) {
            match who {
                Who::Device(device) => self.devices[device].lose(),
                Who::Subscriber(number) => self.lose_subscriber(number),
            }
            self.leave(gateway, wire);
        }
    }

    pub(super) fn commit_soon(&mut self, gateway: usize) {
        // A card takes its time now and then.
        let slow = self.rng.u8(..16) == 0;
        let at = self.now + self.rng.u64(..if slow { 400 } else { 6 });
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if process.commit_at.is_none() {
            process.commit_at = Some(at);
            self.at(at, Happening::Commit(gateway));
        }
    }

    pub(super) fn commit(&mut self, gateway: usize) -> Result<()> {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return Ok(()) };
        if process.commit_at != Some(self.now) {
            return Ok(());
        }
        process.commit(moment);
        let is_open = process.shared.ingest.closed().is_none();
        if self.gateways[gateway].disk.is_down() {
            self.power_cut(gateway);
            return Ok(());
        }
        if gateway == 0 {
            if is_open {
                self.wills.commit();
            }
            self.read_wills()?;
        }
        self.keep_file(gateway);
        let Some(process) = &mut self.gateways[gateway].process else { return Ok(()) };
        let in_force = process.advance(moment.now);
        let more = process.is_putting();
        let wires: Vec<u64> = process.conversations.keys().copied().collect();
        if in_force {
            self.ledger.confirm();
        }
        if more {
            self.commit_soon(gateway);
        }
        for wire in wires {
            self.answer(gateway, wire);
        }
        self.turn_lanes(gateway);
        self.fan_out_soon(gateway);
        Ok(())
    }

    /// Sends a client what has become possible. Whether there is any.
    pub(super) fn answer(&mut self, gateway: usize, wire: u64) -> bool {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return false };
        let Some(conversation) = process.conversations.get_mut(&wire) else { return false };
        let (out, _) = conversation.serve(moment, &[]);
        let any = !out.is_empty();
        if any {
            let at = self.arrival(wire, 1);
            self.at(at, Happening::ToDevice(wire, out));
        }
        any
    }

    pub(super) fn start(&mut self, gateway: usize) {
        if self.gateways[gateway].process.is_some() || self.gateways[gateway].is_off(self.now) {
            return;
        }
        let routes = self.ledger.routes();
        let (now, seed) = (self.now, self.rng.u64(..));
        let mut rng = Rng::with_seed(seed);
        if self.gateways[gateway].start(now, &routes, (&mut rng, &self.files[gateway])) {
            if let Some(process) = &mut self.gateways[gateway].process {
                process.advance(Instant(0));
                process.fold(&mut self.files[gateway]);
            }
            if gateway == 0 {
                self.wills.start(now);
            }
            self.keep_within(gateway, 1);
            self.commit_soon(gateway);
        } else {
            self.power_cut(gateway);
        }
    }

    /// The process is gone; what it had sent is on its way.
    pub(super) fn crash(&mut self, gateway: usize) {
        let Some(process) = self.gateways[gateway].process.take() else { return };
        if gateway == 0 {
            let Offset(doubtful) = process.doubtful;
            self.wills.fail(self.now, doubtful);
            self.missed += process.missed();
        }
        self.detours = self.detours_with(&process);
        drop(process);
        let wires = self.wires.iter().filter(|(_, wire)| wire.gateway == gateway);
        let wires: Vec<u64> = wires.map(|(id, _)| *id).collect();
        for wire in wires {
            let at = self.arrival(wire, 1);
            self.at(at, Happening::Hangup(wire));
        }
        self.drop_lines(gateway);
    }

    pub(super) fn power_cut(&mut self, gateway: usize) {
        self.crash(gateway);
        let cut = Cut::ALL[self.rng.usize(..Cut::ALL.len())];
        self.gateways[gateway].disk.power_cut(cut);
        self.gateways[gateway].letters.power_cut(cut);
        let off = self.rng.u64(50..4_000);
        let late = if self.rng.u8(..3) == 0 { self.rng.u64(..15_000) } else { 0 };
        self.gateways[gateway].switch_on(self.now + off, late);
        self.soon(off, Happening::Start(gateway));
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.cluster.set_fault_rates(FaultRates::default());
        self.start_brokers();
        for gateway in 0..self.gateways.len() {
            self.gateways[gateway].disk.be_well();
            let process = self.gateways[gateway].process.as_ref();
            if process.is_some_and(|process| process.shared.ingest.closed().is_some()) {
                // Its log could not be written any more, not even the next segment: it is started again.
                self.crash(gateway);
            }
            self.gateways[gateway].right_from = self.gateways[gateway].right_from.min(self.now);
            self.soon(10, Happening::Start(gateway));
        }
    }
}
