//! `$SYS/broker/…`: what Mosquitto's users look at to see how a broker does.
//!
//! These messages are not events: they are kept for new subscribers, handed out at QoS 0, and never
//! stand in the log. A value that has not changed is not told again.

use core::sync::atomic::Ordering;
use std::collections::BTreeMap;

use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Instant;

use super::clock::Moment;
use super::dialogue::Shared;

/// How often the values are looked at, in milliseconds: as Mosquitto's `sys_interval`.
pub(super) const EVERY_MS: u64 = 10_000;

/// What was told last.
pub(super) struct System {
    started: Instant,
    first: u64,
    told: BTreeMap<&'static str, String>,
    most: usize,
}

impl System {
    pub(super) fn new(shared: &Shared, moment: Moment) -> Self {
        let first = shared.ingest.durable().0;
        Self { started: moment.now, first, told: BTreeMap::new(), most: 0 }
    }

    /// Tells what has changed.
    pub(super) fn announce(&mut self, shared: &Shared, moment: Moment) {
        let hub = &shared.hub;
        let connected = hub.connections();
        let (sessions, subscriptions) = hub.totals();
        self.most = self.most.max(connected);
        let taken = shared.ingest.durable().0 - self.first;
        let counters = &hub.counters;
        let sent = counters.delivered.load(Ordering::Relaxed);
        let dropped =
            counters.dropped.load(Ordering::Relaxed) + counters.missed.load(Ordering::Relaxed);
        let uptime = format!("{} seconds", moment.now.ms_since(self.started) / 1_000);
        let values = [
            ("$SYS/broker/version", format!("tributary version {}", env!("CARGO_PKG_VERSION"))),
            ("$SYS/broker/uptime", uptime),
            ("$SYS/broker/clients/total", sessions.to_string()),
            ("$SYS/broker/clients/connected", connected.to_string()),
            ("$SYS/broker/clients/active", connected.to_string()),
            ("$SYS/broker/clients/disconnected", sessions.saturating_sub(connected).to_string()),
            ("$SYS/broker/clients/inactive", sessions.saturating_sub(connected).to_string()),
            ("$SYS/broker/clients/maximum", self.most.to_string()),
            ("$SYS/broker/subscriptions/count", subscriptions.to_string()),
            ("$SYS/broker/retained messages/count", hub.retained().to_string()),
            ("$SYS/broker/publish/messages/received", taken.to_string()),
            ("$SYS/broker/publish/messages/sent", sent.to_string()),
            ("$SYS/broker/publish/messages/dropped", dropped.to_string()),
        ];
        for (topic, value) in values {
            if self.told.get(topic) == Some(&value) {
                continue;
            }
            let event = Event {
                topic,
                payload: value.as_bytes(),
                client: "",
                time: moment.wall,
                qos: Qos::AtMostOnce,
                retain: true,
                origin: Origin::Rule,
                packet_id: None,
                properties: Properties::NONE,
            };
            hub.announce(&event, shared.age(moment));
            self.told.insert(topic, value);
        }
    }
}
