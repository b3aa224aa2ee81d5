//! The commands by which an administrator mends what was found.

use crate::failure::Failure;
use crate::settings::{POSITIONS_PARTITIONS, POSITIONS_TOPIC};
use crate::wire::{Address, Code};

/// Kafka's own tool, with the administrator's settings.
fn tool(name: &str, broker: &Address, rest: &str) -> String {
    format!("{name} --bootstrap-server {broker} --command-config admin.properties {rest}")
}

pub(super) fn permit(broker: &Address, principal: &str, rights: &[&str]) -> Vec<String> {
    let rest = format!("--add --allow-principal 'User:{principal}' {}", rights.join(" "));
    vec![tool("kafka-acls", broker, &rest)]
}

pub(super) fn create_topic(broker: &Address, name: &str) -> Vec<String> {
    let partitions = if name == POSITIONS_TOPIC { POSITIONS_PARTITIONS } else { 6 };
    let rest = format!(
        "--create --topic {name} --partitions {partitions} --replication-factor 3 --config \
         min.insync.replicas=2"
    );
    vec![
        tool("kafka-topics", broker, &rest),
        format!("confluent kafka topic create {name} --partitions {partitions}"),
    ]
}

pub(super) fn set(broker: &Address, topic: &str, setting: &str) -> Vec<String> {
    let rest = format!("--alter --entity-type topics --entity-name {topic} --add-config {setting}");
    vec![
        tool("kafka-configs", broker, &rest),
        format!("confluent kafka topic update {topic} --config {setting}"),
    ]
}

/// What can be done about a connection that came to nothing.
pub(super) fn of_failure(failure: &Failure) -> Vec<String> {
    match failure {
        Failure::Unauthenticated(refusal) if refusal.error.starts_with(&Code(58).to_string()) => {
            vec![
                "kafka-configs --bootstrap-server … --alter --entity-type users --entity-name … \
                 --add-config 'SCRAM-SHA-512=[password=…]'   # where users are kept in Kafka"
                    .to_owned(),
            ]
        }
        _ => Vec::new(),
    }
}
