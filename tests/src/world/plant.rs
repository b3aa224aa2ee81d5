//! Devices and their gateways: what happens between them, and to them.

use anyhow::Result;
use fastrand::Rng;
use tributary_cluster::FaultRates;
use tributary_core::time::Instant;

use super::{Happening, World};
use crate::disk::Cut;

/// A device's connection.
pub(super) struct Wire {
    pub(super) device: usize,
    pub(super) gateway: usize,
    /// The latest arrival in each direction: bytes do not overtake each other.
    arrivals: [u64; 2],
}

impl World {
    pub(super) fn act(&mut self, device: usize) {
        if self.devices[device].is_done() {
            return;
        }
        let wire = self.wires.iter().find(|(_, wire)| wire.device == device).map(|(id, _)| *id);
        match wire {
            None => self.connect(device),
            Some(wire) => {
                let Self { devices, ledger, rng, .. } = self;
                if let Some(bytes) = devices[device].publish(ledger, rng) {
                    self.send_to_gateway(wire, bytes);
                }
            }
        }
        let later = self.rng.u64(1..if self.healed { 20 } else { 900 });
        self.soon(later, Happening::Act(device));
    }

    fn connect(&mut self, device: usize) {
        let gateway = device % self.gateways.len();
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        // The doors open when the routes are in force.
        if process.lanes.is_empty() {
            return;
        }
        self.serial += 1;
        let id = self.serial;
        process.welcome(id, moment);
        self.wires.insert(id, Wire { device, gateway, arrivals: [0, 0] });
        let greeting = self.devices[device].greet();
        self.send_to_gateway(id, greeting);
    }

    fn send_to_gateway(&mut self, wire: u64, bytes: Vec<u8>) {
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
            self.leave(gateway, wire);
            let at = self.arrival(wire, 1);
            self.at(at, Happening::Hangup(wire));
        }
        self.commit_soon(gateway);
    }

    fn leave(&mut self, gateway: usize, wire: u64) {
        let moment = self.gateways[gateway].moment(self.now);
        if let Some(process) = &mut self.gateways[gateway].process
            && let Some(conversation) = process.conversations.remove(&wire)
        {
            conversation.leave(moment);
        }
    }

    pub(super) fn hear(&mut self, wire: u64, bytes: &[u8]) -> Result<()> {
        self.note(2, bytes);
        let Some(device) = self.wires.get(&wire).map(|wire| wire.device) else { return Ok(()) };
        self.devices[device].handle_bytes(bytes, &mut self.ledger)?;
        if self.devices[device].is_away() {
            self.hang_up(wire);
        }
        Ok(())
    }

    /// A device's connection is gone, for both.
    pub(super) fn hang_up(&mut self, wire: u64) {
        if let Some(Wire { device, gateway, .. }) = self.wires.remove(&wire) {
            self.devices[device].lose();
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

    pub(super) fn commit(&mut self, gateway: usize) {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if process.commit_at != Some(self.now) {
            return;
        }
        process.commit(moment);
        if self.gateways[gateway].disk.is_down() {
            self.power_cut(gateway);
            return;
        }
        let Some(process) = &mut self.gateways[gateway].process else { return };
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
    }

    /// Sends a device what has become possible.
    fn answer(&mut self, gateway: usize, wire: u64) {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        let Some(conversation) = process.conversations.get_mut(&wire) else { return };
        let (out, _) = conversation.serve(moment, &[]);
        if !out.is_empty() {
            let at = self.arrival(wire, 1);
            self.at(at, Happening::ToDevice(wire, out));
        }
    }

    pub(super) fn start(&mut self, gateway: usize) {
        if self.gateways[gateway].process.is_some() {
            return;
        }
        let routes = self.ledger.routes();
        let (now, seed) = (self.now, self.rng.u64(..));
        let mut rng = Rng::with_seed(seed);
        if self.gateways[gateway].start(now, &routes, &mut rng) {
            if let Some(process) = &mut self.gateways[gateway].process {
                process.advance(Instant(0));
            }
            self.commit_soon(gateway);
        } else {
            self.power_cut(gateway);
        }
    }

    /// The process is gone; what it had sent is on its way.
    pub(super) fn crash(&mut self, gateway: usize) {
        if self.gateways[gateway].process.take().is_none() {
            return;
        }
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
            self.gateways[gateway].right_from = self.gateways[gateway].right_from.min(self.now);
            self.soon(10, Happening::Start(gateway));
        }
    }
}
