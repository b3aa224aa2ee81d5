//! All devices together, and what they have measured.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use super::MqttArgs;
use super::client::Client;
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
}

impl Shared {
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
        let shared = Shared {
            counts: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            total: AtomicU64::new(0),
            times: Mutex::new(histogram()),
        };
        Self { args, shared: Arc::new(shared) }
    }

    /// Connects all devices, lets them publish, and counts for so long.
    pub(super) async fn run(self, span: Duration) -> io::Result<Measured> {
        let connected = Arc::new(Barrier::new(usize::from(self.args.connections) + 1));
        let (stop, stopped) = watch::channel(false);
        let mut devices = JoinSet::new();
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
        Ok(Measured { acknowledged, total, seconds, times })
    }
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.seconds
    }

    pub(super) fn json(&self) -> String {
        json!({
            "acknowledged": self.acknowledged,
            "total": self.total,
            "seconds": self.seconds,
            "per_second": self.per_second(),
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
        format!(
            "{} connections x window {}, payload {} bytes, {:.1} s\n\
             acknowledged      {:>12.0} events/s, {} in all\n\
             time to PUBACK    p50 {:?}, p99 {:?}, at most {:?}",
            args.connections,
            args.window,
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
