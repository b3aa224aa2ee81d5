//! A device's connections to the gateway, one after the other, for as long as it takes.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tributary_mqtt::Reason;
use tributary_mqtt::codec::{Decoded, Packet, decode};

use super::device::{Device, Journal};
use super::{Counters, Order, Schedule};

/// Between attempts to reach a gateway that is down.
const RECONNECT: Duration = Duration::from_millis(50);
/// The largest answer that a device expects.
const ANSWER_BYTES_MAX: u32 = 4_096;
/// DISCONNECT, the same in both versions.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A device with its connection.
pub(super) struct Client {
    device: Device,
    schedule: Schedule,
    orders: watch::Receiver<Order>,
    counters: Arc<Counters>,
    /// Whether the gateway has let it in.
    connected: bool,
    received: Vec<u8>,
    sending: Vec<u8>,
}

impl Client {
    pub(super) fn new(
        schedule: Schedule,
        orders: watch::Receiver<Order>,
        counters: Arc<Counters>,
    ) -> Self {
        let device = Device::new(schedule.number);
        let (received, sending) = (Vec::new(), Vec::new());
        Self { device, schedule, orders, counters, connected: false, received, sending }
    }

    /// Publishes until it is told to stop, over as many connections as that takes.
    pub(super) async fn run(mut self) -> Journal {
        while !self.is_over() {
            let ended = self.connection().await;
            if core::mem::take(&mut self.connected) {
                self.counters.connected.fetch_sub(1, Ordering::Relaxed);
            }
            if let Err(error) = ended {
                tracing::trace!(device = self.device.number(), %error, "connecting again");
                sleep(RECONNECT).await;
            }
        }
        self.device.into_journal()
    }

    /// How many of its readings are to be sent by now.
    fn due(&self) -> usize {
        match *self.orders.borrow() {
            Order::Publish => self.schedule.due(),
            Order::Finish(total) => self.schedule.share(total),
            Order::GiveUp => 0,
        }
    }

    fn is_over(&self) -> bool {
        match *self.orders.borrow() {
            Order::Publish => false,
            Order::Finish(total) => self.device.is_done(self.schedule.share(total)),
            Order::GiveUp => true,
        }
    }

    /// One connection, to its end: an error, unless there is nothing left to do.
    async fn connection(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.schedule.plan.gateway).await?;
        stream.set_nodelay(true)?;
        self.received.clear();
        self.sending.clear();
        self.device.connect(&mut self.sending);
        while !self.is_over() {
            if self.connected {
                self.publish();
            }
            stream.write_all(&self.sending).await?;
            self.sending.clear();
            let next = self.next_moment();
            let measured = async {
                match next {
                    Some(moment) => sleep_until(moment).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                read = stream.read_buf(&mut self.received) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => self.take_answers()?,
                },
                () = measured => {}
                // The sender outlives its devices, or aborts them.
                _ = self.orders.changed() => {}
            }
        }
        stream.write_all(&DISCONNECT).await
    }

    fn publish(&mut self) {
        let due = self.due();
        let count = |counter: &core::sync::atomic::AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        while let Some(sent) = self.device.poll_publish(due, &mut self.sending) {
            if sent.again {
                count(&self.counters.resent);
                continue;
            }
            count(&self.counters.published);
            if sent.reading.is_selected() {
                count(&self.counters.selected);
            }
        }
    }

    /// When there is a reading to send, if that need not wait for an answer first.
    fn next_moment(&self) -> Option<Instant> {
        let next = self.device.next_if_open().filter(|_| self.connected)?;
        match *self.orders.borrow() {
            Order::Publish => Some(self.schedule.moment(next)),
            Order::Finish(_) | Order::GiveUp => None,
        }
    }

    /// Looks at all packets that have arrived whole.
    fn take_answers(&mut self) -> io::Result<()> {
        let version = self.device.version();
        let mut taken = 0;
        loop {
            let decoded = decode(&self.received[taken..], Some(version), ANSWER_BYTES_MAX)
                .map_err(io::Error::other)?;
            let Decoded::Packet(packet, length) = decoded else { break };
            taken += length;
            let expected = match packet {
                Packet::ConnAck(answer) if !self.connected => answer.reason == Reason::Success,
                Packet::PubAck(ack) if self.connected && !ack.reason.is_failure() => {
                    self.device.handle_puback(ack.packet_id)
                }
                _ => false,
            };
            if !expected {
                return Err(io::Error::other("the gateway gives an answer that was not due"));
            }
            if self.connected {
                self.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                self.connected = true;
                self.counters.connected.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.received.drain(..taken);
        Ok(())
    }
}
