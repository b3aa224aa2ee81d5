//! Topics that downlinks read: whether they are there, and may be read.

use tributary_core::time::Instant;

use super::replies::UNKNOWN_TOPIC;
use super::{Checkup, Stage, mend};
use crate::wire::{Address, Cluster, Code, Outcome, read};

/// What was asked for first is not there any more: reading is allowed.
const OUT_OF_RANGE: Code = Code(1);

impl Checkup {
    /// Topics of commands that are there, each with who leads its first partition.
    pub(super) fn topics_to_read(&mut self, cluster: &Cluster) -> Vec<(String, Address)> {
        let mut readable = Vec::new();
        for name in self.reads.clone() {
            let error = match cluster.topics.get(&name) {
                Some(Ok(leaders)) => {
                    let leader = leaders.first().and_then(|leader| cluster.brokers.get(leader));
                    readable.extend(leader.map(|leader| (name, leader.clone())));
                    continue;
                }
                Some(Err(code)) if *code != UNKNOWN_TOPIC => {
                    let mend = self.permit(&["--operation", "Read", "--topic", &name]);
                    (format!("{name}: {code}"), mend)
                }
                Some(Err(_)) | None => {
                    let mend = mend::create_topic(&self.broker, &name);
                    (format!("{name}, of a downlink, does not exist"), mend)
                }
            };
            self.found("read", Err(error.0), error.1);
        }
        readable
    }

    pub(super) fn go_on_reading(&mut self) {
        let topics = core::mem::take(&mut self.readable);
        self.go_on(if topics.is_empty() { self.identity() } else { Stage::Read(topics) });
    }

    /// What the attempt to read from a topic has come to.
    pub(super) fn was_read(&mut self, now: Instant, found: Outcome<Vec<read::Fetched>>) {
        let first = |all: Vec<read::Fetched>| all.first().map_or(Code::GOOD, |first| first.code);
        let code = found.map_or_else(|code| code, first);
        let Stage::Read(topics) = &self.stage else { return };
        let mut topics = topics.clone();
        if self.is_retriable(now, code) {
            return;
        }
        let name = topics.pop().map(|(name, _)| name).unwrap_or_default();
        if [Code::GOOD, OUT_OF_RANGE].contains(&code) {
            self.found("read", Ok(format!("{name} may be read")), Vec::new());
        } else {
            let mend = self.permit(&["--operation", "Read", "--topic", &name]);
            self.found("read", Err(format!("{name}: {code}")), mend);
        }
        self.readable = topics;
        self.go_on_reading();
    }
}
