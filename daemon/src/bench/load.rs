//! All devices and subscribers together, and what they have measured.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::{Barrier, Notify, watch};
use tokio::task::JoinSet;

use super::MqttArgs;
use super::client::Client;
use super::subscriber::Subscriber;
use crate::sync::lock;

/// Acknowledgements before are not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Times are kept to two digits, up to a minute.
const DIGITS: u8 = 2;
const MICROSECONDS_MAX: u64 = 60_000_000;

/// What all devices share.
pub(super) struct Shared {
    /// Whether what is acknowledged now counts.
    counts: AtomicBool,
    acknowledged: AtomicU64,
    /// Also those that do not count.
    total: AtomicU64,
    times: Mutex<Histogram<u64>>,
    published: AtomicU64,
    /// Messages that have reached a subscriber: all, and those that count.
    delivered: AtomicU64,
    delivered_counted: AtomicU64,
    progress: Arc<Notify>,
    subscribers: u64,
    /// Publishes of all devices that may be on their way to subscribers.
    window: u64,
}

/// The load.
pub(super) struct Load<'a> {
    args: &'a MqttArgs,
    shared: Arc<Shared>,
}

/// What was measured.
pub(super) struct Measured {
    acknowledged: u64,
    /// The warm-up included.
    total: u64,
    seconds: f64,
    times: Histogram<u64>,
    /// Messages to subscribers.
    delivered: u64,
}

impl Shared {
    fn new(args: &MqttArgs) -> Self {
        Self {
            counts: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            total: AtomicU64::new(0),
            times: Mutex::new(histogram()),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_counted: AtomicU64::new(0),
            progress: Arc::default(),
            subscribers: u64::from(args.subscribers),
            window: u64::from(args.window) * u64::from(args.connections),
        }
    }

    /// How many may be published before subscribers have got what is on its way: brokers drop what a
    /// slow subscriber leaves lying.
    pub(super) fn room(&self) -> u64 {
        let published = self.published.load(Ordering::Relaxed);
        let done = self.delivered.load(Ordering::Relaxed).checked_div(self.subscribers);
        done.map_or(u64::MAX, |done| (done + self.window).saturating_sub(published))
    }

    /// Told when subscribers have got more.
    pub(super) fn delivered(&self) -> Arc<Notify> {
        Arc::clone(&self.progress)
    }

    pub(super) fn note_published(&self, count: u64) {
        self.published.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn note_delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        if self.counts.load(Ordering::Relaxed) {
            self.delivered_counted.fetch_add(count, Ordering::Relaxed);
        }
        if self.room() > 0 {
            self.progress.notify_waiters();
        }
    }

    /// So many publishes that were sent at `sent` are acknowledged.
    pub(super) fn acknowledge(&self, sent: &[Instant]) {
        self.total.fetch_add(sent.len() as u64, Ordering::Relaxed);
        if !self.counts.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.acknowledged.fetch_add(sent.len() as u64, Ordering::Relaxed);
        let mut times = lock(&self.times);
        for sent in sent {
            let passed = now.saturating_duration_since(*sent).as_micros();
            times.saturating_record(u64::try_from(passed).unwrap_or(MICROSECONDS_MAX).max(1));
        }
    }
}

impl<'a> Load<'a> {
    pub(super) fn new(args: &'a MqttArgs) -> Self {
        Self { args, shared: Arc::new(Shared::new(args)) }
    }

    /// Connects all devices, lets them publish, and counts for so long.
    pub(super) async fn run(self, span: Duration) -> io::Result<Measured> {
        let connected = Arc::new(Barrier::new(usize::from(self.args.connections) + 1));
        let (stop, stopped) = watch::channel(false);
        let mut devices = JoinSet::new();
        for number in 0..self.args.subscribers {
            let subscriber =
                Subscriber::connect(self.args, number, Arc::clone(&self.shared)).await?;
            devices.spawn(subscriber.run(stopped.clone()));
        }
        for number in 0..self.args.connections {
            let client = Client::connect(self.args, number, Arc::clone(&self.shared)).await?;
            devices.spawn(client.run(Arc::clone(&connected), stopped.clone()));
        }
        connected.wait().await;
        tokio::time::sleep(WARM_UP).await;
        self.shared.counts.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            // A device ends early only if its connection breaks.
            Some(ended) = devices.join_next() => ended.map_err(io::Error::other)??,
        }
        self.shared.counts.store(false, Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        stop.send_replace(true);
        while let Some(ended) = devices.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
        let times = core::mem::replace(&mut *lock(&self.shared.times), histogram());
        let total = self.shared.total.load(Ordering::Relaxed);
        let delivered = self.shared.delivered_counted.load(Ordering::Relaxed);
        Ok(Measured { acknowledged, total, seconds, times, delivered })
    }
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.seconds
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn delivered_per_second(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }

    pub(super) fn json(&self) -> String {
        json!({
            "acknowledged": self.acknowledged,
            "total": self.total,
            "seconds": self.seconds,
            "per_second": self.per_second(),
            "delivered_per_second": self.delivered_per_second(),
            "puback_us": {
                "p50": self.times.value_at_quantile(0.5),
                "p99": self.times.value_at_quantile(0.99),
                "max": self.times.max(),
            },
        })
        .to_string()
    }

    pub(super) fn text(&self, args: &MqttArgs) -> String {
        let ms = |quantile| Duration::from_micros(self.times.value_at_quantile(quantile));
        let answer = ["PINGRESP", "PUBACK", "PUBCOMP"][usize::from(args.qos.min(2))];
        let delivered = if args.subscribers == 0 {
            String::new()
        } else {
            let (subscribers, per_second) = (args.subscribers, self.delivered_per_second());
            format!(
                "delivered         {per_second:>12.0} messages/s to {subscribers} subscribers\n"
            )
        };
        format!(
            "{} connections x window {}, QoS {}, payload {} bytes, {:.1} s\n\
             acknowledged      {:>12.0} events/s, {} in all\n{delivered}\
             time to {answer:<9} p50 {:?}, p99 {:?}, at most {:?}",
            args.connections,
            args.window,
            args.qos,
            args.payload,
            self.seconds,
            self.per_second(),
            self.acknowledged,
            ms(0.5),
            ms(0.99),
            Duration::from_micros(self.times.max()),
        )
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROSECONDS_MAX, DIGITS).expect("two digits of a minute")
}
