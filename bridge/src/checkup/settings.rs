//! How topics are set up: whether Kafka keeps what it acknowledges, for how long, and by which time.

use std::collections::BTreeMap;

use tributary_core::time::Instant;

use super::replies::UNKNOWN_TOPIC;
use super::{Checkup, Stage, mend};
use crate::wire::Described;

/// The settings that matter to a gateway.
pub(super) const NAMES: [&str; 6] =
    [RETENTION, STAMPS, BYTES_MAX, CLEANUP, REPLICAS_MIN, UNCLEAN_ELECTION];
const RETENTION: &str = "retention.ms";
const STAMPS: &str = "message.timestamp.type";
const BYTES_MAX: &str = "max.message.bytes";
const CLEANUP: &str = "cleanup.policy";
const REPLICAS_MIN: &str = "min.insync.replicas";
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

const BY_ARRIVAL: &str = "LogAppendTime";
const DAY_MS: i64 = 86_400_000;

/// What is wrong with a topic's settings, and the setting that mends it.
type Fault = (&'static str, &'static str);

impl Checkup {
    /// The topics that are there are looked at, where the broker tells of them.
    pub(super) fn go_on_with_settings(&mut self) {
        if self.topics.is_empty() {
            self.go_on_reading();
        } else {
            self.go_on(Stage::Settings);
        }
    }

    /// What the broker says of the topics' settings.
    pub(super) fn settings_found(&mut self, now: Instant, all: &[Described]) {
        if all
            .iter()
            .any(|(_, found)| found.as_ref().is_err_and(|code| self.is_retriable(now, *code)))
        {
            return;
        }
        for (topic, found) in all {
            match found {
                Ok(settings) => {
                    let words = format!("{topic}: {}", words(settings));
                    self.found("settings", Ok(words), Vec::new());
                    for (wrong, better) in faults(settings, self.brokers) {
                        let mend = mend::set(&self.broker, topic, better);
                        self.found("settings", Err(format!("{topic}: {wrong}")), mend);
                    }
                }
                // It is good to know, but nothing depends on it.
                Err(code) if *code != UNKNOWN_TOPIC => {
                    let words = format!("{topic}: not shown ({code}), and not needed");
                    self.found("settings", Ok(words), Vec::new());
                }
                Err(_) => {}
            }
        }
        self.go_on_reading();
    }
}

fn number(settings: &BTreeMap<String, String>, name: &str) -> Option<i64> {
    settings.get(name)?.parse().ok()
}

fn words(settings: &BTreeMap<String, String>) -> String {
    let kept = match number(settings, RETENTION) {
        Some(ms @ 0..) if ms % DAY_MS == 0 => Some(format!("kept for {} d", ms / DAY_MS)),
        Some(ms @ 0..) => Some(format!("kept for {} h", ms / 3_600_000)),
        Some(_) => Some("kept for ever".to_owned()),
        None => None,
    };
    let compacted = settings.get(CLEANUP).filter(|policy| policy.contains("compact"));
    let parts = [
        kept,
        compacted.map(|_| "the last of each key is kept".to_owned()),
        settings.get(STAMPS).map(|kind| format!("stamped by {kind}")),
        number(settings, BYTES_MAX).map(|bytes| format!("batches of up to {bytes} bytes")),
        number(settings, REPLICAS_MIN).map(|least| format!("{least} in sync to acknowledge")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn faults(settings: &BTreeMap<String, String>, brokers: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    if settings.get(UNCLEAN_ELECTION).is_some_and(|value| value == "true") {
        faults.push((
            "a replica that lacks acknowledged records may become the leader",
            "unclean.leader.election.enable=false",
        ));
    }
    if brokers >= 3 && number(settings, REPLICAS_MIN) == Some(1) {
        faults.push((
            "what one broker alone has counts as acknowledged, and is lost with it",
            "min.insync.replicas=2",
        ));
    }
    let is_short = number(settings, RETENTION).is_some_and(|ms| (0..DAY_MS).contains(&ms));
    if is_short && settings.get(STAMPS).is_none_or(|kind| kind != BY_ARRIVAL) {
        faults.push((
            "after an outage, records may be older than they are kept for, and are deleted as they come",
            "message.timestamp.type=LogAppendTime",
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_endangers_records_is_a_fault_and_the_rest_is_told() {
        let good = settings(&[
            (RETENTION, "604800000"),
            (STAMPS, "CreateTime"),
            (BYTES_MAX, "1048588"),
            (CLEANUP, "delete"),
            (REPLICAS_MIN, "2"),
            (UNCLEAN_ELECTION, "false"),
        ]);
        assert_eq!(
            words(&good),
            "kept for 7 d, stamped by CreateTime, batches of up to 1048588 bytes, 2 in sync to acknowledge"
        );
        assert_eq!(faults(&good, 3), []);
        let changed = |name: &str, value: &str| {
            let mut changed = good.clone();
            changed.insert(name.to_owned(), value.to_owned());
            changed
        };
        let mend = |settings, brokers| -> Vec<&str> {
            faults(&settings, brokers).into_iter().map(|(_, better)| better).collect()
        };
        let unclean = mend(changed(UNCLEAN_ELECTION, "true"), 1);
        assert_eq!(unclean, ["unclean.leader.election.enable=false"]);
        assert_eq!(mend(changed(REPLICAS_MIN, "1"), 3), ["min.insync.replicas=2"]);
        assert_eq!(mend(changed(REPLICAS_MIN, "1"), 1), [""; 0], "there is no other broker");
        let short = changed(RETENTION, "3600000");
        assert_eq!(mend(short.clone(), 3), ["message.timestamp.type=LogAppendTime"]);
        assert!(words(&short).starts_with("kept for 1 h"));
        let stamped = BTreeMap::from([(STAMPS.to_owned(), BY_ARRIVAL.to_owned())]);
        assert_eq!(mend(short.into_iter().chain(stamped).collect(), 3), [""; 0]);
        assert!(words(&changed(RETENTION, "-1")).starts_with("kept for ever"));
        assert!(words(&changed(CLEANUP, "compact,delete")).contains("the last of each key"));
    }
}
