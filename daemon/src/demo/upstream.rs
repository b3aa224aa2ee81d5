//! Kafka's stand-in: a cluster in this process, behind real sockets.

use std::io;

use tributary_cluster::{Cluster, ReadRecord, Served, Settings};

use super::account::{Arrival, Identity};
use super::gateway::TOPIC;

/// The cluster, which may be away.
#[derive(Debug)]
pub(super) struct Upstream {
    served: Served,
    up: bool,
    /// How far the partitions were decided when they were last counted, and what was counted.
    counted: (Vec<i64>, u64),
}

impl Upstream {
    /// One broker of Apache Kafka 4.1, on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn start() -> io::Result<Self> {
        let served = Served::start(Cluster::new(Settings::default()))?;
        Ok(Self { served, up: true, counted: (Vec::new(), 0) })
    }

    /// Where the gateway finds it.
    pub(super) fn bootstrap(&self) -> String {
        self.served.bootstrap()
    }

    /// Whether it can be reached.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Cuts every connection and refuses new ones.
    pub(super) fn go_away(&mut self) {
        self.served.go_away();
        self.up = false;
    }

    /// Serves again, on the same port.
    ///
    /// # Errors
    /// If something else has taken the port.
    pub(super) fn come_back(&mut self) -> io::Result<()> {
        self.served.come_back()?;
        self.up = true;
        Ok(())
    }

    /// How many records a `read_committed` consumer finds.
    pub(super) fn count(&mut self) -> u64 {
        let counted = &mut self.counted;
        self.served.with(|cluster| {
            let stable: Vec<i64> = partitions(cluster)
                .filter_map(|partition| cluster.stable_offset(TOPIC, partition))
                .collect();
            if counted.0 != stable {
                let read = partitions(cluster)
                    .map(|partition| cluster.read_committed(TOPIC, partition).len() as u64);
                *counted = (stable, read.sum());
            }
        });
        counted.1
    }

    /// All that a `read_committed` consumer finds, by partition.
    pub(super) fn read(&self) -> Vec<Vec<Arrival>> {
        self.served.with(|cluster| {
            let read = |partition| cluster.read_committed(TOPIC, partition);
            partitions(cluster).map(|p| read(p).into_iter().map(arrival).collect()).collect()
        })
    }
}

/// The partitions that the topic has.
fn partitions(cluster: &Cluster) -> impl Iterator<Item = i32> {
    (0..).take_while(|partition| cluster.end_offset(TOPIC, *partition).is_some())
}

fn arrival(record: ReadRecord) -> Arrival {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(key, _)| key.as_ref() == name.as_bytes());
        let value = found.and_then(|(_, value)| value.as_deref())?;
        core::str::from_utf8(value).ok()
    };
    let identity = || {
        Some(Identity {
            gateway: header("tributary.gateway")?.to_owned(),
            offset: header("tributary.offset")?.parse().ok()?,
            route: header("tributary.route")?.to_owned(),
        })
    };
    let identity = identity();
    Arrival { identity, value: record.value.map(|value| value.to_vec()).unwrap_or_default() }
}
