//! How things stand at one moment.

use core::fmt;
use core::time::Duration;

use indicatif::HumanCount;

use crate::demo::fleet::Tally;

/// The numbers of one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::demo) struct Scene {
    /// Since the devices were started.
    pub(in crate::demo) elapsed: Duration,
    /// What the devices count.
    pub(in crate::demo) tally: Tally,
    /// Events in the gateway's log, when it was last asked.
    pub(in crate::demo) durable: u64,
    /// Events that the gateway has still to deal with, when it was last asked.
    pub(in crate::demo) backlog: u64,
    /// Age of the oldest of them.
    pub(in crate::demo) oldest_ms: Option<u64>,
    /// Records that a `read_committed` consumer finds.
    pub(in crate::demo) in_cluster: u64,
    /// Whether the gateway runs.
    pub(in crate::demo) gateway_up: bool,
    /// Whether the cluster can be reached.
    pub(in crate::demo) upstream_up: bool,
    /// What the gateway says of its connection to the cluster.
    pub(in crate::demo) upstream_state: String,
}

/// One line, for where there is no terminal.
impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { published, acknowledged, selected, .. } = self.tally;
        write!(
            f,
            "published {}  acknowledged {}  durable {}  selected {}  in the cluster {}  backlog {}",
            HumanCount(published),
            HumanCount(acknowledged),
            HumanCount(self.durable),
            HumanCount(selected),
            HumanCount(self.in_cluster),
            HumanCount(self.backlog),
        )
    }
}
