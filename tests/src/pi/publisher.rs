//! Publishes numbered events at QoS 1 and notes which were acknowledged, and when.
//!
//! Bytes of MQTT 3.1.1 by hand: what counts is the moment at which a PUBACK arrives.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

const TOPIC: &str = "pi/events";
/// Without a name: an attempt that the emulator delivers late takes nothing over.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: [u8; 2] = [0x40, 2];
/// Events on their way, at most: one a commit, and many.
const WINDOW_MAX: u64 = 16;
const SMALL_BYTES_MAX: usize = 400;
const LARGE_BYTES_MAX: usize = 20_000;
/// One event of so many is large.
const LARGE_ONE_OF: u64 = 12;
/// The longest silence of a machine that has answered before.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The payload of an event: its number, and bytes that follow from it.
#[must_use]
pub fn payload(number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(number ^ 0x5049);
    let large = number % LARGE_ONE_OF == LARGE_ONE_OF - 1;
    let bytes = rng.usize(8..if large { LARGE_BYTES_MAX } else { SMALL_BYTES_MAX });
    let mut payload = vec![0; bytes];
    rng.fill(&mut payload);
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    waiting: VecDeque<u64>,
    rng: Rng,
}

impl Publisher {
    /// Connects; `None` if nobody answers within `patience`.
    #[must_use]
    pub fn connect(port: u16, seed: u64, patience: Duration) -> Option<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_nodelay(true).ok()?;
        // The emulator takes connections before anybody listens in the machine.
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.write_all(CONNECT).ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).ok()?;
        stream.set_read_timeout(Some(SILENCE_MAX)).ok()?;
        let publisher = Self { stream, waiting: VecDeque::new(), rng: Rng::with_seed(seed) };
        (answer == CONNACK).then_some(publisher)
    }

    /// Publishes events from `next` on, until `acknowledged`, which is told each, says that it is
    /// enough, or the machine is gone. The number of the first event that was not sent.
    ///
    /// # Errors
    /// The answers make no sense.
    pub fn run(
        mut self,
        mut next: u64,
        mut acknowledged: impl FnMut(u64) -> Result<bool>,
    ) -> Result<u64> {
        loop {
            let window = self.rng.u64(1..=WINDOW_MAX);
            for _ in 0..window {
                if self.send(next).is_err() {
                    return Ok(next + 1);
                }
                self.waiting.push_back(next);
                next += 1;
            }
            while let Some(&number) = self.waiting.front() {
                let mut puback = [0; 4];
                if self.stream.read_exact(&mut puback).is_err() {
                    return Ok(next);
                }
                let id = packet_id(number).to_be_bytes();
                ensure!(puback[..2] == PUBACK && puback[2..] == id, "{puback:02x?} for {number}");
                self.waiting.pop_front();
                if !acknowledged(number)? {
                    return Ok(next);
                }
            }
        }
    }

    fn send(&mut self, number: u64) -> Result<()> {
        let payload = payload(number);
        let mut rest = u32::try_from(2 + TOPIC.len() + 2 + payload.len())?;
        let mut packet = vec![PUBLISH_QOS1];
        while rest >= 0x80 {
            packet.push(u8::try_from(rest & 0x7f)? | 0x80);
            rest >>= 7;
        }
        packet.push(u8::try_from(rest)?);
        packet.extend_from_slice(&u16::try_from(TOPIC.len())?.to_be_bytes());
        packet.extend_from_slice(TOPIC.as_bytes());
        packet.extend_from_slice(&packet_id(number).to_be_bytes());
        packet.extend_from_slice(&payload);
        self.stream.write_all(&packet).context("the machine is gone")
    }
}

/// 1 to 65,000, one after the other.
fn packet_id(number: u64) -> u16 {
    u16::try_from(number % 65_000 + 1).unwrap_or(1)
}
