//! A device: an MQTT client that is not ours, with messages that it sends until they are
//! acknowledged, in order and over as many connections as that takes.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};

use crate::wait;

/// Messages on their way without an acknowledgement.
const WINDOW: usize = 16;
/// How long a device goes without any acknowledgement before the test has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between attempts to connect to a gateway that is down.
const RECONNECT: Duration = Duration::from_millis(10);

/// A device at work.
#[derive(Debug)]
pub struct Device {
    acked: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Sent>>,
}

/// What a device has sent; every message of it is acknowledged.
#[derive(Debug)]
pub struct Sent {
    topic: String,
    messages: Vec<String>,
    /// How often each was handed to a connection at most.
    times: Vec<usize>,
}

impl Device {
    /// Begins to publish `messages` to `topic`.
    #[must_use]
    pub fn start(port: u16, topic: &str, messages: Vec<String>) -> Self {
        let acked = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&acked);
        let times = vec![0; messages.len()];
        let mut sent = Sent { topic: topic.to_owned(), messages, times };
        let thread = std::thread::spawn(move || {
            sent.send(port, &shared)?;
            Ok(sent)
        });
        Self { acked, thread }
    }

    /// Publishes all and waits for every acknowledgement: what happens then happens after it.
    ///
    /// # Errors
    /// Not in time.
    pub fn publish(port: u16, topic: &str, messages: Vec<String>) -> Result<Sent> {
        Self::start(port, topic, messages).finish()
    }

    /// Waits until `count` messages are acknowledged.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        wait::until("acknowledgements", SILENCE_MAX, || {
            Ok((self.acked.load(Ordering::Relaxed) >= count).then_some(()))
        })
    }

    /// Waits until everything is acknowledged.
    ///
    /// # Errors
    /// Not in time.
    pub fn finish(self) -> Result<Sent> {
        self.thread.join().map_err(|_| anyhow!("the device panicked"))?
    }
}

impl Sent {
    fn send(&mut self, port: u16, acked: &AtomicUsize) -> Result<()> {
        let mut progress = Instant::now();
        loop {
            let before = acked.load(Ordering::Relaxed);
            self.one_connection(port, acked)?;
            let after = acked.load(Ordering::Relaxed);
            if after == self.messages.len() {
                return Ok(());
            }
            if after > before {
                progress = Instant::now();
            }
            ensure!(progress.elapsed() < SILENCE_MAX, "no acknowledgement in {SILENCE_MAX:?}");
            wait::pass(RECONNECT);
        }
    }

    /// Sends what is not acknowledged, until all is or the connection breaks.
    fn one_connection(&mut self, port: u16, acked: &AtomicUsize) -> Result<()> {
        let (client, mut connection) = connect(port, &self.topic.replace('/', "-"));
        let mut handed = acked.load(Ordering::Relaxed);
        let mut connected = false;
        while acked.load(Ordering::Relaxed) < self.messages.len() {
            let end = self.messages.len().min(acked.load(Ordering::Relaxed) + WINDOW);
            while connected && handed < end {
                let message = self.messages[handed].clone();
                client.try_publish(&self.topic, QoS::AtLeastOnce, false, message)?;
                self.times[handed] += 1;
                handed += 1;
            }
            match connection.recv_timeout(ANSWER_MAX) {
                Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => connected = true,
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => {
                    acked.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Ok(()),
                Err(error) => bail!("{}: {error:?}", self.topic),
            }
        }
        Ok(())
    }

    /// How many messages there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// `payloads` are all that came of this device's topic: each message that `selects` passes is
    /// there, not more often than it was sent, its first appearance in order, and nothing else.
    ///
    /// # Errors
    /// What is not so.
    pub fn check<'p>(
        &self,
        payloads: impl Iterator<Item = &'p str>,
        selects: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut seen = vec![0; self.messages.len()];
        let mut first = Vec::new();
        for payload in payloads {
            let place = self.messages.iter().position(|message| message == payload);
            let place = place.with_context(|| format!("{payload} was never sent"))?;
            ensure!(selects(payload), "{payload} is not selected");
            if seen[place] == 0 {
                first.push(place);
            }
            seen[place] += 1;
        }
        ensure!(first.is_sorted(), "{}: not in order: {first:?}", self.topic);
        for (place, message) in self.messages.iter().enumerate() {
            let least = usize::from(selects(message));
            let (count, most) = (seen[place], self.times[place]);
            ensure!((least..=most).contains(&count), "{message}: {count} times, sent {most}");
        }
        Ok(())
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

/// A client and its connection, driven by who asks it for events.
#[must_use]
pub fn connect(port: u16, client_id: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new(client_id, "127.0.0.1", port);
    options.set_inflight(100);
    Client::new(options, 100)
}
