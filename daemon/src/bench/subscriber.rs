//! One subscriber of all devices: counts what is delivered.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tributary_mqtt::Version;
use tributary_mqtt::codec::publish::Delivery;
use tributary_mqtt::codec::{Decoded, Packet, decode};

use super::MqttArgs;
use super::load::Shared;
use super::packets::{DISCONNECT, connect, push_ack, subscribe};

/// The largest message that is expected: topic and payload of a device.
const MESSAGE_BYTES_MAX: u32 = 256 << 10;

/// A subscriber that has its SUBACK.
pub(super) struct Subscriber {
    stream: TcpStream,
    shared: Arc<Shared>,
    received: Vec<u8>,
}

impl Subscriber {
    /// Connects as subscriber `number`, and subscribes.
    pub(super) async fn connect(
        args: &MqttArgs,
        number: u16,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(args.address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&connect(&format!("{}-subscriber-{number}", args.topic))).await?;
        stream.write_all(&subscribe(&format!("{}/#", args.topic), args.qos.min(1))).await?;
        let mut answers = [0; 9];
        stream.read_exact(&mut answers).await?;
        if answers[..8] != [0x20, 2, 0, 0, 0x90, 3, 0, 1] || answers[8] > 2 {
            return Err(io::Error::other(format!("a subscriber is refused: {answers:02x?}")));
        }
        Ok(Self { stream, shared, received: Vec::new() })
    }

    /// Reads until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut answers = Vec::new();
        while !*stop.borrow_and_update() {
            tokio::select! {
                read = self.stream.read_buf(&mut self.received) => match read? {
                    0 => return Err(io::Error::other("the broker closed a subscriber")),
                    _ => self.take(&mut answers)?,
                },
                changed = stop.changed() => changed.map_err(io::Error::other)?,
            }
            self.stream.write_all(&answers).await?;
            answers.clear();
        }
        self.stream.write_all(&DISCONNECT).await
    }

    /// Counts messages, and acknowledges those at QoS 1.
    fn take(&mut self, answers: &mut Vec<u8>) -> io::Result<()> {
        let (mut taken, mut count) = (0, 0);
        loop {
            let decoded = decode(&self.received[taken..], Some(Version::V311), MESSAGE_BYTES_MAX)
                .map_err(io::Error::other)?;
            let Decoded::Packet(packet, length) = decoded else { break };
            taken += length;
            let Packet::Publish(publish) = packet else {
                return Err(io::Error::other(format!("no message: {packet:?}")));
            };
            if let Delivery::AtLeastOnce { packet_id, .. } = publish.delivery {
                push_ack(answers, 0x40, packet_id.get());
            }
            count += 1;
        }
        self.received.drain(..taken);
        self.shared.note_delivered(count);
        Ok(())
    }
}
