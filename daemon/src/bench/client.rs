//! One device: its connection, and the publishes that are on their way.

use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::{Decoded, Packet, decode};
use tributary_mqtt::{Reason, Version};

use super::MqttArgs;
use super::load::Shared;
use super::packets::{DISCONNECT, PINGREQ, connect, publish, push_ack};

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
    qos: u8,
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
        let qos = args.qos;
        let packets =
            ids.zip(hot).map(|(id, is_hot)| publish(&topic, (id, qos), is_hot, args.payload));
        let window = usize::from(args.window);
        #[expect(clippy::cast_precision_loss, reason = "rates are far below")]
        let rate = args.rate.map(|rate| rate as f64 / f64::from(args.connections));
        let (received, sending) = (Vec::new(), Vec::new());
        let (packets, sent) = (packets.collect(), VecDeque::with_capacity(window));
        Ok(Self { stream, shared, packets, window, sent, next: 0, qos, rate, received, sending })
    }

    /// Publishes until told to stop, from the moment at which all are there.
    pub(super) async fn run(
        mut self,
        connected: Arc<Barrier>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        connected.wait().await;
        let begun = Instant::now();
        let delivered = self.shared.delivered();
        let mut published = 0;
        while !*stop.borrow_and_update() {
            // Listened for before the room is asked for.
            let delivered = delivered.notified();
            let due = self.rate.map_or(u64::MAX, |rate| due(begun, rate));
            published += self.publish(due.saturating_sub(published).min(self.shared.room()));
            self.stream.write_all(&self.sending).await?;
            self.sending.clear();
            let paced = self.rate.is_some() && self.sent.len() < self.window;
            tokio::select! {
                read = self.stream.read_buf(&mut self.received) => match read? {
                    0 => return Err(io::Error::other("the broker closed a connection")),
                    _ => self.take_answers()?,
                },
                () = tokio::time::sleep(BEAT), if paced => {}
                () = delivered, if self.sent.len() < self.window => {}
                changed = stop.changed() => changed.map_err(io::Error::other)?,
            }
        }
        self.stream.write_all(&DISCONNECT).await
    }

    /// As many publishes as window and rate allow; how many. Those of QoS 0 are not acknowledged: a
    /// PINGRESP behind a window of them says that the broker has read them.
    fn publish(&mut self, most: u64) -> u64 {
        if self.qos == 0 && !self.sent.is_empty() {
            return 0;
        }
        let now = Instant::now();
        let mut count = 0;
        while count < most && self.sent.len() < self.window {
            self.sending.extend_from_slice(&self.packets[self.next]);
            self.next = (self.next + 1) % self.packets.len();
            self.sent.push_back(now);
            count += 1;
        }
        if self.qos == 0 && count > 0 {
            self.sending.extend(PINGREQ);
        }
        self.shared.note_published(count);
        count
    }

    /// PUBACKs and PUBCOMPs come in order (MQTT-4.6.0-2, MQTT-4.6.0-3).
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
            let is_due = |ack: &Ack<'_>| {
                let id = Some(usize::from(ack.packet_id.get()));
                ack.reason == Reason::Success && id == due && count < self.sent.len()
            };
            match (self.qos, packet) {
                (0, Packet::PingResp) => count = self.sent.len(),
                (1, Packet::PubAck(ack)) if is_due(&ack) => count += 1,
                (2, Packet::PubComp(ack)) if is_due(&ack) => count += 1,
                (2, Packet::PubRec(ack)) if !ack.reason.is_failure() => {
                    push_ack(&mut self.sending, 0x62, ack.packet_id.get());
                }
                (_, other) => {
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
