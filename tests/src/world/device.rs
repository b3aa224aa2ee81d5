//! A simulated device: publishes readings at QoS 1 or, in a session that lasts, at QoS 2, and again
//! what was not acknowledged when its connection broke.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::bytes::{answer, is_unavailable, packet, push_text, take_packet};
use super::ledger::{Ledger, Name};

/// Identifiers that a device uses at QoS 2: more than it has under way at once.
const IDS_EXACTLY_ONCE: u64 = 8;

/// Where a device stands with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    /// CONNECT was sent.
    Greeting,
    Connected,
}

/// A reading under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    serial: u64,
    /// QoS 2: the gateway has it.
    received: bool,
    /// The gateway may have it, from a session that is no more.
    unknown: bool,
}

/// A device.
pub(super) struct Device {
    pub(super) number: usize,
    speaks_5: bool,
    /// Makes its readings longer.
    filler: String,
    /// It publishes at QoS 2, in a session that lasts.
    exactly_once: bool,
    /// It was told that its session has begun.
    has_session: bool,
    stage: Stage,
    /// Readings that it will publish.
    pub(super) total: u64,
    next: u64,
    window: usize,
    /// Sent on this or an earlier connection and not acknowledged, oldest first.
    unacked: VecDeque<Sent>,
    /// How many of `unacked` were sent on this connection.
    sent: usize,
    input: Vec<u8>,
}

impl Device {
    /// `is_large`: there are more of its readings, and they are longer.
    pub(super) fn new(number: usize, is_large: bool, rng: &mut Rng) -> Self {
        Self {
            number,
            speaks_5: rng.bool(),
            exactly_once: rng.u8(..3) == 0,
            has_session: false,
            stage: Stage::Away,
            total: if is_large { rng.u64(60..120) } else { rng.u64(4..40) },
            filler: "x".repeat(if is_large { rng.usize(500..2_000) } else { 0 }),
            next: 0,
            window: if is_large { 1 } else { rng.usize(1..8) },
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
        let properties: &[u8] = match (self.speaks_5, self.exactly_once) {
            (false, _) => &[],
            (true, false) => &[0],
            // The session never expires.
            (true, true) => &[5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF],
        };
        let (level, clean) = (if self.speaks_5 { 5 } else { 4 }, u8::from(!self.exactly_once) << 1);
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, clean, 0, 0];
        body.extend(properties);
        push_text(&mut body, &format!("d{}", self.number));
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
            ledger.make(self.name(self.next), (self.exactly_once, &self.filler), rng);
            let (serial, received, unknown) = (self.next, false, false);
            self.unacked.push_back(Sent { serial, received, unknown });
            self.next += 1;
        }
        let Sent { serial, received, unknown } = self.unacked[self.sent];
        let id = packet_id(serial, self.exactly_once);
        self.sent += 1;
        if received {
            return Some(answer(0x62, id));
        }
        self.unacked[self.sent - 1].unknown = false;
        let mut body = Vec::new();
        push_text(&mut body, &format!("plant/{}/telemetry", self.number));
        body.extend(id.to_be_bytes());
        if self.speaks_5 {
            // A name that only the gateway may give.
            let mut properties = vec![0x26];
            push_text(&mut properties, "tributary.offset");
            push_text(&mut properties, "0");
            body.push(u8::try_from(properties.len()).expect("it is short"));
            body.extend(properties);
        }
        let (times, payload) = ledger.send(self.name(serial), unknown);
        body.extend(payload.as_bytes());
        let again = if times > 1 { 0x08 } else { 0 };
        Some(packet(again | if self.exactly_once { 0x34 } else { 0x32 }, &body))
    }

    /// Takes what the gateway sent; what is answered. PUBACKs and PUBCOMPs come in the order of the
    /// publishes, and only for them.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Result<Vec<u8>> {
        self.input.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some((first, body)) = take_packet(&mut self.input) {
            match first {
                0x20 => {
                    ensure!(body[1] == 0 || is_unavailable(&body), "refused: {body:02x?}");
                    if body[1] == 0 {
                        self.begin(body[0] & 1 != 0);
                    } else {
                        self.stage = Stage::Away;
                    }
                }
                0x40 => self.acknowledge(&body, ledger)?,
                0x50 => out.extend(self.receive(&body, ledger)?),
                0x70 => self.complete(&body)?,
                0xE0 => self.stage = Stage::Away,
                other => anyhow::bail!("unexpected packet {other:02x}"),
            }
        }
        Ok(out)
    }

    /// Whether there is a session from before decides what is sent again as what it was.
    fn begin(&mut self, present: bool) {
        self.stage = Stage::Connected;
        if self.has_session && !present {
            for sent in &mut self.unacked {
                sent.unknown = true;
            }
        }
        self.has_session = self.exactly_once;
    }

    fn acknowledge(&mut self, body: &[u8], ledger: &mut Ledger) -> Result<()> {
        ensure!(self.sent > 0 && !self.exactly_once, "a PUBACK for nothing: {body:02x?}");
        let serial = self.unacked[0].serial;
        ensure!(id_of(body) == packet_id(serial, false), "a PUBACK out of order: {body:02x?}");
        if is_refused(body) {
            // Sent again on the next connection.
            self.stage = Stage::Away;
            return Ok(());
        }
        self.unacked.pop_front();
        self.sent -= 1;
        ledger.acknowledge(self.name(serial));
        Ok(())
    }

    /// QoS 2: the gateway has a reading. The PUBREL.
    fn receive(&mut self, body: &[u8], ledger: &mut Ledger) -> Result<Vec<u8>> {
        let id = id_of(body);
        let name = (self.number, self.exactly_once);
        let mut under_way = self.unacked.iter_mut().take(self.sent);
        let sent = under_way.find(|sent| name.1 && packet_id(sent.serial, true) == id);
        let Some(sent) = sent.filter(|sent| !sent.received) else {
            anyhow::bail!("a PUBREC for nothing: {body:02x?}")
        };
        if is_refused(body) {
            self.stage = Stage::Away;
            return Ok(Vec::new());
        }
        sent.received = true;
        ledger.acknowledge(Name { device: name.0, serial: sent.serial });
        Ok(answer(0x62, id))
    }

    fn complete(&mut self, body: &[u8]) -> Result<()> {
        let first = self.unacked.front().filter(|sent| self.sent > 0 && sent.received);
        let is_due = first.is_some_and(|sent| packet_id(sent.serial, true) == id_of(body));
        ensure!(is_due, "a PUBCOMP out of order: {body:02x?}");
        self.unacked.pop_front();
        self.sent -= 1;
        Ok(())
    }

    const fn name(&self, serial: u64) -> Name {
        Name { device: self.number, serial }
    }
}

fn id_of(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

fn is_refused(body: &[u8]) -> bool {
    body.get(2).is_some_and(|reason| *reason >= 0x80)
}

fn packet_id(serial: u64, exactly_once: bool) -> u16 {
    // At QoS 2 they are used again as soon as they may.
    let different = if exactly_once { IDS_EXACTLY_ONCE } else { 60_000 };
    u16::try_from(serial % different).expect("below") + 1
}
