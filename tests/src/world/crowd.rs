//! Subscribers and their gateway: what happens between them, and what the gateway does beside:
//! handing out what is durable, and what is due at some time.

use anyhow::Result;

use super::plant::{Who, Wire};
use super::subscriber::{Stage, Subscriber};
use super::{Happening, World};

impl World {
    /// A subscriber does what it feels like.
    pub(super) fn attend(&mut self, number: usize) {
        let wire = self.wire_of(Who::Subscriber(number));
        match wire {
            None => self.join(number),
            Some(wire) if !self.healed && self.rng.u8(..24) == 0 => self.hang_up(wire),
            Some(wire) => {
                let (may_leave, rng) = (!self.healed, &mut self.rng);
                let subscriber = &mut self.subscribers[number];
                let bytes = subscriber.act(may_leave, rng);
                if subscriber.stage == Stage::Leaving {
                    self.wills.leave(&subscriber.will());
                }
                if !bytes.is_empty() {
                    self.send_to_gateway(wire, bytes);
                }
            }
        }
        let later = self.rng.u64(1..if self.healed { 100 } else { 700 });
        self.soon(later, Happening::Attend(number));
    }

    /// Subscribers go to the first gateway; a copy of it has none.
    fn join(&mut self, number: usize) {
        let Some(wire) = self.open_wire(Who::Subscriber(number), 0) else { return };
        let subscriber = &mut self.subscribers[number];
        let greeting = subscriber.greet();
        if let Some(delay_s) = subscriber.will_delay_s {
            // It is due at the end of the session at the latest.
            let delay_s = if subscriber.lasting { delay_s } else { 0 };
            self.wills.ask((number, subscriber.will()), delay_s, self.now);
        }
        self.send_to_gateway(wire, greeting);
    }

    /// Bytes of the gateway arrive at a subscriber.
    pub(super) fn listen(&mut self, wire: u64, number: usize, bytes: &[u8]) -> Result<()> {
        let Self { subscribers, ledger, audience, wills, .. } = self;
        let subscriber = &mut subscribers[number];
        let was = subscriber.stage;
        let answers = subscriber.handle_bytes(bytes, ledger, audience)?;
        if was == Stage::Greeting && !matches!(subscriber.stage, Stage::Greeting | Stage::Away) {
            wills.begin(&subscriber.will(), (self.now, subscriber.resumed));
        }
        if subscriber.stage == Stage::Away {
            self.hang_up(wire);
        } else if !answers.is_empty() {
            self.send_to_gateway(wire, answers);
        }
        Ok(())
    }

    /// A subscriber's connection is gone.
    pub(super) fn lose_subscriber(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        let stage = core::mem::replace(&mut subscriber.stage, Stage::Away);
        subscriber.lose();
        self.audience.lose(number);
        if stage != Stage::Leaving {
            self.wills.lose(&subscriber.will(), self.now);
        }
    }

    /// The gateway has closed a connection, because it was asked to.
    pub(super) fn let_go(&mut self, wire: u64) {
        if let Some(Wire { who: Who::Subscriber(number), .. }) = self.wires.get(&wire)
            && self.subscribers[*number].stage == Stage::Leaving
        {
            self.wills.let_go(&self.subscribers[*number].will());
        }
    }

    /// Has the gateway hand out what is durable, soon.
    pub(super) fn fan_out_soon(&mut self, gateway: usize) {
        let at = self.now + self.rng.u64(..4);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if process.fan_out_at.is_none() {
            process.fan_out_at = Some(at);
            self.at(at, Happening::FanOut(gateway));
        }
    }

    pub(super) fn fan_out(&mut self, gateway: usize) {
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if process.fan_out_at != Some(self.now) {
            return;
        }
        process.fan_out();
        let wires: Vec<u64> = process.conversations.keys().copied().collect();
        let mut any = false;
        for wire in wires {
            any |= self.answer(gateway, wire);
        }
        if any {
            // There may be room for more now, and there may be changes for the log.
            self.fan_out_soon(gateway);
            self.commit_soon(gateway);
        }
    }

    /// The gateway does what is due.
    pub(super) fn keep(&mut self, gateway: usize) {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if process.keep_at > self.now {
            return;
        }
        let pause_ms = process.keep(moment);
        process.keep_at = u64::MAX;
        self.keep_within(gateway, pause_ms);
        self.commit_soon(gateway);
    }

    /// The gateway's timers are looked at by then.
    pub(super) fn keep_within(&mut self, gateway: usize, ms: u64) {
        let at = self.now + ms.max(1);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        if at < process.keep_at {
            process.keep_at = at;
            self.at(at, Happening::Keep(gateway));
        }
    }

    /// What has come to stand in the first gateway's log.
    pub(super) fn read_wills(&mut self) -> Result<()> {
        let Some(process) = &mut self.gateways[0].process else { return Ok(()) };
        for (place, payload) in process.read_wills(&mut self.wills_read) {
            self.wills.appear(&payload, (self.now, place))?;
        }
        Ok(())
    }

    /// Events that left a small log before sessions had read them.
    fn missed(&self) -> u64 {
        let process = self.gateways[0].process.as_ref().filter(|_| self.is_small);
        process.map_or(0, |process| self.missed + process.missed())
    }

    /// Why subscribers are not at rest.
    pub(super) fn unserved(&self) -> Option<String> {
        let waits = self.subscribers.iter().find(|subscriber: &&Subscriber| {
            !subscriber.is_settled(!self.audience.is_unsure && !self.is_small)
        });
        match waits {
            Some(subscriber) => {
                Some(format!("subscriber {} is {:?}", subscriber.number, subscriber.stage))
            }
            None => self.audience.missing(&self.ledger, self.missed()),
        }
    }
}
