//! A simulated device: publishes readings at QoS 1, and again what was not acknowledged when its
//! connection broke.
//!
//! Speaks MQTT 3.1.1 or 5 in bytes of its own making, so that no codec of the project stands
//! between what is promised and what is checked.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::ledger::{Ledger, Name};

/// Where a device stands with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    /// CONNECT was sent.
    Greeting,
    Connected,
}

/// A device.
pub(super) struct Device {
    pub(super) number: usize,
    speaks_5: bool,
    stage: Stage,
    /// Readings that it will publish.
    pub(super) total: u64,
    next: u64,
    window: usize,
    /// Sent on this or an earlier connection and not acknowledged, oldest first.
    unacked: VecDeque<u64>,
    /// How many of `unacked` were sent on this connection.
    sent: usize,
    input: Vec<u8>,
}

impl Device {
    pub(super) fn new(number: usize, rng: &mut Rng) -> Self {
        Self {
            number,
            speaks_5: rng.bool(),
            stage: Stage::Away,
            total: rng.u64(4..40),
            next: 0,
            window: rng.usize(1..8),
            unacked: VecDeque::new(),
            sent: 0,
            input: Vec::new(),
        }
    }

    /// Whether all its readings are acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.total && self.unacked.is_empty()
    }

    pub(super) fn is_away(&self) -> bool {
        self.stage == Stage::Away
    }

    /// A connection is open: the CONNECT.
    pub(super) fn greet(&mut self) -> Vec<u8> {
        self.stage = Stage::Greeting;
        self.input.clear();
        self.sent = 0;
        let (level, properties): (u8, &[u8]) = if self.speaks_5 { (5, &[0]) } else { (4, &[]) };
        let id = format!("d{}", self.number);
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 0x02, 0, 0];
        body.extend(properties);
        push_text(&mut body, &id);
        packet(0x10, &body)
    }

    /// The connection is gone.
    pub(super) fn lose(&mut self) {
        self.stage = Stage::Away;
    }

    /// The next publish, if the window allows one.
    pub(super) fn publish(&mut self, ledger: &mut Ledger, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.stage != Stage::Connected || self.sent >= self.window {
            return None;
        }
        if self.sent == self.unacked.len() {
            if self.next == self.total {
                return None;
            }
            ledger.make(Name { device: self.number, serial: self.next }, rng);
            self.unacked.push_back(self.next);
            self.next += 1;
        }
        let name = Name { device: self.number, serial: self.unacked[self.sent] };
        self.sent += 1;
        let mut body = Vec::new();
        push_text(&mut body, &format!("plant/{}/telemetry", self.number));
        body.extend(packet_id(name.serial).to_be_bytes());
        if self.speaks_5 {
            // A name that only the gateway may give.
            let mut properties = vec![0x26];
            push_text(&mut properties, "tributary.offset");
            push_text(&mut properties, "0");
            body.push(u8::try_from(properties.len()).expect("it is short"));
            body.extend(properties);
        }
        body.extend(ledger.send(name).as_bytes());
        Some(packet(0x32, &body))
    }

    /// Takes what the gateway sent. PUBACKs come in the order of the publishes, and only for them.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Result<()> {
        self.input.extend_from_slice(bytes);
        while self.input.len() >= 2 && self.input.len() >= 2 + usize::from(self.input[1]) {
            let rest = self.input.split_off(2 + usize::from(self.input[1]));
            let packet = core::mem::replace(&mut self.input, rest);
            match packet[0] {
                0x20 => {
                    ensure!(packet[3] == 0, "refused: {packet:02x?}");
                    self.stage = Stage::Connected;
                }
                0x40 => self.acknowledge(&packet, ledger)?,
                0xE0 => self.stage = Stage::Away,
                other => anyhow::bail!("unexpected packet {other:02x}"),
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, packet: &[u8], ledger: &mut Ledger) -> Result<()> {
        ensure!(self.sent > 0, "a PUBACK for nothing: {packet:02x?}");
        let serial = self.unacked[0];
        let id = u16::from_be_bytes([packet[2], packet[3]]);
        ensure!(id == packet_id(serial), "a PUBACK out of order: {packet:02x?}");
        let refused = packet.get(4).is_some_and(|reason| *reason >= 0x80);
        if refused {
            // Sent again on the next connection.
            self.stage = Stage::Away;
            return Ok(());
        }
        self.unacked.pop_front();
        self.sent -= 1;
        ledger.acknowledge(Name { device: self.number, serial });
        Ok(())
    }
}

fn packet_id(serial: u64) -> u16 {
    u16::try_from(serial % 60_000).expect("below") + 1
}

fn push_text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("it is short").to_be_bytes());
    into.extend(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let length = body.len();
    assert!(length < 16_384, "two bytes of length at most");
    if length >= 128 {
        packet.push(u8::try_from(length % 128).expect("below") | 0x80);
        packet.push(u8::try_from(length / 128).expect("below"));
    } else {
        packet.push(u8::try_from(length).expect("below"));
    }
    packet.extend_from_slice(body);
    packet
}
