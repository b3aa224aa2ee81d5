//! A cluster to point a real client at: `cargo run -p tributary-cluster --example serve -- events`
//! makes the topics that are named, tells its address, and serves until standard input ends.

use std::io::{self, Read, Write};

use tributary_cluster::{Cluster, Kafka, Served, Settings, TopicSettings, TransactionVersion};

fn main() -> io::Result<()> {
    let mut settings = Settings { brokers: 3, ..Settings::default() };
    let mut topics = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--3.9" => settings.kafka = Kafka::V3_9_2,
            "--tv1" => settings.kafka = Kafka::V4_1_2(TransactionVersion::V1),
            topic => topics.push(topic.to_owned()),
        }
    }
    settings.marker_delay_ms = 5;
    let mut cluster = Cluster::new(settings);
    for topic in &topics {
        let created = cluster.create_topic(topic, TopicSettings::default());
        created.map_err(|error| io::Error::other(format!("{topic}: {error}")))?;
    }
    let served = Served::start(cluster)?;
    writeln!(io::stdout(), "{}", served.bootstrap())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    let cluster = served.stop();
    for topic in &topics {
        let (committed, all) =
            (cluster.read_committed(topic, 0), cluster.read_uncommitted(topic, 0));
        writeln!(io::stdout(), "{topic}: {} committed of {}", committed.len(), all.len())?;
    }
    Ok(())
}
