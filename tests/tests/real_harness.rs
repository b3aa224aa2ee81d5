//! The harness itself: servers start, die and come back, and the checker finds what is wrong.

use std::path::Path;

use anyhow::Result;
use tributary_tests::real::cache::Release;
use tributary_tests::real::kafka::{Kafka, Listeners};
use tributary_tests::real::scratch;

const DIR: &str = env!("CARGO_TARGET_TMPDIR");

fn survives_a_kill(release: Release, dir: &Path) -> Result<()> {
    let mut kafka = Kafka::start(release, &dir.join("kafka"), Listeners::direct()?)?;
    kafka.create_topic("events", 1)?;
    kafka.kill()?;
    kafka.restart()?;
    assert!(kafka.create_topic("events", 1).is_err(), "the topic outlives the kill");
    Ok(())
}

#[test]
fn kafka_3_9_2() -> Result<()> {
    scratch::within(DIR, "harness-3.9.2", |dir| survives_a_kill(Release::V3_9_2, dir))
}

#[test]
fn kafka_4_1_2() -> Result<()> {
    scratch::within(DIR, "harness-4.1.2", |dir| survives_a_kill(Release::V4_1_2, dir))
}

#[test]
fn transaction_versions() -> Result<()> {
    scratch::within(DIR, "harness-versions", |dir| {
        let old = Kafka::start(Release::V3_9_2, &dir.join("old"), Listeners::direct()?)?;
        assert_eq!(old.transaction_version()?, 0);
        drop(old);
        let new = Kafka::start(Release::V4_1_2, &dir.join("new"), Listeners::direct()?)?;
        assert_eq!(new.transaction_version()?, 2);
        new.set_transaction_version(1)?;
        assert_eq!(new.transaction_version()?, 1);
        Ok(())
    })
}
