//! One device: its connection, and the publishes that are on their way.

use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};
use tributary_mqtt::codec::{Decoded, Packet, decode};
use tributary_mqtt::{Reason, Version};

use super::MqttArgs;
use super::load::Shared;

/// The largest answer that a device expects.
const ANSWER_BYTES_MAX: u32 = 256;
/// At a given rate, publishes leave in groups of this distance.
const BEAT: Duration = Duration::from_millis(5);

/// A device that is connected.
pub(super) struct Client {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// What is published in turn, encoded: the packet ids of the window, twice, so that every other
    /// event is hot whatever the window.
    packets: Vec<Vec<u8>>,
    window: usize,
    /// When those that are not acknowledged were sent, oldest first.
    sent: VecDeque<Instant>,
    /// The place of the next in `packets`.
    next: usize,
    /// Events per second, if there is a rate.
    rate: Option<f64>,
    received: Vec<u8>,
    sending: Vec<u8>,
}

impl Client {
    /// Connects as device `number`.
    pub(super) async fn connect(
        args: &MqttArgs,
        number: u16,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(args.address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&connect(&format!("{}-{number}", args.topic))).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer != [0x20, 2, 0, 0] {
            return Err(io::Error::other(format!("the broker refuses a device: {answer:02x?}")));
        }
        let topic = format!("{}/{number}/telemetry", args.topic);
        let ids = (1..=args.window).chain(1..=args.window);
        let hot = [false, true].into_iter().cycle();
        let packets = ids.zip(hot).map(|(id, is_hot)| publish(&topic, id, is_hot, args.payload));
        let window = usize::from(args.window);
        #[expect(clippy::cast_precision_loss, reason = "rates are far below")]
        let rate = args.rate.map(|rate| rate as f64 / f64::from(args.connections));
        let (received, sending) = (Vec::new(), Vec::new());
        let (packets, sent) = (packets.collect(), VecDeque::with_capacity(window));
        Ok(Self { stream, shared, packets, window, sent, next: 0, rate, received, sending })
    }

    /// Publishes until told to stop, from the moment at which all are there.
    pub(super) async fn run(
        mut self,
        connected: Arc<Barrier>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        connected.wait().await;
        let begun = Instant::now();
        let mut published = 0;
        while !*stop.borrow_and_update() {
            let due = self.rate.map_or(u64::MAX, |rate| due(begun, rate));
            published += self.publish(due.saturating_sub(published));
            self.stream.write_all(&self.sending).await?;
            self.sending.clear();
            let paced = self.rate.is_some() && self.sent.len() < self.window;
            tokio::select! {
                read = self.stream.read_buf(&mut self.received) => match read? {
                    0 => return Err(io::Error::other("the broker closed a connection")),
                    _ => self.take_answers()?,
                },
                () = tokio::time::sleep(BEAT), if paced => {}
                changed = stop.changed() => changed.map_err(io::Error::other)?,
            }
        }
        self.stream.write_all(&[0xE0, 0]).await
    }

    /// As many publishes as window and rate allow; how many.
    fn publish(&mut self, most: u64) -> u64 {
        let now = Instant::now();
        let mut count = 0;
        while count < most && self.sent.len() < self.window {
            self.sending.extend_from_slice(&self.packets[self.next]);
            self.next = (self.next + 1) % self.packets.len();
            self.sent.push_back(now);
            count += 1;
        }
        count
    }

    /// PUBACKs come in order (MQTT-4.6.0-2).
    fn take_answers(&mut self) -> io::Result<()> {
        let (mut taken, mut count) = (0, 0);
        loop {
            let decoded = decode(&self.received[taken..], Some(Version::V311), ANSWER_BYTES_MAX)
                .map_err(io::Error::other)?;
            let Decoded::Packet(packet, length) = decoded else { break };
            taken += length;
            // Without a window nothing is sent, and nothing is due.
            let due = (self.next + self.packets.len() - self.sent.len() + count)
                .checked_rem(self.window)
                .map(|place| place + 1);
            match packet {
                Packet::PubAck(ack)
                    if ack.reason == Reason::Success
                        && Some(usize::from(ack.packet_id.get())) == due
                        && count < self.sent.len() =>
                {
                    count += 1;
                }
                other => {
                    return Err(io::Error::other(format!("not what was due: {other:?}")));
                }
            }
        }
        self.received.drain(..taken);
        let acknowledged: Vec<Instant> = self.sent.drain(..count).collect();
        self.shared.acknowledge(&acknowledged);
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate times a time is a count"
)]
fn due(begun: Instant, rate: f64) -> u64 {
    (begun.elapsed().as_secs_f64() * rate) as u64
}

/// CONNECT of MQTT 3.1.1 with a clean session and no keep-alive.
pub(super) fn connect(client: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 0];
    push_text(&mut body, client);
    packet(0x10, &body)
}

/// PUBLISH with QoS 1. The payload is JSON.
pub(super) fn publish(topic: &str, id: u16, is_hot: bool, payload_bytes: u32) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    let id = NonZeroU16::new(id).expect("ids begin with 1");
    body.extend(id.get().to_be_bytes());
    let temperature = if is_hot { "71.5" } else { "20.5" };
    let mut payload = format!(r#"{{"temperature":{temperature},"x":""#).into_bytes();
    payload.resize((payload_bytes as usize).saturating_sub(2), b'x');
    payload.extend(br#""}"#);
    body.extend(payload);
    packet(0x32, &body)
}

fn push_text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a topic is short").to_be_bytes());
    into.extend(text.as_bytes());
}

/// A packet with its length (MQTT 3.1.1, section 2.2.3).
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        packet.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
