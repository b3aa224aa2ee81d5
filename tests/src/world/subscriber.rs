//! A simulated subscriber: at some QoS, in a session that lasts or that does not, with a will or
//! without, prompt with its acknowledgements or not.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::audience::Audience;
use super::bytes::{Message, answer, is_unavailable, packet, push_text, take_packet};
use super::ledger::Ledger;

/// Where a subscriber stands with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Away,
    /// CONNECT was sent.
    Greeting,
    Connected,
    /// SUBSCRIBE was sent.
    Asking,
    Subscribed,
    /// DISCONNECT was sent.
    Leaving,
}

/// A subscriber.
#[expect(clippy::struct_excessive_bools, reason = "what it is like was drawn, each on its own")]
pub(super) struct Subscriber {
    pub(super) number: usize,
    pub(super) stage: Stage,
    pub(super) lasting: bool,
    pub(super) qos: u8,
    /// Its session is one from before.
    pub(super) resumed: bool,
    /// Seconds between the end of a connection and its will.
    pub(super) will_delay_s: Option<u32>,
    speaks_5: bool,
    /// Acknowledges at once.
    prompt: bool,
    /// Acknowledgements that wait until it feels like it.
    answers: Vec<u8>,
    /// QoS 2: identifiers that were not released, with the message.
    held: BTreeMap<u16, String>,
    /// Connections so far: each has a will of its own.
    connections: u32,
    input: Vec<u8>,
}

impl Subscriber {
    pub(super) fn new(number: usize, rng: &mut Rng) -> Self {
        let speaks_5 = rng.bool();
        let delay_s = if speaks_5 { rng.u32(..6) } else { 0 };
        Self {
            number,
            stage: Stage::Away,
            lasting: rng.u8(..3) > 0,
            qos: rng.u8(..3),
            resumed: false,
            will_delay_s: rng.bool().then_some(delay_s),
            speaks_5,
            prompt: rng.bool(),
            answers: Vec::new(),
            held: BTreeMap::new(),
            connections: 0,
            input: Vec::new(),
        }
    }

    /// The payload of the will of the connection that is or was the last.
    pub(super) fn will(&self) -> String {
        format!("will {} {}", self.number, self.connections)
    }

    /// Everything it asked for is granted, and nothing waits for it; `released`: nor for the gateway.
    pub(super) fn is_settled(&self, released: bool) -> bool {
        let waits = released && !self.held.is_empty();
        self.stage == Stage::Subscribed && self.answers.is_empty() && !waits
    }

    /// A connection is open: the CONNECT.
    pub(super) fn greet(&mut self) -> Vec<u8> {
        self.stage = Stage::Greeting;
        self.input.clear();
        self.answers.clear();
        self.connections += 1;
        let mut flags = u8::from(!self.lasting) << 1;
        if self.will_delay_s.is_some() {
            flags |= 0x0C;
        }
        let level = if self.speaks_5 { 5 } else { 4 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 0];
        if self.speaks_5 {
            let forever: &[u8] = &[5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF];
            body.extend(if self.lasting { forever } else { &[0] });
        }
        push_text(&mut body, &format!("s{}", self.number));
        if let Some(delay_s) = self.will_delay_s {
            if self.speaks_5 {
                body.extend([5, 0x18]);
                body.extend(delay_s.to_be_bytes());
            }
            push_text(&mut body, &format!("wills/{}", self.number));
            push_text(&mut body, &self.will());
        }
        packet(0x10, &body)
    }

    /// The connection is gone.
    pub(super) fn lose(&mut self) {
        self.stage = Stage::Away;
        self.answers.clear();
    }

    /// What it sends of its own accord.
    pub(super) fn act(&mut self, may_leave: bool, rng: &mut Rng) -> Vec<u8> {
        match self.stage {
            Stage::Connected => {
                self.stage = Stage::Asking;
                let mut body = vec![0, 1];
                if self.speaks_5 {
                    body.push(0);
                }
                push_text(&mut body, "plant/#");
                body.push(self.qos);
                packet(0x82, &body)
            }
            Stage::Subscribed if may_leave && rng.u8(..24) == 0 => {
                self.stage = Stage::Leaving;
                packet(0xE0, &[])
            }
            Stage::Subscribed => core::mem::take(&mut self.answers),
            _ => Vec::new(),
        }
    }

    /// Takes what the gateway sent; what is answered at once.
    pub(super) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        ledger: &mut Ledger,
        audience: &mut Audience,
    ) -> Result<Vec<u8>> {
        self.input.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some((first, body)) = take_packet(&mut self.input) {
            let answer = match first >> 4 {
                2 if is_unavailable(&body) => {
                    self.stage = Stage::Away;
                    Vec::new()
                }
                2 => {
                    ensure!(body[1] == 0, "refused: {body:02x?}");
                    let present = body[0] & 1 != 0;
                    if !present {
                        self.held.clear();
                    }
                    self.resumed = present;
                    let granted = audience.begin(self.number, present, ledger)?;
                    self.stage = if granted { Stage::Subscribed } else { Stage::Connected };
                    Vec::new()
                }
                9 => {
                    let reason = body.last();
                    ensure!(reason == Some(&self.qos), "not granted: {body:02x?}");
                    audience.grant(self.number, ledger);
                    self.stage = Stage::Subscribed;
                    Vec::new()
                }
                3 => self.take(first, &body, ledger, audience)?,
                6 => {
                    let id = u16::from_be_bytes([body[0], body[1]]);
                    self.held.remove(&id);
                    answer(0x70, id)
                }
                14 => {
                    self.stage = Stage::Away;
                    Vec::new()
                }
                _ => anyhow::bail!("unexpected packet {first:02x}"),
            };
            if self.prompt {
                out.extend(answer);
            } else {
                self.answers.extend(answer);
            }
        }
        Ok(out)
    }

    /// A message: what is to be answered.
    fn take(
        &mut self,
        first: u8,
        body: &[u8],
        ledger: &mut Ledger,
        audience: &mut Audience,
    ) -> Result<Vec<u8>> {
        let message = Message::read(first, body, self.speaks_5);
        let message = message.with_context(|| format!("not to be read: {body:02x?}"))?;
        let Message { qos, again, id, payload } = message;
        if qos == 2
            && !audience.is_unsure
            && let Some(before) = self.held.get(&id)
        {
            ensure!(
                again && before == payload,
                "subscriber {}: identifier {id} names {before} and {payload}",
                self.number
            );
            return Ok(answer(0x50, id));
        }
        audience.hear(self.number, (payload, qos), ledger)?;
        Ok(match qos {
            0 => Vec::new(),
            1 => answer(0x40, id),
            _ => {
                self.held.insert(id, payload.to_owned());
                answer(0x50, id)
            }
        })
    }
}
