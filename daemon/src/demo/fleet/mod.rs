//! The devices: many small MQTT clients that publish on time, and send again what they got no
//! PUBACK for.

mod connection;
mod device;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use connection::Client;
pub(super) use device::Journal;

/// How much is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Where the gateway listens.
    pub(super) gateway: SocketAddr,
    /// How many devices; at least 1.
    pub(super) devices: usize,
    /// Readings per second, all devices together; at least 1.
    pub(super) rate: u64,
}

/// What the devices are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Publish readings as they become due.
    Publish,
    /// Send the first so many readings of the fleet until they are acknowledged, then leave.
    Finish(u64),
    /// Leave.
    GiveUp,
}

/// Counts, while it goes on.
#[derive(Debug, Default)]
struct Counters {
    connected: AtomicU64,
    published: AtomicU64,
    selected: AtomicU64,
    resent: AtomicU64,
    acknowledged: AtomicU64,
}

/// How the fleet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Devices that the gateway has let in.
    pub(super) connected: u64,
    /// Readings sent at least once.
    pub(super) published: u64,
    /// Those of them that the filter has to select.
    pub(super) selected: u64,
    /// Publishes sent not for the first time.
    pub(super) resent: u64,
    /// Readings with their PUBACK.
    pub(super) acknowledged: u64,
}

/// The devices at work. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Fleet {
    started: Instant,
    plan: Plan,
    order: watch::Sender<Order>,
    counters: Arc<Counters>,
    devices: JoinSet<Journal>,
}

impl Fleet {
    /// Starts the devices; they go on until [`Self::finish`].
    pub(super) fn start(plan: Plan) -> Self {
        let started = Instant::now();
        let (order, orders) = watch::channel(Order::Publish);
        let counters = Arc::new(Counters::default());
        let mut devices = JoinSet::new();
        for number in 0..plan.devices {
            let schedule = Schedule { started, plan, number };
            let client = Client::new(schedule, orders.clone(), Arc::clone(&counters));
            devices.spawn(client.run());
        }
        Self { started, plan, order, counters, devices }
    }

    /// Readings that it measures in a second.
    pub(super) fn rate(&self) -> u64 {
        self.plan.rate
    }

    /// How it stands.
    pub(super) fn tally(&self) -> Tally {
        let Counters { connected, published, selected, resent, acknowledged } = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            connected: read(connected),
            published: read(published),
            selected: read(selected),
            resent: read(resent),
            acknowledged: read(acknowledged),
        }
    }

    /// No new readings from now on; what was measured is still sent until it is acknowledged.
    pub(super) fn stop(&self) {
        self.order.send_replace(Order::Finish(due(self.plan.rate, self.started.elapsed())));
    }

    /// Whether everything that was measured until [`Self::stop`] has its PUBACK.
    pub(super) fn is_settled(&self) -> bool {
        let Tally { acknowledged, .. } = self.tally();
        matches!(*self.order.borrow(), Order::Finish(total) if total == acknowledged)
    }

    /// What became of the readings. Devices that still wait for a PUBACK give up.
    ///
    /// # Panics
    /// If a device panicked.
    pub(super) async fn finish(self) -> Vec<Journal> {
        self.order.send_replace(Order::GiveUp);
        let mut journals = self.devices.join_all().await;
        journals.sort_by_key(|journal| journal.device);
        journals
    }
}

/// Readings that the whole fleet has measured after a time.
fn due(rate: u64, elapsed: Duration) -> u64 {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    ms.saturating_mul(rate) / 1_000
}

/// When one device measures: the fleet's readings are dealt to the devices in turn.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    started: Instant,
    plan: Plan,
    number: usize,
}

impl Schedule {
    /// This device's share of the first `total` readings of the fleet.
    fn share(&self, total: u64) -> usize {
        let devices = self.plan.devices;
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        (total + devices - 1 - self.number) / devices
    }

    /// How many readings it has measured by now.
    fn due(&self) -> usize {
        self.share(due(self.plan.rate, self.started.elapsed()))
    }

    /// When it measures reading `seq`.
    fn moment(&self, seq: usize) -> Instant {
        let place = (seq * self.plan.devices + self.number) as u64;
        let ms = ((place + 1) * 1_000).div_ceil(self.plan.rate);
        self.started + Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readings_are_dealt_in_turn_and_none_is_left_out() {
        let plan = Plan { gateway: ([127, 0, 0, 1], 1).into(), devices: 7, rate: 300 };
        let started = Instant::now();
        let schedules = [0, 1, 2, 3, 4, 5, 6].map(|number| Schedule { started, plan, number });
        for total in 0..100 {
            let shares: usize = schedules.iter().map(|schedule| schedule.share(total)).sum();
            assert_eq!(shares as u64, total);
        }
        for schedule in &schedules {
            for seq in 0..50 {
                let moment = schedule.moment(seq) - started;
                let before = moment.saturating_sub(Duration::from_millis(1));
                assert!(schedule.share(due(plan.rate, moment)) > seq, "due at its moment");
                assert!(schedule.share(due(plan.rate, before)) <= seq, "and not before");
            }
        }
    }
}
