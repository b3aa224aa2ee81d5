//! The devices as rumqttc clients, and their record of what was sent how often and acknowledged.
//!
//! A device keeps at most [`WINDOW`] messages unacknowledged. When its connection breaks, a new one
//! sends the unacknowledged again, in order, before it goes on: what `QoS` 1 asks of a device.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};

use super::readings::Device;
use super::wait;

/// Messages of a device that wait for their acknowledgement at a time.
pub const WINDOW: usize = 20;
/// How long a device may go without any acknowledgement before the test has failed.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// So many readings, all devices together, and some were hot.
const SUMMER: u64 = 12_000;
/// Between attempts to connect to a gateway that is down.
const RECONNECT: Duration = Duration::from_millis(20);

/// What the devices send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The devices.
    pub devices: Vec<Device>,
    /// The first round's number.
    pub first_round: u32,
    /// How many; without it they go on until they are stopped.
    pub rounds: Option<u32>,
    /// Readings per device and round, from the front.
    pub take: usize,
    /// Readings per second, all devices together.
    pub rate: u32,
}

/// Devices at work.
#[derive(Debug)]
pub struct Fleet {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<Result<Vec<Message>>>>,
}

/// What the test and its devices share.
#[derive(Debug, Default)]
struct Orders {
    /// No new readings.
    stop: AtomicBool,
    /// The test has failed: nothing at all any more.
    abandon: AtomicBool,
    acked: AtomicU64,
}

/// One reading on its way, and what became of it.
#[derive(Debug)]
struct Message {
    device: String,
    round: u32,
    seq: u32,
    payload: String,
    times: u32,
    acked: bool,
}

impl Fleet {
    /// Starts a thread per device.
    #[must_use]
    pub fn start(port: u16, plan: &Plan) -> Self {
        let orders = Arc::new(Orders::default());
        let every = Duration::from_secs(1) * count(plan.devices.len()) / plan.rate;
        let mut threads = Vec::new();
        for device in &plan.devices {
            let mut sender = Sender {
                topic: device.topic(),
                client_id: format!("rumqttc-{}", device.name),
                port,
                every,
                due: Instant::now(),
                input: Input::new(device.clone(), plan),
                again: VecDeque::new(),
                done: Vec::new(),
                progress: Instant::now(),
                orders: Arc::clone(&orders),
            };
            threads.push(std::thread::spawn(move || sender.run().map(|()| sender.done)));
        }
        Self { orders, threads }
    }

    /// Acknowledgements so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.orders.acked.load(Ordering::Relaxed)
    }

    /// Waits until all together have `more` acknowledgements more than now.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let goal = self.acked() + more;
        wait::until("acknowledgements", SILENCE_MAX, || Ok((self.acked() >= goal).then_some(())))
    }

    /// Waits until there are readings of every kind: the year has begun in winter.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for_summer(&self) -> Result<()> {
        self.wait_for(SUMMER.saturating_sub(self.acked()))
    }

    /// No new readings; what was sent is still sent again until it is acknowledged.
    pub fn stop(&self) {
        self.orders.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of the rounds and for every acknowledgement; writes the record to `file`.
    ///
    /// # Errors
    /// Something was not acknowledged in time.
    pub fn finish(mut self, file: &Path) -> Result<u64> {
        let mut text = String::new();
        let mut readings = 0;
        for thread in core::mem::take(&mut self.threads) {
            let messages = thread.join().map_err(|_| anyhow!("a device panicked"))??;
            for Message { device, round, seq, times, acked, .. } in messages {
                writeln!(text, "{device}\t{round}\t{seq}\t{times}\t{}", u8::from(acked))?;
                readings += 1;
            }
        }
        ensure!(readings > 0, "nothing was sent");
        std::fs::write(file, text)?;
        Ok(readings)
    }
}

impl Drop for Fleet {
    /// The devices of a test that failed end soon; those of one that passed have ended.
    fn drop(&mut self) {
        self.orders.abandon.store(true, Ordering::Relaxed);
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A device's readings, round by round.
struct Input {
    device: Device,
    round: u32,
    end: Option<u32>,
    take: usize,
    next: usize,
}

impl Input {
    fn new(device: Device, plan: &Plan) -> Self {
        let end = plan.rounds.map(|rounds| plan.first_round + rounds);
        let take = plan.take.min(device.readings.len());
        Self { device, round: plan.first_round, end, take, next: 0 }
    }

    fn ended(&self) -> bool {
        self.end == Some(self.round)
    }

    fn take(&mut self) -> Option<Message> {
        if self.ended() {
            return None;
        }
        let reading = &self.device.readings[self.next];
        let message = Message {
            device: self.device.name.clone(),
            round: self.round,
            seq: reading.seq,
            payload: self.device.payload(self.round, reading),
            times: 0,
            acked: false,
        };
        self.next += 1;
        if self.next == self.take {
            self.next = 0;
            self.round += 1;
        }
        Some(message)
    }
}

/// What a connection says.
enum News {
    Connected,
    Sent,
    Acked,
    Lost,
}

struct Sender {
    topic: String,
    client_id: String,
    port: u16,
    every: Duration,
    due: Instant,
    input: Input,
    /// Sent before over a connection that broke.
    again: VecDeque<Message>,
    done: Vec<Message>,
    /// The last acknowledgement.
    progress: Instant,
    orders: Arc<Orders>,
}

impl Sender {
    fn run(&mut self) -> Result<()> {
        while !self.ended() {
            self.one_connection().with_context(|| self.client_id.clone())?;
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.no_more() && self.again.is_empty()
    }

    fn no_more(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed) || self.input.ended()
    }

    fn check_progress(&self) -> Result<()> {
        ensure!(!self.orders.abandon.load(Ordering::Relaxed), "the test has ended");
        ensure!(self.progress.elapsed() < SILENCE_MAX, "no acknowledgement in {SILENCE_MAX:?}");
        Ok(())
    }

    /// Sends until all is acknowledged or the connection breaks.
    fn one_connection(&mut self) -> Result<()> {
        let (client, news) = connect(&self.client_id, self.port);
        // In the order handed over; the first `sent` of them have left, and are acknowledged in order.
        let mut handed: VecDeque<Message> = VecDeque::new();
        let mut sent = 0;
        let mut connected = false;
        while !(self.ended() && handed.is_empty()) {
            self.check_progress()?;
            while connected && handed.len() < WINDOW {
                let Some(message) = self.next() else { break };
                let payload = message.payload.clone();
                handed.push_back(message);
                // Fails only when the connection has just ended, which its thread tells, too.
                if client.try_publish(&self.topic, QoS::AtLeastOnce, false, payload).is_err() {
                    break;
                }
            }
            match news.recv_timeout(self.patience(connected && handed.len() < WINDOW)) {
                Ok(News::Connected) => connected = true,
                Ok(News::Sent) => {
                    handed.get_mut(sent).context("more sent than handed over")?.times += 1;
                    sent += 1;
                }
                Ok(News::Acked) => {
                    let mut message = handed.pop_front().context("more acknowledged than sent")?;
                    sent -= 1;
                    message.acked = true;
                    self.done.push(message);
                    self.progress = Instant::now();
                    self.orders.acked.fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) if connected => {}
                Ok(News::Lost) | Err(_) => {
                    while let Some(message) = handed.pop_back() {
                        self.again.push_front(message);
                    }
                    wait::pass(RECONNECT);
                    return Ok(());
                }
            }
        }
        // The connection's thread ends with it, or has.
        client.disconnect().ok();
        while news.recv_timeout(SILENCE_MAX).is_ok() {}
        Ok(())
    }

    /// The next to send, if it is due.
    fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.again.pop_front() {
            return Some(message);
        }
        let now = Instant::now();
        if self.no_more() || now < self.due {
            return None;
        }
        // After an outage the device catches up, as one with a buffer of its own does.
        self.due += self.every;
        self.input.take()
    }

    fn patience(&self, may_send: bool) -> Duration {
        if may_send && !self.no_more() {
            return self.due.saturating_duration_since(Instant::now());
        }
        Duration::from_millis(500)
    }
}

/// A client, and the thread that drives its connection until the first error.
fn connect(client_id: &str, port: u16) -> (Client, mpsc::Receiver<News>) {
    let mut options = MqttOptions::new(client_id, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(10));
    options.set_inflight(u16::try_from(2 * WINDOW).unwrap_or(u16::MAX));
    let (client, mut connection) = Client::new(options, 2 * WINDOW);
    let (tell, news) = mpsc::channel();
    std::thread::spawn(move || {
        for event in connection.iter() {
            let what = match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => News::Connected,
                Ok(Event::Incoming(Packet::PubAck(_))) => News::Acked,
                Ok(Event::Outgoing(Outgoing::Publish(_))) => News::Sent,
                Ok(_) => continue,
                Err(_) => News::Lost,
            };
            let last = matches!(what, News::Lost);
            if tell.send(what).is_err() || last {
                return;
            }
        }
    });
    (client, news)
}
